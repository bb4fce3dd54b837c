//! The HTTP front of the server: who asks, what for, in which protocol, and the answer.
//!
//! A request goes through these in order:
//! 1. [`http`] takes it in within its limits and refuses what a browser's page sends.
//! 2. [`sigv4`] is the one gate: it yields the [`identity::Verified`] that everything behind takes.
//! 3. `http::route` finds the service and the operation, [`protocol`] decodes the body.
//! 4. `authorize` holds it against the caller's policies.
//! 5. `dispatch` runs the operation ([`ecs`], [`iam`], [`sts`], [`ec2`], `elbv2`, `acm`, `ssm`, `secretsmanager`: pure functions) on
//!    a snapshot, commits what it wants, and on a conflict runs it anew. `logs` asks the log store,
//!    `ecr` and `http`'s registry below `/v2/` ask [`registry`].
//! 6. [`protocol`] encodes the answer or the [`error::ApiError`].
//!
//! The crate keeps no state of its own and does no I/O inside an operation.

pub mod acm;
pub mod agent_sessions;
pub mod app;
mod authorize;
pub mod context;
pub mod credentials;
mod dispatch;
pub mod ec2;
mod ecr;
pub mod ecs;
mod elbv2;
pub mod error;
pub mod http;
pub mod iam;
pub mod identity;
mod logs;
pub mod metrics;
pub mod outside;
mod placing;
pub mod protocol;
mod query_services;
pub mod registry;
pub mod remote;
pub mod seal;
mod secretsmanager;
pub mod sigv4;
mod ssm;
pub mod sts;
pub mod vault;

pub use app::{App, Parts};
pub use error::ApiError;
pub use vault::Vault;
