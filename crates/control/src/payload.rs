//! A task's record in the agent's terms: one ACS `Task`, complete with what RunTask overrode.
//!
//! The agent of Amazon's kind takes only a command as an override, so everything else is merged
//! here; what docker calls differently travels as Docker Engine API JSON (see agent protocol).

use crate::docker_settings;
use std::collections::BTreeMap;
use std::sync::Arc;
use wharf_model::load_balancing::LoadBalancer;
use wharf_model::network::{BuiltinVpc, Network};
use wharf_model::secret_reference::SecretReference;
use wharf_model::task::ContainerOverride;
use wharf_model::task_definition::{
    ContainerDefinition, EnvironmentFile, HealthCheck, RestartPolicy,
};
use wharf_model::{ArnScope, NetworkInterface, NetworkMode, Snapshot, Task, TaskStatus};
use wharf_scheduler::task::storage_gib;
use wharf_wire::acs::{self, docker};

const MIB: i64 = 1024 * 1024;
/// Of a second.
const NANOS: i64 = 1_000_000_000;

/// Most load balancers that a task is told of.
const MAX_HOSTS: usize = 200;

/// Lowest Docker Engine API that the containers' configuration needs.
const DOCKER_API_VERSION: &str = "1.18";

/// The ACS form of `task`; `None` if its task definition is gone, which no live task's is.
pub fn task(
    snapshot: &Snapshot,
    arns: &ArnScope,
    vpc: &BuiltinVpc,
    task: &Task,
) -> Option<acs::Task> {
    let arn = Some(arns.task(&task.key()));
    let desired_status = Some(task.told_status().as_str().to_owned());
    if task.told_status() == TaskStatus::Stopped {
        return Some(acs::Task { arn, desired_status, ..acs::Task::default() });
    }
    let definition = snapshot.task_definition(&task.task_definition)?;
    let mode = definition.effective_network_mode();
    let hosts = load_balancer_hosts(snapshot, mode);
    let containers = definition.containers.iter().map(|container| {
        let change = task.overrides.containers.iter().find(|o| o.name == container.name);
        let id = task.container(&container.name).map(|c| c.id.as_str()).unwrap_or_default();
        let arn = arns.container(&task.key(), id);
        self::container(container, change, mode, &arns.region, arn, &hosts)
    });
    let interfaces = task
        .network_interface
        .as_ref()
        .map(|eni| vec![network_interface(arns, &Network::new(snapshot, vpc), eni)]);
    let cpu = task.overrides.cpu.or(definition.cpu);
    Some(acs::Task {
        arn,
        desired_status,
        family: Some(definition.family.to_string()),
        version: Some(definition.revision.to_string()),
        task_definition_account_id: Some(arns.account.clone()),
        task_cluster_arn: Some(arns.cluster(&task.cluster)),
        containers: Some(containers.collect()),
        associations: some(gpus(task)),
        ephemeral_storage_gib: storage_gib(snapshot, task, definition).map(i64::from),
        #[allow(clippy::cast_precision_loss)] // CPU units are far below 2^52
        cpu: cpu.map(|units| units as f64 / 1024.0),
        memory: task.overrides.memory.or(definition.memory),
        elastic_network_interfaces: interfaces,
        launch_type: Some(task.launch_type.as_str().to_owned()),
        network_mode: Some(mode.as_str().to_owned()),
        pid_mode: definition.pid_mode.map(|mode| mode.as_str().to_owned()),
        ipc_mode: definition.ipc_mode.map(|mode| mode.as_str().to_owned()),
        volumes: some(definition.volumes.iter().map(docker_settings::volume).collect()),
        service_name: task.service.as_ref().map(|s| s.to_string()),
        group: Some(task.group.clone()),
        ..acs::Task::default()
    })
}

fn container(
    definition: &ContainerDefinition,
    change: Option<&ContainerOverride>,
    mode: NetworkMode,
    region: &str,
    arn: String,
    hosts: &[String],
) -> acs::Container {
    let mut environment: BTreeMap<String, String> =
        definition.environment.iter().cloned().collect();
    environment.extend(change.iter().flat_map(|o| o.environment.iter().cloned()));
    let files = change.map(|o| &o.environment_files).filter(|files| !files.is_empty());
    let files = files.unwrap_or(&definition.environment_files).iter();
    let ports = definition.port_mappings.iter().map(|mapping| acs::PortMapping {
        container_port: Some(mapping.container_port.into()).filter(|_| mapping.last_port.is_none()),
        container_port_range: mapping
            .last_port
            .map(|last| format!("{}-{last}", mapping.container_port)),
        host_port: Some(match mode {
            NetworkMode::Bridge => mapping.host_port.unwrap_or(0).into(),
            _ => mapping.container_port.into(),
        }),
        protocol: Some(mapping.protocol.as_str().to_owned()),
    });
    let dependencies = definition.depends_on.iter().map(|dependency| acs::ContainerDependency {
        container_name: Some(dependency.container_name.clone()),
        condition: Some(dependency.condition.as_str().to_owned()),
    });
    acs::Container {
        name: Some(definition.name.clone()),
        image: Some(definition.image.clone()),
        registry_authentication: definition
            .repository_credentials
            .as_deref()
            .map(|secret| registry_authentication(secret, region)),
        container_arn: Some(arn),
        essential: Some(definition.essential),
        cpu: Some(change.and_then(|o| o.cpu).unwrap_or(definition.cpu)),
        memory: change.and_then(|o| o.memory).or(definition.memory),
        command: change.and_then(|o| o.command.clone()).or_else(|| definition.command.clone()),
        entry_point: definition.entry_point.clone(),
        environment: Some(environment),
        environment_files: some(files.map(environment_file).collect()),
        secrets: some(secrets(definition, region)),
        port_mappings: Some(ports.collect()),
        depends_on: Some(dependencies.collect()),
        start_timeout: definition.start_timeout.map(i64::from),
        stop_timeout: definition.stop_timeout.map(i64::from),
        links: some(definition.links.clone()),
        mount_points: some(
            definition.mount_points.iter().map(docker_settings::mount_point).collect(),
        ),
        volumes_from: some(
            definition.volumes_from.iter().map(docker_settings::volume_from).collect(),
        ),
        health_check_type: definition.has_health_check().then(|| "docker".to_owned()),
        restart_policy: definition.restart_policy.as_ref().map(restart_policy),
        firelens_configuration: definition.firelens_configuration.as_ref().map(|router| {
            acs::FirelensConfiguration {
                kind: Some(router.kind.clone()),
                options: some_map(&router.options),
            }
        }),
        docker_config: Some(docker_config(definition, change, hosts)),
        ..acs::Container::default()
    }
}

/// The GPUs that the task's containers were given.
fn gpus(task: &Task) -> Vec<acs::Association> {
    let each = task.containers.iter().flat_map(|container| {
        container.gpu_ids.iter().map(|id| acs::Association {
            name: Some(id.clone()),
            kind: Some("gpu".to_owned()),
            containers: Some(vec![container.name.clone()]),
            ..acs::Association::default()
        })
    });
    each.collect()
}

/// The agent fetches the secret in the name of the execution role.
fn registry_authentication(secret: &str, region: &str) -> acs::RegistryAuthenticationData {
    acs::RegistryAuthenticationData {
        kind: Some("asm".to_owned()),
        asm_auth_data: Some(acs::ASMAuthData {
            credentials_parameter: Some(secret.to_owned()),
            region: Some(region.to_owned()),
        }),
        ..acs::RegistryAuthenticationData::default()
    }
}

fn environment_file(file: &EnvironmentFile) -> acs::EnvironmentFile {
    acs::EnvironmentFile { value: Some(file.value.clone()), kind: Some(file.kind.clone()) }
}

/// What the agent fetches: into the environment, and into the log driver's options.
fn secrets(definition: &ContainerDefinition, region: &str) -> Vec<acs::Secret> {
    let one = |target: &'static str| {
        move |(name, from): &(String, String)| {
            // What names nothing isn't registered.
            let reference = SecretReference::parse(from).ok();
            let of_arn = reference.as_ref().and_then(SecretReference::region);
            acs::Secret {
                name: Some(name.clone()),
                value_from: Some(from.clone()),
                kind: Some("ENVIRONMENT_VARIABLE".to_owned()),
                region: Some(of_arn.unwrap_or(region).to_owned()),
                provider: reference.as_ref().map(|r| r.provider().to_owned()),
                target: Some(target.to_owned()),
                ..acs::Secret::default()
            }
        }
    };
    let log = definition.log_configuration.iter().flat_map(|log| &log.secret_options);
    definition.secrets.iter().map(one("CONTAINER")).chain(log.map(one("LOG_DRIVER"))).collect()
}

fn restart_policy(policy: &RestartPolicy) -> acs::RestartPolicy {
    let codes = policy.ignored_exit_codes.iter().flatten().copied().map(i64::from);
    let period = policy.restart_attempt_period.unwrap_or(RestartPolicy::DEFAULT_ATTEMPT_PERIOD);
    acs::RestartPolicy {
        enabled: Some(true),
        ignored_exit_codes: Some(codes.collect()),
        restart_attempt_period: Some(period.into()),
    }
}

fn health_check(check: &HealthCheck) -> docker::HealthCheck {
    let nanos = |seconds: i32| i64::from(seconds) * NANOS;
    docker::HealthCheck {
        test: Some(check.command.clone()),
        interval: Some(nanos(check.interval)),
        timeout: Some(nanos(check.timeout)),
        start_period: check.start_period.map(nanos),
        retries: Some(check.retries.into()),
    }
}

/// The load balancers' names with the addresses that tasks reach them at, as docker's `ExtraHosts`:
/// a task knows those that there are when it starts. One in network mode host has the host's names.
fn load_balancer_hosts(snapshot: &Snapshot, mode: NetworkMode) -> Vec<String> {
    if matches!(mode, NetworkMode::Host | NetworkMode::None) {
        return Vec::new();
    }
    let named = |balancer: &Arc<LoadBalancer>| {
        Some(format!("{}:{}", balancer.dns_name, balancer.task_address?))
    };
    snapshot.load_balancers().filter_map(named).take(MAX_HOSTS).collect()
}

fn docker_config(
    definition: &ContainerDefinition,
    change: Option<&ContainerOverride>,
    hosts: &[String],
) -> acs::DockerConfig {
    let config = docker::Config {
        user: definition.user.clone(),
        working_dir: definition.working_directory.clone(),
        hostname: definition.hostname.clone(),
        labels: definition.docker_labels.clone(),
        tty: definition.pseudo_terminal,
        open_stdin: definition.interactive,
        network_disabled: definition.disable_networking,
        healthcheck: definition.health_check.as_ref().map(health_check),
        ..docker::Config::default()
    };
    let reservation = change.and_then(|o| o.memory_reservation).or(definition.memory_reservation);
    let ulimits = definition.ulimits.iter().map(|limit| docker::Ulimit {
        name: Some(limit.name.clone()),
        soft: Some(limit.soft_limit),
        hard: Some(limit.hard_limit),
    });
    let log = definition.log_configuration.as_ref().map(|log| docker::LogConfig {
        kind: Some(log.log_driver.clone()),
        config: Some(log.options.clone()),
    });
    let host_config = docker::HostConfig {
        readonly_rootfs: definition.readonly_root_filesystem,
        memory_reservation: reservation.map(|mib| mib.saturating_mul(MIB)),
        ulimits: Some(ulimits.collect()),
        log_config: log,
        ..docker_settings::host_config(definition, change.and_then(|o| o.memory), hosts)
    };
    acs::DockerConfig {
        version: Some(DOCKER_API_VERSION.to_owned()),
        config: config.to_json().ok(),
        host_config: host_config.to_json().ok(),
    }
}

fn some_map(map: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then(|| map.clone())
}

/// Nothing instead of an empty list.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn network_interface(
    arns: &ArnScope,
    networks: &Network<'_>,
    eni: &NetworkInterface,
) -> acs::ElasticNetworkInterface {
    let gateway = networks
        .subnet(&eni.subnet_id)
        .map(|subnet| format!("{}/{}", subnet.gateway(), subnet.range.prefix));
    let dashed = eni.private_ip.to_string().replace('.', "-");
    acs::ElasticNetworkInterface {
        ec2_id: Some(eni.eni_id.clone()),
        mac_address: Some(eni.mac_address.clone()),
        attachment_arn: Some(arns.attachment(&eni.attachment_id)),
        index: Some(0),
        ipv4_addresses: Some(vec![acs::IPv4AddressAssignment {
            private_address: Some(eni.private_ip.to_string()),
            primary: Some(true),
        }]),
        subnet_gateway_ipv4_address: gateway,
        private_dns_name: Some(format!("ip-{dashed}.{}.compute.internal", arns.region)),
        ..acs::ElasticNetworkInterface::default()
    }
}
