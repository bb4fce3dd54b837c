//! The two bridges of a wharf and the addresses on them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::spec::{Ipv4Cidr, MacAddress};
use crate::store;

use super::netlink::Netlink;
use super::{Error, failed, lock, nft, set_sysctl};

/// What is kept of the network choice, in `network.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    bridge_cidr: Ipv4Cidr,
}

/// The names and blocks of a wharf's two bridges.
#[derive(Debug, Clone)]
pub struct Bridges {
    /// The bridge of network mode bridge.
    pub bridge: String,
    /// Its block.
    pub bridge_cidr: Ipv4Cidr,
    /// Its own address.
    pub gateway: Ipv4Addr,
    /// The bridge of the VPC.
    pub vpc_bridge: String,
    /// The built-in VPC's block.
    pub vpc_cidr: Ipv4Cidr,
}

impl Bridges {
    /// Makes the bridges where they are missing. `bridge_cidr` of `None` takes the block of last
    /// time, or the first free one of the private ranges.
    pub fn open(
        root: &Path,
        instance: &str,
        vpc_cidr: Ipv4Cidr,
        bridge_cidr: Option<Ipv4Cidr>,
    ) -> Result<Self, Error> {
        // Two wharfs that open at the same moment must not choose the same block.
        let _alone = lock::take()?;
        let mut netlink = Netlink::open().map_err(failed("open a netlink socket"))?;
        let bridge = format!("wb-{instance}");
        let vpc_bridge = format!("wv-{instance}");
        let routed = routed_elsewhere(&mut netlink, &[&bridge, &vpc_bridge])?;
        refuse_overlap(vpc_cidr, &routed)?;
        let kept_at = root.join("network.json");
        let bridge_cidr = match bridge_cidr {
            Some(block) => {
                refuse_overlap(block, &routed)?;
                block
            }
            None => match store::read::<Kept>(&kept_at) {
                Ok(kept) if refuse_overlap(kept.bridge_cidr, &routed).is_ok() => kept.bridge_cidr,
                _ => free_block(&routed, vpc_cidr)?,
            },
        };
        store::write(&kept_at, &Kept { bridge_cidr }, true)?;
        let gateway = bridge_cidr.nth(1).ok_or(Error::NoFreeAddress(bridge_cidr))?;
        ensure(&mut netlink, &bridge)?;
        ensure(&mut netlink, &vpc_bridge)?;
        // The whole VPC is routed here from the start, so that a second wharf sees it as taken.
        let router = vpc_cidr.nth(1).ok_or(Error::NoFreeAddress(vpc_cidr))?;
        add_address(&mut netlink, &vpc_bridge, router, vpc_cidr.prefix())?;
        add_address(&mut netlink, &bridge, gateway, bridge_cidr.prefix())?;
        // Tasks in network mode host have the host's routes, which needn't lead anywhere.
        for address in [nft::METADATA_ADDRESS, nft::API_ADDRESS] {
            add_address(&mut netlink, &bridge, address, 32)?;
        }
        set_sysctl("net/ipv4/ip_forward", "1")?;
        // Tasks of the VPCs are isolated from each other on the bridge: the host answers for their
        // addresses, at once, and routes between them. There its rules apply.
        set_sysctl(&format!("net/ipv4/conf/{vpc_bridge}/proxy_arp_pvlan"), "1")?;
        set_sysctl(&format!("net/ipv4/neigh/{vpc_bridge}/proxy_delay"), "0")?;
        set_sysctl(&format!("net/ipv4/conf/{vpc_bridge}/send_redirects"), "0")?;
        isolate_ports(&mut netlink, &vpc_bridge)?;
        // 127.0.0.1:port reaches a container; the raw chain keeps the way back closed.
        set_sysctl(&format!("net/ipv4/conf/{bridge}/route_localnet"), "1")?;
        Ok(Self { bridge, bridge_cidr, gateway, vpc_bridge, vpc_cidr })
    }

    /// Puts a subnet's gateway on the VPC bridge.
    pub fn add_vpc_gateway(&self, gateway: Ipv4Addr, prefix: u8) -> Result<(), Error> {
        let mut netlink = Netlink::open().map_err(failed("open a netlink socket"))?;
        if let Ok(block) = Ipv4Cidr::new(gateway, prefix)
            && !self.vpc_cidr.contains(gateway)
        {
            let own = [self.bridge.as_str(), self.vpc_bridge.as_str()];
            refuse_overlap(block, &routed_elsewhere(&mut netlink, &own)?)?;
        }
        add_address(&mut netlink, &self.vpc_bridge, gateway, prefix)
    }

    /// Routes a further VPC's block to the VPC bridge, so that other wharfs see it as taken.
    pub fn add_network(&self, block: Ipv4Cidr) -> Result<(), Error> {
        let mut netlink = Netlink::open().map_err(failed("open a netlink socket"))?;
        let own = [self.bridge.as_str(), self.vpc_bridge.as_str()];
        refuse_overlap(block, &routed_elsewhere(&mut netlink, &own)?)?;
        let router = block.nth(1).ok_or(Error::NoFreeAddress(block))?;
        add_address(&mut netlink, &self.vpc_bridge, router, block.prefix())
    }

    /// Takes from the VPC bridge the gateways that are in none of these blocks, nor in `vpc`.
    pub fn forget_networks(&self, blocks: &[Ipv4Cidr], vpc: Ipv4Cidr) -> Result<(), Error> {
        let what = || format!("take addresses from {}", self.vpc_bridge);
        let mut netlink = Netlink::open().map_err(failed("open a netlink socket"))?;
        let index = super::index_of(&self.vpc_bridge)?;
        for (address, prefix) in netlink.addresses(index).map_err(failed(what()))? {
            if !vpc.contains(address) && !blocks.iter().any(|block| block.contains(address)) {
                netlink.delete_address(index, address, prefix).map_err(failed(what()))?;
            }
        }
        Ok(())
    }

    /// Removes both bridges.
    pub fn remove(&self) -> Result<(), Error> {
        super::delete_link(&self.bridge)?;
        super::delete_link(&self.vpc_bridge)
    }

    /// The names of the interfaces on both bridges.
    pub fn members(&self) -> Result<Vec<String>, Error> {
        let mut netlink = Netlink::open().map_err(failed("open a netlink socket"))?;
        let links = netlink.links().map_err(failed("list interfaces"))?;
        let bridges: Vec<u32> = links
            .iter()
            .filter(|link| link.name == self.bridge || link.name == self.vpc_bridge)
            .map(|link| link.index)
            .collect();
        let on_bridge = |index: &u32| bridges.contains(index);
        Ok(links
            .into_iter()
            .filter(|link| link.controller.as_ref().is_some_and(on_bridge))
            .map(|link| link.name)
            .collect())
    }
}

/// The block that is routed to the VPC bridge of a wharf, if it has one.
pub fn vpc_block(instance: &str) -> Result<Option<Ipv4Cidr>, Error> {
    let name = format!("wv-{instance}");
    let mut netlink = Netlink::open().map_err(failed("open a netlink socket"))?;
    let Some(link) = netlink.link(&name).map_err(failed(format!("look up {name}")))? else {
        return Ok(None);
    };
    let routes = netlink.routes().map_err(failed("list routes"))?;
    let own = routes.into_iter().filter(|(_, interface)| *interface == Some(link.index));
    // Subnets' gateways have routes of their own within it.
    Ok(own.map(|(block, _)| block).min_by_key(Ipv4Cidr::prefix))
}

/// Gives the VPC's bridge of a wharf single addresses of the VPC, on which its host answers, and takes
/// others from it. False if there is no such bridge, as before the first task.
///
/// # Errors
/// If the kernel refuses.
pub fn hold_vpc_addresses(
    instance: &str,
    wanted: &BTreeSet<Ipv4Addr>,
    unwanted: &BTreeSet<Ipv4Addr>,
) -> Result<bool, Error> {
    let name = format!("wv-{instance}");
    let mut netlink = Netlink::open().map_err(failed("open a netlink socket"))?;
    let Some(link) = netlink.link(&name).map_err(failed(format!("look up {name}")))? else {
        return Ok(false);
    };
    for address in unwanted {
        let what = || format!("take {address} from {name}");
        netlink.delete_address(link.index, *address, 32).map_err(failed(what()))?;
    }
    for address in wanted {
        let what = || format!("give {address} to {name}");
        netlink.add_address(link.index, *address, 32).map_err(failed(what()))?;
    }
    Ok(true)
}

fn ensure(netlink: &mut Netlink, name: &str) -> Result<(), Error> {
    let what = || format!("make bridge {name}");
    if let Some(link) = netlink.link(name).map_err(failed(what()))? {
        return netlink.set_up(link.index).map_err(failed(what()));
    }
    netlink.add_bridge(name, mac_of(name)).map_err(failed(what()))
}

fn add_address(
    netlink: &mut Netlink,
    name: &str,
    address: Ipv4Addr,
    prefix: u8,
) -> Result<(), Error> {
    let what = || format!("give {address}/{prefix} to {name}");
    let link = netlink.link(name).map_err(failed(what()))?;
    let index = link.ok_or_else(|| Error::NoBridge(name.to_owned()))?.index;
    netlink.add_address(index, address, prefix).map_err(failed(what()))
}

/// The blocks that the host routes to interfaces other than `own`.
fn routed_elsewhere(netlink: &mut Netlink, own: &[&str]) -> Result<Vec<Ipv4Cidr>, Error> {
    let own: Vec<u32> = netlink
        .links()
        .map_err(failed("list interfaces"))?
        .into_iter()
        .filter(|link| own.contains(&link.name.as_str()))
        .map(|link| link.index)
        .collect();
    let routes = netlink.routes().map_err(failed("list routes"))?.into_iter();
    let elsewhere = routes.filter(|(block, interface)| {
        block.prefix() > 0 && !interface.is_some_and(|index| own.contains(&index))
    });
    Ok(elsewhere.map(|(block, _)| block).collect())
}

/// Isolates the ports that the bridge has already: tasks that an earlier version connected.
fn isolate_ports(netlink: &mut Netlink, bridge: &str) -> Result<(), Error> {
    let index = super::index_of(bridge)?;
    for link in netlink.links().map_err(failed("list interfaces"))? {
        if link.controller == Some(index) {
            let what = format!("isolate {}", link.name);
            netlink.set_port(&link.name, true).map_err(failed(what))?;
        }
    }
    Ok(())
}

fn refuse_overlap(wanted: Ipv4Cidr, routed: &[Ipv4Cidr]) -> Result<(), Error> {
    match routed.iter().find(|block| block.overlaps(&wanted)) {
        Some(&routed) => Err(Error::Overlap { wanted, routed }),
        None => Ok(()),
    }
}

/// The first /20 of 172.20.0.0/14, then of 10.200.0.0/14, that nothing else uses. docker starts
/// at 172.17 and goes up in steps of a /16, so that both have room.
fn free_block(routed: &[Ipv4Cidr], vpc_cidr: Ipv4Cidr) -> Result<Ipv4Cidr, Error> {
    let starts = [Ipv4Addr::new(172, 28, 0, 0), Ipv4Addr::new(10, 200, 0, 0)];
    starts
        .into_iter()
        .flat_map(|start| (0..64u32).map(move |step| u32::from(start) + (step << 12)))
        .filter_map(|bits| Ipv4Cidr::new(Ipv4Addr::from(bits), 20).ok())
        .find(|block| !block.overlaps(&vpc_cidr) && refuse_overlap(*block, routed).is_ok())
        .ok_or(Error::NoFreeBlock)
}

/// A locally administered Ethernet address derived from a name.
pub fn mac_of(name: &str) -> MacAddress {
    let hash = fnv(name.as_bytes()).to_be_bytes();
    MacAddress([0x02, hash[0], hash[1], hash[2], hash[3], hash[4]])
}

/// The Ethernet address that docker gives to a container with this address.
pub fn mac_of_address(address: Ipv4Addr) -> MacAddress {
    let [a, b, c, d] = address.octets();
    MacAddress([0x02, 0x42, a, b, c, d])
}

/// A host interface's name: `w` and 14 hexadecimal digits, the same for the same parts.
pub fn veth_name(instance: &str, sandbox: &str, container: &str) -> String {
    let hash = fnv(format!("{instance}/{sandbox}/{container}").as_bytes());
    format!("w{:014x}", hash >> 8)
}

/// FNV-1a: stable over versions and processes.
pub fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Addresses of the bridge network. Freed ones come back last, so that a namespace that is still
/// being taken down doesn't answer for its successor.
#[derive(Debug)]
pub struct Addresses {
    block: Ipv4Cidr,
    taken: BTreeSet<Ipv4Addr>,
    next: u32,
}

impl Addresses {
    /// Every address of `block` but the network's, the gateway's and the broadcast address.
    pub fn new(block: Ipv4Cidr) -> Self {
        Self { block, taken: BTreeSet::new(), next: 2 }
    }

    /// Marks an address as taken.
    pub fn mark(&mut self, address: Ipv4Addr) {
        self.taken.insert(address);
        let offset = u32::from(address).wrapping_sub(u32::from(self.block.network()));
        self.next = self.next.max(offset.saturating_add(1));
    }

    /// Takes the next free address.
    pub fn take(&mut self) -> Result<Ipv4Addr, Error> {
        let last = u32::try_from(self.block.size().saturating_sub(2)).unwrap_or(u32::MAX);
        for _ in 2..=last {
            if self.next > last {
                self.next = 2;
            }
            let address = self.block.nth(self.next);
            self.next += 1;
            if let Some(address) = address.filter(|address| self.taken.insert(*address)) {
                return Ok(address);
            }
        }
        Err(Error::NoFreeAddress(self.block))
    }

    /// Gives an address back.
    pub fn free(&mut self, address: Ipv4Addr) {
        self.taken.remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_round_and_run_out() {
        let mut addresses = Addresses::new("10.0.0.0/29".parse().unwrap());
        let all: Vec<_> = std::iter::from_fn(|| addresses.take().ok()).collect();
        assert_eq!(all.len(), 5);
        assert!(!all.contains(&Ipv4Addr::new(10, 0, 0, 1)));
        addresses.free(all[0]);
        addresses.free(all[3]);
        assert_eq!(addresses.take().unwrap(), all[0]);
        assert_eq!(addresses.take().unwrap(), all[3]);
        assert!(addresses.take().is_err());
    }

    #[test]
    fn a_free_block_avoids_routes_and_the_vpc() {
        let routed = ["172.16.0.0/12".parse().unwrap(), "10.200.0.0/20".parse().unwrap()];
        let block = free_block(&routed, "10.200.16.0/20".parse().unwrap()).unwrap();
        assert_eq!(block.to_string(), "10.200.32.0/20");
    }

    #[test]
    fn interface_names_fit_the_kernel() {
        let name = veth_name("abcdefgh", &"t".repeat(128), &"c".repeat(128));
        assert_eq!(name.len(), 15);
    }
}
