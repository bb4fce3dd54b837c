//! Which target takes a request.

use std::time::Duration;

/// How targets are picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastOutstandingRequests,
    /// Any, by its weight.
    WeightedRandom,
}

impl Algorithm {
    /// Reads the attribute's value.
    pub fn parse(word: &str) -> Self {
        match word {
            "least_outstanding_requests" => Self::LeastOutstandingRequests,
            "weighted_random" => Self::WeightedRandom,
            _ => Self::RoundRobin,
        }
    }
}

/// What is known of a target when one is picked.
pub trait Load {
    /// Requests under way.
    fn outstanding(&self) -> usize;
    /// For how long it has been healthy; none if it never warms up.
    fn healthy_for(&self) -> Option<Duration>;
}

/// Shares are parts of this.
const FULL_SHARE: u64 = 1000;

/// The index of the target for a request. `turn` counts the picks of this group, `random` is random,
/// `warming` is the length of the slow start, if any target may still be in it.
pub fn pick<T: Load>(
    algorithm: Algorithm,
    targets: &[T],
    turn: usize,
    random: u64,
    warming: Option<Duration>,
) -> Option<usize> {
    if targets.len() <= 1 {
        return targets.first().map(|_| 0);
    }
    if let Some(warming) = warming {
        return by_shares(targets, random, warming);
    }
    Some(match algorithm {
        Algorithm::RoundRobin => turn % targets.len(),
        Algorithm::WeightedRandom => remainder(random, targets.len()),
        Algorithm::LeastOutstandingRequests => least(targets, turn),
    })
}

/// Among equals the turn decides, so that idle targets share the work.
fn least<T: Load>(targets: &[T], turn: usize) -> usize {
    let start = turn % targets.len();
    let order = (start..targets.len()).chain(0..start);
    order.min_by_key(|index| targets[*index].outstanding()).unwrap_or(start)
}

/// A target that warms up gets a share that grows with the time since it became healthy.
fn by_shares<T: Load>(targets: &[T], random: u64, warming: Duration) -> Option<usize> {
    let share = |target: &T| match target.healthy_for() {
        Some(age) if age < warming => {
            let part = age.as_millis() * u128::from(FULL_SHARE) / warming.as_millis().max(1);
            u64::try_from(part).unwrap_or(FULL_SHARE).max(FULL_SHARE / 100)
        }
        _ => FULL_SHARE,
    };
    let shares: Vec<u64> = targets.iter().map(share).collect();
    let mut left = random % shares.iter().sum::<u64>().max(1);
    for (index, share) in shares.into_iter().enumerate() {
        match left.checked_sub(share) {
            Some(rest) => left = rest,
            None => return Some(index),
        }
    }
    None
}

fn remainder(random: u64, count: usize) -> usize {
    usize::try_from(random % count as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(usize, Option<u64>);

    impl Load for Fake {
        fn outstanding(&self) -> usize {
            self.0
        }
        fn healthy_for(&self) -> Option<Duration> {
            self.1.map(Duration::from_secs)
        }
    }

    #[test]
    fn round_robin_visits_all_alike() {
        let targets = [Fake(9, None), Fake(0, None), Fake(0, None)];
        let seen: Vec<_> = (0..6)
            .filter_map(|turn| pick(Algorithm::RoundRobin, &targets, turn, 0, None))
            .collect();
        assert_eq!(seen, [0, 1, 2, 0, 1, 2]);
        assert_eq!(pick(Algorithm::RoundRobin, &targets[..0], 1, 1, None), None);
    }

    #[test]
    fn the_least_busy_is_picked_and_equals_take_turns() {
        let targets = [Fake(2, None), Fake(1, None), Fake(1, None)];
        let at = |turn| pick(Algorithm::LeastOutstandingRequests, &targets, turn, 0, None);
        assert_eq!((at(0), at(1), at(2)), (Some(1), Some(1), Some(2)));
    }

    #[test]
    fn a_warming_target_gets_a_growing_share() {
        // Of a hundred requests, those that the warming one of two targets gets.
        let share = |age| {
            let targets = [Fake(0, None), Fake(0, Some(age))];
            let warming = Some(Duration::from_secs(100));
            let picks = (0..600_000)
                .filter_map(|random| pick(Algorithm::RoundRobin, &targets, 0, random, warming));
            picks.filter(|index| *index == 1).count() / 6_000
        };
        assert!(share(0) <= 1);
        assert_eq!(share(50), 33);
        assert_eq!(share(100), 50);
    }
}
