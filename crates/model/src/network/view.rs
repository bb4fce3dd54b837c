//! All networks of a server: what is built in and what was made, seen as one.
//!
//! The built-in VPC and what belongs to it have no records until somebody changes them; a record
//! with the same id then takes their place.

use super::resource::{
    InternetGateway, Peer, Route, RouteTable, RouteTableAssociation, SecurityGroup,
    SecurityGroupRule, Traffic, Vpc, VpcSubnet,
};
use super::{BuiltinVpc, DEFAULT_SECURITY_GROUP_ID, Ipv4Range, VPC_ID};
use crate::snapshot::Snapshot;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The name of every VPC's default security group.
pub const DEFAULT_GROUP_NAME: &str = "default";
/// Id of the built-in VPC's route table.
pub const ROUTE_TABLE_ID: &str = "rtb-0a77a2f0000000001";
/// Id of the built-in VPC's internet gateway.
pub const INTERNET_GATEWAY_ID: &str = "igw-0a77a2f0000000001";
/// Every IPv4 address.
pub const ANYWHERE: Ipv4Range = Ipv4Range { network: Ipv4Addr::UNSPECIFIED, prefix: 0 };

/// The networks in one snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Network<'a> {
    snapshot: &'a Snapshot,
    builtin: &'a BuiltinVpc,
}

/// What is built in, with the records laid over it, by id.
fn merged<'a, T: 'a>(
    builtin: impl IntoIterator<Item = T>,
    records: impl Iterator<Item = &'a Arc<T>>,
    id: fn(&T) -> &String,
) -> Vec<Arc<T>> {
    let mut all: BTreeMap<String, Arc<T>> =
        builtin.into_iter().map(|item| (id(&item).clone(), Arc::new(item))).collect();
    all.extend(records.map(|item| (id(item).clone(), Arc::clone(item))));
    all.into_values().collect()
}

impl<'a> Network<'a> {
    /// The networks of a server with this built-in VPC.
    pub fn new(snapshot: &'a Snapshot, builtin: &'a BuiltinVpc) -> Self {
        Self { snapshot, builtin }
    }

    /// All VPCs by id.
    pub fn vpcs(&self) -> Vec<Arc<Vpc>> {
        merged([self.builtin.record()], self.snapshot.vpcs(), |v| &v.id)
    }

    /// The VPC with this id.
    pub fn vpc(&self, id: &str) -> Option<Arc<Vpc>> {
        let record = self.snapshot.vpc(&id.to_owned()).cloned();
        record.or_else(|| (id == VPC_ID).then(|| Arc::new(self.builtin.record())))
    }

    /// All subnets by id.
    pub fn subnets(&self) -> Vec<Arc<VpcSubnet>> {
        merged(self.builtin.subnet_records(), self.snapshot.vpc_subnets(), |s| &s.id)
    }

    /// The subnet with this id.
    pub fn subnet(&self, id: &str) -> Option<Arc<VpcSubnet>> {
        let record = self.snapshot.vpc_subnet(&id.to_owned()).cloned();
        record.or_else(|| self.builtin.subnet_records().find(|s| s.id == id).map(Arc::new))
    }

    /// All security groups by id.
    pub fn security_groups(&self) -> Vec<Arc<SecurityGroup>> {
        let builtin = default_group(DEFAULT_SECURITY_GROUP_ID, VPC_ID);
        merged([builtin], self.snapshot.security_groups(), |g| &g.id)
    }

    /// The security group with this id.
    pub fn security_group(&self, id: &str) -> Option<Arc<SecurityGroup>> {
        let record = self.snapshot.security_group(&id.to_owned()).cloned();
        record.or_else(|| {
            (id == DEFAULT_SECURITY_GROUP_ID).then(|| Arc::new(default_group(id, VPC_ID)))
        })
    }

    /// The default security group of a VPC.
    pub fn default_group(&self, vpc_id: &str) -> Option<Arc<SecurityGroup>> {
        let mut groups = self.security_groups().into_iter();
        groups.find(|g| g.vpc_id == vpc_id && g.name == DEFAULT_GROUP_NAME)
    }

    /// All internet gateways by id.
    pub fn internet_gateways(&self) -> Vec<Arc<InternetGateway>> {
        let builtin = InternetGateway {
            id: INTERNET_GATEWAY_ID.to_owned(),
            vpc_id: Some(VPC_ID.to_owned()),
            tags: Vec::new(),
        };
        merged([builtin], self.snapshot.internet_gateways(), |g| &g.id)
    }

    /// The internet gateway with this id.
    pub fn internet_gateway(&self, id: &str) -> Option<Arc<InternetGateway>> {
        self.internet_gateways().into_iter().find(|g| g.id == id)
    }

    /// All route tables by id.
    pub fn route_tables(&self) -> Vec<Arc<RouteTable>> {
        let route = Route { destination: ANYWHERE, gateway_id: INTERNET_GATEWAY_ID.to_owned() };
        let builtin = RouteTable { routes: vec![route], ..main_table(ROUTE_TABLE_ID, VPC_ID) };
        merged([builtin], self.snapshot.route_tables(), |t| &t.id)
    }

    /// The route table with this id.
    pub fn route_table(&self, id: &str) -> Option<Arc<RouteTable>> {
        self.route_tables().into_iter().find(|t| t.id == id)
    }

    /// The subnets whose tables route everything to an internet gateway that is attached.
    pub fn subnets_with_internet(&self) -> Vec<Arc<VpcSubnet>> {
        let (tables, gateways) = (self.route_tables(), self.internet_gateways());
        let leads_out = |subnet: &Arc<VpcSubnet>| {
            let own = tables
                .iter()
                .find(|t| t.associations.iter().any(|a| a.subnet_id.as_ref() == Some(&subnet.id)));
            let main = || tables.iter().find(|t| t.vpc_id == subnet.vpc_id && t.is_main());
            let table = own.or_else(main);
            table.into_iter().flat_map(|t| &t.routes).any(|route| {
                route.destination == ANYWHERE
                    && gateways.iter().any(|g| {
                        g.id == route.gateway_id && g.vpc_id.as_ref() == Some(&subnet.vpc_id)
                    })
            })
        };
        self.subnets().into_iter().filter(leads_out).collect()
    }
}

impl BuiltinVpc {
    /// The built-in VPC in the form of others.
    pub fn record(&self) -> Vpc {
        Vpc {
            id: VPC_ID.to_owned(),
            range: self.range,
            dns_support: true,
            dns_hostnames: true,
            usage_metrics: false,
            tenancy: "default".to_owned(),
            is_default: true,
            tags: Vec::new(),
        }
    }

    /// The built-in subnets in the form of others.
    pub fn subnet_records(&self) -> impl Iterator<Item = VpcSubnet> {
        self.subnets.iter().map(|subnet| VpcSubnet {
            id: subnet.id.clone(),
            vpc_id: VPC_ID.to_owned(),
            availability_zone: subnet.availability_zone.clone(),
            range: subnet.range,
            map_public_ip: false,
            hostname_type: "ip-name".to_owned(),
            resource_name_dns: false,
            is_default: true,
            tags: Vec::new(),
        })
    }
}

/// The default group of a VPC as it is at first: in from its own members, out to everywhere.
pub fn default_group(id: &str, vpc_id: &str) -> SecurityGroup {
    SecurityGroup {
        id: id.to_owned(),
        vpc_id: vpc_id.to_owned(),
        name: DEFAULT_GROUP_NAME.to_owned(),
        description: "default VPC security group".to_owned(),
        rules: vec![
            everything(id, false, Peer::Group(id.to_owned())),
            everything(id, true, Peer::Ipv4(ANYWHERE)),
        ],
        tags: Vec::new(),
    }
}

/// The rule that every new group begins with: out to everywhere.
pub fn egress_everywhere(group: &str) -> SecurityGroupRule {
    everything(group, true, Peer::Ipv4(ANYWHERE))
}

/// A rule whose id follows from the group's: it is made with the group.
fn everything(group: &str, egress: bool, peer: Peer) -> SecurityGroupRule {
    let digits = group.strip_prefix("sg-").unwrap_or(group);
    let flag = if egress { 'e' } else { '1' };
    let rest = digits.get(1..).unwrap_or(digits);
    SecurityGroupRule {
        id: format!("sgr-{flag}{rest}"),
        egress,
        traffic: Traffic { protocol: "-1".to_owned(), from_port: None, to_port: None, peer },
        description: None,
        tags: Vec::new(),
    }
}

/// A VPC's main route table as it is at first: nothing but the VPC's own route.
pub fn main_table(id: &str, vpc_id: &str) -> RouteTable {
    let digits = id.strip_prefix("rtb-").unwrap_or(id);
    RouteTable {
        id: id.to_owned(),
        vpc_id: vpc_id.to_owned(),
        routes: Vec::new(),
        associations: vec![RouteTableAssociation {
            id: format!("rtbassoc-{digits}"),
            subnet_id: None,
        }],
        tags: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::{Revision, Write};

    fn range(text: &str) -> Ipv4Range {
        Ipv4Range::parse(text).unwrap()
    }

    #[test]
    fn records_take_the_place_of_what_is_built_in() {
        let builtin = BuiltinVpc::new(range("10.113.0.0/16"), "us-east-1");
        let mut snapshot = Snapshot::default();
        let network = Network::new(&snapshot, &builtin);
        assert_eq!(network.subnets_with_internet().len(), 3);
        assert_eq!(network.default_group(VPC_ID).unwrap().id, DEFAULT_SECURITY_GROUP_ID);

        let table = main_table(ROUTE_TABLE_ID, VPC_ID);
        let mut group = default_group(DEFAULT_SECURITY_GROUP_ID, VPC_ID);
        group.rules.clear();
        let writes = [Write::Put(table.into()), Write::Put(group.into())];
        snapshot.apply(Revision(1), &writes);
        let network = Network::new(&snapshot, &builtin);
        assert_eq!(network.route_tables().len(), 1);
        // Its route to the internet is gone.
        assert_eq!(network.subnets_with_internet().len(), 0);
        assert_eq!(network.security_group(DEFAULT_SECURITY_GROUP_ID).unwrap().rules.len(), 0);
    }

    #[test]
    fn ranges_are_canonical_and_overlap() {
        let canonical = |text| Ipv4Range::parse_canonical(text).map(|r| r.to_string());
        assert_eq!(canonical("100.68.0.18/18").as_deref(), Some("100.68.0.0/18"));
        assert_eq!(canonical("1.2.3.4/0").as_deref(), Some("0.0.0.0/0"));
        assert_eq!(canonical("10.0.0.0/33"), None);
        assert_eq!(canonical("10.0.0.0/255"), None);
        assert!(range("10.0.0.0/8").overlaps(range("10.1.0.0/16")));
        assert!(range("10.1.0.0/16").overlaps(range("10.0.0.0/8")));
        assert!(!range("10.1.0.0/16").overlaps(range("10.2.0.0/16")));
        assert!(range("10.0.0.0/8").covers(range("10.1.0.0/16")));
        assert!(!range("10.1.0.0/16").covers(range("10.0.0.0/8")));
    }
}
