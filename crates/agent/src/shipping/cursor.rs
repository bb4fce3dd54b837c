//! How far a container's log has been shipped, in files beside it.
//!
//! Written by rename and not synced: a killed agent finds it again. After the host's power failed it
//! may be older than what was shipped, and then some events arrive twice.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use wharf_runtime::logs::{Position, cursor_path};

/// The token of a stream that has no events.
const FIRST_TOKEN: &str = "00000000000000000000000000000000000000000000000000000000";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// What lies before this in the log has arrived.
    pub(super) position: Option<Position>,
    /// Where `position` goes once the batch on its way has arrived.
    pub(super) sending: Option<Position>,
    /// Of awslogs: the stream's token after the last batch that was taken. A newer one says that the
    /// batch whose answer was lost was taken: nobody else puts into the stream.
    pub(super) token: String,
    /// The container has ended and everything has arrived.
    pub(super) is_done: bool,
}

impl Default for Cursor {
    fn default() -> Self {
        Self { position: None, sending: None, token: FIRST_TOKEN.to_owned(), is_done: false }
    }
}

impl Cursor {
    /// The cursor beside a log; the beginning if there is none.
    pub(super) fn read(log: &Path) -> Self {
        let text = std::fs::read(cursor_path(log)).ok();
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Remembers it. A failure costs doubles after a restart, not lines.
    pub(super) fn write(&self, log: &Path) {
        let new = log.with_extension("awslogs-new");
        let written = serde_json::to_vec(self)
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(&new, text))
            .and_then(|()| std::fs::rename(&new, cursor_path(log)));
        if let Err(error) = written {
            tracing::warn!(log = %log.display(), %error, "could not note how far logs are shipped");
        }
    }
}

/// How many messages of the batch on its way were handed over, where each goes for itself: noted
/// after every one, so that an agent that is killed doubles one of them at most.
pub(super) struct Progress(Option<File>);

impl Progress {
    /// The note beside a log.
    pub(super) fn open(log: &Path) -> Self {
        let path = log.with_extension("sent");
        let mut options = File::options();
        let file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        if let Err(error) = &file {
            tracing::warn!(path = %path.display(), %error, "could not open the note of what was sent");
        }
        Self(file.ok())
    }

    /// The count; 0 where none was noted.
    pub(super) fn read(&self) -> u64 {
        let mut bytes = [0; 8];
        let read = self.0.as_ref().map(|file| file.read_exact_at(&mut bytes, 0));
        if read.is_some_and(|read| read.is_ok()) { u64::from_le_bytes(bytes) } else { 0 }
    }

    /// Notes the count.
    pub(super) fn write(&self, count: u64) {
        let written = self.0.as_ref().map(|file| file.write_all_at(&count.to_le_bytes(), 0));
        if let Some(Err(error)) = written {
            tracing::warn!(%error, "could not note what was sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("app.log");
        assert_eq!(Cursor::read(&log), Cursor::default());
        let at = Position { inode: 3, offset: 4 };
        let cursor = Cursor { position: Some(at), sending: Some(at), ..Cursor::default() };
        cursor.write(&log);
        assert_eq!(Cursor::read(&log), cursor);
        let progress = Progress::open(&log);
        assert_eq!(progress.read(), 0);
        progress.write(300);
        assert_eq!(Progress::open(&log).read(), 300);
    }
}
