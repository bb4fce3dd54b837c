//! Load balancers.

use super::attributes::{self, Attribute};
use crate::network::Ipv4Range;
use crate::tag::Tag;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// `Type` of a load balancer. Gateway Load Balancers aren't built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadBalancerType {
    /// Application Load Balancer: HTTP and HTTPS.
    Application,
    /// Network Load Balancer: TCP, TLS, UDP.
    Network,
}

impl LoadBalancerType {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Network => "network",
        }
    }

    /// The word in ARNs.
    pub const fn in_arn(self) -> &'static str {
        match self {
            Self::Application => "app",
            Self::Network => "net",
        }
    }
}

/// `Scheme` of a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Also listens on the operator's public address, if one is named.
    InternetFacing,
    /// Listens on its own addresses alone.
    Internal,
}

impl Scheme {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InternetFacing => "internet-facing",
            Self::Internal => "internal",
        }
    }
}

/// A load balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Its kind.
    pub kind: LoadBalancerType,
    /// Its name; no other load balancer of either kind has it.
    pub name: String,
    /// 16 hex digits, never used again.
    pub id: String,
    /// API `Scheme`.
    pub scheme: Scheme,
    /// API `DNSName`.
    pub dns_name: String,
    /// API `CreatedTime`.
    pub created_at: Timestamp,
    /// API `VpcId`.
    pub vpc_id: String,
    /// Ids of its subnets, one of each zone.
    pub subnets: Vec<String>,
    /// Ids of its security groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// API `IpAddressType`.
    pub ip_address_type: String,
    /// Its own address on the host, out of 127.80.0.0/16.
    pub host_address: Ipv4Addr,
    /// The address that tasks reach, out of the VPC; none while the VPC has none left to give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_address: Option<Ipv4Addr>,
    /// The range of its VPC: what it sends into it comes from its address there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_range: Option<Ipv4Range>,
    /// Attributes that differ from their defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

impl LoadBalancer {
    /// What its ARN ends in behind `loadbalancer/`, and what it is filed under: `app/NAME/ID`.
    pub fn path(&self) -> String {
        format!("{}/{}/{}", self.kind.in_arn(), self.name, self.id)
    }

    /// The address that it reaches a target from: its own one among tasks, if the target is one of
    /// its VPC; none if the host chooses.
    pub fn source_for(&self, target: IpAddr) -> Option<Ipv4Addr> {
        let IpAddr::V4(target) = target else { return None };
        self.task_address.filter(|_| self.vpc_range.is_some_and(|range| range.contains(target)))
    }

    /// The attributes that load balancers of its kind have.
    pub fn attributes(&self) -> &'static [Attribute] {
        attributes::attributes_of_load_balancer(self.kind)
    }

    /// The value of an attribute: as it was set, else its default; empty if there is no such.
    pub fn attribute(&self, key: &str) -> &str {
        attributes::value(&self.attributes, self.attributes(), key)
    }
}
