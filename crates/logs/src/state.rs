//! What is known of groups, streams and blocks: all in memory, all found again on disk.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::block::{self, Block, Scanned};
use crate::group::{self, GroupInfo, StreamChange};

/// A stream as it is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: Arc<str>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// Time of its oldest event that is kept.
    pub first_ms: Option<i64>,
    /// Time of its newest event.
    pub last_ms: Option<i64>,
    /// When something was put last.
    pub ingested_ms: Option<i64>,
    /// The number of the last event that was put; 0 before the first.
    pub last_sequence: u64,
}

pub(crate) struct Stream {
    pub id: u64,
    pub created_ms: i64,
    pub blocks: Vec<Block>,
    pub last_ms: Option<i64>,
    pub ingested_ms: Option<i64>,
    pub last_sequence: u64,
}

impl Stream {
    pub(crate) fn add(&mut self, block: Block) {
        self.last_ms = self.last_ms.max(Some(block.last_ms));
        self.ingested_ms = self.ingested_ms.max(Some(block.ingested_ms));
        self.last_sequence = self.last_sequence.max(block.last_sequence);
        self.blocks.push(block);
    }
}

#[derive(Default)]
pub(crate) struct Segment {
    pub bytes: u64,
    pub newest_ms: i64,
}

pub(crate) struct Group {
    pub info: GroupInfo,
    pub directory: PathBuf,
    pub streams: BTreeMap<Arc<str>, Stream>,
    pub segments: BTreeMap<u64, Segment>,
    pub next_stream: u64,
    pub next_sequence: u64,
}

/// What a segment's file is called while it is being packed.
pub(crate) const PACKING: &str = "packing";

/// A segment's file.
pub(crate) fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:012}.segment"))
}

impl Group {
    pub(crate) fn new(info: GroupInfo, directory: PathBuf) -> Self {
        Self {
            info,
            directory,
            streams: BTreeMap::new(),
            segments: BTreeMap::new(),
            next_stream: 1,
            next_sequence: 1,
        }
    }

    fn open(info: GroupInfo, directory: PathBuf) -> Result<Self, Error> {
        let mut group = Self::new(info, directory);
        let mut names: BTreeMap<u64, Arc<str>> = BTreeMap::new();
        for change in group::read_streams(&group.directory)? {
            group.replay(change, &mut names);
        }
        let mut numbers = Vec::new();
        let listed = fs::read_dir(&group.directory);
        for entry in listed.map_err(Error::io("list", &group.directory))? {
            let path = entry.map_err(Error::io("list", &group.directory))?.path();
            if path.extension().is_some_and(|extension| extension == PACKING) {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                continue;
            }
            let name = path.file_name().unwrap_or_default();
            let number = name.to_str().and_then(|name| name.strip_suffix(".segment"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        let newest = numbers.last().copied();
        for number in numbers {
            group.load(number, &names, Some(number) == newest)?;
        }
        Ok(group)
    }

    fn replay(&mut self, change: StreamChange, names: &mut BTreeMap<u64, Arc<str>>) {
        match change {
            StreamChange::Created { id, name, at_ms } => {
                let name: Arc<str> = name.into();
                names.insert(id, name.clone());
                self.add_stream(id, name, at_ms);
            }
            StreamChange::Deleted { id } => {
                if let Some(name) = names.remove(&id) {
                    self.streams.remove(&name);
                }
            }
            StreamChange::Seen { id, last_ms, ingested_ms, last_sequence } => {
                self.next_sequence = self.next_sequence.max(last_sequence + 1);
                if let Some(stream) = names.get(&id).and_then(|name| self.streams.get_mut(name)) {
                    stream.last_ms = stream.last_ms.max(Some(last_ms));
                    stream.ingested_ms = stream.ingested_ms.max(Some(ingested_ms));
                    stream.last_sequence = stream.last_sequence.max(last_sequence);
                }
            }
        }
    }

    pub(crate) fn add_stream(&mut self, id: u64, name: Arc<str>, created_ms: i64) {
        self.next_stream = self.next_stream.max(id + 1);
        let blocks = Vec::new();
        let (last_ms, ingested_ms, last_sequence) = (None, None, 0);
        let stream = Stream { id, created_ms, blocks, last_ms, ingested_ms, last_sequence };
        self.streams.insert(name, stream);
    }

    /// Reads a segment's blocks. What isn't whole at the end of the newest was never acknowledged: it
    /// is cut off, so that nothing is appended behind it.
    fn load(
        &mut self,
        number: u64,
        names: &BTreeMap<u64, Arc<str>>,
        is_newest: bool,
    ) -> Result<(), Error> {
        let path = segment_path(&self.directory, number);
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let Scanned { found, mut whole, damaged } = block::scan(number, &bytes);
        if damaged > 0 {
            tracing::warn!(file = %path.display(), damaged, "skipped damaged blocks");
        }
        if whole < bytes.len() as u64 && !is_newest {
            let unread = bytes.len() as u64 - whole;
            tracing::warn!(file = %path.display(), bytes = unread, "could not read the end");
            whole = bytes.len() as u64;
        }
        if whole < bytes.len() as u64 {
            tracing::warn!(
                file = %path.display(),
                bytes = bytes.len() as u64 - whole,
                "cut off what was not written completely"
            );
            let cut = || -> io::Result<()> {
                let file = OpenOptions::new().write(true).open(&path)?;
                file.set_len(whole)?;
                file.sync_data()
            };
            cut().map_err(Error::io("cut", &path))?;
        }
        let mut segment = Segment { bytes: whole, newest_ms: i64::MIN };
        for found in found {
            segment.newest_ms = segment.newest_ms.max(found.block.last_ms);
            self.next_sequence = self.next_sequence.max(found.block.last_sequence + 1);
            let name = names.get(&found.stream);
            if let Some(stream) = name.and_then(|name| self.streams.get_mut(name)) {
                stream.add(found.block);
            }
        }
        self.segments.insert(number, segment);
        Ok(())
    }

    pub(crate) fn stream(&self, name: &str) -> Result<&Stream, Error> {
        self.streams.get(name).ok_or_else(|| Error::NoStream(name.to_owned()))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    pub(crate) fn describe(&self) -> GroupInfo {
        GroupInfo { stored_bytes: self.bytes(), ..self.info.clone() }
    }

    pub(crate) fn stream_infos(&self) -> Vec<StreamInfo> {
        let info = |(name, stream): (&Arc<str>, &Stream)| StreamInfo {
            name: name.clone(),
            created_ms: stream.created_ms,
            first_ms: stream.blocks.iter().map(|block| block.first_ms).min(),
            last_ms: stream.last_ms,
            ingested_ms: stream.ingested_ms,
            last_sequence: stream.last_sequence,
        };
        self.streams.iter().map(info).collect()
    }
}

/// All groups.
#[derive(Default)]
pub(crate) struct State {
    pub groups: BTreeMap<String, Group>,
    /// The number of the next group's directory.
    pub next_group: u64,
}

/// What a group's directory is called from the moment it is deleted.
pub(crate) const DELETED: &str = "deleted";

impl State {
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(Error::io("create", directory))?;
        let mut state = Self::default();
        for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
            let path = entry.map_err(Error::io("list", directory))?.path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let Ok(number) = name.parse::<u64>() else { continue };
            state.next_group = state.next_group.max(number + 1);
            let is_deleted = path.extension().is_some_and(|extension| extension == DELETED);
            let info = if is_deleted { None } else { group::read_settings(&path)? };
            match info {
                Some(info) => {
                    state.groups.insert(info.name.clone(), Group::open(info, path)?);
                }
                None => fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?,
            }
        }
        Ok(state)
    }

    pub(crate) fn group(&self, name: &str) -> Result<&Group, Error> {
        self.groups.get(name).ok_or_else(|| Error::NoGroup(name.to_owned()))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.groups.values().map(Group::bytes).sum()
    }
}
