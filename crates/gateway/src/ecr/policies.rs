//! Repositories' policies.

use super::{Ecr, ecr, invalid, names};
use crate::authorize;
use crate::error::ApiError;
use wharf_model::Repository;
use wharf_model::policy::{self, Decision, Kind, Policy};
use wharf_wire::ecr::ErrorCode;
use wharf_wire::ecr::types::{
    DeleteRepositoryPolicyRequest, DeleteRepositoryPolicyResponse, GetRepositoryPolicyRequest,
    GetRepositoryPolicyResponse, SetRepositoryPolicyRequest, SetRepositoryPolicyResponse,
};

fn none(call: &Ecr<'_>, repository: &Repository) -> ApiError {
    let place = names::place(call.app.arns(), &repository.name);
    let message = format!("Repository policy does not exist for the repository {place}");
    ecr(ErrorCode::RepositoryPolicyNotFoundException, message)
}

pub(super) async fn set(
    call: &Ecr<'_>,
    input: SetRepositoryPolicyRequest,
) -> Result<SetRepositoryPolicyResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let text = input.policy_text.unwrap_or_default();
    let refused = |why: policy::Error| {
        invalid("PolicyText", format!("Invalid repository policy provided: {why}"))
    };
    let policy = Policy::parse(&text, Kind::Resource).map_err(refused)?;
    let (arns, snapshot) = (call.app.arns(), call.app.store().snapshot());
    let (action, arn) = ("ecr:SetRepositoryPolicy", arns.repository(&repository.name));
    let says = authorize::of_resource(&snapshot, arns, call.identity, &policy, action, &arn);
    let locks_out = says == Decision::Denied;
    if locks_out && input.force != Some(true) {
        return Err(invalid(
            "PolicyText",
            "The policy would keep you from setting a policy in the future; set force to set it",
        ));
    }
    let change = |repository: &mut Repository| {
        repository.policy = Some(text.clone());
        Ok(())
    };
    let (_, changed) = call.change(&repository, change).await?;
    Ok(SetRepositoryPolicyResponse {
        registry_id: Some(call.id()),
        repository_name: Some(changed.name),
        policy_text: changed.policy,
    })
}

pub(super) async fn get(
    call: &Ecr<'_>,
    input: GetRepositoryPolicyRequest,
) -> Result<GetRepositoryPolicyResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let text = repository.policy.clone().ok_or_else(|| none(call, &repository))?;
    Ok(GetRepositoryPolicyResponse {
        registry_id: Some(call.id()),
        repository_name: Some(repository.name.clone()),
        policy_text: Some(text),
    })
}

pub(super) async fn delete(
    call: &Ecr<'_>,
    input: DeleteRepositoryPolicyRequest,
) -> Result<DeleteRepositoryPolicyResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let change = |changed: &mut Repository| {
        changed.policy.take().map(|_| ()).ok_or_else(|| none(call, &repository))
    };
    let (before, changed) = call.change(&repository, change).await?;
    Ok(DeleteRepositoryPolicyResponse {
        registry_id: Some(call.id()),
        repository_name: Some(changed.name),
        policy_text: before.policy.clone(),
    })
}
