//! The balancer as a whole: takes what the server tells, keeps sockets, checks and cells as that
//! says, and tells the server what came of it.

mod checks;
mod compile;
mod control;
mod handover;
pub mod keeper;
mod persist;
mod probe;
mod sockets;
mod worker;

pub(crate) use worker::Worker;

use crate::metrics::Metrics;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wharf_model::ArnScope;
use wharf_model::load_balancing::{Report, Update};

/// How a balancer is run.
#[derive(Clone)]
pub struct Options {
    /// Where it keeps its configuration and its secret.
    pub directory: PathBuf,
    /// Threads that carry requests; 0 is one for each core.
    pub workers: usize,
    /// Addresses of the shared front, where load balancers are told by host name.
    pub shared_addresses: Vec<IpAddr>,
    /// The address on which internet-facing load balancers listen, too.
    pub public_address: Option<IpAddr>,
    /// The zone that it stands in, for target groups without cross-zone load balancing.
    pub zone: Option<String>,
    /// Where access logs go; none are written without. Those of load balancers that have them off
    /// are written too: here they cost nothing, and nobody is billed for a bucket.
    pub access_logs: Option<PathBuf>,
    /// The scope of ARNs in them.
    pub arns: Option<ArnScope>,
    /// Socket of a process that keeps the listening sockets open when this one is killed.
    pub keeper: Option<PathBuf>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
}

impl Options {
    /// The defaults, with a directory for its state.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            workers: 0,
            shared_addresses: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            public_address: None,
            zone: None,
            access_logs: None,
            arns: None,
            keeper: None,
            metrics: Arc::default(),
        }
    }
}

/// Why a balancer can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its directory can't be used.
    #[error("the balancer's directory {path} can't be used: {source}")]
    Directory {
        /// The directory, or a file in it.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No threads.
    #[error("the balancer's threads can't be started: {0}")]
    Threads(std::io::Error),
}

/// Runs until `shutdown` is cancelled; then listens no more, and ends when what is under way has, or
/// after ten seconds.
///
/// Another one that is started on the same directory takes its listening sockets over, so that no
/// connection is refused; then this one ends once its connections have.
///
/// It begins with the configuration that it had last. A complete [`Update`] is answered by a
/// complete [`Report`], which is how whoever carries both over a network learns everything again
/// after a new connection. When `updates` ends, it goes on as it is.
pub async fn run(
    options: Options,
    updates: mpsc::Receiver<Update>,
    reports: mpsc::Sender<Report>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    control::Control::start(options).await?.run(updates, reports, shutdown).await;
    Ok(())
}
