//! The scheduler: where tasks go, how a task moves through its life, and how a service reaches
//! what it was asked for.
//!
//! Everything here is a pure function of (snapshot, event, now, seed): no I/O, no clock, no random
//! source. What it decides it returns as a transaction, together with the report that says why.
//! Whoever calls it commits the transaction, and on a conflict reads again and decides again.

pub mod connectivity;
pub mod expiry;
pub mod express;
pub mod load_balancing;
pub mod placement;
pub mod service;
pub mod target_health;
pub mod task;

#[cfg(test)]
mod fixture;

pub use connectivity::{AllConnected, Connectivity};
pub use target_health::TargetHealthSource;
