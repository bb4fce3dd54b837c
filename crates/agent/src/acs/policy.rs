//! A message about networks and security groups, in the runtime's terms.

use std::net::Ipv4Addr;

use wharf_runtime::net::policy::{Group, GroupId, Network, Peer, Policy, Rule, Traffic};
use wharf_wire::acs::{NetworkPolicyMessage, PolicyGroup, PolicyNetwork, PolicyRule};

/// Whether a message changes anything of it: one may tell of names alone.
pub(super) fn concerns(message: &NetworkPolicyMessage) -> bool {
    message.complete == Some(true)
        || message.networks.is_some()
        || message.groups.is_some()
        || message.interfaces.iter().flatten().next().is_some()
        || message.removed_addresses.iter().flatten().next().is_some()
}

/// Lays a message over what is known. What can't be understood allows nothing.
pub(super) fn apply(policy: &mut Policy, message: &NetworkPolicyMessage) {
    if message.complete == Some(true) {
        *policy = Policy::default();
    }
    if let Some(networks) = &message.networks {
        policy.networks = networks.iter().filter_map(network).collect();
    }
    if let Some(groups) = &message.groups {
        policy.groups = groups.iter().filter_map(group).collect();
    }
    for address in message.removed_addresses.iter().flatten() {
        if let Ok(address) = address.parse::<Ipv4Addr>() {
            policy.interfaces.remove(&address);
        }
    }
    for interface in message.interfaces.iter().flatten() {
        let address = interface.address.as_deref().and_then(|a| a.parse::<Ipv4Addr>().ok());
        let Some(address) = address else { continue };
        let groups = interface.groups.iter().flatten().filter_map(|id| GroupId::new(id));
        policy.interfaces.insert(address, groups.collect());
    }
}

fn network(wire: &PolicyNetwork) -> Option<Network> {
    let internet = wire.internet_cidrs.iter().flatten().filter_map(|cidr| cidr.parse().ok());
    Some(Network { cidr: wire.cidr.as_deref()?.parse().ok()?, internet: internet.collect() })
}

fn group(wire: &PolicyGroup) -> Option<(GroupId, Group)> {
    let rules = |list: &Option<Vec<PolicyRule>>| list.iter().flatten().filter_map(rule).collect();
    let group = Group { ingress: rules(&wire.ingress), egress: rules(&wire.egress) };
    Some((GroupId::new(wire.id.as_deref()?)?, group))
}

fn rule(wire: &PolicyRule) -> Option<Rule> {
    let peer = match (&wire.cidr, &wire.group) {
        (Some(cidr), None) => Peer::Cidr(cidr.parse().ok()?),
        (None, Some(id)) => Peer::Group(GroupId::new(id)?),
        _ => return None,
    };
    let port = |port: Option<i64>| u16::try_from(port?).ok();
    // -1 is every type, or every code.
    let icmp = |value: Option<i64>| u8::try_from(value.unwrap_or(-1)).ok();
    let traffic = match wire.protocol.as_deref()? {
        "-1" => Traffic::All,
        "tcp" => Traffic::Tcp(port(wire.from_port)?, port(wire.to_port)?),
        "udp" => Traffic::Udp(port(wire.from_port)?, port(wire.to_port)?),
        "icmp" => Traffic::Icmp(icmp(wire.from_port), icmp(wire.to_port)),
        number => Traffic::Protocol(number.parse().ok()?),
    };
    Some(Rule { traffic, peer })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_wire::acs::PolicyInterface;

    #[test]
    fn messages_are_laid_over_what_is_known() {
        let text = |t: &str| Some(t.to_owned());
        let interface = |address: &str, groups: &[&str]| PolicyInterface {
            address: text(address),
            groups: Some(groups.iter().map(|g| (*g).to_owned()).collect()),
        };
        let rule = |protocol: &str, from, to, cidr| PolicyRule {
            protocol: text(protocol),
            from_port: from,
            to_port: to,
            cidr,
            group: None,
        };
        let any = || text("0.0.0.0/0");
        let names = NetworkPolicyMessage {
            interfaces: Some(Vec::new()),
            names: Some(Vec::new()),
            ..NetworkPolicyMessage::default()
        };
        assert!(!concerns(&names));
        let first = NetworkPolicyMessage {
            complete: Some(true),
            groups: Some(vec![PolicyGroup {
                id: text("sg-a"),
                ingress: Some(vec![
                    rule("tcp", Some(80), Some(90), any()),
                    rule("icmp", Some(8), Some(-1), any()),
                    rule("tcp", Some(80), Some(70000), any()),
                    rule("47", None, None, any()),
                    rule("-1", None, None, text("nonsense")),
                ]),
                egress: None,
            }]),
            interfaces: Some(vec![interface("10.0.0.4", &["sg-a"])]),
            ..NetworkPolicyMessage::default()
        };
        let mut policy = Policy::default();
        apply(&mut policy, &first);
        let group = policy.groups.values().next().unwrap();
        let traffic: Vec<Traffic> = group.ingress.iter().map(|r| r.traffic).collect();
        let expected = [Traffic::Tcp(80, 90), Traffic::Icmp(Some(8), None), Traffic::Protocol(47)];
        assert_eq!(traffic, expected);
        let second = NetworkPolicyMessage {
            complete: Some(false),
            interfaces: Some(vec![interface("10.0.0.5", &["sg-a"])]),
            removed_addresses: Some(vec!["10.0.0.4".to_owned()]),
            ..NetworkPolicyMessage::default()
        };
        apply(&mut policy, &second);
        assert_eq!(policy.groups.len(), 1);
        let addresses: Vec<String> = policy.interfaces.keys().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.5"]);
    }
}
