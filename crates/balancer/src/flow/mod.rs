//! Flows of Network Load Balancers: TCP, TLS and UDP.

mod proxy_protocol;
mod tcp;
mod udp;

pub(crate) use tcp::accept;
pub(crate) use udp::datagrams;
