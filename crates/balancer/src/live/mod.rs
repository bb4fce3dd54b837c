//! What the data plane works on: listeners, target groups and targets, compiled.
//!
//! A connection holds a cell; a cell holds what is in effect and is swapped as a whole. So a change
//! of one thing compiles that thing alone, applies to the next request, and drops no connection.

mod balancer;
mod front;
mod group;
mod listener;
mod target;

pub(crate) use balancer::Balancer;
pub(crate) use front::{Front, FrontCell};
pub(crate) use group::{Group, GroupCell, GroupSettings, Stickiness};
pub(crate) use listener::{Listener, ListenerCell};
pub(crate) use target::{Lease, TargetState};

use rustix::time::ClockId;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Who answers at a socket.
#[derive(Clone)]
pub(crate) enum Endpoint {
    /// One listener.
    Own(Arc<ListenerCell>),
    /// The listener that a request's host name picks.
    Shared(Arc<FrontCell>),
}

/// Milliseconds since this process began, and never 0. By the coarse clock: it is late by some
/// milliseconds, and costs a fifth.
pub(crate) fn uptime_ms() -> u64 {
    use std::sync::OnceLock;
    static START: OnceLock<Duration> = OnceLock::new();
    let now = coarse(ClockId::MonotonicCoarse);
    let millis = now.saturating_sub(*START.get_or_init(|| now)).as_millis();
    u64::try_from(millis).unwrap_or(u64::MAX).saturating_add(1)
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    coarse(ClockId::RealtimeCoarse).as_secs()
}

fn coarse(clock: ClockId) -> Duration {
    let now = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Time since 1970.
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
