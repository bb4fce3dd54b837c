//! What a task definition needs of an instance (`requiresAttributes`) and where it can run
//! (`compatibilities`), worked out as the real service does.
//!
//! Only attributes that both wharf's and Amazon's agents register where they can carry out the
//! member are named here: an attribute that none registers would make the task definition
//! unplaceable.

use super::{launch_types, linux, log_driver, secrets, size};
use std::collections::BTreeSet;
use wharf_model::container_settings::Volume;
use wharf_model::secret_reference::SecretReference;
use wharf_model::task_definition::{EPHEMERAL_STORAGE, LaunchType};
use wharf_model::{ContainerDefinition, NetworkMode, TaskDefinition};

const API_1_17: &str = "com.amazonaws.ecs.capability.docker-remote-api.1.17";
const API_1_18: &str = "com.amazonaws.ecs.capability.docker-remote-api.1.18";
const API_1_22: &str = "com.amazonaws.ecs.capability.docker-remote-api.1.22";
const API_1_25: &str = "com.amazonaws.ecs.capability.docker-remote-api.1.25";
const PORT_RANGE: &str = "ecs.capability.network.container-port-range";
const APPARMOR: &str = "com.amazonaws.ecs.capability.apparmor";
const PRIVILEGED: &str = "com.amazonaws.ecs.capability.privileged-container";
const DOCKER_VOLUME: &str = "ecs.capability.docker-plugin.local";
const API_1_21: &str = "com.amazonaws.ecs.capability.docker-remote-api.1.21";
const SHARING: &str = "ecs.capability.pid-ipc-namespace-sharing";
const API_1_24: &str = "com.amazonaws.ecs.capability.docker-remote-api.1.24";
const HEALTH_CHECK: &str = "ecs.capability.container-health-check";
const RESTART_POLICY: &str = "ecs.capability.container-restart-policy";
const API_1_19: &str = "com.amazonaws.ecs.capability.docker-remote-api.1.19";
const ROLE_LOGS: &str = "ecs.capability.execution-role-awslogs";
const ORDERING: &str = "ecs.capability.container-ordering";
const TASK_ENI: &str = "ecs.capability.task-eni";
const TASK_ROLE: &str = "com.amazonaws.ecs.capability.task-iam-role";
const FIRELENS: &str = "ecs.capability.firelens.";
const SECRETS: &str = "ecs.capability.secrets.";
const PRIVATE_REGISTRY: &str = "ecs.capability.private-registry-authentication.secretsmanager";
const ENV_FILES: &str = "ecs.capability.env-files.s3";
const HOST_TASK_ROLE: &str = "com.amazonaws.ecs.capability.task-iam-role-network-host";
const LOG_DRIVER: &str = "com.amazonaws.ecs.capability.logging-driver.";

/// Attributes that an instance must have, by name.
pub(super) fn required_attributes(definition: &TaskDefinition) -> Vec<String> {
    let mut attributes = BTreeSet::new();
    let mode = definition.effective_network_mode();
    if mode == NetworkMode::Awsvpc {
        attributes.extend([TASK_ENI.to_owned(), API_1_18.to_owned()]);
    }
    if definition.task_role_arn.is_some() {
        let role = if mode == NetworkMode::Host { HOST_TASK_ROLE } else { TASK_ROLE };
        attributes.extend([role.to_owned(), API_1_17.to_owned()]);
    }
    if definition.pid_mode.is_some() || definition.ipc_mode.is_some() {
        attributes.insert(SHARING.to_owned());
    }
    if definition.ephemeral_storage_gib.is_some() {
        attributes.insert(EPHEMERAL_STORAGE.to_owned());
    }
    let by_docker = |volume: &Volume| volume.docker.is_some() && !secrets::is_own(volume);
    if definition.volumes.iter().any(by_docker) {
        attributes.insert(DOCKER_VOLUME.to_owned());
    }
    for container in &definition.containers {
        attributes.extend(of_process(container).into_iter().map(str::to_owned));
        attributes.extend(of_secrets(container));
        if container.port_mappings.iter().any(|mapping| mapping.last_port.is_some()) {
            attributes.insert(PORT_RANGE.to_owned());
        }
        if let Some(log) = &container.log_configuration {
            attributes.extend([format!("{LOG_DRIVER}{}", log.log_driver), API_1_18.to_owned()]);
            if log.log_driver == "awslogs" {
                attributes.insert(API_1_19.to_owned());
                attributes
                    .extend(definition.execution_role_arn.iter().map(|_| ROLE_LOGS.to_owned()));
            }
        }
        if let Some(router) = &container.firelens_configuration {
            attributes.insert(format!("{FIRELENS}{}", router.kind));
            if let Some(kind) = router.options.get(log_driver::CONFIG_TYPE) {
                attributes.insert(format!("{FIRELENS}options.config.{kind}"));
            }
        }
        if container.docker_labels.as_ref().is_some_and(|l| !l.is_empty())
            || !container.ulimits.is_empty()
        {
            attributes.insert(API_1_18.to_owned());
        }
        if container.memory_reservation.is_some() {
            attributes.insert(API_1_21.to_owned());
        }
        if container.health_check.is_some() {
            attributes.extend([HEALTH_CHECK.to_owned(), API_1_24.to_owned()]);
        }
        if container.restart_policy.is_some() {
            attributes.insert(RESTART_POLICY.to_owned());
        }
        let has_timeout = container.start_timeout.is_some() || container.stop_timeout.is_some();
        if has_timeout || !container.depends_on.is_empty() {
            attributes.insert(ORDERING.to_owned());
        }
    }
    attributes.into_iter().collect()
}

/// What fetches the container's values.
fn of_secrets(container: &ContainerDefinition) -> Vec<String> {
    let provider = |from: &str| SecretReference::parse(from).map_or("ssm", |r| r.provider());
    let of_variables = container
        .secrets
        .iter()
        .map(|(_, from)| format!("{SECRETS}{}.environment-variables", provider(from)));
    let log = container.log_configuration.iter().flat_map(|log| &log.secret_options);
    let of_logs = log.map(|(_, from)| format!("{SECRETS}{}.bootstrap.log-driver", provider(from)));
    let of_files = container.environment_files.iter().map(|_| ENV_FILES.to_owned());
    let registry = container.repository_credentials.iter();
    let of_files =
        of_files.chain(registry.flat_map(|_| [PRIVATE_REGISTRY.to_owned(), API_1_19.to_owned()]));
    of_variables.chain(of_logs).chain(of_files).collect()
}

/// What the container's privileges and Linux parameters need.
fn of_process(container: &ContainerDefinition) -> Vec<&'static str> {
    let linux_parameters = container.linux_parameters.clone().unwrap_or_default();
    let needs = [
        (PRIVILEGED, container.privileged == Some(true)),
        (API_1_17, container.privileged == Some(true)),
        (
            API_1_22,
            linux_parameters.shared_memory_size.is_some() || linux_parameters.tmpfs.is_some(),
        ),
        (APPARMOR, container.docker_security_options.iter().any(|o| linux::apparmor(o).is_some())),
        (API_1_25, linux_parameters.init_process_enabled == Some(true)),
    ];
    needs.into_iter().filter(|(_, needed)| *needed).map(|(attribute, _)| attribute).collect()
}

/// Where it can run: EXTERNAL wants any network mode but awsvpc, FARGATE wants awsvpc and one of
/// its sizes, EC2 takes everything.
pub(super) fn compatibilities(definition: &TaskDefinition) -> Vec<LaunchType> {
    if definition.effective_network_mode() != NetworkMode::Awsvpc {
        return vec![LaunchType::External, LaunchType::Ec2];
    }
    let sizes = definition.cpu.zip(definition.memory);
    let fargate = sizes.is_some_and(|(cpu, memory)| size::is_fargate(cpu, memory))
        && launch_types::not_on_fargate(definition).is_none();
    if fargate { vec![LaunchType::Ec2, LaunchType::Fargate] } else { vec![LaunchType::Ec2] }
}
