//! VPCs, subnets, security groups, internet gateways and route tables as records.

use super::Ipv4Range;
use crate::tag::Tag;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// `vpc-…`.
    pub id: String,
    /// Its addresses.
    pub range: Ipv4Range,
    /// Attribute `enableDnsSupport`.
    pub dns_support: bool,
    /// Attribute `enableDnsHostnames`.
    pub dns_hostnames: bool,
    /// Attribute `enableNetworkAddressUsageMetrics`.
    pub usage_metrics: bool,
    /// Instance tenancy.
    pub tenancy: String,
    /// The built-in one.
    pub is_default: bool,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

/// A subnet of a VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcSubnet {
    /// `subnet-…`.
    pub id: String,
    /// Its VPC.
    pub vpc_id: String,
    /// Availability zone such as `us-east-1a`.
    pub availability_zone: String,
    /// Its addresses, within the VPC's.
    pub range: Ipv4Range,
    /// Attribute `mapPublicIpOnLaunch`.
    pub map_public_ip: bool,
    /// Attribute `privateDnsHostnameTypeOnLaunch`.
    pub hostname_type: String,
    /// Attribute `enableResourceNameDnsARecordOnLaunch`.
    pub resource_name_dns: bool,
    /// The zone's built-in one.
    pub is_default: bool,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

impl VpcSubnet {
    /// The gateway's address: the first after the network's.
    pub fn gateway(&self) -> Ipv4Addr {
        self.range.nth(1)
    }
}

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// `sg-…`.
    pub id: String,
    /// Its VPC.
    pub vpc_id: String,
    /// Unique within the VPC.
    pub name: String,
    /// Description.
    pub description: String,
    /// What is allowed, in and out.
    pub rules: Vec<SecurityGroupRule>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

/// One rule of a security group: what it allows. There are no others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupRule {
    /// `sgr-…`.
    pub id: String,
    /// Out of the members rather than into them.
    pub egress: bool,
    /// What it allows.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// Description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

/// What a rule allows: two rules of a group and direction never have the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Traffic {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, another protocol's number, or `-1` for every protocol.
    pub protocol: String,
    /// First port, or the ICMP type; none where the protocol has no ports, -1 for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_port: Option<i32>,
    /// Last port, or the ICMP code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_port: Option<i32>,
    /// The other end.
    pub peer: Peer,
}

/// The other end of what a rule allows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// Addresses.
    Ipv4(Ipv4Range),
    /// Addresses as text; tasks have no IPv6.
    Ipv6(String),
    /// The members of the security group with this id.
    Group(String),
}

/// An internet gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetGateway {
    /// `igw-…`.
    pub id: String,
    /// The VPC that it is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

/// A route table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// `rtb-…`.
    pub id: String,
    /// Its VPC.
    pub vpc_id: String,
    /// Its routes beside the VPC's own, which every table has.
    pub routes: Vec<Route>,
    /// Whose table it is.
    pub associations: Vec<RouteTableAssociation>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

impl RouteTable {
    /// True if it is its VPC's main table.
    pub fn is_main(&self) -> bool {
        self.associations.iter().any(|a| a.subnet_id.is_none())
    }
}

/// A route to an internet gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub destination: Ipv4Range,
    /// The internet gateway's id.
    pub gateway_id: String,
}

/// A subnet that uses a route table, or the VPC for its other subnets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTableAssociation {
    /// `rtbassoc-…`.
    pub id: String,
    /// The subnet; none for the VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
}
