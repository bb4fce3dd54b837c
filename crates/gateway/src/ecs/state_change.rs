//! What agents report, in the model's terms: shared by the three Submit operations.

use crate::context::Context;
use crate::error::ApiError;
use crate::identity::Kind;
use wharf_model::{NetworkBinding, TaskStatus, Transaction, TransportProtocol};
use wharf_scheduler::task::{ContainerStateChange, TaskStateChange, apply_state_change};
use wharf_wire::ecs::types;

/// `status` of an attachment that is in place.
pub const ATTACHED: &str = "ATTACHED";

/// The task status that the agent's word means. A manifest that was pulled (`MANIFEST_PULLED`) or
/// a container that was made (`CREATED`) is no step of the API's lifecycle.
///
/// # Errors
/// InvalidParameterException for a word that no agent uses.
pub fn status(word: &str) -> Result<Option<TaskStatus>, ApiError> {
    match word {
        "" | "MANIFEST_PULLED" | "CREATED" | "NONE" => Ok(None),
        word => TaskStatus::parse(word).map(Some).ok_or_else(|| {
            ApiError::invalid_parameter(format!("{word} is not the status of a task."))
        }),
    }
}

/// A container's report.
///
/// # Errors
/// InvalidParameterException for a status or a port that is none.
pub fn container(sent: &types::ContainerStateChange) -> Result<ContainerStateChange, ApiError> {
    let bindings = sent.network_bindings.as_ref();
    let bindings = bindings.map(|list| list.iter().map(binding).collect::<Result<_, _>>());
    Ok(ContainerStateChange {
        name: sent.container_name.clone().unwrap_or_default(),
        status: sent.status.as_deref().map(status).transpose()?.flatten(),
        runtime_id: sent.runtime_id.clone(),
        exit_code: sent.exit_code,
        reason: sent.reason.clone().filter(|r| !r.is_empty()),
        image_digest: sent.image_digest.clone().filter(|d| !d.is_empty()),
        network_bindings: bindings.transpose()?,
    })
}

fn binding(sent: &types::NetworkBinding) -> Result<NetworkBinding, ApiError> {
    let port = |value: Option<i32>| {
        value.and_then(|p| u16::try_from(p).ok()).ok_or_else(|| {
            ApiError::invalid_parameter("A network binding's port is between 0 and 65535.")
        })
    };
    let wrong = || ApiError::invalid_parameter("A network binding's range is first-last.");
    let range = |text: &str| {
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let parse = |text: &str| text.parse::<u16>().map_err(|_| wrong());
        let (first, last) = (parse(first)?, parse(last)?);
        let count = last.checked_sub(first).and_then(|n| n.checked_add(1)).ok_or_else(wrong)?;
        Ok::<_, ApiError>((first, count))
    };
    let (container_port, host_port, range) =
        match (&sent.container_port_range, &sent.host_port_range) {
            (Some(inside), Some(outside)) => {
                let ((inside, count), (outside, _)) = (range(inside)?, range(outside)?);
                (inside, outside, Some(count))
            }
            _ => (port(sent.container_port)?, port(sent.host_port)?, None),
        };
    Ok(NetworkBinding {
        bind_ip: sent.bind_ip.clone().unwrap_or_else(|| "0.0.0.0".to_owned()),
        container_port,
        host_port,
        range,
        protocol: match &sent.protocol {
            Some(types::TransportProtocol::Udp) => TransportProtocol::Udp,
            _ => TransportProtocol::Tcp,
        },
    })
}

/// The transaction of a report. An agent speaks for the tasks of its own instance only; what is
/// said of a task that is gone is taken without effect, so that the agent forgets it.
///
/// # Errors
/// AccessDeniedException if the caller's key isn't the one that registered the task's instance.
pub fn apply(context: &Context<'_>, change: &TaskStateChange) -> Result<Transaction, ApiError> {
    let snapshot = context.snapshot;
    let instance = snapshot.task(&change.task).and_then(|t| t.container_instance_key());
    let instance = instance.and_then(|key| snapshot.container_instance(&key));
    let own = instance.is_none_or(|i| i.registered_by == context.identity.principal_arn());
    if context.identity.kind() != Kind::Root && !own {
        return Err(ApiError::access_denied(
            "The task runs on a container instance that another principal registered.",
        ));
    }
    match apply_state_change(snapshot, change, context.now) {
        Ok(applied) => Ok(applied.transaction),
        Err(_) => Ok(Transaction::new()),
    }
}
