//! Operations that place tasks: decided one after the other in each cluster, committed together.
//!
//! One worker for each cluster takes all operations that wait and decides them in order, each on a
//! snapshot that has the decisions before it, so that a burst of RunTask onto one host doesn't
//! fight itself. What they want goes to the journal as one transaction: they share its sync instead
//! of waiting for one each. Nobody is answered before that transaction is durable, since any answer
//! may rest on a decision before it.

use crate::app::App;
use crate::context::{HistoryEntry, Outcome, Result as OperationResult};
use crate::dispatch::{Encode, Encoded, MAX_ATTEMPTS, commit_failed, encoded};
use crate::error::ApiError;
use crate::identity::Verified;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{mpsc, oneshot};
use wharf_journal::{Error as JournalError, MAX_RECORDS, StoreError};
use wharf_model::{ClusterName, RecordKey, Revision, Snapshot, Timestamp, Transaction, Write};
use wharf_wire::Shape;

/// Operations that may wait in one cluster before their callers wait for room.
const QUEUE: usize = 1024;
/// Operations that are decided together at the most.
const BATCH: usize = 64;
/// Cluster names come from requests: with more queues than this, all are begun anew.
const MAX_CLUSTERS: usize = 1024;

/// The queues of all clusters.
#[derive(Default)]
pub(crate) struct Placing {
    queues: Mutex<BTreeMap<ClusterName, mpsc::Sender<Box<dyn Waiting>>>>,
}

impl Placing {
    /// Lets the operation have its turn in `cluster`; returns its answer once it is durable.
    ///
    /// # Errors
    /// The operation's own, or that the transaction wasn't committed.
    pub(crate) async fn run<I, O>(
        &self,
        app: &Arc<App>,
        cluster: ClusterName,
        operation: Placement<I, O>,
    ) -> Encoded
    where
        I: Send + 'static,
        O: Shape + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let mut waiting: Box<dyn Waiting> = Box::new(Turn::new(operation, reply));
        loop {
            match self.queue(app, &cluster).send(waiting).await {
                Ok(()) => break,
                // Its worker has ended: the next call starts another.
                Err(mpsc::error::SendError(unsent)) => waiting = unsent,
            }
        }
        // Without an answer the worker has died in the middle of it.
        answer.await.unwrap_or_else(|_| Err(ApiError::server()))
    }

    fn queue(&self, app: &Arc<App>, cluster: &ClusterName) -> mpsc::Sender<Box<dyn Waiting>> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(cluster).filter(|queue| !queue.is_closed()) {
            return queue.clone();
        }
        if queues.len() >= MAX_CLUSTERS {
            // Their workers finish what waits, and end. Where an old and a new one of a cluster
            // meet, one of them meets a conflict and decides anew.
            queues.clear();
        }
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(work(Arc::downgrade(app), receiver));
        queues.insert(cluster.clone(), sender.clone());
        sender
    }
}

/// An operation with all that it needs to be decided, as often as it must.
pub(crate) struct Placement<I, O> {
    /// The operation's name.
    pub name: &'static str,
    /// The operation.
    pub function: fn(&crate::context::Context<'_>, &I) -> OperationResult<O>,
    /// Its input, valid by the model.
    pub input: I,
    /// Who asks.
    pub identity: Verified,
    /// When the request came in.
    pub now: Timestamp,
    /// The request's randomness.
    pub seed: u64,
    /// How its protocol lays out the output.
    pub encode: Encode,
}

/// A [`Placement`] whose caller waits.
struct Turn<I, O> {
    operation: Placement<I, O>,
    output: Option<O>,
    answer: Encoded,
    history: Vec<HistoryEntry>,
    reply: oneshot::Sender<Encoded>,
}

impl<I, O> Turn<I, O> {
    fn new(operation: Placement<I, O>, reply: oneshot::Sender<Encoded>) -> Self {
        let answer = Err(ApiError::server());
        Self { operation, output: None, answer, history: Vec::new(), reply }
    }
}

/// A [`Turn`] of whatever operation.
trait Waiting: Send {
    /// Decides on `snapshot` and returns what is to be committed.
    fn decide(&mut self, app: &App, snapshot: &Snapshot) -> Transaction;
    /// Lays out what was decided.
    fn encode(&mut self);
    /// Answers the caller: with what was decided, or that it wasn't committed.
    fn settle(self: Box<Self>, app: &App, committed: Result<(), ApiError>);
    /// The operation's name.
    fn name(&self) -> &'static str;
}

impl<I: Send, O: Shape + Send> Waiting for Turn<I, O> {
    fn decide(&mut self, app: &App, snapshot: &Snapshot) -> Transaction {
        let Placement { function, input, identity, now, seed, .. } = &self.operation;
        match function(&app.context(snapshot, identity, *now, *seed), input) {
            Ok(Outcome { output, transaction, history }) => {
                (self.output, self.history) = (Some(output), history);
                transaction
            }
            Err(error) => {
                (self.output, self.answer) = (None, Err(error));
                Transaction::new()
            }
        }
    }

    fn encode(&mut self) {
        if let Some(output) = self.output.take() {
            self.answer = Ok(encoded(&self.operation.encode, output));
        }
    }

    fn settle(self: Box<Self>, app: &App, committed: Result<(), ApiError>) {
        let answer = committed.and(self.answer);
        if answer.is_ok() {
            app.remember(self.operation.now, self.history);
        }
        // The caller may have gone; what was decided stands all the same.
        let _ = self.reply.send(answer);
    }

    fn name(&self) -> &'static str {
        self.operation.name
    }
}

/// Decides for one cluster until its queue is closed and empty, or the server is gone.
async fn work(app: Weak<App>, mut queue: mpsc::Receiver<Box<dyn Waiting>>) {
    let mut waiting = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut waiting, BATCH).await > 0 {
        let Some(app) = app.upgrade() else { return };
        while !waiting.is_empty() {
            let count = decide_and_commit(&app, &mut waiting).await;
            debug_assert!(count > 0, "every round settles somebody");
        }
    }
}

/// Settles as many of the first that wait as fit into one transaction; returns how many.
async fn decide_and_commit(app: &App, waiting: &mut Vec<Box<dyn Waiting>>) -> usize {
    let mut most = waiting.len();
    for _ in 0..MAX_ATTEMPTS {
        let snapshot = app.store().snapshot();
        let mut batch = Batch::new(Snapshot::clone(&snapshot));
        let mut count = 0;
        for turn in waiting.iter_mut().take(most) {
            let transaction = turn.decide(app, batch.snapshot());
            if !batch.take(transaction) {
                break;
            }
            count += 1;
        }
        let transaction = batch.into_transaction();
        // The answers are laid out while the disk is at work.
        let encode = async { waiting.iter_mut().take(count).for_each(|turn| turn.encode()) };
        let committed = if transaction.is_empty() && transaction.reads.is_empty() {
            encode.await;
            Ok(())
        } else {
            match tokio::join!(app.store().commit(transaction), encode).0 {
                Ok(_) => Ok(()),
                Err(StoreError::Conflict { key, expected, found }) => {
                    let operation = waiting[0].name();
                    tracing::debug!(operation, %key, %expected, %found, "decided anew");
                    app.metrics().conflict(operation);
                    continue;
                }
                // Together they are too much; half of them may not be.
                Err(StoreError::Journal(JournalError::TooLarge { .. })) if count > 1 => {
                    most = count / 2;
                    continue;
                }
                Err(error) => Err(commit_failed(waiting[0].name(), &error)),
            }
        };
        for turn in waiting.drain(..count) {
            turn.settle(app, committed.clone());
        }
        return count;
    }
    let count = waiting.len();
    tracing::warn!(operations = count, "gave up after {MAX_ATTEMPTS} conflicts");
    for turn in waiting.drain(..) {
        turn.settle(app, Err(ApiError::server()));
    }
    count
}

/// Transactions that follow each other, made into one.
struct Batch {
    /// The state with all of them.
    snapshot: Snapshot,
    reads: BTreeMap<RecordKey, Revision>,
    writes: BTreeMap<RecordKey, Write>,
}

impl Batch {
    fn new(snapshot: Snapshot) -> Self {
        Self { snapshot, reads: BTreeMap::new(), writes: BTreeMap::new() }
    }

    /// What the next one is to be decided on.
    fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Takes a transaction that was decided on [`Batch::snapshot`]; false if it is full and the
    /// transaction must wait for the next batch. One alone is always taken.
    fn take(&mut self, transaction: Transaction) -> bool {
        let Transaction { reads, writes } = transaction;
        let (reads_before, writes_before) = (self.reads.len(), self.writes.len());
        let is_first = reads_before == 0 && writes_before == 0;
        let fits = reads_before + reads.len() <= MAX_RECORDS
            && writes_before + writes.len() <= MAX_RECORDS;
        if !fits && !is_first {
            return false;
        }
        for (key, revision) in reads {
            // What an earlier one of the batch wrote is as this one saw it by construction.
            if !self.writes.contains_key(&key) {
                self.reads.entry(key).or_insert(revision);
            }
        }
        let revision = Revision(self.snapshot.revision().0 + 1);
        self.snapshot.apply(revision, &writes);
        self.writes.extend(writes.into_iter().map(|write| (write.key(), write)));
        true
    }

    fn into_transaction(self) -> Transaction {
        Transaction {
            reads: self.reads.into_iter().collect(),
            writes: self.writes.into_values().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_model::Cluster;

    fn cluster(name: &str) -> Cluster {
        Cluster::new(ClusterName::from(name), Timestamp(1))
    }

    fn key(name: &str) -> RecordKey {
        RecordKey::Cluster(ClusterName::from(name))
    }

    /// Reads and writes the named clusters as the batch's snapshot has them.
    fn transaction(batch: &Batch, names: &[&str]) -> Transaction {
        let mut transaction = Transaction::new();
        for name in names {
            transaction.read(key(name), batch.snapshot().revision_of(&key(name)));
            transaction.put(cluster(name));
        }
        transaction
    }

    #[test]
    fn a_batch_reads_what_was_before_it_and_writes_the_last_images() {
        let mut before = Snapshot::default();
        before.apply(Revision(7), &[Write::Put(cluster("a").into())]);
        let mut batch = Batch::new(before);
        let first = transaction(&batch, &["a"]);
        assert!(batch.take(first));
        let second = transaction(&batch, &["a", "b"]);
        assert_eq!(second.reads[0].1, Revision(8), "it sees what the first wrote");
        assert!(batch.take(second));
        let all = batch.into_transaction();
        assert_eq!(all.reads, [(key("a"), Revision(7)), (key("b"), Revision::ABSENT)]);
        assert_eq!(all.writes.iter().map(Write::key).collect::<Vec<_>>(), [key("a"), key("b")]);
    }

    #[test]
    fn a_full_batch_takes_no_more_and_a_large_transaction_goes_alone() {
        let mut batch = Batch::new(Snapshot::default());
        let names: Vec<String> = (0..MAX_RECORDS + 1).map(|n| format!("c{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let large = transaction(&batch, &names);
        assert!(batch.take(large), "the journal refuses it by its own words");
        let next = transaction(&batch, &["x"]);
        assert!(!batch.take(next));
        assert_eq!(batch.into_transaction().writes.len(), MAX_RECORDS + 1);
    }
}
