//! Looks whether blobs are still what their names say: disks forget.
//!
//! Everything is only read, so that it may run beside a server. What is removed meanwhile counts for
//! nothing.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::digest::{Algorithm, Digest, Hasher};
use crate::local::LocalStorage;

/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scrubbed {
    /// Blobs that were read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that aren't what they should be.
    pub damaged: Vec<Damaged>,
}

/// A blob that is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// Reads all blobs of a data directory's registry; `progress` hears of each, with its bytes. Blocks.
///
/// # Errors
/// If a directory can't be read.
pub fn scrub(data_dir: &Path, mut progress: impl FnMut(u64)) -> io::Result<Scrubbed> {
    let mut scrubbed = Scrubbed::default();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let blobs = LocalStorage::directory(data_dir).join("blobs").join(algorithm.as_str());
        let entries = match fs::read_dir(&blobs) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Ok(expected) = format!("{}:{name}", algorithm.as_str()).parse::<Digest>() else {
                let why = "its name is no digest".to_owned();
                scrubbed.damaged.push(Damaged { path, why });
                continue;
            };
            match read(&path, algorithm) {
                Ok((found, bytes)) => {
                    scrubbed.blobs += 1;
                    scrubbed.bytes += bytes;
                    progress(bytes);
                    if found != expected {
                        let why = format!("its content has the digest {found}");
                        scrubbed.damaged.push(Damaged { path, why });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    scrubbed.damaged.push(Damaged { path, why: format!("can't be read: {error}") });
                }
            }
        }
    }
    Ok(scrubbed)
}

fn read(path: &Path, algorithm: Algorithm) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let (mut hasher, mut bytes) = (Hasher::new(algorithm), 0);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), bytes)),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Storage as _;

    #[tokio::test]
    async fn a_flipped_bit_is_found() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(scrub(directory.path(), |_| ()).unwrap(), Scrubbed::default());
        let storage = LocalStorage::open(directory.path()).unwrap();
        let mut digests = Vec::new();
        for (content, algorithm) in [
            (&b"one"[..], Algorithm::Sha256),
            (b"two", Algorithm::Sha512),
            (b"three", Algorithm::Sha256),
        ] {
            let digest = Digest::with(algorithm, content);
            storage.put(&digest, content.to_vec().into()).await.unwrap();
            digests.push(digest);
        }
        let mut heard = 0;
        let scrubbed = scrub(directory.path(), |bytes| heard += bytes).unwrap();
        assert_eq!(scrubbed, Scrubbed { blobs: 3, bytes: 11, damaged: Vec::new() });
        assert_eq!(heard, 11);
        let path = LocalStorage::blob_path(directory.path(), &digests[1]);
        fs::write(&path, b"twp").unwrap();
        let cut = LocalStorage::blob_path(directory.path(), &digests[2]);
        fs::write(&cut, b"thre").unwrap();
        let damaged = scrub(directory.path(), |_| ()).unwrap().damaged;
        let mut paths: Vec<&PathBuf> = damaged.iter().map(|damaged| &damaged.path).collect();
        paths.sort();
        let mut expected = [&path, &cut];
        expected.sort();
        assert_eq!(paths, expected);
        assert!(damaged[0].why.contains("has the digest"), "{damaged:?}");
    }
}
