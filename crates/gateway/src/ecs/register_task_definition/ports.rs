//! Port mappings: what each network mode makes of them, and ports that are mapped twice.

use super::{Error, word};
use std::collections::{BTreeMap, BTreeSet};
use wharf_model::task_definition::PortMapping;
use wharf_model::{NetworkMode, TransportProtocol};
use wharf_wire::ecs::types;

/// The most ports of a range: each is held by a socket of its own.
const MAX_RANGE: u16 = 1000;

/// What the containers seen so far have taken.
#[derive(Debug, Default)]
pub(super) struct Taken {
    host_ports: BTreeSet<(TransportProtocol, u16)>,
    names: BTreeSet<String>,
    /// Ranges by their container and protocol.
    ranges: BTreeMap<(String, TransportProtocol), Vec<(u16, u16)>>,
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
    if let Some(text) = &sent.container_port_range {
        return range(container, sent, text, mode, taken);
    }
    let container_port = sent
        .container_port
        .and_then(|p| u16::try_from(p).ok())
        .filter(|p| *p != 0)
        .ok_or_else(|| setting("containerPort"))?;
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
    let host_port = Some(host_port);
    Ok(PortMapping { container_port, last_port: None, host_port, protocol, name, app_protocol })
}

/// `containerPortRange`: `first-last`, on host ports that the agent chooses (ECS API `PortMapping`).
fn range(
    container: &str,
    sent: &types::PortMapping,
    text: &str,
    mode: NetworkMode,
    taken: &mut Taken,
) -> Result<PortMapping, Error> {
    let setting = |member| Error::ContainerSetting { member, container: container.to_owned() };
    if mode == NetworkMode::Host {
        return Err(Error::NotInNetworkMode { member: "containerPortRange", mode: mode.as_str() });
    }
    if sent.container_port.is_some() {
        return Err(setting("containerPort"));
    }
    if sent.host_port.is_some() {
        return Err(setting("hostPort"));
    }
    let ends = text.split_once('-').and_then(|(first, last)| {
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
        Some((port(first)?, port(last)?))
    });
    let ends = ends.filter(|(first, last)| first < last && last - first < MAX_RANGE);
    let (first, last) = ends.ok_or_else(|| setting("containerPortRange"))?;
    let protocol = protocol(sent.protocol.as_ref())?;
    let key = (container.to_owned(), protocol);
    let ranges = taken.ranges.entry(key).or_default();
    if ranges.iter().any(|(from, to)| first <= *to && *from <= last) {
        return Err(setting("containerPortRange"));
    }
    ranges.push((first, last));
    if mode == NetworkMode::Awsvpc {
        // There the host's ports are the container's.
        for port in first..=last {
            if !taken.host_ports.insert((protocol, port)) {
                let protocol = protocol.as_str().to_uppercase();
                return Err(Error::HostPortTwice { protocol, port });
            }
        }
    }
    let (name, app_protocol) = name(sent, taken)?;
    let (last_port, host_port) = (Some(last), None);
    Ok(PortMapping { container_port: first, last_port, host_port, protocol, name, app_protocol })
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
