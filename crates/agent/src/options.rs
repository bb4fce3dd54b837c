//! What an agent is started with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use wharf_image::RegistryOptions;
use wharf_runtime::spec::Ipv4Cidr;
use wharf_runtime::{OciRuntime, Zygote};

use crate::task::Secret;

/// Ports that tasks can't have unless told otherwise (`ECS_RESERVED_PORTS`), as Amazon's agent.
pub const DEFAULT_RESERVED_PORTS: [u16; 5] = [22, 2375, 2376, 51678, 51679];

/// The agent's own key: signs API calls and websocket upgrades. It never reaches a task.
#[derive(Clone)]
pub struct AgentCredentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: Secret,
    /// The session token, for temporary keys.
    pub session_token: Option<Secret>,
}

/// The S3-compatible store that environment files come from.
#[derive(Clone)]
pub struct ObjectStore {
    /// Its endpoint: `https://s3.us-east-1.amazonaws.com`, `http://127.0.0.1:9000`.
    pub endpoint: String,
    /// The key that signs requests; without one they aren't signed.
    pub credentials: Option<AgentCredentials>,
}

/// Options of an [`Agent`](crate::Agent).
#[derive(Clone)]
pub struct AgentOptions {
    /// The control plane's endpoint: `http://127.0.0.1:4580`, `https://…`.
    pub server: String,
    /// A PEM file of further certificate authorities for `https`; the system's are always used.
    pub ca_file: Option<PathBuf>,
    /// The cluster's name or ARN, as given to every call.
    pub cluster: String,
    /// The region that signatures name.
    pub region: String,
    /// Told as `ecs.availability-zone`; the control plane chooses one when absent.
    pub availability_zone: Option<String>,
    /// The agent's key.
    pub credentials: AgentCredentials,
    /// Where everything is kept: `agent/`, `images/`, `runtime/` and `volumes/` in it.
    pub data_dir: PathBuf,
    /// 1 to 8 lower-case letters and digits that tell several wharfs on one host apart.
    pub instance: String,
    /// The OCI runtime.
    pub oci_runtime: OciRuntime,
    /// Forks the shims.
    pub zygote: Zygote,
    /// The built-in VPC's block.
    pub vpc_cidr: Ipv4Cidr,
    /// Memory that tasks can't have, in MiB (`ECS_RESERVED_MEMORY`).
    pub reserved_memory_mib: u64,
    /// TCP ports that tasks can't have.
    pub reserved_ports: Vec<u16>,
    /// UDP ports that tasks can't have.
    pub reserved_ports_udp: Vec<u16>,
    /// Custom attributes (`ECS_INSTANCE_ATTRIBUTES`).
    pub attributes: BTreeMap<String, String>,
    /// Containers' logs of launch type EC2 go by the task's execution role
    /// (`ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE`), not by the agent's own key.
    pub awslogs_execution_role_override: bool,
    /// Takes an OCI runtime that is older than its known holes.
    pub allow_old_runtime: bool,
    /// How registries are reached.
    pub registry: RegistryOptions,
    /// Where environment files come from.
    pub object_store: Option<ObjectStore>,
    /// Where GPUs' device files are looked for.
    pub gpu_devices: PathBuf,
    /// OCI runtimes for tasks of these launch types instead of [`AgentOptions::oci_runtime`].
    pub runtime_classes: BTreeMap<String, OciRuntime>,
}

impl AgentOptions {
    /// Options with defaults for everything that has one.
    pub fn new(
        server: impl Into<String>,
        cluster: impl Into<String>,
        credentials: AgentCredentials,
        data_dir: impl Into<PathBuf>,
        zygote: Zygote,
    ) -> Result<Self, wharf_runtime::spec::Error> {
        Ok(Self {
            server: server.into(),
            ca_file: None,
            cluster: cluster.into(),
            region: "us-east-1".to_owned(),
            availability_zone: None,
            credentials,
            data_dir: data_dir.into(),
            instance: "wharf".to_owned(),
            oci_runtime: OciRuntime::Embedded,
            zygote,
            vpc_cidr: "10.113.0.0/16".parse()?,
            reserved_memory_mib: 0,
            reserved_ports: DEFAULT_RESERVED_PORTS.to_vec(),
            reserved_ports_udp: Vec::new(),
            attributes: BTreeMap::new(),
            awslogs_execution_role_override: false,
            allow_old_runtime: false,
            registry: RegistryOptions::default(),
            object_store: None,
            gpu_devices: PathBuf::from("/dev"),
            runtime_classes: BTreeMap::new(),
        })
    }
}
