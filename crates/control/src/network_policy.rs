//! What a host's agent is told of networks, security groups and names.

use wharf_model::load_balancing::LoadBalancer;
use wharf_model::network::resource::{Peer, SecurityGroup, SecurityGroupRule};
use wharf_model::network::{BuiltinVpc, Network};
use wharf_model::{NetworkInterface, Snapshot};
use wharf_wire::acs::{
    NetworkPolicyMessage, PolicyGroup, PolicyInterface, PolicyLoadBalancer, PolicyNetwork,
    PolicyRule,
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
            load_balancers: Some(load_balancers(snapshot)),
            ..NetworkPolicyMessage::default()
        });
    };
    let same = snapshot.networks_unchanged_since(earlier);
    let same_balancers = snapshot.load_balancers_unchanged_since(earlier);
    let (new, gone) = snapshot.interfaces_since(earlier);
    if same && same_balancers && new.is_empty() && gone.is_empty() {
        return None;
    }
    Some(NetworkPolicyMessage {
        complete: Some(false),
        networks: (!same).then(|| networks(&network)),
        groups: (!same).then(|| groups(&network)),
        interfaces: Some(new.into_iter().map(interface).collect()),
        removed_addresses: Some(gone.iter().map(ToString::to_string).collect()),
        load_balancers: (!same_balancers).then(|| load_balancers(snapshot)),
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

fn load_balancers(snapshot: &Snapshot) -> Vec<PolicyLoadBalancer> {
    let one = |balancer: &std::sync::Arc<LoadBalancer>| {
        Some(PolicyLoadBalancer {
            name: Some(balancer.dns_name.clone()),
            address: Some(balancer.task_address?.to_string()),
            groups: Some(balancer.security_groups.clone()),
        })
    };
    snapshot.load_balancers().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_model::network::{DEFAULT_SECURITY_GROUP_ID, Ipv4Range, VPC_ID, default_group};
    use wharf_model::{Revision, Write};

    #[test]
    fn what_has_changed_is_told_and_nothing_else() {
        let range = Ipv4Range::parse("10.113.0.0/16").unwrap();
        let vpc = BuiltinVpc::new(range, "us-east-1");
        let before = Snapshot::default();
        let first = message(&before, None, &vpc).unwrap();
        assert_eq!(first.complete, Some(true));
        let networks = first.networks.unwrap();
        assert_eq!(networks[0].cidr.as_deref(), Some("10.113.0.0/16"));
        assert_eq!(networks[0].internet_cidrs.as_ref().unwrap().len(), 3);
        assert_eq!(first.load_balancers, Some(Vec::new()));
        assert_eq!(first.groups.unwrap()[0].id.as_deref(), Some(DEFAULT_SECURITY_GROUP_ID));
        assert_eq!(message(&before, Some(&before), &vpc), None);

        // A rule for IPv6 is none for tasks.
        let mut group = default_group("sg-00000000000000001", VPC_ID);
        group.rules[0].traffic.peer = Peer::Ipv6("::/0".to_owned());
        let mut after = before.clone();
        after.apply(Revision(1), &[Write::Put(group.into())]);
        let second = message(&after, Some(&before), &vpc).unwrap();
        assert_eq!((second.complete, second.load_balancers), (Some(false), None));
        let groups = second.groups.unwrap();
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].ingress.as_ref().map(Vec::len), Some(0));
        assert_eq!(groups[0].egress.as_ref().map(Vec::len), Some(1));
        assert_eq!(message(&after, Some(&after.clone()), &vpc), None);

        // A load balancer is a name for tasks, and one of its groups, as soon as it is there.
        let before = after.clone();
        let balancer: LoadBalancer = serde_json::from_value(serde_json::json!({
            "kind": "network", "name": "a", "id": "1", "scheme": "internal", "dns_name": "a.test",
            "created_at": 0, "vpc_id": "vpc", "subnets": [], "ip_address_type": "ipv4",
            "host_address": "127.80.1.0", "task_address": "10.113.0.4", "security_groups": ["sg-1"],
        }))
        .unwrap();
        after.apply(Revision(2), &[Write::Put(balancer.into())]);
        let third = message(&after, Some(&before), &vpc).unwrap();
        let text = |t: &str| Some(t.to_owned());
        let told = PolicyLoadBalancer {
            name: text("a.test"),
            address: text("10.113.0.4"),
            groups: Some(vec!["sg-1".to_owned()]),
        };
        assert_eq!((third.load_balancers, third.groups), (Some(vec![told]), None));
    }
}
