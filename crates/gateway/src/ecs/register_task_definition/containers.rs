//! One container definition: every member checked and put into the record's form.

use super::ports::{self, Taken};
use super::{
    Error, connections, dependencies, gpus, health, linux, log_driver, secrets, storage, word,
};
use wharf_model::container_settings::IpcMode;
use wharf_model::task_definition::Ulimit;
use wharf_model::{ContainerDefinition, NetworkMode};
use wharf_wire::ecs::types;

/// The most containers of a task (Amazon ECS service quotas).
const MAX_CONTAINERS: usize = 10;
/// The longest family, container and image names.
const MAX_NAME: usize = 255;
/// The least memory of a container, MiB: what a container engine needs to start one.
const MIN_MEMORY_MIB: i64 = 4;

/// What a container's settings depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings {
    /// Network mode in force.
    pub mode: NetworkMode,
    /// The task says how much memory it has, so that containers needn't.
    pub task_memory: bool,
    /// `ipcMode`.
    pub ipc: Option<IpcMode>,
}

/// All container definitions, each for itself; what holds between them is checked by the caller.
pub(super) fn parse(
    sent: &[types::ContainerDefinition],
    surroundings: Surroundings,
) -> Result<Vec<ContainerDefinition>, Error> {
    match sent.len() {
        0 => return Err(Error::NoContainers),
        n if n > MAX_CONTAINERS => return Err(Error::TooManyContainers),
        _ => {}
    }
    let mut taken = Taken::default();
    let mut containers: Vec<ContainerDefinition> = Vec::with_capacity(sent.len());
    for container in sent {
        let container = one(container, surroundings, &mut taken)?;
        secrets::check_names(&container)?;
        if containers.iter().any(|c| c.name == container.name) {
            return Err(Error::ContainerNameTwice);
        }
        containers.push(container);
    }
    if !containers.iter().any(|c| c.essential) {
        return Err(Error::NoEssentialContainer);
    }
    Ok(containers)
}

fn one(
    sent: &types::ContainerDefinition,
    surroundings: Surroundings,
    taken: &mut Taken,
) -> Result<ContainerDefinition, Error> {
    let name = name(sent.name.as_deref())?;
    let image = image(sent.image.as_deref())?;
    let (memory, memory_reservation) = memory(&name, sent, surroundings.task_memory)?;
    connections::check_mode(sent, surroundings.mode)?;
    let port_mappings = sent.port_mappings.as_deref().unwrap_or_default();
    let system_controls = sent.system_controls.as_deref().unwrap_or_default();
    let (mode, ipc) = (surroundings.mode, surroundings.ipc);
    let (linux_parameters, registry) =
        (sent.linux_parameters.as_ref(), sent.repository_credentials.as_ref());
    Ok(ContainerDefinition {
        cpu: in_range(&name, "cpu", sent.cpu, 0)?.unwrap_or(0),
        memory,
        memory_reservation,
        port_mappings: ports::mappings(&name, port_mappings, surroundings.mode, taken)?,
        essential: sent.essential.unwrap_or(true),
        entry_point: sent.entry_point.clone(),
        command: sent.command.clone(),
        environment: environment(&name, sent)?,
        gpus: gpus::parse(&name, sent.resource_requirements.as_deref().unwrap_or_default())?,
        repository_credentials: registry.map(secrets::registry).transpose()?,
        secrets: secrets::secrets(sent.secrets.as_deref().unwrap_or_default())?,
        environment_files: secrets::environment_files(
            sent.environment_files.as_deref().unwrap_or_default(),
        )?,
        depends_on: dependencies::parse(sent.depends_on.as_deref().unwrap_or_default())?,
        start_timeout: timeout(&name, "startTimeout", sent.start_timeout)?,
        stop_timeout: timeout(&name, "stopTimeout", sent.stop_timeout)?,
        hostname: sent.hostname.clone(),
        user: sent.user.clone(),
        working_directory: sent.working_directory.clone(),
        readonly_root_filesystem: sent.readonly_root_filesystem,
        docker_labels: sent.docker_labels.clone(),
        ulimits: ulimits(&name, sent.ulimits.as_deref().unwrap_or_default())?,
        log_configuration: sent.log_configuration.as_ref().map(log_driver::parse).transpose()?,
        firelens_configuration: sent
            .firelens_configuration
            .as_ref()
            .map(log_driver::router)
            .transpose()?,
        health_check: sent.health_check.as_ref().map(|c| health::check(&name, c)).transpose()?,
        restart_policy: sent
            .restart_policy
            .as_ref()
            .and_then(|policy| health::restart_policy(&name, policy).transpose())
            .transpose()?,
        version_consistency: sent
            .version_consistency
            .as_ref()
            .map(|v| {
                let allowed = types::VersionConsistency::VALUES;
                word("versionConsistency", v.unknown(), allowed, v.as_str())
            })
            .transpose()?,
        privileged: sent.privileged,
        interactive: sent.interactive,
        pseudo_terminal: sent.pseudo_terminal,
        disable_networking: sent.disable_networking,
        docker_security_options: sent.docker_security_options.clone().unwrap_or_default(),
        links: connections::links(&name, sent.links.as_deref().unwrap_or_default())?,
        extra_hosts: connections::extra_hosts(
            &name,
            sent.extra_hosts.as_deref().unwrap_or_default(),
        )?,
        dns_servers: connections::dns_servers(
            &name,
            sent.dns_servers.as_deref().unwrap_or_default(),
        )?,
        dns_search_domains: connections::dns_search_domains(
            &name,
            sent.dns_search_domains.as_deref().unwrap_or_default(),
        )?,
        system_controls: linux::controls(&name, system_controls, mode, ipc)?,
        linux_parameters: linux_parameters
            .map(|parameters| linux::parameters(&name, parameters, memory.is_some()))
            .transpose()?,
        mount_points: storage::mount_points(
            &name,
            sent.mount_points.as_deref().unwrap_or_default(),
        )?,
        volumes_from: storage::volumes_from(sent.volumes_from.as_deref().unwrap_or_default())?,
        no_effect: Vec::new(),
        name,
        image,
    })
}

/// Letters, digits, `-` and `_`: what families and containers are called.
pub(super) fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn name(sent: Option<&str>) -> Result<String, Error> {
    let name = sent.filter(|n| !n.is_empty()).ok_or(Error::ContainerNameEmpty)?;
    if !is_name(name) {
        return Err(Error::ContainerNameCharacters);
    }
    if name.len() > MAX_NAME {
        return Err(Error::TooLong("Container.name", MAX_NAME));
    }
    Ok(name.to_owned())
}

/// An image reference by its characters alone, as the real service looks at it; whether it exists
/// is found out by the agent.
fn image(sent: Option<&str>) -> Result<String, Error> {
    let image = sent.filter(|i| !i.is_empty()).ok_or(Error::ImageEmpty)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_:./#@+".contains(&b);
    if !image.bytes().all(allowed) {
        return Err(Error::ImageCharacters);
    }
    if image.starts_with([':', '@']) {
        return Err(Error::ImageRepositoryEmpty);
    }
    if image.len() > MAX_NAME {
        return Err(Error::TooLong("Container.image", MAX_NAME));
    }
    Ok(image.to_owned())
}

fn in_range(
    container: &str,
    member: &'static str,
    sent: Option<i32>,
    least: i64,
) -> Result<Option<i64>, Error> {
    match sent.map(i64::from) {
        Some(value) if value < least => {
            Err(Error::ContainerSetting { member, container: container.to_owned() })
        }
        value => Ok(value),
    }
}

fn memory(
    container: &str,
    sent: &types::ContainerDefinition,
    task_memory: bool,
) -> Result<(Option<i64>, Option<i64>), Error> {
    let memory = in_range(container, "memory", sent.memory, MIN_MEMORY_MIB)?;
    let reservation =
        in_range(container, "memoryReservation", sent.memory_reservation, MIN_MEMORY_MIB)?;
    match (memory, reservation) {
        (None, None) if !task_memory => Err(Error::NoMemory(container.to_owned())),
        (Some(hard), Some(soft)) if soft > hard => {
            Err(Error::ReservationAboveMemory(container.to_owned()))
        }
        both => Ok(both),
    }
}

fn environment(
    container: &str,
    sent: &types::ContainerDefinition,
) -> Result<Vec<(String, String)>, Error> {
    let one = |pair: &types::KeyValuePair| match pair.name.as_deref() {
        None | Some("") => Err(Error::EnvironmentNameEmpty(container.to_owned())),
        Some(name) => Ok((name.to_owned(), pair.value.clone().unwrap_or_default())),
    };
    sent.environment.iter().flatten().map(one).collect()
}

fn timeout(container: &str, member: &'static str, sent: Option<i32>) -> Result<Option<i32>, Error> {
    match sent {
        Some(seconds) if seconds < 0 => {
            Err(Error::ContainerSetting { member, container: container.to_owned() })
        }
        seconds => Ok(seconds),
    }
}

fn ulimits(container: &str, sent: &[types::Ulimit]) -> Result<Vec<Ulimit>, Error> {
    let mut limits: Vec<Ulimit> = Vec::with_capacity(sent.len());
    for limit in sent {
        let name = limit.name.as_ref().ok_or(Error::Required("Ulimit.name"))?;
        let name = word("ulimits", name.unknown(), types::UlimitName::VALUES, name.as_str())?;
        let soft = limit.soft_limit.ok_or(Error::Required("Ulimit.softLimit"))?;
        let hard = limit.hard_limit.ok_or(Error::Required("Ulimit.hardLimit"))?;
        // -1 is "no limit" and thus above every number.
        let above = hard != -1 && (soft == -1 || soft > hard);
        if above || soft < -1 || hard < -1 || limits.iter().any(|l| l.name == name) {
            return Err(Error::Ulimit { container: container.to_owned(), ulimit: name });
        }
        limits.push(Ulimit { name, soft_limit: soft.into(), hard_limit: hard.into() });
    }
    Ok(limits)
}
