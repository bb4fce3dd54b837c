//! Address translation: one nftables table per wharf.
//!
//! The table is written whole when the runtime opens, from what its sandboxes publish; later
//! changes are elements of two maps. Everything that waits at one time goes to `nft -f -` as one
//! transaction, since a transaction costs milliseconds however small it is. The text form is used
//! rather than JSON: it is what an operator sees in `nft list ruleset`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::spec::{Ipv4Cidr, PortMapping, Protocol};

use super::Error;

/// A published port: a host port and where it leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Publication {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The host's port.
    pub host_port: u16,
    /// The container's address.
    pub address: Ipv4Addr,
    /// The container's port.
    pub container_port: u16,
}

impl Publication {
    /// A mapping of a container with this address.
    pub fn new(mapping: &PortMapping, address: Ipv4Addr) -> Self {
        Self {
            protocol: mapping.protocol,
            host_port: mapping.host_port,
            address,
            container_port: mapping.container_port,
        }
    }

    fn map(&self) -> &'static str {
        match self.protocol {
            Protocol::Tcp => "tcp_ports",
            Protocol::Udp => "udp_ports",
        }
    }
}

/// Where tasks find their metadata and credentials, at port 80.
pub const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);
/// Where tasks find the control plane's API, at port 80.
pub const API_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 4);

/// Where tasks find a name server, as in a VPC of Amazon's.
pub const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);

/// The ports on the gateway's address that [`METADATA_ADDRESS`], [`API_ADDRESS`] and [`DNS_ADDRESS`]
/// lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskEndpoints {
    /// Metadata and credentials.
    pub metadata: u16,
    /// The API.
    pub api: u16,
    /// The name server, by UDP and TCP, if there is one. The host's own name servers may have the
    /// same address: tasks in network mode host are left to them.
    pub dns: Option<u16>,
}

/// What the table depends on.
#[derive(Debug, Clone)]
pub struct Table {
    /// The table's name: `wharf_<instance>`.
    pub name: String,
    /// The bridge of network mode bridge.
    pub bridge: String,
    /// Its block.
    pub bridge_cidr: Ipv4Cidr,
    /// Its own address.
    pub gateway: Ipv4Addr,
    /// The bridge of network mode awsvpc.
    pub vpc_bridge: String,
    /// The VPC's block.
    pub vpc_cidr: Ipv4Cidr,
    /// Where the addresses that every task reaches lead to on the gateway's address.
    pub endpoints: Option<TaskEndpoints>,
    /// The cgroup (version 2) of tasks in network mode host, as nft spells it.
    pub host_tasks: Option<String>,
}

impl Table {
    /// The commands that put this table, with these ports, in the place of what is there.
    pub fn ruleset(&self, published: &[Publication]) -> String {
        let Self { name, bridge, bridge_cidr, vpc_bridge, vpc_cidr, host_tasks, .. } = self;
        let tasks = format!("{{ \"{bridge}\", \"{vpc_bridge}\" }}");
        let from_tasks = self.to_endpoints(&format!("iifname {tasks}"))
            + &self.to_name_server(&format!("iifname {tasks}"));
        // Several wharfs share the host's network, and so do everybody's processes: the cgroup
        // tells whose task it is.
        let from_host_tasks = host_tasks.as_ref().map_or_else(String::new, |cgroup| {
            self.to_endpoints(&format!("socket cgroupv2 level 1 \"{cgroup}\""))
        });
        let publish = "\
    fib daddr type local dnat ip to tcp dport map @tcp_ports
    fib daddr type local dnat ip to udp dport map @udp_ports\n";
        // raw: before any translation. A task must never speak to, or as, the host's loopback
        // (route_localnet would let it), nor reach the cloud's own metadata service.
        // postrouting: a connection from 127/8, or from a container to itself by way of a host
        // port, needs a source address that the container can answer. (No iifname there: bridged
        // packets have none at this hook.)
        let mut text = format!(
            "add table ip {name}
delete table ip {name}
table ip {name} {{
  map tcp_ports {{ type inet_service : ipv4_addr . inet_service; }}
  map udp_ports {{ type inet_service : ipv4_addr . inet_service; }}
  chain raw {{
    type filter hook prerouting priority -300; policy accept;
    iifname {tasks} ip daddr 127.0.0.0/8 drop
    iifname {tasks} ip saddr 127.0.0.0/8 drop
    iifname {tasks} ip daddr 169.254.169.254 drop
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
{from_tasks}{publish}  }}
  chain output {{
    type nat hook output priority -100; policy accept;
{from_host_tasks}{publish}  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    oifname \"{bridge}\" ip saddr 127.0.0.0/8 masquerade
    oifname \"{bridge}\" ip saddr {bridge_cidr} ct status dnat masquerade
    ip saddr {bridge_cidr} oifname != {tasks} masquerade
    ip saddr {vpc_cidr} oifname != {tasks} masquerade
  }}
}}
"
        );
        text.push_str(&self.elements("add", published));
        if has_ipv6() {
            text.push_str(&self.ipv6_ruleset());
        }
        text
    }

    /// The rules by which packets that match `who` reach the agent.
    fn to_endpoints(&self, who: &str) -> String {
        let Some(TaskEndpoints { metadata, api, .. }) = self.endpoints else {
            return String::new();
        };
        let gateway = self.gateway;
        [(METADATA_ADDRESS, metadata), (API_ADDRESS, api)]
            .map(|(address, port)| {
                format!("    {who} ip daddr {address} tcp dport 80 dnat to {gateway}:{port}\n")
            })
            .concat()
    }

    /// The rules by which packets that match `who` reach the agent's name server.
    fn to_name_server(&self, who: &str) -> String {
        let Some(port) = self.endpoints.and_then(|endpoints| endpoints.dns) else {
            return String::new();
        };
        let gateway = self.gateway;
        ["udp", "tcp"]
            .map(|protocol| {
                format!(
                    "    {who} ip daddr {DNS_ADDRESS} {protocol} dport 53 dnat to {gateway}:{port}\n"
                )
            })
            .concat()
    }

    /// The commands that add ports.
    pub fn publish(&self, published: &[Publication]) -> String {
        self.elements("add", published)
    }

    /// The commands that remove ports.
    pub fn withdraw(&self, published: &[Publication]) -> String {
        self.elements("delete", published)
    }

    /// The command that removes the table, whether it is there or not.
    pub fn removal(&self) -> String {
        let of_family = |family: &str| {
            format!("add table {family} {0}\ndelete table {family} {0}\n", self.name)
        };
        if has_ipv6() { of_family("ip") + &of_family("ip6") } else { of_family("ip") }
    }

    /// Tasks have no IPv6 network, but nothing keeps a hostile one from sending such packets to
    /// the bridge.
    fn ipv6_ruleset(&self) -> String {
        let Self { name, bridge, vpc_bridge, .. } = self;
        format!(
            "add table ip6 {name}
delete table ip6 {name}
table ip6 {name} {{
  chain raw {{
    type filter hook prerouting priority -300; policy accept;
    iifname {{ \"{bridge}\", \"{vpc_bridge}\" }} ip6 daddr fd00:ec2::254 drop
  }}
}}
"
        )
    }

    fn elements(&self, verb: &str, published: &[Publication]) -> String {
        let mut text = String::new();
        for port in published {
            let Publication { host_port, address, container_port, .. } = port;
            // Deleting names the value too: a port that was given to another container since
            // then stays as it is.
            let _ = writeln!(
                text,
                "{verb} element ip {} {} {{ {host_port} : {address} . {container_port} }}",
                self.name,
                port.map()
            );
        }
        text
    }
}

/// Whether this kernel speaks IPv6: without it nft knows no family ip6.
fn has_ipv6() -> bool {
    std::path::Path::new("/proc/net/if_inet6").exists()
}

/// Runs commands as one transaction.
pub async fn apply(commands: &str) -> Result<(), Error> {
    run(&["-f", "-"], commands).await.map(drop)
}

/// The names of every table of family ip.
pub async fn tables() -> Result<Vec<String>, Error> {
    let listing = run(&["list", "tables", "ip"], "").await?;
    Ok(listing
        .lines()
        .filter_map(|line| line.strip_prefix("table ip "))
        .map(String::from)
        .collect())
}

async fn run(arguments: &[&str], input: &str) -> Result<String, Error> {
    let io = |error: std::io::Error| Error::Nft(format!("run nft: {error}"));
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(io)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await.map_err(io)?;
    }
    let output = child.wait_with_output().await.map_err(io)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(Error::Nft(complaint.trim().to_owned()))
    }
}
