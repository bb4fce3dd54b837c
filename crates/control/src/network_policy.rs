//! What a host's agent is told of networks and security groups.

use wharf_model::network::resource::{Peer, SecurityGroup, SecurityGroupRule};
use wharf_model::network::{BuiltinVpc, Network};
use wharf_model::{NetworkInterface, Snapshot};
use wharf_wire::acs::{
    NetworkPolicyMessage, PolicyGroup, PolicyInterface, PolicyNetwork, PolicyRule,
};

/// What has changed since `earlier`, or everything; none if nothing has.
pub(crate) fn message(
    snapshot: &Snapshot,
    earlier: Option<&Snapshot>,
    vpc: &BuiltinVpc,
) -> Option<NetworkPolicyMessage> {
    let network = Network::new(snapshot, vpc);
    let Some(earlier) = earlier else {
        return Some(NetworkPolicyMessage {
            complete: Some(true),
            networks: Some(networks(&network)),
            groups: Some(groups(&network)),
            interfaces: Some(snapshot.interfaces().map(interface).collect()),
            ..NetworkPolicyMessage::default()
        });
    };
    let same = snapshot.networks_unchanged_since(earlier);
    let (new, gone) = snapshot.interfaces_since(earlier);
    if same && new.is_empty() && gone.is_empty() {
        return None;
    }
    Some(NetworkPolicyMessage {
        complete: Some(false),
        networks: (!same).then(|| networks(&network)),
        groups: (!same).then(|| groups(&network)),
        interfaces: Some(new.into_iter().map(interface).collect()),
        removed_addresses: Some(gone.iter().map(ToString::to_string).collect()),
        ..NetworkPolicyMessage::default()
    })
}

fn networks(network: &Network<'_>) -> Vec<PolicyNetwork> {
    let with_internet = network.subnets_with_internet();
    let one = |vpc: &std::sync::Arc<wharf_model::network::resource::Vpc>| PolicyNetwork {
        cidr: Some(vpc.range.to_string()),
        internet_cidrs: Some(
            with_internet
                .iter()
                .filter(|subnet| subnet.vpc_id == vpc.id)
                .map(|subnet| subnet.range.to_string())
                .collect(),
        ),
    };
    network.vpcs().iter().map(one).collect()
}

fn groups(network: &Network<'_>) -> Vec<PolicyGroup> {
    let of = |group: &SecurityGroup, egress: bool| {
        Some(group.rules.iter().filter(|r| r.egress == egress).filter_map(rule).collect())
    };
    let one = |group: &std::sync::Arc<SecurityGroup>| PolicyGroup {
        id: Some(group.id.clone()),
        ingress: of(group, false),
        egress: of(group, true),
    };
    network.security_groups().iter().map(one).collect()
}

/// None for what concerns IPv6, which tasks don't have.
fn rule(rule: &SecurityGroupRule) -> Option<PolicyRule> {
    let traffic = &rule.traffic;
    let (cidr, group) = match &traffic.peer {
        Peer::Ipv4(range) => (Some(range.to_string()), None),
        Peer::Group(id) => (None, Some(id.clone())),
        Peer::Ipv6(_) => return None,
    };
    if traffic.protocol == "icmpv6" {
        return None;
    }
    Some(PolicyRule {
        protocol: Some(traffic.protocol.clone()),
        from_port: traffic.from_port.map(i64::from),
        to_port: traffic.to_port.map(i64::from),
        cidr,
        group,
    })
}

fn interface(interface: &NetworkInterface) -> PolicyInterface {
    PolicyInterface {
        address: Some(interface.private_ip.to_string()),
        groups: Some(interface.security_groups.clone()),
    }
}
