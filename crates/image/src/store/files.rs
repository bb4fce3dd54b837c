//! Locks between processes, and files that are either whole or absent.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A lock file held by this process; released when dropped or when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    fn file(path: &Path) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
    }

    /// Waits until nobody else holds it exclusively.
    pub fn shared(path: &Path) -> io::Result<Self> {
        let file = Self::file(path)?;
        file.lock_shared()?;
        Ok(Self { _file: file })
    }

    /// Waits until nobody else holds it.
    pub fn exclusive(path: &Path) -> io::Result<Self> {
        let file = Self::file(path)?;
        file.lock()?;
        Ok(Self { _file: file })
    }

    /// None when somebody else holds it.
    pub fn try_exclusive(path: &Path) -> io::Result<Option<Self>> {
        let file = Self::file(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Makes a rename or unlink in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Replaces `path` by `bytes`, durably, through a file in `tmp` on the same file system.
pub(crate) fn replace(path: &Path, tmp: &Path, bytes: &[u8]) -> io::Result<()> {
    let scratch = tmp.join(unique("file"));
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&scratch)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let result = written.and_then(|()| fs::rename(&scratch, path));
    if result.is_err() {
        // The failure is what matters; a leftover in tmp/ is swept later.
        let _ = fs::remove_file(&scratch);
    }
    result?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// A name that no other process or thread uses.
pub(crate) fn unique(kind: &str) -> String {
    format!("{kind}-{}-{:016x}", std::process::id(), fastrand::u64(..))
}
