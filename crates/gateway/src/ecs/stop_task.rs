//! StopTask: a task is told to stop; its agent does it.

use super::{present, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::Write;
use wharf_model::status::StopCode;
use wharf_scheduler::task;
use wharf_wire::ecs::types::{StopTaskRequest, StopTaskResponse};

/// What `stoppedReason` says where the caller gives none.
const DEFAULT_REASON: &str = "Task stopped by user";
/// Longest reason.
const MAX_REASON: usize = 1024;

/// StopTask.
pub fn stop_task(context: &Context<'_>, input: &StopTaskRequest) -> Result<StopTaskResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let identifier = input.task.as_deref().unwrap_or_default();
    if identifier.is_empty() {
        return Err(ApiError::invalid_parameter("Task can not be blank."));
    }
    let key = resolve::task_key(context, &cluster.name, identifier)?;
    let reason = input.reason.as_deref().filter(|r| !r.is_empty()).unwrap_or(DEFAULT_REASON);
    if reason.chars().count() > MAX_REASON {
        return Err(ApiError::invalid_parameter(format!(
            "reason can have at most {MAX_REASON} characters."
        )));
    }
    let not_found = || ApiError::invalid_parameter("The referenced task was not found.");
    let transaction =
        task::stop(context.snapshot, &key, StopCode::UserInitiated, reason, context.now)
            .map_err(|_| not_found())?;
    let changed = transaction.writes.iter().find_map(|write| match write {
        Write::Put(wharf_model::Record::Task(task)) => Some(task),
        _ => None,
    });
    let record = changed.or_else(|| context.snapshot.task(&key)).ok_or_else(not_found)?;
    let output = StopTaskResponse { task: Some(present::task(context, record, true)) };
    Ok(Outcome::write(output, transaction))
}
