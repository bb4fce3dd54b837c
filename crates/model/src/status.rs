//! The task lifecycle (Amazon ECS, "Task lifecycle").

use serde::{Deserialize, Serialize};
use std::fmt;

/// A task's or container's `lastStatus` or `desiredStatus`. The order of the variants is the order
/// of the lifecycle: a task's lastStatus never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskStatus {
    /// Steps before launch are carried out, such as creating the network interface (awsvpc).
    Provisioning,
    /// Waits for the container agent to act.
    Pending,
    /// Containers run; steps after launch remain, such as load balancer registration.
    Activating,
    /// Runs.
    Running,
    /// Steps before stopping, such as load balancer deregistration.
    Deactivating,
    /// Waits for the container agent to stop the containers.
    Stopping,
    /// Steps after stopping, such as deleting the network interface.
    Deprovisioning,
    /// All containers have ended.
    Stopped,
    /// Transitional; not shown in DescribeTasks.
    Deleted,
}

impl TaskStatus {
    /// All states in the order of the lifecycle.
    pub const ALL: [Self; 9] = [
        Self::Provisioning,
        Self::Pending,
        Self::Activating,
        Self::Running,
        Self::Deactivating,
        Self::Stopping,
        Self::Deprovisioning,
        Self::Stopped,
        Self::Deleted,
    ];

    /// ECS's word for the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
            Self::Deleted => "DELETED",
        }
    }

    /// The state that ECS's word names, if it names one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }

    /// True once nothing of the task runs any more.
    pub const fn is_stopped(self) -> bool {
        matches!(self, Self::Stopped | Self::Deleted)
    }

    /// True while the task is before RUNNING: what `pendingCount` counts.
    pub fn is_starting(self) -> bool {
        self < Self::Running
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a task stopped (ECS API `TaskStopCode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopCode {
    /// It never ran.
    TaskFailedToStart,
    /// An essential container ended.
    EssentialContainerExited,
    /// StopTask was called.
    UserInitiated,
    /// The service scheduler stopped it (scale-in, deployment, draining, health).
    ServiceSchedulerInitiated,
    /// Spot capacity was reclaimed.
    SpotInterruption,
    /// The instance went away.
    TerminationNotice,
}

impl StopCode {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TaskFailedToStart => "TaskFailedToStart",
            Self::EssentialContainerExited => "EssentialContainerExited",
            Self::UserInitiated => "UserInitiated",
            Self::ServiceSchedulerInitiated => "ServiceSchedulerInitiated",
            Self::SpotInterruption => "SpotInterruption",
            Self::TerminationNotice => "TerminationNotice",
        }
    }
}

/// Container or task health (ECS API `HealthStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HealthStatus {
    /// The check passed.
    Healthy,
    /// The check failed as often as its retries allow.
    Unhealthy,
    /// No check, or no result yet.
    #[default]
    Unknown,
}

impl HealthStatus {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
            Self::Unknown => "UNKNOWN",
        }
    }
}
