//! ListSecrets.

use super::describe::{date, stages};
use super::{filter, paged, resolve, tags};
use crate::context::{Context, Outcome, Result};
use std::sync::Arc;
use wharf_model::Secret;
use wharf_wire::secretsmanager::types::{
    ListSecretsRequest, ListSecretsResponse, SecretListEntry, SortByType, SortOrderType,
};

/// The most secrets in one answer.
const PAGE: i32 = 100;

/// Lists secrets, without their values.
pub(super) fn list_secrets(
    context: &Context<'_>,
    input: &ListSecretsRequest,
) -> Result<ListSecretsResponse> {
    let filters = input.filters.as_deref().unwrap_or_default();
    let deleted = input.include_planned_deletion == Some(true);
    let mut found: Vec<&Arc<Secret>> = context
        .snapshot
        .secrets()
        .filter(|secret| match secret.deletion_at {
            None => true,
            Some(at) => deleted && at > context.now,
        })
        .filter(|secret| filter::fits(context, filters, secret))
        .collect();
    match &input.sort_by {
        Some(SortByType::Name) => {}
        Some(SortByType::LastChangedDate) => found.sort_by_key(|secret| secret.last_changed_at),
        Some(SortByType::LastAccessedDate) => found.sort_by_key(|secret| secret.last_accessed_at),
        _ => found.sort_by_key(|secret| secret.created_at),
    }
    if input.sort_order == Some(SortOrderType::Desc) {
        found.reverse();
    }
    let numbered =
        found.into_iter().enumerate().map(|(index, secret)| (format!("{index:08}"), secret));
    let page = paged(numbered, input.next_token.as_deref(), input.max_results, PAGE)?;
    let entries = page.items.into_iter().map(|secret| SecretListEntry {
        arn: Some(resolve::arn(context.arns, secret)),
        name: Some(secret.name.clone()),
        description: secret.description.clone(),
        kms_key_id: secret.kms_key_id.clone(),
        last_changed_date: Some(date(secret.last_changed_at)),
        last_accessed_date: secret.last_accessed_at.map(date),
        deleted_date: secret.deletion_at.map(date),
        tags: Some(tags::to_wire(&secret.tags)),
        secret_versions_to_stages: stages(secret),
        created_date: Some(date(secret.created_at)),
        ..Default::default()
    });
    Ok(Outcome::read(ListSecretsResponse {
        secret_list: Some(entries.collect()),
        next_token: page.next_token,
    }))
}
