//! The control plane's loops: what turns committed changes into decisions and messages.
//!
//! Nothing is decided here. A change, a timer or an agent's connection wakes a loop; the loop asks
//! `scheduler` what should be, commits the transaction that it gets, and on a conflict asks again.
//! Agents are told what is wanted over ACS; what they saw comes back through the API. A lost wake
//! or message costs time, never correctness: every loop compares levels, not edges.
//!
//! - [`services`]: one reconciliation per service that may have something to do.
//! - [`acs`], [`tcs`]: sessions with agents; [`delivery`] knows what an agent must still be told.
//! - [`balancing`]: what balancers are told, and what they report.
//! - [`roles`]: credentials of tasks' roles.
//! - [`history`]: follows the changes and keeps tasks' timelines.
//! - [`expiry`]: forgets what the API no longer shows.

pub mod acs;
pub mod balancing;
pub mod delivery;
mod docker_settings;
mod expiry;
mod history;
pub mod network_policy;
mod payload;
pub mod roles;
mod services;
mod sessions;
pub mod tcs;

pub use balancing::{Balancers, Metered, Minute, OpenCertificate};
pub use history::{SERVICE_EVENT, SERVICE_REPORT, TASK_STATUS, TaskStatusEntry};
pub use sessions::{InstanceHealth, Sessions};

use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use wharf_journal::{History, Store};
use wharf_model::network::BuiltinVpc;
use wharf_model::{ArnScope, Timestamp};

/// The server's clock, injected so that tests can hold it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the control plane is made of.
#[derive(Clone)]
pub struct Options {
    /// All state.
    pub store: Arc<Store>,
    /// Events, timelines, reports.
    pub history: Arc<History>,
    /// Region and account.
    pub arns: ArnScope,
    /// The built-in VPC.
    pub vpc: BuiltinVpc,
    /// The clock.
    pub clock: Clock,
    /// Makes credentials of tasks' roles.
    pub issue_credentials: roles::IssueCredentials,
    /// How long those are good: [`roles::LIFE`].
    pub credentials_life: std::time::Duration,
    /// Opens certificates' keys for balancers.
    pub open_certificate: OpenCertificate,
}

/// The control plane, not yet running.
pub struct Control {
    options: Options,
    sessions: Arc<Sessions>,
    balancers: Arc<Balancers>,
}

impl Control {
    /// A control plane over the store of `options`.
    pub fn new(options: Options) -> Self {
        let sessions = Arc::new(Sessions::new(options.clone()));
        Self { sessions, balancers: Arc::new(Balancers::new(options.clone())), options }
    }

    /// Where balancers' connections are taken over, and what they have reported.
    pub fn balancers(&self) -> Arc<Balancers> {
        Arc::clone(&self.balancers)
    }

    /// Where agents' sessions are taken over, and which of them live.
    pub fn sessions(&self) -> Arc<Sessions> {
        Arc::clone(&self.sessions)
    }

    /// Runs all loops until `shutdown`; sessions are closed with it.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { options, sessions, balancers } = self;
        let soft = services::SoftState {
            sessions: Arc::clone(&sessions),
            balancers: Arc::clone(&balancers),
        };
        tokio::join!(
            services::run(options.clone(), soft, shutdown.clone()),
            balancers.run(shutdown.clone()),
            history::run(options.clone(), shutdown.clone()),
            expiry::run(options, shutdown.clone()),
            sessions.run(shutdown),
        );
    }
}

/// A seed for one decision. Decisions are pure; this is where chance enters.
fn seed() -> u64 {
    fastrand::u64(..)
}
