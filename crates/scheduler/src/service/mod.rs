//! The service scheduler: what a service's next step is.
//!
//! [`reconcile`] takes nothing but a key: it compares what the service wants with the tasks that
//! are there and returns one step. The change that the step makes wakes it again, so that the
//! same path serves the happy case, recovery, and everything that was missed meanwhile.
//!
//! A step obeys the deployment configuration by its own doing: it starts a task only while RUNNING,
//! PENDING and stopping tasks together stay within maximumPercent (rounded down), and stops a
//! healthy one only while minimumHealthyPercent (rounded up) stay. What is lost during a rolling
//! update is replaced by a task of the revision that it belonged to ([`source`]).

mod breaker;
mod event;
mod failure;
mod progress;
mod reconcile;
mod rollback;
mod scale_in;
mod source;
mod start;
mod stop;
mod targets;

pub use event::ServiceEvent;
pub use reconcile::{ServicePlan, reconcile};
pub use rollback::{deployment_of, previous as previous_revision};

/// Most tasks that one step launches: two records each.
const MAX_STARTED: usize = 30;
/// Most tasks that one step tells to stop.
const MAX_STOPPED: usize = 24;
/// Most ended tasks that one step counts.
const MAX_COUNTED: usize = 8;

#[cfg(test)]
mod health_tests;
#[cfg(test)]
mod rolling_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod target_tests;
#[cfg(test)]
pub(crate) mod tests;
