//! The one thread that orders, writes and syncs transactions.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::format::{GROUP_HEADER, MAX_GROUP_PAYLOAD, finish_group, seed, start_group};
use super::recovery::{Active, Recovered};
use super::snapshot::sync_failed;
use super::upkeep::{Done, Job, Prepared, SegmentSpec, Upkeep, Worker, create_segment};
use super::{Options, is_full, segment_name, snapshot_name};
use crate::disk::Disk;
use crate::error::Error;
use crate::head::{Head, Undo};
use crate::journal::{Append, Entry, Loaded};
use crate::lease::LocalLeases;
use crate::recent::Recent;

/// Commands taken from the queue at once.
const BATCH: usize = 1024;
/// A group takes no further transaction once its payload has this many bytes.
const GROUP_BYTES: usize = 2 * 1024 * 1024;
const _: () = assert!(GROUP_BYTES + 2 * crate::journal::MAX_TRANSACTION_BYTES < MAX_GROUP_PAYLOAD);

/// What the committer is asked to do.
pub(super) enum Command {
    Append(Pending),
    Load(oneshot::Sender<Loaded>),
    Compact(oneshot::Sender<Result<(), Error>>),
    Close(oneshot::Sender<()>),
    /// Upkeep's thread has finished a piece of work.
    Done(Done),
}

/// A transaction that waits, with its bytes.
pub(super) struct Pending {
    pub(super) append: Append,
    pub(super) bytes: Vec<u8>,
    pub(super) reply: oneshot::Sender<Result<u64, Error>>,
}

/// An answer that is released by the group's sync.
type Answer = (oneshot::Sender<Result<u64, Error>>, Result<u64, Error>);

/// The transactions that one sync will make durable.
#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Conflicts wait too: they may tell of a revision in this very group.
    answers: Vec<Answer>,
    undo: Undo,
}

pub(super) struct Committer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    id: Uuid,
    seed: u32,
    chain: u32,
    head: Head,
    group: Group,
    active: Active,
    segments: Vec<u64>,
    snapshots: Vec<u64>,
    prepared: Option<Prepared>,
    preparing: bool,
    /// After a preparation failed, none is tried before the segment is used up to here.
    prepare_not_before: u64,
    compacting: bool,
    compact_replies: Vec<oneshot::Sender<Result<(), Error>>>,
    /// Bytes of log that no snapshot covers.
    log_bytes: u64,
    /// After a snapshot failed, none is tried before the log has grown to this.
    compact_not_before: u64,
    log_bytes_at_compaction: u64,
    failed: Option<Error>,
    recent: Arc<Recent>,
    leases: Arc<LocalLeases>,
    upkeep: Upkeep,
}

impl Committer {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: Options,
        recovered: Recovered,
        recent: Arc<Recent>,
        leases: Arc<LocalLeases>,
        answers: mpsc::WeakSender<Command>,
    ) -> Self {
        let worker = Worker {
            disk: disk.clone(),
            dir: dir.clone(),
            abort: Arc::new(AtomicBool::new(false)),
        };
        let upkeep = if options.inline_upkeep {
            Upkeep::Inline(worker)
        } else {
            Upkeep::spawn(worker.clone(), answers).unwrap_or_else(|error| {
                tracing::warn!(%error, "no thread for the journal's upkeep: writers will do it");
                Upkeep::Inline(worker)
            })
        };
        Self {
            disk,
            dir,
            options,
            id: recovered.id,
            seed: seed(recovered.id),
            chain: recovered.chain,
            head: recovered.head,
            group: Group::default(),
            active: recovered.active,
            segments: recovered.segments,
            snapshots: recovered.snapshots,
            prepared: None,
            preparing: false,
            prepare_not_before: 0,
            compacting: false,
            compact_replies: Vec::new(),
            log_bytes: recovered.log_bytes,
            compact_not_before: 0,
            log_bytes_at_compaction: 0,
            failed: None,
            recent,
            leases,
            upkeep,
        }
    }

    /// Works until it is told to close, or nobody is left to ask. Answers whom to tell.
    pub(super) fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
    ) -> Option<oneshot::Sender<()>> {
        start_group(&mut self.group.bytes);
        self.keep_up();
        let mut batch = Vec::with_capacity(BATCH);
        let mut closing = None;
        while closing.is_none() && commands.blocking_recv_many(&mut batch, BATCH) > 0 {
            for command in batch.drain(..) {
                match command {
                    Command::Append(pending) => self.admit(pending),
                    Command::Load(reply) => {
                        self.flush();
                        // Whoever asked may have gone; so everywhere below.
                        let _ = reply.send(self.head.to_loaded());
                    }
                    Command::Compact(reply) => {
                        self.flush();
                        self.compact_replies.push(reply);
                        self.compact();
                    }
                    Command::Close(reply) => closing = Some(reply),
                    Command::Done(done) => self.done(done),
                }
            }
            self.flush();
            self.keep_up();
        }
        drop(commands);
        self.recent.close(Error::Closed);
        self.leases.revoke();
        if let Upkeep::Thread { jobs, thread, abort } = self.upkeep {
            abort.store(true, Ordering::Relaxed);
            drop(jobs);
            let _ = thread.join();
        }
        closing
    }

    /// Checks a transaction against the state so far and takes it into the group.
    fn admit(&mut self, pending: Pending) {
        let Pending { append, bytes, reply } = pending;
        if let Some(error) = &self.failed {
            let _ = reply.send(Err(error.clone()));
            return;
        }
        if self.group.bytes.len() >= GROUP_BYTES {
            self.flush();
        }
        if let Err(conflict) = self.head.check(&append) {
            self.group.answers.push((reply, Err(conflict)));
            return;
        }
        if !append.writes.is_empty() {
            self.head.apply(&append.writes, Some(&mut self.group.undo));
            self.group.bytes.extend(bytes);
            let Append { writes, attachment, .. } = append;
            let revision = self.head.revision;
            self.group.entries.push(Entry { revision, writes: writes.into(), attachment });
        }
        self.group.answers.push((reply, Ok(self.head.revision)));
    }

    /// Makes the group durable, then answers everyone in it.
    fn flush(&mut self) {
        let mut newest = None;
        if !self.group.entries.is_empty() {
            let first_revision = self.head.revision + 1 - self.group.entries.len() as u64;
            match self.write(first_revision) {
                Ok(()) => {
                    self.recent.push(self.group.entries.drain(..));
                    newest = Some(self.head.revision);
                    self.group.undo.clear();
                }
                Err(error) => {
                    self.head.roll_back(first_revision - 1, std::mem::take(&mut self.group.undo));
                    self.group.entries.clear();
                    for (_, answer) in &mut self.group.answers {
                        *answer = Err(error.clone());
                    }
                    if matches!(error, Error::Failed { .. }) {
                        self.fail(error);
                    } else {
                        tracing::warn!(%error, "a group of transactions was not written");
                    }
                }
            }
            start_group(&mut self.group.bytes);
        }
        for (reply, answer) in self.group.answers.drain(..) {
            let _ = reply.send(answer);
        }
        // After the answers: each of these wakes may cost as much as a tenth of the sync.
        if let Some(newest) = newest {
            self.recent.announce(newest);
        }
    }

    fn write(&mut self, first_revision: u64) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let count = self.group.entries.len() as u32;
        let len = (self.group.bytes.len() + 1).next_multiple_of(GROUP_HEADER) as u64;
        let is_empty = self.segments.last() == Some(&first_revision);
        if self.active.position + len > self.active.size && !is_empty {
            self.rotate(first_revision)?;
        }
        let chain =
            finish_group(&mut self.group.bytes, self.seed, self.chain, first_revision, count);
        let file = &self.active.file;
        if let Err(error) = file.write_all_at(&self.group.bytes, self.active.position) {
            return Err(self.undo_write(&error));
        }
        file.sync_data().map_err(|error| sync_failed(&self.active.path, &error))?;
        self.chain = chain;
        self.active.position += len;
        self.active.size = self.active.size.max(self.active.position);
        self.log_bytes += len;
        Ok(())
    }

    /// After a write that failed: a full disk is put back to what it was, so that what is answered
    /// as not written can't be found at the next open. Everything else is final.
    fn undo_write(&self, error: &std::io::Error) -> Error {
        let Active { file, path, position, size } = &self.active;
        let failed = |error: &std::io::Error| {
            let reason = format!("writing {} failed: {error}", path.display());
            Error::Failed { reason }
        };
        if !is_full(error) {
            return failed(error);
        }
        let restored = file
            .set_len(*position)
            .and_then(|()| file.set_len(*size))
            .and_then(|()| file.sync_data());
        match restored {
            Ok(()) => Error::NoSpace { file: path.clone() },
            Err(error) => failed(&error),
        }
    }

    /// Starts the next segment. What was written so far is synced.
    fn rotate(&mut self, first_revision: u64) -> Result<(), Error> {
        let spec = SegmentSpec { id: self.id, first_revision, chain: self.chain };
        let prepared = self.prepared.take();
        let bytes = self.options.segment_bytes;
        let disk = self.disk.as_ref();
        self.active = create_segment(disk, &self.dir, prepared, &spec, bytes)?;
        self.segments.push(first_revision);
        self.prepare_not_before = 0;
        Ok(())
    }

    fn fail(&mut self, error: Error) {
        if self.failed.is_none() {
            tracing::error!(%error, "the journal has stopped writing");
            self.recent.close(error.clone());
            self.leases.revoke();
            self.failed = Some(error);
        }
    }

    /// Orders what is due: the next segment's file, a snapshot.
    fn keep_up(&mut self) {
        if self.failed.is_some() {
            return;
        }
        let due = self.options.compact_after_bytes.max(self.head.live_bytes);
        if self.log_bytes >= due.max(self.compact_not_before) {
            self.compact();
        }
        // Not before half of the segment is used, so that a journal at rest stays small.
        let due = (self.active.size / 2).max(self.prepare_not_before);
        let is_due = self.active.position > due;
        if self.options.preallocate && is_due && self.prepared.is_none() && !self.preparing {
            self.preparing = true;
            self.order(Job::Prepare { bytes: self.options.segment_bytes });
        }
    }

    fn compact(&mut self) {
        let revision = self.head.revision;
        if let Some(error) = &self.failed {
            for reply in self.compact_replies.drain(..) {
                let _ = reply.send(Err(error.clone()));
            }
        }
        if self.compacting || self.failed.is_some() {
            return;
        }
        if revision == self.snapshots.last().copied().unwrap_or_default() {
            return self.done(Done::Snapshot(Ok(None)));
        }
        self.compacting = true;
        self.log_bytes_at_compaction = self.log_bytes;
        let successors = self.segments.iter().skip(1);
        let covered = successors.filter(|first| **first <= revision + 1).count();
        let segments = self.segments[..covered].iter().map(|first| segment_name(*first));
        let snapshots = self.snapshots.iter().map(|revision| snapshot_name(*revision));
        let superfluous = segments.chain(snapshots).map(|name| self.dir.join(name)).collect();
        self.order(Job::Snapshot { id: self.id, state: self.head.to_loaded(), superfluous });
    }

    fn order(&mut self, job: Job) {
        match &self.upkeep {
            Upkeep::Thread { jobs, .. } => {
                // The thread ends only after this one.
                let _ = jobs.send(job);
            }
            Upkeep::Inline(worker) => {
                let done = worker.run(job);
                self.done(done);
            }
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Prepared(Ok(prepared)) => {
                self.preparing = false;
                self.prepared = Some(prepared);
            }
            Done::Prepared(Err(error)) => {
                self.preparing = false;
                self.prepare_not_before = self.active.size;
                self.upkeep_failed(&error, "could not prepare the journal's next segment");
            }
            Done::Snapshot(result) => {
                self.compacting = false;
                let answer = match result {
                    Ok(Some(revision)) => {
                        self.compacted(revision);
                        Ok(())
                    }
                    Ok(None) => Ok(()),
                    Err(error) => {
                        self.compact_not_before = self.log_bytes + self.options.segment_bytes;
                        self.upkeep_failed(&error, "could not write the journal's snapshot");
                        Err(error)
                    }
                };
                for reply in self.compact_replies.drain(..) {
                    let _ = reply.send(answer.clone());
                }
            }
        }
    }

    fn upkeep_failed(&mut self, error: &Error, what: &str) {
        if matches!(error, Error::Failed { .. }) {
            self.fail(error.clone());
        } else {
            tracing::warn!(%error, "{what}; trying again later");
        }
    }

    /// A snapshot is in place and the files that it covers are gone.
    fn compacted(&mut self, revision: u64) {
        let successors = self.segments.iter().skip(1);
        let covered = successors.filter(|first| **first <= revision + 1).count();
        self.segments.drain(..covered);
        self.snapshots = vec![revision];
        self.log_bytes -= self.log_bytes_at_compaction;
        self.compact_not_before = 0;
    }
}
