//! How far a container's log has been shipped, in a file beside it.
//!
//! Written by rename and not synced: a killed agent finds it again. After the host's power failed it
//! may be older than what was shipped, and then some events are in the store twice.

use std::path::Path;

use serde::{Deserialize, Serialize};
use wharf_runtime::logs::{Position, cursor_path};

/// The token of a stream that has no events.
const FIRST_TOKEN: &str = "00000000000000000000000000000000000000000000000000000000";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// What lies before this in the log is in the store.
    pub(super) position: Option<Position>,
    /// Where `position` goes if the batch on its way was taken.
    pub(super) sending: Option<Position>,
    /// The stream's token after the last batch that was taken. A newer one says that the batch
    /// whose answer was lost was taken: nobody else puts into the stream.
    pub(super) token: String,
    /// The container has ended and everything is in the store.
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
