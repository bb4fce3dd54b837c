//! Network namespaces and interfaces, made by the shim.
//!
//! The shim stays in the host's namespace and holds those of its containers by descriptor. Since
//! it has one thread, it may step into one and back.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{self, OFlag};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;

use crate::net::netlink::{Netlink, VethPair};
use crate::net::{Error, TASK_INTERFACE, delete_link, failed, index_of, set_sysctl};
use crate::protocol::ShimConfig;
use crate::spec::{MacAddress, NetworkMode};

use super::container::Container;

/// The index of `lo` in every namespace.
const LOOPBACK_INDEX: u32 = 1;

/// The address of the task itself, in network mode awsvpc.
pub(super) fn task_address(config: &ShimConfig) -> Option<Ipv4Addr> {
    match &config.sandbox.network {
        NetworkMode::Awsvpc(eni) => Some(eni.address),
        _ => None,
    }
}

/// Makes the task's namespace and interface in network mode awsvpc; in others there is none.
pub(super) fn connect_task(config: &ShimConfig) -> Result<Option<OwnedFd>, Error> {
    let NetworkMode::Awsvpc(eni) = &config.sandbox.network else { return Ok(None) };
    let netns = new_netns()?;
    let interface = Interface {
        bridge: &config.vpc_bridge,
        veth: &config.task_veth,
        mac: eni.mac,
        address: eni.address,
        prefix: eni.prefix,
        gateway: eni.gateway,
        isolated: true,
    };
    connect(netns.as_fd(), &interface)?;
    Ok(Some(netns))
}

/// Removes the task's interface.
pub(super) fn disconnect_task(config: &ShimConfig) -> Result<(), Error> {
    match &config.sandbox.network {
        NetworkMode::Awsvpc(_) => delete_link(&config.task_veth),
        _ => Ok(()),
    }
}

/// Gives a container's own namespace its interface.
pub(super) fn connect_container(config: &ShimConfig, container: &Container) -> Result<(), Error> {
    let (Some(netns), Some(port)) = (&container.netns, &container.bridge_port) else {
        return Ok(());
    };
    let interface = Interface {
        bridge: &config.bridge,
        veth: &port.veth,
        mac: port.mac,
        address: port.address,
        prefix: port.prefix,
        gateway: port.gateway,
        isolated: false,
    };
    connect(netns.as_fd(), &interface)
}

struct Interface<'a> {
    bridge: &'a str,
    veth: &'a str,
    mac: MacAddress,
    address: Ipv4Addr,
    prefix: u8,
    gateway: Ipv4Addr,
    /// Reaches other isolated ones by the host's routing alone, where security groups apply.
    isolated: bool,
}

fn connect(netns: BorrowedFd<'_>, interface: &Interface<'_>) -> Result<(), Error> {
    let Interface { bridge, veth, mac, address, prefix, gateway, isolated } = *interface;
    let mut host = Netlink::open().map_err(failed("open a netlink socket"))?;
    let bridge = index_of(bridge)?;
    let pair = VethPair {
        host_name: veth,
        bridge,
        peer_name: TASK_INTERFACE,
        peer_mac: mac,
        peer_netns: netns,
    };
    host.add_veth(&pair).map_err(failed(format!("make interface {veth}")))?;
    // Where bridged packets pass through netfilter, a container that calls its own host port is
    // answered by the bridge, back through the port that it came from.
    host.set_port(veth, isolated).map_err(failed(format!("set up the bridge's port {veth}")))?;
    within(netns, || {
        let what = || format!("give {address} to {TASK_INTERFACE}");
        let mut inside = Netlink::open().map_err(failed("open a netlink socket"))?;
        let index = index_of(TASK_INTERFACE)?;
        inside.add_address(index, address, prefix).map_err(failed(what()))?;
        inside.set_up(index).map_err(failed(format!("bring {TASK_INTERFACE} up")))?;
        inside.add_default_route(gateway).map_err(failed(format!("route by {gateway}")))
    })
}

/// A new network namespace in which loopback is up.
pub(super) fn new_netns() -> Result<OwnedFd, Error> {
    let home = open_own_netns()?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(failed("unshare the network namespace"))?;
    let made = open_own_netns().and_then(|netns| {
        // Tasks have no IPv6 beyond loopback: without it, no router or address comes in unasked.
        // As the default of what is yet to be made: to set it on an interface means to try, busily,
        // for as long as another holds the kernel's network lock.
        let _ = set_sysctl("net/ipv6/conf/default/disable_ipv6", "1");
        let mut netlink = Netlink::open().map_err(failed("open a netlink socket"))?;
        netlink.set_up(LOOPBACK_INDEX).map_err(failed("bring loopback up"))?;
        Ok(netns)
    });
    go_to(home.as_fd());
    made
}

fn within<T>(netns: BorrowedFd<'_>, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let home = open_own_netns()?;
    setns(netns, CloneFlags::CLONE_NEWNET).map_err(failed("enter a network namespace"))?;
    let result = work();
    go_to(home.as_fd());
    result
}

/// Goes back to the host's namespace. A shim that can't would publish ports and make interfaces
/// inside a container's: it ends instead, and its task with it.
fn go_to(home: BorrowedFd<'_>) {
    if setns(home, CloneFlags::CLONE_NEWNET).is_err() {
        super::exit_now(70);
    }
}

fn open_own_netns() -> Result<OwnedFd, Error> {
    fcntl::open("/proc/self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(failed("open /proc/self/ns/net"))
}
