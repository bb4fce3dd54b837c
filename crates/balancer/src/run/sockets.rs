//! Listening sockets: which ones the configuration asks for, and those that are there.

use super::handover::Inherited;
use super::keeper::Keeper;
use super::worker::Running;
use crate::flow;
use crate::live::{Endpoint, FrontCell, ListenerCell};
use crate::proxy;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// A socket's address, and whether it is one for UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) address: SocketAddr,
    pub(super) udp: bool,
}

/// Who is to answer there.
#[derive(Clone)]
pub(super) enum Answerer {
    /// HTTP.
    Http(Endpoint),
    /// TCP or TLS flows.
    Flows(Arc<ListenerCell>),
    /// UDP flows.
    Datagrams(Arc<ListenerCell>),
}

impl Answerer {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Http(Endpoint::Own(a)), Self::Http(Endpoint::Own(b)))
            | (Self::Flows(a), Self::Flows(b))
            | (Self::Datagrams(a), Self::Datagrams(b)) => Arc::ptr_eq(a, b),
            (Self::Http(Endpoint::Shared(a)), Self::Http(Endpoint::Shared(b))) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

struct Open {
    answerer: Answerer,
    /// Nothing more is accepted.
    stop: CancellationToken,
    /// The listener is gone, and its connections with it.
    gone: CancellationToken,
    /// Held so that the successor can have it.
    socket: Arc<Socket>,
}

/// All sockets.
#[derive(Default)]
pub(super) struct Sockets {
    open: BTreeMap<Place, Open>,
    /// Those that can't be had, and why.
    failed: BTreeMap<Place, String>,
    fronts: BTreeMap<SocketAddr, Arc<FrontCell>>,
    /// A predecessor's.
    inherited: Inherited,
    keeper: Keeper,
}

impl Sockets {
    /// Takes a predecessor's sockets, for those places that are asked for.
    pub(super) fn inherit(&mut self, inherited: Inherited) {
        self.inherited = inherited;
    }

    /// Closes what was inherited and isn't asked for, here and at the keeper.
    pub(super) fn disinherit(&mut self) {
        self.inherited.clear();
        self.keep_all();
    }

    /// Lets another process keep the sockets open, too; what it has kept is inherited.
    pub(super) fn keep_with(&mut self, mut keeper: Keeper, kept: Inherited) {
        std::mem::swap(&mut self.keeper, &mut keeper);
        for (place, descriptor) in kept {
            self.inherited.entry(place).or_insert(descriptor);
        }
    }

    /// Whether the keeper doesn't know what is open.
    pub(super) fn is_unkept(&mut self) -> bool {
        self.keeper.is_lost()
    }

    /// Tells the keeper all that is open.
    pub(super) fn keep_all(&mut self) {
        let open = self.open.iter().map(|(place, open)| (place, open.socket.as_fd()));
        self.keeper.hold_all(open);
    }

    /// All sockets, for a successor.
    pub(super) fn bequeath(&self) -> io::Result<Inherited> {
        let copy = |(place, open): (&Place, &Open)| Ok((*place, open.socket.try_clone()?.into()));
        self.open.iter().map(copy).collect()
    }

    /// The front of an address, if there is one.
    pub(super) fn front(&self, address: SocketAddr) -> Option<&Arc<FrontCell>> {
        self.fronts.get(&address)
    }

    pub(super) fn set_front(&mut self, address: SocketAddr, front: Arc<FrontCell>) {
        self.fronts.insert(address, front);
    }

    pub(super) fn keep_fronts(&mut self, wanted: impl Fn(&SocketAddr) -> bool) {
        self.fronts.retain(|address, _| wanted(address));
    }

    pub(super) fn is_open(&self, place: &Place) -> bool {
        self.open.contains_key(place)
    }

    pub(super) fn failure(&self, place: &Place) -> Option<&str> {
        self.failed.get(place).map(String::as_str)
    }

    pub(super) fn any_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Listens where it is wanted and, on the ports that this concerns, nowhere else. Whether anything
    /// changed.
    pub(super) fn settle(
        &mut self,
        wanted: &BTreeMap<Place, Answerer>,
        concerns: impl Fn(u16) -> bool,
        workers: &[Running],
    ) -> bool {
        let mut changed = false;
        let keeper = &mut self.keeper;
        self.open.retain(|place, open| {
            let keep = !concerns(place.address.port())
                || wanted.get(place).is_some_and(|answerer| answerer.is(&open.answerer));
            if !keep {
                open.stop.cancel();
                open.gone.cancel();
                keeper.close(*place);
                changed = true;
            }
            keep
        });
        let (failed, others) = std::mem::take(&mut self.failed)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(place, _)| concerns(place.address.port()));
        self.failed = others;
        let unconcerned = self.failed.len();
        for (place, answerer) in wanted {
            if self.open.contains_key(place) {
                continue;
            }
            let inherited = self.inherited.remove(place).map(Socket::from);
            match listen(*place, inherited, answerer, workers) {
                Ok(open) => {
                    self.keeper.hold(*place, open.socket.as_fd());
                    self.open.insert(*place, open);
                    changed = true;
                }
                Err(error) => {
                    let text = error.to_string();
                    if failed.get(place) != Some(&text) {
                        tracing::warn!(address = %place.address, %error, "can't listen");
                        changed = true;
                    }
                    self.failed.insert(*place, text);
                }
            }
        }
        changed || failed.len() != self.failed.len() - unconcerned
    }

    /// Listens nowhere any more.
    pub(super) fn close(&mut self) {
        for (_, open) in std::mem::take(&mut self.open) {
            open.stop.cancel();
        }
    }
}

fn listen(
    place: Place,
    inherited: Option<Socket>,
    answerer: &Answerer,
    workers: &[Running],
) -> io::Result<Open> {
    let socket = Arc::new(match inherited {
        Some(socket) => socket,
        None => bind(place)?,
    });
    let (stop, gone) = (CancellationToken::new(), CancellationToken::new());
    for (number, running) in workers.iter().enumerate() {
        let worker = Arc::clone(&running.worker);
        let stop = stop.clone();
        let tracker = &running.worker.shared.connections;
        match answerer {
            Answerer::Http(endpoint) => {
                let listener = socket.try_clone()?.into();
                let tokens = (stop, gone.clone());
                let serve = proxy::accept(listener, endpoint.clone(), worker, tokens);
                running.handle.spawn(serve);
            }
            Answerer::Flows(cell) => {
                let listener = socket.try_clone()?.into();
                running.handle.spawn(flow::accept(listener, Arc::clone(cell), worker, stop));
            }
            // One task reads all datagrams of a socket: two would put them out of order.
            Answerer::Datagrams(cell) if number == 0 => {
                let udp = socket.try_clone()?.into();
                let serve = flow::datagrams(udp, Arc::clone(cell), stop);
                tracker.spawn_on(serve, &running.handle);
            }
            Answerer::Datagrams(_) => {}
        }
    }
    Ok(Open { answerer: answerer.clone(), stop, gone, socket })
}

fn bind(place: Place) -> io::Result<Socket> {
    let domain = if place.address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let (kind, protocol) =
        if place.udp { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    if place.address.is_ipv6() {
        socket.set_only_v6(true)?;
    } else if !is_loopback(place.address.ip()) {
        // The address that tasks reach may come up after its load balancer.
        socket.set_freebind_v4(true)?;
    }
    if !place.udp {
        // What a predecessor left in TIME_WAIT must not keep the port.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&SockAddr::from(place.address))?;
    if !place.udp {
        socket.listen(BACKLOG)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn is_loopback(address: IpAddr) -> bool {
    address.is_loopback()
}
