//! Small JSON files that are replaced as a whole.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest file that is read.
const MAX_BYTES: u64 = 64 << 20;

/// Why a file couldn't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system failed.
    #[error("{path:?}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The content isn't what it should be.
    #[error("{path:?}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Reads a file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let mut text = Vec::new();
    File::open(path).map_err(io)?.take(MAX_BYTES).read_to_end(&mut text).map_err(io)?;
    serde_json::from_slice(&text).map_err(|source| Error::Json { path: path.to_owned(), source })
}

/// Replaces a file; a reader sees the old or the new one. With `durably`, a power cut too.
pub(crate) fn write(path: &Path, value: &impl Serialize, durably: bool) -> Result<(), Error> {
    let text = serde_json::to_vec(value)
        .map_err(|source| Error::Json { path: path.to_owned(), source })?;
    write_bytes(path, &text, durably).map_err(|source| Error::Io { path: path.to_owned(), source })
}

fn write_bytes(path: &Path, text: &[u8], durably: bool) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text)?;
    if durably {
        file.sync_all()?;
    }
    std::fs::rename(&draft, path)?;
    if let (true, Some(parent)) = (durably, path.parent()) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}
