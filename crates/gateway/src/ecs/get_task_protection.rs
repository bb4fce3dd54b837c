//! GetTaskProtection: which tasks of services are spared from scale-in, and until when.

use super::resolve;
use super::task_protection::{at_most, service_task, shown};
use crate::context::{Context, Outcome, Result};
use std::sync::Arc;
use wharf_model::ServiceKey;
use wharf_wire::ecs::types::{GetTaskProtectionRequest, GetTaskProtectionResponse};

/// The most tasks of one call.
const MAX_ITEMS: usize = 100;

/// GetTaskProtection.
pub fn get_task_protection(
    context: &Context<'_>,
    input: &GetTaskProtectionRequest,
) -> Result<GetTaskProtectionResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let identifiers = input.tasks.as_deref().unwrap_or_default();
    at_most(identifiers.len(), MAX_ITEMS)?;
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
