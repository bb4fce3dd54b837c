//! DescribeTaskDefinition: one revision, or the latest ACTIVE one of a family. INACTIVE ones are
//! described too, for as long as they exist.

use super::present;
use super::task_definition_reference::{CANNOT_DESCRIBE, Reference};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_wire::ecs::types::{
    DescribeTaskDefinitionRequest, DescribeTaskDefinitionResponse, TaskDefinitionField,
};

/// DescribeTaskDefinition.
pub fn describe_task_definition(
    context: &Context<'_>,
    input: &DescribeTaskDefinitionRequest,
) -> Result<DescribeTaskDefinitionResponse> {
    let name = input.task_definition.as_deref().unwrap_or_default();
    let definition = Reference::parse(context, name)?
        .find(context)
        .ok_or_else(|| ApiError::client(CANNOT_DESCRIBE))?;
    let include = input.include.as_deref().unwrap_or_default();
    let with_tags = include.contains(&TaskDefinitionField::Tags);
    Ok(Outcome::read(DescribeTaskDefinitionResponse {
        task_definition: Some(present::task_definition(context.arns, definition)),
        tags: with_tags.then(|| present::tags(&definition.tags)),
    }))
}
