//! SubmitAttachmentStateChanges: what an agent reports of attachments, by their ARNs alone.

use super::{resolve, state_change};
use crate::context::{Context, Outcome, Result};
use wharf_model::Transaction;
use wharf_scheduler::task::TaskStateChange;
use wharf_wire::ecs::types::{
    SubmitAttachmentStateChangesRequest, SubmitAttachmentStateChangesResponse,
};

/// SubmitAttachmentStateChanges.
pub fn submit_attachment_state_changes(
    context: &Context<'_>,
    input: &SubmitAttachmentStateChangesRequest,
) -> Result<SubmitAttachmentStateChangesResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let mut transaction = Transaction::new();
    for attachment in input.attachments.iter().flatten() {
        if attachment.status.as_deref() != Some(state_change::ATTACHED) {
            continue;
        }
        let arn = attachment.attachment_arn.as_deref().unwrap_or_default();
        let id = arn.rsplit('/').next().unwrap_or_default();
        let task = context
            .snapshot
            .tasks(&cluster.name)
            .find(|task| task.network_interface.as_ref().is_some_and(|i| i.attachment_id == id));
        if let Some(task) = task {
            let change =
                TaskStateChange { interface_attached: true, ..TaskStateChange::of(task.key()) };
            transaction.extend(state_change::apply(context, &change)?);
        }
    }
    let output =
        SubmitAttachmentStateChangesResponse { acknowledgment: Some(context.endpoint.to_owned()) };
    Ok(Outcome::write(output, transaction))
}
