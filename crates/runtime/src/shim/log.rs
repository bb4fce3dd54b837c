//! Container output as docker's json-file driver keeps it: one JSON object a line, rotated, and
//! compressed where that is asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::logs::{compress, compressed};
use crate::spec::LogOptions;

/// A line longer than this is written in pieces without a line end, as docker does.
const MAX_LINE_BYTES: usize = 16 << 10;
/// How much one turn of the event loop takes from one pipe, so that no container starves others.
const MAX_TURN_BYTES: usize = 256 << 10;

#[derive(Serialize)]
struct Line<'a> {
    log: &'a str,
    stream: &'a str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    attrs: Option<&'a BTreeMap<String, String>>,
}

/// Now, in RFC 3339 with nanoseconds.
fn timestamp() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}

/// A container's log file.
pub(super) struct LogFile {
    path: PathBuf,
    options: LogOptions,
    file: File,
    size: u64,
}

impl LogFile {
    /// Opens `path` for appending.
    pub(super) fn open(path: PathBuf, options: LogOptions) -> io::Result<Self> {
        if options.is_dropped {
            let file = File::options().write(true).open("/dev/null")?;
            return Ok(Self { path, options, file, size: 0 });
        }
        let file = append_to(&path)?;
        let mut size = file.metadata()?.len();
        if size > 0 {
            let mut last = [0];
            File::open(&path)?.read_exact_at(&mut last, size - 1)?;
            if last != *b"\n" {
                // A shim that was killed left half a line: what comes now begins one of its own.
                (&file).write_all(b"\n")?;
                size += 1;
            }
        }
        Ok(Self { path, options, file, size })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.options.is_dropped {
            return Ok(());
        }
        let grown = self.size + lines.len() as u64;
        let is_large = self.options.max_size_bytes > 0 && grown > self.options.max_size_bytes;
        if is_large && self.size > 0 && !self.would_lose() {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(lines) {
            // On a full disk a part may be written: half a line would spoil the next one, too.
            self.file.set_len(self.size)?;
            return Err(error);
        }
        self.size += lines.len() as u64;
        Ok(())
    }

    /// Whether the container has to wait: there is no room, and the oldest file isn't shipped yet.
    pub(super) fn is_full(&self) -> bool {
        self.options.is_held && self.size >= self.options.max_size_bytes && self.would_lose()
    }

    /// Whether a rotation would take away what isn't shipped yet and has to be.
    fn would_lose(&self) -> bool {
        if !self.options.is_held {
            return false;
        }
        let oldest = self.options.max_files.max(1) - 1;
        let file = |number| match number {
            0 => self.path.clone(),
            number => rotated(&self.path, number),
        };
        if !file(oldest).exists() {
            return false;
        }
        let inode = |number| std::fs::metadata(file(number)).ok().map(|metadata| metadata.ino());
        let shipped = crate::logs::shipped(&self.path);
        shipped.is_none_or(|at| !(0..oldest).any(|number| inode(number) == Some(at.inode)))
    }

    /// `x.log` becomes `x.log.1`, that becomes `x.log.2`; the last one goes.
    fn rotate(&mut self) -> io::Result<()> {
        let kept = self.options.max_files.max(1) - 1;
        if kept == 0 {
            std::fs::remove_file(&self.path)?;
        } else {
            // Either form gives way to what comes in the other.
            for last in [rotated(&self.path, kept), compressed(&rotated(&self.path, kept))] {
                match std::fs::remove_file(last) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        for number in (1..=kept).rev() {
            let from =
                if number == 1 { self.path.clone() } else { rotated(&self.path, number - 1) };
            let to = rotated(&self.path, number);
            if from.exists() {
                std::fs::rename(from, to)?;
            } else if compressed(&from).exists() {
                std::fs::rename(compressed(&from), compressed(&to))?;
            }
        }
        self.file = append_to(&self.path)?;
        self.size = 0;
        if self.options.is_compressed && kept > 0 {
            // What can't be compressed, as on a full disk, stays as it is.
            if let Err(error) = compress(&rotated(&self.path, 1)) {
                eprintln!("shim: compress {}.1: {error}", self.path.display());
            }
        }
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path)
}

/// The name of the `number`th rotated file.
pub(crate) fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// One of a container's output pipes and the line that isn't whole yet.
pub(super) struct Stream {
    name: &'static str,
    pipe: File,
    pending: Vec<u8>,
}

impl Stream {
    /// Takes the reading end; it is made non-blocking by the caller.
    pub(super) fn new(name: &'static str, pipe: OwnedFd) -> Self {
        Self { name, pipe: File::from(pipe), pending: Vec::new() }
    }

    /// For `poll`.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Moves what is there into the log. False when the other end is closed.
    pub(super) fn pump(&mut self, log: &mut LogFile) -> bool {
        let mut buffer = [0; 32 << 10];
        let mut lines = Vec::new();
        let mut taken = 0;
        let open = loop {
            match self.pipe.read(&mut buffer) {
                Ok(0) => break false,
                Ok(length) => {
                    self.split(&buffer[..length], &log.options, &mut lines);
                    taken += length;
                    if taken >= MAX_TURN_BYTES {
                        break true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
            }
        };
        if !open && !self.pending.is_empty() {
            let rest = std::mem::take(&mut self.pending);
            self.format(&rest, &log.options, &mut lines);
        }
        if !lines.is_empty()
            && let Err(error) = log.write(&lines)
        {
            eprintln!("shim: write {}: {error}", log.path.display());
        }
        open
    }

    fn split(&mut self, mut bytes: &[u8], options: &LogOptions, lines: &mut Vec<u8>) {
        if options.is_dropped {
            return;
        }
        while !bytes.is_empty() {
            let room = MAX_LINE_BYTES - self.pending.len();
            let window = &bytes[..bytes.len().min(room)];
            let end = window.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
            let (piece, rest) = bytes.split_at(end.unwrap_or(window.len()));
            self.pending.extend_from_slice(piece);
            bytes = rest;
            if end.is_some() || self.pending.len() >= MAX_LINE_BYTES {
                let line = std::mem::take(&mut self.pending);
                self.format(&line, options, lines);
            }
        }
    }

    fn format(&self, bytes: &[u8], options: &LogOptions, lines: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(bytes);
        let attrs = Some(&options.attributes).filter(|attributes| !attributes.is_empty());
        let line = Line { log: &text, stream: self.name, time: timestamp(), attrs };
        if serde_json::to_writer(&mut *lines, &line).is_ok() {
            lines.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_into_lines_and_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        let options = LogOptions { max_size_bytes: 400, max_files: 2, ..LogOptions::default() };
        let mut log = LogFile::open(path.clone(), options).unwrap();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let mut stream = Stream::new("stdout", reader);
        let mut writer = File::from(writer);
        for number in 0..10 {
            writeln!(writer, "line {number}").unwrap();
            nix::fcntl::fcntl(
                &stream.pipe,
                nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
            )
            .unwrap();
            assert!(stream.pump(&mut log));
        }
        write!(writer, "no end").unwrap();
        drop(writer);
        assert!(!stream.pump(&mut log));
        let newest = std::fs::read_to_string(&path).unwrap();
        let older = std::fs::read_to_string(rotated(&path, 1)).unwrap();
        assert!(newest.len() <= 400 && older.len() <= 400);
        assert!(!rotated(&path, 2).exists());
        let last: serde_json::Value = serde_json::from_str(newest.lines().last().unwrap()).unwrap();
        assert_eq!((&last["log"], &last["stream"]), (&"no end".into(), &"stdout".into()));
        assert!(older.lines().all(|line| line.contains("\\n\",\"stream\":\"stdout\"")));
    }

    #[test]
    fn full_files_are_compressed_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        let options = LogOptions {
            max_size_bytes: 4,
            max_files: 3,
            is_compressed: true,
            ..LogOptions::default()
        };
        let mut log = LogFile::open(path.clone(), options).unwrap();
        for text in ["one\n", "two\n", "thr\n", "fou\n"] {
            log.write(text.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "fou\n");
        let content = |number| crate::logs::content(&rotated(&path, number)).unwrap();
        assert_eq!((content(1), content(2)), ("thr\n".to_owned(), "two\n".to_owned()));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
        // A shim that was killed before it compressed: the next rotation takes that one along.
        std::fs::remove_file(compressed(&rotated(&path, 1))).unwrap();
        std::fs::write(rotated(&path, 1), "thr\n").unwrap();
        log.write(b"fiv\n").unwrap();
        assert_eq!(std::fs::read_to_string(rotated(&path, 2)).unwrap(), "thr\n");
        assert_eq!(content(1), "fou\n");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn nothing_is_kept_of_what_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        let options = LogOptions { is_dropped: true, max_size_bytes: 4, ..LogOptions::default() };
        let mut log = LogFile::open(path, options).unwrap();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let mut stream = Stream::new("stdout", reader);
        File::from(writer).write_all(&[b'x'; 40_000]).unwrap();
        assert!(!stream.pump(&mut log) && stream.pending.is_empty());
        assert!(!log.is_full());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn half_a_line_spoils_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        std::fs::write(&path, "{\"log\":\"whole\"}\n{\"log\":\"ha").unwrap();
        let mut log = LogFile::open(path.clone(), LogOptions::default()).unwrap();
        log.write(b"{}\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"log\":\"whole\"}\n{\"log\":\"ha\n{}\n");
        assert_eq!(log.size, text.len() as u64);
        // Where nothing can be written, the file stays as it was.
        log.file = File::open(&path).unwrap();
        assert!(log.write(b"{}\n").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn what_is_not_shipped_holds_its_container() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        let options = LogOptions {
            max_size_bytes: 100,
            max_files: 2,
            is_held: true,
            ..LogOptions::default()
        };
        let mut log = LogFile::open(path.clone(), options).unwrap();
        let ship = |file: &Path| {
            let inode = std::fs::metadata(file).unwrap().ino();
            let cursor = format!("{{\"position\":{{\"inode\":{inode},\"offset\":0}}}}");
            std::fs::write(crate::logs::cursor_path(&path), cursor).unwrap();
        };
        log.write(&[b'a'; 100]).unwrap();
        assert!(!log.is_full(), "there is room for another file");
        log.write(&[b'b'; 100]).unwrap();
        assert!(log.is_full(), "nothing is shipped");
        // What comes all the same, as at the container's end, is kept.
        log.write(b"c").unwrap();
        ship(&rotated(&path, 1));
        assert!(log.is_full(), "the oldest file is being shipped");
        ship(&path);
        assert!(!log.is_full());
        log.write(b"d").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"d");
        assert_eq!(std::fs::read(rotated(&path, 1)).unwrap(), [&[b'b'; 100][..], b"c"].concat());
    }
}
