//! What the control plane is told: the content of SubmitTaskStateChange.

use serde::{Deserialize, Serialize};
use wharf_runtime::spec::PortMapping;

use super::state::{ContainerState, Known, TaskState, TaskStatus};
use crate::task::Task;

/// The longest reason that SubmitTaskStateChange takes, in characters.
const MAX_REASON_CHARS: usize = 1024;

/// One SubmitTaskStateChange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStateChange {
    /// The task's ARN.
    pub task_arn: String,
    /// The task's status; `None` when only an attachment is reported.
    pub status: Option<TaskStatus>,
    /// Why, where there is something to say.
    #[serde(default)]
    pub reason: Option<String>,
    /// Containers whose status changed, in the order of the changes; one may occur twice.
    #[serde(default)]
    pub containers: Vec<ContainerStateChange>,
    /// Attachments that are now ATTACHED.
    #[serde(default)]
    pub attached: Vec<String>,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub pull_started_at_ms: Option<u64>,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub pull_stopped_at_ms: Option<u64>,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub execution_stopped_at_ms: Option<u64>,
}

/// A container within a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStateChange {
    /// Its name.
    pub name: String,
    /// Its status: Pulled (sent as PENDING), Running or Stopped.
    pub status: Known,
    /// Its id in the runtime.
    #[serde(default)]
    pub runtime_id: Option<String>,
    /// Its exit code.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// The digest of the image's manifest.
    #[serde(default)]
    pub image_digest: Option<String>,
    /// Published ports.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
}

impl ContainerStateChange {
    pub(super) fn of(name: &str, state: &ContainerState) -> Self {
        Self {
            name: name.to_owned(),
            status: state.known,
            runtime_id: state.runtime_id.clone(),
            exit_code: state.exit_code,
            reason: state.reason.as_deref().map(shorten),
            image_digest: state.image_digest.clone(),
            ports: state.ports.clone(),
        }
    }

    /// The word of SubmitTaskStateChange.
    pub fn status_word(&self) -> &'static str {
        match self.status {
            Known::Running => "RUNNING",
            Known::Stopped => "STOPPED",
            Known::None | Known::Pulled | Known::Created => "PENDING",
        }
    }
}

impl TaskStateChange {
    /// The state as it is, with the changes that waited.
    pub(super) fn take(task: &Task, state: &mut TaskState) -> Self {
        state.flush_at_ms = None;
        let mut containers = std::mem::take(&mut state.changes);
        // A pulled image matters only while nothing newer is known of its container.
        let newer = |index: usize, changes: &[ContainerStateChange]| {
            let name = &changes[index].name;
            changes[index + 1..].iter().any(|later| &later.name == name)
        };
        let mut index = 0;
        while index < containers.len() {
            if containers[index].status < Known::Running && newer(index, &containers) {
                containers.remove(index);
            } else {
                index += 1;
            }
        }
        Self {
            task_arn: task.arn.clone(),
            status: Some(state.known),
            reason: state.reason.as_deref().map(shorten),
            containers,
            attached: Vec::new(),
            pull_started_at_ms: state.pull_started_at_ms,
            pull_stopped_at_ms: state.pull_stopped_at_ms,
            execution_stopped_at_ms: state.execution_stopped_at_ms,
        }
    }

    /// The interface is in place.
    pub(super) fn attached(task: &Task, attachment_arn: &str) -> Self {
        Self {
            task_arn: task.arn.clone(),
            status: None,
            reason: None,
            containers: Vec::new(),
            attached: vec![attachment_arn.to_owned()],
            pull_started_at_ms: None,
            pull_stopped_at_ms: None,
            execution_stopped_at_ms: None,
        }
    }

    /// A task that was refused before the engine saw it.
    pub fn refused(task_arn: &str, reason: &str) -> Self {
        Self {
            task_arn: task_arn.to_owned(),
            status: Some(TaskStatus::Stopped),
            reason: Some(shorten(reason)),
            containers: Vec::new(),
            attached: Vec::new(),
            pull_started_at_ms: None,
            pull_stopped_at_ms: None,
            execution_stopped_at_ms: None,
        }
    }
}

/// Cuts a reason to what the API takes, at a character's border.
fn shorten(reason: &str) -> String {
    reason.chars().take(MAX_REASON_CHARS).collect()
}
