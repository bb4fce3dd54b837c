//! The health of a target: what its checks say, and when the next one is due.

use std::time::Duration;
use wharf_model::load_balancing::{HealthReason, HealthState, TargetHealth};

/// Where health turns, and how often it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes in a row until an unhealthy target is healthy.
    pub healthy: u32,
    /// Failures in a row until a healthy target is unhealthy.
    pub unhealthy: u32,
    /// Between two checks.
    pub interval: Duration,
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A success.
    Passed,
    /// An answer that isn't a success, in words.
    Mismatch(String),
    /// No answer in time.
    TimedOut,
    /// No connection, or it broke.
    Failed,
}

/// What follows from a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The health as it is now.
    pub health: TargetHealth,
    /// How long to wait for the next check.
    pub next: Duration,
}

/// Between the checks of a target that has never passed one: it comes up at any moment, and waits
/// for nothing but this.
const EAGER_INTERVAL: Duration = Duration::from_secs(1);

/// The state of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    state: HealthState,
    reason: Option<HealthReason>,
    description: Option<String>,
    passed_once: bool,
    passes: u32,
    failures: u32,
    failing_for: Duration,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            state: HealthState::Initial,
            reason: Some(HealthReason::InitialHealthChecking),
            description: Some("Initial health checks in progress".into()),
            passed_once: false,
            passes: 0,
            failures: 0,
            failing_for: Duration::ZERO,
        }
    }
}

impl Machine {
    /// A machine that goes on from what was known before.
    pub fn resume(known: &TargetHealth) -> Self {
        let state = match known.state {
            HealthState::Healthy | HealthState::Unhealthy => known.state,
            _ => return Self::default(),
        };
        Self {
            state,
            reason: known.reason,
            description: known.description.clone(),
            passed_once: state == HealthState::Healthy,
            ..Self::default()
        }
    }

    /// The health as it is.
    pub fn health(&self) -> TargetHealth {
        TargetHealth {
            state: self.state,
            reason: self.reason,
            description: self.description.clone(),
        }
    }

    /// Takes the outcome of a check that took so long. An interval is from the beginning of one check to
    /// that of the next, as the service's is.
    pub fn take(&mut self, outcome: &Outcome, took: Duration, thresholds: &Thresholds) -> Verdict {
        match outcome {
            Outcome::Passed => self.pass(thresholds),
            failure => self.fail(failure, took, thresholds),
        }
        let next = self.interval(thresholds).saturating_sub(took);
        Verdict { health: self.health(), next }
    }

    fn interval(&self, thresholds: &Thresholds) -> Duration {
        if self.passed_once { thresholds.interval } else { thresholds.interval.min(EAGER_INTERVAL) }
    }

    fn pass(&mut self, thresholds: &Thresholds) {
        self.failures = 0;
        self.failing_for = Duration::ZERO;
        self.passes = self.passes.saturating_add(1);
        // A new target's first success is enough.
        if self.state == HealthState::Initial || self.passes >= thresholds.healthy {
            self.state = HealthState::Healthy;
            self.reason = None;
            self.description = None;
        }
        self.passed_once = true;
    }

    fn fail(&mut self, outcome: &Outcome, took: Duration, thresholds: &Thresholds) {
        self.passes = 0;
        self.failures = self.failures.saturating_add(1);
        let step = self.interval(thresholds).max(took);
        self.failing_for = self.failing_for.saturating_add(step);
        // Checks of a new target come quicker than its interval: it has as much time to come up as if
        // they didn't.
        let out = if self.passed_once {
            self.failures >= thresholds.unhealthy
        } else {
            self.failing_for >= thresholds.interval.saturating_mul(thresholds.unhealthy)
        };
        if out || self.state == HealthState::Unhealthy {
            let (reason, text) = words(outcome);
            self.state = HealthState::Unhealthy;
            self.reason = Some(reason);
            self.description = Some(text);
        }
    }
}

fn words(outcome: &Outcome) -> (HealthReason, String) {
    match outcome {
        Outcome::Mismatch(text) => (HealthReason::ResponseCodeMismatch, text.clone()),
        Outcome::TimedOut => (HealthReason::Timeout, "Request timed out".into()),
        Outcome::Failed | Outcome::Passed => {
            (HealthReason::FailedHealthChecks, "Health checks failed".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const THRESHOLDS: Thresholds =
        Thresholds { healthy: 3, unhealthy: 2, interval: Duration::from_secs(10) };

    const QUICK: Duration = Duration::from_millis(1);

    fn mismatch() -> Outcome {
        Outcome::Mismatch("Health checks failed with these codes: [500]".into())
    }

    #[test]
    fn the_first_success_makes_a_new_target_healthy() {
        let mut machine = Machine::default();
        let verdict = machine.take(&Outcome::Failed, QUICK, &THRESHOLDS);
        assert_eq!(verdict.health.state, HealthState::Initial);
        assert_eq!(verdict.next, Duration::from_millis(999));
        let verdict = machine.take(&Outcome::Passed, QUICK, &THRESHOLDS);
        assert_eq!(verdict.health.state, HealthState::Healthy);
        assert_eq!(verdict.next, Duration::from_millis(9_999));
    }

    #[test]
    fn a_new_target_has_the_time_that_its_interval_gives() {
        let mut machine = Machine::default();
        let states: Vec<_> =
            (0..20).map(|_| machine.take(&mismatch(), QUICK, &THRESHOLDS).health.state).collect();
        let initial = states.iter().filter(|state| **state == HealthState::Initial).count();
        assert_eq!(initial, 19);
        assert_eq!(machine.health().reason, Some(HealthReason::ResponseCodeMismatch));
    }

    #[test]
    fn checks_that_time_out_use_that_time_up() {
        let mut machine = Machine::default();
        let long = Duration::from_secs(5);
        let waits: Vec<_> = (0..4)
            .map(|_| machine.take(&Outcome::TimedOut, long, &THRESHOLDS))
            .map(|verdict| (verdict.health.state == HealthState::Unhealthy, verdict.next))
            .collect();
        let now = Duration::ZERO;
        assert_eq!(waits, [(false, now), (false, now), (false, now), (true, now)]);
    }

    #[test]
    fn thresholds_count_in_a_row() {
        let mut machine = Machine::default();
        machine.take(&Outcome::Passed, QUICK, &THRESHOLDS);
        let outcomes = [
            (Outcome::TimedOut, HealthState::Healthy),
            (Outcome::Passed, HealthState::Healthy),
            (Outcome::TimedOut, HealthState::Healthy),
            (Outcome::TimedOut, HealthState::Unhealthy),
            (Outcome::Passed, HealthState::Unhealthy),
            (Outcome::Passed, HealthState::Unhealthy),
            (Outcome::Passed, HealthState::Healthy),
        ];
        for (outcome, state) in outcomes {
            assert_eq!(machine.take(&outcome, QUICK, &THRESHOLDS).health.state, state);
        }
    }

    proptest! {
        #[test]
        fn enough_of_the_same_always_wins(outcomes in prop::collection::vec(any::<bool>(), 0..40)) {
            let mut machine = Machine::default();
            for passed in outcomes {
                let outcome = if passed { Outcome::Passed } else { Outcome::Failed };
                let verdict = machine.take(&outcome, QUICK, &THRESHOLDS);
                let reason = verdict.health.reason.is_none();
                prop_assert_eq!(reason, verdict.health.state == HealthState::Healthy);
            }
            for _ in 0..3 { machine.take(&Outcome::Passed, QUICK, &THRESHOLDS); }
            prop_assert_eq!(machine.health().state, HealthState::Healthy);
            for _ in 0..2 { machine.take(&Outcome::Failed, QUICK, &THRESHOLDS); }
            prop_assert_eq!(machine.health().state, HealthState::Unhealthy);
        }
    }
}
