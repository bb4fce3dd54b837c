//! What a health check's results mean, and when the next is due: docker's rules. Pure.
//!
//! Docker checks for the first time when an interval has gone by. Here a container that isn't
//! known to be healthy is asked at once, and then after pauses that grow, so that whoever waits for
//! HEALTHY doesn't wait for an interval; failures count from the moment at which docker's would.

use super::state::Health;
use crate::task::HealthCheck;

/// The pause after the first check; it doubles.
const FIRST_PAUSE_MS: u64 = 1000;

/// One container's check.
#[derive(Debug)]
pub struct Checker {
    check: HealthCheck,
    health: Health,
    failures: u32,
    early_pause_ms: u64,
}

impl Checker {
    /// The check of a container of which `health` is known.
    pub fn new(check: HealthCheck, health: Health) -> Self {
        Self { check, health, failures: 0, early_pause_ms: FIRST_PAUSE_MS }
    }

    /// Takes a result in; `begun_ms` is how long the container had been running when the check
    /// began. Answers what is known of it now.
    pub fn take(&mut self, passed: bool, begun_ms: u64) -> Health {
        if passed {
            self.failures = 0;
            self.health = Health::Healthy;
        } else if self.counts(begun_ms) {
            self.failures = self.failures.saturating_add(1);
            if self.failures >= self.check.retries {
                self.health = Health::Unhealthy;
            }
        }
        self.health
    }

    /// The pause before the next check of a container that has been running for `running_ms`.
    pub fn pause_ms(&mut self, running_ms: u64) -> u64 {
        let interval_ms = self.check.interval_ms;
        if self.counts(running_ms) {
            return interval_ms;
        }
        let pause = self.early_pause_ms.min(interval_ms);
        self.early_pause_ms = pause.saturating_mul(2);
        match interval_ms.checked_sub(running_ms) {
            // The first one that counts comes when docker's first would.
            Some(left) if left > 0 => pause.min(left),
            _ => pause,
        }
    }

    /// Whether a failure of a check that begins at this time counts.
    fn counts(&self, begun_ms: u64) -> bool {
        // A first success ends the start period.
        let started = self.health != Health::Unknown;
        started || begun_ms >= self.check.interval_ms.max(self.check.start_period_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checker(interval_s: u64, retries: u32, start_period_s: u64) -> Checker {
        let check = HealthCheck {
            command: vec!["true".to_owned()],
            interval_ms: interval_s * 1000,
            timeout_ms: 5000,
            retries,
            start_period_ms: start_period_s * 1000,
        };
        Checker::new(check, Health::Unknown)
    }

    /// The seconds at which a container is checked that passes in this range of seconds, each with
    /// what is known afterwards.
    fn course(mut checker: Checker, passes: std::ops::Range<u64>, until_s: u64) -> String {
        let (mut now_ms, mut told) = (0, Vec::new());
        while now_ms < until_s * 1000 {
            let health = checker.take(passes.contains(&(now_ms / 1000)), now_ms);
            told.push(format!("{} {}", now_ms / 1000, health.as_str()));
            now_ms += checker.pause_ms(now_ms);
        }
        told.join(", ")
    }

    #[test]
    fn a_healthy_container_is_known_at_once() {
        let told = course(checker(30, 3, 0), 0..100, 70);
        assert_eq!(told, "0 HEALTHY, 30 HEALTHY, 60 HEALTHY");
    }

    #[test]
    fn early_failures_cost_nothing_and_late_ones_count_as_dockers() {
        let told = course(checker(30, 3, 0), 0..0, 100);
        let expected = "0 UNKNOWN, 1 UNKNOWN, 3 UNKNOWN, 7 UNKNOWN, 15 UNKNOWN, 30 UNKNOWN, \
                        60 UNKNOWN, 90 UNHEALTHY";
        assert_eq!(told, expected);
    }

    #[test]
    fn a_container_that_comes_up_late_is_healthy_soon_after() {
        let told = course(checker(30, 1, 0), 6..100, 40);
        assert_eq!(told, "0 UNKNOWN, 1 UNKNOWN, 3 UNKNOWN, 7 HEALTHY, 37 HEALTHY");
    }

    #[test]
    fn the_start_period_forgives_until_the_first_success() {
        let told = course(checker(5, 1, 12), 0..0, 20);
        let expected = "0 UNKNOWN, 1 UNKNOWN, 3 UNKNOWN, 5 UNKNOWN, 10 UNKNOWN, 15 UNHEALTHY";
        assert_eq!(told, expected);
        let told = course(checker(5, 1, 60), 0..4, 12);
        assert_eq!(told, "0 HEALTHY, 5 UNHEALTHY, 10 UNHEALTHY");
    }

    #[test]
    fn it_takes_as_many_failures_in_a_row_as_there_are_retries() {
        let told = course(checker(5, 2, 0), 0..8, 25);
        assert_eq!(told, "0 HEALTHY, 5 HEALTHY, 10 HEALTHY, 15 UNHEALTHY, 20 UNHEALTHY");
    }

    #[test]
    fn what_an_earlier_agent_knew_stays_until_a_check_says_otherwise() {
        let mut checker = Checker::new(checker(5, 2, 60).check, Health::Healthy);
        assert_eq!(checker.take(false, 1000), Health::Healthy);
        assert_eq!(checker.pause_ms(1000), 5000);
        assert_eq!(checker.take(false, 6000), Health::Unhealthy);
        assert_eq!(checker.take(true, 11_000), Health::Healthy);
    }
}
