//! SubmitContainerStateChange: what an agent reports of one container.

use super::{resolve, state_change};
use crate::context::{Context, Outcome, Result};
use wharf_scheduler::task::TaskStateChange;
use wharf_wire::ecs::types::{
    ContainerStateChange, SubmitContainerStateChangeRequest, SubmitContainerStateChangeResponse,
};

/// SubmitContainerStateChange.
pub fn submit_container_state_change(
    context: &Context<'_>,
    input: &SubmitContainerStateChangeRequest,
) -> Result<SubmitContainerStateChangeResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let task =
        resolve::task_key(context, &cluster.name, input.task.as_deref().unwrap_or_default())?;
    let container = state_change::container(&ContainerStateChange {
        container_name: input.container_name.clone(),
        image_digest: None,
        runtime_id: input.runtime_id.clone(),
        exit_code: input.exit_code,
        network_bindings: input.network_bindings.clone(),
        reason: input.reason.clone(),
        status: input.status.clone(),
    })?;
    let change = TaskStateChange { containers: vec![container], ..TaskStateChange::of(task) };
    let transaction = state_change::apply(context, &change)?;
    let output =
        SubmitContainerStateChangeResponse { acknowledgment: Some(context.endpoint.to_owned()) };
    Ok(Outcome::write(output, transaction))
}
