//! From a task and an image to what the runtime is asked to make.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wharf_image::Image;
use wharf_model::log_driver::{Attributes, Driver, Files, parse_size};
use wharf_runtime::net::nft::DNS_ADDRESS;
use wharf_runtime::spec::{
    ContainerResources, Dns, LogOptions, Mount, MountSource, NetworkMode, SecretText, Sharing,
    Storage, TaskResources, VolumeFile,
};
use wharf_runtime::{ContainerSpec, SandboxSpec};

use crate::engine::Failure;
use crate::firelens;
use crate::gpu::{self, Gpus};
use crate::secrets::Values;
use crate::task::{
    Container, FileAccess, LogConfig, Network, Secret, Task, VolumeSource, signal_number,
};

/// The address by which tasks reach the agent's endpoints.
pub(crate) const METADATA_URL: &str = "http://169.254.170.2";
/// The address by which tasks reach the API.
pub(crate) const API_URL: &str = "http://169.254.170.4";
/// The label that remembers a container's stop signal over a restart of the agent.
pub(crate) const STOP_SIGNAL_LABEL: &str = "wharf.stop-signal";
/// Docker's least CPU shares.
const MIN_CPU_SHARES: u64 = 2;
/// The largest of the files that buffer logs, whatever `max-buffer-size` says.
const MAX_BUFFER_BYTES: u64 = 1 << 30;
/// What a line of ordinary length takes in the file.
const MAX_LINE_BYTES: u64 = 1024;
/// What goes with each line of a log, at most: it is written with every one.
const MAX_ATTRIBUTE_BYTES: usize = 16 << 10;
/// How volumes of files are mounted: room for what the largest secrets take.
const FILES_IN_MEMORY: &str = "mode=0755,size=8m";
/// SIGTERM.
const DEFAULT_STOP_SIGNAL: i32 = 15;

/// What containers are told about where they are.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) cluster: String,
    pub(crate) region: String,
    /// Where volumes lie.
    pub(crate) volumes: PathBuf,
    /// Where the configurations and sockets of log routers lie.
    pub(crate) routers: PathBuf,
    /// GPUs of this host.
    pub(crate) gpus: Gpus,
}

/// The id by which a container asks for its metadata: stable over restarts of the agent. It isn't
/// a secret; credentials have their own id and are bound to the task's address.
pub(crate) fn metadata_id(task: &Task, container: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(task.arn.as_bytes());
    hasher.update([0]);
    hasher.update(container.as_bytes());
    let hex = hex::encode(hasher.finalize());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

/// The container's name as docker would show it: `ecs-<family>-<version>-<container>-<20 hex>`.
pub(crate) fn docker_name(task: &Task, container: &str) -> String {
    let id = metadata_id(task, container).replace('-', "");
    format!("ecs-{}-{}-{}-{}", task.family, task.version, container, &id[..20])
}

/// The labels that ECS puts on a container.
pub(crate) fn ecs_labels(task: &Task, container: &str, cluster: &str) -> BTreeMap<String, String> {
    let label = |key: &str, value: &str| (format!("com.amazonaws.ecs.{key}"), value.to_owned());
    BTreeMap::from([
        label("cluster", cluster),
        label("container-name", container),
        label("task-arn", &task.arn),
        label("task-definition-family", &task.family),
        label("task-definition-version", &task.version),
    ])
}

/// The sandbox of a task.
pub(crate) fn sandbox(task: &Task, surroundings: &Surroundings) -> SandboxSpec {
    let cpu_millis = task.cpu.map(|cpu| ((cpu * 1000.0) as u64).max(10));
    let shm = task.containers.iter().filter_map(|container| container.shm_bytes).max();
    SandboxSpec {
        id: task.id.clone(),
        network: match &task.network {
            Network::Bridge => NetworkMode::Bridge,
            Network::Host => NetworkMode::Host,
            Network::None => NetworkMode::None,
            Network::Awsvpc(interface) => NetworkMode::Awsvpc(interface.eni.clone()),
        },
        resources: TaskResources {
            cpu_millis,
            cpu_shares: task.cpu.map(|cpu| ((cpu * 1024.0) as u64).max(MIN_CPU_SHARES)),
            memory_bytes: task.memory_mib.map(|mib| mib << 20),
            may_swap: task.containers.iter().any(|container| container.may_swap()),
        },
        dns: dns(task),
        sharing: Sharing { pid: task.pid, ipc: task.ipc, shm_bytes: shm },
        memory_volumes: memory_volumes(task, surroundings),
        storage: task.ephemeral_storage_gib.map(|gib| Storage {
            bytes: gib << 30,
            volumes: task_volumes(&surroundings.volumes, task),
        }),
        runtime_class: task.launch_type.clone(),
        labels: BTreeMap::from([("com.amazonaws.ecs.task-arn".to_owned(), task.arn.clone())]),
    }
}

/// A task with a network of its own asks the agent, unless it says whom it asks.
fn dns(task: &Task) -> Dns {
    let own_network = matches!(task.network, Network::Bridge | Network::Awsvpc(_));
    let resolver = (own_network && task.dns.servers.is_empty()).then_some(DNS_ADDRESS);
    Dns { resolver, ..task.dns.clone() }
}

/// The task's volumes in memory: where they are mounted and with which options.
fn memory_volumes(task: &Task, surroundings: &Surroundings) -> BTreeMap<PathBuf, String> {
    let own = task_volumes(&surroundings.volumes, task);
    let mounts = task.containers.iter().flat_map(|container| &container.mounts);
    let memory = mounts.filter_map(|mount| match &mount.source {
        VolumeSource::Memory(options) => Some((own.join(&mount.volume), options.clone())),
        VolumeSource::File { .. } | VolumeSource::Secrets { .. } => {
            Some((own.join(&mount.volume), FILES_IN_MEMORY.to_owned()))
        }
        _ => None,
    });
    memory.collect()
}

/// The signal that asks a container of this image to stop.
fn stop_signal(container: &Container, image: &Image) -> i32 {
    let of_image = image.config.stop_signal.as_deref().and_then(signal_number);
    container.stop_signal.or(of_image).unwrap_or(DEFAULT_STOP_SIGNAL)
}

/// The container, complete. Directories of the task's own volumes are made here. In bridge mode
/// whoever logs through a router is told its address.
pub(crate) fn container(
    task: &Task,
    container: &Container,
    image: &Image,
    surroundings: &Surroundings,
    router: Option<Ipv4Addr>,
    values: &Values,
) -> Result<ContainerSpec, Failure> {
    let config = &image.config;
    let args = match (&container.entry_point, &container.command) {
        (Some(entry_point), command) => {
            [entry_point.as_slice(), command.as_deref().unwrap_or_default()].concat()
        }
        (None, Some(command)) => [config.entrypoint.as_slice(), command].concat(),
        (None, None) => [config.entrypoint.as_slice(), &config.cmd].concat(),
    };
    if args.is_empty() {
        return Err(Failure::new("CannotCreateContainerError", "No command specified"));
    }
    let signal = stop_signal(container, image);
    let mut spec = ContainerSpec::new(&container.name, image.layers.clone(), args);
    spec.env = environment(task, container, config, surroundings);
    for (name, value) in firelens::environment(task, container, router) {
        if !container.environment.contains_key(name) {
            spec.env.push(format!("{name}={value}"));
        }
    }
    spec.cwd = non_empty(&container.working_dir).unwrap_or(&config.working_dir).to_owned();
    spec.user = non_empty(&container.user).unwrap_or(&config.user).to_owned();
    spec.hostname = container.hostname.clone();
    spec.readonly_rootfs = container.readonly_rootfs;
    spec.privileged = container.privileged;
    spec.no_new_privileges = container.no_new_privileges;
    spec.resources = ContainerResources {
        cpu_shares: Some(container.cpu.max(MIN_CPU_SHARES)),
        cpu_millis: None,
        memory_bytes: container.memory_mib.map(|mib| mib << 20),
        memory_reservation_bytes: container.memory_reservation_bytes,
        memory_swap_bytes: container.memory_swap_bytes,
        swappiness: container.swappiness,
        pids: None,
    };
    spec.ulimits = container.ulimits.clone();
    spec.capabilities = container.capabilities.clone();
    spec.devices = container.devices.clone();
    spec.devices.extend(surroundings.gpus.devices(&container.gpus)?);
    if !container.gpus.is_empty() && !container.environment.contains_key(gpu::VISIBLE) {
        // The image's own, which says "all", gives way.
        spec.env.retain(|variable| !variable.starts_with(&format!("{}=", gpu::VISIBLE)));
        spec.env.push(format!("{}={}", gpu::VISIBLE, container.gpus.join(",")));
    }
    spec.apparmor_profile = container.apparmor.clone();
    spec.sysctls = container.sysctls.clone();
    spec.extra_hosts = container.extra_hosts.clone();
    spec.shm_bytes = container.shm_bytes;
    spec.dns = container.dns.clone();
    spec.links = container.links.clone();
    spec.init_process = container.init_process;
    spec.stdin = container.stdin;
    spec.tty = container.tty;
    spec.network_disabled = container.network_disabled;
    spec.ports = container.ports.clone();
    spec.stop_signal = Some(signal);
    spec.mounts = mounts(task, container, surroundings)?;
    spec.mounts.extend(firelens::mounts(task, container, &surroundings.routers));
    let of_router = firelens::secret_environment(task, container, values);
    let variables = values.environment(container);
    spec.secret_env = of_router.iter().chain(&variables).map(secret_text).collect();
    spec.files = files(task, container, surroundings, values);
    spec.labels = config.labels.clone();
    spec.labels.extend(container.labels.clone());
    spec.labels.extend(ecs_labels(task, &container.name, &surroundings.cluster));
    spec.log = log_options(&values.log(container), &spec.labels, &spec.env)?;
    spec.labels.insert(STOP_SIGNAL_LABEL.to_owned(), signal.to_string());
    Ok(spec)
}

fn secret_text(secret: &Secret) -> SecretText {
    SecretText::new(secret.expose())
}

/// The name of the file that a `wharf-file` volume without a path is.
const WHOLE_VOLUME: &str = "file";

/// The files of the container's volumes in memory.
fn files(
    task: &Task,
    container: &Container,
    surroundings: &Surroundings,
    values: &Values,
) -> Vec<VolumeFile> {
    let own = task_volumes(&surroundings.volumes, task);
    let mut all: Vec<VolumeFile> = Vec::new();
    for mount in &container.mounts {
        let mut file = |name: &str, content: SecretText, access: FileAccess| {
            let FileAccess { mode, uid, gid } = access;
            let (volume, name) = (own.join(&mount.volume), name.to_owned());
            all.push(VolumeFile { volume, name, content, mode, uid, gid });
        };
        match &mount.source {
            VolumeSource::File { path, content, access } => {
                let name = path.as_deref().unwrap_or(WHOLE_VOLUME);
                file(name, SecretText::new(content.as_str()), *access);
            }
            VolumeSource::Secrets { files, access } => {
                for (name, from) in files {
                    // All that a task names was fetched.
                    let content = values.of(from).map(secret_text);
                    file(name, content.unwrap_or_else(|| SecretText::new("")), *access);
                }
            }
            _ => {}
        }
    }
    all
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The image's variables, the agent's, the task definition's: later ones win.
fn environment(
    task: &Task,
    container: &Container,
    config: &wharf_image::ImageConfig,
    surroundings: &Surroundings,
) -> Vec<String> {
    let mut env = config.env.clone();
    let set = |env: &Vec<String>, name: &str| {
        let prefix = format!("{name}=");
        env.iter().any(|entry| entry.starts_with(&prefix))
    };
    if !set(&env, "PATH") {
        env.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    }
    if container.tty && !set(&env, "TERM") {
        env.push("TERM=xterm".to_owned());
    }
    let is_set = |name: &str| set(&env, name) || container.environment.contains_key(name);
    let region_is_set = is_set("AWS_REGION") || is_set("AWS_DEFAULT_REGION");
    let endpoint_is_set = is_set("AWS_ENDPOINT_URL");
    let execution_is_set = is_set("AWS_EXECUTION_ENV");
    let mut put = |name: &str, value: &str| env.push(format!("{name}={value}"));
    if !region_is_set {
        put("AWS_REGION", &surroundings.region);
        put("AWS_DEFAULT_REGION", &surroundings.region);
    }
    if !execution_is_set {
        // The SDKs put it into their user agent.
        let launch_type = task.launch_type.as_deref().unwrap_or("EC2");
        put("AWS_EXECUTION_ENV", &format!("AWS_ECS_{launch_type}"));
    }
    // Without a network of its own nothing leads to the agent.
    if task.network != Network::None && !container.network_disabled {
        let id = metadata_id(task, &container.name);
        put("ECS_CONTAINER_METADATA_URI", &format!("{METADATA_URL}/v3/{id}"));
        put("ECS_CONTAINER_METADATA_URI_V4", &format!("{METADATA_URL}/v4/{id}"));
        put("ECS_AGENT_URI", &format!("{METADATA_URL}/api/{id}"));
        if let Some(credentials) = &task.role_credentials {
            let path = format!("/v2/credentials/{}", credentials.id.expose());
            put("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", &path);
        }
        if !endpoint_is_set {
            put("AWS_ENDPOINT_URL", API_URL);
        }
    }
    env.extend(container.environment.iter().map(|(name, value)| format!("{name}={value}")));
    env
}

/// How the shim keeps the output: docker's options of `json-file`; for a driver that ships it the
/// files are the buffer until then.
fn log_options(
    log: &LogConfig,
    labels: &BTreeMap<String, String>,
    environment: &[String],
) -> Result<LogOptions, Failure> {
    let bad = |name: &str, value: &str| {
        Failure::new("CannotCreateContainerError", format!("log option {name}: invalid {value:?}"))
    };
    let size = |name: &str| {
        let text = log.options.get(name);
        text.map(|size| parse_size(size).ok_or_else(|| bad(name, size))).transpose()
    };
    let failed = |why: String| Failure::new("CannotCreateContainerError", why);
    let driver = Driver::parse(&log.driver).unwrap_or(Driver::JsonFile);
    let mut options = LogOptions::default();
    match driver {
        Driver::JsonFile | Driver::Local => {
            let files = Files::parse(driver, &log.options).map_err(failed)?;
            options.max_size_bytes = files.max_bytes.unwrap_or(options.max_size_bytes);
            options.max_files = files.max_files.unwrap_or(options.max_files);
            options.is_compressed = files.is_compressed;
        }
        Driver::None => options.is_dropped = true,
        Driver::Awsfirelens => {
            // Docker's limit counts lines.
            let lines = log.options.get(firelens::BUFFER_LIMIT).and_then(|n| n.parse::<u64>().ok());
            let least = lines.unwrap_or(0).saturating_mul(MAX_LINE_BYTES).min(MAX_BUFFER_BYTES);
            options.max_size_bytes = options.max_size_bytes.max(least);
            return Ok(options);
        }
        Driver::Awslogs | Driver::Syslog | Driver::Journald | Driver::Fluentd => {
            options.is_held = log.is_blocking();
            let wanted = size("max-buffer-size")?.max(size("fluentd-buffer-limit")?);
            // A short line takes several times its size in the file.
            let least = wanted.unwrap_or(0).saturating_mul(4).min(MAX_BUFFER_BYTES);
            options.max_size_bytes = options.max_size_bytes.max(least);
        }
    }
    options.attributes = Attributes::parse(&log.options).map_err(failed)?.of(labels, environment);
    let bytes: usize =
        options.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_ATTRIBUTE_BYTES {
        return Err(failed(format!(
            "the labels and variables that go with each log line have {bytes} bytes, \
             {MAX_ATTRIBUTE_BYTES} are possible"
        )));
    }
    Ok(options)
}

fn mounts(
    task: &Task,
    container: &Container,
    surroundings: &Surroundings,
) -> Result<Vec<Mount>, Failure> {
    let mut mounts = container.tmpfs.clone();
    for mount in &container.mounts {
        let source = match &mount.source {
            VolumeSource::Host(path) | VolumeSource::Directory { path, .. } => PathBuf::from(path),
            VolumeSource::Task
            | VolumeSource::Memory(_)
            | VolumeSource::File { .. }
            | VolumeSource::Secrets { .. } => {
                task_volumes(&surroundings.volumes, task).join(&mount.volume)
            }
            VolumeSource::Shared | VolumeSource::SharedExisting => {
                surroundings.volumes.join("shared").join(&mount.volume)
            }
        };
        let failed = |why: String| {
            Failure::new("CannotCreateVolumeError", format!("volume {}: {why}", mount.volume))
        };
        match &mount.source {
            VolumeSource::SharedExisting if !source.is_dir() => {
                let why = "there is no shared volume of that name on this host, and autoprovision \
                           is false";
                return Err(failed(why.to_owned()));
            }
            VolumeSource::Directory { .. } if !source.is_dir() => {
                return Err(failed(format!("{} is no directory of this host", source.display())));
            }
            _ => {}
        }
        // As docker does: a host path that is missing becomes a directory.
        std::fs::create_dir_all(&source)
            .or_else(exists)
            .map_err(|error| failed(format!("{}: {error}", source.display())))?;
        // What is in a volume of files was said by the task definition.
        let read_only = matches!(
            mount.source,
            VolumeSource::Directory { read_only: true, .. }
                | VolumeSource::File { .. }
                | VolumeSource::Secrets { .. }
        );
        mounts.push(Mount {
            target: mount.target.clone(),
            source: match &mount.source {
                VolumeSource::Host(_) => MountSource::Bind(source),
                VolumeSource::File { path: None, .. } => {
                    MountSource::Bind(source.join(WHOLE_VOLUME))
                }
                // An image's own content has no place there.
                VolumeSource::File { .. } | VolumeSource::Secrets { .. } => {
                    MountSource::Bind(source)
                }
                _ => MountSource::Volume(source),
            },
            read_only: mount.read_only || read_only,
        });
    }
    // One mount within another comes after it, whatever the order in the definition.
    mounts.sort_by_key(|mount| mount.target.split('/').filter(|part| !part.is_empty()).count());
    Ok(mounts)
}

/// A file may be mounted, too.
fn exists(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

/// The directory of the volumes that live as long as the task.
pub(crate) fn task_volumes(volumes: &Path, task: &Task) -> PathBuf {
    volumes.join("task").join(task.id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(driver: &str, pairs: &[(&str, &str)]) -> Result<LogOptions, Failure> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let options = pairs.iter().map(own).collect();
        let log = LogConfig { driver: driver.to_owned(), options };
        let labels = BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
        log_options(&log, &labels, &[format!("BIG={}", "x".repeat(20_000))])
    }

    #[test]
    fn the_files_are_as_large_as_the_driver_says() {
        let default = LogOptions::default();
        assert_eq!(options("", &[]).unwrap(), default);
        let files = options("json-file", &[("max-size", "1m"), ("max-file", "7")]).unwrap();
        assert_eq!((files.max_size_bytes, files.max_files, files.is_held), (1 << 20, 7, false));
        let local = options("local", &[]).unwrap();
        assert_eq!((local.max_size_bytes, local.max_files), (20 << 20, 5));
        assert!(local.is_compressed && !local.is_dropped && !local.is_held);
        assert!(options("none", &[]).unwrap().is_dropped);
        for (driver, option) in [
            ("awslogs", ("max-buffer-size", "25m")),
            ("syslog", ("max-buffer-size", "25m")),
            ("fluentd", ("fluentd-buffer-limit", "25m")),
            ("awsfirelens", ("log-driver-buffer-limit", "102400")),
        ] {
            let small = options(driver, &[]).unwrap();
            assert_eq!((small.max_size_bytes, small.is_held), (default.max_size_bytes, false));
            assert_eq!(options(driver, &[option]).unwrap().max_size_bytes, 100 << 20, "{driver}");
        }
        for driver in ["awslogs", "syslog", "journald", "fluentd"] {
            assert!(options(driver, &[("mode", "blocking")]).unwrap().is_held, "{driver}");
        }
        // That option would be the router's.
        assert!(!options("awsfirelens", &[("mode", "blocking")]).unwrap().is_held);
    }

    #[test]
    fn what_goes_with_each_line_is_small() {
        let blue = options("json-file", &[("labels", "team")]).unwrap().attributes;
        assert_eq!(blue, BTreeMap::from([("team".to_owned(), "blue".to_owned())]));
        let failure = options("syslog", &[("env", "BIG")]).unwrap_err();
        assert!(format!("{failure:?}").contains("20003 bytes"), "{failure:?}");
    }
}
