//! HTTP: connections, limits, and what is refused before anyone asks who is asking.
//!
//! [`Server`] owns the listening socket and the connections. It ends by its shutdown token: it
//! stops accepting, lets requests finish, and closes idle connections. Agents' websockets are
//! handed away at their upgrade and don't hold the server up.

mod answer;
mod guard;
mod history;
mod load_balancers;
mod registry_gc;
mod route;
mod sendfile;
mod server;
mod service;
mod v2;
mod websocket;

pub use guard::AllowedHosts;
pub use server::{Error, Limits, Options, RegistryDoor, Server};
