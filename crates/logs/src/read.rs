//! Reading events in the order of their times, over one stream or many, in either direction.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use crate::block::{self, Block};
use crate::state::{Group, segment_path};
use crate::{Error, Shared};

/// Bytes of messages that one read looks at, matching or not.
const MAX_SCANNED: usize = 32 << 20;

/// An event as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// When it happened, in milliseconds since 1970.
    pub at_ms: i64,
    /// Its number among all events of its group: those of one time are in this order.
    pub sequence: u64,
    /// When it was put.
    pub ingested_ms: i64,
    /// What it says.
    pub message: String,
    /// Its stream.
    pub stream: Arc<str>,
}

impl StoredEvent {
    /// Its place in the order of its group's events.
    pub fn position(&self) -> Position {
        Position { at_ms: self.at_ms, sequence: self.sequence }
    }
}

/// A place in the order of a group's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The time.
    pub at_ms: i64,
    /// The number among the events of that time.
    pub sequence: u64,
}

/// Which way to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From old to new.
    Forward,
    /// From new to old.
    Backward,
}

/// Which streams of a group.
#[derive(Debug, Clone, Copy)]
pub enum Streams<'a> {
    /// These, each of which must exist.
    Named(&'a [String]),
    /// Those whose names begin like this.
    Prefix(&'a str),
}

/// What to read.
pub struct Query<'a> {
    /// The group.
    pub group: &'a str,
    /// Its streams.
    pub streams: Streams<'a>,
    /// The earliest time, inclusive.
    pub from_ms: Option<i64>,
    /// The latest time, exclusive.
    pub until_ms: Option<i64>,
    /// Where an earlier read ended, exclusive; in the direction of this one.
    pub beyond: Option<Position>,
    /// Only events with a greater number: what was put since.
    pub since: Option<u64>,
    /// Which way.
    pub direction: Direction,
    /// Events at most.
    pub limit: usize,
    /// Bytes of events at most, each counted with `overhead`.
    pub max_bytes: usize,
    /// What an event counts beside its message.
    pub overhead: usize,
    /// Which events are wanted.
    pub matches: &'a dyn Fn(&str) -> bool,
    /// The time now: what has expired isn't read.
    pub now_ms: i64,
}

/// Events in the order of their times, whichever way they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The events.
    pub events: Vec<StoredEvent>,
    /// Where to go on; none if everything was looked at.
    pub next: Option<Position>,
}

/// A key by which the order of reading is always ascending.
type Key = (i64, i64);

impl Direction {
    fn key(self, at_ms: i64, sequence: u64) -> Key {
        let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
        match self {
            Self::Forward => (at_ms, sequence),
            Self::Backward => (at_ms.saturating_neg(), -sequence),
        }
    }

    /// The first time of a block, in the order of reading.
    fn begin(self, block: &Block) -> i64 {
        match self {
            Self::Forward => block.first_ms,
            Self::Backward => block.last_ms.saturating_neg(),
        }
    }
}

/// An event by its key.
struct Keyed(Key, StoredEvent);

impl PartialEq for Keyed {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Keyed {}
impl PartialOrd for Keyed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Keyed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// How often a read begins anew because blocks have moved under it.
const MAX_TRIES: u32 = 10;

pub(crate) fn read(shared: &Shared, query: &Query<'_>) -> Result<Page, Error> {
    for _ in 1..MAX_TRIES {
        if let Some(page) = try_read(shared, query, false)? {
            return Ok(page);
        }
    }
    Ok(try_read(shared, query, true)?.unwrap_or(Page { events: Vec::new(), next: None }))
}

/// Reads once. None if a block isn't where it was any more and `is_last` doesn't pass that over.
fn try_read(shared: &Shared, query: &Query<'_>, is_last: bool) -> Result<Option<Page>, Error> {
    let (directory, mut blocks, from_ms) = {
        let state = shared.read();
        let group = state.group(query.group)?;
        let from_ms = query.from_ms.unwrap_or(i64::MIN).max(group.info.cutoff_ms(query.now_ms));
        (group.directory.clone(), candidates(group, query, from_ms)?, from_ms)
    };
    let until_ms = query.until_ms.unwrap_or(i64::MAX);
    // The next one in the order of reading stands last.
    blocks.sort_by_key(|(_, block)| Reverse(query.direction.begin(block)));
    let beyond = query.beyond.map(|at| query.direction.key(at.at_ms, at.sequence));
    let mut heap: BinaryHeap<Reverse<Keyed>> = BinaryHeap::new();
    let mut page = Page { events: Vec::new(), next: None };
    let (mut bytes, mut scanned) = (0, 0);
    let mut last = None;
    loop {
        while let Some((stream, block)) = blocks.last()
            && heap.peek().is_none_or(|Reverse(first)| query.direction.begin(block) <= first.0.0)
        {
            let is_there = load(&directory, stream, block, query.direction, &mut heap)?;
            if !is_there && !is_last && !is_current(shared, query.group, stream, block) {
                return Ok(None);
            }
            if !is_there {
                tracing::warn!(group = query.group, %stream, "skipped a damaged block");
            }
            blocks.pop();
        }
        let Some(Reverse(Keyed(key, event))) = heap.pop() else { break };
        let outside = event.at_ms < from_ms || event.at_ms >= until_ms;
        let is_old = query.since.is_some_and(|since| event.sequence <= since);
        if outside || is_old || beyond.is_some_and(|beyond| key <= beyond) {
            continue;
        }
        scanned += event.message.len() + query.overhead;
        let size = event.message.len() + query.overhead;
        let wanted = (query.matches)(&event.message);
        let full = page.events.len() >= query.limit || bytes + size > query.max_bytes;
        let is_first = page.events.is_empty() && query.limit > 0;
        if scanned > MAX_SCANNED && last.is_some() || wanted && full && !is_first {
            page.next = last;
            break;
        }
        last = Some(event.position());
        if wanted {
            bytes += size;
            page.events.push(event);
        }
    }
    if query.direction == Direction::Backward {
        page.events.reverse();
    }
    Ok(Some(page))
}

/// The blocks that may hold something of the range.
fn candidates(
    group: &Group,
    query: &Query<'_>,
    from_ms: i64,
) -> Result<Vec<(Arc<str>, Block)>, Error> {
    let until_ms = query.until_ms.unwrap_or(i64::MAX);
    let (mut from_ms, mut to_ms) = (from_ms, until_ms.saturating_sub(1));
    match (query.beyond, query.direction) {
        (Some(at), Direction::Forward) => from_ms = from_ms.max(at.at_ms),
        (Some(at), Direction::Backward) => to_ms = to_ms.min(at.at_ms),
        (None, _) => {}
    }
    let mut found = Vec::new();
    let mut add = |name: &Arc<str>, blocks: &[Block]| {
        let is_new = |block: &&Block| query.since.is_none_or(|since| block.last_sequence > since);
        let overlapping =
            blocks.iter().filter(is_new).filter(|b| b.last_ms >= from_ms && b.first_ms <= to_ms);
        found.extend(overlapping.map(|block| (name.clone(), *block)));
    };
    match query.streams {
        Streams::Named(names) => {
            for name in names {
                let stream = group.streams.get_key_value(name.as_str());
                let (name, stream) = stream.ok_or_else(|| Error::NoStream(name.clone()))?;
                add(name, &stream.blocks);
            }
        }
        Streams::Prefix(prefix) => {
            let begin = (Bound::Included(prefix), Bound::Unbounded);
            let from = group.streams.range::<str, _>(begin);
            for (name, stream) in from.take_while(|(name, _)| name.starts_with(prefix)) {
                add(name, &stream.blocks);
            }
        }
    }
    Ok(found)
}

/// Whether the index still has a block: if not, its segment was packed, or has expired.
fn is_current(shared: &Shared, group: &str, stream: &str, block: &Block) -> bool {
    let state = shared.read();
    let stream = state.group(group).and_then(|group| group.stream(stream));
    stream.is_ok_and(|stream| stream.blocks.contains(block))
}

/// Reads a block's events; false if it isn't there.
fn load(
    directory: &Path,
    stream: &Arc<str>,
    block: &Block,
    direction: Direction,
    heap: &mut BinaryHeap<Reverse<Keyed>>,
) -> Result<bool, Error> {
    let path = segment_path(directory, block.segment);
    match block::read(&path, block, stream) {
        Ok(Some(events)) => {
            let keyed = |event: StoredEvent| {
                Reverse(Keyed(direction.key(event.at_ms, event.sequence), event))
            };
            heap.extend(events.into_iter().map(keyed));
            Ok(true)
        }
        Ok(None) => Ok(false),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) =>
        {
            Ok(false)
        }
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}
