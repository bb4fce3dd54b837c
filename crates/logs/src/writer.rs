//! The thread that alone writes: puts that come together share one sync of each file.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use crate::block::{self, Block};
use crate::group::{self, GroupInfo, StreamChange};
use crate::pack;
use crate::read::StoredEvent;
use crate::state::{DELETED, Group, segment_path};
use crate::{Error, Event, LogStoreOptions, Shared};

/// Puts that share a sync, at most.
const MAX_TOGETHER: usize = 256;
/// Segments that are held open for writing, at most.
const MAX_OPEN: usize = 64;

pub(crate) enum Command {
    Put(Put),
    Do(Box<dyn FnOnce(&mut Writer) + Send>),
}

pub(crate) struct Put {
    pub group: String,
    pub stream: String,
    pub events: Vec<Event>,
    pub now_ms: i64,
    pub reply: oneshot::Sender<Result<u64, Error>>,
}

/// A block that is written and not yet synced.
struct Written {
    group: String,
    stream: String,
    block: Block,
    reply: oneshot::Sender<Result<u64, Error>>,
}

/// The segment that a group writes to.
struct Active {
    number: u64,
    file: File,
    bytes: u64,
    /// How much of it is durable.
    synced: u64,
}

pub(crate) struct Writer {
    directory: PathBuf,
    options: LogStoreOptions,
    shared: Arc<Shared>,
    /// By the group's directory: a name may come back with another one.
    active: BTreeMap<PathBuf, Active>,
    written: Vec<Written>,
}

impl Writer {
    pub(crate) fn new(directory: PathBuf, options: LogStoreOptions, shared: Arc<Shared>) -> Self {
        Self { directory, options, shared, active: BTreeMap::new(), written: Vec::new() }
    }

    pub(crate) fn run(mut self, commands: &mpsc::Receiver<Command>) {
        while let Ok(first) = commands.recv() {
            self.take(first);
            for _ in 1..MAX_TOGETHER {
                let Ok(next) = commands.try_recv() else { break };
                self.take(next);
            }
            self.sync();
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Put(put) => {
                let Put { group, stream, events, now_ms, reply } = put;
                match self.append(&group, &stream, events, now_ms) {
                    Ok(Some(block)) => self.written.push(Written { group, stream, block, reply }),
                    // Whoever asked may be gone.
                    Ok(None) => {
                        let state = self.shared.read();
                        let stream = state.group(&group).and_then(|group| group.stream(&stream));
                        drop(reply.send(stream.map(|stream| stream.last_sequence)));
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Command::Do(job) => {
                // What was put before a group or stream goes is put.
                self.sync();
                job(self);
            }
        }
    }

    fn append(
        &mut self,
        group: &str,
        stream: &str,
        events: Vec<Event>,
        now_ms: i64,
    ) -> Result<Option<Block>, Error> {
        let size: usize = events.iter().map(|event| block::size_of(&event.message)).sum();
        if size > block::MAX_BODY {
            return Err(Error::TooLarge(size));
        }
        let (directory, id, sequence, newest) = {
            let mut state = self.shared.write();
            let found = state.group(group)?;
            let id = found.stream(stream)?.id;
            let newest = found.segments.last_key_value().map(|(n, segment)| (*n, segment.bytes));
            let sequence = found.next_sequence;
            let directory = found.directory.clone();
            if let Some(group) = state.groups.get_mut(group) {
                group.next_sequence += events.len() as u64;
            }
            (directory, id, sequence, newest)
        };
        let active = self.active(&directory, newest)?;
        let stream: Arc<str> = stream.into();
        let events: Vec<StoredEvent> = (sequence..)
            .zip(events)
            .map(|(sequence, Event { at_ms, message })| StoredEvent {
                at_ms,
                sequence,
                ingested_ms: now_ms,
                message,
                stream: stream.clone(),
            })
            .collect();
        let encoded = block::encode(id, active.number, active.bytes, &events);
        let Some((block, bytes)) = encoded else { return Ok(None) };
        let path = segment_path(&directory, active.number);
        if let Err(error) = active.file.write_all(&bytes) {
            // What was written of it must not stand before what comes next.
            if active.file.set_len(active.bytes).is_err() {
                // What was written whole before it is waited for all the same.
                self.sync();
                self.active.remove(&directory);
            }
            return Err(Error::io("write", &path)(error));
        }
        active.bytes += bytes.len() as u64;
        Ok(Some(block))
    }

    /// The segment that a group writes to: the newest one while it has room, or a new one.
    fn active(
        &mut self,
        directory: &Path,
        newest: Option<(u64, u64)>,
    ) -> Result<&mut Active, Error> {
        let full = self.options.segment_bytes;
        let known = self.active.get(directory).map(|active| (active.number, active.bytes));
        let next = match (known, newest) {
            (Some((_, bytes)), _) if bytes < full => None,
            (Some((number, _)), _) => Some(number + 1),
            (None, Some((number, _))) => Some(number),
            (None, None) => Some(1),
        };
        if let Some(mut number) = next {
            self.sync();
            if let Some((full, _)) = known {
                self.active.remove(directory);
                if let Err(error) = pack::pack(&self.shared, directory, full) {
                    tracing::warn!(%error, "could not pack a segment of the log store");
                }
            }
            if self.active.len() >= MAX_OPEN {
                self.active.clear();
            }
            let mut active = open_segment(directory, number)?;
            // Behind what a failed write left nothing is written.
            let whole = newest.map_or(active.bytes == 0, |n| n == (active.number, active.bytes));
            if active.bytes >= full || known.is_none() && !whole {
                number += 1;
                active = open_segment(directory, number)?;
            }
            self.active.insert(directory.to_owned(), active);
        }
        self.active.get_mut(directory).ok_or(Error::Closed)
    }

    /// Makes durable what was written, shows it, and says so.
    fn sync(&mut self) {
        if self.written.is_empty() {
            return;
        }
        let mut failed: BTreeMap<PathBuf, (io::ErrorKind, String)> = BTreeMap::new();
        for (directory, active) in &mut self.active {
            if active.synced == active.bytes {
                continue;
            }
            match active.file.sync_data() {
                Ok(()) => active.synced = active.bytes,
                Err(error) => {
                    failed.insert(directory.clone(), (error.kind(), error.to_string()));
                    // Whoever put it puts it again: the next start should not find it twice.
                    if let Err(error) = active.file.set_len(active.synced) {
                        tracing::warn!(%error, "could not take back what failed in the log store");
                    }
                }
            }
        }
        for directory in failed.keys() {
            // What is on disk is unknown now: it isn't shown, and a new segment begins.
            self.active.remove(directory);
        }
        let mut replies = Vec::new();
        {
            let mut state = self.shared.write();
            for Written { group, stream, block, reply } in self.written.drain(..) {
                let Some(found) = state.groups.get_mut(&group) else { continue };
                let result = match failed.get(&found.directory) {
                    None => {
                        found.show(&stream, block);
                        Ok(block.last_sequence)
                    }
                    Some((kind, text)) => {
                        let source = io::Error::new(*kind, text.clone());
                        Err(Error::io("sync", &segment_path(&found.directory, block.segment))(
                            source,
                        ))
                    }
                };
                replies.push((reply, result));
            }
        }
        for (reply, result) in replies {
            // Whoever asked may be gone.
            let _ = reply.send(result);
        }
        self.make_room();
    }

    /// While the store is too large, the segment whose newest event is the oldest goes. Those that
    /// are written to stay.
    fn make_room(&mut self) {
        loop {
            let oldest = {
                let state = self.shared.read();
                if state.bytes() <= self.options.max_bytes {
                    return;
                }
                let all = state.groups.values().flat_map(|group| {
                    let of_group = |(number, segment): (&u64, &crate::state::Segment)| {
                        (segment.newest_ms, group.info.name.clone(), *number)
                    };
                    let last = group.segments.keys().next_back().copied();
                    group.segments.iter().filter(move |(n, _)| Some(**n) != last).map(of_group)
                });
                all.min()
            };
            let Some((_, group, number)) = oldest else { return };
            if let Err(error) = self.drop_segment(&group, number) {
                tracing::warn!(%error, "could not make room in the log store");
                return;
            }
        }
    }

    pub(crate) fn expire(&mut self, now_ms: i64) {
        let expired: Vec<(String, u64)> = {
            let state = self.shared.read();
            let of_group = |group: &Group| {
                let (name, cutoff) = (group.info.name.clone(), group.info.cutoff_ms(now_ms));
                let old = group.segments.iter().filter(move |(_, s)| s.newest_ms < cutoff);
                old.map(|(number, _)| (name.clone(), *number)).collect::<Vec<_>>()
            };
            state.groups.values().flat_map(of_group).collect()
        };
        for (group, number) in expired {
            if let Err(error) = self.drop_segment(&group, number) {
                tracing::warn!(%error, "could not remove what has expired");
            }
        }
    }

    fn drop_segment(&mut self, group: &str, number: u64) -> Result<(), Error> {
        let (directory, seen) = {
            let state = self.shared.read();
            let group = state.group(group)?;
            let affected = group
                .streams
                .values()
                .filter(|stream| stream.blocks.iter().any(|block| block.segment == number));
            let seen = affected.filter_map(|stream| {
                Some(StreamChange::Seen {
                    id: stream.id,
                    last_ms: stream.last_ms?,
                    ingested_ms: stream.ingested_ms?,
                    last_sequence: stream.last_sequence,
                })
            });
            (group.directory.clone(), seen.collect::<Vec<_>>())
        };
        group::append_streams(&directory, &seen)?;
        if self.active.get(&directory).is_some_and(|active| active.number == number) {
            self.active.remove(&directory);
        }
        let path = segment_path(&directory, number);
        // File and index together: no reader takes what has expired for damage.
        let mut state = self.shared.write();
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        if let Some(group) = state.groups.get_mut(group) {
            group.segments.remove(&number);
            for stream in group.streams.values_mut() {
                stream.blocks.retain(|block| block.segment != number);
            }
        }
        Ok(())
    }

    pub(crate) fn create_group(&mut self, info: GroupInfo) -> Result<(), Error> {
        let number = {
            let mut state = self.shared.write();
            if state.groups.contains_key(&info.name) {
                return Err(Error::GroupExists(info.name));
            }
            state.next_group += 1;
            state.next_group - 1
        };
        let directory = self.directory.join(format!("{number:08}"));
        let made = fs::DirBuilder::new().mode(0o700).create(&directory);
        made.map_err(Error::io("create", &directory))?;
        group::write_settings(&directory, &info)?;
        group::sync_directory(&self.directory).map_err(Error::io("sync", &self.directory))?;
        let group = Group::new(info, directory);
        self.shared.write().groups.insert(group.info.name.clone(), group);
        Ok(())
    }

    pub(crate) fn delete_group(&mut self, name: &str) -> Result<(), Error> {
        let directory = self.shared.read().group(name)?.directory.clone();
        let gone = directory.with_extension(DELETED);
        fs::rename(&directory, &gone).map_err(Error::io("remove", &directory))?;
        group::sync_directory(&self.directory).map_err(Error::io("sync", &self.directory))?;
        self.active.remove(&directory);
        self.shared.write().groups.remove(name);
        // The next start takes away what stays.
        if let Err(error) = fs::remove_dir_all(&gone) {
            tracing::warn!(path = %gone.display(), %error, "could not remove a deleted log group");
        }
        Ok(())
    }

    pub(crate) fn change_group(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut GroupInfo),
    ) -> Result<(), Error> {
        let (directory, mut info) = {
            let state = self.shared.read();
            let group = state.group(name)?;
            (group.directory.clone(), group.info.clone())
        };
        change(&mut info);
        group::write_settings(&directory, &info)?;
        if let Some(group) = self.shared.write().groups.get_mut(name) {
            group.info = info;
        }
        Ok(())
    }

    pub(crate) fn create_stream(
        &mut self,
        group: &str,
        name: &str,
        now_ms: i64,
    ) -> Result<(), Error> {
        let (directory, id) = {
            let state = self.shared.read();
            let group = state.group(group)?;
            if group.streams.contains_key(name) {
                return Err(Error::StreamExists(name.to_owned()));
            }
            (group.directory.clone(), group.next_stream)
        };
        let created = StreamChange::Created { id, name: name.to_owned(), at_ms: now_ms };
        group::append_streams(&directory, &[created])?;
        if let Some(group) = self.shared.write().groups.get_mut(group) {
            group.add_stream(id, name.into(), now_ms);
        }
        Ok(())
    }

    pub(crate) fn delete_stream(&mut self, group: &str, name: &str) -> Result<(), Error> {
        let (directory, id) = {
            let state = self.shared.read();
            let group = state.group(group)?;
            (group.directory.clone(), group.stream(name)?.id)
        };
        group::append_streams(&directory, &[StreamChange::Deleted { id }])?;
        if let Some(group) = self.shared.write().groups.get_mut(group) {
            group.streams.remove(name);
        }
        Ok(())
    }
}

impl Group {
    fn show(&mut self, stream: &str, block: Block) {
        let segment = self.segments.entry(block.segment).or_default();
        segment.bytes = block.offset + (block::HEADER as u64) + u64::from(block.length);
        segment.newest_ms = segment.newest_ms.max(block.last_ms);
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.add(block);
        }
    }
}

fn open_segment(directory: &Path, number: u64) -> Result<Active, Error> {
    let path = segment_path(directory, number);
    let open = || -> io::Result<Active> {
        let existed = path.exists();
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        if !existed {
            group::sync_directory(directory)?;
        }
        let bytes = file.metadata()?.len();
        Ok(Active { number, file, bytes, synced: bytes })
    };
    open().map_err(Error::io("open", &path))
}
