//! What is known about sandboxes and containers: answered by the shim, kept on disk by it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::spec::{NetworkMode, PortMapping, SandboxId};

/// A sandbox as its shim describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxInfo {
    /// The task's id.
    pub id: SandboxId,
    /// The shim's process id; `None` when the shim is gone (killed): then every container that
    /// hadn't exited is reported with [`ExitReason::ShimLost`].
    pub shim_pid: Option<i32>,
    /// How it is connected.
    pub network: NetworkMode,
    /// The address of an `awsvpc` task.
    pub address: Option<Ipv4Addr>,
    /// The labels given at creation.
    pub labels: BTreeMap<String, String>,
    /// Its containers in the order of creation.
    pub containers: Vec<ContainerInfo>,
    /// When it was made, in milliseconds since the epoch.
    pub created_at_ms: u64,
}

/// A container as its shim describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerInfo {
    /// Its name in the task definition.
    pub name: String,
    /// Its runtime id: 64 hexadecimal digits, as docker's (ECS: `runtimeId`).
    pub runtime_id: String,
    /// Where it is in its life.
    pub status: ContainerStatus,
    /// The address on the bridge (network mode bridge) or in the VPC.
    pub address: Option<Ipv4Addr>,
    /// Its Ethernet address, where it has an interface of its own.
    #[serde(default)]
    pub mac: Option<String>,
    /// Published ports, with the host ports that were chosen (ECS: `networkBindings`).
    pub ports: Vec<PortMapping>,
    /// The labels given at creation.
    pub labels: BTreeMap<String, String>,
    /// The cgroup below the hierarchy's mount, for statistics.
    pub cgroup: String,
    /// How long each phase of its creation and start took.
    #[serde(default)]
    pub timings: Timings,
}

/// A container's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerStatus {
    /// Made, its process not yet started.
    Created {
        /// Process id on the host.
        pid: i32,
    },
    /// Started.
    Running {
        /// Process id on the host.
        pid: i32,
        /// When, in milliseconds since the epoch.
        started_at_ms: u64,
    },
    /// Ended.
    Exited(ExitStatus),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// As docker reports it: the exit code, or 128 + the signal.
    pub code: i32,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// Whether the kernel killed a process of it for memory (ECS: `OutOfMemoryError`).
    pub oom_killed: bool,
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// How it is known.
    #[serde(default)]
    pub reason: ExitReason,
    /// When it had been started, in milliseconds since the epoch.
    #[serde(default)]
    pub started_at_ms: Option<u64>,
}

/// How an exit status is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitReason {
    /// The shim reaped the process.
    #[default]
    Exited,
    /// The shim was killed: the container was killed after it, the code (137) is made up.
    ShimLost,
}

/// How long the phases of a start took, in microseconds; 0 where a phase didn't happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Namespace, interface and addresses.
    pub network_us: u64,
    /// Overlay mount, files in /etc, configuration.
    pub bundle_us: u64,
    /// The OCI runtime's create.
    pub create_us: u64,
    /// The OCI runtime's start.
    pub start_us: u64,
}

/// Something that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEvent {
    /// The task's id.
    pub sandbox: SandboxId,
    /// The container's name.
    pub container: String,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// Its process runs.
    Started {
        /// Process id on the host.
        pid: i32,
        /// When, in milliseconds since the epoch.
        at_ms: u64,
    },
    /// Its process ended.
    Exited(ExitStatus),
}

/// What a container uses, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStats {
    /// CPU time used, in nanoseconds.
    pub cpu_usage_ns: u64,
    /// CPU time used in the kernel, in nanoseconds.
    pub cpu_system_ns: u64,
    /// Times it was throttled by its quota.
    pub cpu_throttled_periods: u64,
    /// Memory used, page cache included, in bytes.
    pub memory_usage_bytes: u64,
    /// Inactive page cache in bytes, which tools subtract from the usage.
    pub memory_inactive_file_bytes: u64,
    /// The most memory ever used, in bytes, where the kernel says.
    pub memory_max_usage_bytes: u64,
    /// The memory limit in bytes, if there is one.
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes and packets by interface; empty in network mode host.
    pub networks: BTreeMap<String, NetworkStats>,
    /// Bytes read from and written to block devices.
    pub block_read_bytes: u64,
    /// Bytes written to block devices.
    pub block_write_bytes: u64,
}

/// Counters of one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStats {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Packets dropped on reception.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Send errors.
    pub tx_errors: u64,
    /// Packets dropped on sending.
    pub tx_dropped: u64,
}
