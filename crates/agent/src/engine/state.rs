//! What the engine knows about a task and its containers.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use wharf_runtime::spec::PortMapping;

use super::report::{ContainerStateChange, TaskStateChange};
use super::restart::Restarts;

/// How far a container has come. The order is the order of its life: it never goes back.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Known {
    /// Nothing was done yet.
    #[default]
    None,
    /// The image is in the store.
    Pulled,
    /// Made, not started.
    Created,
    /// Started.
    Running,
    /// Ended, or will never start.
    Stopped,
}

impl Known {
    /// The word of the agent protocol and the metadata endpoint.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Pulled => "PULLED",
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// What is under way with a container right now. Never survives a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    #[default]
    Idle,
    /// Its image is being pulled.
    Pulling,
    /// It is being made.
    Creating,
    /// It is being started.
    Starting,
    /// It got its stop signal and is killed at `kill_at_ms`.
    Stopping {
        /// Milliseconds since the epoch.
        kill_at_ms: u64,
    },
    /// It got SIGKILL; it is sent again at `again_at_ms` in case the first was lost.
    Killing {
        /// Milliseconds since the epoch.
        again_at_ms: u64,
    },
}

/// What a health check says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Health {
    /// No result yet, or no check.
    #[default]
    Unknown,
    /// It passes.
    Healthy,
    /// It failed too often in a row.
    Unhealthy,
}

impl Health {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
        }
    }
}

/// A container's state.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ContainerState {
    /// How far it has come.
    pub known: Known,
    /// What is under way.
    #[serde(skip)]
    pub phase: Phase,
    /// Whether the image is ready (also once `known` has gone past it).
    #[serde(default)]
    pub pulled: bool,
    /// The id of the container in the runtime: 64 hexadecimal digits.
    #[serde(default)]
    pub runtime_id: Option<String>,
    /// The digest of the image's manifest.
    #[serde(default)]
    pub image_digest: Option<String>,
    /// The digest of the image's configuration.
    #[serde(default)]
    pub image_id: Option<String>,
    /// Published ports with the host ports that were chosen.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// Its address.
    #[serde(default)]
    pub address: Option<std::net::Ipv4Addr>,
    /// The exit code, once it has ended (128 + the signal for a killed one).
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Why it ended or never started, where there is more to say than a code.
    #[serde(default)]
    pub reason: Option<String>,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub created_at_ms: Option<u64>,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub started_at_ms: Option<u64>,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub finished_at_ms: Option<u64>,
    /// What its health check says.
    #[serde(default)]
    pub health: Health,
    /// Since when, in milliseconds since the epoch.
    #[serde(default)]
    pub health_since_ms: Option<u64>,
    /// The check that said so: its exit code and its output, which never goes to disk.
    #[serde(skip)]
    pub health_check: Option<(i32, String)>,
    /// Its restarts in place.
    #[serde(default)]
    pub restarts: Restarts,
}

impl ContainerState {
    /// Whether its process runs, as far as is known.
    pub fn is_up(&self) -> bool {
        self.known == Known::Running && !self.restarts.under_way
    }
}

/// A task's known status, as far as the agent tells it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum TaskStatus {
    /// Not every container has been started.
    #[default]
    Pending,
    /// Every container has been started.
    Running,
    /// Every container has ended and nothing of the task is left but its logs.
    Stopped,
}

impl TaskStatus {
    /// The word of the agent protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// Where the sandbox is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxPhase {
    /// Not asked for.
    #[default]
    Absent,
    /// Being made.
    Creating,
    /// Made.
    Ready,
    /// Being removed.
    Removing,
    /// Its removal failed and is tried again.
    RemoveAgain {
        /// Milliseconds since the epoch.
        at_ms: u64,
    },
    /// Removed.
    Gone,
}

/// What the control plane wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Desired {
    /// It shall run.
    #[default]
    Running,
    /// It shall end.
    Stopped,
}

impl Desired {
    /// The word of the agent protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// A task's state. Containers stand in the order of the task's containers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TaskState {
    /// What is wanted.
    pub desired: Desired,
    /// What is known.
    pub known: TaskStatus,
    /// The sandbox.
    pub sandbox: SandboxPhase,
    /// The containers.
    pub containers: Vec<ContainerState>,
    /// Why the task as a whole ended, where no container says it.
    #[serde(default)]
    pub reason: Option<String>,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub pull_started_at_ms: Option<u64>,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub pull_stopped_at_ms: Option<u64>,
    /// When the first essential container ended, in milliseconds since the epoch.
    #[serde(default)]
    pub execution_stopped_at_ms: Option<u64>,
    /// Container changes that wait for the next report.
    #[serde(default)]
    pub changes: Vec<ContainerStateChange>,
    /// When `changes` are sent although the task's status hasn't moved.
    #[serde(skip)]
    pub flush_at_ms: Option<u64>,
    /// Reports that the control plane hasn't acknowledged, oldest first.
    #[serde(default)]
    pub outbox: VecDeque<TaskStateChange>,
    /// Whether the interface's ATTACHED was put into the outbox.
    #[serde(default)]
    pub attachment_reported: bool,
}
