//! A steady pace: so many beginnings a second, at even distances, whatever becomes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How often the pace is looked after, at least and at most.
const TICKS: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(2)];

/// When operations are due.
#[derive(Debug)]
pub struct Pace {
    start: Instant,
    per_second: f64,
    due: Semaphore,
    taken: AtomicU64,
}

impl Pace {
    /// Begins; it is kept by a thread of its own, since timers of the runtime are too coarse.
    pub fn begin(per_second: f64) -> Arc<Self> {
        let (due, taken) = (Semaphore::new(0), AtomicU64::new(0));
        let pace = Arc::new(Self { start: Instant::now(), per_second, due, taken });
        let keeping = Arc::clone(&pace);
        std::thread::spawn(move || keeping.keep());
        pace
    }

    fn keep(&self) {
        let [least, most] = TICKS;
        let tick = Duration::from_secs_f64(0.5 / self.per_second).clamp(least, most);
        let mut given = 0;
        while !self.due.is_closed() {
            let wanted = (self.start.elapsed().as_secs_f64() * self.per_second) as usize;
            self.due.add_permits(wanted.saturating_sub(given));
            given = given.max(wanted);
            std::thread::sleep(tick);
        }
    }

    /// Nothing is due any more.
    pub fn end(&self) {
        self.due.close();
    }

    /// How many have begun.
    pub fn begun(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Waits for the next one; answers the moment at which it was due, or none at the end.
    pub async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        Some(self.start + Duration::from_secs_f64(number as f64 / self.per_second))
    }
}
