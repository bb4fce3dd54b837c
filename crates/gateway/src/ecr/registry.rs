//! The registry as a whole: tokens, and what it is set to.

use super::{Ecr, ecr, names, wire_time};
use crate::error::ApiError;
use crate::registry::access::Resource;
use crate::registry::tokens;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wharf_wire::ecr::ErrorCode;
use wharf_wire::ecr::types::{
    AuthorizationData, DescribeRegistryRequest, DescribeRegistryResponse,
    GetAuthorizationTokenRequest, GetAuthorizationTokenResponse, GetRegistryPolicyRequest,
    GetRegistryPolicyResponse, ReplicationConfiguration,
};

pub(super) async fn get_token(
    ecr: &Ecr<'_>,
    input: GetAuthorizationTokenRequest,
) -> Result<GetAuthorizationTokenResponse, ApiError> {
    ecr.demand(Resource::Registry)?;
    for id in input.registry_ids.iter().flatten() {
        ecr.registry(Some(id))?;
    }
    let (token, end) = tokens::login(ecr.app, ecr.identity, ecr.now);
    let data = AuthorizationData {
        authorization_token: Some(STANDARD.encode(format!("AWS:{token}"))),
        expires_at: Some(wire_time(end)),
        proxy_endpoint: Some(names::proxy_endpoint(ecr.app)),
    };
    Ok(GetAuthorizationTokenResponse { authorization_data: Some(vec![data]) })
}

pub(super) async fn describe(
    ecr: &Ecr<'_>,
    _: DescribeRegistryRequest,
) -> Result<DescribeRegistryResponse, ApiError> {
    ecr.demand(Resource::Registry)?;
    Ok(DescribeRegistryResponse {
        registry_id: Some(ecr.id()),
        replication_configuration: Some(ReplicationConfiguration { rules: Some(Vec::new()) }),
    })
}

/// There is none: PutRegistryPolicy isn't built.
pub(super) async fn get_policy(
    call: &Ecr<'_>,
    _: GetRegistryPolicyRequest,
) -> Result<GetRegistryPolicyResponse, ApiError> {
    call.demand(Resource::Registry)?;
    let id = call.id();
    let message = format!("Registry policy does not exist in the registry with id '{id}'");
    Err(ecr(ErrorCode::RegistryPolicyNotFoundException, message))
}
