//! Versions of managed policies.

use super::page::page;
use super::{built_in, changed, delete_conflict, documents, error, no_such_entity, policies, view};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::ecs::present::timestamp;
use crate::error::ApiError;
use wharf_model::iam::{ManagedPolicy, PolicyVersion};
use wharf_wire::Empty;
use wharf_wire::iam::{ErrorCode, types};

/// Versions that a policy may have.
const LIMIT: usize = 5;

fn shown(
    policy: &ManagedPolicy,
    version: &PolicyVersion,
    with_document: bool,
) -> types::PolicyVersion {
    types::PolicyVersion {
        document: with_document.then(|| documents::shown(&version.document)),
        version_id: Some(view::version_id(version.number)),
        is_default_version: Some(version.number == policy.default_version),
        create_date: Some(timestamp(version.created_at)),
    }
}

/// Where the version `id` stands.
fn place(policy: &ManagedPolicy, id: Option<&str>, arn: Option<&str>) -> Result<usize, ApiError> {
    let id = id.unwrap_or_default();
    let number = id.strip_prefix('v').and_then(|n| n.parse::<u32>().ok());
    policy.versions.iter().position(|v| Some(v.number) == number).ok_or_else(|| {
        let arn = arn.unwrap_or_default();
        no_such_entity(format!("Policy {arn} version {id} does not exist or is not attachable."))
    })
}

pub(super) fn create(
    context: &Context<'_>,
    input: &types::CreatePolicyVersionRequest,
) -> OperationResult<types::CreatePolicyVersionResponse> {
    let mut policy = policies::own(context, input.policy_arn.as_deref().unwrap_or_default())?;
    let document = input.policy_document.clone().unwrap_or_default();
    documents::managed(&document)?;
    if policy.versions.len() >= LIMIT {
        return Err(error(
            ErrorCode::LimitExceededException,
            "A managed policy can have up to 5 versions. Before you create a new version, you must \
             delete an existing version.",
        ));
    }
    let version = PolicyVersion { number: policy.next_version, document, created_at: context.now };
    policy.next_version += 1;
    policy.updated_at = context.now;
    if input.set_as_default == Some(true) {
        policy.default_version = version.number;
    }
    let output = types::CreatePolicyVersionResponse {
        policy_version: Some(shown(&policy, &version, false)),
    };
    policy.versions.push(version);
    Ok(Outcome::write(output, changed(context, policy)))
}

pub(super) fn get(
    context: &Context<'_>,
    input: &types::GetPolicyVersionRequest,
) -> OperationResult<types::GetPolicyVersionResponse> {
    let arn = input.policy_arn.as_deref().unwrap_or_default();
    let version = match built_in::find(arn) {
        Some(policy) if input.version_id.as_deref() == Some("v1") => policy.version(true),
        Some(_) => {
            let id = input.version_id.as_deref().unwrap_or_default();
            let text = format!("Policy {arn} version {id} does not exist or is not attachable.");
            return Err(no_such_entity(text));
        }
        None => {
            let policy = policies::own(context, arn)?;
            let at = place(&policy, input.version_id.as_deref(), Some(arn))?;
            shown(&policy, &policy.versions[at], true)
        }
    };
    Ok(Outcome::read(types::GetPolicyVersionResponse { policy_version: Some(version) }))
}

pub(super) fn list(
    context: &Context<'_>,
    input: &types::ListPolicyVersionsRequest,
) -> OperationResult<types::ListPolicyVersionsResponse> {
    let arn = input.policy_arn.as_deref().unwrap_or_default();
    let versions = match built_in::find(arn) {
        Some(policy) => vec![policy.version(false)],
        None => {
            let policy = policies::own(context, arn)?;
            // The newest first, as IAM lists them.
            policy.versions.iter().rev().map(|version| shown(&policy, version, false)).collect()
        }
    };
    // A policy has five at most: a page of fewer is cut by place.
    let numbered = versions.into_iter().enumerate();
    let name = |(at, _): &(usize, types::PolicyVersion)| format!("{at}");
    let page = page(numbered, name, input.marker.as_deref(), input.max_items)?;
    let is_truncated = page.is_truncated();
    let page = page.map(|(_, version)| version);
    Ok(Outcome::read(types::ListPolicyVersionsResponse {
        versions: Some(page.items),
        is_truncated,
        marker: page.marker,
    }))
}

pub(super) fn set_default(
    context: &Context<'_>,
    input: &types::SetDefaultPolicyVersionRequest,
) -> OperationResult<Empty> {
    let arn = input.policy_arn.as_deref();
    let mut policy = policies::own(context, arn.unwrap_or_default())?;
    let at = place(&policy, input.version_id.as_deref(), arn)?;
    policy.default_version = policy.versions[at].number;
    policy.updated_at = context.now;
    Ok(Outcome::write(Empty {}, changed(context, policy)))
}

pub(super) fn delete(
    context: &Context<'_>,
    input: &types::DeletePolicyVersionRequest,
) -> OperationResult<Empty> {
    let arn = input.policy_arn.as_deref();
    let mut policy = policies::own(context, arn.unwrap_or_default())?;
    let at = place(&policy, input.version_id.as_deref(), arn)?;
    if policy.versions[at].number == policy.default_version {
        return Err(delete_conflict("Cannot delete the default version of a policy."));
    }
    policy.versions.remove(at);
    Ok(Outcome::write(Empty {}, changed(context, policy)))
}
