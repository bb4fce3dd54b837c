//! DescribeSecret, ListSecretVersionIds and GetResourcePolicy.

use super::{paged, resolve, tags};
use crate::context::{Context, Outcome, Result};
use std::collections::BTreeMap;
use wharf_model::{Secret, Timestamp};
use wharf_wire::secretsmanager::types::{
    DescribeSecretRequest, DescribeSecretResponse, GetResourcePolicyRequest,
    GetResourcePolicyResponse, ListSecretVersionIdsRequest, ListSecretVersionIdsResponse,
    SecretVersionsListEntry,
};

/// The most versions in one answer.
const PAGE: i32 = 100;

pub(super) fn date(at: Timestamp) -> wharf_wire::Timestamp {
    wharf_wire::Timestamp::from_millis(at.as_millis())
}

/// The versions that have staging labels; none is no member at all.
pub(super) fn stages(secret: &Secret) -> Option<BTreeMap<String, Vec<String>>> {
    let staged = secret.versions.iter().filter(|(_, stages)| !stages.is_empty());
    let staged: BTreeMap<_, _> = staged.map(|(id, stages)| (id.clone(), stages.clone())).collect();
    (!staged.is_empty()).then_some(staged)
}

/// Says all about a secret but its value.
pub(super) fn describe_secret(
    context: &Context<'_>,
    input: &DescribeSecretRequest,
) -> Result<DescribeSecretResponse> {
    let secret = resolve::find(context, input.secret_id.as_ref())?;
    Ok(Outcome::read(DescribeSecretResponse {
        arn: Some(resolve::arn(context.arns, secret)),
        name: Some(secret.name.clone()),
        description: secret.description.clone(),
        kms_key_id: secret.kms_key_id.clone(),
        last_changed_date: Some(date(secret.last_changed_at)),
        last_accessed_date: secret.last_accessed_at.map(date),
        deleted_date: secret.deletion_at.map(date),
        tags: Some(tags::to_wire(&secret.tags)),
        version_ids_to_stages: stages(secret),
        created_date: Some(date(secret.created_at)),
        ..Default::default()
    }))
}

/// Lists a secret's versions.
pub(super) fn list_secret_version_ids(
    context: &Context<'_>,
    input: &ListSecretVersionIdsRequest,
) -> Result<ListSecretVersionIdsResponse> {
    let secret = resolve::find(context, input.secret_id.as_ref())?;
    let all = input.include_deprecated == Some(true);
    let shown = secret.versions.iter().filter(|(_, stages)| all || !stages.is_empty());
    let entries = shown.map(|(id, stages)| {
        let version = context.snapshot.secret_version(&(secret.id.clone(), id.clone()));
        let entry = SecretVersionsListEntry {
            version_id: Some(id.clone()),
            version_stages: (!stages.is_empty()).then(|| stages.clone()),
            created_date: version.map(|version| date(version.created_at)),
            ..Default::default()
        };
        (id.clone(), entry)
    });
    let page = paged(entries, input.next_token.as_deref(), input.max_results, PAGE)?;
    Ok(Outcome::read(ListSecretVersionIdsResponse {
        versions: Some(page.items),
        next_token: page.next_token,
        arn: Some(resolve::arn(context.arns, secret)),
        name: Some(secret.name.clone()),
    }))
}

/// No secret has a resource policy: PutResourcePolicy is refused. Terraform asks all the same.
pub(super) fn get_resource_policy(
    context: &Context<'_>,
    input: &GetResourcePolicyRequest,
) -> Result<GetResourcePolicyResponse> {
    let secret = resolve::find(context, input.secret_id.as_ref())?;
    Ok(Outcome::read(GetResourcePolicyResponse {
        arn: Some(resolve::arn(context.arns, secret)),
        name: Some(secret.name.clone()),
        resource_policy: None,
    }))
}
