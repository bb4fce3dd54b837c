//! What the containers of a task see of each other: processes and IPC resources.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::spec::{Capabilities, ContainerSpec};

/// The container that holds what the others share, by the name that Amazon's agent gives it. No
/// container of a task can be called so.
pub(crate) const PAUSE: &str = "~internal~ecs~pause";

/// The task definition's `pidMode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidMode {
    /// Every container sees its own processes.
    #[default]
    Private,
    /// Every container sees those of the task.
    Task,
    /// Every container sees the host's.
    Host,
}

/// The task definition's `ipcMode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpcMode {
    /// Every container has its own.
    #[default]
    Private,
    /// The task's containers share theirs, /dev/shm included.
    Task,
    /// The host's.
    Host,
    /// Every container has its own, without /dev/shm.
    None,
}

/// What the containers of a task share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharing {
    /// Processes.
    #[serde(default)]
    pub pid: PidMode,
    /// Shared memory, semaphores, message queues.
    #[serde(default)]
    pub ipc: IpcMode,
    /// The size of a shared /dev/shm in bytes; 64 MiB unless set.
    #[serde(default)]
    pub shm_bytes: Option<u64>,
}

impl Sharing {
    /// Whether somebody has to hold the namespaces that the containers share: they come and go.
    pub(crate) fn needs_pause(&self) -> bool {
        self.pid == PidMode::Task || self.ipc == IpcMode::Task
    }
}

/// The container that holds them: an init and nothing else, neither files nor rights nor a network.
pub(crate) fn pause(empty: PathBuf) -> ContainerSpec {
    let mut spec = ContainerSpec::new(PAUSE, vec![empty], Vec::new());
    spec.init_process = true;
    spec.network_disabled = true;
    spec.readonly_rootfs = true;
    spec.no_new_privileges = true;
    spec.capabilities = Capabilities { add: Vec::new(), drop: vec!["ALL".to_owned()] };
    spec
}
