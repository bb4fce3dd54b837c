//! From the wire: an ACS `Task` becomes a [`Task`], or is refused as a whole.
//!
//! Members that can't be carried out are refused by name; nothing is accepted and ignored that
//! would change what the containers do.

use std::net::Ipv4Addr;

use wharf_model::own_volume::{Access, OwnVolume};
use wharf_runtime::spec::{Dns, Eni, IpcMode, PidMode, SandboxId};
use wharf_wire::acs;

use super::container::{self, Volumes};
use super::{FileAccess, Interface, Network, RoleCredentials, Secret, Task, VolumeSource};
use crate::engine::depends;

/// The most containers of a task (ECS quota).
const MAX_CONTAINERS: usize = 10;
/// More than ECS has: as bytes it is far from overflow.
const MAX_STORAGE_GIB: u64 = 1 << 20;

/// Why a task was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A needed member is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A member has a value that it can't have.
    #[error("{member}: {why}")]
    Invalid {
        /// The member's path.
        member: String,
        /// What is wrong.
        why: String,
    },
    /// A member asks for something that this agent doesn't do.
    #[error("{0} is not supported by this agent")]
    Unsupported(String),
    /// `dependsOn` can't be carried out.
    #[error(transparent)]
    Dependencies(#[from] depends::Error),
}

impl Error {
    pub(super) fn invalid(member: impl Into<String>, why: impl ToString) -> Self {
        Self::Invalid { member: member.into(), why: why.to_string() }
    }
}

/// The task's id: the last part of its ARN.
pub fn task_id(arn: &str) -> Result<SandboxId, Error> {
    let id = arn.rsplit('/').next().unwrap_or_default();
    SandboxId::new(id).map_err(|error| Error::invalid("arn", error))
}

/// Checks a task and takes over what it says.
pub fn parse(wire: &acs::Task) -> Result<Task, Error> {
    let arn = wire.arn.clone().ok_or(Error::Missing("arn"))?;
    refuse_unsupported(wire)?;
    let network = network(wire)?;
    let volumes = volumes(wire)?;
    let wire_containers = wire.containers.as_deref().unwrap_or_default();
    if wire_containers.is_empty() || wire_containers.len() > MAX_CONTAINERS {
        let why =
            format!("{} containers, 1 to {MAX_CONTAINERS} are possible", wire_containers.len());
        return Err(Error::invalid("containers", why));
    }
    let mut containers = Vec::with_capacity(wire_containers.len());
    for wire in wire_containers {
        let container = container::parse(wire, &volumes, &network)?;
        if containers.iter().any(|other: &super::Container| other.name == container.name) {
            return Err(Error::invalid("containers", format!("{} occurs twice", container.name)));
        }
        containers.push(container);
    }
    gpus(wire, &mut containers)?;
    container::take_volumes_from(wire_containers, &mut containers)?;
    container::order_router(&mut containers)?;
    depends::check(&containers)?;
    let cpu = wire.cpu.filter(|cpu| *cpu > 0.0);
    if cpu.is_some_and(|cpu| !cpu.is_finite() || cpu > 1e5) {
        return Err(Error::invalid("cpu", "out of range"));
    }
    Ok(Task {
        id: task_id(&arn)?,
        arn,
        family: wire.family.clone().ok_or(Error::Missing("family"))?,
        version: wire.version.clone().ok_or(Error::Missing("version"))?,
        cluster_arn: wire.task_cluster_arn.clone(),
        service_name: wire.service_name.clone(),
        group: wire.group.clone(),
        launch_type: wire.launch_type.clone(),
        cpu,
        memory_mib: positive("memory", wire.memory)?,
        dns: dns(wire),
        network,
        ephemeral_storage_gib: positive("ephemeralStorageGiB", wire.ephemeral_storage_gib)?
            .map(|gib| gib.min(MAX_STORAGE_GIB)),
        pid: pid_mode(wire.pid_mode.as_deref())?,
        ipc: ipc_mode(wire.ipc_mode.as_deref())?,
        containers,
        role_credentials: credentials("roleCredentials", wire.role_credentials.as_ref())?,
        execution_role_credentials: credentials(
            "executionRoleCredentials",
            wire.execution_role_credentials.as_ref(),
        )?,
    })
}

/// The type of an association that gives a GPU.
const GPU: &str = "gpu";

/// Which GPUs are whose.
fn gpus(wire: &acs::Task, containers: &mut [super::Container]) -> Result<(), Error> {
    for association in wire.associations.iter().flatten() {
        let id = association.name.clone().filter(|id| !id.is_empty());
        let id = id.ok_or(Error::Missing("associations[].name"))?;
        for name in association.containers.iter().flatten() {
            let container = containers.iter_mut().find(|container| container.name == *name);
            let missing = || Error::invalid("associations", format!("no container {name:?}"));
            container.ok_or_else(missing)?.gpus.push(id.clone());
        }
    }
    Ok(())
}

fn pid_mode(word: Option<&str>) -> Result<PidMode, Error> {
    match word.unwrap_or_default() {
        "" => Ok(PidMode::Private),
        "task" => Ok(PidMode::Task),
        "host" => Ok(PidMode::Host),
        other => Err(Error::invalid("pidMode", format!("{other:?}"))),
    }
}

fn ipc_mode(word: Option<&str>) -> Result<IpcMode, Error> {
    match word.unwrap_or_default() {
        "" => Ok(IpcMode::Private),
        "task" => Ok(IpcMode::Task),
        "host" => Ok(IpcMode::Host),
        "none" => Ok(IpcMode::None),
        other => Err(Error::invalid("ipcMode", format!("{other:?}"))),
    }
}

fn refuse_unsupported(wire: &acs::Task) -> Result<(), Error> {
    let unsupported = |member: &str| Err(Error::Unsupported(member.to_owned()));
    if wire.proxy_configuration.is_some() {
        return unsupported("proxyConfiguration");
    }
    for association in wire.associations.iter().flatten() {
        let kind = association.kind.as_deref().unwrap_or_default();
        if kind != GPU {
            return Err(Error::Unsupported(format!("association type {kind:?}")));
        }
    }
    if wire.enable_fault_injection == Some(true) {
        return unsupported("enableFaultInjection");
    }
    if let Some(attachment) = wire.attachments.iter().flatten().next() {
        let kind = attachment.attachment_type.as_deref().unwrap_or_default();
        return Err(Error::Unsupported(format!("attachment type {kind:?}")));
    }
    Ok(())
}

/// An optional number that must not be negative; 0 counts as absent, as in Amazon's agent.
pub(super) fn positive(member: &str, value: Option<i64>) -> Result<Option<u64>, Error> {
    match value {
        None | Some(0) => Ok(None),
        Some(value) => match u64::try_from(value) {
            // Far beyond any machine, and far from overflow once it is bytes.
            Ok(value) if value <= 1 << 43 => Ok(Some(value)),
            _ => Err(Error::invalid(member, format!("{value} is out of range"))),
        },
    }
}

fn network(wire: &acs::Task) -> Result<Network, Error> {
    let interfaces = wire.elastic_network_interfaces.as_deref().unwrap_or_default();
    match wire.network_mode.as_deref().unwrap_or_default() {
        "" if !interfaces.is_empty() => Ok(Network::Awsvpc(interface(&interfaces[0])?)),
        "awsvpc" => match interfaces {
            [] => Err(Error::Missing("elasticNetworkInterfaces")),
            [one] => Ok(Network::Awsvpc(interface(one)?)),
            _ => Err(Error::Unsupported("more than one network interface".to_owned())),
        },
        "" | "bridge" => Ok(Network::Bridge),
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        other => Err(Error::invalid("networkMode", format!("{other:?} is unknown"))),
    }
}

fn interface(wire: &acs::ElasticNetworkInterface) -> Result<Interface, Error> {
    let protocol = wire.interface_association_protocol.as_deref().unwrap_or("default");
    if protocol != "default" {
        return Err(Error::Unsupported(format!("interfaceAssociationProtocol {protocol}")));
    }
    let mac = wire.mac_address.as_deref().ok_or(Error::Missing("macAddress"))?;
    let mac = mac.parse().map_err(|error| Error::invalid("macAddress", error))?;
    let addresses = wire.ipv4_addresses.as_deref().unwrap_or_default();
    let primary = addresses.iter().find(|address| address.primary == Some(true));
    let address = primary.or(addresses.first()).ok_or(Error::Missing("ipv4Addresses"))?;
    let address = address.private_address.as_deref().ok_or(Error::Missing("privateAddress"))?;
    let address = ipv4("privateAddress", address)?;
    let gateway = wire.subnet_gateway_ipv4_address.as_deref();
    let gateway = gateway.ok_or(Error::Missing("subnetGatewayIpv4Address"))?;
    let member = "subnetGatewayIpv4Address";
    let (gateway, prefix) =
        gateway.split_once('/').ok_or_else(|| Error::invalid(member, "not address/prefix"))?;
    let prefix: u8 = prefix.parse().map_err(|error| Error::invalid(member, error))?;
    if !(8..=30).contains(&prefix) {
        return Err(Error::invalid(member, "the prefix is out of range"));
    }
    let eni = Eni {
        mac,
        address,
        prefix,
        gateway: ipv4(member, gateway)?,
        private_dns_name: wire.private_dns_name.clone().filter(|name| !name.is_empty()),
    };
    Ok(Interface { eni, attachment_arn: wire.attachment_arn.clone() })
}

pub(super) fn ipv4(member: &str, text: &str) -> Result<Ipv4Addr, Error> {
    text.parse().map_err(|error| Error::invalid(member, format!("{text:?}: {error}")))
}

/// Name servers of the interface. IPv6 ones are left out: containers have no IPv6.
fn dns(wire: &acs::Task) -> Dns {
    let interface = wire.elastic_network_interfaces.iter().flatten().next();
    let list = |list: Option<&Vec<String>>| list.cloned().unwrap_or_default();
    let servers = list(interface.and_then(|i| i.domain_name_servers.as_ref()));
    Dns {
        servers: servers.iter().filter_map(|server| server.parse().ok()).collect(),
        search: list(interface.and_then(|i| i.domain_name.as_ref())),
        options: Vec::new(),
        resolver: None,
    }
}

fn volumes(wire: &acs::Task) -> Result<Volumes, Error> {
    let mut volumes = Volumes::new();
    for volume in wire.volumes.iter().flatten() {
        let name = volume.name.clone().ok_or(Error::Missing("volumes[].name"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > 255 || !name.chars().all(plain) {
            return Err(Error::invalid("volumes[].name", format!("{name:?}")));
        }
        let host = volume.host.as_ref().and_then(|host| host.source_path.clone());
        let source = match volume.kind.as_deref().unwrap_or("host") {
            "" | "host" => match host.filter(|path| !path.is_empty()) {
                Some(path) if path.starts_with('/') => VolumeSource::Host(path),
                Some(path) => {
                    return Err(Error::invalid("sourcePath", format!("{path:?} is not absolute")));
                }
                None => VolumeSource::Task,
            },
            "docker" => docker_volume(volume.docker_volume_configuration.as_ref())?,
            other => return Err(Error::Unsupported(format!("volume type {other:?}"))),
        };
        volumes.insert(name, source);
    }
    Ok(volumes)
}

fn docker_volume(wire: Option<&acs::DockerVolumeConfiguration>) -> Result<VolumeSource, Error> {
    let Some(wire) = wire else { return Ok(VolumeSource::Task) };
    if let Some(own) = OwnVolume::parse(wire.driver.as_deref(), wire.driver_opts.as_ref()) {
        let member = "dockerVolumeConfiguration.driverOpts";
        return Ok(own_volume(own.map_err(|error| Error::invalid(member, error))?));
    }
    let driver = wire.driver.as_deref().unwrap_or("local");
    if !matches!(driver, "" | "local") {
        return Err(Error::Unsupported(format!("volume driver {driver:?}")));
    }
    let options = wire.driver_opts.as_ref().filter(|options| !options.is_empty());
    if let Some(options) = options {
        return local_volume(options, wire.scope.as_deref() == Some("shared"));
    }
    match wire.scope.as_deref().unwrap_or("task") {
        "" | "task" => Ok(VolumeSource::Task),
        "shared" if wire.autoprovision == Some(true) => Ok(VolumeSource::Shared),
        "shared" => Ok(VolumeSource::SharedExisting),
        other => Err(Error::invalid("dockerVolumeConfiguration.scope", format!("{other:?}"))),
    }
}

/// A volume of a driver of wharf's own.
fn own_volume(volume: OwnVolume) -> VolumeSource {
    let access =
        |access: Access| FileAccess { mode: access.mode, uid: access.uid, gid: access.gid };
    match volume {
        OwnVolume::File { path, content, access: of } => {
            VolumeSource::File { path, content, access: access(of) }
        }
        OwnVolume::Secrets { files, access: of } => {
            VolumeSource::Secrets { files, access: access(of) }
        }
    }
}

/// A volume of docker's local driver with options: memory, or a directory of the host.
fn local_volume(options: &acs::StringMap, shared: bool) -> Result<VolumeSource, Error> {
    let text = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
    let unsupported = |what: &str| {
        Err(Error::Unsupported(format!("dockerVolumeConfiguration.driverOpts {what}")))
    };
    let words: Vec<&str> = text("o").split(',').filter(|word| !word.is_empty()).collect();
    let has = |word: &str| words.contains(&word);
    match text("type") {
        "tmpfs" if shared => unsupported("of type tmpfs with scope shared"),
        "tmpfs" => {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '=' | '_' | '%');
            match words.iter().all(|word| word.contains('=') && word.chars().all(plain)) {
                true => Ok(VolumeSource::Memory(words.join(","))),
                false => unsupported(text("o")),
            }
        }
        "none" | "bind" | "" if has("bind") || has("rbind") => {
            let path = text("device").to_owned();
            match path.starts_with('/') && !path.contains('\0') {
                true => Ok(VolumeSource::Directory { path, read_only: has("ro") }),
                false => Err(Error::invalid("driverOpts.device", format!("{path:?}"))),
            }
        }
        kind => unsupported(&format!("of type {kind:?}")),
    }
}

/// Takes credentials over; all members but the scope are needed.
pub fn credentials(
    member: &'static str,
    wire: Option<&acs::IAMRoleCredentials>,
) -> Result<Option<RoleCredentials>, Error> {
    let Some(wire) = wire else { return Ok(None) };
    let id = wire.credentials_id.clone().filter(|id| !id.is_empty());
    Ok(Some(RoleCredentials {
        id: Secret::new(id.ok_or_else(|| Error::invalid(member, "credentialsId is missing"))?),
        role_arn: wire.role_arn.clone().unwrap_or_default(),
        access_key_id: wire.access_key_id.clone().unwrap_or_default(),
        secret_access_key: Secret::new(wire.secret_access_key.clone().unwrap_or_default()),
        session_token: Secret::new(wire.session_token.clone().unwrap_or_default()),
        expiration: wire.expiration.clone().unwrap_or_default(),
    }))
}
