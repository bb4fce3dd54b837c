//! DeregisterTaskDefinition: a revision becomes INACTIVE. What runs on it goes on.

use super::{present, task_definition_reference as reference};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::task_definition::TaskDefinitionStatus;
use wharf_model::{RecordKey, TaskDefinition, Transaction};
use wharf_wire::ecs::types::{DeregisterTaskDefinitionRequest, DeregisterTaskDefinitionResponse};

/// DeregisterTaskDefinition.
pub fn deregister_task_definition(
    context: &Context<'_>,
    input: &DeregisterTaskDefinitionRequest,
) -> Result<DeregisterTaskDefinitionResponse> {
    let name = input.task_definition.as_deref().unwrap_or_default();
    let definition = reference::revision(context, name)?;
    if definition.status != TaskDefinitionStatus::Active {
        return Err(ApiError::client(
            "The specified task definition is inactive. You can only deregister active task \
             definitions.",
        ));
    }
    let inactive = TaskDefinition {
        status: TaskDefinitionStatus::Inactive,
        deregistered_at: Some(context.now),
        ..TaskDefinition::clone(definition)
    };
    let mut transaction = Transaction::new();
    let key = RecordKey::TaskDefinition(definition.key());
    transaction.read(key.clone(), context.snapshot.revision_of(&key));
    let output = DeregisterTaskDefinitionResponse {
        task_definition: Some(present::task_definition(context.arns, &inactive)),
    };
    transaction.put(inactive);
    Ok(Outcome::write(output, transaction))
}
