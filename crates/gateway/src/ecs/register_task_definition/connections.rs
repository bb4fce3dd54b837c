//! How a container finds others: links, names in /etc/hosts, name servers.

use super::{Error, containers};
use std::net::Ipv4Addr;
use wharf_model::{ContainerDefinition, NetworkMode};
use wharf_wire::ecs::types;

/// Refuses what doesn't go with the network mode.
pub(super) fn check_mode(
    sent: &types::ContainerDefinition,
    mode: NetworkMode,
) -> Result<(), Error> {
    let awsvpc = mode == NetworkMode::Awsvpc;
    let some = |list: Option<usize>| list.is_some_and(|length| length > 0);
    let refused = [
        ("hostname", awsvpc && sent.hostname.is_some()),
        ("links", mode != NetworkMode::Bridge && some(sent.links.as_ref().map(Vec::len))),
        ("extraHosts", awsvpc && some(sent.extra_hosts.as_ref().map(Vec::len))),
        ("disableNetworking", awsvpc && sent.disable_networking == Some(true)),
    ];
    match refused.iter().find(|(_, refused)| *refused) {
        Some((member, _)) => Err(Error::NotInNetworkMode { member, mode: mode.as_str() }),
        None => Ok(()),
    }
}

/// `links` as sent: `name` or `name:alias`.
pub(super) fn links(container: &str, sent: &[String]) -> Result<Vec<String>, Error> {
    let good = |link: &String| {
        let (name, alias) = split(link);
        !name.is_empty() && !alias.is_empty() && containers::is_name(name) && is_host_name(alias)
    };
    match sent.iter().all(good) {
        true => Ok(sent.to_vec()),
        false => {
            let container = container.to_owned();
            Err(Error::ContainerSetting { member: "links", container })
        }
    }
}

fn split(link: &str) -> (&str, &str) {
    link.split_once(':').unwrap_or((link, link))
}

/// Every link leads to another container of the task, and none in a circle.
pub(super) fn check_links(containers: &[ContainerDefinition]) -> Result<(), Error> {
    let targets = |container: &ContainerDefinition| {
        container.links.iter().map(|link| split(link).0.to_owned()).collect::<Vec<_>>()
    };
    for name in containers.iter().flat_map(targets) {
        if !containers.iter().any(|container| container.name == name) {
            return Err(Error::UnknownContainer { member: "links", name });
        }
    }
    let mut left: Vec<&ContainerDefinition> = containers.iter().collect();
    while !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|container| container.name.as_str()).collect();
        let waits = |container: &&ContainerDefinition| {
            let depends = container.depends_on.iter().map(|on| on.container_name.clone());
            targets(container).into_iter().chain(depends).any(|on| names.contains(&on.as_str()))
        };
        let rest: Vec<_> = left.iter().copied().filter(waits).collect();
        if rest.len() == left.len() {
            return Err(Error::DependencyCycle);
        }
        left = rest;
    }
    Ok(())
}

/// `extraHosts`.
pub(super) fn extra_hosts(
    container: &str,
    sent: &[types::HostEntry],
) -> Result<Vec<(String, String)>, Error> {
    let one = |entry: &types::HostEntry| {
        let name = entry.hostname.clone().ok_or(Error::Required("HostEntry.hostname"))?;
        let address = entry.ip_address.clone().ok_or(Error::Required("HostEntry.ipAddress"))?;
        match is_host_name(&name) && is_address(&address) {
            true => Ok((name, address)),
            false => Err(setting(container, "extraHosts")),
        }
    };
    sent.iter().map(one).collect()
}

/// `dnsServers`.
pub(super) fn dns_servers(container: &str, sent: &[String]) -> Result<Vec<String>, Error> {
    match sent.iter().all(|server| is_address(server)) {
        true => Ok(sent.to_vec()),
        false => Err(setting(container, "dnsServers")),
    }
}

/// `dnsSearchDomains`.
pub(super) fn dns_search_domains(container: &str, sent: &[String]) -> Result<Vec<String>, Error> {
    match sent.iter().all(|domain| domain == "." || is_host_name(domain)) {
        true => Ok(sent.to_vec()),
        false => Err(setting(container, "dnsSearchDomains")),
    }
}

fn setting(container: &str, member: &'static str) -> Error {
    Error::ContainerSetting { member, container: container.to_owned() }
}

/// What a line of /etc/hosts and resolv.conf can hold.
fn is_host_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=253).contains(&name.len()) && name.bytes().all(plain)
}

/// Containers have IPv4 alone.
fn is_address(address: &str) -> bool {
    address.parse::<Ipv4Addr>().is_ok()
}
