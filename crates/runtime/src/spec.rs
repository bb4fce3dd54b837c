//! What the caller asks for: sandboxes (one per task) and the containers in them.
//!
//! Plain serialisable data and nothing else: the agent fills it in, the shim reads it. No path in
//! here is ever taken from an image; the only image data are strings (arguments, environment,
//! user, working directory) that are interpreted inside the container's root.

mod network;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

pub use network::{Dns, Eni, Ipv4Cidr, MacAddress, NetworkMode, PortMapping, Protocol};

pub use crate::secret::{SecretText, VolumeFile};
pub use crate::sharing::{IpcMode, PidMode, Sharing};

use serde::{Deserialize, Serialize};

/// Why a specification was refused before anything was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An id is empty, too long or holds characters that a file or cgroup name may not.
    #[error("invalid {what} {value:?}: 1 to 128 letters, digits, '-', '_' and '.', not led by '.'")]
    InvalidName {
        /// What kind of name it is.
        what: &'static str,
        /// The rejected text.
        value: String,
    },
    /// A wharf's name on its host isn't 1 to 8 lower-case letters and digits.
    #[error("invalid instance name {0:?}: 1 to 8 lower-case letters and digits")]
    InvalidInstance(String),
    /// An address block isn't `a.b.c.d/prefix`.
    #[error("invalid IPv4 block {0:?}")]
    InvalidCidr(String),
    /// A member is out of its range.
    #[error("container {container}: {member}: {why}")]
    InvalidMember {
        /// The container's name.
        container: String,
        /// The member of [`ContainerSpec`].
        member: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// The id of a sandbox: the task's id (the last part of its ARN).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxId(String);

impl SandboxId {
    /// Takes a task id: 1 to 128 letters, digits, `-`, `_` and `.`.
    pub fn new(id: impl Into<String>) -> Result<Self, Error> {
        let id = id.into();
        check_name("sandbox id", &id)?;
        Ok(Self(id))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SandboxId {
    type Error = Error;
    fn try_from(id: String) -> Result<Self, Error> {
        Self::new(id)
    }
}

impl From<SandboxId> for String {
    fn from(id: SandboxId) -> Self {
        id.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Refuses names that can't be one component of a path and of a cgroup.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = (1..=128).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain);
    if good { Ok(()) } else { Err(Error::InvalidName { what, value: name.to_owned() }) }
}

/// A task's sandbox: the shim, the task's cgroup and its network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// The task's id.
    pub id: SandboxId,
    /// The task definition's `networkMode`.
    pub network: NetworkMode,
    /// Limits on the whole task (task definition's `cpu` and `memory`).
    #[serde(default)]
    pub resources: TaskResources,
    /// Name servers and search domains; empty means the host's.
    #[serde(default)]
    pub dns: Dns,
    /// What the containers see of each other.
    #[serde(default)]
    pub sharing: Sharing,
    /// Volumes in memory for all containers of the task: where they are mounted, for the task alone,
    /// and with which options (`size=1m,uid=1000`).
    #[serde(default)]
    pub memory_volumes: BTreeMap<PathBuf, String>,
    /// A limit on what the containers write; none leaves them the host's file system.
    #[serde(default)]
    pub storage: Option<Storage>,
    /// Names the OCI runtime, where the options have one of that name.
    #[serde(default)]
    pub runtime_class: Option<String>,
    /// Opaque text that the caller gets back from `list_sandboxes` after a restart.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A file system of the task's own: what its containers write to their roots and to its volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Its size.
    pub bytes: u64,
    /// The directory of the task's volumes, which are in it for the task.
    pub volumes: PathBuf,
}

/// Limits on a task as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResources {
    /// Hard CPU limit in thousandths of a CPU (task definition: units of 1024; the caller
    /// converts).
    pub cpu_millis: Option<u64>,
    /// Relative weight as docker's `--cpu-shares` (2 to 262144).
    pub cpu_shares: Option<u64>,
    /// Hard memory limit in bytes.
    pub memory_bytes: Option<u64>,
    /// Leaves swap to the containers' limits; otherwise a limited task has none.
    #[serde(default)]
    pub may_swap: bool,
}

/// One container of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The container's name in the task definition; unique in its sandbox.
    pub name: String,
    /// Overlay lower directories, the topmost layer first. They are shared and never written.
    pub layers: Vec<PathBuf>,
    /// `readonlyRootFilesystem`.
    #[serde(default)]
    pub readonly_rootfs: bool,
    /// The command line: entry point followed by command.
    pub args: Vec<String>,
    /// The environment as `NAME=value`, image's first, task definition's later (the last wins).
    #[serde(default)]
    pub env: Vec<String>,
    /// Further variables as `NAME=value` that win over all others, and are in no configuration on a
    /// disk.
    #[serde(default)]
    pub secret_env: Vec<SecretText>,
    /// Files that its volumes in memory have before it is made.
    #[serde(default)]
    pub files: Vec<VolumeFile>,
    /// `workingDirectory`; empty means `/`. It is made when the image doesn't have it.
    #[serde(default)]
    pub cwd: String,
    /// `user`, `user:group`, `uid`, `uid:gid` …; empty means root. All digits means a number;
    /// names are looked up in the root file system's passwd and group.
    #[serde(default)]
    pub user: String,
    /// The host name; the default is the first twelve characters of the container's id.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Limits.
    #[serde(default)]
    pub resources: ContainerResources,
    /// `ulimits`.
    #[serde(default)]
    pub ulimits: Vec<Ulimit>,
    /// Capabilities to add and drop relative to docker's default set.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Volumes and tmpfs mounts.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// `portMappings`: carried out in network mode bridge; in other modes container and host
    /// port are one.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// The signal that asks it to stop (`STOPSIGNAL`), as a number; 15 unless set.
    #[serde(default)]
    pub stop_signal: Option<i32>,
    /// How logs are kept.
    #[serde(default)]
    pub log: LogOptions,
    /// `privileged`: every capability, every device, no seccomp, no masked paths.
    #[serde(default)]
    pub privileged: bool,
    /// `dockerSecurityOptions: no-new-privileges`.
    #[serde(default)]
    pub no_new_privileges: bool,
    /// The profile of AppArmor to run under.
    #[serde(default)]
    pub apparmor_profile: Option<String>,
    /// `linuxParameters.initProcessEnabled`: an init is the first process, and the command its child.
    #[serde(default)]
    pub init_process: bool,
    /// `linuxParameters.devices`.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// `systemControls`: namespaced kernel parameters.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// `extraHosts`: lines for /etc/hosts.
    #[serde(default)]
    pub extra_hosts: Vec<(String, Ipv4Addr)>,
    /// `linuxParameters.sharedMemorySize` in bytes; 64 MiB unless set.
    #[serde(default)]
    pub shm_bytes: Option<u64>,
    /// `interactive`: standard input stays open instead of being /dev/null.
    #[serde(default)]
    pub stdin: bool,
    /// `pseudoTerminal`: the standard streams are a terminal.
    #[serde(default)]
    pub tty: bool,
    /// `disableNetworking`: nothing but loopback, whatever the task's network mode.
    #[serde(default)]
    pub network_disabled: bool,
    /// `dnsServers` and `dnsSearchDomains`: what is empty is the task's.
    #[serde(default)]
    pub dns: Dns,
    /// `links`: the container's name and what it is called here. It must have been made before.
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// Opaque text that the caller gets back from `list_sandboxes` after a restart.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl ContainerSpec {
    /// A container with docker's defaults in everything else.
    pub fn new(name: impl Into<String>, layers: Vec<PathBuf>, args: Vec<String>) -> Self {
        Self {
            name: name.into(),
            layers,
            readonly_rootfs: false,
            args,
            env: Vec::new(),
            secret_env: Vec::new(),
            files: Vec::new(),
            cwd: String::new(),
            user: String::new(),
            hostname: None,
            resources: ContainerResources::default(),
            ulimits: Vec::new(),
            capabilities: Capabilities::default(),
            mounts: Vec::new(),
            ports: Vec::new(),
            stop_signal: None,
            log: LogOptions::default(),
            privileged: false,
            no_new_privileges: false,
            apparmor_profile: None,
            init_process: false,
            devices: Vec::new(),
            sysctls: BTreeMap::new(),
            extra_hosts: Vec::new(),
            shm_bytes: None,
            stdin: false,
            tty: false,
            network_disabled: false,
            dns: Dns::default(),
            links: Vec::new(),
            labels: BTreeMap::new(),
        }
    }
}

/// Limits of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerResources {
    /// Relative weight as docker's `--cpu-shares` (ECS: container's `cpu`, at least 2).
    pub cpu_shares: Option<u64>,
    /// Hard CPU limit in thousandths of a CPU.
    pub cpu_millis: Option<u64>,
    /// Hard memory limit in bytes (ECS: `memory`).
    pub memory_bytes: Option<u64>,
    /// Soft limit in bytes (ECS: `memoryReservation`).
    pub memory_reservation_bytes: Option<u64>,
    /// Memory and swap together in bytes; the default is the memory limit: no swap.
    pub memory_swap_bytes: Option<u64>,
    /// How readily memory is swapped, 0 to 100. Version 1 of cgroups alone has it.
    #[serde(default)]
    pub swappiness: Option<u64>,
    /// The largest number of processes.
    pub pids: Option<u64>,
}

/// One `ulimit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// The name as in task definitions: `nofile`, `nproc` …
    pub name: String,
    /// The soft limit; `u64::MAX` means unlimited.
    pub soft: u64,
    /// The hard limit; `u64::MAX` means unlimited.
    pub hard: u64,
}

/// Changes to docker's default capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// To add, without the prefix `CAP_`: `NET_ADMIN`; `ALL` means every one.
    pub add: Vec<String>,
    /// To drop; `ALL` means every one.
    pub drop: Vec<String>,
}

/// Something mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, inside the container: an absolute path.
    pub target: String,
    /// What.
    pub source: MountSource,
    /// Whether it is read-only.
    #[serde(default)]
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A directory or file of the host.
    Bind(PathBuf),
    /// A volume: a directory of the host that, while it is empty, gets what the image has at its
    /// place.
    Volume(PathBuf),
    /// Memory: size in bytes (0: half of the RAM) and further options (`mode=1777`).
    Tmpfs {
        /// The size limit in bytes, 0 for the kernel's default.
        size_bytes: u64,
        /// Mount options as in `linuxParameters.tmpfs.mountOptions`.
        options: Vec<String>,
    },
}

/// How a container's output is kept: docker's `json-file` options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOptions {
    /// A file is rotated before it grows beyond this many bytes (`max-size`).
    pub max_size_bytes: u64,
    /// How many files are kept, the current one included (`max-file`).
    pub max_files: u32,
    /// The container waits rather than that a file goes which isn't shipped: see
    /// [`crate::logs::shipped`].
    #[serde(default)]
    pub is_held: bool,
    /// Full files are compressed (`compress`).
    #[serde(default)]
    pub is_compressed: bool,
    /// Nothing is kept.
    #[serde(default)]
    pub is_dropped: bool,
    /// What goes with each line: labels and variables of the container.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

impl Default for LogOptions {
    /// 20 MiB in 3 files; docker's own default never rotates, which fills disks.
    fn default() -> Self {
        Self {
            max_size_bytes: 20 << 20,
            max_files: 3,
            is_held: false,
            is_compressed: false,
            is_dropped: false,
            attributes: BTreeMap::new(),
        }
    }
}

/// A device of the host that the container may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The path on the host.
    pub host_path: PathBuf,
    /// The path in the container; the host's unless set.
    #[serde(default)]
    pub container_path: Option<String>,
    /// Any of `r`, `w` and `m` (mknod).
    pub permissions: String,
}

/// A further process in a running container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecSpec {
    /// The command line.
    pub args: Vec<String>,
    /// Variables in addition to the container's.
    #[serde(default)]
    pub env: Vec<String>,
    /// The working directory; empty means the container's.
    #[serde(default)]
    pub cwd: String,
    /// The user; empty means the container's.
    #[serde(default)]
    pub user: String,
}
