//! Reading what containers wrote: the shim's json-file logs, rotated ones (which may be compressed)
//! first.
//!
//! A reader holds the file that it reads open, so that a rotation in between loses nothing as
//! long as it is not lapped by `max-file` rotations.

mod source;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::shim::rotated;
use source::{Identity, Source};

#[cfg(test)]
pub(crate) use source::content;
pub(crate) use source::{compress, compressed};

/// How often a follower looks for more.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The longest line that is read: 16 KiB of output and as much of what goes with it, escaped six-fold,
/// and its frame.
const MAX_LINE_BYTES: usize = 256 << 10;

/// One line of output, or a piece of a very long one (then without a line end).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The text, its line end included.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// When it was read from the container, RFC 3339 with nanoseconds.
    pub time: String,
    /// Labels and variables of the container that go with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attrs: Option<BTreeMap<String, String>>,
}

/// A place in a log: a file, however it is called by now, and what of it lies before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The file's inode.
    pub inode: u64,
    /// Bytes of whole lines.
    pub offset: u64,
}

/// The file in which whoever ships a log notes how far that is.
pub fn cursor_path(log: &Path) -> PathBuf {
    log.with_extension("awslogs")
}

/// How far a log is shipped: `position` of the cursor beside it.
pub fn shipped(log: &Path) -> Option<Position> {
    #[derive(Deserialize)]
    struct Cursor {
        position: Option<Position>,
    }
    let text = std::fs::read(cursor_path(log)).ok()?;
    serde_json::from_slice::<Cursor>(&text).ok()?.position
}

/// Reads a container's log from its oldest line on.
pub struct LogReader {
    path: PathBuf,
    /// Where reading goes on, a partial line included.
    at: Option<Position>,
    /// Files that come after the current one.
    older: VecDeque<Source>,
    current: Option<Source>,
    partial: Vec<u8>,
}

impl LogReader {
    /// Opens the log at [`crate::Runtime::log_path`]. One that isn't there yet is empty.
    pub async fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        Self::open_at(path, None).await
    }

    /// Opens the log where an earlier reader was. If that place is gone, it begins with the oldest
    /// line that is left.
    pub async fn open_at(path: impl Into<PathBuf>, position: Option<Position>) -> io::Result<Self> {
        let path = path.into();
        let is_place = |of: Identity, length: Option<u64>| {
            let place = position.zip(length);
            place.is_some_and(|(at, length)| at.inode == of.inode && at.offset <= length)
        };
        let (older, is_found) = files_from(&path, is_place).await?;
        let mut reader = Self { path, at: None, older, current: None, partial: Vec::new() };
        let start = position.filter(|_| is_found).map_or(0, |at| at.offset);
        if let Some(mut file) = reader.older.pop_front() {
            file.seek(start).await?;
            reader.take(file, start);
        }
        Ok(reader)
    }

    fn take(&mut self, file: Source, offset: u64) {
        self.at = Some(Position { inode: file.identity.inode, offset });
        self.current = Some(file);
        self.partial.clear();
    }

    /// The place behind the last line that was read; none while there is no file.
    pub fn position(&self) -> Option<Position> {
        let partial = self.partial.len() as u64;
        self.at.map(|at| Position { offset: at.offset.saturating_sub(partial), ..at })
    }

    /// Opens the log at its last `count` lines.
    pub async fn open_tail(path: impl Into<PathBuf>, count: usize) -> io::Result<Self> {
        let path = path.into();
        let mut counting = Self::open(path.clone()).await?;
        let mut lines = 0usize;
        while counting.next().await?.is_some() {
            lines += 1;
        }
        let mut reader = Self::open(path).await?;
        for _ in 0..lines.saturating_sub(count) {
            reader.next().await?;
        }
        Ok(reader)
    }

    /// The next line, if one is there.
    pub async fn next(&mut self) -> io::Result<Option<LogLine>> {
        loop {
            if let Some(line) = self.read_line().await? {
                return Ok(Some(line));
            }
            if !self.advance().await? {
                return Ok(None);
            }
        }
    }

    /// The next line; waits until there is one. Cancelling loses nothing.
    pub async fn follow(&mut self) -> io::Result<LogLine> {
        loop {
            if let Some(line) = self.next().await? {
                return Ok(line);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn read_line(&mut self) -> io::Result<Option<LogLine>> {
        let Some(file) = &mut self.current else { return Ok(None) };
        loop {
            let available = file.fill_buf().await?;
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|&byte| byte == b'\n');
            let taken = end.map_or(available.len(), |at| at + 1);
            self.partial.extend_from_slice(&available[..taken]);
            file.consume(taken);
            if let Some(at) = &mut self.at {
                at.offset += taken as u64;
            }
            if end.is_some() || self.partial.len() > MAX_LINE_BYTES {
                let line = std::mem::take(&mut self.partial);
                // What isn't a line of ours (a disk that filled up in the middle) is passed over.
                if let Ok(line) = serde_json::from_slice(&line) {
                    return Ok(Some(line));
                }
            }
        }
    }

    /// Goes on to the next file; false when this is the newest.
    async fn advance(&mut self) -> io::Result<bool> {
        if let Some(next) = self.older.pop_front() {
            self.take(next, 0);
            return Ok(true);
        }
        let Some(current) = &mut self.current else {
            (self.older, _) = files_from(&self.path, |_, _| false).await?;
            return Ok(!self.older.is_empty());
        };
        let identity = current.identity;
        let (mut newer, is_found) = files_from(&self.path, |other, _| other == identity).await?;
        if is_found {
            newer.pop_front();
        }
        if newer.is_empty() {
            return Ok(false);
        }
        // It was rotated away; what was written to it before that is read first.
        if current.has_more().await? {
            return Ok(true);
        }
        self.older = newer;
        Ok(true)
    }
}

/// The log's files, oldest first, from the one by identity and length that is looked for (and whether
/// it was found) or else from the oldest on.
async fn files_from(
    path: &Path,
    is_first: impl Fn(Identity, Option<u64>) -> bool,
) -> io::Result<(VecDeque<Source>, bool)> {
    let mut files = VecDeque::new();
    // From the newest back: a rotation while we open shows a file twice rather than never.
    let mut seen = Vec::new();
    let mut missing = 0;
    for number in 0.. {
        let name = if number == 0 { path.to_owned() } else { rotated(path, number) };
        let file = match Source::open(&name).await {
            Ok(file) => file,
            // A rotation, which renames the oldest first, leaves one gap at a time.
            Err(error) if error.kind() == io::ErrorKind::NotFound && missing == 0 => {
                missing += 1;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        missing = 0;
        let (identity, length) = (file.identity, file.length().await?);
        if !seen.contains(&identity) {
            seen.push(identity);
            files.push_front(file);
        }
        if is_first(identity, length) {
            return Ok((files, true));
        }
    }
    Ok((files, false))
}

/// The containers of a task that have a log, by name.
pub async fn containers_with_logs(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut entries = match tokio::fs::read_dir(directory).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        Err(error) => return Err(error),
    };
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".log").map(String::from));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn line(text: &str) -> String {
        let line = LogLine {
            log: format!("{text}\n"),
            stream: "stdout".to_owned(),
            time: "2026-01-01T00:00:00.000000000Z".to_owned(),
            attrs: None,
        };
        serde_json::to_string(&line).unwrap() + "\n"
    }

    #[tokio::test]
    async fn a_follower_crosses_rotations_and_waits_for_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        std::fs::write(rotated(&path, 1), line("one")).unwrap();
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(line("two").as_bytes()).unwrap();
        let mut reader = LogReader::open(&path).await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap().log, "one\n");
        assert_eq!(reader.next().await.unwrap().unwrap().log, "two\n");
        assert_eq!(reader.next().await.unwrap(), None);
        let three = line("three");
        file.write_all(&three.as_bytes()[..10]).unwrap();
        assert_eq!(reader.next().await.unwrap(), None);
        file.write_all(&three.as_bytes()[10..]).unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap().log, "three\n");
        file.write_all(line("four").as_bytes()).unwrap();
        std::fs::rename(&path, rotated(&path, 1)).unwrap();
        std::fs::write(&path, line("five")).unwrap();
        let place = reader.position();
        assert_eq!(reader.follow().await.unwrap().log, "four\n");
        assert_eq!(reader.follow().await.unwrap().log, "five\n");
        let mut again = LogReader::open_at(&path, place).await.unwrap();
        assert_eq!(again.next().await.unwrap().unwrap().log, "four\n");
        assert_eq!(again.next().await.unwrap().unwrap().log, "five\n");
        let gone = place.map(|at| Position { offset: 1 << 30, ..at });
        let mut oldest = LogReader::open_at(&path, gone).await.unwrap();
        assert_eq!(oldest.next().await.unwrap().unwrap().log, "two\n");
        // Several rotations between two looks: none of the files is passed over.
        std::fs::rename(rotated(&path, 1), rotated(&path, 3)).unwrap();
        std::fs::rename(&path, rotated(&path, 2)).unwrap();
        std::fs::write(rotated(&path, 1), line("six")).unwrap();
        std::fs::write(&path, line("seven")).unwrap();
        assert_eq!(reader.follow().await.unwrap().log, "six\n");
        assert_eq!(reader.follow().await.unwrap().log, "seven\n");
        assert_eq!(reader.next().await.unwrap(), None);
        // In the middle of a rotation a name is missing.
        std::fs::rename(rotated(&path, 3), rotated(&path, 4)).unwrap();
        let mut amid = LogReader::open(&path).await.unwrap();
        assert_eq!(amid.next().await.unwrap().unwrap().log, "two\n");
        std::fs::rename(rotated(&path, 4), rotated(&path, 3)).unwrap();
        let mut tail = LogReader::open_tail(&path, 2).await.unwrap();
        assert_eq!(tail.next().await.unwrap().unwrap().log, "six\n");
        assert_eq!(containers_with_logs(directory.path()).await.unwrap(), ["app"]);
    }

    #[tokio::test]
    async fn a_file_that_is_compressed_meanwhile_is_read_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        std::fs::write(&path, line("one") + &line("two")).unwrap();
        let mut reader = LogReader::open(&path).await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap().log, "one\n");
        let mut late = LogReader::open(&path).await.unwrap();
        while late.next().await.unwrap().is_some() {}
        let rotate = |next: &str| {
            std::fs::rename(&path, rotated(&path, 1)).unwrap();
            std::fs::write(&path, line(next)).unwrap();
            compress(&rotated(&path, 1)).unwrap();
            assert!(!rotated(&path, 1).exists());
        };
        rotate("three");
        for (reader, expected) in [(&mut reader, vec!["two", "three"]), (&mut late, vec!["three"])]
        {
            for text in expected {
                assert_eq!(reader.next().await.unwrap().unwrap().log, format!("{text}\n"));
            }
            assert_eq!(reader.next().await.unwrap(), None);
        }
        std::fs::rename(compressed(&rotated(&path, 1)), compressed(&rotated(&path, 2))).unwrap();
        rotate("four");
        assert_eq!(reader.next().await.unwrap().unwrap().log, "four\n");
        let mut all = LogReader::open(&path).await.unwrap();
        for text in ["one", "two", "three", "four"] {
            assert_eq!(all.next().await.unwrap().unwrap().log, format!("{text}\n"));
        }
        assert_eq!(all.next().await.unwrap(), None);
    }
}
