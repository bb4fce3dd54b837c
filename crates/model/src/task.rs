//! Tasks and their containers.

use crate::id::{
    ClusterName, ContainerInstanceId, ContainerInstanceKey, ServiceName, TaskDefinitionKey, TaskId,
    TaskKey,
};
use crate::load_balancing::TargetKey;
use crate::resources::{ResourceAmount, TransportProtocol};
use crate::status::{HealthStatus, StopCode, TaskStatus};
use crate::tag::Tag;
use crate::task_definition::LaunchType;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A published port of a running container (ECS API `NetworkBinding`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkBinding {
    /// Address on the host, `0.0.0.0` for all.
    pub bind_ip: String,
    /// Port inside the container; the first one of a range.
    pub container_port: u16,
    /// Port on the host; the first one of a range.
    pub host_port: u16,
    /// How many ports a range has; none is a single port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<u16>,
    /// TCP or UDP.
    pub protocol: TransportProtocol,
}

/// A task's own network interface in awsvpc mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInterface {
    /// Attachment id (a UUID).
    pub attachment_id: String,
    /// `eni-…`.
    pub eni_id: String,
    /// MAC address.
    pub mac_address: String,
    /// Address in the subnet.
    pub private_ip: std::net::Ipv4Addr,
    /// The subnet.
    pub subnet_id: String,
    /// Security groups.
    #[serde(default)]
    pub security_groups: Vec<String>,
    /// `PRECREATED`, `CREATED`, `ATTACHING`, `ATTACHED`, `DETACHING`, `DETACHED` or `DELETED`.
    pub status: String,
}

/// What was observed of one container (ECS API `Container`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Name in the task definition.
    pub name: String,
    /// Id within its ARN (a UUID).
    pub id: String,
    /// PENDING, RUNNING or STOPPED.
    pub last_status: TaskStatus,
    /// The runtime's id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_id: Option<String>,
    /// Exit code once it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it stopped or couldn't start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Digest of the image that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// Published ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_bindings: Vec<NetworkBinding>,
    /// GPUs of its host that it was given, by their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu_ids: Vec<String>,
    /// Health by its own check.
    #[serde(default)]
    pub health: HealthStatus,
}

/// RunTask's overrides of one container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerOverride {
    /// The container.
    pub name: String,
    /// Replaces the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Laid over the environment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<(String, String)>,
    /// Further files of variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment_files: Vec<crate::task_definition::EnvironmentFile>,
    /// CPU units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i64>,
    /// MiB, hard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// MiB, soft.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<i64>,
    /// GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
}

/// RunTask's overrides (ECS API `TaskOverride`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskOverride {
    /// By container, in the order sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerOverride>,
    /// CPU units of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i64>,
    /// MiB of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// What the task may write, GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage_gib: Option<u32>,
    /// Role that containers assume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_role_arn: Option<String>,
    /// Role that the agent assumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_role_arn: Option<String>,
}

/// A task (ECS API `Task`): what is wanted of it (desired) and what was reported (last, times,
/// containers). It holds only what its task definition doesn't.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// What it runs.
    pub task_definition: TaskDefinitionKey,
    /// Where it was placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_instance: Option<ContainerInstanceId>,
    /// `family:<family>` or `service:<service>` unless the caller named one.
    pub group: String,
    /// Who started it: the caller's text, or the deployment's id for service tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
    /// The service it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// EC2, FARGATE or EXTERNAL.
    pub launch_type: LaunchType,
    /// Capacity provider, if placed by a strategy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_provider: Option<String>,
    /// FARGATE's platform version, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<String>,
    /// RUNNING or STOPPED: written by the control plane alone.
    pub desired_status: TaskStatus,
    /// What was observed: only ever moves forward.
    pub last_status: TaskStatus,
    /// What it takes from its instance until it has stopped.
    pub reserved: ResourceAmount,
    /// RunTask's overrides.
    #[serde(default)]
    pub overrides: TaskOverride,
    /// One entry a container of the task definition, in its order.
    pub containers: Vec<Container>,
    /// awsvpc: its interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_interface: Option<NetworkInterface>,
    /// Counts up with every change (API `version`).
    pub version: i64,
    /// PENDING or PROVISIONING entered.
    pub created_at: Timestamp,
    /// Image pull began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_started_at: Option<Timestamp>,
    /// Image pull ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_stopped_at: Option<Timestamp>,
    /// RUNNING entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// The agent acknowledged it (API `connectivityAt`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connectivity_at: Option<Timestamp>,
    /// desiredStatus became STOPPED.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping_at: Option<Timestamp>,
    /// Its last essential container ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_stopped_at: Option<Timestamp>,
    /// STOPPED entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// Why it stopped, as a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_code: Option<StopCode>,
    /// Why it stopped, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_reason: Option<String>,
    /// ECS Exec was asked for.
    #[serde(default)]
    pub enable_execute_command: bool,
    /// Where the service scheduler has registered it with target groups, until it has deregistered
    /// it again and it has drained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetKey>,
    /// The service scheduler has counted its end (throttling, circuit breaker): once only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settled: bool,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

impl Task {
    /// Its key.
    pub fn key(&self) -> TaskKey {
        TaskKey { cluster: self.cluster.clone(), id: self.id.clone() }
    }

    /// The key of the instance it was placed on.
    pub fn container_instance_key(&self) -> Option<ContainerInstanceKey> {
        let id = self.container_instance.clone()?;
        Some(ContainerInstanceKey { cluster: self.cluster.clone(), id })
    }

    /// The container called `name`.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// What its agent is told: a task that still drains is stopped only once it has drained.
    pub fn told_status(&self) -> TaskStatus {
        match self.last_status {
            TaskStatus::Deactivating => TaskStatus::Running,
            _ => self.desired_status,
        }
    }

    /// True if it is meant to run: neither stopped nor told to stop.
    pub fn is_wanted(&self) -> bool {
        self.desired_status < TaskStatus::Stopped && !self.last_status.is_stopped()
    }
}
