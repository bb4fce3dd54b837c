//! DeleteTaskDefinitions: INACTIVE revisions become DELETE_IN_PROGRESS, and go once nothing uses
//! them any more.

use super::{present, task_definition_reference as reference};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::task_definition::TaskDefinitionStatus;
use wharf_model::{RecordKey, TaskDefinition, Transaction};
use wharf_wire::ecs::types::{DeleteTaskDefinitionsRequest, DeleteTaskDefinitionsResponse};

/// The most revisions of one call.
const MAX_ITEMS: usize = 10;
const STILL_ACTIVE: &str = "The specified task definition is still in ACTIVE status. Please \
                            deregister the target and try again.";

/// DeleteTaskDefinitions.
pub fn delete_task_definitions(
    context: &Context<'_>,
    input: &DeleteTaskDefinitionsRequest,
) -> Result<DeleteTaskDefinitionsResponse> {
    let names = input.task_definitions.as_deref().unwrap_or_default();
    if names.is_empty() {
        return Err(ApiError::invalid_parameter(
            "size of TaskDefinition references list must be greater than 0",
        ));
    }
    if names.len() > MAX_ITEMS {
        return Err(ApiError::invalid_parameter(format!(
            "Size of TaskDefinition references list cannot exceed {MAX_ITEMS}"
        )));
    }
    let mut transaction = Transaction::new();
    let (mut deleted, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let definition = match reference::revision(context, name) {
            Ok(definition) => definition,
            Err(error) => {
                failures.push(present::failure(name, error.message));
                continue;
            }
        };
        let after = match definition.status {
            TaskDefinitionStatus::Active => {
                let arn = context.arns.task_definition(&definition.key());
                failures.push(present::failure(arn, STILL_ACTIVE));
                continue;
            }
            TaskDefinitionStatus::DeleteInProgress => TaskDefinition::clone(definition),
            TaskDefinitionStatus::Inactive => {
                let after = TaskDefinition {
                    status: TaskDefinitionStatus::DeleteInProgress,
                    delete_requested_at: Some(context.now),
                    ..TaskDefinition::clone(definition)
                };
                let key = RecordKey::TaskDefinition(definition.key());
                transaction.read(key.clone(), context.snapshot.revision_of(&key));
                transaction.put(after.clone());
                after
            }
        };
        deleted.push(present::task_definition(context.arns, &after));
    }
    let output =
        DeleteTaskDefinitionsResponse { task_definitions: Some(deleted), failures: Some(failures) };
    Ok(Outcome::write(output, transaction))
}
