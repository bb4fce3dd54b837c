//! What agents report and what operators order, as changes of one task.

use wharf_model::service::load_balancers_of;
use wharf_model::status::{HealthStatus, StopCode};
use wharf_model::{
    Container, ContainerInstanceKey, NetworkBinding, RecordKey, Snapshot, Task, TaskDefinition,
    TaskKey, TaskStatus, Timestamp, Transaction,
};

/// `stoppedReason` of a task whose essential container ended, in ECS's words.
pub const ESSENTIAL_EXITED: &str = "Essential container in task exited";
/// `stoppedReason` of a task that never ran and whose agent gave no reason.
pub const FAILED_TO_START: &str = "Task failed to start";
/// How `stoppedReason` begins for a task whose role can't be assumed, in ECS's words.
pub const UNASSUMABLE: &str = "ECS was unable to assume the role";
/// Most tasks that are given up in one transaction.
const MAX_LOST: usize = 90;

/// Why a report can't be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such task.
    #[error("The referenced task was not found.")]
    NoSuchTask(TaskKey),
}

/// What an agent reports of a task (ECS API SubmitTaskStateChange) in the model's terms.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskStateChange {
    /// The task.
    pub task: TaskKey,
    /// The task's state; none if only containers or the interface are reported.
    pub status: Option<TaskStatus>,
    /// Why it is in that state; empty counts as none.
    pub reason: Option<String>,
    /// What is known of containers. Names that the task doesn't have are left out of account.
    pub containers: Vec<ContainerStateChange>,
    /// The awsvpc interface is attached.
    pub interface_attached: bool,
    /// When the first image pull began.
    pub pull_started_at: Option<Timestamp>,
    /// When the last image pull ended.
    pub pull_stopped_at: Option<Timestamp>,
    /// When the last essential container ended.
    pub execution_stopped_at: Option<Timestamp>,
}

impl TaskStateChange {
    /// A report that says nothing of `task` yet.
    pub fn of(task: TaskKey) -> Self {
        Self {
            task,
            status: None,
            reason: None,
            containers: Vec::new(),
            interface_attached: false,
            pull_started_at: None,
            pull_stopped_at: None,
            execution_stopped_at: None,
        }
    }
}

/// What an agent reports of one container.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContainerStateChange {
    /// Its name in the task definition.
    pub name: String,
    /// PENDING, RUNNING or STOPPED.
    pub status: Option<TaskStatus>,
    /// The runtime's id.
    pub runtime_id: Option<String>,
    /// Exit code.
    pub exit_code: Option<i32>,
    /// Why it stopped or couldn't start.
    pub reason: Option<String>,
    /// Digest of its image.
    pub image_digest: Option<String>,
    /// Published ports; replaces what was known.
    pub network_bindings: Option<Vec<NetworkBinding>>,
}

/// A step in a task's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEvent {
    /// The task.
    pub task: TaskKey,
    /// When.
    pub at: Timestamp,
    /// The state that it reached.
    pub status: TaskStatus,
    /// Why, where there is a reason.
    pub reason: Option<String>,
}

/// What a report changes; nothing if it was known already.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Applied {
    /// The change.
    pub transaction: Transaction,
    /// The steps that the task took.
    pub events: Vec<TaskEvent>,
}

/// Takes an agent's report in. States only move forward: what is older than what is known, and
/// everything about a task that has stopped, changes nothing.
///
/// # Errors
/// If there is no such task.
pub fn apply_state_change(
    snapshot: &Snapshot,
    change: &TaskStateChange,
    now: Timestamp,
) -> Result<Applied, Error> {
    let before =
        snapshot.task(&change.task).ok_or_else(|| Error::NoSuchTask(change.task.clone()))?;
    if before.last_status.is_stopped() {
        return Ok(Applied::default());
    }
    let definition = snapshot.task_definition(&before.task_definition);
    let mut task = Task::clone(before);
    for report in &change.containers {
        if let Some(container) = task.containers.iter_mut().find(|c| c.name == report.name) {
            apply_container(container, report);
        }
    }
    set_once(&mut task.pull_started_at, change.pull_started_at);
    set_once(&mut task.pull_stopped_at, change.pull_stopped_at);
    set_once(&mut task.execution_stopped_at, change.execution_stopped_at);
    set_once(&mut task.connectivity_at, Some(now));
    if change.interface_attached {
        attach(&mut task);
    }
    let reached = change.status.map(|status| reached(snapshot, &task, status));
    if let Some(status) = reached.filter(|s| *s > task.last_status) {
        if status.is_stopped() {
            finish(&mut task, definition.map(AsRef::as_ref), change.reason.as_deref(), now);
        } else {
            if status >= TaskStatus::Activating {
                attach(&mut task);
            }
            if status >= TaskStatus::Running {
                set_once(&mut task.started_at, Some(now));
            }
            task.last_status = status;
        }
    }
    if !task.last_status.is_stopped() && essential_ended(&task, definition.map(AsRef::as_ref)) {
        give_up_running(&mut task, now);
    }
    Ok(changed(snapshot, before, task, now))
}

/// What an agent's RUNNING means: ACTIVATING for a task that the service scheduler must first
/// register with its target groups.
fn reached(snapshot: &Snapshot, task: &Task, status: TaskStatus) -> TaskStatus {
    let registers = || !load_balancers_of(snapshot, task).is_empty();
    match status {
        TaskStatus::Running if task.last_status < status && registers() => TaskStatus::Activating,
        status => status,
    }
}

fn changed(snapshot: &Snapshot, before: &Task, mut task: Task, now: Timestamp) -> Applied {
    if task == *before {
        return Applied::default();
    }
    task.version += 1;
    let key = RecordKey::Task(task.key());
    let mut transaction = Transaction::new();
    transaction.read(key.clone(), snapshot.revision_of(&key));
    let mut events = Vec::new();
    if task.last_status != before.last_status {
        let (status, reason) = (task.last_status, task.stopped_reason.clone());
        events.push(TaskEvent { task: task.key(), at: now, status, reason });
    }
    transaction.put(task);
    Applied { transaction, events }
}

fn set_once(field: &mut Option<Timestamp>, value: Option<Timestamp>) {
    if field.is_none() {
        *field = value;
    }
}

fn attach(task: &mut Task) {
    if let Some(interface) = &mut task.network_interface {
        "ATTACHED".clone_into(&mut interface.status);
    }
    if task.last_status == TaskStatus::Provisioning {
        task.last_status = TaskStatus::Pending;
    }
}

fn apply_container(container: &mut Container, report: &ContainerStateChange) {
    if let Some(status) = report.status.filter(|s| *s > container.last_status) {
        container.last_status = status;
    }
    let replace = |field: &mut Option<String>, value: &Option<String>| {
        if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
            *field = Some(value.clone());
        }
    };
    replace(&mut container.runtime_id, &report.runtime_id);
    replace(&mut container.reason, &report.reason);
    replace(&mut container.image_digest, &report.image_digest);
    container.exit_code = container.exit_code.or(report.exit_code);
    if let Some(bindings) = report.network_bindings.as_ref().filter(|b| !b.is_empty()) {
        container.network_bindings.clone_from(bindings);
    }
}

fn is_essential(definition: Option<&TaskDefinition>, container: &Container) -> bool {
    definition.and_then(|d| d.container(&container.name)).is_none_or(|c| c.essential)
}

fn essential_ended(task: &Task, definition: Option<&TaskDefinition>) -> bool {
    let ended = |c: &&Container| c.last_status.is_stopped();
    task.containers.iter().filter(ended).any(|c| is_essential(definition, c))
}

/// An essential container has ended while others still stop: the task isn't wanted any more, so
/// that its service replaces it at once.
fn give_up_running(task: &mut Task, now: Timestamp) {
    if task.desired_status.is_stopped() {
        return;
    }
    task.desired_status = TaskStatus::Stopped;
    set_once(&mut task.stopping_at, Some(now));
    if task.started_at.is_some() {
        task.stop_code.get_or_insert(StopCode::EssentialContainerExited);
        task.stopped_reason.get_or_insert_with(|| ESSENTIAL_EXITED.to_owned());
    }
}

/// STOPPED: times, code and reason. A task that was told to stop keeps the reason it was given.
fn finish(
    task: &mut Task,
    definition: Option<&TaskDefinition>,
    reason: Option<&str>,
    now: Timestamp,
) {
    if task.stop_code.is_none() {
        let reason = reason.filter(|r| !r.is_empty()).map(str::to_owned);
        let exited = |c: &&Container| c.exit_code.is_some() && is_essential(definition, c);
        if task.containers.iter().any(|c| exited(&c)) {
            task.stop_code = Some(StopCode::EssentialContainerExited);
            task.stopped_reason = Some(ESSENTIAL_EXITED.to_owned());
        } else if task.started_at.is_none() {
            let of_container = || task.containers.iter().find_map(|c| c.reason.clone());
            task.stop_code = Some(StopCode::TaskFailedToStart);
            let reason = reason.or_else(of_container);
            task.stopped_reason = Some(reason.unwrap_or_else(|| FAILED_TO_START.to_owned()));
        } else {
            task.stop_code = Some(StopCode::EssentialContainerExited);
            task.stopped_reason = Some(reason.unwrap_or_else(|| ESSENTIAL_EXITED.to_owned()));
        }
    }
    end(task, now);
}

fn end(task: &mut Task, now: Timestamp) {
    task.desired_status = TaskStatus::Stopped;
    task.last_status = TaskStatus::Stopped;
    for container in &mut task.containers {
        container.last_status = TaskStatus::Stopped;
    }
    if let Some(interface) = &mut task.network_interface {
        "DELETED".clone_into(&mut interface.status);
    }
    set_once(&mut task.stopping_at, Some(now));
    set_once(&mut task.execution_stopped_at, Some(now));
    set_once(&mut task.stopped_at, Some(now));
}

/// The task as it is once it has been told to stop; as it was if it has been told before. Its
/// lastStatus stays what the agent reported, but for a task that is registered with target groups:
/// that one is DEACTIVATING until it has drained, and its agent learns of it then.
pub fn stopped(task: &Task, code: StopCode, reason: &str, now: Timestamp) -> Task {
    let mut task = task.clone();
    if task.desired_status.is_stopped() || task.last_status.is_stopped() {
        return task;
    }
    task.desired_status = TaskStatus::Stopped;
    if task.last_status == TaskStatus::Running && !task.targets.is_empty() {
        task.last_status = TaskStatus::Deactivating;
    }
    task.stopping_at = Some(now);
    task.stop_code = Some(code);
    task.stopped_reason = Some(reason.to_owned());
    task.version += 1;
    task
}

/// Tells a task to stop. Nothing changes if it was told before or has stopped.
///
/// # Errors
/// If there is no such task.
pub fn stop(
    snapshot: &Snapshot,
    key: &TaskKey,
    code: StopCode,
    reason: &str,
    now: Timestamp,
) -> Result<Transaction, Error> {
    let before = snapshot.task(key).ok_or_else(|| Error::NoSuchTask(key.clone()))?;
    let after = stopped(before, code, reason, now);
    let mut transaction = Transaction::new();
    if after != **before {
        let key = RecordKey::Task(key.clone());
        transaction.read(key.clone(), snapshot.revision_of(&key));
        transaction.put(after);
    }
    Ok(transaction)
}

/// Ends the tasks of an instance that won't come back, 90 a call: call again until it changes
/// nothing.
pub fn instance_lost(
    snapshot: &Snapshot,
    instance: &ContainerInstanceKey,
    now: Timestamp,
) -> Transaction {
    let reason = format!("Container instance {} is lost", instance.id);
    give_up(snapshot, instance, StopCode::TerminationNotice, &reason, now)
}

/// Ends the tasks of an instance that was deregistered by force, 90 a call.
pub fn instance_deregistered(
    snapshot: &Snapshot,
    instance: &ContainerInstanceKey,
    now: Timestamp,
) -> Transaction {
    let reason = "Container instance deregistration forced by user";
    give_up(snapshot, instance, StopCode::UserInitiated, reason, now)
}

fn give_up(
    snapshot: &Snapshot,
    instance: &ContainerInstanceKey,
    code: StopCode,
    reason: &str,
    now: Timestamp,
) -> Transaction {
    let mut transaction = Transaction::new();
    for before in snapshot.tasks_on(instance).take(MAX_LOST) {
        let mut task = Task::clone(before);
        task.stop_code.get_or_insert(code);
        task.stopped_reason.get_or_insert_with(|| reason.to_owned());
        task.version += 1;
        end(&mut task, now);
        let key = RecordKey::Task(task.key());
        transaction.read(key.clone(), snapshot.revision_of(&key));
        transaction.put(task);
    }
    transaction
}

/// Takes in what health checks say (TCS PublishHealth): container and health. Nothing changes
/// unless a state differs from what is known.
pub fn apply_health(
    snapshot: &Snapshot,
    key: &TaskKey,
    health: &[(String, HealthStatus)],
) -> Transaction {
    let mut transaction = Transaction::new();
    let Some(before) = snapshot.task(key).filter(|t| !t.last_status.is_stopped()) else {
        return transaction;
    };
    let mut task = Task::clone(before);
    for (name, state) in health {
        if let Some(container) = task.containers.iter_mut().find(|c| c.name == *name) {
            container.health = *state;
        }
    }
    if task != **before {
        task.version += 1;
        let key = RecordKey::Task(key.clone());
        transaction.read(key.clone(), snapshot.revision_of(&key));
        transaction.put(task);
    }
    transaction
}
