//! The registry as a whole: tokens, and what it is set to.

use super::{Ecr, ecr, invalid, names, replication, settings, wire_time};
use crate::error::ApiError;
use crate::registry::access::Resource;
use crate::registry::tokens;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wharf_model::RegistrySettings;
use wharf_model::policy::{Kind, Policy};
use wharf_wire::ecr::ErrorCode;
use wharf_wire::ecr::types::{
    AuthorizationData, DeleteRegistryPolicyRequest, DeleteRegistryPolicyResponse,
    DescribeRegistryRequest, DescribeRegistryResponse, GetAuthorizationTokenRequest,
    GetAuthorizationTokenResponse, GetRegistryPolicyRequest, GetRegistryPolicyResponse,
    PutRegistryPolicyRequest, PutRegistryPolicyResponse,
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
    let settings = settings::of(&ecr.app.store().snapshot());
    Ok(DescribeRegistryResponse {
        registry_id: Some(ecr.id()),
        replication_configuration: Some(replication::shown(&settings.replication)),
    })
}

fn no_policy(call: &Ecr<'_>) -> ApiError {
    let id = call.id();
    let message = format!("Registry policy does not exist in the registry with id '{id}'");
    ecr(ErrorCode::RegistryPolicyNotFoundException, message)
}

pub(super) async fn get_policy(
    call: &Ecr<'_>,
    _: GetRegistryPolicyRequest,
) -> Result<GetRegistryPolicyResponse, ApiError> {
    call.demand(Resource::Registry)?;
    let policy = settings::of(&call.app.store().snapshot()).policy;
    let policy = policy.ok_or_else(|| no_policy(call))?;
    Ok(GetRegistryPolicyResponse { registry_id: Some(call.id()), policy_text: Some(policy) })
}

pub(super) async fn put_policy(
    call: &Ecr<'_>,
    input: PutRegistryPolicyRequest,
) -> Result<PutRegistryPolicyResponse, ApiError> {
    call.demand(Resource::Registry)?;
    let text = input.policy_text.unwrap_or_default();
    Policy::parse(&text, Kind::Registry)
        .map_err(|why| invalid("PolicyText", format!("Invalid registry policy provided: {why}")))?;
    let change = |settings: &mut RegistrySettings| {
        settings.policy = Some(text.clone());
        Ok(())
    };
    call.change_settings(change).await?;
    Ok(PutRegistryPolicyResponse { registry_id: Some(call.id()), policy_text: Some(text) })
}

pub(super) async fn delete_policy(
    call: &Ecr<'_>,
    _: DeleteRegistryPolicyRequest,
) -> Result<DeleteRegistryPolicyResponse, ApiError> {
    call.demand(Resource::Registry)?;
    let change =
        |settings: &mut RegistrySettings| settings.policy.take().ok_or_else(|| no_policy(call));
    let policy = call.change_settings(change).await?;
    Ok(DeleteRegistryPolicyResponse { registry_id: Some(call.id()), policy_text: Some(policy) })
}
