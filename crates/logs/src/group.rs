//! A group's own files: its settings, and the list of its streams.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;

/// A group's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// For how many days events are kept; for ever if unset.
    #[serde(default)]
    pub retention_days: Option<i32>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Bytes on disk; only ever read.
    #[serde(skip)]
    pub stored_bytes: u64,
}

impl GroupInfo {
    /// The time before which its events have expired.
    pub fn cutoff_ms(&self, now_ms: i64) -> i64 {
        let kept = |days| now_ms.saturating_sub(i64::from(days) * crate::DAY_MS);
        self.retention_days.map_or(i64::MIN, kept)
    }
}

const SETTINGS: &str = "group.json";

/// Writes a group's settings: the old ones or the new ones are there at any moment.
pub(crate) fn write_settings(directory: &Path, info: &GroupInfo) -> Result<(), Error> {
    let path = directory.join(SETTINGS);
    let new = directory.join("group.json.new");
    let write = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(info)?)?;
        file.sync_data()?;
        fs::rename(&new, &path)?;
        sync_directory(directory)
    };
    write().map_err(Error::io("write", &path))
}

/// Reads a group's settings; none where a group was only half made.
pub(crate) fn read_settings(directory: &Path) -> Result<Option<GroupInfo>, Error> {
    let path = directory.join(SETTINGS);
    match fs::read(&path) {
        Ok(bytes) => {
            let info = serde_json::from_slice(&bytes).map_err(io::Error::from);
            info.map(Some).map_err(Error::io("read", &path))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

/// Makes what was done in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// What happened to a stream, as a line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StreamChange {
    /// It was made.
    #[serde(rename = "created")]
    Created { id: u64, name: String, at_ms: i64 },
    #[serde(rename = "deleted")]
    Deleted { id: u64 },
    /// A segment with events of it went: what remains to be told of them.
    #[serde(rename = "seen")]
    Seen { id: u64, last_ms: i64, ingested_ms: i64, last_sequence: u64 },
}

fn list_path(directory: &Path) -> PathBuf {
    directory.join("streams")
}

/// Appends to the list of streams, durably.
pub(crate) fn append_streams(directory: &Path, changes: &[StreamChange]) -> Result<(), Error> {
    let path = list_path(directory);
    let mut lines = Vec::new();
    let mut append = || -> io::Result<()> {
        for change in changes {
            let json = serde_json::to_vec(change)?;
            write!(lines, "{:08x} ", crc32c::crc32c(&json))?;
            lines.extend(json);
            lines.push(b'\n');
        }
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(&path)?;
        let length = file.metadata()?.len();
        if length == 0 {
            // The file may be new: its name has to be durable as well.
            sync_directory(directory)?;
        } else {
            let mut last = [0];
            file.read_exact_at(&mut last, length - 1)?;
            if last != *b"\n" {
                // A failed write left half a line, and couldn't take it back.
                lines.insert(0, b'\n');
            }
        }
        let written = file.write_all(&lines).and_then(|()| file.sync_data());
        if written.is_err() {
            // Half a line would make one with what comes next.
            file.set_len(length)?;
        }
        written
    };
    append().map_err(Error::io("write", &path))
}

/// Reads the list of streams; a torn tail is cut off.
pub(crate) fn read_streams(directory: &Path) -> Result<Vec<StreamChange>, Error> {
    let path = list_path(directory);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    let mut changes = Vec::new();
    let mut whole = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.last() != Some(&b'\n') {
            break;
        }
        whole += line.len() as u64;
        match parse(line) {
            Some(change) => changes.push(change),
            None => tracing::warn!(file = %path.display(), "skipped a damaged line"),
        }
    }
    if whole < bytes.len() as u64 {
        let cut = || OpenOptions::new().write(true).open(&path)?.set_len(whole);
        cut().map_err(Error::io("cut", &path))?;
    }
    Ok(changes)
}

fn parse(line: &[u8]) -> Option<StreamChange> {
    let (crc, json) = line.strip_suffix(b"\n")?.split_at_checked(9)?;
    let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?.strip_suffix(' ')?, 16).ok()?;
    (crc == crc32c::crc32c(json)).then(|| serde_json::from_slice(json).ok()).flatten()
}
