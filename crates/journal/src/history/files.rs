//! The files of events: lines of a checksum and JSON, cut into pieces that are dropped whole.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::index::Index;
use super::{Error, Event, HistoryOptions};

/// Bytes before a line's JSON: checksum in hexadecimal and a space.
const PREFIX: usize = 9;

/// One file, open as long as an event in it may be asked for.
pub(super) struct File {
    file: fs::File,
    path: PathBuf,
}

/// Where an event lies.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) file: Arc<File>,
    offset: u64,
    len: u32,
}

/// All files, the one that is written to last.
pub(super) struct Files {
    dir: PathBuf,
    options: HistoryOptions,
    files: VecDeque<Piece>,
    next_number: u64,
    /// The last write failed: what came of it is unknown, and the operator has been warned.
    is_failing: bool,
}

struct Piece {
    file: Arc<File>,
    bytes: u64,
    newest_ms: i64,
}

impl Files {
    /// Opens the directory and puts every readable event into the index.
    pub(super) fn open(
        dir: &Path,
        options: HistoryOptions,
        index: &mut Index,
    ) -> Result<Self, Error> {
        let failed = |action| {
            let path = dir.to_path_buf();
            move |source| Error { action, path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("create"))?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed("list"))? {
            let name = entry.map_err(failed("list"))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".events"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        let mut files = Self {
            dir: dir.into(),
            options,
            files: VecDeque::new(),
            next_number: numbers.last().map_or(0, |last| last + 1),
            is_failing: false,
        };
        for number in numbers {
            let path = files.path(number);
            match load(&path, index) {
                Ok(piece) => files.files.push_back(piece),
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "skipped a file of the history");
                }
            }
        }
        Ok(files)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:012}.events"))
    }

    /// Writes events and says where they lie. A failure is logged here, once until it is over.
    pub(super) fn append(&mut self, events: &[(u64, Arc<Event>)]) -> Result<Vec<Place>, ()> {
        match self.try_append(events) {
            Ok(places) => {
                if self.is_failing {
                    tracing::info!("the history is being written again");
                }
                self.is_failing = false;
                Ok(places)
            }
            Err(error) => {
                if !self.is_failing {
                    tracing::warn!(dir = %self.dir.display(), %error, "events are being dropped");
                }
                self.is_failing = true;
                Err(())
            }
        }
    }

    fn try_append(&mut self, events: &[(u64, Arc<Event>)]) -> io::Result<Vec<Place>> {
        let is_full = |piece: &Piece| piece.bytes >= self.options.file_bytes;
        // After a failure a new file, too: the old one may end in half a line.
        if self.is_failing || self.files.back().is_none_or(is_full) {
            self.start_file()?;
        }
        let Some(piece) = self.files.back_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        let mut lines = Vec::new();
        let mut places = Vec::with_capacity(events.len());
        for (_, event) in events {
            let start = lines.len();
            lines.extend([b' '; PREFIX]);
            serde_json::to_writer(&mut lines, event.as_ref())?;
            let crc = crc32c::crc32c(&lines[start + PREFIX..]);
            (&mut lines[start..]).write_all(format!("{crc:08x}").as_bytes())?;
            let len = (lines.len() - start) as u32;
            lines.push(b'\n');
            let offset = piece.bytes + start as u64;
            places.push(Place { file: piece.file.clone(), offset, len });
            piece.newest_ms = piece.newest_ms.max(event.at_ms);
        }
        piece.file.file.write_all_at(&lines, piece.bytes)?;
        piece.bytes += lines.len() as u64;
        Ok(places)
    }

    fn start_file(&mut self) -> io::Result<()> {
        let path = self.path(self.next_number);
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        self.next_number += 1;
        let file = Arc::new(File { file, path });
        self.files.push_back(Piece { file, bytes: 0, newest_ms: 0 });
        Ok(())
    }

    /// Whether the oldest file should go.
    pub(super) fn is_over_size(&self) -> bool {
        self.files.len() > 1
            && self.files.iter().map(|piece| piece.bytes).sum::<u64>() > self.options.max_bytes
    }

    /// Removes files that are too old or too many and returns them.
    pub(super) fn expire(&mut self, before_ms: i64) -> Vec<Arc<File>> {
        let mut gone = Vec::new();
        while self.is_over_size() || self.files.front().is_some_and(|piece| piece.is_old(before_ms))
        {
            let Some(piece) = self.files.pop_front() else { break };
            if let Err(error) = fs::remove_file(&piece.file.path) {
                let file = piece.file.path.display();
                tracing::warn!(%file, %error, "could not remove an old file of the history");
            }
            gone.push(piece.file);
        }
        gone
    }
}

impl Piece {
    fn is_old(&self, before_ms: i64) -> bool {
        self.newest_ms < before_ms
    }
}

fn load(path: &Path, index: &mut Index) -> io::Result<Piece> {
    let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let bytes = fs::read(path)?;
    let file = Arc::new(File { file, path: path.into() });
    let mut piece = Piece { file, bytes: bytes.len() as u64, newest_ms: 0 };
    let mut offset = 0;
    let mut skipped = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n").and_then(parse) {
            Some(event) => {
                piece.newest_ms = piece.newest_ms.max(event.at_ms);
                let place =
                    Place { file: piece.file.clone(), offset, len: (line.len() - 1) as u32 };
                index.load(event, place);
            }
            None => skipped += 1,
        }
        offset += line.len() as u64;
    }
    if skipped > 0 {
        tracing::warn!(file = %path.display(), lines = skipped, "skipped damaged events");
        if bytes.last().is_some_and(|last| *last != b'\n') {
            piece.file.file.write_all_at(b"\n", piece.bytes)?;
            piece.bytes += 1;
        }
    }
    Ok(piece)
}

fn parse(line: &[u8]) -> Option<Event> {
    let (prefix, json) = line.split_at_checked(PREFIX)?;
    let crc = u32::from_str_radix(std::str::from_utf8(prefix).ok()?.strip_suffix(' ')?, 16).ok()?;
    if crc != crc32c::crc32c(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Reads an event back.
pub(super) fn read_line(place: &Place) -> Option<Event> {
    let mut line = vec![0; place.len as usize];
    place.file.file.read_exact_at(&mut line, place.offset).ok()?;
    parse(&line)
}
