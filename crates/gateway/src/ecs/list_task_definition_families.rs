//! ListTaskDefinitionFamilies: family names by prefix. A family is ACTIVE while one of its
//! revisions is.

use super::page::{Request, page};
use crate::context::{Context, Outcome, Result};
use wharf_model::task_definition::{TaskDefinitionFamily, TaskDefinitionStatus};
use wharf_wire::ecs::types::{
    ListTaskDefinitionFamiliesRequest, ListTaskDefinitionFamiliesResponse,
    TaskDefinitionFamilyStatus as Status,
};

/// The most families on one page.
const PAGE_LIMIT: i32 = 100;

/// ListTaskDefinitionFamilies.
pub fn list_task_definition_families(
    context: &Context<'_>,
    input: &ListTaskDefinitionFamiliesRequest,
) -> Result<ListTaskDefinitionFamiliesResponse> {
    let prefix = input.family_prefix.as_deref().unwrap_or_default();
    let wanted = |f: &TaskDefinitionFamily| {
        let mut statuses = context.snapshot.family_revisions(f.family.as_str()).map(|d| d.status);
        match input.status {
            Some(Status::Active) => statuses.any(|s| s == TaskDefinitionStatus::Active),
            Some(Status::Inactive) => statuses.all(|s| s != TaskDefinitionStatus::Active),
            _ => true,
        }
    };
    let families = context.snapshot.families();
    let families = families.filter(|f| f.family.as_str().starts_with(prefix) && wanted(f));
    let request = Request {
        next_token: input.next_token.as_deref(),
        max_results: input.max_results,
        limit: PAGE_LIMIT,
    };
    let page = page(families.map(|f| (f.family.to_string(), f.family.to_string())), request)?;
    Ok(Outcome::read(ListTaskDefinitionFamiliesResponse {
        families: Some(page.items),
        next_token: page.next_token,
    }))
}
