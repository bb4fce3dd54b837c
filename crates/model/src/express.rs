//! Express Gateway services: what of a service's infrastructure ECS made for it and takes away again.
//! The service itself, its load balancer, rule, target group and certificate are ordinary records.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// ECS API `ExpressGatewayScalingTarget`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingTarget {
    /// What the service runs.
    pub min_task_count: i32,
    /// What it might be scaled to.
    pub max_task_count: i32,
    /// `AVERAGE_CPU`, `AVERAGE_MEMORY` or `REQUEST_COUNT_PER_TARGET`.
    pub metric: String,
    /// The metric's target value.
    pub target_value: i32,
}

/// What makes a service an Express Gateway service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpressGateway {
    /// API `infrastructureRoleArn`.
    pub infrastructure_role_arn: String,
    /// The host name that it is answered under.
    pub endpoint: String,
    /// Its load balancer is internet-facing.
    pub is_public: bool,
    /// Path of the load balancer, which it shares with others.
    pub load_balancer: String,
    /// Path of the load balancer's listener.
    pub listener: String,
    /// Path of its own rule.
    pub rule: String,
    /// Path of its own target group.
    pub target_group: String,
    /// Id of its own certificate.
    pub certificate: String,
    /// Id of the security group that was made for its tasks, if they weren't given others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_group: Option<String>,
    /// API `healthCheckPath`.
    pub health_check_path: String,
    /// API `scalingTarget`.
    pub scaling_target: ScalingTarget,
    /// API `updatedAt`.
    pub updated_at: Timestamp,
}
