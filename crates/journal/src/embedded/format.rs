//! How the log and the snapshots look on disk.
//!
//! A segment `<first revision>.log` is a header of 64 bytes and then groups. A group is what one
//! sync made durable: a header of 32 bytes and a payload of whole transactions. Space that nothing
//! was written to is zeros. Each choice below serves one question, "was this torn by a crash, or
//! damaged later?", which decides between cutting it off and refusing to open:
//!
//! - groups start at multiples of 32 bytes, so that a header never spans two disk sectors;
//! - a payload ends in a byte that isn't zero, so that a lost tail shows;
//! - a header names the checksum of the group before it, so that a group proves that everything
//!   before it had been synced, and stale or foreign bytes never pass for a successor;
//! - checksums are seeded with the journal's random id, so that no value can contain a group.
//!
//! A snapshot `<revision>.snap` is a header of 64 bytes and then blocks of records.
//! All numbers are little-endian.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::journal::{Key, Value, Versioned};

/// The version that this binary writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;
/// Bytes of a segment's and of a snapshot's header.
pub(super) const FILE_HEADER: usize = 64;
/// Bytes of a group's header, and the alignment of groups.
pub(super) const GROUP_HEADER: usize = 32;
/// Largest payload that a reader believes.
pub(super) const MAX_GROUP_PAYLOAD: usize = 8 * 1024 * 1024;
/// The unit that a disk writes wholly or not at all.
pub(super) const SECTOR: usize = 512;

const LOG_MAGIC: &[u8; 8] = b"WHARFLOG";
const SNAPSHOT_MAGIC: &[u8; 8] = b"WHARFSNP";
const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"GRP1");
const TERMINATOR: u8 = 0xA5;
const DELETED: u32 = u32::MAX;

/// The header of a segment or a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHeader {
    /// The journal's id: files of another journal are refused.
    pub(super) id: Uuid,
    /// Segment: the first revision in it. Snapshot: the revision of the state.
    pub(super) revision: u64,
    /// Segment: checksum of the last group before it. Snapshot: unused.
    pub(super) chain: u32,
    /// Snapshot: how many records follow. Segment: unused.
    pub(super) records: u64,
}

/// Which of the two kinds of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Log,
    Snapshot,
}

/// Why a file's header was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderProblem {
    Newer(u32),
    Damaged(&'static str),
}

impl FileHeader {
    pub(super) fn encode(&self, kind: FileKind) -> [u8; FILE_HEADER] {
        let mut bytes = [0; FILE_HEADER];
        bytes[..8].copy_from_slice(kind.magic());
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.chain.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.revision.to_le_bytes());
        bytes[24..40].copy_from_slice(self.id.as_bytes());
        bytes[40..48].copy_from_slice(&self.records.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(kind: FileKind, bytes: &[u8]) -> Result<Self, HeaderProblem> {
        let mut reader = Reader(bytes.get(..FILE_HEADER).unwrap_or_default());
        let damaged = HeaderProblem::Damaged;
        let magic = reader.take(8).ok_or(damaged("the file's header is cut short"))?;
        let format = reader.u32().unwrap_or_default();
        if crc32c::crc32c(&bytes[..60]) != u32::from_le_bytes(array(&bytes[60..64])) {
            return Err(damaged("the checksum of the file's header is wrong"));
        }
        if magic != kind.magic() {
            return Err(damaged("it is another kind of file"));
        }
        if format != FORMAT {
            return Err(HeaderProblem::Newer(format));
        }
        let header = (|| {
            let chain = reader.u32()?;
            let revision = reader.u64()?;
            let id = Uuid::from_bytes(array(reader.take(16)?));
            Some(Self { id, revision, chain, records: reader.u64()? })
        })();
        header.ok_or(damaged("the file's header is cut short"))
    }
}

impl FileKind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Log => LOG_MAGIC,
            Self::Snapshot => SNAPSHOT_MAGIC,
        }
    }
}

/// Seeds all checksums within the files of one journal.
pub(super) fn seed(id: Uuid) -> u32 {
    crc32c::crc32c(id.as_bytes())
}

/// The header of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHeader {
    /// Bytes of the payload, padding and terminator included.
    pub(super) len: u32,
    /// Revision of the first transaction in it.
    pub(super) first_revision: u64,
    /// Number of transactions; their revisions follow one another.
    pub(super) count: u32,
    /// The `crc` of the group before.
    pub(super) chain: u32,
    payload_crc: u32,
    /// Checksum of this header; covers the payload by way of its checksum.
    pub(super) crc: u32,
}

impl GroupHeader {
    /// Reads a header and checks nothing but its own checksum.
    pub(super) fn decode(seed: u32, bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..GROUP_HEADER)?;
        let mut reader = Reader(header);
        if reader.u32()? != GROUP_MAGIC {
            return None;
        }
        let group = Self {
            len: reader.u32()?,
            first_revision: reader.u64()?,
            count: reader.u32()?,
            chain: reader.u32()?,
            payload_crc: reader.u32()?,
            crc: reader.u32()?,
        };
        let sane = group.len as usize <= MAX_GROUP_PAYLOAD
            && (GROUP_HEADER + group.len as usize).is_multiple_of(GROUP_HEADER)
            && group.count > 0;
        (sane && group.crc == crc32c::crc32c_append(seed, &header[..28])).then_some(group)
    }

    /// Whether these bytes are the payload that was written with this header.
    pub(super) fn matches(&self, seed: u32, payload: &[u8]) -> bool {
        payload.len() == self.len as usize
            && payload.last() == Some(&TERMINATOR)
            && crc32c::crc32c_append(seed, payload) == self.payload_crc
    }
}

/// Starts a group's bytes: room for the header, which is known last.
pub(super) fn start_group(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(GROUP_HEADER, 0);
}

/// Completes the bytes of a group whose transactions follow the room for its header.
/// Returns the checksum that the next group names.
pub(super) fn finish_group(
    buffer: &mut Vec<u8>,
    seed: u32,
    chain: u32,
    first_revision: u64,
    count: u32,
) -> u32 {
    let len = (buffer.len() + 1).next_multiple_of(GROUP_HEADER);
    buffer.resize(len, 0);
    buffer[len - 1] = TERMINATOR;
    let payload_crc = crc32c::crc32c_append(seed, &buffer[GROUP_HEADER..]);
    let payload_len = u32::try_from(len - GROUP_HEADER).unwrap_or(u32::MAX);
    buffer[..4].copy_from_slice(&GROUP_MAGIC.to_le_bytes());
    buffer[4..8].copy_from_slice(&payload_len.to_le_bytes());
    buffer[8..16].copy_from_slice(&first_revision.to_le_bytes());
    buffer[16..20].copy_from_slice(&count.to_le_bytes());
    buffer[20..24].copy_from_slice(&chain.to_le_bytes());
    buffer[24..28].copy_from_slice(&payload_crc.to_le_bytes());
    let crc = crc32c::crc32c_append(seed, &buffer[..28]);
    buffer[28..32].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// One transaction's after-images as the payload holds them. The limits have been checked.
pub(super) fn encode_transaction(writes: &[(Key, Option<Value>)]) -> Vec<u8> {
    let size: usize = writes
        .iter()
        .map(|(key, value)| 6 + key.len() + value.as_ref().map_or(0, Bytes::len))
        .sum();
    let mut bytes = Vec::with_capacity(2 + size);
    bytes.extend((writes.len() as u16).to_le_bytes());
    for (key, value) in writes {
        bytes.extend((key.len() as u16).to_le_bytes());
        bytes.extend(key.as_bytes());
        match value {
            Some(value) => {
                bytes.extend((value.len() as u32).to_le_bytes());
                bytes.extend(value);
            }
            None => bytes.extend(DELETED.to_le_bytes()),
        }
    }
    bytes
}

/// The after-images of one transaction.
pub(super) type Writes = Vec<(Key, Option<Value>)>;

/// The transactions of a payload whose checksum holds; `None` if it isn't one of ours after all.
pub(super) fn decode_group(count: u32, payload: &[u8]) -> Option<Vec<Writes>> {
    let mut reader = Reader(payload);
    let mut transactions = Vec::new();
    for _ in 0..count {
        let mut writes = Vec::new();
        for _ in 0..reader.u16()? {
            let key = reader.key()?;
            let value = match reader.u32()? {
                DELETED => None,
                // A copy, so that one small record doesn't keep a whole segment in memory.
                len => Some(Value::copy_from_slice(reader.take(len as usize)?)),
            };
            writes.push((key, value));
        }
        transactions.push(writes);
    }
    Some(transactions)
}

/// Appends one record to a snapshot's block.
pub(super) fn encode_record(block: &mut Vec<u8>, key: &str, record: &Versioned) {
    block.extend((key.len() as u16).to_le_bytes());
    block.extend(key.as_bytes());
    block.extend(record.revision.to_le_bytes());
    block.extend((record.value.len() as u32).to_le_bytes());
    block.extend(&record.value[..]);
}

/// Bytes before each block of a snapshot: length, checksum.
pub(super) const BLOCK_HEADER: usize = 8;

/// The checksum of a snapshot's block; `index` keeps blocks from changing places.
pub(super) fn block_crc(seed: u32, index: u32, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(seed, &index.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &(payload.len() as u32).to_le_bytes());
    crc32c::crc32c_append(crc, payload)
}

/// The records of a snapshot's block whose checksum holds.
pub(super) fn decode_block(payload: &[u8]) -> Option<Vec<(Key, Versioned)>> {
    let mut reader = Reader(payload);
    let mut records = Vec::new();
    while !reader.0.is_empty() {
        let key = reader.key()?;
        let revision = reader.u64()?;
        let len = reader.u32()? as usize;
        records
            .push((key, Versioned { revision, value: Value::copy_from_slice(reader.take(len)?) }));
    }
    Some(records)
}

/// Takes numbers and slices off the front of some bytes.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_le_bytes(array(bytes)))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|bytes| u32::from_le_bytes(array(bytes)))
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8).map(|bytes| u64::from_le_bytes(array(bytes)))
    }

    fn key(&mut self) -> Option<Key> {
        let len = self.u16()?;
        std::str::from_utf8(self.take(len.into())?).ok().map(Arc::from)
    }
}

/// A slice whose length is known, as an array; zeros where it is shorter.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    let len = N.min(bytes.len());
    array[..len].copy_from_slice(&bytes[..len]);
    array
}
