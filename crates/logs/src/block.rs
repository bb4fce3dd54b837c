//! A block: events of one stream that were written together, checksummed, compressed if that helps.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::read::StoredEvent;

/// Bytes of a block's header.
pub(crate) const HEADER: usize = 56;
/// Bytes before each message in a block's body.
const EVENT_HEADER: usize = 28;
/// Bodies smaller than this stay as they are.
const MIN_COMPRESSED: usize = 256;
/// The largest body that is written and believed: the API takes 1 MiB at once, and its overhead.
pub(crate) const MAX_BODY: usize = 16 << 20;
const LEVEL: i32 = 3;

/// Where a block lies and what is in it: all that a read needs to pass it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub segment: u64,
    pub offset: u64,
    /// Of the body as it is stored.
    pub length: u32,
    /// Of the body as it was.
    pub raw_length: u32,
    pub count: u32,
    pub first_ms: i64,
    pub last_ms: i64,
    pub ingested_ms: i64,
    pub last_sequence: u64,
}

/// A block as it was found in a file.
pub(crate) struct Found {
    pub stream: u64,
    pub block: Block,
}

/// Lays out a block, header included. None for no events.
pub(crate) fn encode(
    stream: u64,
    segment: u64,
    offset: u64,
    events: &[StoredEvent],
) -> Option<(Block, Vec<u8>)> {
    let first_ms = events.iter().map(|event| event.at_ms).min()?;
    let last_ms = events.iter().map(|event| event.at_ms).max()?;
    let mut raw: Vec<u8> = Vec::with_capacity(events.iter().map(raw_size).sum());
    for event in events {
        raw.extend(event.at_ms.to_le_bytes());
        raw.extend(event.ingested_ms.to_le_bytes());
        raw.extend(event.sequence.to_le_bytes());
        raw.extend(u32::try_from(event.message.len()).ok()?.to_le_bytes());
        raw.extend(event.message.as_bytes());
    }
    let raw_length = u32::try_from(raw.len()).ok()?;
    let packed = (raw.len() >= MIN_COMPRESSED)
        .then(|| zstd::bulk::compress(&raw, LEVEL).ok())
        .flatten()
        .filter(|packed| packed.len() < raw.len());
    let body = packed.unwrap_or(raw);
    let block = Block {
        segment,
        offset,
        length: u32::try_from(body.len()).ok()?,
        raw_length,
        count: u32::try_from(events.len()).ok()?,
        first_ms,
        last_ms,
        ingested_ms: events.iter().map(|event| event.ingested_ms).max()?,
        last_sequence: events.iter().map(|event| event.sequence).max()?,
    };
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend([0; 4]);
    bytes.extend(block.length.to_le_bytes());
    bytes.extend(block.raw_length.to_le_bytes());
    bytes.extend(block.count.to_le_bytes());
    bytes.extend(stream.to_le_bytes());
    bytes.extend(block.first_ms.to_le_bytes());
    bytes.extend(block.last_ms.to_le_bytes());
    bytes.extend(block.ingested_ms.to_le_bytes());
    bytes.extend(block.last_sequence.to_le_bytes());
    bytes.extend(&body);
    let crc = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    Some((block, bytes))
}

/// Bytes of an event in a block's body.
pub(crate) fn raw_size(event: &StoredEvent) -> usize {
    size_of(&event.message)
}

/// Bytes that a message takes in a block's body.
pub(crate) fn size_of(message: &str) -> usize {
    message.len() + EVENT_HEADER
}

/// Takes fixed-size numbers from the front of bytes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }
}

/// The block at the front of `bytes`; none if it is torn or damaged.
fn decode(segment: u64, offset: u64, bytes: &[u8]) -> Option<Found> {
    let mut fields = Fields(bytes);
    let crc = fields.u32()?;
    let (length, raw_length, count) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let stream = fields.u64()?;
    let (first_ms, last_ms, ingested_ms) = (fields.i64()?, fields.i64()?, fields.i64()?);
    let last_sequence = fields.u64()?;
    let end = HEADER.checked_add(length as usize)?;
    if raw_length as usize > MAX_BODY || crc32c::crc32c(bytes.get(4..end)?) != crc {
        return None;
    }
    let block = Block {
        segment,
        offset,
        length,
        raw_length,
        count,
        first_ms,
        last_ms,
        ingested_ms,
        last_sequence,
    };
    Some(Found { stream, block })
}

/// What a segment holds.
pub(crate) struct Scanned {
    /// Its blocks.
    pub found: Vec<Found>,
    /// Bytes up to the end of the last one.
    pub whole: u64,
    /// How many blocks before that end can't be read.
    pub damaged: usize,
}

/// Finds a segment's blocks. One that is damaged is passed over if its header leads to another: what
/// lies within a body is never taken for a block, as whoever wrote the messages could have put one
/// there.
pub(crate) fn scan(segment: u64, bytes: &[u8]) -> Scanned {
    let mut scanned = Scanned { found: Vec::new(), whole: 0, damaged: 0 };
    let at = |offset: usize| decode(segment, offset as u64, bytes.get(offset..)?);
    let mut offset = 0;
    loop {
        let block = at(offset).or_else(|| {
            let length = bytes.get(offset.checked_add(4)?..)?.first_chunk().copied()?;
            let next =
                offset.checked_add(HEADER)?.checked_add(u32::from_le_bytes(length) as usize)?;
            let block = at(next)?;
            scanned.damaged += 1;
            Some(block)
        });
        let Some(block) = block else { return scanned };
        let end = block.block.offset + HEADER as u64 + u64::from(block.block.length);
        (offset, scanned.whole) = (usize::try_from(end).unwrap_or(usize::MAX), end);
        scanned.found.push(block);
    }
}

/// Reads a block's events; none if what lies there isn't the block.
pub(crate) fn read(
    path: &Path,
    block: &Block,
    stream: &Arc<str>,
) -> io::Result<Option<Vec<StoredEvent>>> {
    let file = File::open(path)?;
    let mut bytes = vec![0; HEADER + block.length as usize];
    file.read_exact_at(&mut bytes, block.offset)?;
    let same = decode(block.segment, block.offset, &bytes).is_some_and(|f| f.block == *block);
    Ok(if same { events(block, &bytes[HEADER..], stream) } else { None })
}

/// The events of a block that was found in `segment`'s bytes.
pub(crate) fn events_of(
    block: &Block,
    segment: &[u8],
    stream: &Arc<str>,
) -> Option<Vec<StoredEvent>> {
    let begin = usize::try_from(block.offset).ok()?.checked_add(HEADER)?;
    events(block, segment.get(begin..begin.checked_add(block.length as usize)?)?, stream)
}

fn events(block: &Block, body: &[u8], stream: &Arc<str>) -> Option<Vec<StoredEvent>> {
    let unpacked;
    let raw = if block.length == block.raw_length {
        body
    } else {
        unpacked = zstd::bulk::decompress(body, block.raw_length as usize).ok()?;
        &unpacked
    };
    let mut events = Vec::with_capacity((block.count as usize).min(raw.len() / EVENT_HEADER));
    let mut fields = Fields(raw);
    while !fields.0.is_empty() {
        let (at_ms, ingested_ms, sequence) = (fields.i64()?, fields.i64()?, fields.u64()?);
        let length = fields.u32()? as usize;
        let (text, rest) = fields.0.split_at_checked(length)?;
        fields.0 = rest;
        let message = std::str::from_utf8(text).ok()?.to_owned();
        events.push(StoredEvent { at_ms, sequence, ingested_ms, message, stream: stream.clone() });
    }
    Some(events)
}
