//! Published host ports: each is held by a bound socket for as long as the container exists.
//!
//! The socket makes the port visible as taken to everything else on the host, and keeps another
//! wharf or a service from taking it. It never listens: packets are translated before they get
//! that far, and a connection that isn't is refused.

use std::io;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};

use crate::spec::{PortMapping, Protocol};

/// Why a port can't be held.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port that was asked for is taken.
    #[error("host port {}/{} is already in use", .0.host_port, .0.protocol.as_str())]
    Taken(PortMapping),
    /// Every port of the dynamic range is taken.
    #[error("no free {} port from {first} to {last}", .protocol.as_str())]
    NoneFree {
        /// TCP or UDP.
        protocol: Protocol,
        /// The range's first port.
        first: u16,
        /// The range's last port.
        last: u16,
    },
    /// A system call failed.
    #[error("hold host port {port}: {source}")]
    System {
        /// The port.
        port: u16,
        /// The system's error.
        source: io::Error,
    },
}

/// A port that is ours until this is dropped.
#[derive(Debug)]
pub struct HeldPort {
    /// The mapping with the host port that was chosen.
    pub mapping: PortMapping,
    _sockets: Vec<OwnedFd>,
}

/// Holds the mapping's host port, or a free one of `dynamic` when that is 0.
pub fn hold(wanted: &PortMapping, dynamic: RangeInclusive<u16>) -> Result<HeldPort, Error> {
    if wanted.host_port != 0 {
        return try_hold(wanted, wanted.host_port)?.ok_or_else(|| Error::Taken(wanted.clone()));
    }
    let (first, last) = (*dynamic.start(), *dynamic.end());
    // The first port of a range leaves room for the others.
    let last = last.saturating_sub(wanted.range.unwrap_or(1).saturating_sub(1));
    let count = u32::from(last.saturating_sub(first)) + 1;
    // Start anywhere: two shims that look at once don't walk the same way.
    let start = random_u32() % count;
    for step in 0..count {
        let port = first.saturating_add(u16::try_from((start + step) % count).unwrap_or(0));
        if let Some(held) = try_hold(wanted, port)? {
            return Ok(held);
        }
    }
    Err(Error::NoneFree { protocol: wanted.protocol, first, last })
}

/// Holds the port, and those that follow it in a range; none if one of them is taken.
fn try_hold(wanted: &PortMapping, port: u16) -> Result<Option<HeldPort>, Error> {
    let mapping = PortMapping { host_port: port, ..wanted.clone() };
    let mut sockets = Vec::new();
    for one in mapping.each() {
        match bound(&one)? {
            Some(socket) => sockets.push(socket),
            None => return Ok(None),
        }
    }
    Ok(Some(HeldPort { mapping, _sockets: sockets }))
}

fn bound(wanted: &PortMapping) -> Result<Option<OwnedFd>, Error> {
    let port = wanted.host_port;
    let kind = match wanted.protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let failed = |error: nix::Error| Error::System { port, source: error.into() };
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
    // What strays into a UDP socket that nobody reads shall not pile up.
    setsockopt(&socket, sockopt::RcvBuf, &0).map_err(failed)?;
    let [a, b, c, d] = Ipv4Addr::UNSPECIFIED.octets();
    match bind(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, port)) {
        Ok(()) => Ok(Some(socket)),
        Err(nix::Error::EADDRINUSE) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Randomness that needn't be good: it only spreads choices.
fn random_u32() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    let hash = std::collections::hash_map::RandomState::new().build_hasher().finish();
    (hash ^ (hash >> 32)) as u32 ^ std::process::id().rotate_left(16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_taken_port_is_refused_and_a_dynamic_one_skips_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let fixed = PortMapping {
            container_port: 80,
            host_port: port,
            protocol: Protocol::Tcp,
            range: None,
        };
        assert!(matches!(hold(&fixed, 1..=1), Err(Error::Taken(_))));
        let dynamic = PortMapping { host_port: 0, ..fixed };
        assert!(matches!(hold(&dynamic, port..=port), Err(Error::NoneFree { .. })));
        let held = hold(&dynamic, 32768..=60999).unwrap();
        assert!(TcpListener::bind(("127.0.0.1", held.mapping.host_port)).is_err());
        let again = PortMapping { host_port: held.mapping.host_port, ..dynamic };
        drop(held);
        assert!(hold(&again, 1..=1).is_ok());
    }

    #[test]
    fn a_range_is_one_piece_around_what_is_taken() {
        let range = PortMapping {
            container_port: 8000,
            host_port: 0,
            protocol: Protocol::Tcp,
            range: Some(5),
        };
        let first = hold(&range, 32768..=60999).unwrap();
        let from = first.mapping.host_port;
        for port in first.mapping.each().map(|one| one.host_port) {
            assert!(TcpListener::bind(("127.0.0.1", port)).is_err(), "{port}");
        }
        // Nothing of four ports is left before it, and nothing of five behind.
        let dynamic = from.saturating_sub(4)..=from.saturating_add(4);
        assert!(matches!(hold(&range, dynamic), Err(Error::NoneFree { .. })));
        assert_eq!(first.mapping.each().last().unwrap().container_port, 8004);
    }
}
