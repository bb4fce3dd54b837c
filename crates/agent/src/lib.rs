//! The ECS agent: carries out on this host what the control plane wants, and tells it what is.
//!
//! It speaks the protocol of Amazon's own agent (ACS, TCS, the ECS API's registration and state
//! change calls), drives `wharf-image` and `wharf-runtime`, and serves the task endpoints. It
//! never decides where a task runs and never talks to the journal. Containers outlive it.
//!
//! - [`Agent`], [`options`]: the component.
//! - [`task`]: a task as it is carried out, parsed from the wire.
//! - [`engine`]: desired against known, pure.
//! - `tasks`, `launch`: the engine's effects on images and containers.
//! - [`store`]: what survives kill -9.
//! - [`api`], `discover`: calls to the control plane.
//! - `roles`: what is done in the name of a task's execution role.
//! - `awslogs`: containers' output on its way into the log store.
//! - `stats`: what containers use.
//! - `websocket`, `acs`, `tcs`: the sessions.
//! - [`endpoints`]: metadata and credentials for tasks, introspection for the host.

mod acs;
pub mod agent;
pub mod api;
mod discover;
mod dns;
pub mod endpoints;
pub mod engine;
mod firelens;
mod gpu;
mod launch;
pub mod options;
mod own_registry;
mod roles;
mod secrets;
mod shipping;
mod stats;
pub mod store;
pub mod task;
mod tasks;
mod tcs;
pub mod websocket;

pub use agent::{Agent, Error};

/// Libraries, by their log targets, that write out what they carry when they are asked for all:
/// the websocket's frames hold credentials. Whoever sets up a log keeps them at INFO.
pub const QUIET_TARGETS: &[&str] = &["tungstenite"];

pub use options::{AgentCredentials, AgentOptions, ObjectStore};
pub use own_registry::OwnRegistry;
pub use secrets::ObjectReader;
