//! A task's network: its mode, interface, addresses, names and published ports.

use super::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 block: the network address and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv4Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

impl Ipv4Cidr {
    /// The block of `address`/`prefix`; host bits are cleared.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Self, Error> {
        if prefix > 32 {
            return Err(Error::InvalidCidr(format!("{address}/{prefix}")));
        }
        let bits = u32::from(address) & mask(prefix);
        Ok(Self { address: Ipv4Addr::from(bits), prefix })
    }

    /// The first address of the block.
    pub fn network(&self) -> Ipv4Addr {
        self.address
    }

    /// The length of the prefix in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// How many addresses the block holds.
    pub fn size(&self) -> u64 {
        1u64 << (32 - self.prefix)
    }

    /// The `n`th address of the block, if it has that many.
    pub fn nth(&self, n: u32) -> Option<Ipv4Addr> {
        (u64::from(n) < self.size()).then(|| Ipv4Addr::from(u32::from(self.address) + n))
    }

    /// Whether `address` lies in the block.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == u32::from(self.address)
    }

    /// Whether the two blocks share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Ipv4Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl std::str::FromStr for Ipv4Cidr {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidCidr(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address = address.parse().map_err(|_| invalid())?;
        Self::new(address, prefix.parse().map_err(|_| invalid())?)
    }
}

impl TryFrom<String> for Ipv4Cidr {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Ipv4Cidr> for String {
    fn from(cidr: Ipv4Cidr) -> Self {
        cidr.to_string()
    }
}

/// ECS's network modes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// Every container has a network namespace of its own on the instance's bridge; ports are
    /// published on the host. ECS's default on Linux.
    Bridge,
    /// The host's network namespace.
    Host,
    /// A network namespace per container with nothing but loopback.
    None,
    /// One network namespace for the task, with an interface in the VPC.
    Awsvpc(Eni),
}

/// The elastic network interface of an `awsvpc` task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eni {
    /// The interface's MAC address.
    pub mac: MacAddress,
    /// Its private address.
    pub address: Ipv4Addr,
    /// The prefix length of the subnet it is in.
    pub prefix: u8,
    /// The subnet's gateway: the runtime puts this address on the VPC bridge.
    pub gateway: Ipv4Addr,
    /// The name that `hostname` answers in the containers (`ip-10-113-0-7.ec2.internal`).
    #[serde(default)]
    pub private_dns_name: Option<String>,
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::str::FromStr for MacAddress {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidName { what: "MAC address", value: text.to_owned() };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() { Err(invalid()) } else { Ok(Self(bytes)) }
    }
}

/// Name resolution of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Name servers; empty means the host's that aren't on loopback.
    pub servers: Vec<Ipv4Addr>,
    /// Search domains.
    pub search: Vec<String>,
    /// Options such as `ndots:2`.
    #[serde(default)]
    pub options: Vec<String>,
    /// A name server of the host's that is asked before its others, unless `servers` says who is.
    #[serde(default)]
    pub resolver: Option<Ipv4Addr>,
}

impl Dns {
    /// With the other's where this has none.
    pub(crate) fn or(&self, other: &Self) -> Self {
        fn first<T: Clone>(one: &[T], other: &[T]) -> Vec<T> {
            if one.is_empty() { other.to_vec() } else { one.to_vec() }
        }
        Self {
            servers: first(&self.servers, &other.servers),
            search: first(&self.search, &other.search),
            options: first(&self.options, &other.options),
            resolver: self.resolver.or(other.resolver),
        }
    }
}

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The port that the container listens on.
    pub container_port: u16,
    /// The host's port; 0 means any free one of the dynamic range.
    #[serde(default)]
    pub host_port: u16,
    /// TCP or UDP.
    #[serde(default)]
    pub protocol: Protocol,
    /// As many ports of either side, beginning with these; none is one port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<u16>,
}

impl PortMapping {
    /// Each port for itself.
    pub fn each(&self) -> impl Iterator<Item = Self> + use<> {
        let first = Self { range: None, ..self.clone() };
        (0..self.range.unwrap_or(1)).map(move |offset| Self {
            container_port: first.container_port.saturating_add(offset),
            host_port: first.host_port.saturating_add(offset),
            ..first.clone()
        })
    }
}

/// A transport protocol.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The name as ECS spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}
