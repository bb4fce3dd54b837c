//! AWS Security Token Service: who am I, and being somebody else for a while.

pub mod assume_role;
pub mod get_access_key_info;
pub mod get_caller_identity;

use crate::dispatch::{Call, Encoded};
use wharf_wire::sts::{Operation, operation};

/// Runs the operation.
pub(crate) async fn dispatch(operation: Operation, call: Call<'_>) -> Encoded {
    match operation {
        Operation::GetCallerIdentity => {
            call.run::<operation::GetCallerIdentity>(get_caller_identity::get_caller_identity).await
        }
        Operation::AssumeRole => call.run::<operation::AssumeRole>(assume_role::assume_role).await,
        Operation::GetAccessKeyInfo => {
            call.run::<operation::GetAccessKeyInfo>(get_access_key_info::get_access_key_info).await
        }
    }
}
