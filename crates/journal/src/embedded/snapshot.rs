//! Snapshots: the whole state at one revision, in one file.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use super::format::{
    BLOCK_HEADER, FILE_HEADER, FORMAT, FileHeader, FileKind, HeaderProblem, Reader, block_crc,
    decode_block, encode_record, seed,
};
use super::{io_error, is_full, snapshot_name};
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::journal::{Key, Loaded, Versioned};

/// A block is written when it has this many bytes.
const BLOCK_BYTES: usize = 256 * 1024;

/// Writes the state's snapshot and makes it durable. `Ok(None)` if `abort` was set meanwhile.
/// Returns the path.
pub(super) fn write(
    disk: &dyn Disk,
    dir: &Path,
    id: Uuid,
    state: &Loaded,
    abort: &AtomicBool,
) -> Result<Option<PathBuf>, Error> {
    let temporary = dir.join("snapshot.tmp");
    let path = dir.join(snapshot_name(state.revision));
    let written = write_file(disk, &temporary, id, state, abort);
    if !matches!(written, Ok(true)) {
        // What stays behind if this fails too is removed at the next open.
        let _ = disk.remove(&temporary);
        return written.map(|_| None);
    }
    disk.rename(&temporary, &path).map_err(|error| rename_failed(&path, error))?;
    disk.sync_dir(dir).map_err(|error| sync_failed(dir, &error))?;
    Ok(Some(path))
}

fn write_file(
    disk: &dyn Disk,
    path: &Path,
    id: Uuid,
    state: &Loaded,
    abort: &AtomicBool,
) -> Result<bool, Error> {
    let file = disk.create(path).map_err(io_error("create", path.to_path_buf()))?;
    let header =
        FileHeader { id, revision: state.revision, chain: 0, records: state.records.len() as u64 };
    let mut offset = 0;
    let mut append = |bytes: &[u8]| {
        let written = file.write_all_at(bytes, offset);
        offset += bytes.len() as u64;
        written.map_err(io_error("write", path.to_path_buf()))
    };
    append(&header.encode(FileKind::Snapshot))?;
    let mut block = Vec::with_capacity(BLOCK_BYTES + BLOCK_BYTES / 2);
    block.resize(BLOCK_HEADER, 0);
    let mut index = 0;
    let mut records = state.records.iter().peekable();
    while let Some((key, record)) = records.next() {
        encode_record(&mut block, key, record);
        if block.len() >= BLOCK_BYTES || records.peek().is_none() {
            let payload_len = (block.len() - BLOCK_HEADER) as u32;
            let crc = block_crc(seed(id), index, &block[BLOCK_HEADER..]);
            block[..4].copy_from_slice(&payload_len.to_le_bytes());
            block[4..8].copy_from_slice(&crc.to_le_bytes());
            append(&block)?;
            block.truncate(BLOCK_HEADER);
            index += 1;
            if abort.load(Ordering::Relaxed) {
                return Ok(false);
            }
        }
    }
    file.sync_data().map_err(|error| sync_failed(path, &error))?;
    Ok(true)
}

/// A failed sync of any file is final for the whole journal.
pub(super) fn sync_failed(file: &Path, error: &std::io::Error) -> Error {
    Error::Failed { reason: format!("syncing {} failed: {error}", file.display()) }
}

/// A full disk leaves names as they were; after any other error either may stand.
pub(super) fn rename_failed(file: &Path, error: std::io::Error) -> Error {
    if is_full(&error) {
        Error::NoSpace { file: file.into() }
    } else {
        Error::Failed { reason: format!("renaming to {} failed: {error}", file.display()) }
    }
}

/// A snapshot as far as it could be read.
pub(super) struct Read {
    pub(super) header: Option<FileHeader>,
    pub(super) records: Vec<(Key, Versioned)>,
    pub(super) problem: Option<Error>,
}

/// Reads a snapshot, keeping what stands before the first damage.
pub(super) fn read(file: &dyn DiskFile, path: &Path) -> Result<Read, Error> {
    let bytes = file.read_to_end().map_err(io_error("read", path.to_path_buf()))?;
    let mut read = Read { header: None, records: Vec::new(), problem: None };
    let corrupt = |offset: usize, detail: &str| {
        Some(Error::Corrupt { file: path.into(), offset: offset as u64, detail: detail.into() })
    };
    let header = match FileHeader::decode(FileKind::Snapshot, &bytes) {
        Ok(header) => header,
        Err(problem) => {
            read.problem = Some(header_problem(path, problem));
            return Ok(read);
        }
    };
    read.header = Some(header);
    let mut offset = FILE_HEADER;
    let mut index = 0;
    while offset < bytes.len() {
        let mut reader = Reader(&bytes[offset..]);
        let records = (|| {
            let (len, crc) = (reader.u32()?, reader.u32()?);
            let payload = reader.take(len as usize)?;
            (crc == block_crc(seed(header.id), index, payload)).then_some(())?;
            offset += BLOCK_HEADER + payload.len();
            index += 1;
            decode_block(payload)
        })();
        let Some(records) = records else {
            read.problem = corrupt(offset, "the checksum of a snapshot's block is wrong");
            return Ok(read);
        };
        read.records.extend(records);
    }
    if read.records.len() as u64 != header.records {
        read.problem = corrupt(offset, "the snapshot lacks records at its end");
    }
    Ok(read)
}

/// A file header's problem as an error of the journal.
pub(super) fn header_problem(path: &Path, problem: HeaderProblem) -> Error {
    match problem {
        HeaderProblem::Newer(found) => {
            Error::NewerFormat { file: path.into(), found, supported: FORMAT }
        }
        HeaderProblem::Damaged(detail) => {
            Error::Corrupt { file: path.into(), offset: 0, detail: detail.into() }
        }
    }
}
