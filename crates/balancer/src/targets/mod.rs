//! What is decided about targets: which one takes a request, who stays with whom, who is healthy.
//! Pure.

mod health;
mod matcher;
mod pick;
mod sticky;

pub use health::{Machine, Outcome, Thresholds, Verdict};
pub use matcher::Matcher;
pub use pick::{Algorithm, Load, pick};
pub use sticky::{Kind as CookieKind, Stamp, cookie_value, set_cookies};

/// The least number of healthy targets below which all targets get traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailOpen {
    /// That many, at least.
    pub count: usize,
    /// That many of a hundred, if it isn't off.
    pub percentage: Option<usize>,
}

impl FailOpen {
    /// Reads the attributes' values.
    pub fn parse(count: &str, percentage: &str) -> Self {
        Self { count: count.parse().unwrap_or(1), percentage: percentage.parse().ok() }
    }

    /// Whether so few are healthy that all targets get traffic.
    pub fn applies(self, healthy: usize, all: usize) -> bool {
        let least = self.percentage.map_or(0, |percentage| (all * percentage).div_ceil(100));
        healthy < self.count.max(least).min(all.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_goes_to_all_when_too_few_are_healthy() {
        let default = FailOpen::parse("1", "off");
        assert!(default.applies(0, 3));
        assert!(!default.applies(1, 3));
        let half = FailOpen::parse("1", "50");
        assert!(half.applies(1, 4));
        assert!(!half.applies(2, 4));
    }
}
