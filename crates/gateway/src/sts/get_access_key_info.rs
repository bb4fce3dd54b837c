//! GetAccessKeyInfo: the account of an access key id.

use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_wire::sts::types::{GetAccessKeyInfoRequest, GetAccessKeyInfoResponse};

/// GetAccessKeyInfo. Every key of this server is of its one account, and none says whether it
/// exists.
pub fn get_access_key_info(
    context: &Context<'_>,
    input: &GetAccessKeyInfoRequest,
) -> Result<GetAccessKeyInfoResponse> {
    let id = input.access_key_id.as_deref().unwrap_or_default();
    if !(id.starts_with("AKIA") || id.starts_with("ASIA")) {
        return Err(ApiError::new("ValidationError", 400, format!("Invalid access key id: {id}")));
    }
    Ok(Outcome::read(GetAccessKeyInfoResponse { account: Some(context.account().to_owned()) }))
}
