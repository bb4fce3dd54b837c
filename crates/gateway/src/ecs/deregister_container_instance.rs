//! DeregisterContainerInstance: the instance leaves its cluster for good. By force also with
//! tasks on it: they count as stopped from then on, whatever becomes of them on their host.

use super::{present, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::{ContainerInstance, RecordKey};
use wharf_scheduler::task;
use wharf_wire::ecs::types::{
    DeregisterContainerInstanceRequest, DeregisterContainerInstanceResponse,
};

/// The most tasks that one transaction can end beside the instance's own record.
const MAX_TASKS: usize = 90;

/// DeregisterContainerInstance.
pub fn deregister_container_instance(
    context: &Context<'_>,
    input: &DeregisterContainerInstanceRequest,
) -> Result<DeregisterContainerInstanceResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let identifier = input.container_instance.as_deref().unwrap_or_default();
    let key = resolve::container_instance_key(context, &cluster.name, identifier)?;
    let known = context.snapshot.container_instance(&key);
    let known = known
        .filter(|i| i.status != InstanceStatus::Inactive)
        .ok_or_else(|| ApiError::invalid_parameter("Container instance not found."))?;
    let tasks = context.snapshot.tasks_on(&key).count();
    if tasks > 0 && input.force != Some(true) {
        return Err(ApiError::invalid_parameter("Found running tasks on the instance."));
    }
    if tasks > MAX_TASKS {
        return Err(ApiError::client(format!(
            "Found {tasks} running tasks on the instance. At most {MAX_TASKS} can be given up at \
             once: set it to DRAINING first."
        )));
    }
    let mut transaction = task::instance_deregistered(context.snapshot, &key, context.now);
    // A placement that goes on meanwhile writes the reservation.
    for record in [RecordKey::ContainerInstance(key.clone()), RecordKey::Reservation(key)] {
        transaction.read(record.clone(), context.snapshot.revision_of(&record));
    }
    let instance = ContainerInstance {
        status: InstanceStatus::Inactive,
        deregistered_at: Some(context.now),
        version: known.version + 1,
        ..ContainerInstance::clone(known)
    };
    let include = present::Include::default();
    let output = DeregisterContainerInstanceResponse {
        container_instance: Some(present::container_instance(context, &instance, include)),
    };
    transaction.put(instance);
    Ok(Outcome::write(output, transaction))
}
