//! Credentials of tasks' roles: the control plane assumes a task's roles and hands the keys to the
//! task's agent, with the task and again before they end.

use crate::Options;
use std::sync::Arc;
use std::time::Duration;
use wharf_model::iam::{self, Role};
use wharf_model::{Snapshot, Task, TaskKey, Timestamp};
use wharf_wire::acs::IAMRoleCredentials;

/// How long a task's credentials are good (ECS developer guide, "Task IAM role": they are
/// renewed, and never older than six hours).
pub const LIFE: Duration = Duration::from_secs(6 * 3600);

/// Makes the credentials of a role for a task, good until the given time. The last argument makes
/// them different from those before.
pub type IssueCredentials =
    Arc<dyn Fn(&Role, &TaskKey, RoleType, Timestamp, &[u8]) -> IAMRoleCredentials + Send + Sync>;

/// What a task has a role for (ACS `roleType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleType {
    /// For what runs in its containers: `taskRoleArn`.
    Application,
    /// For what the agent does for it: `executionRoleArn`.
    Execution,
}

impl RoleType {
    /// ACS's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Application => "TaskApplication",
            Self::Execution => "TaskExecution",
        }
    }
}

/// The credentials of one task.
#[derive(Default)]
pub(crate) struct TaskCredentials {
    pub(crate) application: Option<IAMRoleCredentials>,
    pub(crate) execution: Option<IAMRoleCredentials>,
    /// When they end; none if the task has no role.
    pub(crate) expires_at: Option<Timestamp>,
}

/// A role that ECS can't assume.
pub(crate) struct Unassumable {
    /// The role's ARN.
    pub(crate) arn: String,
}

impl Unassumable {
    /// `stoppedReason` in ECS's words.
    pub(crate) fn reason(&self) -> String {
        format!(
            "{} '{}' that was provided for this task. Please verify that the role being passed has \
             the proper trust relationship and permissions and that your IAM user has permissions \
             to pass this role.",
            wharf_scheduler::task::UNASSUMABLE,
            self.arn
        )
    }
}

/// New credentials for the task's roles: those of RunTask's overrides, or of its definition.
pub(crate) fn issue(
    options: &Options,
    snapshot: &Snapshot,
    task: &Task,
    now: Timestamp,
) -> Result<TaskCredentials, Unassumable> {
    let definition = snapshot.task_definition(&task.task_definition);
    let overrides = &task.overrides;
    let application = overrides
        .task_role_arn
        .as_ref()
        .or_else(|| definition.and_then(|definition| definition.task_role_arn.as_ref()));
    let execution = overrides
        .execution_role_arn
        .as_ref()
        .or_else(|| definition.and_then(|definition| definition.execution_role_arn.as_ref()));
    if application.is_none() && execution.is_none() {
        return Ok(TaskCredentials::default());
    }
    let expires_at = now.plus(options.credentials_life);
    let (key, arns) = (task.key(), &options.arns);
    let task_arn = arns.task(&key);
    let assume = |reference: Option<&String>, role_type: RoleType| {
        let Some(reference) = reference else { return Ok(None) };
        let salt = fastrand::u128(..).to_be_bytes();
        match iam::role_for_task(snapshot, arns, reference, &task_arn) {
            Some(role) => {
                Ok(Some((options.issue_credentials)(role, &key, role_type, expires_at, &salt)))
            }
            None => Err(Unassumable { arn: iam::role_arn(reference, &arns.account) }),
        }
    };
    Ok(TaskCredentials {
        application: assume(application, RoleType::Application)?,
        execution: assume(execution, RoleType::Execution)?,
        expires_at: Some(expires_at),
    })
}
