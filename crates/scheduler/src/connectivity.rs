//! Which agents are connected: soft state that placement asks for and that is no record.

use std::collections::BTreeSet;
use wharf_model::ContainerInstanceKey;

/// Knows which container instances have a live agent session (ACS).
pub trait Connectivity {
    /// True if the instance's agent is connected: `agentConnected` of the ECS API.
    fn agent_connected(&self, instance: &ContainerInstanceKey) -> bool;
}

/// Every agent counts as connected.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllConnected;

impl Connectivity for AllConnected {
    fn agent_connected(&self, _: &ContainerInstanceKey) -> bool {
        true
    }
}

impl Connectivity for BTreeSet<ContainerInstanceKey> {
    fn agent_connected(&self, instance: &ContainerInstanceKey) -> bool {
        self.contains(instance)
    }
}
