//! A message about networks and security groups, in the runtime's terms.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use wharf_runtime::net::policy::{Group, GroupId, Network, Peer, Policy, Rule, Traffic};
use wharf_wire::acs::{
    NetworkPolicyMessage, PolicyGroup, PolicyInterface, PolicyLoadBalancer, PolicyNetwork,
    PolicyRule,
};

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
    policy.interfaces.extend(message.interfaces.iter().flatten().filter_map(interface));
    if let Some(balancers) = &message.load_balancers {
        policy.load_balancers = balancers.iter().filter_map(load_balancer).collect();
    }
}

fn interface(wire: &PolicyInterface) -> Option<(Ipv4Addr, BTreeSet<GroupId>)> {
    Some((wire.address.as_deref()?.parse().ok()?, groups(wire.groups.as_ref())))
}

fn load_balancer(wire: &PolicyLoadBalancer) -> Option<(Ipv4Addr, BTreeSet<GroupId>)> {
    Some((wire.address.as_deref()?.parse().ok()?, groups(wire.groups.as_ref())))
}

fn groups(ids: Option<&Vec<String>>) -> BTreeSet<GroupId> {
    ids.into_iter().flatten().filter_map(|id| GroupId::new(id)).collect()
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
            load_balancers: Some(vec![PolicyLoadBalancer {
                address: text("10.0.0.9"),
                ..PolicyLoadBalancer::default()
            }]),
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
        // What isn't said of load balancers hasn't changed.
        assert_eq!(policy.load_balancers.len(), 1);
    }
}
