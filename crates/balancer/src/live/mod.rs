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

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Who answers at a socket.
#[derive(Clone)]
pub(crate) enum Endpoint {
    /// One listener.
    Own(Arc<ListenerCell>),
    /// The listener that a request's host name picks.
    Shared(Arc<FrontCell>),
}

/// Milliseconds since this process began, and never 0.
pub(crate) fn uptime_ms() -> u64 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}

/// Time since 1970.
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
