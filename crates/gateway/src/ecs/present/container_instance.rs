//! A container instance as the API shows it.

use super::{tags, timestamp};
use crate::context::Context;
use std::collections::BTreeSet;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::resources::STORAGE;
use wharf_model::{ContainerInstance, HostPort, ResourceAmount, TransportProtocol};
use wharf_wire::ecs::types;

/// Which optional parts to show (the API's `include`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Include {
    /// TAGS
    pub tags: bool,
    /// CONTAINER_INSTANCE_HEALTH
    pub health: bool,
}

/// The container instance with what its tasks leave free.
pub fn container_instance(
    context: &Context<'_>,
    record: &ContainerInstance,
    include: Include,
) -> types::ContainerInstance {
    let key = record.key();
    // The instance's own changes and those of its tasks count together (ECS API `version`).
    let placements = context.snapshot.reservation(&key).map_or(0, |r| r.sequence);
    let placements = i64::try_from(placements).unwrap_or(i64::MAX);
    let usage = context.snapshot.usage(&key);
    let mut remaining = record.registered.clone();
    let taken = &usage.used;
    remaining.cpu -= taken.cpu;
    remaining.memory_mib -= taken.memory_mib;
    remaining.storage_gib =
        remaining.storage_gib.map(|gib| gib.saturating_sub(taken.storage_gib.unwrap_or(0)));
    // A port resource lists the ports that can't be had any more.
    remaining.ports.extend(taken.ports.iter().copied());
    let given = wharf_scheduler::task::taken_gpus(context.snapshot, &key);
    // Of a host without any nothing is told.
    let free = record.gpu_ids.iter().filter(|id| !given.contains(*id)).cloned().collect();
    let has_gpus = !record.gpu_ids.is_empty();
    let resources = |amount: &ResourceAmount, gpus: Vec<String>| {
        let mut all = resources(amount);
        all.extend(has_gpus.then(|| set("GPU", gpus)));
        all
    };
    let attribute = |a: &wharf_model::Attribute| types::Attribute {
        name: Some(a.name.clone()),
        value: a.value.clone(),
        ..types::Attribute::default()
    };
    let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
    let active = record.status != InstanceStatus::Inactive;
    types::ContainerInstance {
        container_instance_arn: Some(context.arns.container_instance(&key)),
        ec2_instance_id: text(&record.ec2_instance_id),
        capacity_provider_name: record.capacity_provider.clone(),
        version: Some(record.version.saturating_add(placements)),
        version_info: Some(types::VersionInfo {
            agent_version: text(&record.agent_version),
            agent_hash: text(&record.agent_hash),
            docker_version: text(&record.docker_version),
        }),
        remaining_resources: Some(resources(&remaining, free)),
        registered_resources: Some(resources(&record.registered, record.gpu_ids.clone())),
        status: Some(record.status.as_str().to_owned()),
        agent_connected: Some(active && context.soft.agent_connected(&key)),
        running_tasks_count: i32::try_from(usage.running).ok(),
        pending_tasks_count: i32::try_from(usage.pending).ok(),
        attributes: Some(record.attributes.iter().map(attribute).collect()),
        registered_at: Some(timestamp(record.registered_at)),
        attachments: Some(Vec::new()),
        tags: Some(if include.tags { tags(&record.tags) } else { Vec::new() }),
        health_status: include.health.then(|| health(context, record)),
        ..types::ContainerInstance::default()
    }
}

fn resources(amount: &ResourceAmount) -> Vec<types::Resource> {
    let integer = |name: &str, value: i64| types::Resource {
        name: Some(name.to_owned()),
        r#type: Some("INTEGER".to_owned()),
        double_value: Some(0.0),
        long_value: Some(0),
        integer_value: i32::try_from(value).ok(),
        string_set_value: None,
    };
    let ports = |name: &str, protocol| set(name, ports_of(&amount.ports, protocol));
    let mut all = vec![
        integer("CPU", amount.cpu),
        integer("MEMORY", amount.memory_mib),
        ports("PORTS", TransportProtocol::Tcp),
        ports("PORTS_UDP", TransportProtocol::Udp),
    ];
    all.extend(amount.storage_gib.map(|gib| integer(STORAGE, i64::from(gib))));
    all
}

fn set(name: &str, values: Vec<String>) -> types::Resource {
    types::Resource {
        name: Some(name.to_owned()),
        r#type: Some("STRINGSET".to_owned()),
        double_value: Some(0.0),
        long_value: Some(0),
        integer_value: Some(0),
        string_set_value: Some(values),
    }
}

fn ports_of(ports: &BTreeSet<HostPort>, protocol: TransportProtocol) -> Vec<String> {
    let of_protocol = ports.iter().filter(|p| p.protocol == protocol);
    of_protocol.map(|p| p.port.to_string()).collect()
}

fn health(
    context: &Context<'_>,
    record: &ContainerInstance,
) -> types::ContainerInstanceHealthStatus {
    let Some((status, updated, changed)) = context.soft.instance_health(&record.key()) else {
        return types::ContainerInstanceHealthStatus {
            overall_status: Some(types::InstanceHealthCheckState::InsufficientData),
            details: Some(Vec::new()),
        };
    };
    let status = types::InstanceHealthCheckState::from(status.as_str());
    let result = types::InstanceHealthCheckResult {
        r#type: Some(types::InstanceHealthCheckType::ContainerRuntime),
        status: Some(status.clone()),
        status_reason: None,
        last_updated: Some(timestamp(updated)),
        last_status_change: Some(timestamp(changed)),
    };
    types::ContainerInstanceHealthStatus {
        overall_status: Some(status),
        details: Some(vec![result]),
    }
}
