//! Services, their deployments, and the records of service deployments and revisions.

use crate::cluster::CapacityProviderStrategyItem;
use crate::express::ExpressGateway;
use crate::id::{ClusterName, ServiceKey, ServiceName, TaskDefinitionKey, TaskId};
use crate::network::AwsVpcConfiguration;
use crate::snapshot::Snapshot;
use crate::tag::Tag;
use crate::task::Task;
use crate::task_definition::{LaunchType, PlacementConstraint, PlacementStrategy};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `status` of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceStatus {
    /// Keeps its desired count.
    Active,
    /// Deleted, but tasks still stop.
    Draining,
    /// Deleted; described for a while.
    Inactive,
}

impl ServiceStatus {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

/// Rolling update's limits and circuit breaker (ECS API `DeploymentConfiguration`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentConfiguration {
    /// Upper limit of RUNNING and PENDING tasks, percent of the desired count, rounded down.
    pub maximum_percent: i32,
    /// Lower limit of RUNNING tasks, percent of the desired count, rounded up.
    pub minimum_healthy_percent: i32,
    /// Circuit breaker is on.
    #[serde(default)]
    pub circuit_breaker_enable: bool,
    /// Circuit breaker rolls back.
    #[serde(default)]
    pub circuit_breaker_rollback: bool,
}

impl Default for DeploymentConfiguration {
    fn default() -> Self {
        Self {
            maximum_percent: 200,
            minimum_healthy_percent: 100,
            circuit_breaker_enable: false,
            circuit_breaker_rollback: false,
        }
    }
}

/// `rolloutState` of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RolloutState {
    /// Not at its desired count yet.
    InProgress,
    /// Reached steady state.
    Completed,
    /// Given up by the circuit breaker.
    Failed,
}

impl RolloutState {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }
}

/// A target group that a service's tasks are registered in (ECS API `LoadBalancer`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLoadBalancer {
    /// API `targetGroupArn`.
    pub target_group_arn: String,
    /// Which container takes the traffic.
    pub container_name: String,
    /// On which of its ports.
    pub container_port: u16,
}

impl ServiceLoadBalancer {
    /// What the target group's record is filed under: `NAME/ID`.
    pub fn target_group(&self) -> &str {
        self.target_group_arn.split_once(":targetgroup/").map_or("", |(_, path)| path)
    }

    /// The target group's id.
    pub fn target_group_id(&self) -> &str {
        self.target_group().rsplit('/').next().unwrap_or_default()
    }
}

/// One deployment of a service (ECS API `Deployment`). Counts of tasks are derived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// `ecs-svc/<19 digits>`; also `startedBy` of its tasks.
    pub id: String,
    /// True for the one that the service moves to (PRIMARY); the others are ACTIVE.
    pub primary: bool,
    /// What its tasks run.
    pub task_definition: TaskDefinitionKey,
    /// Id of the service revision that it deploys.
    pub service_revision_id: String,
    /// Id of its service deployment record.
    pub service_deployment_id: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// IN_PROGRESS, COMPLETED or FAILED.
    pub rollout_state: RolloutState,
    /// Why it is in that state.
    pub rollout_state_reason: String,
    /// Tasks that failed to start or to stay up, since the last steady state.
    #[serde(default)]
    pub failed_tasks: i32,
    /// Tasks that failed in a row: throttles restarts.
    #[serde(default)]
    pub consecutive_failures: u32,
    /// No task is launched before this time (restart throttling).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_launch_at: Option<Timestamp>,
    /// True once its tasks were all there: later losses aren't deployment failures.
    #[serde(default)]
    pub reached_steady_state: bool,
    /// Of a deployment that was complete and is being replaced: how many tasks it still keeps up.
    /// What it loses it gets back; what gives way to the new deployment is taken off. Absent for
    /// the primary, which keeps the service's desired count, and for what was never complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_count: Option<i32>,
}

/// A service (ECS API `Service`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Its cluster.
    pub cluster: ClusterName,
    /// ACTIVE, DRAINING or INACTIVE.
    pub status: ServiceStatus,
    /// Tasks wanted.
    pub desired_count: i32,
    /// What its primary deployment runs.
    pub task_definition: TaskDefinitionKey,
    /// EC2, FARGATE or EXTERNAL; absent with a capacity provider strategy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_type: Option<LaunchType>,
    /// Capacity provider strategy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    /// `LATEST` or a version, for FARGATE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<String>,
    /// Rolling update's limits.
    pub deployment_configuration: DeploymentConfiguration,
    /// Placement constraints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placement_constraints: Vec<PlacementConstraint>,
    /// Placement strategy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placement_strategy: Vec<PlacementStrategy>,
    /// awsvpc configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<AwsVpcConfiguration>,
    /// Target groups that its tasks are registered in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_balancers: Vec<ServiceLoadBalancer>,
    /// Seconds in which failing health checks don't count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_grace_period_seconds: Option<i32>,
    /// Deployments: the primary first, then older ones that still have tasks.
    pub deployments: Vec<Deployment>,
    /// When it was created.
    pub created_at: Timestamp,
    /// ARN of who created it.
    pub created_by: String,
    /// When it became INACTIVE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// `aws:ecs:` tags on tasks.
    #[serde(default)]
    pub enable_ecs_managed_tags: bool,
    /// `TASK_DEFINITION`, `SERVICE` or `NONE`.
    #[serde(default)]
    pub propagate_tags: String,
    /// ECS Exec was asked for.
    #[serde(default)]
    pub enable_execute_command: bool,
    /// `ENABLED` or `DISABLED`.
    #[serde(default)]
    pub availability_zone_rebalancing: String,
    /// Service-linked or given role's ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// Conditions that an event has told of, by cause, with when: an event isn't repeated until
    /// its cause is resolved or six hours pass (ECS's rule). Written by the service scheduler.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reported: BTreeMap<String, Timestamp>,
    /// Tasks that scale-in and deployments spare, and until when (UpdateTaskProtection). An entry
    /// whose time has passed protects nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub protected_tasks: BTreeMap<TaskId, Timestamp>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// What ECS made for it, if it is an Express Gateway service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub express: Option<ExpressGateway>,
}

impl Service {
    /// Its key.
    pub fn key(&self) -> ServiceKey {
        ServiceKey { cluster: self.cluster.clone(), name: self.name.clone() }
    }

    /// True if scale-in and deployments must spare the task at `now`.
    pub fn protects(&self, task: &TaskId, now: Timestamp) -> bool {
        self.protected_tasks.get(task).is_some_and(|until| *until > now)
    }

    /// The deployment that the service moves to.
    pub fn primary_deployment(&self) -> Option<&Deployment> {
        self.deployments.iter().find(|d| d.primary)
    }
}

/// `status` of a service deployment (ECS API `ServiceDeploymentStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceDeploymentStatus {
    /// Not begun.
    Pending,
    /// Tasks are being replaced.
    InProgress,
    /// Reached steady state.
    Successful,
    /// Superseded or stopped by an operator.
    Stopped,
    /// StopServiceDeployment was called with ABORT.
    StopRequested,
    /// StopServiceDeployment was called with ROLLBACK.
    RollbackRequested,
    /// Rolling back.
    RollbackInProgress,
    /// Rolled back.
    RollbackSuccessful,
    /// Rollback failed too.
    RollbackFailed,
}

impl ServiceDeploymentStatus {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::InProgress => "IN_PROGRESS",
            Self::Successful => "SUCCESSFUL",
            Self::Stopped => "STOPPED",
            Self::StopRequested => "STOP_REQUESTED",
            Self::RollbackRequested => "ROLLBACK_REQUESTED",
            Self::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            Self::RollbackSuccessful => "ROLLBACK_SUCCESSFUL",
            Self::RollbackFailed => "ROLLBACK_FAILED",
        }
    }
}

/// The lasting record of one deployment (ECS API `ServiceDeployment`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceDeployment {
    /// The service.
    pub service: ServiceKey,
    /// Its id within its ARN.
    pub id: String,
    /// Revisions that it replaces.
    pub source_revision_ids: Vec<String>,
    /// Revision that it deploys.
    pub target_revision_id: String,
    /// State.
    pub status: ServiceDeploymentStatus,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// Times as the API names them.
    pub created_at: Timestamp,
    /// Its first task was launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// It ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// StopServiceDeployment was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// It last changed.
    pub updated_at: Timestamp,
    /// Configuration that it runs under.
    pub deployment_configuration: DeploymentConfiguration,
    /// Failures that the circuit breaker counted.
    #[serde(default)]
    pub circuit_breaker_failures: i32,
    /// Circuit breaker opened.
    #[serde(default)]
    pub circuit_breaker_triggered: bool,
    /// Rollback: revision, start, reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
}

/// ECS API `Rollback`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollback {
    /// Why it rolls back.
    pub reason: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Revision that it goes back to.
    pub service_revision_id: String,
}

/// What a deployment deploys, frozen (ECS API `ServiceRevision`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceRevision {
    /// The service.
    pub service: ServiceKey,
    /// Its id within its ARN (digits).
    pub id: String,
    /// What it runs.
    pub task_definition: TaskDefinitionKey,
    /// Launch type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_type: Option<LaunchType>,
    /// Capacity provider strategy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    /// Platform version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<String>,
    /// awsvpc configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<AwsVpcConfiguration>,
    /// Target groups that its tasks are registered in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_balancers: Vec<ServiceLoadBalancer>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// How the tasks of a deployment are launched.
#[derive(Debug, Clone, Copy)]
pub struct LaunchSettings<'a> {
    /// Launch type.
    pub launch_type: Option<LaunchType>,
    /// Capacity provider strategy.
    pub capacity_provider_strategy: &'a [CapacityProviderStrategyItem],
    /// Platform version.
    pub platform_version: Option<&'a str>,
    /// awsvpc configuration.
    pub network_configuration: Option<&'a AwsVpcConfiguration>,
    /// Target groups that the tasks are registered in.
    pub load_balancers: &'a [ServiceLoadBalancer],
}

impl<'a> LaunchSettings<'a> {
    /// As the deployment's service revision has it, or the service where that is gone.
    pub fn of(snapshot: &'a Snapshot, service: &'a Service, deployment: &Deployment) -> Self {
        let key = (service.key(), deployment.service_revision_id.clone());
        match snapshot.service_revision(&key) {
            Some(revision) => Self {
                launch_type: revision.launch_type,
                capacity_provider_strategy: &revision.capacity_provider_strategy,
                platform_version: revision.platform_version.as_deref(),
                network_configuration: revision.network_configuration.as_ref(),
                load_balancers: &revision.load_balancers,
            },
            None => Self {
                launch_type: service.launch_type,
                capacity_provider_strategy: &service.capacity_provider_strategy,
                platform_version: service.platform_version.as_deref(),
                network_configuration: service.network_configuration.as_ref(),
                load_balancers: &service.load_balancers,
            },
        }
    }
}

/// The target groups that a task is registered in: those of the revision that it was started of.
pub fn load_balancers_of<'a>(snapshot: &'a Snapshot, task: &Task) -> &'a [ServiceLoadBalancer] {
    let revision = || {
        let key = ServiceKey { cluster: task.cluster.clone(), name: task.service.clone()? };
        let id = task.started_by.as_deref()?.strip_prefix("ecs-svc/")?.to_owned();
        snapshot.service_revision(&(key, id))
    };
    revision().map_or(&[], |revision| &revision.load_balancers)
}
