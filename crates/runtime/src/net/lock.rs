//! The lock by which the wharfs of a host choose their networks one after the other.
//!
//! Its file is shared by all of them, so the last one that is taken down removes it. Whoever waits
//! for the lock meanwhile gets one on a file that is gone, sees that, and begins anew.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::{Error, failed};

/// Below it lie the run directories of all wharfs, and the lock.
const DIRECTORY: &str = "/run/wharf";
const NAME: &str = "network.lock";

/// Held until it is dropped.
pub(crate) struct Lock {
    _file: Flock<File>,
}

/// Waits for the lock.
pub(crate) fn take() -> Result<Lock, Error> {
    take_in(Path::new(DIRECTORY)).map_err(failed(format!("lock {DIRECTORY}/{NAME}")))
}

/// Removes the lock and the directory around it, if no wharf has anything there any more.
pub(crate) fn remove_if_last() -> Result<(), Error> {
    remove_in(Path::new(DIRECTORY)).map_err(failed(format!("remove {DIRECTORY}/{NAME}")))
}

fn take_in(directory: &Path) -> io::Result<Lock> {
    let path = directory.join(NAME);
    loop {
        let file = match std::fs::create_dir_all(directory).and_then(|()| File::create(&path)) {
            Ok(file) => file,
            // Another wharf has removed the directory just now, before or after we saw it.
            Err(error) if is_race(&error) => continue,
            Err(error) => return Err(error),
        };
        let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        match std::fs::metadata(&path) {
            Ok(named) if named.ino() == file.metadata()?.ino() => return Ok(Lock { _file: file }),
            _ => {}
        }
    }
}

fn is_race(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists)
}

fn remove_in(directory: &Path) -> io::Result<()> {
    let _lock = take_in(directory)?;
    let others = |entry: io::Result<std::fs::DirEntry>| entry.is_ok_and(|e| e.file_name() != NAME);
    if std::fs::read_dir(directory)?.any(others) {
        return Ok(());
    }
    std::fs::remove_file(directory.join(NAME))?;
    match std::fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn the_last_one_removes_it() {
        let dir = tempfile::tempdir().unwrap();
        let shared = dir.path().join("wharf");
        drop(take_in(&shared).unwrap());
        std::fs::create_dir(shared.join("other")).unwrap();
        remove_in(&shared).unwrap();
        assert!(shared.join(NAME).exists(), "another wharf still is there");
        std::fs::remove_dir(shared.join("other")).unwrap();
        remove_in(&shared).unwrap();
        assert!(!shared.exists());
        drop(take_in(&shared).unwrap());
    }

    #[test]
    fn nobody_shares_it_although_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (shared, held) = (&dir.path().join("wharf"), &AtomicBool::new(false));
        std::thread::scope(|scope| {
            for number in 0..4 {
                scope.spawn(move || {
                    for _ in 0..500 {
                        if number == 0 {
                            remove_in(shared).unwrap();
                            continue;
                        }
                        let lock = take_in(shared).unwrap();
                        assert!(!held.swap(true, Ordering::SeqCst), "two hold the lock");
                        std::thread::yield_now();
                        held.store(false, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }
}
