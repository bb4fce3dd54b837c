//! Rounds of load, and the statistics over them.

use crate::Result;
use std::time::{Duration, Instant};

/// What one connection does over and over.
pub trait Operation: Send + 'static {
    /// Once.
    fn once(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// What a round showed.
#[derive(Debug, Clone)]
pub struct Round {
    /// Operations per second.
    pub per_second: f64,
    /// Each operation's time, sorted.
    pub waits: Vec<Duration>,
}

impl Round {
    /// A round of `waits` that began at `start` and ends now.
    pub fn ended(start: Instant, mut waits: Vec<Duration>) -> Self {
        let per_second = waits.len() as f64 / start.elapsed().as_secs_f64();
        waits.sort_unstable();
        Self { per_second, waits }
    }

    /// A quantile of the operations' times, in milliseconds.
    pub fn wait_ms(&self, quantile: f64) -> f64 {
        let index = (self.waits.len().saturating_sub(1) as f64 * quantile) as usize;
        self.waits.get(index).map_or(f64::NAN, |wait| wait.as_secs_f64() * 1e3)
    }
}

/// Lets every operation run over and over, each on a task of its own, for `time`.
///
/// # Errors
/// If one of them fails.
pub async fn round<O: Operation>(operations: &mut Vec<O>, time: Duration) -> Result<Round> {
    let start = Instant::now();
    let tasks: Vec<_> = operations
        .drain(..)
        .map(|mut operation| {
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while start.elapsed() < time {
                    let begun = Instant::now();
                    operation.once().await?;
                    waits.push(begun.elapsed());
                }
                Result::Ok((operation, waits))
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        let (operation, waits) = task.await??;
        operations.push(operation);
        all.extend(waits);
    }
    Ok(Round::ended(start, all))
}

/// The middle of the values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median of `value` over the rounds.
pub fn over(rounds: &[Round], value: impl Fn(&Round) -> f64) -> f64 {
    median(rounds.iter().map(value).collect())
}

/// The median of the per-round ratios of `value`.
pub fn ratio(ours: &[Round], theirs: &[Round], value: impl Fn(&Round) -> f64) -> f64 {
    median(ours.iter().zip(theirs).map(|(a, b)| value(a) / value(b)).collect())
}

/// Prints a row: operations per second, p50 and p99.
pub fn print_row(name: &str, rounds: &[Round]) {
    println!(
        "    {name:<34} {:>8.0}/s   p50 {:>7.3} ms   p99 {:>7.3} ms",
        over(rounds, |round| round.per_second),
        over(rounds, |round| round.wait_ms(0.5)),
        over(rounds, |round| round.wait_ms(0.99)),
    );
}
