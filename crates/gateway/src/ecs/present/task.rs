//! A task as the API shows it.

use super::task_definition::{environment_file, ephemeral_storage};
use super::{launch_type, pair, tags, timestamp};
use crate::context::Context;
use wharf_model::resources::TransportProtocol;
use wharf_model::status::HealthStatus;
use wharf_model::task::{ContainerOverride, TaskOverride};
use wharf_model::task_definition::LaunchType;
use wharf_model::{
    Container, ContainerDefinition, ContainerInstance, NetworkBinding, NetworkInterface, Task,
};
use wharf_wire::ecs::types;

/// The attribute that a task shows of its instance.
const CPU_ARCHITECTURE: &str = "ecs.cpu-architecture";
/// What LATEST means for tasks on FARGATE.
const LATEST_PLATFORM: &str = "1.4.0";
/// The instance attribute that holds its zone.
const AVAILABILITY_ZONE: &str = "ecs.availability-zone";

/// The task; its tags only if `with_tags` (the API's `include: [TAGS]`), otherwise an empty list.
pub fn task(context: &Context<'_>, record: &Task, with_tags: bool) -> types::Task {
    let snapshot = context.snapshot;
    let definition = snapshot.task_definition(&record.task_definition);
    let instance_key = record.container_instance_key();
    let instance = instance_key.as_ref().and_then(|key| snapshot.container_instance(key));
    let connected = instance_key.as_ref().is_none_or(|key| context.soft.agent_connected(key));
    let fargate = record.launch_type == LaunchType::Fargate;
    let container = |c: &Container| {
        let of_definition = definition.and_then(|d| d.container(&c.name));
        container(context, record, c, of_definition)
    };
    // A task without a check has no health to speak of.
    let health = wharf_scheduler::task::health(record, definition.map(|d| &**d));
    let health = health.unwrap_or(HealthStatus::Unknown);
    let storage = definition.and_then(|d| wharf_scheduler::task::storage_gib(snapshot, record, d));
    types::Task {
        attachments: Some(record.network_interface.iter().map(attachment).collect()),
        attributes: Some(instance.map(|i| task_attributes(i)).unwrap_or_default()),
        availability_zone: availability_zone(context, record, instance.map(|i| &**i)),
        capacity_provider_name: record.capacity_provider.clone(),
        cluster_arn: Some(context.arns.cluster(&record.cluster)),
        connectivity: record
            .connectivity_at
            .map(|_| if connected { "CONNECTED" } else { "DISCONNECTED" }.into()),
        connectivity_at: record.connectivity_at.map(timestamp),
        // Whose host it is, FARGATE doesn't tell.
        container_instance_arn: instance_key
            .filter(|_| !fargate)
            .map(|key| context.arns.container_instance(&key)),
        containers: Some(record.containers.iter().map(container).collect()),
        cpu: Some(record.reserved.cpu.to_string()),
        created_at: Some(timestamp(record.created_at)),
        desired_status: Some(record.desired_status.as_str().to_owned()),
        enable_execute_command: Some(record.enable_execute_command),
        ephemeral_storage: storage.and_then(ephemeral_storage),
        fargate_ephemeral_storage: storage
            .filter(|_| fargate)
            .and_then(|gib| i32::try_from(gib).ok())
            .map(|gib| types::TaskEphemeralStorage { size_in_gi_b: Some(gib), kms_key_id: None }),
        execution_stopped_at: record.execution_stopped_at.map(timestamp),
        group: Some(record.group.clone()),
        health_status: Some(health.as_str().into()),
        last_status: Some(record.last_status.as_str().to_owned()),
        launch_type: Some(launch_type(record.launch_type)),
        memory: Some(record.reserved.memory_mib.to_string()),
        overrides: Some(overrides(record)),
        platform_family: fargate.then(|| "Linux".to_owned()),
        platform_version: fargate
            .then(|| record.platform_version.clone().unwrap_or_else(|| LATEST_PLATFORM.to_owned())),
        pull_started_at: record.pull_started_at.map(timestamp),
        pull_stopped_at: record.pull_stopped_at.map(timestamp),
        started_at: record.started_at.map(timestamp),
        started_by: record.started_by.clone(),
        stop_code: record.stop_code.map(|code| code.as_str().into()),
        stopped_at: record.stopped_at.map(timestamp),
        stopped_reason: record.stopped_reason.clone(),
        stopping_at: record.stopping_at.map(timestamp),
        tags: Some(if with_tags { tags(&record.tags) } else { Vec::new() }),
        task_arn: Some(context.arns.task(&record.key())),
        task_definition_arn: Some(context.arns.task_definition(&record.task_definition)),
        version: Some(record.version),
        ..types::Task::default()
    }
}

/// The attributes that a task shows of the instance that it runs on.
pub fn task_attributes(instance: &ContainerInstance) -> Vec<types::Attribute> {
    let attribute = |a: &wharf_model::Attribute| types::Attribute {
        name: Some(a.name.clone()),
        value: a.value.clone(),
        ..types::Attribute::default()
    };
    instance.attribute(CPU_ARCHITECTURE).map(attribute).into_iter().collect()
}

/// The zone of the task's subnet, else of its instance.
fn availability_zone(
    context: &Context<'_>,
    record: &Task,
    instance: Option<&ContainerInstance>,
) -> Option<String> {
    let interface = record.network_interface.as_ref();
    let subnet = interface.and_then(|i| context.network().subnet(&i.subnet_id));
    let of_instance = || instance?.attribute_value(AVAILABILITY_ZONE).map(str::to_owned);
    subnet.map(|s| s.availability_zone.clone()).or_else(of_instance)
}

fn container(
    context: &Context<'_>,
    task: &Task,
    record: &Container,
    definition: Option<&ContainerDefinition>,
) -> types::Container {
    let overrides = task.overrides.containers.iter().find(|o| o.name == record.name);
    let cpu = overrides.and_then(|o| o.cpu).or(definition.map(|d| d.cpu));
    let memory = overrides.and_then(|o| o.memory).or(definition.and_then(|d| d.memory));
    let memory_reservation = overrides
        .and_then(|o| o.memory_reservation)
        .or(definition.and_then(|d| d.memory_reservation));
    let interface = |i: &NetworkInterface| types::NetworkInterface {
        attachment_id: Some(i.attachment_id.clone()),
        private_ipv4_address: Some(i.private_ip.to_string()),
        ipv6_address: None,
    };
    types::Container {
        container_arn: Some(context.arns.container(&task.key(), &record.id)),
        task_arn: Some(context.arns.task(&task.key())),
        name: Some(record.name.clone()),
        image: definition.map(|d| d.image.clone()),
        image_digest: record.image_digest.clone(),
        runtime_id: record.runtime_id.clone(),
        last_status: Some(record.last_status.as_str().to_owned()),
        exit_code: record.exit_code,
        reason: record.reason.clone(),
        network_bindings: Some(record.network_bindings.iter().map(network_binding).collect()),
        network_interfaces: Some(task.network_interface.iter().map(interface).collect()),
        health_status: Some(record.health.as_str().into()),
        managed_agents: None,
        cpu: Some(cpu.unwrap_or(0).to_string()),
        memory: memory.map(|n| n.to_string()),
        memory_reservation: memory_reservation.map(|n| n.to_string()),
        gpu_ids: (!record.gpu_ids.is_empty()).then(|| record.gpu_ids.clone()),
    }
}

fn network_binding(record: &NetworkBinding) -> types::NetworkBinding {
    types::NetworkBinding {
        bind_ip: Some(record.bind_ip.clone()),
        container_port: record.range.is_none().then(|| record.container_port.into()),
        host_port: record.range.is_none().then(|| record.host_port.into()),
        protocol: Some(match record.protocol {
            TransportProtocol::Tcp => types::TransportProtocol::Tcp,
            TransportProtocol::Udp => types::TransportProtocol::Udp,
        }),
        container_port_range: record.range.map(|count| range(record.container_port, count)),
        host_port_range: record.range.map(|count| range(record.host_port, count)),
    }
}

/// The range of so many ports.
fn range(first: u16, count: u16) -> String {
    format!("{first}-{}", first.saturating_add(count.saturating_sub(1)))
}

fn attachment(interface: &NetworkInterface) -> types::Attachment {
    types::Attachment {
        id: Some(interface.attachment_id.clone()),
        r#type: Some("ElasticNetworkInterface".to_owned()),
        status: Some(interface.status.clone()),
        details: Some(vec![
            pair("subnetId", &interface.subnet_id),
            pair("networkInterfaceId", &interface.eni_id),
            pair("macAddress", &interface.mac_address),
            pair("privateIPv4Address", &interface.private_ip.to_string()),
        ]),
    }
}

/// One entry a container, also for those without overrides: what the real service shows.
fn overrides(record: &Task) -> types::TaskOverride {
    let TaskOverride {
        containers,
        cpu,
        memory,
        ephemeral_storage_gib,
        task_role_arn,
        execution_role_arn,
    } = &record.overrides;
    let none = |name: &String| types::ContainerOverride {
        name: Some(name.clone()),
        ..types::ContainerOverride::default()
    };
    let overridden = containers.iter().map(container_override);
    let others = record.containers.iter().map(|c| &c.name);
    let others = others.filter(|name| !containers.iter().any(|o| o.name == **name)).map(none);
    types::TaskOverride {
        container_overrides: Some(overridden.chain(others).collect()),
        cpu: cpu.map(|n| n.to_string()),
        inference_accelerator_overrides: Some(Vec::new()),
        execution_role_arn: execution_role_arn.clone(),
        memory: memory.map(|n| n.to_string()),
        task_role_arn: task_role_arn.clone(),
        ephemeral_storage: ephemeral_storage_gib.and_then(ephemeral_storage),
    }
}

fn container_override(record: &ContainerOverride) -> types::ContainerOverride {
    let environment = &record.environment;
    let small = |n: Option<i64>| n.and_then(|n| i32::try_from(n).ok());
    types::ContainerOverride {
        name: Some(record.name.clone()),
        command: record.command.clone(),
        environment: (!environment.is_empty())
            .then(|| environment.iter().map(|(n, v)| pair(n, v)).collect()),
        environment_files: (!record.environment_files.is_empty())
            .then(|| record.environment_files.iter().map(environment_file).collect()),
        cpu: small(record.cpu),
        memory: small(record.memory),
        memory_reservation: small(record.memory_reservation),
        resource_requirements: record.gpus.map(super::task_definition::gpus),
    }
}
