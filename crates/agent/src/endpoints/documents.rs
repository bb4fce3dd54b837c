//! The metadata documents (task metadata endpoint versions 2 to 4).

use serde_json::{Map, Value, json};
use wharf_runtime::spec::PortMapping;

use super::Instance;
use super::routes::Version;
use crate::engine::{ContainerState, Known, Machine, TaskStatus};
use crate::launch::{docker_name, ecs_labels};
use crate::shipping;
use crate::task::{Container, Network, Task};

/// RFC 3339 in UTC.
pub(super) fn time(at_ms: Option<u64>) -> Value {
    let at = at_ms.and_then(|ms| i64::try_from(ms).ok());
    match at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        Some(at) => json!(at.to_string()),
        None => Value::Null,
    }
}

/// Leaves out what isn't known, as the agent's own documents do.
pub(super) fn known(members: Vec<(&str, Value)>) -> Value {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let members = members.into_iter().filter(|(_, value)| !empty(value));
    Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn known_status(machine: &Machine) -> &'static str {
    match machine.state.known {
        TaskStatus::Stopped => "STOPPED",
        TaskStatus::Running => "RUNNING",
        TaskStatus::Pending => {
            let created = machine.state.containers.iter().all(|c| c.known >= Known::Created);
            if created { "CREATED" } else { "NONE" }
        }
    }
}

/// The task with its containers.
pub(super) fn task(machine: &Machine, instance: &Instance, version: Version) -> Value {
    let task = &machine.task;
    let state = &machine.state;
    let v4 = version == Version::V4;
    let containers: Vec<Value> = machine
        .containers()
        .map(|(container, state)| self::container(machine, container, state, instance, version))
        .collect();
    known(vec![
        ("Cluster", json!(instance.cluster)),
        ("TaskARN", json!(task.arn)),
        ("Family", json!(task.family)),
        ("Revision", json!(task.version)),
        ("DesiredStatus", json!(state.desired.as_str())),
        ("KnownStatus", json!(known_status(machine))),
        ("Limits", known(vec![("CPU", json!(task.cpu)), ("Memory", json!(task.memory_mib))])),
        ("PullStartedAt", time(state.pull_started_at_ms)),
        ("PullStoppedAt", time(state.pull_stopped_at_ms)),
        ("ExecutionStoppedAt", time(state.execution_stopped_at_ms)),
        ("AvailabilityZone", json!(instance.availability_zone)),
        ("LaunchType", json!(task.launch_type)),
        ("Containers", json!(containers)),
        ("ServiceName", if v4 { json!(task.service_name) } else { Value::Null }),
        ("Group", if v4 { json!(task.group) } else { Value::Null }),
        ("FaultInjectionEnabled", if v4 { json!(false) } else { Value::Null }),
    ])
}

/// The container of that name.
pub(super) fn container_by_name(
    machine: &Machine,
    name: &str,
    instance: &Instance,
    version: Version,
) -> Value {
    let mut containers = machine.containers();
    match containers.find(|(container, _)| container.name == name) {
        Some((found, state)) => container(machine, found, state, instance, version),
        None => Value::Null,
    }
}

fn container(
    machine: &Machine,
    container: &Container,
    state: &ContainerState,
    instance: &Instance,
    version: Version,
) -> Value {
    let task = &machine.task;
    let mut labels = container.labels.clone();
    labels.extend(ecs_labels(task, &container.name, &instance.cluster));
    let v4 = version == Version::V4;
    let health = container.health_check.as_ref().map(|_| {
        known(vec![
            ("status", json!(state.health.as_str())),
            ("statusSince", time(state.health_since_ms)),
            ("exitCode", json!(state.health_check.as_ref().map(|(code, _)| code))),
            ("output", json!(state.health_check.as_ref().map(|(_, output)| output))),
        ])
    });
    let restarts = restarts(container, state).filter(|_| v4);
    let arn = if version == Version::V2 { Value::Null } else { json!(container.arn) };
    let cpu = container.cpu;
    let log_driver = Some(container.log.driver.as_str()).filter(|driver| !driver.is_empty());
    let log_driver = log_driver.unwrap_or("json-file");
    known(vec![
        ("DockerId", json!(state.runtime_id)),
        ("Name", json!(container.name)),
        ("DockerName", json!(docker_name(task, &container.name))),
        ("Image", json!(container.image)),
        ("ImageID", json!(state.image_id)),
        ("Ports", ports(&state.ports)),
        ("Labels", json!(labels)),
        ("DesiredStatus", json!(machine.state.desired.as_str())),
        ("KnownStatus", json!(state.known.as_str())),
        ("ExitCode", json!(state.exit_code)),
        ("Limits", known(vec![("CPU", json!(cpu)), ("Memory", json!(container.memory_mib))])),
        ("CreatedAt", time(state.created_at_ms)),
        ("StartedAt", time(state.started_at_ms)),
        ("FinishedAt", time(state.finished_at_ms)),
        ("Type", json!("NORMAL")),
        ("Health", json!(health)),
        ("RestartCount", json!(restarts)),
        ("LogDriver", if v4 { json!(log_driver) } else { Value::Null }),
        ("LogOptions", if v4 { json!(shipping::shown(task, container)) } else { Value::Null }),
        ("ContainerARN", arn),
        ("Networks", networks(task, state, version)),
        ("Snapshotter", if v4 { json!("overlayfs") } else { Value::Null }),
    ])
}

/// How often a container with a restart policy was started again.
fn restarts(container: &Container, state: &ContainerState) -> Option<u64> {
    container.restart_policy.as_ref().map(|_| state.restarts.count)
}

fn ports(ports: &[PortMapping]) -> Value {
    let one = |port: &PortMapping| {
        json!({ "ContainerPort": port.container_port, "Protocol": port.protocol.as_str(),
                "HostPort": port.host_port, "HostIp": "0.0.0.0" })
    };
    Value::Array(ports.iter().flat_map(PortMapping::each).map(|port| one(&port)).collect())
}

fn networks(task: &Task, state: &ContainerState, version: Version) -> Value {
    let mode = task.network.as_str();
    match &task.network {
        Network::Awsvpc(interface) => {
            let eni = &interface.eni;
            let mut network = json!({
                "NetworkMode": mode,
                "IPv4Addresses": [eni.address.to_string()],
            });
            if version == Version::V4 {
                let subnet = wharf_runtime::spec::Ipv4Cidr::new(eni.address, eni.prefix);
                let more = known(vec![
                    ("AttachmentIndex", json!(0)),
                    ("MACAddress", json!(eni.mac.to_string())),
                    ("IPv4SubnetCIDRBlock", json!(subnet.ok().map(|cidr| cidr.to_string()))),
                    ("DomainNameServers", json!(task.dns.servers)),
                    ("DomainNameSearchList", json!(task.dns.search)),
                    ("PrivateDNSName", json!(eni.private_dns_name)),
                    ("SubnetGatewayIpv4Address", json!(format!("{}/{}", eni.gateway, eni.prefix))),
                ]);
                if let (Value::Object(network), Value::Object(more)) = (&mut network, more) {
                    network.extend(more);
                }
            }
            json!([network])
        }
        _ => {
            let addresses: Vec<String> = state.address.iter().map(ToString::to_string).collect();
            json!([known(vec![("NetworkMode", json!(mode)), ("IPv4Addresses", json!(addresses)),])])
        }
    }
}

/// A task as introspection shows it.
pub(super) fn introspected(machine: &Machine, instance: &Instance) -> Value {
    let containers: Vec<Value> = machine
        .containers()
        .map(|(container, state)| {
            known(vec![
                ("DockerId", json!(state.runtime_id)),
                ("DockerName", json!(docker_name(&machine.task, &container.name))),
                ("Name", json!(container.name)),
                ("Image", json!(container.image)),
                ("ImageID", json!(state.image_id)),
                ("CreatedAt", time(state.created_at_ms)),
                ("StartedAt", time(state.started_at_ms)),
                ("Ports", ports(&state.ports)),
                ("Networks", networks(&machine.task, state, Version::V4)),
                ("RestartCount", json!(restarts(container, state))),
            ])
        })
        .collect();
    known(vec![
        ("Arn", json!(machine.task.arn)),
        ("Cluster", json!(instance.cluster)),
        ("DesiredStatus", json!(machine.state.desired.as_str())),
        ("KnownStatus", json!(known_status(machine))),
        ("Family", json!(machine.task.family)),
        ("Version", json!(machine.task.version)),
        ("Containers", json!(containers)),
    ])
}
