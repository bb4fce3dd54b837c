//! Transactions: record after-images and the revisions that they depend on.

use crate::record::{Record, RecordKey};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Order-based version of the whole state and of each record: the number of the transaction that
/// wrote it. 0 means "absent" in a read set.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// What a read set names for a record that must not exist.
    pub const ABSENT: Self = Self(0);
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One record's change.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// The record as it is after the transaction.
    Put(Record),
    /// The record is gone after the transaction.
    Delete(RecordKey),
}

impl Write {
    /// The key of the record that changes.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Put(record) => record.key(),
            Self::Delete(key) => key.clone(),
        }
    }
}

/// A change that holds only if the records that it read are still at the revisions it saw.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transaction {
    /// Records whose change would make this transaction wrong, with the revision seen
    /// ([`Revision::ABSENT`] if there was none). Never all that was looked at.
    pub reads: Vec<(RecordKey, Revision)>,
    /// Record after-images, applied together or not at all.
    pub writes: Vec<Write>,
}

impl Transaction {
    /// A transaction that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// True if there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Demands that `key` is still at `revision`.
    pub fn read(&mut self, key: RecordKey, revision: Revision) -> &mut Self {
        if !self.reads.iter().any(|(k, _)| *k == key) {
            self.reads.push((key, revision));
        }
        self
    }

    /// Writes `record`; a later put of the same key replaces the earlier one.
    pub fn put(&mut self, record: impl Into<Record>) -> &mut Self {
        let record = record.into();
        let key = record.key();
        self.writes.retain(|w| w.key() != key);
        self.writes.push(Write::Put(record));
        self
    }

    /// Deletes the record under `key`.
    pub fn delete(&mut self, key: RecordKey) -> &mut Self {
        self.writes.retain(|w| w.key() != key);
        self.writes.push(Write::Delete(key));
        self
    }

    /// Takes over all reads and writes of `other`; its writes win.
    pub fn extend(&mut self, other: Self) -> &mut Self {
        for (key, revision) in other.reads {
            self.read(key, revision);
        }
        for write in other.writes {
            let key = write.key();
            self.writes.retain(|w| w.key() != key);
            self.writes.push(write);
        }
        self
    }
}
