//! The log store: what containers wrote, by log group and log stream, as CloudWatch Logs orders it.
//!
//! A group is a directory with its settings, the list of its streams, and segments of blocks. What
//! [`LogStore::put`] acknowledged is on disk; many puts share one sync. Blocks are indexed in memory
//! by stream and time, so that a read opens only what overlaps its range. A segment that is full is
//! packed: its blocks are merged by stream, and compressed. Segments go as a whole,
//! when their group's retention has passed or the store is over its size. It has no clock: whoever
//! asks says what time it is, and it knows nothing of the AWS API.

mod block;
mod column_pattern;
mod condition;
mod group;
mod json_pattern;
mod pack;
mod pattern;
mod read;
mod state;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};

use tokio::sync::oneshot;

pub use group::GroupInfo;
pub use pattern::{Pattern, PatternError};
pub use read::{Direction, Page, Position, Query, StoredEvent, Streams};
pub use state::StreamInfo;

use state::State;
use writer::{Command, Put, Writer};

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// How much is kept.
#[derive(Debug, Clone)]
pub struct LogStoreOptions {
    /// Bytes on disk beyond which the oldest segments go, whatever their group's retention says.
    pub max_bytes: u64,
    /// Bytes after which a group begins a new segment: what goes at once when space is made.
    pub segment_bytes: u64,
}

impl Default for LogStoreOptions {
    fn default() -> Self {
        Self { max_bytes: 4 << 30, segment_bytes: 4 << 20 }
    }
}

/// Why the store didn't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No group of that name.
    #[error("the log group {0} does not exist")]
    NoGroup(String),
    /// A group of that name is there.
    #[error("the log group {0} exists")]
    GroupExists(String),
    /// No stream of that name in the group.
    #[error("the log stream {0} does not exist")]
    NoStream(String),
    /// A stream of that name is there.
    #[error("the log stream {0} exists")]
    StreamExists(String),
    /// A file operation failed.
    #[error("could not {action} the log store's {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// More at once than a block takes.
    #[error("{0} bytes of events are too many for one put")]
    TooLarge(usize),
    /// The store's thread has ended.
    #[error("the log store is closed")]
    Closed,
}

impl Error {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// An event as it is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it happened, in milliseconds since 1970.
    pub at_ms: i64,
    /// What it says.
    pub message: String,
}

/// The store; a handle that is cheap to clone.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl std::fmt::Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStore").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

struct Shared {
    state: RwLock<State>,
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogStore {
    /// Opens `<data dir>/logs` and reads its index. Blocks for as long as that takes.
    ///
    /// # Errors
    /// If a directory can't be made or read. Torn tails are cut off, damage is skipped with a warning.
    pub fn open(data_dir: &Path, options: LogStoreOptions) -> Result<Self, Error> {
        let directory = data_dir.join("logs");
        let state = State::open(&directory)?;
        let shared = Arc::new(Shared { state: RwLock::new(state) });
        let (commands, receiver) = mpsc::channel();
        let writer = Writer::new(directory.clone(), options, shared.clone());
        std::thread::Builder::new()
            .name("logs".into())
            .spawn(move || writer.run(&receiver))
            .map_err(Error::io("start the thread of", &directory))?;
        Ok(Self { shared, commands })
    }

    /// Every group, by name.
    pub fn groups(&self) -> Vec<GroupInfo> {
        self.shared.read().groups.values().map(state::Group::describe).collect()
    }

    /// A group.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn group(&self, name: &str) -> Result<GroupInfo, Error> {
        self.shared.read().group(name).map(state::Group::describe)
    }

    /// A group's streams, by name.
    ///
    /// # Errors
    /// If there is no such group.
    pub fn streams(&self, group: &str) -> Result<Vec<StreamInfo>, Error> {
        Ok(self.shared.read().group(group)?.stream_infos())
    }

    /// The greatest number of an event in a group; 0 before the first.
    ///
    /// # Errors
    /// If there is no such group.
    pub fn last_sequence(&self, group: &str) -> Result<u64, Error> {
        let state = self.shared.read();
        let streams = state.group(group)?.streams.values();
        Ok(streams.map(|stream| stream.last_sequence).max().unwrap_or(0))
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.shared.read().bytes()
    }

    /// Reads a page of events. Blocks on the disk.
    ///
    /// # Errors
    /// If the group or a named stream doesn't exist, or the disk fails.
    pub fn read(&self, query: &Query<'_>) -> Result<Page, Error> {
        read::read(&self.shared, query)
    }

    /// Makes a group. Durable once this returns.
    ///
    /// # Errors
    /// If one of that name is there, or the disk fails.
    pub async fn create_group(&self, group: GroupInfo) -> Result<(), Error> {
        self.ask(move |writer| writer.create_group(group)).await
    }

    /// Removes a group with everything in it.
    ///
    /// # Errors
    /// If there is none, or the disk fails.
    pub async fn delete_group(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.ask(move |writer| writer.delete_group(&name)).await
    }

    /// Sets or removes a group's retention, in days.
    ///
    /// # Errors
    /// If there is no such group, or the disk fails.
    pub async fn set_retention(&self, name: &str, days: Option<i32>) -> Result<(), Error> {
        let name = name.to_owned();
        self.ask(move |writer| writer.change_group(&name, |group| group.retention_days = days))
            .await
    }

    /// Replaces a group's tags.
    ///
    /// # Errors
    /// If there is no such group, or the disk fails.
    pub async fn change_tags(
        &self,
        name: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>) + Send + 'static,
    ) -> Result<(), Error> {
        let name = name.to_owned();
        self.ask(move |writer| writer.change_group(&name, |group| change(&mut group.tags))).await
    }

    /// Makes a stream.
    ///
    /// # Errors
    /// If there is no such group, a stream of that name is there, or the disk fails.
    pub async fn create_stream(&self, group: &str, name: &str, now_ms: i64) -> Result<(), Error> {
        let (group, name) = (group.to_owned(), name.to_owned());
        self.ask(move |writer| writer.create_stream(&group, &name, now_ms)).await
    }

    /// Removes a stream with its events.
    ///
    /// # Errors
    /// If there is no such group or stream, or the disk fails.
    pub async fn delete_stream(&self, group: &str, name: &str) -> Result<(), Error> {
        let (group, name) = (group.to_owned(), name.to_owned());
        self.ask(move |writer| writer.delete_stream(&group, &name)).await
    }

    /// Appends events, which must be in the order of their times. They are on disk, all of them, once
    /// this returns well; none of them is visible before. The number of the stream's last event.
    ///
    /// # Errors
    /// If there is no such group or stream, or the disk fails: then none of them is kept.
    pub async fn put(
        &self,
        group: &str,
        stream: &str,
        events: Vec<Event>,
        now_ms: i64,
    ) -> Result<u64, Error> {
        let (reply, answer) = oneshot::channel();
        let (group, stream) = (group.to_owned(), stream.to_owned());
        let put = Put { group, stream, events, now_ms, reply };
        self.commands.send(Command::Put(put)).map_err(|_| Error::Closed)?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Removes the segments whose group's retention has passed at that time.
    ///
    /// # Errors
    /// If the store is closed.
    pub async fn expire(&self, now_ms: i64) -> Result<(), Error> {
        self.ask(move |writer| {
            writer.expire(now_ms);
            Ok(())
        })
        .await
    }

    async fn ask(
        &self,
        what: impl FnOnce(&mut Writer) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move |writer: &mut Writer| {
            // Whoever asked may be gone.
            let _ = reply.send(what(writer));
        });
        self.commands.send(Command::Do(job)).map_err(|_| Error::Closed)?;
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

#[cfg(test)]
mod tests;
