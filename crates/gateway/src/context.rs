//! What an operation sees and what it returns.
//!
//! An operation is a pure function `(&Context, &Input) -> Result<Outcome<Output>, ApiError>`. It
//! reads the snapshot, never a clock, and changes nothing: what it wants changed is a transaction
//! in its outcome. The edge ([`crate::dispatch`]) commits it and, where a record that the
//! transaction names in its reads has changed meanwhile, runs the function again on a new
//! snapshot.

use crate::identity::Verified;
use crate::seal::SealKey;
use crate::vault::Vault;
use serde_json::value::RawValue;
use std::sync::Arc;
use wharf_model::load_balancing::{ListenerStatus, Meter, MeterKey, TargetHealth, TargetKey};
use wharf_model::network::{BuiltinVpc, Ipv4Range, Network};
use wharf_model::{
    ArnScope, ContainerInstanceKey, IdSource, ServiceKey, Snapshot, Timestamp, Transaction,
};
use wharf_scheduler::Connectivity;

/// Everything that an operation may look at.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The state that the decision is made on.
    pub snapshot: &'a Snapshot,
    /// Who asks.
    pub identity: &'a Verified,
    /// The time of the request: the only "now" there is.
    pub now: Timestamp,
    /// Source of everything random: ids, random placement.
    pub seed: u64,
    /// Region and account, and the ARNs made of them.
    pub arns: &'a ArnScope,
    /// The built-in VPC.
    pub vpc: &'a BuiltinVpc,
    /// Seals and opens values of parameters and secrets.
    pub vault: &'a Vault,
    /// The operator has named a store for environment files.
    pub has_object_store: bool,
    /// Base URL of this server as agents reach it, such as `http://127.0.0.1:4580`.
    pub endpoint: &'a str,
    /// Makes secrets, and seals them.
    pub seal: &'a SealKey,
    /// What is known but is no record: live sessions, health of the moment.
    pub soft: &'a dyn SoftState,
    /// What has been: events, old tasks.
    pub history: &'a dyn HistoryReader,
}

impl Context<'_> {
    /// A source of ids for this request: the same in every run of it.
    pub fn ids(&self) -> IdSource {
        IdSource::new(self.seed)
    }

    /// All networks.
    pub fn network(&self) -> Network<'_> {
        Network::new(self.snapshot, self.vpc)
    }

    /// Region name.
    pub fn region(&self) -> &str {
        &self.arns.region
    }

    /// Account id.
    pub fn account(&self) -> &str {
        &self.arns.account
    }
}

/// Soft state: in memory only, lost without harm.
pub trait SoftState: Connectivity + Send + Sync {
    /// When the agent's health checks last reported, and whether the instance was well (API
    /// `healthStatus`): status `OK`, `IMPAIRED`, `INSUFFICIENT_DATA` or `INITIALIZING`, last
    /// update, last change. None if it never reported.
    fn instance_health(
        &self,
        instance: &ContainerInstanceKey,
    ) -> Option<(String, Timestamp, Timestamp)>;

    /// What the server's host routes beside this server's own networks.
    fn routed(&self) -> Vec<Ipv4Range> {
        Vec::new()
    }

    /// Where a listener, by its path, can be reached; `None` before the balancer's first report of it.
    fn listener_status(&self, _: &str) -> Option<ListenerStatus> {
        None
    }

    /// What the balancer said last of a target; `None` before its first report of it.
    fn target_health(&self, _: &TargetKey) -> Option<TargetHealth> {
        None
    }

    /// What balancers have counted of load balancers and target groups.
    fn meters(&self) -> Vec<Counted> {
        Vec::new()
    }
}

/// What was counted of a load balancer or a target group.
#[derive(Debug, Clone)]
pub struct Counted {
    /// Whose it is.
    pub key: MeterKey,
    /// All of it.
    pub total: Meter,
    /// What came in the last minute that is over.
    pub minute: Meter,
}

impl SoftState for wharf_scheduler::AllConnected {
    fn instance_health(&self, _: &ContainerInstanceKey) -> Option<(String, Timestamp, Timestamp)> {
        None
    }
}

/// One event of a service (ECS API `ServiceEvent`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEvent {
    /// A UUID.
    pub id: String,
    /// When it happened.
    pub created_at: Timestamp,
    /// What happened.
    pub message: String,
}

/// Reads what was written beside the journal. Decisions never look at it.
pub trait HistoryReader: Send + Sync {
    /// The newest events of a service, newest first.
    fn service_events(&self, service: &ServiceKey, limit: usize) -> Vec<ServiceEvent>;

    /// The newest entries of a subject, newest first.
    fn recent(&self, _subject: &str, _limit: usize) -> Vec<RecentEntry> {
        Vec::new()
    }

    /// The subjects that begin with `prefix`, in order.
    fn subjects(&self, _prefix: &str) -> Vec<String> {
        Vec::new()
    }
}

/// An entry of the history as it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct RecentEntry {
    /// When it happened.
    pub at: Timestamp,
    /// ARN of what it is about.
    pub subject: String,
    /// What kind of entry it is, such as `task-status`.
    pub kind: String,
    /// Its content.
    pub body: serde_json::Value,
}

/// A history without entries.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHistory;

impl HistoryReader for NoHistory {
    fn service_events(&self, _: &ServiceKey, _: usize) -> Vec<ServiceEvent> {
        Vec::new()
    }
}

/// Something to remember beside the journal, once the transaction holds.
#[derive(Debug, Clone)]
pub struct HistoryEntry {
    /// ARN of what it is about.
    pub subject: String,
    /// What kind of entry it is, such as `placement-report`.
    pub kind: &'static str,
    /// Its content, JSON; entries of one decision share it.
    pub body: Arc<RawValue>,
}

impl PartialEq for HistoryEntry {
    fn eq(&self, other: &Self) -> bool {
        let of = |entry: &Self| (entry.subject.clone(), entry.kind, entry.body.get().to_owned());
        of(self) == of(other)
    }
}

/// What an operation wants: its answer, and the change that makes the answer true.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome<O> {
    /// The answer.
    pub output: O,
    /// The change; empty for an operation that only reads.
    pub transaction: Transaction,
    /// What to remember once the change holds.
    pub history: Vec<HistoryEntry>,
}

impl<O> Outcome<O> {
    /// An answer that changes nothing.
    pub fn read(output: O) -> Self {
        Self { output, transaction: Transaction::new(), history: Vec::new() }
    }

    /// An answer that holds once `transaction` is committed.
    pub fn write(output: O, transaction: Transaction) -> Self {
        Self { output, transaction, history: Vec::new() }
    }

    /// The same with entries for the history.
    pub fn with_history(mut self, entries: impl IntoIterator<Item = HistoryEntry>) -> Self {
        self.history.extend(entries);
        self
    }
}

/// What an operation returns.
pub type Result<O> = std::result::Result<Outcome<O>, crate::error::ApiError>;
