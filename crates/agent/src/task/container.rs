//! One container from the wire: the plain members first, then the Docker Engine API JSON of
//! `dockerConfig` over them, which wins.

use std::collections::BTreeMap;

use wharf_model::log_driver::Driver;
use wharf_runtime::spec::{Capabilities, Device, PortMapping, Protocol};
use wharf_wire::acs::{self, docker};

use super::host_config;
use super::parse::{Error, positive};
use super::{
    Condition, Container, DEFAULT_STOP_TIMEOUT_S, Dependency, HealthCheck, LogConfig, Network,
    RestartPolicy, Router, RouterKind, VolumeMount, VolumeSource,
};

/// The task's volumes by name.
pub(super) type Volumes = BTreeMap<String, VolumeSource>;

/// The longest timeout that is taken, in seconds: a day.
const MAX_TIMEOUT_S: u64 = 86_400;
/// Docker's least memory limit in MiB; smaller ones are raised to it.
pub(super) const MIN_MEMORY_MIB: u64 = 6;

pub(super) fn parse(
    wire: &acs::Container,
    volumes: &Volumes,
    network: &Network,
) -> Result<Container, Error> {
    let name = wire.name.clone().ok_or(Error::Missing("containers[].name"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > 255 || !name.chars().all(plain) {
        return Err(Error::invalid("containers[].name", format!("{name:?}")));
    }
    refuse_unsupported(wire, &name)?;
    let timeout = |member, value| {
        positive(member, value).map(|seconds| seconds.map(|seconds| seconds.min(MAX_TIMEOUT_S)))
    };
    let image = wire.image.clone().filter(|image| !image.is_empty());
    let linux = wire.linux_parameters.clone().unwrap_or_default();
    let mut container = Container {
        image: image.ok_or(Error::Missing("containers[].image"))?,
        registry_secret: registry_secret(wire)?,
        arn: wire.container_arn.clone(),
        essential: wire.essential.unwrap_or(true),
        cpu: positive("cpu", wire.cpu)?.unwrap_or(0),
        memory_mib: positive("memory", wire.memory)?.map(|mib| mib.max(MIN_MEMORY_MIB)),
        memory_reservation_bytes: None,
        memory_swap_bytes: None,
        entry_point: wire.entry_point.clone().filter(|list| !list.is_empty()),
        command: wire.command.clone().filter(|list| !list.is_empty()),
        environment: environment(wire)?,
        secrets: secrets(wire, CONTAINER)?,
        environment_files: environment_files(wire)?,
        ports: ports(wire, network)?,
        mounts: mounts(wire, volumes)?,
        tmpfs: Vec::new(),
        depends_on: depends_on(wire)?,
        start_timeout_s: timeout("startTimeout", wire.start_timeout)?,
        stop_timeout_s: timeout("stopTimeout", wire.stop_timeout)?
            .unwrap_or(DEFAULT_STOP_TIMEOUT_S),
        user: String::new(),
        working_dir: String::new(),
        hostname: None,
        labels: BTreeMap::new(),
        readonly_rootfs: false,
        privileged: wire.privileged.unwrap_or(false),
        no_new_privileges: false,
        ulimits: Vec::new(),
        capabilities: Capabilities {
            add: linux.capabilities.as_ref().and_then(|c| c.add.clone()).unwrap_or_default(),
            drop: linux.capabilities.as_ref().and_then(|c| c.drop.clone()).unwrap_or_default(),
        },
        devices: linux.devices.iter().flatten().map(device).collect::<Result<_, _>>()?,
        gpus: Vec::new(),
        apparmor: None,
        sysctls: BTreeMap::new(),
        extra_hosts: Vec::new(),
        dns: Default::default(),
        links: links(wire)?,
        init_process: linux.init_process_enabled.unwrap_or(false),
        stdin: false,
        tty: false,
        network_disabled: false,
        swappiness: None,
        shm_bytes: positive("sharedMemorySize", linux.shared_memory_size)?.map(|mib| mib << 20),
        stop_signal: None,
        log: LogConfig::default(),
        router: router(wire)?,
        log_secrets: secrets(wire, LOG_DRIVER)?,
        health_check: None,
        restart_policy: restart_policy(wire)?,
        name,
    };
    overrides(wire, &mut container)?;
    if let Some(docker) = &wire.docker_config {
        if let Some(text) = docker.config.as_deref().filter(|text| !text.is_empty()) {
            let config = docker::Config::from_json(text);
            config_over(config.map_err(|e| docker_error("config", &e))?, &mut container)?;
        }
        if let Some(text) = docker.host_config.as_deref().filter(|text| !text.is_empty()) {
            let config = docker::HostConfig::from_json(text);
            host_config::over(config.map_err(|e| docker_error("hostConfig", &e))?, &mut container)?;
        }
    }
    if wire.health_check_type.as_deref() == Some("docker") && container.health_check.is_none() {
        return Err(Error::invalid("dockerConfig.config", "healthCheckType without Healthcheck"));
    }
    Ok(container)
}

/// The text of serde's error could quote the document, which may hold secrets: only its place is
/// told.
fn docker_error(member: &str, error: &serde_json::Error) -> Error {
    let place = format!("line {} column {}", error.line(), error.column());
    Error::invalid(format!("dockerConfig.{member}"), format!("malformed JSON at {place}"))
}

fn refuse_unsupported(wire: &acs::Container, name: &str) -> Result<(), Error> {
    fn any<T>(list: &Option<Vec<T>>) -> bool {
        list.as_ref().is_some_and(|list| !list.is_empty())
    }
    let refused = [
        ("credentialSpecs", any(&wire.credential_specs)),
        ("managedAgents", any(&wire.managed_agents)),
        ("resourceRequirements", any(&wire.resource_requirements)),
    ];
    match refused.iter().find(|(_, asked)| *asked) {
        Some((member, _)) => Err(Error::Unsupported(format!("container {name}: {member}"))),
        None => Ok(()),
    }
}

/// The secret with the name and the password for the image's registry.
fn registry_secret(wire: &acs::Container) -> Result<Option<String>, Error> {
    let Some(data) = &wire.registry_authentication else { return Ok(None) };
    match data.kind.as_deref().unwrap_or_default() {
        "asm" => {
            let secret = data.asm_auth_data.as_ref().and_then(|d| d.credentials_parameter.clone());
            let secret = secret.filter(|secret| !secret.is_empty());
            secret.ok_or(Error::Missing("asmAuthData.credentialsParameter")).map(Some)
        }
        other => Err(Error::Unsupported(format!("registryAuthentication.type {other:?}"))),
    }
}

fn router(wire: &acs::Container) -> Result<Option<Router>, Error> {
    let Some(firelens) = &wire.firelens_configuration else { return Ok(None) };
    let kind = match firelens.kind.as_deref().unwrap_or_default() {
        "fluentbit" => RouterKind::Fluentbit,
        "fluentd" => RouterKind::Fluentd,
        other => return Err(Error::invalid("firelensConfiguration.type", format!("{other:?}"))),
    };
    Ok(Some(Router { kind, options: firelens.options.clone().unwrap_or_default() }))
}

/// Whoever logs through a router is started after it, and stopped before: unless the router itself
/// waits for others, as then the order would go round in a circle.
pub(super) fn order_router(containers: &mut [Container]) -> Result<(), Error> {
    let routed =
        |container: &Container| Driver::parse(&container.log.driver) == Some(Driver::Awsfirelens);
    let mut routers = containers.iter().filter(|container| container.router.is_some());
    let Some(router) = routers.next() else {
        return match containers.iter().any(routed) {
            true => Err(Error::Missing("firelensConfiguration")),
            false => Ok(()),
        };
    };
    if routers.next().is_some() {
        return Err(Error::invalid("firelensConfiguration", "two containers have one"));
    }
    let name = router.name.clone();
    if !router.depends_on.is_empty() {
        return Ok(());
    }
    for container in containers.iter_mut().filter(|container| routed(container)) {
        if container.name != name && !container.depends_on.iter().any(|on| on.container == name) {
            let on = Dependency { container: name.clone(), condition: Condition::Start };
            container.depends_on.push(on);
        }
    }
    Ok(())
}

fn environment(wire: &acs::Container) -> Result<BTreeMap<String, String>, Error> {
    let environment = wire.environment.clone().unwrap_or_default();
    let bad = |(name, value): (&String, &String)| {
        name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
    };
    match environment.iter().any(bad) {
        true => Err(Error::invalid("environment", "a name or value that no environment can hold")),
        false => Ok(environment),
    }
}

/// Where a secret goes: into the container's environment, or into the log driver's options.
const CONTAINER: &str = "CONTAINER";
const LOG_DRIVER: &str = "LOG_DRIVER";

/// The secrets with this target.
fn secrets(wire: &acs::Container, target: &str) -> Result<Vec<(String, String)>, Error> {
    let mut all = Vec::new();
    for secret in wire.secrets.iter().flatten() {
        let asked = secret.target.as_deref().filter(|target| !target.is_empty());
        let asked = asked.unwrap_or(CONTAINER);
        if ![CONTAINER, LOG_DRIVER].contains(&asked) {
            return Err(Error::Unsupported(format!("secrets[].target {asked:?}")));
        }
        let kind = secret.kind.as_deref().filter(|kind| !kind.is_empty());
        if let Some(kind) = kind.filter(|kind| *kind != "ENVIRONMENT_VARIABLE") {
            return Err(Error::Unsupported(format!("secrets[].type {kind:?}")));
        }
        if asked != target {
            continue;
        }
        let name = secret.name.clone().filter(|name| !name.is_empty());
        let name = name.ok_or(Error::Missing("secrets[].name"))?;
        if name.contains(['=', '\0']) {
            return Err(Error::invalid("secrets[].name", format!("{name:?}")));
        }
        let from = secret.value_from.clone().filter(|from| !from.is_empty());
        all.push((name, from.ok_or(Error::Missing("secrets[].valueFrom"))?));
    }
    Ok(all)
}

fn environment_files(wire: &acs::Container) -> Result<Vec<String>, Error> {
    let one = |file: &acs::EnvironmentFile| match file.kind.as_deref().unwrap_or("s3") {
        "" | "s3" => file.value.clone().ok_or(Error::Missing("environmentFiles[].value")),
        other => Err(Error::Unsupported(format!("environmentFiles[].type {other:?}"))),
    };
    wire.environment_files.iter().flatten().map(one).collect()
}

fn port(member: &str, value: Option<i64>) -> Result<u16, Error> {
    let value = value.unwrap_or(0);
    u16::try_from(value).map_err(|_| Error::invalid(member, format!("{value} is out of range")))
}

/// The first port of `first-last`, and how many there are.
fn port_range(text: &str) -> Result<(u16, u16), Error> {
    let wrong = || Error::invalid("containerPortRange", format!("{text:?}"));
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let parse = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (first, last) = (parse(first)?, parse(last)?);
    let count = last.checked_sub(first).and_then(|n| n.checked_add(1)).ok_or_else(wrong)?;
    Ok((first, count))
}

fn ports(wire: &acs::Container, network: &Network) -> Result<Vec<PortMapping>, Error> {
    let mut ports = Vec::new();
    for mapping in wire.port_mappings.iter().flatten() {
        let range = mapping.container_port_range.as_deref().filter(|range| !range.is_empty());
        let (container_port, range) = match range {
            Some(text) => port_range(text).map(|(first, count)| (first, Some(count)))?,
            None => (port("containerPort", mapping.container_port)?, None),
        };
        let host_port = port("hostPort", mapping.host_port)?;
        let protocol = match mapping.protocol.as_deref().unwrap_or("tcp") {
            "" | "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => return Err(Error::invalid("protocol", format!("{other:?}"))),
        };
        if container_port == 0 {
            return Err(Error::invalid("containerPort", "0 is out of range"));
        }
        // Outside bridge mode nothing is mapped: the container's port is the one.
        let host_port = match network {
            Network::Bridge if range.is_some() => 0,
            Network::Bridge => host_port,
            _ => container_port,
        };
        ports.push(PortMapping { container_port, host_port, protocol, range });
    }
    Ok(ports)
}

fn mounts(wire: &acs::Container, volumes: &Volumes) -> Result<Vec<VolumeMount>, Error> {
    let mut mounts = Vec::new();
    for point in wire.mount_points.iter().flatten() {
        let volume = point.source_volume.clone().ok_or(Error::Missing("sourceVolume"))?;
        let target = point.container_path.clone().ok_or(Error::Missing("containerPath"))?;
        let source = volumes.get(&volume).cloned();
        let source = source
            .ok_or_else(|| Error::invalid("sourceVolume", format!("no volume {volume:?}")))?;
        let read_only = point.read_only.unwrap_or(false);
        mounts.push(VolumeMount { volume, source, target: absolute(target)?, read_only });
    }
    Ok(mounts)
}

pub(super) fn absolute(path: String) -> Result<String, Error> {
    match path.starts_with('/') && !path.contains('\0') {
        true => Ok(path),
        false => Err(Error::invalid("containerPath", format!("{path:?} is not absolute"))),
    }
}

/// `volumesFrom`: the other container's mounts, also those that it has from others before it.
pub(super) fn take_volumes_from(
    wire: &[acs::Container],
    containers: &mut [Container],
) -> Result<(), Error> {
    for (index, wire) in wire.iter().enumerate() {
        for from in wire.volumes_from.iter().flatten() {
            let name = from.source_container.as_deref().unwrap_or_default();
            let other = containers.iter().find(|container| container.name == name);
            let missing = || Error::invalid("volumesFrom", format!("no container {name:?}"));
            let mut mounts = other.ok_or_else(missing)?.mounts.clone();
            if from.read_only == Some(true) {
                mounts.iter_mut().for_each(|mount| mount.read_only = true);
            }
            let own: Vec<String> =
                containers[index].mounts.iter().map(|mount| mount.target.clone()).collect();
            mounts.retain(|mount| !own.contains(&mount.target));
            containers[index].mounts.extend(mounts);
        }
    }
    Ok(())
}

fn depends_on(wire: &acs::Container) -> Result<Vec<Dependency>, Error> {
    let mut list = Vec::new();
    for on in wire.depends_on.iter().flatten() {
        let container = on.container_name.clone().ok_or(Error::Missing("dependsOn"))?;
        let word = on.condition.as_deref().unwrap_or_default();
        let condition = Condition::parse(word)
            .ok_or_else(|| Error::invalid("dependsOn.condition", format!("{word:?}")))?;
        list.push(Dependency { container, condition });
    }
    // A link tells an address, which a container has once it is made.
    for (container, _) in links(wire)? {
        if !list.iter().any(|on: &Dependency| on.container == container) {
            list.push(Dependency { container, condition: Condition::Start });
        }
    }
    Ok(list)
}

/// `name` or `name:alias`.
fn links(wire: &acs::Container) -> Result<Vec<(String, String)>, Error> {
    let one = |link: &String| {
        let (name, alias) = link.split_once(':').unwrap_or((link, link));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match !name.is_empty() && !alias.is_empty() && alias.chars().all(plain) {
            true => Ok((name.to_owned(), alias.to_owned())),
            false => Err(Error::invalid("links", format!("{link:?}"))),
        }
    };
    wire.links.iter().flatten().map(one).collect()
}

/// ECS's default attempt period, in seconds.
const DEFAULT_ATTEMPT_PERIOD_S: u64 = 300;

fn restart_policy(wire: &acs::Container) -> Result<Option<RestartPolicy>, Error> {
    let Some(policy) = wire.restart_policy.as_ref().filter(|p| p.enabled == Some(true)) else {
        return Ok(None);
    };
    let code = |code: &i64| {
        let out_of_range = |_| Error::invalid("ignoredExitCodes", format!("{code}"));
        i32::try_from(*code).map_err(out_of_range)
    };
    let codes = policy.ignored_exit_codes.iter().flatten().map(code);
    let period = positive("restartAttemptPeriod", policy.restart_attempt_period)?;
    Ok(Some(RestartPolicy {
        ignored_exit_codes: codes.collect::<Result<_, _>>()?,
        attempt_period_s: period.unwrap_or(DEFAULT_ATTEMPT_PERIOD_S).min(MAX_TIMEOUT_S),
    }))
}

fn device(wire: &acs::Device) -> Result<Device, Error> {
    let host_path = wire.host_path.clone().ok_or(Error::Missing("hostPath"))?;
    let mut permissions = String::new();
    for word in wire.permissions.iter().flatten() {
        permissions.push(match word.as_str() {
            "read" => 'r',
            "write" => 'w',
            "mknod" => 'm',
            other => return Err(Error::invalid("permissions", format!("{other:?}"))),
        });
    }
    if permissions.is_empty() {
        permissions = "rwm".to_owned();
    }
    let container_path = wire.container_path.clone().filter(|path| !path.is_empty());
    Ok(Device { host_path: host_path.into(), container_path, permissions })
}

/// A container's `overrides`: JSON text whose only member may be `command`.
fn overrides(wire: &acs::Container, container: &mut Container) -> Result<(), Error> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Overrides {
        #[serde(default)]
        command: Option<Vec<String>>,
    }
    let Some(text) = wire.overrides.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(());
    };
    let overrides: Overrides = serde_json::from_str(text).map_err(|error| {
        Error::invalid(format!("container {}: overrides", container.name), error)
    })?;
    if let Some(command) = overrides.command {
        container.command = Some(command);
    }
    Ok(())
}

fn config_over(config: docker::Config, container: &mut Container) -> Result<(), Error> {
    container.tty = config.tty.unwrap_or(false);
    container.stdin = config.open_stdin.unwrap_or(false);
    container.network_disabled = config.network_disabled.unwrap_or(false);
    if container.network_disabled {
        container.ports.clear();
    }
    container.user = config.user.unwrap_or_default();
    container.working_dir = config.working_dir.unwrap_or_default();
    container.hostname = config.hostname.filter(|name| !name.is_empty());
    container.labels = config.labels.unwrap_or_default();
    if let Some(text) = config.stop_signal.filter(|text| !text.is_empty()) {
        let signal = signal_number(&text);
        container.stop_signal =
            Some(signal.ok_or_else(|| Error::invalid("StopSignal", format!("{text:?}")))?);
    }
    if let Some(check) = config.healthcheck {
        container.health_check = health_check(&check)?;
    }
    Ok(())
}

/// Docker's check with ECS's defaults; `NONE` and an empty test are no check.
fn health_check(wire: &docker::HealthCheck) -> Result<Option<HealthCheck>, Error> {
    let test = wire.test.as_deref().unwrap_or_default();
    let command = match test {
        [] => return Ok(None),
        [kind, ..] if kind == "NONE" => return Ok(None),
        [kind, line] if kind == "CMD-SHELL" => {
            vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()]
        }
        [kind, command @ ..] if kind == "CMD" && !command.is_empty() => command.to_vec(),
        _ => return Err(Error::invalid("Healthcheck.Test", "neither CMD nor CMD-SHELL")),
    };
    let millis = |nanos: Option<i64>, default_ms: u64| match nanos.unwrap_or(0) {
        nanos if nanos > 0 => (nanos / 1_000_000).clamp(1, 86_400_000) as u64,
        _ => default_ms,
    };
    Ok(Some(HealthCheck {
        command,
        interval_ms: millis(wire.interval, 30_000),
        timeout_ms: millis(wire.timeout, 5_000),
        retries: wire.retries.filter(|n| *n > 0).map_or(3, |n| n.min(1000) as u32),
        start_period_ms: millis(wire.start_period, 0),
    }))
}

/// A signal by number or name (`15`, `SIGTERM`, `term`).
pub(crate) fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let names = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ABRT", 6),
        ("KILL", 9),
        ("USR1", 10),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
        ("CONT", 18),
        ("STOP", 19),
        ("TSTP", 20),
        ("WINCH", 28),
        ("PWR", 30),
    ];
    match name.strip_prefix("RTMIN+").map(str::parse::<i32>) {
        Some(Ok(offset)) if (0..=30).contains(&offset) => return Some(34 + offset),
        _ => {}
    }
    if name == "RTMIN" {
        return Some(34);
    }
    names.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}
