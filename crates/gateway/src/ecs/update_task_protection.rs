//! UpdateTaskProtection: spares tasks of services from scale-in and deployments for a while, or no
//! longer.

use super::task_protection::{at_most, service_task, shown};
use super::{present, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use std::collections::BTreeMap;
use std::time::Duration;
use wharf_model::service::RolloutState;
use wharf_model::{RecordKey, Service, ServiceKey, Task, TaskStatus, Timestamp, Transaction};
use wharf_wire::ecs::types::{Failure, UpdateTaskProtectionRequest, UpdateTaskProtectionResponse};

/// The most tasks of one call.
const MAX_ITEMS: usize = 10;
/// Minutes of protection: what they may be, and what they are unless said otherwise.
const MINUTES: std::ops::RangeInclusive<i32> = 1..=2880;
const DEFAULT_MINUTES: i32 = 120;

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
    at_most(identifiers.len(), MAX_ITEMS)?;
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

/// More protected tasks than wanted ones would block every deployment; and where protected tasks
/// are all that a deployment still waits for, no more are protected (ECS developer guide, "API
/// failure reasons").
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
    if others >= wanted || holds_up_a_deployment(context, service, task) {
        return Err(present::failure(context.arns.task(&task.key()), "DEPLOYMENT_BLOCKED"));
    }
    service.protected_tasks.insert(task.id.clone(), until);
    Ok(())
}

/// True if a deployment has all its tasks and waits for protected tasks of older ones alone, others
/// than `task`.
fn holds_up_a_deployment(context: &Context<'_>, service: &Service, task: &Task) -> bool {
    let primary = service.primary_deployment();
    let Some(primary) = primary.filter(|d| d.rollout_state == RolloutState::InProgress) else {
        return false;
    };
    let key = service.key();
    let tasks: Vec<_> = context.snapshot.service_tasks(&key).filter(|t| t.is_wanted()).collect();
    let is_new = |t: &Task| t.started_by.as_ref() == Some(&primary.id);
    let running = tasks.iter().filter(|t| is_new(t) && t.last_status == TaskStatus::Running);
    let full = running.count() >= usize::try_from(service.desired_count).unwrap_or(0);
    let mut old = tasks.iter().filter(|t| !is_new(t) && t.id != task.id).peekable();
    full && old.peek().is_some() && old.all(|t| service.protects(&t.id, context.now))
}
