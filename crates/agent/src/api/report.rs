//! SubmitTaskStateChange from the engine's reports.

use wharf_runtime::spec::Protocol;
use wharf_wire::Timestamp;
use wharf_wire::ecs;
use wharf_wire::ecs::types::{
    AttachmentStateChange, ContainerStateChange, NetworkBinding, SubmitTaskStateChangeRequest,
    TransportProtocol,
};

use super::{EcsClient, Error};
use crate::engine::{self, TaskStateChange, TaskStatus};

/// Sends one report, once.
pub async fn submit(
    client: &EcsClient,
    cluster: &str,
    change: &TaskStateChange,
) -> Result<(), Error> {
    client.call::<ecs::operation::SubmitTaskStateChange>(request(cluster, change)).await.map(|_| ())
}

fn request(cluster: &str, change: &TaskStateChange) -> SubmitTaskStateChangeRequest {
    let at = |millis: Option<u64>| {
        millis.and_then(|millis| i64::try_from(millis).ok()).map(Timestamp::from_millis)
    };
    let mut request = SubmitTaskStateChangeRequest {
        cluster: Some(cluster.to_owned()),
        task: Some(change.task_arn.clone()),
        ..Default::default()
    };
    let attached = |arn: &String| AttachmentStateChange {
        attachment_arn: Some(arn.clone()),
        status: Some("ATTACHED".to_owned()),
    };
    if !change.attached.is_empty() {
        request.attachments = Some(change.attached.iter().map(attached).collect());
    }
    let Some(status) = change.status else { return request };
    request.status = Some(status.as_str().to_owned());
    request.reason = Some(change.reason.clone().unwrap_or_default());
    if !change.containers.is_empty() {
        request.containers = Some(change.containers.iter().map(container).collect());
    }
    request.pull_started_at = at(change.pull_started_at_ms);
    request.pull_stopped_at = at(change.pull_stopped_at_ms);
    if status == TaskStatus::Stopped {
        request.execution_stopped_at = at(change.execution_stopped_at_ms);
    }
    request
}

fn container(change: &engine::ContainerStateChange) -> ContainerStateChange {
    let range = |first: u16, count: u16| {
        format!("{first}-{}", first.saturating_add(count.saturating_sub(1)))
    };
    let single = |port: &wharf_runtime::spec::PortMapping, number| {
        port.range.is_none().then(|| i32::from(number))
    };
    let binding = |port: &wharf_runtime::spec::PortMapping| NetworkBinding {
        bind_ip: Some("0.0.0.0".to_owned()),
        container_port: single(port, port.container_port),
        host_port: single(port, port.host_port),
        container_port_range: port.range.map(|count| range(port.container_port, count)),
        host_port_range: port.range.map(|count| range(port.host_port, count)),
        protocol: Some(match port.protocol {
            Protocol::Tcp => TransportProtocol::from("tcp"),
            Protocol::Udp => TransportProtocol::from("udp"),
        }),
    };
    let bindings: Vec<NetworkBinding> = change.ports.iter().map(binding).collect();
    ContainerStateChange {
        container_name: Some(change.name.clone()),
        status: Some(change.status_word().to_owned()),
        runtime_id: change.runtime_id.clone(),
        exit_code: change.exit_code,
        reason: change.reason.clone(),
        image_digest: change.image_digest.clone(),
        network_bindings: (!bindings.is_empty()).then_some(bindings),
    }
}
