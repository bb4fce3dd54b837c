//! Which tasks can be protected, and how protection is shown: shared by GetTaskProtection and
//! UpdateTaskProtection. The protection is part of the service's record, so that it can't be
//! granted while a scale-in decides.

use super::{present, resolve};
use crate::context::Context;
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::service::ServiceStatus;
use wharf_model::{Cluster, Service, ServiceKey, Task, Timestamp};
use wharf_wire::ecs::types::{Failure, ProtectedTask};

/// Checks the number of tasks of a call.
///
/// # Errors
/// InvalidParameterException for more than `most`.
pub fn at_most(count: usize, most: usize) -> Result<(), ApiError> {
    if count > most {
        return Err(ApiError::invalid_parameter(format!("taskIds can have at most {most} items.")));
    }
    Ok(())
}

/// The task and its service, or why the task can't be protected.
pub type Found<'a> = Result<(&'a Arc<Task>, &'a Arc<Service>), Failure>;

/// The running task of an ACTIVE service, or why it can't be protected.
///
/// # Errors
/// InvalidParameterException for what is no task's id or ARN.
pub fn service_task<'a>(
    context: &Context<'a>,
    cluster: &Cluster,
    identifier: &str,
) -> Result<Found<'a>, ApiError> {
    let key = resolve::task_key(context, &cluster.name, identifier)?;
    let arn = context.arns.task(&key);
    let Some(task) = context.snapshot.task(&key) else {
        return Ok(Err(present::failure(arn, "MISSING")));
    };
    let service = task.service.clone().map(|name| ServiceKey { cluster: key.cluster, name });
    let service = service.and_then(|key| context.snapshot.service(&key));
    let active = service.filter(|s| s.status == ServiceStatus::Active && task.is_wanted());
    Ok(active.map(|service| (task, service)).ok_or_else(|| present::failure(arn, "TASK_NOT_VALID")))
}

/// A task's protection.
pub fn shown(context: &Context<'_>, task: &Task, until: Option<Timestamp>) -> ProtectedTask {
    ProtectedTask {
        task_arn: Some(context.arns.task(&task.key())),
        protection_enabled: Some(until.is_some()),
        expiration_date: until.map(present::timestamp),
    }
}
