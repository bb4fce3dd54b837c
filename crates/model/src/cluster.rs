//! Clusters.

use crate::id::ClusterName;
use crate::tag::Tag;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One entry of a capacity provider strategy (ECS API `CapacityProviderStrategyItem`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityProviderStrategyItem {
    /// Capacity provider's short name.
    pub capacity_provider: String,
    /// Relative share of tasks, 0–1000.
    #[serde(default)]
    pub weight: i32,
    /// Tasks that run on it at the least, 0–100000.
    #[serde(default)]
    pub base: i32,
}

/// A cluster (ECS API `Cluster`). Counts are derived from tasks, services and instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// False after DeleteCluster: described as INACTIVE for a while, and may be created anew.
    pub active: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it became INACTIVE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Settings by name: `containerInsights`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<(String, String)>,
    /// Cluster configuration (execute command, managed storage) in the API's JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<serde_json::Value>,
    /// Namespace of Service Connect's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_connect_namespace: Option<String>,
    /// Capacity providers by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity_providers: Vec<String>,
    /// Strategy for tasks that name none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

impl Cluster {
    /// A new ACTIVE cluster with nothing but a name.
    pub fn new(name: impl Into<ClusterName>, created_at: Timestamp) -> Self {
        Self {
            name: name.into(),
            active: true,
            created_at,
            deleted_at: None,
            settings: Vec::new(),
            configuration: None,
            service_connect_namespace: None,
            capacity_providers: Vec::new(),
            default_capacity_provider_strategy: Vec::new(),
            tags: Vec::new(),
        }
    }
}
