//! DeregisterContainerInstance: the instance leaves its cluster for good. By force also with
//! tasks on it: they count as stopped from then on, whatever becomes of them on their host.

use super::{present, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::status::StopCode;
use wharf_model::{ContainerInstance, RecordKey, Task, TaskStatus, Timestamp, Transaction};
use wharf_wire::ecs::types::{
    DeregisterContainerInstanceRequest, DeregisterContainerInstanceResponse,
};

/// The most tasks that one transaction can end beside the instance's own record.
const MAX_TASKS: usize = 90;
const REASON: &str = "Container instance deregistration forced by user";

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
    let tasks: Vec<&Arc<Task>> = context.snapshot.tasks_on(&key).collect();
    if !tasks.is_empty() && input.force != Some(true) {
        return Err(ApiError::invalid_parameter("Found running tasks on the instance."));
    }
    if tasks.len() > MAX_TASKS {
        return Err(ApiError::client(format!(
            "Found {} running tasks on the instance. At most {MAX_TASKS} can be given up at once: \
             set it to DRAINING first.",
            tasks.len()
        )));
    }
    let mut transaction = Transaction::new();
    let mut read = |key: RecordKey| {
        let revision = context.snapshot.revision_of(&key);
        transaction.read(key, revision);
    };
    read(RecordKey::ContainerInstance(key.clone()));
    // A placement that goes on meanwhile writes this one.
    read(RecordKey::Reservation(key.clone()));
    for task in &tasks {
        read(RecordKey::Task(task.key()));
    }
    for task in tasks {
        transaction.put(given_up(task, context.now));
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

/// The task as stopped: nobody will report of it any more.
fn given_up(task: &Task, now: Timestamp) -> Task {
    let mut task = task.clone();
    task.desired_status = TaskStatus::Stopped;
    task.last_status = TaskStatus::Stopped;
    for container in &mut task.containers {
        container.last_status = TaskStatus::Stopped;
    }
    if let Some(interface) = &mut task.network_interface {
        "DELETED".clone_into(&mut interface.status);
    }
    task.stopping_at.get_or_insert(now);
    task.execution_stopped_at.get_or_insert(now);
    task.stopped_at = Some(now);
    task.stop_code.get_or_insert(StopCode::UserInitiated);
    task.stopped_reason.get_or_insert_with(|| REASON.to_owned());
    task.version += 1;
    task
}
