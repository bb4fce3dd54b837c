//! What balancers say of targets: soft state that the service scheduler asks for and that is no
//! record.

use std::collections::BTreeMap;
use wharf_model::load_balancing::{TargetHealth, TargetKey};

/// Knows what a balancer last said of targets.
pub trait TargetHealthSource {
    /// What was last said of a target; nothing if nothing was yet.
    fn target_health(&self, target: &TargetKey) -> Option<TargetHealth>;

    /// True while it is too early to judge: a server that has just started hasn't heard of
    /// anything yet, and what it hasn't heard of mustn't count as lost.
    fn is_settling(&self) -> bool {
        false
    }
}

impl TargetHealthSource for BTreeMap<TargetKey, TargetHealth> {
    fn target_health(&self, target: &TargetKey) -> Option<TargetHealth> {
        self.get(target).cloned()
    }
}
