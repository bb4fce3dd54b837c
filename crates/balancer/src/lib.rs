//! The load balancer: what Elastic Load Balancing's data plane does, for the load balancers that the
//! server tells of.
//!
//! [`rules`], [`targets`], [`head`], [`forwarded`] and [`pages`] are pure: they decide what happens to
//! a request. [`run`] carries it out: it takes [`Update`]s of the configuration, gives [`Report`]s of
//! health, and goes on without the server on the configuration that it had last.
//!
//! [`Update`]: wharf_model::load_balancing::Update
//! [`Report`]: wharf_model::load_balancing::Report

mod access_log;
mod connection_log;
mod flow;
pub mod forwarded;
pub mod head;
mod live;
pub mod metrics;
pub mod pages;
mod proxy;
pub mod rules;
mod run;
pub mod targets;
mod tls;

pub use run::{Error, Options, keeper, run};
