//! Networks of tasks: bridges, interfaces, published ports, address translation.
//!
//! Two bridges for each wharf: one for network mode bridge, one for the VPC. What can be derived
//! is derived (names from the instance, rules from the live sandboxes); nothing is kept in a
//! database of its own.

pub mod bridge;
pub mod counters;
pub(crate) mod enforcer;
pub(crate) mod lock;
pub mod netlink;
pub mod nft;
pub mod policy;
pub mod ports;

use std::io;

use crate::spec::Ipv4Cidr;
use netlink::Netlink;

/// The interface's name inside a task.
pub const TASK_INTERFACE: &str = "eth0";

/// Why a network couldn't be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A netlink or other system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried, on what.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// A bridge is missing.
    #[error("bridge {0} is gone")]
    NoBridge(String),
    /// An interface is missing.
    #[error("interface {0} is gone")]
    NoInterface(String),
    /// The block that was asked for is routed by the host already.
    #[error("{wanted} overlaps {routed}, which this host routes already; choose another block")]
    Overlap {
        /// The block that was asked for.
        wanted: Ipv4Cidr,
        /// The host's route.
        routed: Ipv4Cidr,
    },
    /// No candidate for the bridge's network is free.
    #[error("no free block for the bridge network; give one")]
    NoFreeBlock,
    /// Every address of the bridge's network is taken.
    #[error("no free address in {0}")]
    NoFreeAddress(Ipv4Cidr),
    /// nft refused a ruleset.
    #[error("nft: {0}")]
    Nft(String),
    /// The network's file can't be read or written.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

/// Names what failed.
pub(crate) fn failed<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
    let what = what.into();
    move |source| Error::System { what, source: source.into() }
}

/// Removes an interface of the host, its peer with it; one that is gone is no error.
pub fn delete_link(name: &str) -> Result<(), Error> {
    let what = || format!("delete interface {name}");
    let mut netlink = Netlink::open().map_err(failed(what()))?;
    if let Some(link) = netlink.link(name).map_err(failed(what()))? {
        netlink.delete_link(link.index).map_err(failed(what()))?;
    }
    Ok(())
}

/// An interface's index in the calling thread's namespace; asked without the kernel's network
/// lock, for which a netlink question would wait.
pub(crate) fn index_of(name: &str) -> Result<u32, Error> {
    nix::net::if_::if_nametoindex(name).map_err(|error| match error {
        nix::Error::ENODEV => Error::NoInterface(name.to_owned()),
        other => failed(format!("look for {name}"))(other),
    })
}

/// Writes a kernel parameter below /proc/sys.
pub(crate) fn set_sysctl(path: &str, value: &str) -> Result<(), Error> {
    let path = format!("/proc/sys/{path}");
    if std::fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(failed(format!("write {path}")))
}
