//! Load balancing's decisions: which groups are in use, registering and deregistering targets, what
//! is over and goes, the health that is shown of a target, and addresses of load balancers.

mod address;
mod health;
mod targets;
#[cfg(test)]
mod tests;
mod usage;

pub use address::{host_address, task_address};
pub use health::{TargetHealthBoard, health, not_registered};
pub use targets::{NewTarget, deregister, due, register};
pub use usage::{Usage, forwards_to, groups_of_actions, is_listener_live, is_rule_live};
