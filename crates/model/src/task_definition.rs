//! Task definitions: the validated form of what RegisterTaskDefinition accepts.
//!
//! Only members that wharf carries out (or that the real service merely stores) have a place here:
//! registration refuses the others by name, so nothing is accepted and then ignored.

use crate::container_settings::{
    IpcMode, LinuxParameters, MountPoint, PidMode, Volume, VolumeFrom,
};
use crate::id::{Family, TaskDefinitionKey};
use crate::resources::{HostPort, ResourceAmount, TransportProtocol};
use crate::tag::Tag;
use crate::task::TaskOverride;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Docker network mode of a task (ECS API `NetworkMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// Port mapping from the host; the default on EC2.
    Bridge,
    /// The host's network.
    Host,
    /// A network interface of its own.
    Awsvpc,
    /// No network but loopback.
    None,
}

impl NetworkMode {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Awsvpc => "awsvpc",
            Self::None => "none",
        }
    }
}

/// EC2, FARGATE or EXTERNAL (ECS API `LaunchType`, `Compatibility`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LaunchType {
    /// Container instances.
    Ec2,
    /// Fargate.
    Fargate,
    /// ECS Anywhere.
    External,
}

impl LaunchType {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ec2 => "EC2",
            Self::Fargate => "FARGATE",
            Self::External => "EXTERNAL",
        }
    }

    /// The launch type that the API's word names, if it names one.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Ec2, Self::Fargate, Self::External].into_iter().find(|l| l.as_str() == word)
    }
}

/// ACTIVE, INACTIVE or DELETE_IN_PROGRESS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskDefinitionStatus {
    /// May be used.
    Active,
    /// Deregistered: what uses it goes on.
    Inactive,
    /// DeleteTaskDefinitions was called.
    DeleteInProgress,
}

impl TaskDefinitionStatus {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::DeleteInProgress => "DELETE_IN_PROGRESS",
        }
    }
}

/// When a dependency counts as met (ECS API `ContainerCondition`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ContainerCondition {
    /// It was started.
    Start,
    /// It ended, whatever its exit code.
    Complete,
    /// It ended with exit code 0.
    Success,
    /// Its health check passed.
    Healthy,
}

impl ContainerCondition {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Complete => "COMPLETE",
            Self::Success => "SUCCESS",
            Self::Healthy => "HEALTHY",
        }
    }
}

/// `dependsOn[]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerDependency {
    /// The other container.
    pub container_name: String,
    /// What must hold of it before this container starts.
    pub condition: ContainerCondition,
}

/// `portMappings[]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Port inside the container; the first one of a range.
    pub container_port: u16,
    /// The last port of a range (`containerPortRange`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_port: Option<u16>,
    /// Port on the host; absent or 0 in bridge mode means a dynamic one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// TCP or UDP.
    #[serde(default)]
    pub protocol: TransportProtocol,
    /// Name for Service Connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `http`, `http2` or `grpc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// `ulimits[]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `nproc`, …
    pub name: String,
    /// Soft limit.
    pub soft_limit: i64,
    /// Hard limit.
    pub hard_limit: i64,
}

/// `logConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfiguration {
    /// Log driver.
    pub log_driver: String,
    /// Its options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Options whose values are fetched when the task starts: names and `valueFrom`s.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_options: Vec<(String, String)>,
}

/// `environmentFiles[]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentFile {
    /// `s3`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The ARN of an object.
    pub value: String,
}

/// `firelensConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirelensConfiguration {
    /// `fluentbit` or `fluentd`.
    pub kind: String,
    /// Its options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// `healthCheck`, with ECS's defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `CMD` and a command, `CMD-SHELL` and a line, or `NONE`.
    pub command: Vec<String>,
    /// Seconds between checks.
    pub interval: i32,
    /// Seconds that a check may take.
    pub timeout: i32,
    /// Failures in a row that make the container unhealthy.
    pub retries: i32,
    /// Seconds after the start in which failures don't count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<i32>,
}

/// `restartPolicy`, enabled; one that isn't is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// Exit codes after which the container isn't started again, as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored_exit_codes: Option<Vec<i32>>,
    /// Seconds that it must have run, as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_attempt_period: Option<i32>,
}

impl RestartPolicy {
    /// Seconds that the container must have run before it is started again, if nothing is said.
    pub const DEFAULT_ATTEMPT_PERIOD: i32 = 300;
}

/// One container of a task definition (ECS API `ContainerDefinition`).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerDefinition {
    /// Name, unique in the task definition.
    pub name: String,
    /// Image reference as it was sent.
    pub image: String,
    /// The secret with name and password for the image's registry
    /// (`repositoryCredentials.credentialsParameter`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_credentials: Option<String>,
    /// CPU units; 0 if none were sent.
    pub cpu: i64,
    /// Hard memory limit, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// Soft memory limit, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<i64>,
    /// GPUs that it gets for itself (`resourceRequirements`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    /// Port mappings in the order sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub port_mappings: Vec<PortMapping>,
    /// The task ends with this container; true unless sent otherwise.
    pub essential: bool,
    /// Replaces the image's entry point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_point: Option<Vec<String>>,
    /// Replaces the image's command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Environment in the order sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<(String, String)>,
    /// Variables whose values are fetched when the task starts: names and `valueFrom`s.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<(String, String)>,
    /// Files of variables in the order sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment_files: Vec<EnvironmentFile>,
    /// Start order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<ContainerDependency>,
    /// Seconds for dependencies to be met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timeout: Option<i32>,
    /// Seconds from SIGTERM to SIGKILL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i32>,
    /// Host name inside the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// `uid`, `uid:gid`, `user`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Root file system mounted read-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readonly_root_filesystem: Option<bool>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_labels: Option<BTreeMap<String, String>>,
    /// Resource limits of the process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ulimits: Vec<Ulimit>,
    /// Where output goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_configuration: Option<LogConfiguration>,
    /// It routes the others' output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firelens_configuration: Option<FirelensConfiguration>,
    /// How its health is found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Restarts in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// `disabled`, if it was sent: the image's tag isn't pinned to a digest, which is how wharf
    /// works in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_consistency: Option<String>,
    /// Every capability and device, no confinement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// Standard input stays open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interactive: Option<bool>,
    /// A terminal as standard streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pseudo_terminal: Option<bool>,
    /// Nothing but loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_networking: Option<bool>,
    /// `no-new-privileges`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub docker_security_options: Vec<String>,
    /// Other containers by name, `name` or `name:alias`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// Host names with their addresses for /etc/hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<(String, String)>,
    /// Name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_servers: Vec<String>,
    /// Search domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search_domains: Vec<String>,
    /// Namespaced kernel parameters with their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub system_controls: Vec<(String, String)>,
    /// Capabilities, devices, init, shared memory, tmpfs, swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux_parameters: Option<LinuxParameters>,
    /// Volumes with their places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mount_points: Vec<MountPoint>,
    /// Containers whose mounts this one has, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes_from: Vec<VolumeFrom>,
    /// Members that were sent with a value that asks for nothing (`links: []`,
    /// `privileged: false`): they change nothing, but are described as they were sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_effect: Vec<String>,
}

impl ContainerDefinition {
    /// Whether its health is found out at all: `NONE` says that it isn't.
    pub fn has_health_check(&self) -> bool {
        let none = |check: &HealthCheck| check.command.first().is_some_and(|word| word == "NONE");
        self.health_check.as_ref().is_some_and(|check| !none(check))
    }
}

/// A placement constraint of a task definition, task or service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementConstraint {
    /// `distinctInstance` or `memberOf`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Cluster query language expression of memberOf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

/// One step of a placement strategy (ECS API `PlacementStrategy`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementStrategy {
    /// `random`, `spread` or `binpack`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Attribute, `instanceId`, `host`, `cpu` or `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// `runtimePlatform`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimePlatform {
    /// `X86_64` or `ARM64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_architecture: Option<String>,
    /// `LINUX`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operating_system_family: Option<String>,
}

/// The attribute of instances that can limit what a task writes.
pub const EPHEMERAL_STORAGE: &str = "wharf.capability.ephemeral-storage";

/// A registered task definition (ECS API `TaskDefinition`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskDefinition {
    /// Family name.
    pub family: Family,
    /// Revision.
    pub revision: u32,
    /// ACTIVE, INACTIVE or DELETE_IN_PROGRESS.
    pub status: TaskDefinitionStatus,
    /// Containers, at least one of them essential.
    pub containers: Vec<ContainerDefinition>,
    /// As sent; absent means bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<NetworkMode>,
    /// CPU units of the whole task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i64>,
    /// MiB of the whole task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// `requiresCompatibilities` as sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires_compatibilities: Vec<LaunchType>,
    /// What it may run on, worked out at registration.
    #[serde(default)]
    pub compatibilities: Vec<LaunchType>,
    /// Attributes that an instance must have, worked out at registration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires_attributes: Vec<String>,
    /// Constraints (memberOf).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placement_constraints: Vec<PlacementConstraint>,
    /// Architecture and operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_platform: Option<RuntimePlatform>,
    /// Role that containers assume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_role_arn: Option<String>,
    /// Role that the agent assumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_role_arn: Option<String>,
    /// Whose processes the containers see; each its own unless sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_mode: Option<PidMode>,
    /// Whose IPC resources the containers see; each its own unless sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipc_mode: Option<IpcMode>,
    /// Volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// What a task may write, GiB (`ephemeralStorage.sizeInGiB`); on FARGATE 20 unless sent, elsewhere
    /// as much as there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage_gib: Option<u32>,
    /// Members that were sent with a value that asks for nothing, described as they were sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_effect: Vec<String>,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// ARN of who registered it.
    pub registered_by: String,
    /// When it was deregistered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deregistered_at: Option<Timestamp>,
    /// When its deletion was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_requested_at: Option<Timestamp>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

impl TaskDefinition {
    /// Family and revision.
    pub fn key(&self) -> TaskDefinitionKey {
        TaskDefinitionKey { family: self.family.clone(), revision: self.revision }
    }

    /// The network mode in force: bridge unless another was sent.
    pub fn effective_network_mode(&self) -> NetworkMode {
        self.network_mode.unwrap_or(NetworkMode::Bridge)
    }

    /// The container called `name`.
    pub fn container(&self, name: &str) -> Option<&ContainerDefinition> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// What one task of it takes from an instance: the task's own sizes where it has them, else
    /// the sums over its containers (memoryReservation before memory), and fixed host ports.
    pub fn resources(&self, overrides: &TaskOverride) -> ResourceAmount {
        let container = |c: &ContainerDefinition| {
            let o = overrides.containers.iter().find(|o| o.name == c.name);
            let cpu = o.and_then(|o| o.cpu).unwrap_or(c.cpu);
            let reservation = o.and_then(|o| o.memory_reservation).or(c.memory_reservation);
            let memory = o.and_then(|o| o.memory).or(c.memory);
            (cpu, reservation.or(memory).unwrap_or(0))
        };
        let sums = self.containers.iter().map(container);
        let (cpu, memory) = sums.fold((0, 0), |(c, m), (cpu, memory)| (c + cpu, m + memory));
        ResourceAmount {
            cpu: overrides.cpu.or(self.cpu).unwrap_or(cpu),
            memory_mib: overrides.memory.or(self.memory).unwrap_or(memory),
            ports: self.fixed_host_ports(),
            network_interfaces: u32::from(self.effective_network_mode() == NetworkMode::Awsvpc),
            gpus: self.containers.iter().map(|c| self.gpus(c, overrides)).sum(),
            storage_gib: self.stated_storage_gib(overrides),
        }
    }

    /// What a task of it may write as somebody stated it, GiB.
    pub fn stated_storage_gib(&self, overrides: &TaskOverride) -> Option<u32> {
        overrides.ephemeral_storage_gib.or(self.ephemeral_storage_gib)
    }

    /// What a task may write where nobody stated it, GiB (ECS API `EphemeralStorage`: 20 on FARGATE).
    /// Placement doesn't count it: it takes no room before it is written to, and few tasks come near it.
    pub fn default_storage_gib(launch_type: LaunchType) -> Option<u32> {
        (launch_type == LaunchType::Fargate).then_some(20)
    }

    /// How many GPUs one of its containers gets.
    pub fn gpus(&self, container: &ContainerDefinition, overrides: &TaskOverride) -> u32 {
        let change = overrides.containers.iter().find(|o| o.name == container.name);
        change.and_then(|o| o.gpus).or(container.gpus).unwrap_or(0)
    }

    fn fixed_host_ports(&self) -> std::collections::BTreeSet<HostPort> {
        let mode = self.effective_network_mode();
        let mappings = self.containers.iter().flat_map(|c| &c.port_mappings);
        let port = |m: &PortMapping| match mode {
            NetworkMode::Bridge => m.host_port.filter(|p| *p != 0),
            NetworkMode::Host => Some(m.container_port),
            NetworkMode::Awsvpc | NetworkMode::None => None,
        };
        mappings.filter_map(|m| Some(HostPort { protocol: m.protocol, port: port(m)? })).collect()
    }
}

/// A family's latest revision: the record that makes revisions unique.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskDefinitionFamily {
    /// Family name.
    pub family: Family,
    /// The highest revision ever registered.
    pub latest_revision: u32,
}
