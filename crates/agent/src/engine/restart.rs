//! `restartPolicy`: whether a container that has ended is started again in its task, and how far
//! that has come. While it is under way the container counts as running, as in Amazon's agent:
//! nobody but the metadata endpoint hears of it.

use serde::{Deserialize, Serialize};
use wharf_runtime::ExitStatus;
use wharf_runtime::state::ExitReason;

use super::machine::{Effect, Failure, Machine};
use super::state::{ContainerState, Desired, Health, Known, Phase};
use crate::task::RestartPolicy;

/// A container's restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// How many there were.
    pub count: u64,
    /// When the last was decided, in milliseconds since the epoch.
    pub last_at_ms: Option<u64>,
    /// The exit that the last one answers.
    pub answers: Option<Exit>,
    /// The container hasn't been started again yet.
    pub under_way: bool,
}

/// An exit, by which it is known when it is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The code.
    pub code: i32,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
}

impl Exit {
    fn of(status: &ExitStatus) -> Self {
        Self { code: status.code, at_ms: status.at_ms }
    }
}

impl RestartPolicy {
    /// Amazon's agent's rule: a code that isn't ignored, of a container that has run for the
    /// attempt period since it was started, or started again.
    fn wants(&self, state: &ContainerState, status: &ExitStatus) -> bool {
        let decided = state.restarts.last_at_ms.or(state.started_at_ms);
        let since = status.started_at_ms.or(decided);
        let ran_ms = since.map(|since| status.at_ms.saturating_sub(since));
        !self.ignored_exit_codes.contains(&status.code)
            && ran_ms.is_some_and(|ran| ran >= self.attempt_period_s.saturating_mul(1000))
    }
}

impl Machine {
    /// Whether this exit has been answered by a restart.
    pub(super) fn is_answered(&self, index: usize, status: &ExitStatus) -> bool {
        let state = self.state.containers.get(index);
        state.is_some_and(|state| state.restarts.answers == Some(Exit::of(status)))
    }

    /// Decides on a restart; true if there is one.
    pub(super) fn restarts(&mut self, index: usize, status: &ExitStatus, now_ms: u64) -> bool {
        let policy = self.task.containers[index].restart_policy.clone();
        let state = &mut self.state.containers[index];
        let possible = self.state.desired == Desired::Running
            && state.known == Known::Running
            // Without its shim there is no task to start it in.
            && status.reason == ExitReason::Exited;
        if !possible || !policy.is_some_and(|policy| policy.wants(state, status)) {
            return false;
        }
        state.restarts.count += 1;
        state.restarts.last_at_ms = Some(now_ms);
        state.restarts.answers = Some(Exit::of(status));
        state.restarts.under_way = true;
        state.phase = Phase::Idle;
        // What its check said was said of a process that is gone.
        state.health = Health::Unknown;
        state.health_since_ms = Some(now_ms);
        self.output.save = true;
        true
    }

    /// Asks for a restart that is due; on the way to stopped there is none.
    pub(super) fn advance_restart(&mut self, index: usize, now_ms: u64) {
        let state = &mut self.state.containers[index];
        if !state.restarts.under_way || state.phase != Phase::Idle {
            return;
        }
        if self.state.desired == Desired::Running {
            state.phase = Phase::Starting;
            self.effect(Effect::Restart(index));
        } else {
            self.give_up_restart(index, None, now_ms);
        }
    }

    /// It runs again.
    pub(super) fn restarted(&mut self, index: usize) {
        let Some(state) = self.state.containers.get_mut(index) else { return };
        if !state.restarts.under_way {
            return;
        }
        state.restarts.under_way = false;
        if state.phase == Phase::Starting {
            state.phase = Phase::Idle;
        }
        self.output.save = true;
    }

    /// It won't run again: it has ended as it did before; false if no restart was under way.
    pub(super) fn give_up_restart(
        &mut self,
        index: usize,
        failure: Option<&Failure>,
        now_ms: u64,
    ) -> bool {
        let Some(state) = self.state.containers.get_mut(index) else { return false };
        if !state.restarts.under_way {
            return false;
        }
        state.restarts.under_way = false;
        state.exit_code = state.restarts.answers.map(|exit| exit.code);
        state.finished_at_ms = state.restarts.answers.map(|exit| exit.at_ms);
        state.reason = failure.map(Failure::reason);
        self.stopped(index, now_ms);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenarios::{reports, running};
    use super::super::{Input, TaskStatus};
    use super::*;
    use crate::task::{Container, fixtures};

    /// An essential container that is started again once it has run for 60 s, unless it says 3.
    fn container() -> Container {
        let policy = RestartPolicy { ignored_exit_codes: vec![3], attempt_period_s: 60 };
        Container { restart_policy: Some(policy), ..fixtures::container("app") }
    }

    fn exit(code: i32, at_ms: u64, started_at_ms: u64) -> Input {
        let status = ExitStatus {
            code,
            signal: None,
            oom_killed: false,
            at_ms,
            reason: ExitReason::Exited,
            started_at_ms: Some(started_at_ms),
        };
        Input::Exited { index: 0, status }
    }

    fn health(health: Health) -> Input {
        Input::Health { index: 0, health, code: 0, output: String::new() }
    }

    #[test]
    fn a_container_that_has_run_long_enough_is_started_again_and_nobody_hears_of_it() {
        let (mut machine, _) = running(vec![container()]);
        machine.handle(health(Health::Healthy), 100);
        let output = machine.handle(exit(1, 60_005, 5), 60_010);
        assert_eq!(output.effects, [Effect::Restart(0)]);
        assert!(output.save);
        let state = &machine.state.containers[0];
        assert_eq!(
            (state.known, state.health, state.exit_code),
            (Known::Running, Health::Unknown, None)
        );
        assert!(!state.is_up());
        machine.handle(health(Health::Unhealthy), 60_011);
        assert_eq!(machine.state.containers[0].health, Health::Unknown, "of the old process");
        assert_eq!(machine.handle(Input::Restarted { index: 0 }, 60_020).effects, []);
        // Told again, it is no news.
        assert_eq!(machine.handle(exit(1, 60_005, 5), 60_030).effects, []);
        assert_eq!(machine.deadline(60_030), None);
        let state = &machine.state.containers[0];
        assert!(state.is_up());
        assert_eq!(state.restarts.count, 1);
        assert_eq!(machine.state.known, TaskStatus::Running);
    }

    #[test]
    fn the_attempt_period_begins_anew_with_each_restart() {
        let (mut machine, _) = running(vec![container()]);
        machine.handle(exit(1, 70_000, 5), 70_000);
        machine.handle(Input::Restarted { index: 0 }, 70_010);
        let effects = machine.handle(exit(1, 130_004, 70_005), 130_004).effects;
        assert_eq!(effects, [Effect::RemoveSandbox], "it ran for less than 60 s");
        let told = machine.handle(Input::SandboxRemoved, 130_010).effects;
        assert_eq!(reports(&told)[0].containers[0].exit_code, Some(1));
        let (mut machine, _) = running(vec![container()]);
        machine.handle(exit(1, 70_000, 5), 70_000);
        machine.handle(Input::Restarted { index: 0 }, 70_010);
        let effects = machine.handle(exit(0, 130_005, 70_005), 130_005).effects;
        assert_eq!(effects, [Effect::Restart(0)]);
        assert_eq!(machine.state.containers[0].restarts.count, 2);
    }

    #[test]
    fn an_ignored_code_an_early_end_and_a_stop_are_ends() {
        for (code, at_ms) in [(3, 100_000), (1, 60_004)] {
            let (mut machine, _) = running(vec![container()]);
            let effects = machine.handle(exit(code, at_ms, 5), at_ms).effects;
            assert_eq!(effects, [Effect::RemoveSandbox], "{code} at {at_ms}");
        }
        let (mut machine, _) = running(vec![container()]);
        assert_eq!(machine.handle(Input::Stop, 90_000).effects, [Effect::Stop(0)]);
        let effects = machine.handle(exit(143, 90_001, 5), 90_001).effects;
        assert_eq!(effects, [Effect::RemoveSandbox]);
    }

    #[test]
    fn a_stop_waits_for_the_restart_that_is_under_way() {
        let (mut machine, _) = running(vec![container()]);
        machine.handle(exit(1, 70_000, 5), 70_000);
        assert_eq!(machine.handle(Input::Stop, 70_001).effects, []);
        let effects = machine.handle(Input::Restarted { index: 0 }, 70_010).effects;
        assert_eq!(effects, [Effect::Stop(0)]);
    }

    #[test]
    fn a_restart_that_fails_ends_the_container_with_its_code_and_the_reason() {
        let (mut machine, _) = running(vec![container()]);
        machine.handle(exit(7, 70_000, 5), 70_000);
        let failure = Failure::new("CannotStartContainerError", "no room");
        let effects = machine.handle(Input::Failed { index: 0, failure }, 70_010).effects;
        assert_eq!(effects, [Effect::RemoveSandbox]);
        let told = machine.handle(Input::SandboxRemoved, 70_020).effects;
        let container = &reports(&told)[0].containers[0];
        assert_eq!(container.exit_code, Some(7));
        assert_eq!(container.reason.as_deref(), Some("CannotStartContainerError: no room"));
    }
}
