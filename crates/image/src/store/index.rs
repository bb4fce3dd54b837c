//! `images.json`: which names stand for which manifest.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use super::files::{self, Lock};
use super::{Error, Layout, Source};
use crate::digest::Digest;

const VERSION: u32 = 1;

/// What a name stands for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The image's manifest (of this host's platform).
    pub manifest: Digest,
    /// What the registry calls it: the index or the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_digest: Option<Digest>,
    /// Where it came from.
    pub source: Source,
    /// When it came here, seconds since 1970.
    pub created_at: u64,
    /// When a container last used it, seconds since 1970.
    pub last_used_at: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Index {
    version: u32,
    /// Full references, sorted.
    pub names: BTreeMap<String, Entry>,
}

impl Index {
    /// Reads the index; the rename that replaces it is atomic, so no lock is needed.
    pub fn read(layout: &Layout) -> Result<Self, Error> {
        let path = layout.index();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { version: VERSION, names: BTreeMap::new() });
            }
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let index: Self = serde_json::from_slice(&bytes)
            .map_err(|error| Error::io("parse", &path)(io::Error::other(error)))?;
        match index.version {
            VERSION => Ok(index),
            other => Err(Error::Version { path, version: other }),
        }
    }

    /// Changes the index under its lock.
    pub fn update<T>(layout: &Layout, change: impl FnOnce(&mut Self) -> T) -> Result<T, Error> {
        let path = layout.index();
        let _lock = Lock::exclusive(&layout.index_lock()).map_err(Error::io("lock", &path))?;
        let mut index = Self::read(layout)?;
        let result = change(&mut index);
        let bytes = serde_json::to_vec_pretty(&index)
            .map_err(|error| Error::io("encode", &path)(io::Error::other(error)))?;
        files::replace(&path, &layout.tmp(), &bytes).map_err(Error::io("write", &path))?;
        Ok(result)
    }
}
