//! The balancer on real sockets: real clients on one side, real targets on the other.

#![allow(clippy::unwrap_used)]

mod flows;
mod hostile;
mod http;
mod lifecycle;
mod support;
mod tls;
