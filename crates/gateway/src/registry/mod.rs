//! The image registry: what `/v2/` ([`crate::http`]) and the ECR API ([`crate::ecr`]) have in common.
//!
//! Repositories, images, tags, and which repository has which blob are records of the journal; bytes
//! are in [`wharf_registry`]'s store. Bytes come first: a record refers only to what is durable, so
//! that a crash leaves at worst a blob without a record, which the next sweep takes. Whoever adds
//! holds [`ImageRegistry::adding`], whoever removes holds [`ImageRegistry::removing`], so that nothing
//! is removed between the look at it and the record that needs it.

pub(crate) mod access;
pub(crate) mod archive;
pub(crate) mod content;
pub(crate) mod events;
mod flight;
pub(crate) mod import;
pub(crate) mod lifecycle;
pub(crate) mod manifests;
pub(crate) mod pull_through;
mod quotas;
pub(crate) mod replication;
pub(crate) mod scan;
mod sweep;
pub(crate) mod templates;
pub(crate) mod tokens;

pub use quotas::Quotas;
pub(crate) use quotas::{LIMIT_EXCEEDED, QuotaExceeded};
pub use sweep::{Rest, Swept, sweep, sweep_rested, upkeep};

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore};
use wharf_model::Timestamp;
use wharf_registry::{Storage, Tokens, Uploads};

/// What a registry is made of.
pub struct RegistryParts {
    /// Where blobs lie.
    pub storage: Arc<dyn Storage>,
    /// Signs the registry's tokens; only this server knows it.
    pub token_key: [u8; 32],
    /// Directory of the vulnerability database that images are scanned against.
    pub osv_database: Option<PathBuf>,
    /// How much a repository may hold.
    pub quotas: Quotas,
    /// Says whether the registry has a name of its own now.
    pub public_name: PublicName,
}

/// The name by which this host's clients reach the registry with TLS, while they do.
pub type PublicName = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Requests of the ECR API with a large body that are taken in at once: their bodies are in memory.
const LARGE_BODIES: usize = 8;

/// Images that are scanned at once.
const SCANS: usize = 1;

/// The registry's state beside the journal.
pub(crate) struct ImageRegistry {
    storage: Arc<dyn Storage>,
    uploads: Uploads,
    tokens: Tokens,
    public_name: PublicName,
    quotas: Quotas,
    changes: RwLock<()>,
    large_bodies: Semaphore,
    scans: Semaphore,
    database: Option<Arc<wharf_scan::Database>>,
    /// When clients were last told that a repository has a blob: they count on it for a while.
    /// Lost with the process, and so the first sweep comes late.
    asserted: Mutex<HashMap<(String, String), Timestamp>>,
    previews: Mutex<HashMap<String, lifecycle::Preview>>,
    evaluated: Mutex<HashMap<String, Timestamp>>,
    imports: flight::Imports,
    replicator: replication::Replicator,
}

impl ImageRegistry {
    pub(crate) fn new(parts: RegistryParts) -> Self {
        Self {
            uploads: Uploads::new(Arc::clone(&parts.storage)),
            storage: parts.storage,
            tokens: Tokens::new(parts.token_key),
            public_name: parts.public_name,
            quotas: parts.quotas,
            changes: RwLock::new(()),
            large_bodies: Semaphore::new(LARGE_BODIES),
            scans: Semaphore::new(SCANS),
            database: parts.osv_database.map(|path| Arc::new(wharf_scan::Database::new(path))),
            asserted: Mutex::default(),
            previews: Mutex::default(),
            evaluated: Mutex::default(),
            imports: flight::Imports::new(),
            replicator: replication::Replicator::new(),
        }
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        self.storage.as_ref()
    }

    pub(crate) fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The name by which this host's clients reach the registry with TLS, while they do.
    pub(crate) fn public_name(&self) -> Option<String> {
        (self.public_name)()
    }

    /// How much a repository may hold.
    pub(crate) fn quotas(&self) -> Quotas {
        self.quotas
    }

    /// What is on its way from upstreams.
    fn imports(&self) -> &flight::Imports {
        &self.imports
    }

    /// What is on its way to other registries.
    fn replicator(&self) -> &replication::Replicator {
        &self.replicator
    }

    pub(crate) fn large_bodies(&self) -> &Semaphore {
        &self.large_bodies
    }

    /// Whose turn it is to scan.
    fn scans(&self) -> &Semaphore {
        &self.scans
    }

    /// The vulnerability database, if the operator has named one.
    fn database(&self) -> Option<&Arc<wharf_scan::Database>> {
        self.database.as_ref()
    }

    /// Held from the look at what is there until the record that needs it holds.
    pub(crate) async fn adding(&self) -> RwLockReadGuard<'_, ()> {
        self.changes.read().await
    }

    /// Held from the look at what needs it until it is gone.
    pub(crate) async fn removing(&self) -> RwLockWriteGuard<'_, ()> {
        self.changes.write().await
    }

    /// Remembers that a client counts on a repository's blob.
    pub(crate) fn assert_blob(&self, repository: &str, digest: &str, now: Timestamp) {
        let mut asserted = self.asserted.lock().unwrap_or_else(PoisonError::into_inner);
        asserted.insert((repository.to_owned(), digest.to_owned()), now);
    }

    /// True if a client counts on a repository's blob.
    fn is_asserted(&self, repository: &str, digest: &str) -> bool {
        let asserted = self.asserted.lock().unwrap_or_else(PoisonError::into_inner);
        asserted.contains_key(&(repository.to_owned(), digest.to_owned()))
    }

    /// Forgets what clients were told before `since`.
    fn forget_assertions(&self, since: Timestamp) {
        let mut asserted = self.asserted.lock().unwrap_or_else(PoisonError::into_inner);
        asserted.retain(|_, at| *at >= since);
    }

    fn previews(&self) -> std::sync::MutexGuard<'_, HashMap<String, lifecycle::Preview>> {
        self.previews.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn evaluated(&self) -> std::sync::MutexGuard<'_, HashMap<String, Timestamp>> {
        self.evaluated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
