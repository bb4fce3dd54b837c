//! ListTaskDefinitions: ARNs by family and revision, ACTIVE ones unless asked otherwise.

use super::page::{Request, page};
use crate::context::{Context, Outcome, Result};
use wharf_model::TaskDefinition;
use wharf_model::task_definition::TaskDefinitionStatus;
use wharf_wire::ecs::types::{
    ListTaskDefinitionsRequest, ListTaskDefinitionsResponse, SortOrder,
    TaskDefinitionStatus as WireStatus,
};

/// The most task definitions on one page.
const PAGE_LIMIT: i32 = 100;

/// ListTaskDefinitions.
pub fn list_task_definitions(
    context: &Context<'_>,
    input: &ListTaskDefinitionsRequest,
) -> Result<ListTaskDefinitionsResponse> {
    let status = match input.status {
        Some(WireStatus::Inactive) => TaskDefinitionStatus::Inactive,
        Some(WireStatus::DeleteInProgress) => TaskDefinitionStatus::DeleteInProgress,
        _ => TaskDefinitionStatus::Active,
    };
    // Despite its name it is a whole family's name (ECS API `familyPrefix`: "the full family
    // name").
    let family = input.family_prefix.as_deref().filter(|f| !f.is_empty());
    let wanted = |d: &TaskDefinition| d.status == status && family.is_none_or(|f| d.family == f);
    let arn = |d: &TaskDefinition| context.arns.task_definition(&d.key());
    let request = Request {
        next_token: input.next_token.as_deref(),
        max_results: input.max_results,
        limit: PAGE_LIMIT,
    };
    let all = context.snapshot.task_definitions().filter(|d| wanted(d));
    let page = if input.sort == Some(SortOrder::Desc) {
        page(all.rev().map(|d| (descending_key(d), arn(d))), request)?
    } else {
        page(all.map(|d| (ascending_key(d), arn(d))), request)?
    };
    Ok(Outcome::read(ListTaskDefinitionsResponse {
        task_definition_arns: Some(page.items),
        next_token: page.next_token,
    }))
}

/// Sorts as (family, revision) does: the space is below every character of a family.
fn ascending_key(definition: &TaskDefinition) -> String {
    format!("{} {:010}", definition.family, definition.revision)
}

/// Sorts the other way round: each byte's complement, and an end above all of them.
fn descending_key(definition: &TaskDefinition) -> String {
    let complement = ascending_key(definition).bytes().map(|b| format!("{:02x}", !b)).collect();
    let key: String = complement;
    key + "z"
}
