//! The journal in files of one process: a segmented log, group commit, snapshots.
//!
//! One thread, the committer, owns the order. It takes every transaction that waits, checks each
//! against the state in memory, writes those that hold as one group with one sync, and only then
//! answers them all, so that two hundred writers share the price of one. A second thread prepares
//! the next segment and writes snapshots from an immutable copy of the state, so that compaction
//! never stops a writer. Nothing is ever overwritten but space that holds zeros.

mod committer;
mod export;
mod format;
mod recovery;
mod scan;
mod snapshot;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::disk::{Disk, Lock, RealDisk};
use crate::error::Error;
use crate::journal::{Append, Journal, Loaded, Watch};
use crate::lease::{Lease, LocalLeases};
use crate::recent::Recent;
use committer::{Command, Committer, Pending};
pub use export::{ExportReport, export};

/// Transactions that may wait for the committer before their callers wait for room.
const QUEUE: usize = 4096;

/// How the embedded journal uses the disk.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of one log file; a group larger than that makes its file larger.
    pub segment_bytes: u64,
    /// A snapshot is written when the log since the last has both this many bytes and as many as
    /// the state itself.
    pub compact_after_bytes: u64,
    /// Whether the next segment is written with zeros ahead of time: a sync that need not record a
    /// new length or new blocks is faster.
    pub preallocate: bool,
    /// Prepare segments and write snapshots on the committer's thread, in a fixed order with all
    /// other operations: for tests that count them. It stops writers while it lasts.
    pub inline_upkeep: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 * 1024 * 1024,
            compact_after_bytes: 64 * 1024 * 1024,
            preallocate: true,
            inline_upkeep: false,
        }
    }
}

/// What opening a journal found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The newest revision.
    pub revision: u64,
    /// How many records exist.
    pub records: usize,
    /// Revision of the snapshot that it started from; 0 without one.
    pub snapshot_revision: u64,
    /// Transactions replayed from the log.
    pub replayed: u64,
    /// What a crash had left half-written at the end and was cut off; nobody had been told that it
    /// was durable.
    pub torn: Option<TornTail>,
}

/// The end of a log file that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The file.
    pub file: PathBuf,
    /// Where the cut was made.
    pub offset: u64,
    /// How many bytes behind it were not zero.
    pub bytes: u64,
    /// How it was recognised.
    pub detail: String,
}

/// A [`Journal`] in a directory that this process alone has open.
pub struct EmbeddedJournal {
    commands: mpsc::Sender<Command>,
    recent: Arc<Recent>,
    leases: Arc<LocalLeases>,
    report: OpenReport,
}

impl std::fmt::Debug for EmbeddedJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedJournal").field("report", &self.report).finish_non_exhaustive()
    }
}

impl EmbeddedJournal {
    /// Opens `<data dir>/journal`, making it if it isn't there. Reads all of it: call it where
    /// blocking is allowed.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::NoSpace`] and
    /// [`Error::Io`]; the files are left as they were.
    pub fn open(data_dir: &Path, options: Options) -> Result<Self, Error> {
        Self::open_on(Arc::new(RealDisk), &data_dir.join("journal"), options)
    }

    /// Opens a journal's own directory on a given disk.
    ///
    /// # Errors
    /// Those of [`EmbeddedJournal::open`].
    pub fn open_on(disk: Arc<dyn Disk>, dir: &Path, options: Options) -> Result<Self, Error> {
        let io = |action, file: &Path| io_error(action, file.to_path_buf());
        disk.create_dir(dir).map_err(io("create", dir))?;
        let lock_file = dir.join("LOCK");
        let lock = match disk.lock(&lock_file).map_err(io("lock", &lock_file))? {
            Lock::Held(lock) => lock,
            Lock::HeldBy(holder) => return Err(Error::Locked { dir: dir.into(), holder }),
        };
        let recovered = recovery::recover(disk.as_ref(), dir, &options)?;
        let report = recovered.report.clone();
        if let Some(torn) = &report.torn {
            tracing::warn!(
                file = %torn.file.display(), offset = torn.offset, bytes = torn.bytes,
                "cut off the journal's torn tail ({}); nothing acknowledged was lost", torn.detail
            );
        }
        let recent = Recent::new(recovered.recent_after);
        let leases = Arc::new(LocalLeases::new());
        let (commands, receiver) = mpsc::channel(QUEUE);
        let committer = Committer::new(
            disk,
            dir.to_path_buf(),
            options,
            recovered,
            recent.clone(),
            leases.clone(),
            commands.downgrade(),
        );
        std::thread::Builder::new()
            .name("journal-commit".into())
            .spawn(move || {
                let closing = committer.run(receiver);
                drop(lock);
                if let Some(reply) = closing {
                    let _ = reply.send(());
                }
            })
            .map_err(io("start the thread for", dir))?;
        Ok(Self { commands, recent, leases, report })
    }

    /// What opening found.
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Writes a snapshot now and removes what it makes superfluous, without stopping writers.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`], [`Error::Failed`]; the log stays as it was.
    pub async fn compact(&self) -> Result<(), Error> {
        self.ask(Command::Compact).await?
    }

    /// Finishes what was accepted, stops the threads and releases the directory.
    pub async fn close(&self) {
        let _ = self.ask(Command::Close).await;
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)
    }
}

#[async_trait]
impl Journal for EmbeddedJournal {
    async fn load(&self) -> Result<Loaded, Error> {
        self.ask(Command::Load).await
    }

    async fn append(&self, append: Append) -> Result<u64, Error> {
        append.validate()?;
        // Encoding happens here, on the caller's core, not on the committer's.
        let bytes = format::encode_transaction(&append.writes);
        self.ask(|reply| Command::Append(Pending { append, bytes, reply })).await?
    }

    async fn watch(&self, after: u64) -> Result<Watch, Error> {
        self.recent.watch(after)
    }

    async fn lease(&self, name: &str) -> Result<Lease, Error> {
        Ok(self.leases.acquire(name).await)
    }
}

/// Turns an I/O error into ours, telling a full disk from the rest.
fn io_error(action: &'static str, file: PathBuf) -> impl FnOnce(std::io::Error) -> Error {
    move |error| {
        if is_full(&error) {
            Error::NoSpace { file }
        } else {
            Error::Io { action, file, reason: error.to_string() }
        }
    }
}

/// A disk or a quota that is full: goes away once there is room.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn segment_name(first_revision: u64) -> String {
    format!("{first_revision:020}.log")
}

fn snapshot_name(revision: u64) -> String {
    format!("{revision:020}.snap")
}
