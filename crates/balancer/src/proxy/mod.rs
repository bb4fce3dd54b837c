//! HTTP: connections of clients, what becomes of their requests, and connections to targets.

mod answer;
mod client;
mod connection;
mod dial;
mod exchange;
mod forward;
mod guard;
mod pieces;
mod pool;
mod service;
mod transfer;
mod tunnel;

pub(crate) use connection::accept;
pub(crate) use dial::{Dialed, dial, open};
pub(crate) use pool::Pool;
pub(crate) use tunnel::{Broken, Passed, relay};
