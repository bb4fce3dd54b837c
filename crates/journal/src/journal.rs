//! The trait that every journal implements, and the limits that it enforces.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Error;
use crate::lease::Lease;
pub use crate::recent::Watch;

/// Most records that one transaction may write (etcd allows 128 operations).
pub const MAX_RECORDS: usize = 100;
/// Most bytes of keys and values together in one transaction (etcd allows 1.5 MiB).
pub const MAX_TRANSACTION_BYTES: usize = 1024 * 1024;
/// Most bytes of one value.
pub const MAX_RECORD_BYTES: usize = 128 * 1024;
/// Most bytes of one key.
pub const MAX_KEY_BYTES: usize = 1024;

/// A record's key, such as `task/<cluster>/<id>`.
pub type Key = Arc<str>;
/// A record's value; opaque here.
pub type Value = Bytes;

/// One transaction: it holds only if every key of the read set is still at the revision named.
#[derive(Clone, Default)]
pub struct Append {
    /// Keys with the revisions that they must have; 0 means that the key must be absent.
    pub reads: Vec<(Key, u64)>,
    /// After-images, `None` deletes. Deleting what is absent is no error.
    pub writes: Vec<(Key, Option<Value>)>,
    /// Handed to the watchers of this process with the entry and never stored, so that whoever
    /// wrote the bytes need not decode them again.
    pub attachment: Option<Arc<dyn Any + Send + Sync>>,
}

impl std::fmt::Debug for Append {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Append")
            .field("reads", &self.reads)
            .field("writes", &self.writes.iter().map(|(key, _)| key).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Append {
    /// Checks the limits and the form.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Invalid`].
    pub fn validate(&self) -> Result<(), Error> {
        let too_large = |what, limit, found| Err(Error::TooLarge { what, limit, found });
        if self.writes.len() > MAX_RECORDS {
            return too_large("records to write", MAX_RECORDS, self.writes.len());
        }
        if self.reads.len() > MAX_RECORDS {
            return too_large("records read", MAX_RECORDS, self.reads.len());
        }
        let mut total = 0;
        let mut seen = BTreeSet::new();
        for (key, value) in &self.writes {
            let size = value.as_ref().map_or(0, Bytes::len);
            if size > MAX_RECORD_BYTES {
                return too_large("bytes in one record", MAX_RECORD_BYTES, size);
            }
            total += key.len() + size;
            if !seen.insert(key) {
                return Err(Error::Invalid(format!("{key} is written twice")));
            }
        }
        if total > MAX_TRANSACTION_BYTES {
            return too_large("bytes", MAX_TRANSACTION_BYTES, total);
        }
        let keys = self.reads.iter().map(|(key, _)| key);
        for key in keys.chain(self.writes.iter().map(|(key, _)| key)) {
            if key.is_empty() {
                return Err(Error::Invalid("a key is empty".into()));
            }
            if key.len() > MAX_KEY_BYTES {
                return too_large("bytes in one key", MAX_KEY_BYTES, key.len());
            }
        }
        Ok(())
    }
}

/// A value with the revision of the transaction that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// Revision of the transaction that last wrote the record; never 0.
    pub revision: u64,
    /// The bytes as they were written.
    pub value: Value,
}

/// The durable state at one revision.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The newest revision contained.
    pub revision: u64,
    /// Every record, in the order of the keys. Sharing structure with the journal, it costs nothing.
    pub records: imbl::OrdMap<Key, Versioned>,
}

/// One committed transaction as watchers see it.
#[derive(Clone)]
pub struct Entry {
    /// Its revision. Revisions rise strictly; an implementation may leave gaps.
    pub revision: u64,
    /// The after-images in the transaction's order.
    pub writes: Arc<[(Key, Option<Value>)]>,
    /// What the writer attached, if it wrote in this process since the journal was opened.
    pub attachment: Option<Arc<dyn Any + Send + Sync>>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("revision", &self.revision)
            .field("keys", &self.writes.iter().map(|(key, _)| key).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A durable, totally ordered log of transactions with optimistic concurrency.
///
/// Promises that the contract tests check of every implementation: what was acknowledged is durable
/// and never lost or reordered; no answer and no watcher ever shows what isn't durable yet; of two
/// transactions that read the same revision of a record and write it, at most one holds.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// The durable state now.
    ///
    /// # Errors
    /// [`Error::Closed`], or what the implementation's transport reports.
    async fn load(&self) -> Result<Loaded, Error>;

    /// Writes the transaction if its read set still holds, and answers its revision once it is
    /// durable. A transaction without writes only checks. Dropping the future does not take the
    /// transaction back.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::TooLarge`], [`Error::Invalid`] and [`Error::NoSpace`] wrote
    /// nothing; after [`Error::Failed`] the outcome is known only at the next open.
    async fn append(&self, append: Append) -> Result<u64, Error>;

    /// Every committed transaction after the given revision, in order, without end.
    ///
    /// # Errors
    /// [`Error::Compacted`] if they are no longer kept: load again and watch from there.
    async fn watch(&self, after: u64) -> Result<Watch, Error>;

    /// Waits until this caller alone holds the lease of that name. Dropping it releases it.
    ///
    /// # Errors
    /// [`Error::Closed`], or what the implementation's transport reports.
    async fn lease(&self, name: &str) -> Result<Lease, Error>;
}
