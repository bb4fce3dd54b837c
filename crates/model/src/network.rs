//! Networks. The built-in VPC, with a subnet in each of three zones, exists from the start; others
//! are made.

pub mod resource;
mod view;

pub use view::{
    ANYWHERE, DEFAULT_GROUP_NAME, INTERNET_GATEWAY_ID, Network, ROUTE_TABLE_ID, default_group,
    egress_everywhere, main_table,
};

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Id of the built-in VPC.
pub const VPC_ID: &str = "vpc-0a77a2f0000000001";
/// Id of the built-in VPC's default security group.
pub const DEFAULT_SECURITY_GROUP_ID: &str = "sg-0a77a2f0000000001";
/// Ids of the built-in subnets, in the order of the zones a, b, c.
pub const SUBNET_IDS: [&str; 3] =
    ["subnet-0a77a2f000000000a", "subnet-0a77a2f000000000b", "subnet-0a77a2f000000000c"];
/// Default address range of the built-in VPC.
pub const DEFAULT_VPC_CIDR: &str = "10.113.0.0/16";

/// An IPv4 range in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ipv4Range {
    /// First address.
    pub network: Ipv4Addr,
    /// Prefix length, 0–32.
    pub prefix: u8,
}

impl Ipv4Range {
    /// Parses `10.113.0.0/16`; `None` if it isn't a range with its host bits zero.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (network, prefix) = (address.parse::<Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?);
        let range = Self { network, prefix };
        (prefix <= 32 && range.mask() & u32::from(network) == u32::from(network)).then_some(range)
    }

    /// Parses like [`Self::parse`], but takes any address of the range: `10.113.4.5/16` is
    /// `10.113.0.0/16`.
    pub fn parse_canonical(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix) = (address.parse::<Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?);
        let mask = Self { network: address, prefix }.mask();
        (prefix <= 32).then(|| Self { network: Ipv4Addr::from(u32::from(address) & mask), prefix })
    }

    /// True if the ranges have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// True if all of `other` lies in the range.
    pub fn covers(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.network)
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32u32.saturating_sub(self.prefix.into())).unwrap_or(0)
    }

    /// Number of addresses in the range.
    pub fn size(self) -> u64 {
        1 << (32 - u32::from(self.prefix))
    }

    /// The address `offset` places after the first one.
    pub fn nth(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network).wrapping_add(offset))
    }

    /// True if `address` lies in the range.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.network)
    }
}

impl std::fmt::Display for Ipv4Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// A subnet of the built-in VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// `subnet-…`.
    pub id: String,
    /// Availability zone such as `us-east-1a`.
    pub availability_zone: String,
    /// Its addresses. As in a VPC the first four and the last one aren't given to tasks.
    pub range: Ipv4Range,
}

impl Subnet {
    /// The gateway's address: the first after the network's.
    pub fn gateway(&self) -> Ipv4Addr {
        self.range.nth(1)
    }

    /// The addresses that tasks may get, in order.
    pub fn task_addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let range = self.range;
        (4..u32::try_from(range.size().saturating_sub(1)).unwrap_or(u32::MAX))
            .map(move |n| range.nth(n))
    }
}

/// The built-in VPC of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltinVpc {
    /// The whole range.
    pub range: Ipv4Range,
    /// One subnet a zone: a, b, c.
    pub subnets: Vec<Subnet>,
}

impl BuiltinVpc {
    /// The built-in VPC on `range` (prefix 8–24) in `region`: three quarters of the range, one
    /// subnet each.
    pub fn new(range: Ipv4Range, region: &str) -> Self {
        let prefix = (range.prefix + 2).min(30);
        let size = 1u32 << (32 - u32::from(prefix));
        let subnets = SUBNET_IDS
            .iter()
            .zip(["a", "b", "c"])
            .zip(0u32..)
            .map(|((id, zone), n)| Subnet {
                id: (*id).to_owned(),
                availability_zone: format!("{region}{zone}"),
                range: Ipv4Range { network: range.nth(n * size), prefix },
            })
            .collect();
        Self { range, subnets }
    }

    /// The subnet with this id.
    pub fn subnet(&self, id: &str) -> Option<&Subnet> {
        self.subnets.iter().find(|s| s.id == id)
    }
}

/// `networkConfiguration.awsvpcConfiguration` (ECS API `AwsVpcConfiguration`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AwsVpcConfiguration {
    /// Subnet ids, 1–16.
    pub subnets: Vec<String>,
    /// Security group ids, up to 5; empty means the VPC's default group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// `assignPublicIp` is ENABLED.
    #[serde(default)]
    pub assign_public_ip: bool,
}

/// The small record that every address allocation in a subnet rewrites, so that two tasks never
/// get one address. Which addresses are taken is derived from the tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubnetAllocation {
    /// The subnet.
    pub subnet_id: String,
    /// Counts allocations.
    pub sequence: u64,
}
