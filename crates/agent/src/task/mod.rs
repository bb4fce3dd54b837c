//! A task as the agent carries it out: validated, complete, independent of the wire.
//!
//! The control plane sends ACS `Task` objects in which every member is optional and half of the
//! settings are strings of Docker Engine API JSON. [`parse`] turns one into a [`Task`], or says
//! what is wrong with it; nothing behind this module looks at the wire form again.

mod container;
mod host_config;
pub mod parse;
mod secret;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use wharf_model::log_driver::Driver;
use wharf_runtime::spec::{
    Capabilities, Device, Dns, Eni, IpcMode, Mount, PidMode, PortMapping, SandboxId, Ulimit,
};

pub(crate) use container::signal_number;
pub use parse::{Error, parse};
pub use secret::Secret;

/// How long a container has to react to its stop signal when its definition doesn't say
/// (`ECS_CONTAINER_STOP_TIMEOUT`), in seconds.
pub const DEFAULT_STOP_TIMEOUT_S: u64 = 30;

/// A task to be run (ACS `Task`).
#[derive(Clone, Serialize, Deserialize)]
pub struct Task {
    /// The task's ARN.
    pub arn: String,
    /// The last part of the ARN: names the sandbox.
    pub id: SandboxId,
    /// The task definition's family.
    pub family: String,
    /// The task definition's revision, as text.
    pub version: String,
    /// The cluster's ARN as the control plane gave it.
    #[serde(default)]
    pub cluster_arn: Option<String>,
    /// The service's name, if a service started the task.
    #[serde(default)]
    pub service_name: Option<String>,
    /// The task group (`service:web`, `family:web`).
    #[serde(default)]
    pub group: Option<String>,
    /// `EC2`, `FARGATE` or `EXTERNAL`.
    #[serde(default)]
    pub launch_type: Option<String>,
    /// Hard limit of the task in vCPUs.
    #[serde(default)]
    pub cpu: Option<f64>,
    /// Hard limit of the task in MiB.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// What the containers may write in all, in GiB.
    #[serde(default)]
    pub ephemeral_storage_gib: Option<u64>,
    /// How the task is connected.
    pub network: Network,
    /// `pidMode`.
    #[serde(default)]
    pub pid: PidMode,
    /// `ipcMode`.
    #[serde(default)]
    pub ipc: IpcMode,
    /// Name servers that came with the network interface.
    #[serde(default)]
    pub dns: Dns,
    /// The containers, in the order of the task definition.
    pub containers: Vec<Container>,
    /// The task role's credentials, if the task has a role.
    #[serde(default)]
    pub role_credentials: Option<RoleCredentials>,
    /// The execution role's credentials.
    #[serde(default)]
    pub execution_role_credentials: Option<RoleCredentials>,
}

impl Task {
    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }
}

/// The task definition's `networkMode` with what it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// A bridge on the instance, ports published on the host.
    Bridge,
    /// The host's own network.
    Host,
    /// Loopback only.
    None,
    /// An interface in the VPC.
    Awsvpc(Interface),
}

impl Network {
    /// ECS's word for the mode.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::None => "none",
            Self::Awsvpc(_) => "awsvpc",
        }
    }
}

/// An `awsvpc` task's network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// What the runtime makes of it.
    pub eni: Eni,
    /// The attachment to report ATTACHED.
    #[serde(default)]
    pub attachment_arn: Option<String>,
}

/// Credentials of a role, handed to the task's processes on request (ACS `IAMRoleCredentials`).
///
/// What they are good for stays in memory: on disk are the id, which the container's environment
/// holds too, and the role. After a restart the control plane sends the rest again.
#[derive(Clone, Serialize, Deserialize)]
pub struct RoleCredentials {
    /// The id under which they are asked for; unguessable.
    pub id: Secret,
    /// The role's ARN.
    pub role_arn: String,
    /// Access key id.
    #[serde(skip)]
    pub access_key_id: String,
    /// Secret access key.
    #[serde(skip)]
    pub secret_access_key: Secret,
    /// Session token.
    #[serde(skip)]
    pub session_token: Secret,
    /// When they expire (RFC 3339).
    #[serde(skip)]
    pub expiration: String,
}

impl RoleCredentials {
    /// False after a restart, until they have been sent again.
    pub fn is_complete(&self) -> bool {
        !self.access_key_id.is_empty() && !self.secret_access_key.expose().is_empty()
    }
}

/// A container of a task (ACS `Container`).
#[derive(Clone, Serialize, Deserialize)]
pub struct Container {
    /// Its name, unique within the task.
    pub name: String,
    /// The image as the task definition names it.
    pub image: String,
    /// The secret of Secrets Manager that the image's registry is asked by
    /// (`repositoryCredentials`), by its ARN or its name.
    #[serde(default)]
    pub registry_secret: Option<String>,
    /// The container's ARN.
    #[serde(default)]
    pub arn: Option<String>,
    /// Whether the task ends with it.
    pub essential: bool,
    /// CPU shares (1024 is one CPU's worth).
    #[serde(default)]
    pub cpu: u64,
    /// Hard limit in MiB.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Soft limit in bytes.
    #[serde(default)]
    pub memory_reservation_bytes: Option<u64>,
    /// Memory and swap in bytes.
    #[serde(default)]
    pub memory_swap_bytes: Option<u64>,
    /// Replaces the image's entry point when set.
    #[serde(default)]
    pub entry_point: Option<Vec<String>>,
    /// Replaces the image's command when set.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Environment from the task definition and the overrides.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Variables whose values are fetched when the task starts: names and `valueFrom`s.
    #[serde(default)]
    pub secrets: Vec<(String, String)>,
    /// Files of variables: ARNs of S3 objects.
    #[serde(default)]
    pub environment_files: Vec<String>,
    /// Published ports.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// Volumes with their sources on the host.
    #[serde(default)]
    pub mounts: Vec<VolumeMount>,
    /// Memory file systems.
    #[serde(default)]
    pub tmpfs: Vec<Mount>,
    /// What must have happened to other containers before this one is made.
    #[serde(default)]
    pub depends_on: Vec<Dependency>,
    /// How long others wait for this one to fulfil their condition, in seconds.
    #[serde(default)]
    pub start_timeout_s: Option<u64>,
    /// How long it has between its stop signal and SIGKILL, in seconds.
    pub stop_timeout_s: u64,
    /// `user`.
    #[serde(default)]
    pub user: String,
    /// `workingDirectory`.
    #[serde(default)]
    pub working_dir: String,
    /// `hostname`.
    #[serde(default)]
    pub hostname: Option<String>,
    /// `dockerLabels`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `readonlyRootFilesystem`.
    #[serde(default)]
    pub readonly_rootfs: bool,
    /// `privileged`.
    #[serde(default)]
    pub privileged: bool,
    /// `dockerSecurityOptions: no-new-privileges`.
    #[serde(default)]
    pub no_new_privileges: bool,
    /// `ulimits`.
    #[serde(default)]
    pub ulimits: Vec<Ulimit>,
    /// `linuxParameters.capabilities`.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// `linuxParameters.devices`.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// The host's GPUs that it was given, by their ids.
    #[serde(default)]
    pub gpus: Vec<String>,
    /// The profile of AppArmor that it runs under.
    #[serde(default)]
    pub apparmor: Option<String>,
    /// `systemControls`.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// `extraHosts`.
    #[serde(default)]
    pub extra_hosts: Vec<(String, Ipv4Addr)>,
    /// `dnsServers`, `dnsSearchDomains`.
    #[serde(default)]
    pub dns: Dns,
    /// `links`: another container's name and what it is called here.
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// `linuxParameters.initProcessEnabled`.
    #[serde(default)]
    pub init_process: bool,
    /// `interactive`.
    #[serde(default)]
    pub stdin: bool,
    /// `pseudoTerminal`.
    #[serde(default)]
    pub tty: bool,
    /// `disableNetworking`.
    #[serde(default)]
    pub network_disabled: bool,
    /// `linuxParameters.swappiness`.
    #[serde(default)]
    pub swappiness: Option<u64>,
    /// `linuxParameters.sharedMemorySize` in bytes.
    #[serde(default)]
    pub shm_bytes: Option<u64>,
    /// The signal that asks it to stop; the image's, or SIGTERM, when not set.
    #[serde(default)]
    pub stop_signal: Option<i32>,
    /// Log driver and options.
    #[serde(default)]
    pub log: LogConfig,
    /// `firelensConfiguration`: it routes the others' logs.
    #[serde(default)]
    pub router: Option<Router>,
    /// Options of the log driver whose values are fetched: names and `valueFrom`s.
    #[serde(default)]
    pub log_secrets: Vec<(String, String)>,
    /// Health check.
    #[serde(default)]
    pub health_check: Option<HealthCheck>,
    /// `restartPolicy`, if it is enabled.
    #[serde(default)]
    pub restart_policy: Option<RestartPolicy>,
}

impl Container {
    /// Whether its own limits leave it swap.
    pub(crate) fn may_swap(&self) -> bool {
        let limit = self.memory_mib.map(|mib| mib << 20);
        self.memory_swap_bytes.zip(limit).is_some_and(|(together, memory)| together > memory)
    }
}

/// Log settings of a container (`logConfiguration`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The driver as asked for; empty means the default, `json-file`.
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

impl LogConfig {
    /// Whether the container waits for a receiver that is slow.
    pub(crate) fn is_blocking(&self) -> bool {
        Driver::parse(&self.driver) != Some(Driver::Awsfirelens)
            && self.options.get("mode").is_some_and(|mode| mode == "blocking")
    }
}

/// A log router (`firelensConfiguration`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    /// What it is.
    pub kind: RouterKind,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// Which program a log router is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouterKind {
    /// Fluent Bit.
    Fluentbit,
    /// Fluentd.
    Fluentd,
}

/// A volume mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// The volume's name in the task definition.
    pub volume: String,
    /// Where its content lies.
    pub source: VolumeSource,
    /// The path in the container.
    pub target: String,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// Where a volume's content lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// A path of the host (`host.sourcePath`).
    Host(String),
    /// A directory of the agent that lives as long as the task.
    Task,
    /// A directory of the agent that outlives tasks (`dockerVolumeConfiguration.scope: shared`).
    Shared,
    /// The same, if it is there already (`autoprovision: false`).
    SharedExisting,
    /// Memory that lives as long as the task (`driverOpts` of type tmpfs), with mount(8)'s options.
    Memory(String),
    /// A directory of the host that has to be there (`driverOpts` with bind).
    Directory {
        /// Its path.
        path: String,
        /// Whether nobody may write to it.
        read_only: bool,
    },
    /// A file in memory with given content (wharf's own driver `wharf-file`).
    File {
        /// Its name in the volume's directory; without one the volume is the file.
        path: Option<String>,
        /// What is in it.
        content: String,
        /// Who may read it.
        access: FileAccess,
    },
    /// Secrets as files in memory (wharf's own driver `wharf-secret`).
    Secrets {
        /// Names with the `valueFrom`s of what is in them.
        files: BTreeMap<String, String>,
        /// Who may read them.
        access: FileAccess,
    },
}

/// Whose files are, and who may read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAccess {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// An entry of `dependsOn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The other container's name.
    pub container: String,
    /// What must have happened to it.
    pub condition: Condition,
}

/// `dependsOn` conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Condition {
    /// It has been started.
    Start,
    /// It has ended, however.
    Complete,
    /// It has ended with code 0.
    Success,
    /// Its health check passes.
    Healthy,
}

impl Condition {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Complete => "COMPLETE",
            Self::Success => "SUCCESS",
            Self::Healthy => "HEALTHY",
        }
    }

    /// The condition that the API's word names.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Start, Self::Complete, Self::Success, Self::Healthy]
            .into_iter()
            .find(|condition| condition.as_str() == word)
    }
}

/// A container's health check (Docker's `Healthcheck`); ECS's defaults are filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The command line to run in the container.
    pub command: Vec<String>,
    /// Time between checks in milliseconds.
    pub interval_ms: u64,
    /// Time a check may take in milliseconds.
    pub timeout_ms: u64,
    /// Failures in a row until the container counts as unhealthy.
    pub retries: u32,
    /// Time after the start in which failures don't count, in milliseconds.
    pub start_period_ms: u64,
}

/// When a container is started again in its task (`restartPolicy`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// Exit codes after which it isn't.
    pub ignored_exit_codes: Vec<i32>,
    /// How long it must have run, in seconds.
    pub attempt_period_s: u64,
}

#[cfg(test)]
pub(crate) mod fixtures {
    //! Small tasks for tests.

    use super::*;

    /// A container with nothing special about it.
    pub(crate) fn container(name: &str) -> Container {
        Container {
            name: name.to_owned(),
            image: "busybox".to_owned(),
            registry_secret: None,
            arn: None,
            essential: true,
            cpu: 0,
            memory_mib: None,
            memory_reservation_bytes: None,
            memory_swap_bytes: None,
            entry_point: None,
            command: None,
            environment: BTreeMap::new(),
            secrets: Vec::new(),
            environment_files: Vec::new(),
            ports: Vec::new(),
            mounts: Vec::new(),
            tmpfs: Vec::new(),
            depends_on: Vec::new(),
            start_timeout_s: None,
            stop_timeout_s: DEFAULT_STOP_TIMEOUT_S,
            user: String::new(),
            working_dir: String::new(),
            hostname: None,
            labels: BTreeMap::new(),
            readonly_rootfs: false,
            privileged: false,
            no_new_privileges: false,
            ulimits: Vec::new(),
            capabilities: Capabilities::default(),
            devices: Vec::new(),
            gpus: Vec::new(),
            apparmor: None,
            sysctls: BTreeMap::new(),
            extra_hosts: Vec::new(),
            dns: Dns::default(),
            links: Vec::new(),
            init_process: false,
            stdin: false,
            tty: false,
            network_disabled: false,
            swappiness: None,
            shm_bytes: None,
            stop_signal: None,
            router: None,
            log: LogConfig::default(),
            log_secrets: Vec::new(),
            health_check: None,
            restart_policy: None,
        }
    }

    /// A task of these containers in network mode bridge.
    pub(crate) fn task(containers: Vec<Container>) -> Task {
        Task {
            arn: "arn:aws:ecs:us-east-1:123456789012:task/default/0123".to_owned(),
            id: SandboxId::new("0123").unwrap(),
            family: "web".to_owned(),
            version: "1".to_owned(),
            cluster_arn: None,
            service_name: None,
            group: None,
            launch_type: None,
            cpu: None,
            memory_mib: None,
            ephemeral_storage_gib: None,
            network: Network::Bridge,
            pid: PidMode::default(),
            ipc: IpcMode::default(),
            dns: Dns::default(),
            containers,
            role_credentials: None,
            execution_role_credentials: None,
        }
    }
}
