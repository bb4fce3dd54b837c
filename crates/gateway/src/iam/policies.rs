//! Managed policies: the account's own, and those that AWS has in every account.

use super::page::page;
use super::{already_exists, attachments, built_in, changed, delete_conflict, documents};
use super::{no_such_entity, tags, view};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::Transaction;
use wharf_model::iam::{self, ManagedPolicy, PolicyVersion};
use wharf_wire::Empty;
use wharf_wire::iam::types;

pub(super) fn not_found(arn: &str) -> ApiError {
    no_such_entity(format!("Policy {arn} was not found."))
}

/// The account's own policy with this ARN.
pub(super) fn own(context: &Context<'_>, arn: &str) -> Result<ManagedPolicy, ApiError> {
    let name = arn.rsplit('/').next().unwrap_or_default();
    let found = context.snapshot.policy(&iam::key(name));
    match found.filter(|policy| policy.arn(context.account()) == arn) {
        Some(policy) => Ok(ManagedPolicy::clone(policy)),
        None if built_in::find(arn).is_some() => Err(super::error(
            wharf_wire::iam::ErrorCode::InvalidInputException,
            format!("Policy {arn} is managed by AWS and can't be changed."),
        )),
        None => Err(not_found(arn)),
    }
}

pub(super) fn create(
    context: &Context<'_>,
    input: &types::CreatePolicyRequest,
) -> OperationResult<types::CreatePolicyResponse> {
    let name = input.policy_name.clone().unwrap_or_default();
    let document = input.policy_document.clone().unwrap_or_default();
    documents::managed(&document)?;
    if context.snapshot.policy(&iam::key(&name)).is_some() {
        return Err(already_exists(format!(
            "A policy called {name} already exists. Duplicate names are not allowed."
        )));
    }
    let policy = ManagedPolicy {
        path: input.path.clone().unwrap_or_else(|| "/".to_owned()),
        id: context.ids().iam_id("ANPA"),
        created_at: context.now,
        updated_at: context.now,
        description: input.description.clone().filter(|text| !text.is_empty()),
        versions: vec![PolicyVersion { number: 1, document, created_at: context.now }],
        default_version: 1,
        next_version: 2,
        attachments: 0,
        tags: tags::added(&[], input.tags.as_ref(), "TagsPerPolicy")?,
        name,
    };
    let shown = types::Policy { description: None, ..view::policy(context, &policy, false) };
    let output = types::CreatePolicyResponse { policy: Some(shown) };
    Ok(Outcome::write(output, changed(context, policy)))
}

pub(super) fn get(
    context: &Context<'_>,
    input: &types::GetPolicyRequest,
) -> OperationResult<types::GetPolicyResponse> {
    let arn = input.policy_arn.as_deref().unwrap_or_default();
    let policy = match built_in::find(arn) {
        Some(policy) => policy.view(attachments::attachments(context, arn)),
        None => view::policy(context, &own(context, arn)?, false),
    };
    Ok(Outcome::read(types::GetPolicyResponse { policy: Some(policy) }))
}

pub(super) fn list(
    context: &Context<'_>,
    input: &types::ListPoliciesRequest,
) -> OperationResult<types::ListPoliciesResponse> {
    let scope = input.scope.as_ref().map_or("All", |scope| scope.as_str());
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let mut all: Vec<types::Policy> = Vec::new();
    if scope != "AWS" {
        let own = context.snapshot.policies().map(|policy: &Arc<_>| policy);
        all.extend(own.map(|policy| view::policy(context, policy, true)));
    }
    if scope != "Local" {
        all.extend(built_in::ALL.iter().map(|policy| types::Policy {
            description: None,
            ..policy.view(attachments::attachments(context, &policy.arn()))
        }));
    }
    all.retain(|policy| {
        policy.path.as_deref().unwrap_or_default().starts_with(prefix)
            && (input.only_attached != Some(true) || policy.attachment_count > Some(0))
    });
    let name = |policy: &types::Policy| policy.arn.clone().unwrap_or_default();
    all.sort_by_key(name);
    let page = page(all, name, input.marker.as_deref(), input.max_items)?;
    Ok(Outcome::read(types::ListPoliciesResponse {
        is_truncated: page.is_truncated(),
        policies: Some(page.items),
        marker: page.marker,
    }))
}

pub(super) fn delete(
    context: &Context<'_>,
    input: &types::DeletePolicyRequest,
) -> OperationResult<Empty> {
    let policy = own(context, input.policy_arn.as_deref().unwrap_or_default())?;
    if policy.attachments > 0 {
        return Err(delete_conflict("Cannot delete a policy attached to entities."));
    }
    if policy.versions.len() > 1 {
        return Err(delete_conflict(
            "This policy has more than one version. Before you delete a policy, you must delete \
             the policy's versions. The default version is deleted with the policy.",
        ));
    }
    let mut transaction = Transaction::new();
    super::delete(context, &mut transaction, policy);
    Ok(Outcome::write(Empty {}, transaction))
}
