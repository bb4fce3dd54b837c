//! Security groups: who may speak with whom, compiled into one nftables table.
//!
//! Tasks in network mode awsvpc are ports of a bridge that doesn't bridge between them: each is
//! isolated, and the host answers for their addresses. So whatever they send each other is routed
//! by the host, where it passes the forward hook twice: once for what its sender may send, once for
//! what its receiver may receive. A load balancer is on the host itself, with an address on the bridge:
//! what it exchanges with tasks passes the output and input hooks. [`compile`] is pure; its sets change with every task, its rules
//! only with groups and networks, so that [`Ruleset::change_from`] is small when a task starts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::spec::Ipv4Cidr;

use super::bridge::fnv;

/// Networks, groups, and the interfaces that are their members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The VPCs. What no VPC has isn't forwarded between tasks.
    pub networks: Vec<Network>,
    /// The security groups by id.
    pub groups: BTreeMap<GroupId, Group>,
    /// The groups of each interface, by its address.
    pub interfaces: BTreeMap<Ipv4Addr, BTreeSet<GroupId>>,
    /// The groups of each load balancer, by its address on the bridge; with none at all, as network
    /// load balancers may be, it sends and takes what the other end allows.
    pub load_balancers: BTreeMap<Ipv4Addr, BTreeSet<GroupId>>,
}

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its block.
    pub cidr: Ipv4Cidr,
    /// The subnets that reach what is outside of the host's task networks.
    pub internet: Vec<Ipv4Cidr>,
}

/// A security group's id, of letters, digits and hyphens alone: it becomes part of names in nft.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(String);

impl GroupId {
    /// The id, if it is one.
    pub fn new(id: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (!id.is_empty() && id.len() <= 64 && id.chars().all(plain)).then(|| Self(id.to_owned()))
    }

    fn name(&self) -> String {
        self.0.replace('-', "_")
    }
}

/// What a security group allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Into its members.
    pub ingress: Vec<Rule>,
    /// Out of its members.
    pub egress: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which packets.
    pub traffic: Traffic,
    /// The other end.
    pub peer: Peer,
}

/// Which packets a rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// All.
    All,
    /// TCP to these ports.
    Tcp(u16, u16),
    /// UDP to these ports.
    Udp(u16, u16),
    /// ICMP of this type and code; none for all.
    Icmp(Option<u8>, Option<u8>),
    /// Another protocol by its number.
    Protocol(u8),
}

/// The other end of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Addresses.
    Cidr(Ipv4Cidr),
    /// The members of a group.
    Group(GroupId),
}

/// What the table depends on beside the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The table's name.
    pub table: String,
    /// The bridge of network mode bridge.
    pub bridge: String,
    /// The bridge of the VPCs.
    pub vpc_bridge: String,
    /// The block of the built-in VPC, which another table translates.
    pub vpc_cidr: Ipv4Cidr,
    /// The name servers of tasks: always reached, as a VPC's own are.
    pub resolvers: Vec<Ipv4Addr>,
}

/// A table: its rules as text, and the elements of its sets and maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    table: String,
    rules: String,
    elements: BTreeMap<String, BTreeMap<Ipv4Addr, Option<String>>>,
}

/// The map from a sender to what it may send, and from a receiver to what it may receive.
const EGRESS_OF: &str = "egress_of";
const INGRESS_OF: &str = "ingress_of";
/// The set of the load balancers' addresses.
const BALANCERS: &str = "load_balancers";

/// Compiles a policy.
pub fn compile(policy: &Policy, layout: &Layout) -> Ruleset {
    let mut elements: BTreeMap<String, BTreeMap<Ipv4Addr, Option<String>>> = BTreeMap::new();
    elements.insert(EGRESS_OF.to_owned(), BTreeMap::new());
    elements.insert(INGRESS_OF.to_owned(), BTreeMap::new());
    let mut combined: BTreeSet<Vec<&GroupId>> = BTreeSet::new();
    for group in policy.groups.keys() {
        elements.insert(group.name(), BTreeMap::new());
    }
    let balancers = policy.load_balancers.keys().map(|address| (*address, None));
    elements.insert(BALANCERS.to_owned(), balancers.collect());
    for (address, named) in policy.interfaces.iter().chain(&policy.load_balancers) {
        // A group that is gone allows nothing.
        let groups: Vec<&GroupId> =
            named.iter().filter(|id| policy.groups.contains_key(id)).collect();
        for group in &groups {
            elements.entry(group.name()).or_default().insert(*address, None);
        }
        if named.is_empty() && policy.load_balancers.contains_key(address) {
            for map in [EGRESS_OF, INGRESS_OF] {
                let verdict = Some("accept".to_owned());
                elements.entry(map.to_owned()).or_default().insert(*address, verdict);
            }
        }
        if groups.is_empty() {
            continue;
        }
        let name = chain_name(&groups);
        for (map, prefix) in [(EGRESS_OF, "out"), (INGRESS_OF, "in")] {
            let verdict = Some(format!("jump {prefix}_{name}"));
            elements.entry(map.to_owned()).or_default().insert(*address, verdict);
        }
        if groups.len() > 1 {
            combined.insert(groups);
        }
    }
    let rules = rules(policy, layout, &combined);
    Ruleset { table: layout.table.clone(), rules, elements }
}

/// The chain of what several groups allow together; a single group's chain is its own.
fn chain_name(groups: &[&GroupId]) -> String {
    match groups {
        [one] => one.name(),
        many => {
            let all: Vec<&str> = many.iter().map(|id| id.0.as_str()).collect();
            format!("all_{:016x}", fnv(all.join(",").as_bytes()))
        }
    }
}

fn rules(policy: &Policy, layout: &Layout, combined: &BTreeSet<Vec<&GroupId>>) -> String {
    let Layout { bridge, vpc_bridge, .. } = layout;
    let tasks = format!("{{ \"{bridge}\", \"{vpc_bridge}\" }}");
    let mut text = String::new();
    for map in [EGRESS_OF, INGRESS_OF] {
        let _ = writeln!(text, "  map {map} {{ type ipv4_addr : verdict; }}");
    }
    let groups = policy.groups.keys().map(GroupId::name);
    for set in groups.chain([BALANCERS.to_owned()]) {
        let _ = writeln!(text, "  set {set} {{ type ipv4_addr; }}");
    }
    for (id, group) in &policy.groups {
        for (prefix, end, allowed) in
            [("out", "daddr", &group.egress), ("in", "saddr", &group.ingress)]
        {
            let _ = writeln!(text, "  chain {prefix}_{} {{", id.name());
            for rule in allowed {
                text.push_str(&accept(policy, rule, end));
            }
            text.push_str("  }\n");
        }
    }
    for groups in combined {
        for prefix in ["out", "in"] {
            let _ = writeln!(text, "  chain {prefix}_{} {{", chain_name(groups));
            for group in groups {
                let _ = writeln!(text, "    jump {prefix}_{}", group.name());
            }
            text.push_str("  }\n");
        }
    }
    // Tasks in network mode bridge have the host's addresses in ECS, so they count as the host.
    // The host tells a sender of a shorter way when it routes back to where a packet came from;
    // there is none.
    let _ = write!(
        text,
        "  chain egress {{
    type filter hook forward priority 0; policy accept;
    iifname != \"{vpc_bridge}\" accept
    ct state established,related accept
{}    ip saddr vmap @{EGRESS_OF}
    drop
  }}
  chain ingress {{
    type filter hook forward priority 1; policy accept;
    oifname != \"{vpc_bridge}\" accept
    ct state established,related accept
    iifname \"{bridge}\" accept
    ip daddr vmap @{INGRESS_OF}
    drop
  }}
  chain output {{
    type filter hook output priority 0; policy accept;
    oifname \"{vpc_bridge}\" icmp type redirect drop
  }}
  chain postrouting {{
    type nat hook postrouting priority 101; policy accept;
{}  }}
",
        boundaries(policy, layout, &tasks),
        translations(policy, layout, &tasks),
    );
    text.push_str(&of_load_balancers(vpc_bridge));
    text
}

/// What load balancers send to tasks, and tasks to them, each time held against both ends' groups.
fn of_load_balancers(vpc_bridge: &str) -> String {
    let mut text = String::new();
    for (hook, device, own) in [("output", "oifname", "saddr"), ("input", "iifname", "daddr")] {
        for (priority, end, map) in [(1, "saddr", EGRESS_OF), (2, "daddr", INGRESS_OF)] {
            let _ = write!(
                text,
                "  chain balancer_{hook}_{map} {{
    type filter hook {hook} priority {priority}; policy accept;
    {device} != \"{vpc_bridge}\" accept
    ip {own} != @{BALANCERS} accept
    ct state established,related accept
    ip {end} vmap @{map}
    drop
  }}
"
            );
        }
    }
    text
}

/// What no group can allow: from one VPC into another, and out of a subnet without a way out.
fn boundaries(policy: &Policy, layout: &Layout, tasks: &str) -> String {
    let mut text = String::new();
    for Network { cidr, .. } in &policy.networks {
        let _ = writeln!(
            text,
            "    oifname \"{}\" ip saddr {cidr} ip daddr != {cidr} drop",
            layout.vpc_bridge
        );
    }
    for resolver in &layout.resolvers {
        let _ = writeln!(
            text,
            "    ip daddr {resolver} meta l4proto {{ tcp, udp }} th dport 53 accept"
        );
    }
    let mut ways_out: Vec<String> = Vec::new();
    for network in &policy.networks {
        ways_out.extend(network.internet.iter().map(ToString::to_string));
    }
    let _ = match ways_out.as_slice() {
        [] => writeln!(text, "    oifname != {tasks} drop"),
        some => {
            writeln!(text, "    oifname != {tasks} ip saddr != {{ {} }} drop", some.join(", "))
        }
    };
    text
}

/// Further VPCs speak to the world with the host's address, as the built-in one does.
fn translations(policy: &Policy, layout: &Layout, tasks: &str) -> String {
    let further = policy.networks.iter().filter(|n| n.cidr != layout.vpc_cidr);
    further.map(|n| format!("    ip saddr {} oifname != {tasks} masquerade\n", n.cidr)).collect()
}

/// A rule of a chain, for the sender's or the receiver's `end`; none for a group that is gone.
fn accept(policy: &Policy, rule: &Rule, end: &str) -> String {
    let peer = match &rule.peer {
        Peer::Cidr(cidr) if cidr.prefix() == 0 => String::new(),
        Peer::Cidr(cidr) => format!("ip {end} {cidr} "),
        Peer::Group(id) if policy.groups.contains_key(id) => format!("ip {end} @{} ", id.name()),
        Peer::Group(_) => return String::new(),
    };
    let traffic = match rule.traffic {
        Traffic::All => String::new(),
        Traffic::Tcp(from, to) => format!("tcp dport {from}-{to} "),
        Traffic::Udp(from, to) => format!("udp dport {from}-{to} "),
        Traffic::Icmp(None, _) => "ip protocol 1 ".to_owned(),
        Traffic::Icmp(Some(kind), None) => format!("icmp type {kind} "),
        Traffic::Icmp(Some(kind), Some(code)) => format!("icmp type {kind} icmp code {code} "),
        Traffic::Protocol(number) => format!("ip protocol {number} "),
    };
    format!("    {peer}{traffic}accept\n")
}

impl Ruleset {
    /// The commands that make this table of `old`; of none, or where rules differ, of whatever is
    /// there. They are one transaction.
    pub fn change_from(&self, old: Option<&Self>) -> String {
        let table = &self.table;
        match old.filter(|old| old.rules == self.rules && old.table == *table) {
            Some(old) => {
                let mut text = String::new();
                for (set, now) in &self.elements {
                    let before = old.elements.get(set);
                    let same = |(address, verdict): &(&Ipv4Addr, &Option<String>)| {
                        before.is_some_and(|b| b.get(*address) == Some(*verdict))
                    };
                    let gone = before
                        .into_iter()
                        .flatten()
                        .filter(|(address, verdict)| now.get(*address) != Some(*verdict));
                    text.push_str(&elements("delete", table, set, gone));
                    let new = now.iter().filter(|element| !same(element));
                    text.push_str(&elements("add", table, set, new));
                }
                text
            }
            None => {
                let mut text = removal(table);
                let _ = write!(text, "table ip {table} {{\n{}}}\n", self.rules);
                for (set, now) in &self.elements {
                    text.push_str(&elements("add", table, set, now.iter()));
                }
                text
            }
        }
    }
}

fn elements<'a>(
    verb: &str,
    table: &str,
    set: &str,
    elements: impl Iterator<Item = (&'a Ipv4Addr, &'a Option<String>)>,
) -> String {
    let all: Vec<String> = elements
        .map(|(address, verdict)| match verdict {
            Some(verdict) => format!("{address} : {verdict}"),
            None => address.to_string(),
        })
        .collect();
    if all.is_empty() {
        return String::new();
    }
    format!("{verb} element ip {table} {set} {{ {} }}\n", all.join(", "))
}

/// The commands that remove a table, whether it is there or not.
pub fn removal(table: &str) -> String {
    format!("add table ip {table}\ndelete table ip {table}\n")
}

/// The IPv4 name servers in the text of a resolv.conf; loopback ones aren't reached by tasks.
pub fn resolvers(resolv_conf: &str) -> Vec<Ipv4Addr> {
    let address = |line: &str| {
        let rest = line.trim().strip_prefix("nameserver")?;
        rest.trim().parse::<Ipv4Addr>().ok().filter(|a| !a.is_loopback())
    };
    resolv_conf.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> GroupId {
        GroupId::new(text).unwrap()
    }

    fn layout() -> Layout {
        Layout {
            table: "t".into(),
            bridge: "wb".into(),
            vpc_bridge: "wv".into(),
            vpc_cidr: "10.113.0.0/16".parse().unwrap(),
            resolvers: resolvers("search x\nnameserver 127.0.0.53\nnameserver 192.0.2.53\n"),
        }
    }

    fn policy() -> Policy {
        let web = Group {
            ingress: vec![Rule {
                traffic: Traffic::Tcp(80, 81),
                peer: Peer::Group(id("sg-client")),
            }],
            egress: vec![Rule {
                traffic: Traffic::All,
                peer: Peer::Cidr("0.0.0.0/0".parse().unwrap()),
            }],
        };
        Policy {
            networks: vec![Network {
                cidr: "10.1.0.0/16".parse().unwrap(),
                internet: vec!["10.1.1.0/24".parse().unwrap()],
            }],
            groups: [(id("sg-web"), web), (id("sg-client"), Group::default())].into(),
            interfaces: [
                ([10, 1, 1, 4].into(), [id("sg-web")].into()),
                ([10, 1, 1, 5].into(), [id("sg-web"), id("sg-client")].into()),
                ([10, 1, 1, 6].into(), [id("sg-gone")].into()),
            ]
            .into(),
            load_balancers: [
                ([10, 1, 1, 8].into(), [id("sg-client")].into()),
                ([10, 1, 1, 9].into(), [].into()),
            ]
            .into(),
        }
    }

    #[test]
    fn groups_become_chains_and_members_elements() {
        let text = compile(&policy(), &layout()).change_from(None);
        for part in [
            "set sg_web { type ipv4_addr; }",
            "chain in_sg_web {\n    ip saddr @sg_client tcp dport 80-81 accept\n  }",
            "chain out_sg_web {\n    accept\n  }",
            "chain out_sg_client {\n  }",
            "add element ip t sg_web { 10.1.1.4, 10.1.1.5 }",
            "add element ip t sg_client { 10.1.1.5, 10.1.1.8 }",
            "add element ip t load_balancers { 10.1.1.8, 10.1.1.9 }",
            "10.1.1.8 : jump out_sg_client, 10.1.1.9 : accept",
            "type filter hook output priority 2; policy accept;\n    oifname != \"wv\" accept\n    \
             ip saddr != @load_balancers accept\n    ct state established,related accept\n    \
             ip daddr vmap @ingress_of\n    drop",
            "10.1.1.4 : jump in_sg_web",
            "oifname \"wv\" ip saddr 10.1.0.0/16 ip daddr != 10.1.0.0/16 drop",
            "ip daddr 192.0.2.53 meta l4proto { tcp, udp } th dport 53 accept",
            "oifname != { \"wb\", \"wv\" } ip saddr != { 10.1.1.0/24 } drop",
            "ip saddr 10.1.0.0/16 oifname != { \"wb\", \"wv\" } masquerade",
        ] {
            assert!(text.contains(part), "{part} not in\n{text}");
        }
        // Who is in no group that exists may say nothing and hears nothing.
        assert!(!text.contains("10.1.1.6"), "{text}");
        assert!(!text.contains("127.0.0.53"), "{text}");
    }

    #[test]
    fn a_task_that_starts_or_stops_changes_elements_alone() {
        let before = compile(&policy(), &layout());
        let mut policy = policy();
        policy.interfaces.remove(&Ipv4Addr::new(10, 1, 1, 4));
        policy.interfaces.insert([10, 1, 1, 7].into(), [id("sg-client")].into());
        let after = compile(&policy, &layout());
        assert_eq!(
            after.change_from(Some(&before)),
            "delete element ip t egress_of { 10.1.1.4 : jump out_sg_web }\n\
             add element ip t egress_of { 10.1.1.7 : jump out_sg_client }\n\
             delete element ip t ingress_of { 10.1.1.4 : jump in_sg_web }\n\
             add element ip t ingress_of { 10.1.1.7 : jump in_sg_client }\n\
             add element ip t sg_client { 10.1.1.7 }\n\
             delete element ip t sg_web { 10.1.1.4 }\n"
        );
        assert_eq!(after.change_from(Some(&after)), "");
    }

    #[test]
    fn a_rule_that_changes_writes_the_table_anew() {
        let before = compile(&policy(), &layout());
        let mut policy = policy();
        policy.groups.insert(id("sg-web"), Group::default());
        let text = compile(&policy, &layout()).change_from(Some(&before));
        assert!(text.starts_with("add table ip t\ndelete table ip t\ntable ip t {"), "{text}");
    }

    #[test]
    fn ids_that_would_be_commands_are_none() {
        assert_eq!(GroupId::new("sg-1 { } delete"), None);
        assert_eq!(GroupId::new(""), None);
    }
}
