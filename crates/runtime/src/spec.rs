//! What the caller asks for: sandboxes (one per task) and the containers in them.
//!
//! Plain serialisable data and nothing else: the agent fills it in, the shim reads it. No path in
//! here is ever taken from an image; the only image data are strings (arguments, environment,
//! user, working directory) that are interpreted inside the container's root.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

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

/// An IPv4 block: the network address and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv4Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

impl Ipv4Cidr {
    /// The block of `address`/`prefix`; host bits are cleared.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Self, Error> {
        if prefix > 32 {
            return Err(Error::InvalidCidr(format!("{address}/{prefix}")));
        }
        let bits = u32::from(address) & mask(prefix);
        Ok(Self { address: Ipv4Addr::from(bits), prefix })
    }

    /// The first address of the block.
    pub fn network(&self) -> Ipv4Addr {
        self.address
    }

    /// The length of the prefix in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// How many addresses the block holds.
    pub fn size(&self) -> u64 {
        1u64 << (32 - self.prefix)
    }

    /// The `n`th address of the block, if it has that many.
    pub fn nth(&self, n: u32) -> Option<Ipv4Addr> {
        (u64::from(n) < self.size()).then(|| Ipv4Addr::from(u32::from(self.address) + n))
    }

    /// Whether `address` lies in the block.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == u32::from(self.address)
    }

    /// Whether the two blocks share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Ipv4Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl std::str::FromStr for Ipv4Cidr {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidCidr(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address = address.parse().map_err(|_| invalid())?;
        Self::new(address, prefix.parse().map_err(|_| invalid())?)
    }
}

impl TryFrom<String> for Ipv4Cidr {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Ipv4Cidr> for String {
    fn from(cidr: Ipv4Cidr) -> Self {
        cidr.to_string()
    }
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

/// ECS's network modes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// Every container has a network namespace of its own on the instance's bridge; ports are
    /// published on the host. ECS's default on Linux.
    Bridge,
    /// The host's network namespace.
    Host,
    /// A network namespace per container with nothing but loopback.
    None,
    /// One network namespace for the task, with an interface in the VPC.
    Awsvpc(Eni),
}

/// The elastic network interface of an `awsvpc` task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eni {
    /// The interface's MAC address.
    pub mac: MacAddress,
    /// Its private address.
    pub address: Ipv4Addr,
    /// The prefix length of the subnet it is in.
    pub prefix: u8,
    /// The subnet's gateway: the runtime puts this address on the VPC bridge.
    pub gateway: Ipv4Addr,
    /// The name that `hostname` answers in the containers (`ip-10-113-0-7.ec2.internal`).
    #[serde(default)]
    pub private_dns_name: Option<String>,
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::str::FromStr for MacAddress {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidName { what: "MAC address", value: text.to_owned() };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() { Err(invalid()) } else { Ok(Self(bytes)) }
    }
}

/// Name resolution of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Name servers; empty means the host's that aren't on loopback.
    pub servers: Vec<Ipv4Addr>,
    /// Search domains.
    pub search: Vec<String>,
    /// Options such as `ndots:2`.
    #[serde(default)]
    pub options: Vec<String>,
}

impl Dns {
    /// With the other's where this has none.
    pub(crate) fn or(&self, other: &Self) -> Self {
        fn first<T: Clone>(one: &[T], other: &[T]) -> Vec<T> {
            if one.is_empty() { other.to_vec() } else { one.to_vec() }
        }
        Self {
            servers: first(&self.servers, &other.servers),
            search: first(&self.search, &other.search),
            options: first(&self.options, &other.options),
        }
    }
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

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The port that the container listens on.
    pub container_port: u16,
    /// The host's port; 0 means any free one of the dynamic range.
    #[serde(default)]
    pub host_port: u16,
    /// TCP or UDP.
    #[serde(default)]
    pub protocol: Protocol,
    /// As many ports of either side, beginning with these; none is one port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<u16>,
}

impl PortMapping {
    /// Each port for itself.
    pub fn each(&self) -> impl Iterator<Item = Self> + use<> {
        let first = Self { range: None, ..self.clone() };
        (0..self.range.unwrap_or(1)).map(move |offset| Self {
            container_port: first.container_port.saturating_add(offset),
            host_port: first.host_port.saturating_add(offset),
            ..first.clone()
        })
    }
}

/// A transport protocol.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The name as ECS spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
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
    /// What goes with each line: labels and variables of the container.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

impl Default for LogOptions {
    /// 20 MiB in 3 files; docker's own default never rotates, which fills disks.
    fn default() -> Self {
        Self { max_size_bytes: 20 << 20, max_files: 3, is_held: false, attributes: BTreeMap::new() }
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
