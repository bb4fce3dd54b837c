//! A task definition as the API shows it.

use super::{container_settings as settings, launch_type, pair, timestamp};
use std::collections::BTreeMap;
use wharf_model::task_definition::{LaunchType, PortMapping, TaskDefinition};
use wharf_model::{ArnScope, ContainerDefinition};
use wharf_wire::ecs::types;
use wharf_wire::{Document, Kind, Schema, Shape};

/// The task definition without its tags, which the API shows beside it.
pub fn task_definition(arns: &ArnScope, record: &TaskDefinition) -> types::TaskDefinition {
    let compatibility = |l: &LaunchType| types::Compatibility::from(launch_type(*l).as_str());
    let compatibilities = |list: &[LaunchType]| list.iter().map(compatibility).collect::<Vec<_>>();
    let attribute = |name: &String| types::Attribute {
        name: Some(name.clone()),
        ..types::Attribute::default()
    };
    let constraint = |c: &wharf_model::task_definition::PlacementConstraint| {
        types::TaskDefinitionPlacementConstraint {
            r#type: Some(c.kind.as_str().into()),
            expression: c.expression.clone(),
        }
    };
    let platform = |p: &wharf_model::task_definition::RuntimePlatform| types::RuntimePlatform {
        cpu_architecture: p.cpu_architecture.as_deref().map(Into::into),
        operating_system_family: p.operating_system_family.as_deref().map(Into::into),
    };
    let requires = &record.requires_compatibilities;
    let attributes = &record.requires_attributes;
    let shape = types::TaskDefinition {
        task_definition_arn: Some(arns.task_definition(&record.key())),
        container_definitions: Some(record.containers.iter().map(container).collect()),
        family: Some(record.family.to_string()),
        task_role_arn: record.task_role_arn.clone(),
        execution_role_arn: record.execution_role_arn.clone(),
        network_mode: record.network_mode.map(|m| m.as_str().into()),
        revision: i32::try_from(record.revision).ok(),
        volumes: Some(record.volumes.iter().map(settings::volume).collect()),
        pid_mode: record.pid_mode.map(|m| m.as_str().into()),
        ipc_mode: record.ipc_mode.map(|m| m.as_str().into()),
        ephemeral_storage: record.ephemeral_storage_gib.and_then(ephemeral_storage),
        status: Some(record.status.as_str().into()),
        requires_attributes: (!attributes.is_empty())
            .then(|| attributes.iter().map(attribute).collect()),
        placement_constraints: Some(record.placement_constraints.iter().map(constraint).collect()),
        compatibilities: Some(compatibilities(&record.compatibilities)),
        requires_compatibilities: (!requires.is_empty()).then(|| compatibilities(requires)),
        runtime_platform: record.runtime_platform.as_ref().map(platform),
        cpu: record.cpu.map(|n| n.to_string()),
        memory: record.memory.map(|n| n.to_string()),
        registered_at: Some(timestamp(record.registered_at)),
        registered_by: Some(record.registered_by.clone()),
        deregistered_at: record.deregistered_at.map(timestamp),
        delete_requested_at: record.delete_requested_at.map(timestamp),
        ..types::TaskDefinition::default()
    };
    with_empty(shape, &record.no_effect)
}

fn container(record: &ContainerDefinition) -> types::ContainerDefinition {
    let dependency =
        |d: &wharf_model::task_definition::ContainerDependency| types::ContainerDependency {
            container_name: Some(d.container_name.clone()),
            condition: Some(d.condition.as_str().into()),
        };
    let ulimit = |u: &wharf_model::task_definition::Ulimit| types::Ulimit {
        name: Some(u.name.as_str().into()),
        soft_limit: i32::try_from(u.soft_limit).ok(),
        hard_limit: i32::try_from(u.hard_limit).ok(),
    };
    let log = |l: &wharf_model::task_definition::LogConfiguration| types::LogConfiguration {
        log_driver: Some(l.log_driver.as_str().into()),
        options: (!l.options.is_empty()).then(|| l.options.clone()),
        secret_options: (!l.secret_options.is_empty()).then(|| secrets(&l.secret_options)),
    };
    let router =
        |r: &wharf_model::task_definition::FirelensConfiguration| types::FirelensConfiguration {
            r#type: Some(r.kind.as_str().into()),
            options: (!r.options.is_empty()).then(|| r.options.clone()),
        };
    let check = |c: &wharf_model::task_definition::HealthCheck| types::HealthCheck {
        command: Some(c.command.clone()),
        interval: Some(c.interval),
        timeout: Some(c.timeout),
        retries: Some(c.retries),
        start_period: c.start_period,
    };
    let restarts =
        |p: &wharf_model::task_definition::RestartPolicy| types::ContainerRestartPolicy {
            enabled: Some(true),
            ignored_exit_codes: p.ignored_exit_codes.clone(),
            restart_attempt_period: p.restart_attempt_period,
        };
    let (depends_on, ulimits) = (&record.depends_on, &record.ulimits);
    let shape = types::ContainerDefinition {
        name: Some(record.name.clone()),
        image: Some(record.image.clone()),
        repository_credentials: record
            .repository_credentials
            .clone()
            .map(|secret| types::RepositoryCredentials { credentials_parameter: Some(secret) }),
        cpu: small(Some(record.cpu)),
        memory: small(record.memory),
        memory_reservation: small(record.memory_reservation),
        port_mappings: Some(record.port_mappings.iter().map(port_mapping).collect()),
        essential: Some(record.essential),
        entry_point: record.entry_point.clone(),
        command: record.command.clone(),
        environment: Some(record.environment.iter().map(|(n, v)| pair(n, v)).collect()),
        secrets: (!record.secrets.is_empty()).then(|| secrets(&record.secrets)),
        environment_files: (!record.environment_files.is_empty())
            .then(|| record.environment_files.iter().map(environment_file).collect()),
        resource_requirements: record.gpus.map(gpus),
        mount_points: Some(record.mount_points.iter().map(settings::mount_point).collect()),
        volumes_from: Some(record.volumes_from.iter().map(settings::volume_from).collect()),
        depends_on: (!depends_on.is_empty()).then(|| depends_on.iter().map(dependency).collect()),
        start_timeout: record.start_timeout,
        stop_timeout: record.stop_timeout,
        health_check: record.health_check.as_ref().map(check),
        restart_policy: record.restart_policy.as_ref().map(restarts),
        version_consistency: record.version_consistency.as_deref().map(Into::into),
        hostname: record.hostname.clone(),
        user: record.user.clone(),
        working_directory: record.working_directory.clone(),
        readonly_root_filesystem: record.readonly_root_filesystem,
        docker_labels: record.docker_labels.clone(),
        ulimits: (!ulimits.is_empty()).then(|| ulimits.iter().map(ulimit).collect()),
        log_configuration: record.log_configuration.as_ref().map(log),
        firelens_configuration: record.firelens_configuration.as_ref().map(router),
        privileged: record.privileged,
        interactive: record.interactive,
        pseudo_terminal: record.pseudo_terminal,
        disable_networking: record.disable_networking,
        docker_security_options: list(&record.docker_security_options),
        links: list(&record.links),
        extra_hosts: settings::extra_hosts(&record.extra_hosts),
        dns_servers: list(&record.dns_servers),
        dns_search_domains: list(&record.dns_search_domains),
        linux_parameters: record.linux_parameters.as_ref().map(settings::linux_parameters),
        system_controls: Some(record.system_controls.iter().map(settings::control).collect()),
        ..types::ContainerDefinition::default()
    };
    with_empty(shape, &record.no_effect)
}

fn secrets(record: &[(String, String)]) -> Vec<types::Secret> {
    let one = |(name, from): &(String, String)| types::Secret {
        name: Some(name.clone()),
        value_from: Some(from.clone()),
    };
    record.iter().map(one).collect()
}

/// A file of variables as it was sent.
pub(super) fn environment_file(
    record: &wharf_model::task_definition::EnvironmentFile,
) -> types::EnvironmentFile {
    types::EnvironmentFile {
        value: Some(record.value.clone()),
        r#type: Some(record.kind.as_str().into()),
    }
}

/// `ephemeralStorage`.
pub(super) fn ephemeral_storage(gib: u32) -> Option<types::EphemeralStorage> {
    i32::try_from(gib).ok().map(|gib| types::EphemeralStorage { size_in_gi_b: Some(gib) })
}

/// `resourceRequirements` with so many GPUs.
pub(super) fn gpus(count: u32) -> Vec<types::ResourceRequirement> {
    vec![types::ResourceRequirement {
        value: Some(count.to_string()),
        r#type: Some(types::ResourceType::Gpu),
    }]
}

/// A list that is described only where there is something in it.
fn list(texts: &[String]) -> Option<Vec<String>> {
    (!texts.is_empty()).then(|| texts.to_vec())
}

fn port_mapping(record: &PortMapping) -> types::PortMapping {
    types::PortMapping {
        container_port: record.last_port.is_none().then(|| record.container_port.into()),
        host_port: record.host_port.map(i32::from),
        protocol: Some(record.protocol.as_str().into()),
        name: record.name.clone(),
        app_protocol: record.app_protocol.as_deref().map(Into::into),
        container_port_range: record
            .last_port
            .map(|last| format!("{}-{last}", record.container_port)),
    }
}

/// The wire's width of a size; registration took it in that width.
fn small(number: Option<i64>) -> Option<i32> {
    number.and_then(|n| i32::try_from(n).ok())
}

/// `shape` with the members at these paths present but empty: they were sent so.
fn with_empty<T: Shape + Clone>(shape: T, paths: &[String]) -> T {
    if paths.is_empty() {
        return shape;
    }
    let Document::Structure(mut members) = shape.clone().into_document() else { return shape };
    for path in paths {
        put_empty(&mut members, T::schema(), path);
    }
    T::from_document(Document::Structure(members)).unwrap_or(shape)
}

fn put_empty(members: &mut Vec<(&'static str, Document)>, schema: &Schema, path: &str) {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some(member) = schema.member(name) else { return };
    let schema = member.schema.get();
    let empty = match schema.kind {
        Kind::List(_) => Document::List(Vec::new()),
        Kind::Map(_) => Document::Map(BTreeMap::new()),
        Kind::Structure(_) => Document::Structure(Vec::new()),
        Kind::Boolean => Document::Bool(false),
        _ => return,
    };
    let place = members.iter().position(|(present, _)| *present == name).unwrap_or_else(|| {
        members.push((member.name, empty));
        members.len() - 1
    });
    if let Document::Structure(inner) = &mut members[place].1
        && !rest.is_empty()
    {
        put_empty(inner, schema, rest);
    }
}
