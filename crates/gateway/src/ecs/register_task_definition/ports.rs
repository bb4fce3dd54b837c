//! Port mappings: what each network mode makes of them, and ports that are mapped twice.

use super::{Error, word};
use std::collections::BTreeSet;
use wharf_model::task_definition::PortMapping;
use wharf_model::{NetworkMode, TransportProtocol};
use wharf_wire::ecs::types;

/// What the containers seen so far have taken.
#[derive(Debug, Default)]
pub(super) struct Taken {
    host_ports: BTreeSet<(TransportProtocol, u16)>,
    names: BTreeSet<String>,
}

/// The port mappings of one container with their defaults filled in.
pub(super) fn mappings(
    container: &str,
    sent: &[types::PortMapping],
    mode: NetworkMode,
    taken: &mut Taken,
) -> Result<Vec<PortMapping>, Error> {
    if mode == NetworkMode::None && !sent.is_empty() {
        return Err(Error::NotInNetworkMode { member: "portMappings", mode: mode.as_str() });
    }
    sent.iter().map(|mapping| one(container, mapping, mode, taken)).collect()
}

fn one(
    container: &str,
    sent: &types::PortMapping,
    mode: NetworkMode,
    taken: &mut Taken,
) -> Result<PortMapping, Error> {
    let setting = |member| Error::ContainerSetting { member, container: container.to_owned() };
    let container_port = match (sent.container_port, &sent.container_port_range) {
        // Ranges are refused by name later on; until then any port stands for one.
        (None, Some(_)) => 1,
        (port, _) => port
            .and_then(|p| u16::try_from(p).ok())
            .filter(|p| *p != 0)
            .ok_or_else(|| setting("containerPort"))?,
    };
    let sent_host_port =
        sent.host_port.map(|p| u16::try_from(p).map_err(|_| setting("hostPort"))).transpose()?;
    let protocol = protocol(sent.protocol.as_ref())?;
    let host_port = match mode {
        NetworkMode::Bridge | NetworkMode::None => sent_host_port.unwrap_or(0),
        NetworkMode::Host | NetworkMode::Awsvpc => match sent_host_port {
            Some(port) if port != container_port => return Err(Error::PortsDiffer(mode.as_str())),
            _ => container_port,
        },
    };
    if host_port != 0 && !taken.host_ports.insert((protocol, host_port)) {
        let protocol = protocol.as_str().to_uppercase();
        return Err(Error::HostPortTwice { protocol, port: host_port });
    }
    let (name, app_protocol) = name(sent, taken)?;
    Ok(PortMapping { container_port, host_port: Some(host_port), protocol, name, app_protocol })
}

fn protocol(sent: Option<&types::TransportProtocol>) -> Result<TransportProtocol, Error> {
    match sent {
        None | Some(types::TransportProtocol::Tcp) => Ok(TransportProtocol::Tcp),
        Some(types::TransportProtocol::Udp) => Ok(TransportProtocol::Udp),
        Some(types::TransportProtocol::Unknown(_)) => {
            Err(Error::NotAWord { member: "protocol", allowed: types::TransportProtocol::VALUES })
        }
    }
}

/// The mapping's name and application protocol: up to 64 lowercase letters, digits, `_` and `-`,
/// no hyphen first, unique in the task definition (ECS API `PortMapping$name`).
fn name(
    sent: &types::PortMapping,
    taken: &mut Taken,
) -> Result<(Option<String>, Option<String>), Error> {
    let app_protocol = match &sent.app_protocol {
        Some(protocol) => {
            let allowed = types::ApplicationProtocol::VALUES;
            Some(word("appProtocol", protocol.unknown(), allowed, protocol.as_str())?)
        }
        None => None,
    };
    let Some(name) = sent.name.clone() else {
        return match app_protocol {
            Some(_) => Err(Error::PortNameMissing),
            None => Ok((None, None)),
        };
    };
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if name.is_empty() || name.len() > 64 || name.starts_with('-') || !name.bytes().all(allowed) {
        return Err(Error::PortNameCharacters(name));
    }
    if !taken.names.insert(name.clone()) {
        return Err(Error::PortNameTwice(name));
    }
    Ok((Some(name), app_protocol))
}
