//! GetTaskProtection and UpdateTaskProtection: tasks of services that scale-in and deployments
//! spare for a while. The protection is part of the service's record, so that it can't be granted
//! while a scale-in decides.

use super::{present, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wharf_model::service::ServiceStatus;
use wharf_model::{Cluster, RecordKey, Service, ServiceKey, Task, Timestamp, Transaction};
use wharf_wire::ecs::types::{
    Failure, GetTaskProtectionRequest, GetTaskProtectionResponse, ProtectedTask,
    UpdateTaskProtectionRequest, UpdateTaskProtectionResponse,
};

/// The most tasks of one call (ECS API).
const MAX_GET: usize = 100;
const MAX_UPDATE: usize = 10;
/// Minutes of protection: what they may be, and what they are unless said otherwise.
const MINUTES: std::ops::RangeInclusive<i32> = 1..=2880;
const DEFAULT_MINUTES: i32 = 120;

/// GetTaskProtection.
pub fn get_task_protection(
    context: &Context<'_>,
    input: &GetTaskProtectionRequest,
) -> Result<GetTaskProtectionResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let identifiers = input.tasks.as_deref().unwrap_or_default();
    at_most(identifiers.len(), MAX_GET)?;
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    if identifiers.is_empty() {
        for service in context.snapshot.services(&cluster.name) {
            let key = service.key();
            let all = context.snapshot.service_tasks(&key);
            tasks.extend(all.filter(|t| service.protects(&t.id, context.now)).map(Arc::clone));
        }
    }
    for identifier in identifiers {
        match service_task(context, cluster, identifier)? {
            Ok((task, _)) => tasks.push(Arc::clone(task)),
            Err(failure) => failures.push(failure),
        }
    }
    let protected = tasks.iter().map(|task| {
        let service =
            task.service.clone().map(|name| ServiceKey { cluster: task.cluster.clone(), name });
        let service = service.and_then(|key| context.snapshot.service(&key));
        let until = service.and_then(|s| s.protected_tasks.get(&task.id).copied());
        shown(context, task, until.filter(|until| *until > context.now))
    });
    Ok(Outcome::read(GetTaskProtectionResponse {
        protected_tasks: Some(protected.collect()),
        failures: Some(failures),
    }))
}

/// UpdateTaskProtection.
pub fn update_task_protection(
    context: &Context<'_>,
    input: &UpdateTaskProtectionRequest,
) -> Result<UpdateTaskProtectionResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let identifiers = input.tasks.as_deref().unwrap_or_default();
    if identifiers.is_empty() {
        return Err(ApiError::invalid_parameter("Tasks cannot be empty."));
    }
    at_most(identifiers.len(), MAX_UPDATE)?;
    let minutes = input.expires_in_minutes.unwrap_or(DEFAULT_MINUTES);
    if !MINUTES.contains(&minutes) {
        return Err(ApiError::invalid_parameter("expiresInMinutes must be between 1 and 2880."));
    }
    let enabled = input.protection_enabled == Some(true);
    let seconds = u64::from(minutes.unsigned_abs()) * 60;
    let until = enabled.then(|| context.now.plus(Duration::from_secs(seconds)));
    let mut changed: BTreeMap<ServiceKey, Service> = BTreeMap::new();
    let (mut protected, mut failures) = (Vec::new(), Vec::new());
    for identifier in identifiers {
        let (task, known) = match service_task(context, cluster, identifier)? {
            Ok(found) => found,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let service = changed.entry(known.key()).or_insert_with(|| {
            let mut service = Service::clone(known);
            service.protected_tasks.retain(|_, until| *until > context.now);
            service
        });
        match protect(context, service, task, until) {
            Ok(()) => protected.push(shown(context, task, until)),
            Err(failure) => failures.push(failure),
        }
    }
    let mut transaction = Transaction::new();
    for (key, service) in changed {
        let record_key = RecordKey::Service(key);
        transaction.read(record_key.clone(), context.snapshot.revision_of(&record_key));
        transaction.put(service);
    }
    let output =
        UpdateTaskProtectionResponse { protected_tasks: Some(protected), failures: Some(failures) };
    Ok(Outcome::write(output, transaction))
}

fn at_most(count: usize, most: usize) -> std::result::Result<(), ApiError> {
    if count > most {
        return Err(ApiError::invalid_parameter(format!("taskIds can have at most {most} items.")));
    }
    Ok(())
}

type Found<'a> = std::result::Result<(&'a Arc<Task>, &'a Arc<Service>), Failure>;

/// The running task of an ACTIVE service, or why it can't be protected.
fn service_task<'a>(
    context: &Context<'a>,
    cluster: &Cluster,
    identifier: &str,
) -> std::result::Result<Found<'a>, ApiError> {
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

/// More protected tasks than wanted ones would block every deployment.
fn protect(
    context: &Context<'_>,
    service: &mut Service,
    task: &Task,
    until: Option<Timestamp>,
) -> std::result::Result<(), Failure> {
    let Some(until) = until else {
        service.protected_tasks.remove(&task.id);
        return Ok(());
    };
    let others = service.protected_tasks.keys().filter(|id| **id != task.id).count();
    let wanted = usize::try_from(service.desired_count).unwrap_or(0);
    if others >= wanted {
        return Err(present::failure(context.arns.task(&task.key()), "DEPLOYMENT_BLOCKED"));
    }
    service.protected_tasks.insert(task.id.clone(), until);
    Ok(())
}

fn shown(context: &Context<'_>, task: &Task, until: Option<Timestamp>) -> ProtectedTask {
    ProtectedTask {
        task_arn: Some(context.arns.task(&task.key())),
        protection_enabled: Some(until.is_some()),
        expiration_date: until.map(present::timestamp),
    }
}
