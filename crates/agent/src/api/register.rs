//! RegisterContainerInstance: what this host is and offers.

use wharf_model::resources::STORAGE;
use wharf_model::task_definition::EPHEMERAL_STORAGE;
use wharf_wire::ecs::types::{
    Attribute, PlatformDevice, PlatformDeviceType, RegisterContainerInstanceRequest, Resource,
};
use wharf_wire::ecs::{self};

use super::{EcsClient, Error};
use crate::gpu::Gpus;
use crate::options::AgentOptions;

/// Capabilities as Amazon's agent names them, of what this agent really does.
const CAPABILITIES: &[&str] = &[
    "ecs.capability.container-ordering",
    "ecs.capability.container-health-check",
    "ecs.capability.container-restart-policy",
    "ecs.capability.full-sync",
    "ecs.capability.task-eni",
    "ecs.capability.docker-plugin.local",
    "ecs.capability.pid-ipc-namespace-sharing",
    "com.amazonaws.ecs.capability.privileged-container",
    "com.amazonaws.ecs.capability.logging-driver.json-file",
    "com.amazonaws.ecs.capability.logging-driver.local",
    "com.amazonaws.ecs.capability.logging-driver.none",
    "com.amazonaws.ecs.capability.logging-driver.awslogs",
    "com.amazonaws.ecs.capability.logging-driver.awsfirelens",
    "com.amazonaws.ecs.capability.logging-driver.syslog",
    "com.amazonaws.ecs.capability.logging-driver.journald",
    "com.amazonaws.ecs.capability.logging-driver.fluentd",
    "ecs.capability.firelens.fluentbit",
    "ecs.capability.firelens.fluentd",
    "ecs.capability.firelens.options.config.file",
    "ecs.capability.execution-role-awslogs",
    "ecs.capability.secrets.ssm.environment-variables",
    "ecs.capability.secrets.ssm.bootstrap.log-driver",
    "ecs.capability.secrets.asm.environment-variables",
    "ecs.capability.secrets.asm.bootstrap.log-driver",
    "ecs.capability.private-registry-authentication.secretsmanager",
    "com.amazonaws.ecs.capability.task-iam-role",
    "com.amazonaws.ecs.capability.task-iam-role-network-host",
    "ecs.capability.task-cpu-mem-limit",
    "ecs.capability.network.awsvpc",
    "ecs.capability.network.container-port-range",
    "ecs.capability.external",
];
/// The Docker API versions whose features task definitions ask for by these names.
const DOCKER_API_MINORS: std::ops::RangeInclusive<u32> = 17..=32;

/// What the control plane answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The container instance's ARN.
    pub container_instance_arn: String,
    /// The availability zone that the control plane put it in.
    pub availability_zone: Option<String>,
}

/// Why the agent can't register.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The call failed.
    #[error(transparent)]
    Api(#[from] Error),
    /// The host's resources couldn't be read.
    #[error("reading the host's memory and disk: {0}")]
    Host(std::io::Error),
    /// The answer doesn't hold an attribute as it was sent: Amazon's agent ends here, too.
    #[error("the control plane didn't take the attribute {0}")]
    Attribute(String),
    /// The answer has no ARN.
    #[error("the control plane answered without a container instance ARN")]
    NoArn,
}

impl RegisterError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Api(error) if error.is_transient())
    }
}

/// Registers this host, or registers it again under the ARN that it had.
pub async fn register(
    client: &EcsClient,
    options: &AgentOptions,
    container_instance_arn: Option<String>,
) -> Result<Registration, RegisterError> {
    let first = container_instance_arn.is_none();
    let attributes = attributes(options, first);
    let request = RegisterContainerInstanceRequest {
        cluster: Some(options.cluster.clone()),
        container_instance_arn,
        attributes: Some(attributes.clone()),
        instance_identity_document: Some(String::new()),
        instance_identity_document_signature: Some(String::new()),
        platform_devices: Some(gpus(options)).filter(|gpus| !gpus.is_empty()),
        total_resources: Some(resources(options).map_err(RegisterError::Host)?),
        ..Default::default()
    };
    let answer = client.call::<ecs::operation::RegisterContainerInstance>(request).await?;
    let instance = answer.container_instance.unwrap_or_default();
    let echoed = instance.attributes.unwrap_or_default();
    let value = |attribute: &Attribute| attribute.value.clone().filter(|value| !value.is_empty());
    for sent in &attributes {
        let same = |other: &&Attribute| other.name == sent.name && value(other) == value(sent);
        if !echoed.iter().any(|other| same(&other)) {
            return Err(RegisterError::Attribute(sent.name.clone().unwrap_or_default()));
        }
    }
    let zone = echoed.iter().find(|a| a.name.as_deref() == Some("ecs.availability-zone"));
    Ok(Registration {
        container_instance_arn: instance
            .container_instance_arn
            .filter(|arn| !arn.is_empty())
            .ok_or(RegisterError::NoArn)?,
        availability_zone: zone.and_then(|attribute| attribute.value.clone()),
    })
}

/// CPU architecture in ECS's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        other => other,
    }
}

fn attributes(options: &AgentOptions, first: bool) -> Vec<Attribute> {
    let attribute = |name: &str, value: Option<&str>| Attribute {
        name: Some(name.to_owned()),
        value: value.map(str::to_owned),
        ..Default::default()
    };
    let mut list = Vec::new();
    // Later changes of custom attributes are made through the API and must not be undone.
    if first {
        list.extend(options.attributes.iter().map(|(name, value)| attribute(name, Some(value))));
    }
    list.extend(CAPABILITIES.iter().map(|name| attribute(name, None)));
    if options.object_store.is_some() {
        list.push(attribute("ecs.capability.env-files.s3", None));
        list.push(attribute("ecs.capability.firelens.options.config.s3", None));
    }
    if wharf_runtime::can_limit_storage() {
        list.push(attribute(EPHEMERAL_STORAGE, None));
    }
    if wharf_runtime::has_apparmor() {
        list.push(attribute("com.amazonaws.ecs.capability.apparmor", None));
    }
    for minor in DOCKER_API_MINORS {
        let name = format!("com.amazonaws.ecs.capability.docker-remote-api.1.{minor}");
        list.push(attribute(&name, None));
    }
    list.push(attribute("ecs.os-type", Some("linux")));
    list.push(attribute("ecs.os-family", Some("LINUX")));
    list.push(attribute("ecs.cpu-architecture", Some(architecture())));
    if let Some(zone) = &options.availability_zone {
        list.push(attribute("ecs.availability-zone", Some(zone)));
    }
    list
}

fn gpus(options: &AgentOptions) -> Vec<PlatformDevice> {
    let gpu = |id: &str| PlatformDevice {
        id: Some(id.to_owned()),
        r#type: Some(PlatformDeviceType::Gpu),
    };
    Gpus::find(&options.gpu_devices).ids().map(gpu).collect()
}

fn resources(options: &AgentOptions) -> std::io::Result<Vec<Resource>> {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = total_memory_mib()?.saturating_sub(options.reserved_memory_mib);
    let integer = |name: &str, value: u64| Resource {
        name: Some(name.to_owned()),
        r#type: Some("INTEGER".to_owned()),
        integer_value: Some(i32::try_from(value).unwrap_or(i32::MAX)),
        ..Default::default()
    };
    let ports = |name: &str, ports: &[u16]| Resource {
        name: Some(name.to_owned()),
        r#type: Some("STRINGSET".to_owned()),
        string_set_value: Some(ports.iter().map(u16::to_string).collect()),
        ..Default::default()
    };
    let mut all = vec![
        integer("CPU", cpus as u64 * 1024),
        integer("MEMORY", memory),
        ports("PORTS", &options.reserved_ports),
        ports("PORTS_UDP", &options.reserved_ports_udp),
    ];
    if wharf_runtime::can_limit_storage() {
        all.push(integer(STORAGE, file_system_gib(&options.data_dir)?));
    }
    Ok(all)
}

/// What the file system of tasks' files holds, whether free or not: files of others come and go, and
/// tasks seldom fill what they were promised.
fn file_system_gib(path: &std::path::Path) -> std::io::Result<u64> {
    let of = rustix::fs::statvfs(path)?;
    Ok(of.f_blocks.saturating_mul(of.f_frsize) >> 30)
}

/// `MemTotal` of /proc/meminfo in MiB.
fn total_memory_mib() -> std::io::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib / 1024)
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "no MemTotal"))
}
