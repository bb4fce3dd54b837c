//! From what is known to the next steps: towards running, towards stopped, and the task's own
//! status.

use super::depends::{self, Verdict};
use super::machine::{Effect, Failure, Machine};
use super::report::TaskStateChange;
use super::state::{Desired, Known, Phase, SandboxPhase, TaskStatus};

/// How long a SIGKILL may take before it is sent again.
const KILL_AGAIN_MS: u64 = 10_000;
/// The exit code of a container whose dependencies failed: what Amazon's agent reports, although
/// no SIGTERM was ever sent.
const DEPENDENCY_EXIT_CODE: i32 = 143;

impl Machine {
    /// Compares what is known with what is wanted until nothing more follows.
    pub(super) fn advance(&mut self, now_ms: u64) {
        loop {
            if self.all_stopped() {
                self.want_stopped();
            }
            let settled = match self.state.desired {
                Desired::Running => self.advance_start(now_ms),
                Desired::Stopped => self.advance_stop(now_ms),
            };
            if settled {
                break;
            }
        }
        self.advance_status(now_ms);
    }

    fn all_stopped(&self) -> bool {
        self.state.containers.iter().all(|state| state.known == Known::Stopped)
    }

    /// Asks for the next steps towards a running task; false when a container failed and
    /// everything must be looked at again.
    fn advance_start(&mut self, now_ms: u64) -> bool {
        if self.state.sandbox == SandboxPhase::Absent {
            self.state.sandbox = SandboxPhase::Creating;
            self.effect(Effect::CreateSandbox);
        }
        for index in 0..self.state.containers.len() {
            let state = &mut self.state.containers[index];
            if state.known < Known::Created && state.phase == Phase::Idle && !state.pulled {
                state.phase = Phase::Pulling;
                self.state.pull_started_at_ms.get_or_insert(now_ms);
                self.effect(Effect::Pull(index));
            } else if state.known == Known::Created && state.phase == Phase::Idle {
                state.phase = Phase::Starting;
                self.effect(Effect::Start(index));
            } else if state.known < Known::Created && !self.advance_create(index, now_ms) {
                return false;
            }
        }
        // Last: what can never start may have ended the task.
        for index in 0..self.state.containers.len() {
            self.advance_restart(index, now_ms);
        }
        true
    }

    fn advance_create(&mut self, index: usize, now_ms: u64) -> bool {
        match depends::verdict(&self.task, &self.state.containers, index, now_ms) {
            Verdict::Never(why) => {
                // A create in flight means that the dependencies were fulfilled once.
                if self.state.containers[index].phase == Phase::Creating {
                    return true;
                }
                let reason = Failure::new("TaskDependencyError", why).reason();
                self.never_starts(index, Some(reason), Some(DEPENDENCY_EXIT_CODE), now_ms);
                false
            }
            Verdict::Ready => {
                let state = &mut self.state.containers[index];
                let idle = state.phase == Phase::Idle && state.pulled;
                if idle && self.state.sandbox == SandboxPhase::Ready {
                    state.phase = Phase::Creating;
                    self.effect(Effect::Create(index));
                }
                true
            }
            Verdict::Wait(_) => true,
        }
    }

    /// Asks for the next steps towards a stopped task. Stopping one container may free another,
    /// so the containers are gone through until nothing moves; always true then.
    fn advance_stop(&mut self, now_ms: u64) -> bool {
        for index in 0..self.state.containers.len() {
            let state = &self.state.containers[index];
            if state.known < Known::Running && matches!(state.phase, Phase::Idle | Phase::Pulling) {
                let began = state.pulled || state.phase == Phase::Pulling;
                let reason = (!began).then(|| {
                    Failure::new(
                        "TaskStoppedBeforePullBeginError",
                        "Task stopped before pull begins",
                    )
                    .reason()
                });
                self.never_starts(index, reason, None, now_ms);
                return false;
            }
        }
        for index in 0..self.state.containers.len() {
            self.advance_restart(index, now_ms);
        }
        for index in 0..self.state.containers.len() {
            self.advance_signals(index, now_ms);
        }
        let remove = match self.state.sandbox {
            SandboxPhase::Ready => true,
            SandboxPhase::RemoveAgain { at_ms } => now_ms >= at_ms,
            _ => false,
        };
        if self.all_stopped() {
            if remove {
                self.state.sandbox = SandboxPhase::Removing;
                self.output.save = true;
                self.effect(Effect::RemoveSandbox);
            } else if self.state.sandbox == SandboxPhase::Absent {
                self.state.sandbox = SandboxPhase::Gone;
            }
        }
        true
    }

    fn advance_signals(&mut self, index: usize, now_ms: u64) {
        let state = &self.state.containers[index];
        if state.known != Known::Running {
            return;
        }
        let timeout_ms = self.task.containers[index].stop_timeout_s.saturating_mul(1000);
        match state.phase {
            Phase::Idle if depends::may_stop(&self.task, &self.state.containers, index) => {
                let kill_at_ms = now_ms.saturating_add(timeout_ms);
                self.state.containers[index].phase = Phase::Stopping { kill_at_ms };
                self.effect(Effect::Stop(index));
            }
            Phase::Stopping { kill_at_ms: at } | Phase::Killing { again_at_ms: at }
                if now_ms >= at =>
            {
                let again_at_ms = now_ms.saturating_add(KILL_AGAIN_MS);
                self.state.containers[index].phase = Phase::Killing { again_at_ms };
                self.effect(Effect::Kill(index));
            }
            _ => {}
        }
    }

    /// Moves the task's own status forward and reports it, or flushes what waited too long.
    fn advance_status(&mut self, now_ms: u64) {
        let state = &mut self.state;
        let was = state.known;
        let all_started = state.containers.iter().all(|c| c.known >= Known::Running);
        // Ports and addresses are free again before anybody hears STOPPED; a removal that fails
        // doesn't hold the report back.
        let removed =
            matches!(state.sandbox, SandboxPhase::Gone | SandboxPhase::RemoveAgain { .. });
        if state.containers.iter().all(|c| c.known == Known::Stopped) && removed {
            state.known = TaskStatus::Stopped;
        } else if all_started && state.desired == Desired::Running {
            state.known = state.known.max(TaskStatus::Running);
        }
        let due = state.flush_at_ms.is_some_and(|at| now_ms >= at);
        let leaving = state.desired == Desired::Stopped && state.known < TaskStatus::Stopped;
        if state.known != was {
            if state.known == TaskStatus::Stopped {
                self.output.save = true;
            }
            let change = TaskStateChange::take(&self.task, &mut self.state);
            self.report(change);
        } else if due && leaving && self.all_stopped() {
            // STOPPED follows at once; it takes the changes along.
            self.state.flush_at_ms = None;
        } else if due {
            let change = TaskStateChange::take(&self.task, &mut self.state);
            self.report(change);
        }
    }
}
