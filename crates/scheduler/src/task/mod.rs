//! A task's life: launched onto a host, reported on by its agent, stopped.
//!
//! `desiredStatus` is written here alone; `lastStatus` is what the agent reported, or how far a
//! load balancer's registration has come, and only moves forward. Both directions are total functions of the snapshot: a report that comes late or twice
//! changes nothing.

pub(crate) mod address;
mod capacity;
mod gpu;
mod health;
mod launch;
mod lifecycle;
mod storage;

pub use capacity::capacity_providers;
pub use gpu::taken as taken_gpus;
pub use health::{health, worst};
pub use launch::{
    Error as LaunchError, LaunchPlan, LaunchRequest, MAX_LAUNCHED, Target, launch, managed_tags,
};
pub use lifecycle::{
    Applied, ContainerStateChange, Error as LifecycleError, TaskEvent, TaskStateChange,
    UNASSUMABLE, apply_health, apply_state_change, instance_deregistered, instance_lost, stop,
    stopped,
};
pub use storage::storage_gib;

#[cfg(test)]
mod tests;
