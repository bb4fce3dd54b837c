//! What happened, beside the state: service events, task timelines, old stopped tasks.
//!
//! Nothing here is consulted by a decision, so nothing here may cost the journal anything: recording
//! never waits, a full disk drops events with a warning, damage is skipped, and the whole directory
//! may be removed while wharf is down. It has no clock; whoever records says when.

mod files;
mod index;

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::oneshot;

use files::Files;
use index::Index;

/// Events that may wait for the disk; beyond that the newest are dropped and counted.
const MAX_WAITING: usize = 100_000;

/// How much is kept.
#[derive(Debug, Clone)]
pub struct HistoryOptions {
    /// Milliseconds after which an event goes. Default: 7 days.
    pub max_age_ms: i64,
    /// Bytes on disk beyond which the oldest events go.
    pub max_bytes: u64,
    /// Bytes of one file: what goes at once when space is made.
    pub file_bytes: u64,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self {
            max_age_ms: 7 * 24 * 3600 * 1000,
            max_bytes: 256 * 1024 * 1024,
            file_bytes: 4 * 1024 * 1024,
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// What it happened to: the ARN of a service or task.
    pub subject: String,
    /// What kind of event, such as `service-event`, `task-timeline`, `stopped-task`.
    pub kind: String,
    /// Whatever belongs to that kind: JSON, laid out once by whoever records it.
    pub payload: Box<RawValue>,
}

impl Event {
    /// An event of now; a payload that can't be JSON becomes null.
    pub fn new(
        at_ms: i64,
        subject: impl Into<String>,
        kind: impl Into<String>,
        payload: &impl Serialize,
    ) -> Self {
        let payload = to_raw_value(payload).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { at_ms, subject: subject.into(), kind: kind.into(), payload }
    }

    /// The payload to look into.
    pub fn payload(&self) -> serde_json::Value {
        serde_json::from_str(self.payload.get()).unwrap_or_default()
    }
}

/// Why a history could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} the history's {}: {source}", path.display())]
pub struct Error {
    action: &'static str,
    path: std::path::PathBuf,
    source: std::io::Error,
}

/// The store of events; a handle that is cheap to clone.
#[derive(Clone)]
pub struct History {
    shared: Arc<Shared>,
    writer: mpsc::Sender<Command>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

struct Shared {
    index: Mutex<Index>,
    waiting: AtomicUsize,
    dropped: AtomicU64,
    next_id: AtomicU64,
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Command {
    Record(Vec<(u64, Arc<Event>)>),
    Expire(i64),
    Flush(oneshot::Sender<()>),
}

impl History {
    /// Opens `<data dir>/history` and reads its index. Blocks for as long as that takes.
    ///
    /// # Errors
    /// If the directory can't be made or read. Damaged lines are skipped with a warning.
    pub fn open(data_dir: &Path, options: HistoryOptions) -> Result<Self, Error> {
        let mut index = Index::default();
        let files = Files::open(&data_dir.join("history"), options.clone(), &mut index)?;
        let shared = Arc::new(Shared {
            next_id: AtomicU64::new(index.next_id()),
            index: Mutex::new(index),
            waiting: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        });
        let (writer, commands) = mpsc::channel();
        let mut thread = Writer { files, shared: shared.clone(), options, newest_ms: 0 };
        std::thread::Builder::new()
            .name("history".into())
            .spawn(move || thread.run(&commands))
            .map_err(|source| Error {
                action: "start the thread of",
                path: data_dir.into(),
                source,
            })?;
        Ok(Self { shared, writer })
    }

    /// Takes note of events; queries see them at once, the disk soon after. Never blocks. Call it
    /// after the transaction that they tell of is committed.
    pub fn record(&self, events: impl IntoIterator<Item = Event>) {
        let events: Vec<_> = events.into_iter().map(Arc::new).collect();
        if events.is_empty() {
            return;
        }
        let waiting = self.shared.waiting.fetch_add(events.len(), Ordering::Relaxed);
        if waiting + events.len() > MAX_WAITING {
            self.shared.waiting.fetch_sub(events.len(), Ordering::Relaxed);
            self.shared.dropped.fetch_add(events.len() as u64, Ordering::Relaxed);
            return;
        }
        let first = self.shared.next_id.fetch_add(events.len() as u64, Ordering::Relaxed);
        let events: Vec<_> = (first..).zip(events).collect();
        {
            let mut index = self.shared.index();
            for (id, event) in &events {
                index.insert(*id, event.clone());
            }
        }
        // The writer ends only when the last handle goes.
        let _ = self.writer.send(Command::Record(events));
    }

    /// The newest events of a subject, newest first.
    pub fn recent(&self, subject: &str, limit: usize) -> Vec<Event> {
        let found = self.shared.index().newest(subject, limit);
        found.into_iter().filter_map(index::Found::read).collect()
    }

    /// A subject's events with `from_ms <= at_ms < to_ms`, oldest first.
    pub fn range(&self, subject: &str, from_ms: i64, to_ms: i64) -> Vec<Event> {
        let found = self.shared.index().range(subject, from_ms, to_ms);
        found.into_iter().filter_map(index::Found::read).collect()
    }

    /// Every subject that starts with a prefix and has an event, in order: with an ARN's beginning,
    /// the stopped tasks of a cluster.
    pub fn subjects(&self, prefix: &str) -> Vec<String> {
        self.shared.index().subjects(prefix)
    }

    /// Lets go of what is older than the options allow at that time. Also done by recording.
    pub fn expire(&self, now_ms: i64) {
        let _ = self.writer.send(Command::Expire(now_ms));
    }

    /// Returns when everything recorded before has been handed to the operating system.
    pub async fn flush(&self) {
        let (reply, answer) = oneshot::channel();
        let _ = self.writer.send(Command::Flush(reply));
        let _ = answer.await;
    }

    /// How many events were dropped because the disk didn't keep up or was full.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

/// The thread that owns the files.
struct Writer {
    files: Files,
    shared: Arc<Shared>,
    options: HistoryOptions,
    newest_ms: i64,
}

impl Writer {
    fn run(&mut self, commands: &mpsc::Receiver<Command>) {
        while let Ok(command) = commands.recv() {
            match command {
                Command::Record(events) => self.record(events),
                Command::Expire(now_ms) => self.expire(now_ms),
                Command::Flush(reply) => {
                    let _ = reply.send(());
                }
            }
        }
    }

    fn record(&mut self, events: Vec<(u64, Arc<Event>)>) {
        let count = events.len();
        let newest = events.iter().map(|(_, event)| event.at_ms).max().unwrap_or_default();
        let lost = match self.files.append(&events) {
            Ok(places) => {
                let mut index = self.shared.index();
                for ((id, event), place) in events.iter().zip(places) {
                    index.written(*id, event, place);
                }
                0
            }
            Err(()) => count,
        };
        self.shared.dropped.fetch_add(lost as u64, Ordering::Relaxed);
        self.shared.waiting.fetch_sub(count, Ordering::Relaxed);
        // Often enough, and not for every event.
        if newest > self.newest_ms + self.options.max_age_ms / 100 || self.files.is_over_size() {
            self.expire(newest);
        }
    }

    fn expire(&mut self, now_ms: i64) {
        self.newest_ms = self.newest_ms.max(now_ms);
        let before = self.newest_ms.saturating_sub(self.options.max_age_ms);
        let gone = self.files.expire(before);
        self.shared.index().expire(before, &gone);
    }
}

#[cfg(test)]
mod tests;
