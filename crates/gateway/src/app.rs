//! One server's front: what all requests share.

use crate::agent_sessions::AgentSessions;
use crate::context::{Context, HistoryEntry, HistoryReader, SoftState};
use crate::error::ApiError;
use crate::identity::Verified;
use crate::metrics::Metrics;
use crate::outside::{CertificateAuthority, ObjectReader};
use crate::placing::Placing;
use crate::registry::{ImageRegistry, RegistryParts};
use crate::remote::RemoteRegistries;
use crate::seal::SealKey;
use crate::sigv4::{Clock, Gate, KeySource};
use crate::vault::Vault;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;
use wharf_journal::Store;
use wharf_logs::LogStore;
use wharf_model::network::BuiltinVpc;
use wharf_model::{ArnScope, Snapshot, Timestamp};

/// Takes entries for the history, after their transactions hold. Must not block.
pub trait HistoryWriter: Send + Sync {
    /// Remembers `entry` as of `at`. Losing it does no harm.
    fn append(&self, at: Timestamp, entry: HistoryEntry);
}

/// Drops all entries.
impl HistoryWriter for crate::context::NoHistory {
    fn append(&self, _: Timestamp, _: HistoryEntry) {}
}

/// What an [`App`] is made of.
pub struct Parts {
    /// Region that the server serves.
    pub region: String,
    /// Account that it serves.
    pub account: String,
    /// The built-in VPC.
    pub vpc: BuiltinVpc,
    /// Base URL as agents reach it, such as `http://127.0.0.1:4580`. Empty means the address that
    /// the server binds.
    pub endpoint: String,
    /// All state.
    pub store: Arc<Store>,
    /// What containers wrote.
    pub logs: LogStore,
    /// Seals values of parameters and secrets.
    pub vault: Arc<Vault>,
    /// The operator has named a store for environment files.
    pub has_object_store: bool,
    /// The server's own key, which seals secrets.
    pub seal: Arc<SealKey>,
    /// The image registry's blobs and key.
    pub registry: RegistryParts,
    /// Keys that sign requests.
    pub keys: Arc<dyn KeySource>,
    /// The server's clock.
    pub clock: Arc<dyn Clock>,
    /// Live sessions and the health of the moment.
    pub soft: Arc<dyn SoftState>,
    /// Reads the history.
    pub history: Arc<dyn HistoryReader>,
    /// Writes the history.
    pub history_writer: Arc<dyn HistoryWriter>,
    /// Takes agents' websockets over.
    pub sessions: Arc<dyn AgentSessions>,
}

/// What all requests share.
pub struct App {
    arns: ArnScope,
    vpc: BuiltinVpc,
    endpoint: OnceLock<String>,
    store: Arc<Store>,
    logs: LogStore,
    vault: Arc<Vault>,
    has_object_store: bool,
    seal: Arc<SealKey>,
    registry: ImageRegistry,
    gate: Gate,
    clock: Arc<dyn Clock>,
    soft: Arc<dyn SoftState>,
    history: Arc<dyn HistoryReader>,
    history_writer: Arc<dyn HistoryWriter>,
    sessions: Arc<dyn AgentSessions>,
    metrics: Metrics,
    placing: Placing,
    objects: Option<Arc<dyn ObjectReader>>,
    authority: Option<Arc<dyn CertificateAuthority>>,
    remotes: Option<Arc<dyn RemoteRegistries>>,
    stopping: CancellationToken,
}

impl App {
    /// A server's front made of `parts`.
    pub fn new(parts: Parts) -> Self {
        let endpoint = OnceLock::new();
        if !parts.endpoint.is_empty() {
            // A fresh cell takes its value.
            let _ = endpoint.set(parts.endpoint);
        }
        Self {
            gate: Gate::new(parts.keys, parts.account.clone(), parts.region.clone()),
            arns: ArnScope { region: parts.region, account: parts.account },
            vpc: parts.vpc,
            endpoint,
            store: parts.store,
            logs: parts.logs,
            vault: parts.vault,
            has_object_store: parts.has_object_store,
            seal: parts.seal,
            registry: ImageRegistry::new(parts.registry),
            clock: parts.clock,
            soft: parts.soft,
            history: parts.history,
            history_writer: parts.history_writer,
            sessions: parts.sessions,
            metrics: Metrics::new(),
            placing: Placing::default(),
            objects: None,
            authority: None,
            remotes: None,
            stopping: CancellationToken::new(),
        }
    }

    /// The same with a store to read objects from.
    pub fn with_objects(self, objects: Arc<dyn ObjectReader>) -> Self {
        Self { objects: Some(objects), ..self }
    }

    /// The same with an authority that signs certificates.
    pub fn with_authority(self, authority: Arc<dyn CertificateAuthority>) -> Self {
        Self { authority: Some(authority), ..self }
    }

    /// The same with a way to other registries.
    pub fn with_remotes(self, remotes: Arc<dyn RemoteRegistries>) -> Self {
        Self { remotes: Some(remotes), ..self }
    }

    /// The way to other registries.
    pub(crate) fn remotes(&self) -> Option<&Arc<dyn RemoteRegistries>> {
        self.remotes.as_ref()
    }

    /// Seals and opens values.
    pub(crate) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The store to read objects from.
    pub(crate) fn objects(&self) -> Option<&Arc<dyn ObjectReader>> {
        self.objects.as_ref()
    }

    /// The authority that signs certificates.
    pub(crate) fn authority(&self) -> Option<&Arc<dyn CertificateAuthority>> {
        self.authority.as_ref()
    }

    /// All state.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What containers wrote.
    pub(crate) fn logs(&self) -> &LogStore {
        &self.logs
    }

    /// Cancelled when no request is taken any more: answers without an end find theirs.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// The image registry.
    pub(crate) fn registry(&self) -> &ImageRegistry {
        &self.registry
    }

    /// The gate.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Region and account.
    pub fn arns(&self) -> &ArnScope {
        &self.arns
    }

    /// Base URL as agents reach it.
    pub fn endpoint(&self) -> &str {
        self.endpoint.get().map_or("", String::as_str)
    }

    /// The address that the server has bound, for an app that was made without an endpoint.
    pub(crate) fn set_endpoint(&self, endpoint: String) {
        // One that was given stays.
        let _ = self.endpoint.set(endpoint);
    }

    /// Who takes agents' websockets over.
    pub fn sessions(&self) -> &Arc<dyn AgentSessions> {
        &self.sessions
    }

    /// The front's own counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// An operation's view of `snapshot`.
    pub(crate) fn context<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        identity: &'a Verified,
        now: Timestamp,
        seed: u64,
    ) -> Context<'a> {
        Context {
            snapshot,
            identity,
            now,
            seed,
            arns: &self.arns,
            vpc: &self.vpc,
            vault: &self.vault,
            has_object_store: self.has_object_store,
            endpoint: self.endpoint(),
            seal: &self.seal,
            soft: self.soft.as_ref(),
            history: self.history.as_ref(),
        }
    }

    /// What is known but is no record.
    pub(crate) fn soft(&self) -> &dyn SoftState {
        self.soft.as_ref()
    }

    /// Reads the history.
    pub(crate) fn history(&self) -> &dyn HistoryReader {
        self.history.as_ref()
    }

    /// Hands entries to the history.
    pub(crate) fn remember(&self, at: Timestamp, entries: Vec<HistoryEntry>) {
        for entry in entries {
            self.history_writer.append(at, entry);
        }
    }

    /// Where operations that place tasks take their turns.
    pub(crate) fn placing(&self) -> &Placing {
        &self.placing
    }

    /// A value that the model forbids, as the addressed service says it.
    pub(crate) fn validation_error(&self, service: &str, text: String) -> ApiError {
        match service {
            "ssm" | "secretsmanager" | "acm" => ApiError::new("ValidationException", 400, text),
            "ecs" | "ecr" | "logs" => ApiError::invalid_parameter(text),
            _ => ApiError::new("ValidationError", 400, text),
        }
    }
}
