//! Rules of security groups as they are sent and shown: pure translations.

use super::resource::{invalid, missing, no_group};
use super::{error, tags};
use crate::context::Context;
use crate::error::ApiError;
use std::net::Ipv6Addr;
use wharf_model::network::Ipv4Range;
use wharf_model::network::resource::{Peer, SecurityGroup, SecurityGroupRule, Traffic};
use wharf_wire::ec2::types::{
    self, IpPermission, IpRange, Ipv6Range, ReferencedSecurityGroup, SecurityGroupRuleRequest,
    UserIdGroupPair,
};

/// What an entry of a request allows, and how it is described.
pub(super) type Described = (Traffic, Option<String>);

/// Every rule that a list of permissions stands for.
pub(super) fn parse(
    context: &Context<'_>,
    group: &SecurityGroup,
    permissions: &[IpPermission],
) -> Result<Vec<Described>, ApiError> {
    let mut rules = Vec::new();
    for permission in permissions {
        rules.extend(parse_one(context, group, permission)?);
    }
    if rules.is_empty() {
        return Err(missing("ipPermissions"));
    }
    Ok(rules)
}

fn parse_one(
    context: &Context<'_>,
    group: &SecurityGroup,
    sent: &IpPermission,
) -> Result<Vec<Described>, ApiError> {
    let (protocol, from_port, to_port) =
        protocol_and_ports(sent.ip_protocol.as_deref(), sent.from_port, sent.to_port)?;
    let with = |peer: Peer, description: &Option<String>| -> Result<Described, ApiError> {
        let protocol = protocol.clone();
        Ok((Traffic { protocol, from_port, to_port, peer }, checked(description)?))
    };
    let mut rules = Vec::new();
    for range in sent.ip_ranges.iter().flatten() {
        rules.push(with(ipv4(range.cidr_ip.as_deref())?, &range.description)?);
    }
    for range in sent.ipv6_ranges.iter().flatten() {
        rules.push(with(ipv6(range.cidr_ipv6.as_deref())?, &range.description)?);
    }
    for pair in sent.user_id_group_pairs.iter().flatten() {
        rules.push(with(Peer::Group(referenced(context, group, pair)?), &pair.description)?);
    }
    if let Some(list) = sent.prefix_list_ids.iter().flatten().next() {
        return Err(no_prefix_list(list.prefix_list_id.as_deref().unwrap_or_default()));
    }
    Ok(rules)
}

/// A rule in the form of ModifySecurityGroupRules.
pub(super) fn parse_request(
    context: &Context<'_>,
    group: &SecurityGroup,
    sent: &SecurityGroupRuleRequest,
) -> Result<Described, ApiError> {
    let (protocol, from_port, to_port) =
        protocol_and_ports(sent.ip_protocol.as_deref(), sent.from_port, sent.to_port)?;
    let peer = match (&sent.cidr_ipv4, &sent.cidr_ipv6, &sent.referenced_group_id) {
        (Some(cidr), None, None) => ipv4(Some(cidr))?,
        (None, Some(cidr), None) => ipv6(Some(cidr))?,
        (None, None, Some(id)) => {
            let pair = UserIdGroupPair { group_id: Some(id.clone()), ..UserIdGroupPair::default() };
            Peer::Group(referenced(context, group, &pair)?)
        }
        _ if sent.prefix_list_id.is_some() => {
            return Err(no_prefix_list(sent.prefix_list_id.as_deref().unwrap_or_default()));
        }
        _ => {
            let message = "A rule must have exactly one source or destination";
            return Err(error("InvalidParameterCombination", message));
        }
    };
    Ok((Traffic { protocol, from_port, to_port, peer }, checked(&sent.description)?))
}

fn no_prefix_list(id: &str) -> ApiError {
    error("InvalidPrefixListID.NotFound", format!("The prefix list ID '{id}' does not exist"))
}

/// A description, none for an empty one.
pub(super) fn checked(description: &Option<String>) -> Result<Option<String>, ApiError> {
    let Some(text) = description.as_deref().filter(|t| !t.is_empty()) else { return Ok(None) };
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    if text.len() > 255 || !text.chars().all(allowed) {
        return Err(invalid(
            "Invalid rule description. Valid descriptions are strings less than 256 characters \
             from the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
        ));
    }
    Ok(Some(text.to_owned()))
}

type Ports = (String, Option<i32>, Option<i32>);

fn protocol_and_ports(
    protocol: Option<&str>,
    from: Option<i32>,
    to: Option<i32>,
) -> Result<Ports, ApiError> {
    let sent = protocol.ok_or_else(|| missing("ipProtocol"))?;
    let name = match sent.to_ascii_lowercase().as_str() {
        "-1" | "all" => "-1".to_owned(),
        "tcp" | "6" => "tcp".to_owned(),
        "udp" | "17" => "udp".to_owned(),
        "icmp" | "1" => "icmp".to_owned(),
        "icmpv6" | "58" => "icmpv6".to_owned(),
        other => match other.parse::<u8>() {
            Ok(number) => number.to_string(),
            Err(_) => {
                return Err(invalid(format!(
                    "Invalid value '{sent}' for IP protocol. Unknown protocol."
                )));
            }
        },
    };
    match name.as_str() {
        "tcp" | "udp" => ports(from, to).map(|(from, to)| (name, Some(from), Some(to))),
        "icmp" | "icmpv6" => {
            let (kind, code) = (from.unwrap_or(-1), to.unwrap_or(-1));
            for (what, value) in [("type", kind), ("code", code)] {
                if !(-1..=255).contains(&value) {
                    return Err(invalid(format!("ICMP {what} ({value}) out of range")));
                }
            }
            if kind == -1 && code != -1 {
                return Err(invalid("ICMP code (-1) is required when the ICMP type is -1"));
            }
            Ok((name, Some(kind), Some(code)))
        }
        // Other protocols have no ports, and -1 is every port of every protocol.
        _ => Ok((name, None, None)),
    }
}

fn ports(from: Option<i32>, to: Option<i32>) -> Result<(i32, i32), ApiError> {
    let (Some(from), Some(to)) = (from, to) else {
        return Err(invalid(
            "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.",
        ));
    };
    for port in [from, to] {
        if !(0..=65535).contains(&port) {
            return Err(invalid(format!("TCP/UDP port ({port}) out of range")));
        }
    }
    if from > to {
        return Err(invalid(format!("Invalid TCP/UDP port range ({from}:{to})")));
    }
    Ok((from, to))
}

fn ipv4(cidr: Option<&str>) -> Result<Peer, ApiError> {
    let text = cidr.ok_or_else(|| missing("cidrIp"))?;
    let range = Ipv4Range::parse_canonical(text);
    range.map(Peer::Ipv4).ok_or_else(|| invalid(format!("CIDR block {text} is malformed")))
}

fn ipv6(cidr: Option<&str>) -> Result<Peer, ApiError> {
    let text = cidr.ok_or_else(|| missing("cidrIpv6"))?;
    let canonical = text.split_once('/').and_then(|(address, prefix)| {
        let (address, prefix) = (address.parse::<Ipv6Addr>().ok()?, prefix.parse::<u32>().ok()?);
        let mask = u128::MAX.checked_shl(128u32.checked_sub(prefix)?).unwrap_or(0);
        Some(format!("{}/{prefix}", Ipv6Addr::from(u128::from(address) & mask)))
    });
    canonical.map(Peer::Ipv6).ok_or_else(|| invalid(format!("CIDR block {text} is malformed")))
}

/// The id of a group that a rule names: of this account, in the same VPC.
fn referenced(
    context: &Context<'_>,
    group: &SecurityGroup,
    pair: &UserIdGroupPair,
) -> Result<String, ApiError> {
    let network = context.network();
    let name = pair.group_id.as_deref().or(pair.group_name.as_deref()).unwrap_or_default();
    if name.is_empty() {
        return Err(missing("groupId"));
    }
    let foreign = pair.user_id.as_deref().is_some_and(|id| id != context.account());
    let found = match (&pair.group_id, &pair.group_name) {
        (Some(id), _) => network.security_group(id),
        (None, Some(name)) => network
            .security_groups()
            .into_iter()
            .find(|g| g.name == *name && g.vpc_id == group.vpc_id),
        (None, None) => None,
    };
    let found = found.filter(|_| !foreign).ok_or_else(|| no_group(name))?;
    if found.vpc_id != group.vpc_id {
        return Err(error(
            "InvalidGroup.NotFound",
            "You have specified two resources that belong to different networks.",
        ));
    }
    Ok(found.id.clone())
}

/// How EC2 names a rule in an error.
pub(super) fn named(traffic: &Traffic) -> String {
    let peer = match &traffic.peer {
        Peer::Ipv4(range) => range.to_string(),
        Peer::Ipv6(range) => range.clone(),
        Peer::Group(id) => id.clone(),
    };
    let protocol = match traffic.protocol.as_str() {
        "-1" => "ALL".to_owned(),
        name => name.to_ascii_uppercase(),
    };
    match (traffic.from_port, traffic.to_port) {
        (Some(from), Some(to)) => {
            format!("peer: {peer}, {protocol}, from port: {from}, to port: {to}, ALLOW")
        }
        _ => format!("peer: {peer}, {protocol}, ALLOW"),
    }
}

/// A group's rules of one direction, in the form of DescribeSecurityGroups: those of one protocol
/// and the same ports together.
pub(super) fn permissions(account: &str, group: &SecurityGroup, egress: bool) -> Vec<IpPermission> {
    let mut permissions: Vec<IpPermission> = Vec::new();
    for rule in group.rules.iter().filter(|r| r.egress == egress) {
        let traffic = &rule.traffic;
        let same = |p: &IpPermission| {
            p.ip_protocol.as_ref() == Some(&traffic.protocol)
                && (p.from_port, p.to_port) == (traffic.from_port, traffic.to_port)
        };
        let index = permissions.iter().position(same).unwrap_or_else(|| {
            permissions.push(IpPermission {
                ip_protocol: Some(traffic.protocol.clone()),
                from_port: traffic.from_port,
                to_port: traffic.to_port,
                user_id_group_pairs: Some(Vec::new()),
                ip_ranges: Some(Vec::new()),
                ipv6_ranges: Some(Vec::new()),
                prefix_list_ids: Some(Vec::new()),
            });
            permissions.len() - 1
        });
        add_peer(&mut permissions[index], account, rule);
    }
    permissions
}

fn add_peer(permission: &mut IpPermission, account: &str, rule: &SecurityGroupRule) {
    let description = rule.description.clone();
    match &rule.traffic.peer {
        Peer::Ipv4(range) => permission
            .ip_ranges
            .get_or_insert_default()
            .push(IpRange { description, cidr_ip: Some(range.to_string()) }),
        Peer::Ipv6(range) => permission
            .ipv6_ranges
            .get_or_insert_default()
            .push(Ipv6Range { description, cidr_ipv6: Some(range.clone()) }),
        Peer::Group(id) => {
            permission.user_id_group_pairs.get_or_insert_default().push(UserIdGroupPair {
                description,
                user_id: Some(account.to_owned()),
                group_id: Some(id.clone()),
                ..UserIdGroupPair::default()
            });
        }
    }
}

/// A rule in the form of DescribeSecurityGroupRules.
pub(super) fn view(
    context: &Context<'_>,
    group: &SecurityGroup,
    rule: &SecurityGroupRule,
) -> types::SecurityGroupRule {
    let (region, account) = (context.region(), context.account());
    let traffic = &rule.traffic;
    let (mut cidr_ipv4, mut cidr_ipv6, mut referenced) = (None, None, None);
    match &traffic.peer {
        Peer::Ipv4(range) => cidr_ipv4 = Some(range.to_string()),
        Peer::Ipv6(range) => cidr_ipv6 = Some(range.clone()),
        Peer::Group(id) => {
            referenced = Some(ReferencedSecurityGroup {
                group_id: Some(id.clone()),
                user_id: Some(account.to_owned()),
                ..ReferencedSecurityGroup::default()
            });
        }
    }
    types::SecurityGroupRule {
        security_group_rule_id: Some(rule.id.clone()),
        group_id: Some(group.id.clone()),
        group_owner_id: Some(account.to_owned()),
        is_egress: Some(rule.egress),
        ip_protocol: Some(traffic.protocol.clone()),
        // Unlike DescribeSecurityGroups this says -1 where there are no ports.
        from_port: Some(traffic.from_port.unwrap_or(-1)),
        to_port: Some(traffic.to_port.unwrap_or(-1)),
        cidr_ipv4,
        cidr_ipv6,
        prefix_list_id: None,
        referenced_group_info: referenced,
        description: rule.description.clone(),
        tags: tags::shown(&rule.tags),
        security_group_rule_arn: Some(format!(
            "arn:aws:ec2:{region}:{account}:security-group-rule/{}",
            rule.id
        )),
    }
}
