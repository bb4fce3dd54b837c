//! Whether a task definition can run where it says that it will.

use super::{Error, health, log_driver, secrets, size};
use wharf_model::container_settings::PidMode;
use wharf_model::task_definition::LaunchType;
use wharf_model::{ContainerDefinition, NetworkMode, TaskDefinition};

/// The one capability that may be added on Fargate.
const FARGATE_CAPABILITY: &str = "SYS_PTRACE";
/// The log drivers of Fargate.
const FARGATE_DRIVERS: &[&str] = &["awslogs", "splunk", "awsfirelens"];
/// `startTimeout` and `stopTimeout` on FARGATE, seconds (ECS API `ContainerDefinition`).
const FARGATE_TIMEOUT: std::ops::RangeInclusive<i32> = 2..=120;

/// Checks `requiresCompatibilities` against everything else.
pub(super) fn check(definition: &TaskDefinition) -> Result<(), Error> {
    let requires = |launch_type| definition.requires_compatibilities.contains(&launch_type);
    let awsvpc = definition.effective_network_mode() == NetworkMode::Awsvpc;
    if requires(LaunchType::External) && awsvpc {
        return Err(Error::ExternalNetworkMode);
    }
    if !requires(LaunchType::Fargate) {
        return Ok(());
    }
    if !awsvpc {
        return Err(Error::FargateNetworkMode);
    }
    let cpu = definition.cpu.ok_or(Error::FargateSizeMissing("cpu"))?;
    let memory = definition.memory.ok_or(Error::FargateSizeMissing("memory"))?;
    if !size::is_fargate(cpu, memory) {
        return Err(Error::FargateSize { cpu, memory });
    }
    if let Some(member) = not_on_fargate(definition) {
        return Err(Error::NotOnFargate(member));
    }
    for container in &definition.containers {
        let timeouts =
            [("startTimeout", container.start_timeout), ("stopTimeout", container.stop_timeout)];
        for (member, timeout) in timeouts {
            health::within(&container.name, member, timeout, FARGATE_TIMEOUT)?;
        }
    }
    log_driver::check_fargate(definition)
}

/// The first member that Fargate doesn't have, if there is one.
pub(super) fn not_on_fargate(definition: &TaskDefinition) -> Option<&'static str> {
    let host_path = |volume: &wharf_model::container_settings::Volume| {
        let path = volume.host.as_ref().and_then(|host| host.source_path.as_deref());
        path.is_some_and(|path| !path.is_empty())
    };
    let of_task = [
        ("placementConstraints", !definition.placement_constraints.is_empty()),
        ("ipcMode", definition.ipc_mode.is_some()),
        ("pidMode 'host'", definition.pid_mode == Some(PidMode::Host)),
        ("sourcePath", definition.volumes.iter().any(host_path)),
        (
            "dockerVolumeConfiguration",
            definition.volumes.iter().any(|v| v.docker.is_some() && !secrets::is_own(v)),
        ),
    ];
    let found = |list: &[(&'static str, bool)]| list.iter().find(|(_, has)| *has).map(|(m, _)| *m);
    found(&of_task).or_else(|| {
        definition.containers.iter().find_map(|container| found(&of_container(container)))
    })
}

fn of_container(container: &ContainerDefinition) -> [(&'static str, bool); 14] {
    let linux = container.linux_parameters.clone().unwrap_or_default();
    let some = |list: Option<usize>| list.is_some_and(|length| length > 0);
    let driver = container.log_configuration.as_ref().map(|log| log.log_driver.as_str());
    let added = linux.capabilities.and_then(|capabilities| capabilities.add).unwrap_or_default();
    [
        ("privileged", container.privileged == Some(true)),
        ("resourceRequirements", container.gpus.is_some()),
        ("links", !container.links.is_empty()),
        ("dnsServers", !container.dns_servers.is_empty()),
        ("dnsSearchDomains", !container.dns_search_domains.is_empty()),
        ("dockerSecurityOptions", !container.docker_security_options.is_empty()),
        ("devices", some(linux.devices.map(|devices| devices.len()))),
        ("sharedMemorySize", linux.shared_memory_size.is_some()),
        ("tmpfs", some(linux.tmpfs.map(|all| all.len()))),
        ("maxSwap", linux.max_swap.is_some()),
        ("swappiness", linux.swappiness.is_some()),
        (
            "logDriver other than awslogs, splunk and awsfirelens",
            driver.is_some_and(|driver| !FARGATE_DRIVERS.contains(&driver)),
        ),
        (
            "config-file-type s3",
            container.firelens_configuration.as_ref().is_some_and(log_driver::from_objects),
        ),
        ("capabilities other than SYS_PTRACE", added.iter().any(|c| c != FARGATE_CAPABILITY)),
    ]
}
