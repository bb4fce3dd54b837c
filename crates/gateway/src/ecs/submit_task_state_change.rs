//! SubmitTaskStateChange: what an agent reports of a task.

use super::{resolve, state_change};
use crate::context::{Context, Outcome, Result};
use wharf_scheduler::task::TaskStateChange;
use wharf_wire::ecs::types::{SubmitTaskStateChangeRequest, SubmitTaskStateChangeResponse};

/// SubmitTaskStateChange.
pub fn submit_task_state_change(
    context: &Context<'_>,
    input: &SubmitTaskStateChangeRequest,
) -> Result<SubmitTaskStateChangeResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let task =
        resolve::task_key(context, &cluster.name, input.task.as_deref().unwrap_or_default())?;
    let containers = input.containers.iter().flatten();
    let attachments = input.attachments.iter().flatten();
    let time = |t: Option<wharf_wire::Timestamp>| t.map(|t| wharf_model::Timestamp(t.0));
    let change = TaskStateChange {
        status: input.status.as_deref().map(state_change::status).transpose()?.flatten(),
        reason: input.reason.clone().filter(|r| !r.is_empty()),
        containers: containers
            .map(state_change::container)
            .collect::<std::result::Result<_, _>>()?,
        interface_attached: attachments
            .into_iter()
            .any(|a| a.status.as_deref() == Some(state_change::ATTACHED)),
        pull_started_at: time(input.pull_started_at),
        pull_stopped_at: time(input.pull_stopped_at),
        execution_stopped_at: time(input.execution_stopped_at),
        ..TaskStateChange::of(task)
    };
    let transaction = state_change::apply(context, &change)?;
    let output =
        SubmitTaskStateChangeResponse { acknowledgment: Some(context.endpoint.to_owned()) };
    Ok(Outcome::write(output, transaction))
}
