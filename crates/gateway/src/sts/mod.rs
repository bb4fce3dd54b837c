//! AWS Security Token Service: who am I.

pub mod get_caller_identity;

use crate::dispatch::{Call, Encoded};
use crate::error::ApiError;
use wharf_wire::sts::{Operation, operation};

/// Runs the operation.
pub(crate) async fn dispatch(operation: Operation, call: Call<'_>) -> Encoded {
    match operation {
        Operation::GetCallerIdentity => {
            call.run::<operation::GetCallerIdentity>(get_caller_identity::get_caller_identity).await
        }
        Operation::AssumeRole => Err(ApiError::new(
            "UnsupportedOperation",
            400,
            "The operation AssumeRole is not supported by this server.",
        )),
    }
}
