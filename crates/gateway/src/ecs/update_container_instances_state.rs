//! UpdateContainerInstancesState: DRAINING takes an instance out of placement and has services
//! move their tasks away; ACTIVE takes it back.

use super::{present, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::{ContainerInstance, RecordKey, Transaction};
use wharf_wire::ecs::types::{
    ContainerInstanceStatus, UpdateContainerInstancesStateRequest,
    UpdateContainerInstancesStateResponse,
};

/// The most instances of one call.
const MAX_ITEMS: usize = 10;

/// UpdateContainerInstancesState.
pub fn update_container_instances_state(
    context: &Context<'_>,
    input: &UpdateContainerInstancesStateRequest,
) -> Result<UpdateContainerInstancesStateResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let status = match input.status {
        Some(ContainerInstanceStatus::Active) => InstanceStatus::Active,
        Some(ContainerInstanceStatus::Draining) => InstanceStatus::Draining,
        _ => {
            return Err(ApiError::invalid_parameter(
                "Container instances status should be one of [ACTIVE,DRAINING]",
            ));
        }
    };
    let identifiers = input.container_instances.as_deref().unwrap_or_default();
    if identifiers.is_empty() {
        return Err(ApiError::invalid_parameter("Container instances cannot be empty."));
    }
    if identifiers.len() > MAX_ITEMS {
        return Err(ApiError::invalid_parameter(format!(
            "instanceIds can have at most {MAX_ITEMS} items."
        )));
    }
    let mut transaction = Transaction::new();
    let (mut updated, mut failures) = (Vec::new(), Vec::new());
    for identifier in identifiers {
        let key = resolve::container_instance_key(context, &cluster.name, identifier)?;
        let arn = context.arns.container_instance(&key);
        let instance = match context.snapshot.container_instance(&key) {
            None => {
                failures.push(present::failure(arn, "MISSING"));
                continue;
            }
            Some(instance) if instance.status == InstanceStatus::Inactive => {
                failures.push(present::failure(arn, "INACTIVE"));
                continue;
            }
            Some(instance) => instance,
        };
        let mut after = ContainerInstance::clone(instance);
        if after.status != status {
            after.status = status;
            after.version += 1;
            let record_key = RecordKey::ContainerInstance(key);
            transaction.read(record_key.clone(), context.snapshot.revision_of(&record_key));
            transaction.put(after.clone());
        }
        updated.push(present::container_instance(context, &after, present::Include::default()));
    }
    let output = UpdateContainerInstancesStateResponse {
        container_instances: Some(updated),
        failures: Some(failures),
    };
    Ok(Outcome::write(output, transaction))
}
