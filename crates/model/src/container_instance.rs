//! Container instances: hosts with an agent, and what placement has reserved on them.

use crate::id::{ClusterName, ContainerInstanceId, ContainerInstanceKey};
use crate::resources::ResourceAmount;
use crate::tag::Tag;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// An attribute of a container instance (ECS API `Attribute`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attribute {
    /// Attribute name.
    #[serde(rename = "n")]
    pub name: String,
    /// Its value; some attributes are names alone.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// `status` of a container instance that an operator or the agent sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InstanceStatus {
    /// Takes tasks.
    Active,
    /// Takes no new tasks; services move theirs away.
    Draining,
    /// Deregistered; described for a while.
    Inactive,
}

impl InstanceStatus {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

/// A container instance (ECS API `ContainerInstance`). agentConnected is soft state, not here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerInstance {
    /// Its id.
    pub id: ContainerInstanceId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// `i-…`, or empty where the host has no such id.
    #[serde(default)]
    pub ec2_instance_id: String,
    /// ARN of the principal that registered it: only this one may open its sessions.
    pub registered_by: String,
    /// What it registered: totals and reserved ports.
    pub registered: ResourceAmount,
    /// Its GPUs by their ids, in its own order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu_ids: Vec<String>,
    /// Agent's and operators' attributes, in the order of registration.
    pub attributes: Vec<Attribute>,
    /// ACTIVE, DRAINING or INACTIVE.
    pub status: InstanceStatus,
    /// Counts up with every change of the instance (API `version`).
    pub version: i64,
    /// When it first registered.
    pub registered_at: Timestamp,
    /// When it was deregistered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deregistered_at: Option<Timestamp>,
    /// Agent's version and hash, engine's version (API `versionInfo`).
    #[serde(default)]
    pub agent_version: String,
    /// Agent's commit hash.
    #[serde(default)]
    pub agent_hash: String,
    /// `DockerVersion: …` as ECS shows it.
    #[serde(default)]
    pub docker_version: String,
    /// Capacity provider, if it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_provider: Option<String>,
    /// Address that the host's published ports are reached at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_ip: Option<String>,
    /// The agent's registration token: a retry with the same one is the same registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

impl ContainerInstance {
    /// Its key.
    pub fn key(&self) -> ContainerInstanceKey {
        ContainerInstanceKey { cluster: self.cluster.clone(), id: self.id.clone() }
    }

    /// The attribute called `name`, if it has one.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|a| a.name == name)
    }

    /// The value of the attribute called `name`, if it has one with a value.
    pub fn attribute_value(&self, name: &str) -> Option<&str> {
        self.attribute(name)?.value.as_deref()
    }
}

/// The small record that every placement onto an instance rewrites, so that two placements that
/// both saw the same free resources conflict. What is free is derived from the tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    /// The instance's cluster.
    pub cluster: ClusterName,
    /// The instance.
    pub id: ContainerInstanceId,
    /// Counts placements.
    pub sequence: u64,
}
