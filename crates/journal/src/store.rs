//! The typed head over a journal: snapshots that are read without a lock, transactions, changes.
//!
//! The journal decides the order and what holds. The store keeps one immutable [`Snapshot`] of what
//! is durable and swaps it for the next: nobody ever sees a revision that a power cut could take
//! back. Whoever commits helps to apply what is durable, so that no answer waits for another thread.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, watch};
use wharf_model::{Record, RecordKey, Revision, Snapshot, Transaction, Write};

use crate::error::Error as JournalError;
use crate::journal::{Append, Entry, Journal, Loaded, Value, Watch};
use crate::lease::Lease;

/// Changes kept for a subscriber that doesn't read; beyond that it is told that it lags.
const CHANGES: usize = 8192;

/// Why a store could not open, or a transaction wasn't committed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A record of the read set has changed: take a new snapshot and decide again.
    #[error("{key} is at revision {found}, the transaction read revision {expected}")]
    Conflict {
        /// The record.
        key: RecordKey,
        /// The revision that the transaction read; 0 means absent.
        expected: Revision,
        /// The revision found; 0 means absent.
        found: Revision,
    },
    /// A record in the journal can't be read by this wharf.
    #[error("the record {key} of revision {revision} can't be read: {reason}")]
    Decode {
        /// The record's key as the journal has it.
        key: String,
        /// The revision that wrote it.
        revision: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The journal did not take the transaction.
    #[error(transparent)]
    Journal(JournalError),
}

/// Why a transaction wasn't committed.
pub type CommitError = Error;

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Conflict { key, expected, found } => match RecordKey::from_str(&key) {
                Ok(key) => {
                    Self::Conflict { key, expected: Revision(expected), found: Revision(found) }
                }
                Err(_) => Self::Journal(JournalError::Conflict { key, expected, found }),
            },
            error => Self::Journal(error),
        }
    }
}

/// One committed transaction.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its revision.
    pub revision: Revision,
    /// Its writes.
    pub writes: Arc<[Write]>,
}

/// All state, typed and durable.
pub struct Store {
    journal: Arc<dyn Journal>,
    inner: Arc<Inner>,
    follower: tokio::task::JoinHandle<()>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let revision = self.inner.snapshot.load().revision();
        f.debug_struct("Store").field("revision", &revision).finish_non_exhaustive()
    }
}

struct Inner {
    snapshot: ArcSwap<Snapshot>,
    applier: Mutex<Applier>,
    applied: watch::Sender<u64>,
    changes: broadcast::Sender<Message>,
}

/// Owned by whoever applies at the moment.
struct Applier {
    watch: Watch,
    snapshot: Snapshot,
    failed: Option<Error>,
}

#[derive(Clone)]
enum Message {
    Change(Change),
    /// The snapshot was loaded anew: changes before it are not told one by one.
    Reset,
}

impl Store {
    /// Loads the journal's state and follows it from there. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Decode`] for a record that this wharf can't read, [`Error::Journal`].
    pub async fn open(journal: Arc<dyn Journal>) -> Result<Self, Error> {
        let (snapshot, watch) = load(journal.as_ref()).await?;
        let revision = snapshot.revision().0;
        let follower_watch = journal.watch(revision).await?;
        let inner = Arc::new(Inner {
            snapshot: ArcSwap::from_pointee(snapshot.clone()),
            applier: Mutex::new(Applier { watch, snapshot, failed: None }),
            applied: watch::Sender::new(revision),
            changes: broadcast::Sender::new(CHANGES),
        });
        let follower = tokio::spawn(follow(journal.clone(), inner.clone(), follower_watch));
        Ok(Self { journal, inner, follower })
    }

    /// The newest durable state that this process knows. Never blocks; hold it as long as you like.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.snapshot.load_full()
    }

    /// Commits the transaction if its read set still holds. When this returns, the transaction is
    /// durable and [`Store::snapshot`] contains it. Dropping the future does not take it back.
    /// A transaction without writes only checks.
    ///
    /// # Errors
    /// [`Error::Conflict`]: decide again. [`Error::Journal`] with the journal's reason; only after
    /// [`crate::Error::Failed`] is it unknown whether the transaction was written.
    pub async fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError> {
        let Transaction { reads, writes } = transaction;
        let writes: Arc<[Write]> = writes.into();
        let append = Append {
            reads: reads
                .iter()
                .map(|(key, revision)| (key.to_string().into(), revision.0))
                .collect(),
            writes: writes.iter().map(encode).collect(),
            attachment: Some(Arc::new(writes)),
        };
        let revision = self.journal.append(append).await?;
        self.wait_for(Revision(revision)).await?;
        Ok(Revision(revision))
    }

    /// Returns once the snapshot contains the given revision, which must have been committed.
    ///
    /// # Errors
    /// [`Error::Decode`] or [`Error::Journal`] if it can't come any more.
    pub async fn wait_for(&self, revision: Revision) -> Result<(), Error> {
        if *self.inner.applied.borrow() >= revision.0 {
            return Ok(());
        }
        match self.inner.apply() {
            Ok(applied) if applied >= revision.0 => return Ok(()),
            // The follower loads anew.
            Ok(_) | Err(Error::Journal(JournalError::Compacted { .. })) => {}
            Err(error) => return Err(error),
        }
        // Another replica's write, or a snapshot that is being loaded anew.
        let mut applied = self.inner.applied.subscribe();
        let closed = applied.wait_for(|applied| *applied >= revision.0).await.is_err();
        if closed { Err(Error::Journal(JournalError::Closed)) } else { Ok(()) }
    }

    /// Every transaction that is committed from now on, in order. Take the snapshot after this call
    /// and nothing is missed.
    pub fn changes(&self) -> Changes {
        Changes { receiver: self.inner.changes.subscribe() }
    }

    /// The newest revision, as a channel: for those who only want to be woken.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.inner.applied.subscribe()
    }

    /// Waits until this process alone may act for the name; see [`Journal::lease`].
    ///
    /// # Errors
    /// Those of [`Journal::lease`].
    pub async fn lease(&self, name: &str) -> Result<Lease, Error> {
        Ok(self.journal.lease(name).await?)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// A subscription to committed transactions.
#[derive(Debug)]
pub struct Changes {
    receiver: broadcast::Receiver<Message>,
}

/// What a subscriber is told.
#[derive(Debug, Clone)]
pub enum Next {
    /// The next transaction. The store's snapshot contains it already, and perhaps later ones.
    Change(Change),
    /// Some transactions were skipped because the subscriber was too slow: look at the whole
    /// snapshot, then go on.
    Lagged,
    /// The store is gone.
    Closed,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Change(change) => change.fmt(f),
            Self::Reset => f.write_str("Reset"),
        }
    }
}

impl Changes {
    /// Waits for the next transaction. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Next {
        match self.receiver.recv().await {
            Ok(Message::Change(change)) => Next::Change(change),
            Ok(Message::Reset) | Err(broadcast::error::RecvError::Lagged(_)) => Next::Lagged,
            Err(broadcast::error::RecvError::Closed) => Next::Closed,
        }
    }
}

impl Inner {
    /// Applies everything durable that isn't applied yet; returns the revision reached.
    ///
    /// # Errors
    /// Compacted if the journal keeps no longer what was missed.
    fn apply(&self) -> Result<u64, Error> {
        let mut applier = self.applier.lock().unwrap_or_else(PoisonError::into_inner);
        let applier = &mut *applier;
        if let Some(error) = &applier.failed {
            return Err(error.clone());
        }
        let entries = applier.watch.try_next()?;
        if entries.is_empty() {
            return Ok(applier.snapshot.revision().0);
        }
        let mut changes = Vec::with_capacity(entries.len());
        for entry in &entries {
            let writes = match typed(entry) {
                Ok(writes) => writes,
                Err(error) => {
                    tracing::error!(%error, "the store has stopped following the journal");
                    applier.failed = Some(error.clone());
                    return Err(error);
                }
            };
            let revision = Revision(entry.revision);
            applier.snapshot.apply(revision, &writes);
            changes.push(Message::Change(Change { revision, writes }));
        }
        self.publish(applier, changes);
        Ok(applier.snapshot.revision().0)
    }

    /// The snapshot first: whoever hears of a change finds it there.
    fn publish(&self, applier: &Applier, messages: Vec<Message>) {
        self.snapshot.store(Arc::new(applier.snapshot.clone()));
        self.applied.send_replace(applier.snapshot.revision().0);
        for message in messages {
            // Nobody may be listening.
            let _ = self.changes.send(message);
        }
    }

    fn reset(&self, snapshot: Snapshot, watch: Watch) {
        let mut applier = self.applier.lock().unwrap_or_else(PoisonError::into_inner);
        if snapshot.revision() >= applier.snapshot.revision() {
            *applier = Applier { watch, snapshot, failed: None };
            self.publish(&applier, vec![Message::Reset]);
        }
    }
}

/// Applies what others commit, and loads anew where the journal no longer keeps what was missed.
async fn follow(journal: Arc<dyn Journal>, inner: Arc<Inner>, mut watch: Watch) {
    loop {
        let followed = match watch.skip().await {
            Ok(()) => inner.apply().map(drop),
            Err(error) => Err(error.into()),
        };
        let followed = match followed {
            Err(Error::Journal(JournalError::Compacted { .. })) => {
                let loaded = load(journal.as_ref()).await;
                loaded.map(|(snapshot, watch)| inner.reset(snapshot, watch))
            }
            followed => followed,
        };
        match followed {
            Ok(()) => {}
            Err(Error::Journal(JournalError::Closed)) => return,
            Err(error) => {
                tracing::error!(%error, "the store no longer follows the journal");
                return;
            }
        }
    }
}

async fn load(journal: &dyn Journal) -> Result<(Snapshot, Watch), Error> {
    loop {
        let loaded = journal.load().await?;
        let revision = loaded.revision;
        let snapshot = decode_all(&loaded)?;
        match journal.watch(revision).await {
            Ok(watch) => return Ok((snapshot, watch)),
            // Decoding took so long that the changes since are gone: once more.
            Err(JournalError::Compacted { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn decode_all(loaded: &Loaded) -> Result<Snapshot, Error> {
    let mut records: Vec<_> = loaded.records.iter().collect();
    records.sort_by_key(|(_, record)| record.revision);
    let mut snapshot = Snapshot::default();
    for (key, record) in records {
        let (_, decoded) = decode(key, &record.value, record.revision)?;
        snapshot.apply(Revision(record.revision), &[Write::Put(decoded)]);
    }
    // The newest transactions may have left no record of their own.
    snapshot.apply(Revision(loaded.revision), &[]);
    Ok(snapshot)
}

fn encode(write: &Write) -> (crate::Key, Option<Value>) {
    let key = write.key().to_string().into();
    match write {
        Write::Put(record) => (key, Some(record.encode().into())),
        Write::Delete(_) => (key, None),
    }
}

fn decode(key: &str, value: &[u8], revision: u64) -> Result<(RecordKey, Record), Error> {
    let failed = |reason: String| Error::Decode { key: key.to_owned(), revision, reason };
    let parsed = RecordKey::from_str(key).map_err(|error| failed(error.to_string()))?;
    let record = Record::decode(&parsed, value).map_err(|error| failed(error.to_string()))?;
    Ok((parsed, record))
}

/// An entry's writes: as the committer in this process attached them, or decoded.
fn typed(entry: &Entry) -> Result<Arc<[Write]>, Error> {
    let attached = entry.attachment.as_ref().and_then(|any| any.downcast_ref::<Arc<[Write]>>());
    if let Some(writes) = attached {
        return Ok(writes.clone());
    }
    let decoded = entry.writes.iter().map(|(key, value)| match value {
        Some(value) => Ok(Write::Put(decode(key, value, entry.revision)?.1)),
        None => {
            let parsed = RecordKey::from_str(key).map_err(|error| Error::Decode {
                key: key.to_string(),
                revision: entry.revision,
                reason: error.to_string(),
            })?;
            Ok(Write::Delete(parsed))
        }
    });
    decoded.collect()
}
