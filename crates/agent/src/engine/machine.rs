//! The machine of one task: inputs in, effects out.
//!
//! Every input changes what is known, then [`Machine::advance`] compares it with what is wanted
//! and asks for the next steps, until nothing more follows. There is one such comparison for the
//! happy path, for stops and for recovery.

use serde::{Deserialize, Serialize};
use wharf_runtime::spec::PortMapping;
use wharf_runtime::{ExitStatus, state::ExitReason};

use super::depends::{self, Verdict, earliest};
use super::report::{ContainerStateChange, TaskStateChange};
use super::state::{
    ContainerState, Desired, Health, Known, Phase, SandboxPhase, TaskState, TaskStatus,
};
use crate::task::{Container, Network, Task};

/// How long changes of containers wait for company when the task's status doesn't move.
const FLUSH_DELAY_MS: u64 = 500;
/// How long to wait before a failed removal of a sandbox is tried again.
const REMOVE_AGAIN_MS: u64 = 5_000;

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// Begin, or look again: used once after construction and after recovery.
    Resume,
    /// The control plane wants the task to end.
    Stop,
    /// The sandbox stands.
    SandboxReady,
    /// The sandbox couldn't be made.
    SandboxFailed(Failure),
    /// The sandbox is gone.
    SandboxRemoved,
    /// The sandbox couldn't be removed.
    SandboxRemoveFailed(String),
    /// An image is in the store.
    Pulled {
        /// The container's place in the task.
        index: usize,
        /// The digest of the manifest, if the image came with one.
        image_digest: Option<String>,
        /// The digest of the configuration.
        image_id: Option<String>,
    },
    /// A step for a container failed: it will never start.
    Failed {
        /// The container's place in the task.
        index: usize,
        /// What failed.
        failure: Failure,
    },
    /// A container was made.
    Created {
        /// The container's place in the task.
        index: usize,
        /// Its id in the runtime.
        runtime_id: String,
        /// Its published ports.
        ports: Vec<PortMapping>,
        /// Its address.
        address: Option<std::net::Ipv4Addr>,
    },
    /// A container was started.
    Started {
        /// The container's place in the task.
        index: usize,
        /// When, in milliseconds since the epoch.
        at_ms: u64,
    },
    /// A container was started again.
    Restarted {
        /// The container's place in the task.
        index: usize,
    },
    /// A container ended.
    Exited {
        /// The container's place in the task.
        index: usize,
        /// How.
        status: ExitStatus,
    },
    /// A health check's verdict changed.
    Health {
        /// The container's place in the task.
        index: usize,
        /// The verdict.
        health: Health,
        /// The exit code of the check that it follows from.
        code: i32,
        /// What that check wrote.
        output: String,
    },
    /// The oldest report was acknowledged (or refused for good).
    Reported,
    /// The time that [`Machine::deadline`] named has come.
    Tick,
}

/// A step that failed: ECS's name of the error and its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `CannotPullContainerError`, `CannotStartContainerError` …
    pub name: String,
    /// What the store or the runtime said.
    pub text: String,
}

impl Failure {
    /// A failure by ECS's name.
    pub fn new(name: impl Into<String>, text: impl ToString) -> Self {
        Self { name: name.into(), text: text.to_string() }
    }

    /// The reason as ECS words it: `Name: text`, or the text alone where it has no name.
    pub fn reason(&self) -> String {
        if self.name.is_empty() {
            return self.text.clone();
        }
        format!("{}: {}", self.name, self.text)
    }
}

/// What is to be done. `index` is a container's place in the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Bring the container's image into the store; answer Pulled or Failed.
    Pull(usize),
    /// Make the sandbox; answer SandboxReady or SandboxFailed.
    CreateSandbox,
    /// Make the container; answer Created or Failed.
    Create(usize),
    /// Start the container; answer Started or Failed.
    Start(usize),
    /// Start the container, which has ended, once more; answer Restarted or Failed.
    Restart(usize),
    /// Send the stop signal.
    Stop(usize),
    /// Send SIGKILL.
    Kill(usize),
    /// Remove the sandbox with all that is in it but the logs; answer SandboxRemoved or
    /// SandboxRemoveFailed.
    RemoveSandbox,
    /// Tell the control plane; answer Reported. Reports are sent in order, one at a time.
    Report(TaskStateChange),
}

/// The effects of one input.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// What is to be done, in order.
    pub effects: Vec<Effect>,
    /// The machine must be on disk before the effects are carried out.
    pub save: bool,
}

/// One task: what it is and how far it has come.
#[derive(Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The task.
    pub task: Task,
    /// Its state.
    pub state: TaskState,
    #[serde(skip)]
    pub(super) output: Output,
}

impl Clone for Output {
    fn clone(&self) -> Self {
        Self { effects: self.effects.clone(), save: self.save }
    }
}

impl Machine {
    /// A task of which nothing is done yet.
    pub fn new(task: Task) -> Self {
        let containers = vec![ContainerState::default(); task.containers.len()];
        let state = TaskState { containers, ..TaskState::default() };
        Self { task, state, output: Output::default() }
    }

    /// Takes an input and answers with what follows from it.
    pub fn handle(&mut self, input: Input, now_ms: u64) -> Output {
        self.apply(input, now_ms);
        self.advance(now_ms);
        std::mem::take(&mut self.output)
    }

    /// When [`Input::Tick`] is due, in milliseconds since the epoch.
    pub fn deadline(&self, now_ms: u64) -> Option<u64> {
        let mut at = self.state.flush_at_ms;
        if let SandboxPhase::RemoveAgain { at_ms } = self.state.sandbox {
            at = earliest(at, Some(at_ms));
        }
        for (index, state) in self.state.containers.iter().enumerate() {
            at = earliest(
                at,
                match state.phase {
                    Phase::Stopping { kill_at_ms } => Some(kill_at_ms),
                    Phase::Killing { again_at_ms } => Some(again_at_ms),
                    _ if self.state.desired == Desired::Running && state.known < Known::Created => {
                        match depends::verdict(&self.task, &self.state.containers, index, now_ms) {
                            Verdict::Wait(at) => at,
                            _ => None,
                        }
                    }
                    _ => None,
                },
            );
        }
        at
    }

    /// Whether nothing is left to do or to tell.
    pub fn is_finished(&self) -> bool {
        self.state.known == TaskStatus::Stopped
            && self.state.sandbox == SandboxPhase::Gone
            && self.state.outbox.is_empty()
    }

    /// As [`Machine::handle`] without asking for what follows.
    pub(super) fn apply_quietly(&mut self, input: Input, now_ms: u64) {
        self.apply(input, now_ms);
    }

    fn apply(&mut self, input: Input, now_ms: u64) {
        match input {
            Input::Resume | Input::Tick => {}
            Input::Stop => self.want_stopped(),
            Input::SandboxReady => self.sandbox_ready(),
            Input::SandboxFailed(failure) => self.sandbox_failed(&failure, now_ms),
            Input::SandboxRemoved => self.state.sandbox = SandboxPhase::Gone,
            Input::SandboxRemoveFailed(_) => {
                self.state.sandbox =
                    SandboxPhase::RemoveAgain { at_ms: now_ms.saturating_add(REMOVE_AGAIN_MS) };
            }
            Input::Pulled { index, image_digest, image_id } => {
                self.pulled(index, image_digest, image_id, now_ms);
            }
            Input::Failed { index, failure } => {
                if self.container(index).is_some_and(|state| state.phase == Phase::Pulling) {
                    self.state.pull_stopped_at_ms = Some(now_ms);
                }
                if !self.give_up_restart(index, Some(&failure), now_ms) {
                    self.never_starts(index, Some(failure.reason()), None, now_ms);
                }
            }
            Input::Created { index, runtime_id, ports, address } => {
                if let Some(state) = self.container(index).filter(|s| s.known < Known::Created) {
                    state.known = Known::Created;
                    state.phase = Phase::Idle;
                    state.runtime_id = Some(runtime_id);
                    state.ports = ports;
                    state.address = address;
                    state.created_at_ms = Some(now_ms);
                }
            }
            Input::Started { index, at_ms } => self.started(index, at_ms, now_ms),
            Input::Exited { index, status } => self.exited(index, &status, now_ms),
            Input::Restarted { index } => self.restarted(index),
            Input::Health { index, health, code, output } => {
                // A verdict on a process that has ended says nothing.
                if let Some(state) = self.container(index).filter(|state| state.is_up()) {
                    state.health = health;
                    state.health_since_ms = Some(now_ms);
                    state.health_check = Some((code, output));
                    self.output.save = true;
                }
            }
            Input::Reported => {
                self.state.outbox.pop_front();
                self.output.save = true;
            }
        }
    }

    /// An index from outside that names no container is ignored.
    fn container(&mut self, index: usize) -> Option<&mut ContainerState> {
        self.state.containers.get_mut(index)
    }

    pub(super) fn want_stopped(&mut self) {
        if self.state.desired != Desired::Stopped {
            self.state.desired = Desired::Stopped;
            self.output.save = true;
        }
    }

    fn sandbox_ready(&mut self) {
        if self.state.sandbox != SandboxPhase::Creating {
            return;
        }
        self.state.sandbox = SandboxPhase::Ready;
        let Network::Awsvpc(interface) = &self.task.network else { return };
        if let Some(arn) = interface.attachment_arn.clone()
            && !self.state.attachment_reported
        {
            self.state.attachment_reported = true;
            self.report(TaskStateChange::attached(&self.task, &arn));
        }
    }

    fn sandbox_failed(&mut self, failure: &Failure, now_ms: u64) {
        if self.state.sandbox != SandboxPhase::Creating {
            return;
        }
        // Something of it may stand all the same: removal takes it away.
        self.state.sandbox = SandboxPhase::Ready;
        self.state.reason.get_or_insert_with(|| failure.reason());
        self.want_stopped();
        for index in 0..self.state.containers.len() {
            self.never_starts(index, None, None, now_ms);
        }
    }

    fn pulled(
        &mut self,
        index: usize,
        image_digest: Option<String>,
        image_id: Option<String>,
        now_ms: u64,
    ) {
        let Some(state) = self.state.containers.get_mut(index) else { return };
        if state.phase != Phase::Pulling || state.known > Known::Pulled {
            return;
        }
        *state = ContainerState {
            phase: Phase::Idle,
            pulled: true,
            known: Known::Pulled,
            image_digest,
            image_id,
            ..std::mem::take(state)
        };
        self.state.pull_stopped_at_ms = Some(now_ms);
        if self.state.containers[index].image_digest.is_some() {
            self.changed(index, now_ms);
        }
    }

    fn started(&mut self, index: usize, at_ms: u64, now_ms: u64) {
        let Some(state) = self.container(index) else { return };
        if state.known != Known::Created {
            return;
        }
        state.known = Known::Running;
        state.started_at_ms = Some(at_ms);
        if state.phase == Phase::Starting {
            state.phase = Phase::Idle;
        }
        self.changed(index, now_ms);
    }

    fn exited(&mut self, index: usize, status: &ExitStatus, now_ms: u64) {
        // Before it is made, an exit is that of remains which were taken away.
        if self.container(index).is_none_or(|state| state.known < Known::Created)
            || self.is_answered(index, status)
        {
            return;
        }
        // An exit may overtake the answer to the start that preceded it.
        if let Some(at_ms) = status.started_at_ms {
            self.started(index, at_ms, now_ms);
        } else if self.container(index).is_some_and(|s| s.phase == Phase::Starting) {
            self.started(index, status.at_ms, now_ms);
        }
        self.restarted(index);
        if self.restarts(index, status, now_ms) {
            return;
        }
        let Some(state) = self.container(index).filter(|s| s.known < Known::Stopped) else {
            return;
        };
        state.exit_code = Some(status.code);
        state.finished_at_ms = Some(status.at_ms);
        if status.oom_killed {
            let oom = Failure::new("OutOfMemoryError", "Container killed due to memory usage");
            state.reason = Some(oom.reason());
        } else if status.reason == ExitReason::ShimLost {
            let lost = Failure::new("ContainerVanishedError", "the container's shim was killed");
            state.reason = Some(lost.reason());
        }
        self.stopped(index, now_ms);
    }

    pub(super) fn never_starts(
        &mut self,
        index: usize,
        reason: Option<String>,
        exit_code: Option<i32>,
        now_ms: u64,
    ) {
        let Some(state) = self.container(index) else { return };
        // A start that fails after the exit was seen, or of a container that runs, says nothing.
        if state.known >= Known::Running {
            return;
        }
        state.reason = reason;
        state.exit_code = exit_code;
        self.stopped(index, now_ms);
    }

    pub(super) fn stopped(&mut self, index: usize, now_ms: u64) {
        let state = &mut self.state.containers[index];
        state.known = Known::Stopped;
        state.phase = Phase::Idle;
        self.output.save = true;
        self.changed(index, now_ms);
        if self.task.containers[index].essential {
            self.state.execution_stopped_at_ms.get_or_insert(now_ms);
            self.want_stopped();
        }
    }

    fn changed(&mut self, index: usize, now_ms: u64) {
        let name = &self.task.containers[index].name;
        let change = ContainerStateChange::of(name, &self.state.containers[index]);
        self.state.changes.push(change);
        self.state.flush_at_ms.get_or_insert(now_ms.saturating_add(FLUSH_DELAY_MS));
    }

    pub(super) fn report(&mut self, change: TaskStateChange) {
        self.state.outbox.push_back(change.clone());
        self.output.effects.push(Effect::Report(change));
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.output.effects.push(effect);
    }

    /// All that is known, as one report: for a control plane that lost the earlier ones.
    pub fn summary(&self) -> TaskStateChange {
        let mut state = self.state.clone();
        state.changes = self
            .containers()
            .map(|(container, state)| ContainerStateChange::of(&container.name, state))
            .collect();
        TaskStateChange::take(&self.task, &mut state)
    }

    /// The containers with their states.
    pub fn containers(&self) -> impl Iterator<Item = (&Container, &ContainerState)> {
        self.task.containers.iter().zip(&self.state.containers)
    }

    /// The place of the container of that name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.task.containers.iter().position(|container| container.name == name)
    }
}
