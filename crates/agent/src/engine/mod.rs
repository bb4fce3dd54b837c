//! The task engine: what is wanted of one task against what is known of it. Pure.
//!
//! A [`Machine`] takes an [`Input`] and the time and answers with [`Effect`]s; it never does
//! anything itself, so that every interleaving of pulls, starts, exits, stops and crashes can be
//! played through in tests. Status only moves forward. Whatever was in flight when the agent died
//! is found out again from the runtime by [`Machine::recover`]; what can't be found out again is
//! marked by [`Output::save`] and must be on disk before the effects are carried out.
//!
//! - [`machine`]: inputs, effects, and what an input makes known.
//! - `advance`: the next steps, from what is known and what is wanted.
//! - [`depends`]: `dependsOn`, both ways: who may start, and who must stop first.
//! - [`restart`]: `restartPolicy`: who is started again.
//! - [`check`]: what the results of a health check mean.
//! - [`report`]: what the control plane is told (SubmitTaskStateChange).
//! - [`recover`]: the view after a restart.

mod advance;
pub mod check;
pub mod depends;
pub mod machine;
pub mod recover;
pub mod report;
pub mod restart;
pub mod state;

pub use machine::{Effect, Failure, Input, Machine, Output};
pub use report::{ContainerStateChange, TaskStateChange};
pub use state::{ContainerState, Health, Known, Phase, TaskStatus};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenarios;
