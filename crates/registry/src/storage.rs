//! Where blobs lie: a narrow interface, so that another store than the local file system can stand
//! behind a registry.

use std::fs::File;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::digest::Digest;

/// Why a store didn't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("registry: could not {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// No such upload.
    #[error("registry: no upload {0}")]
    NoUpload(String),
    /// What was uploaded has another digest than was said.
    #[error("provided digest did not match uploaded content: expected {expected}, found {found}")]
    Digest {
        /// What was said.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The thread at work on it ended.
    #[error("registry: the work was cut off by the end of the server")]
    Cancelled,
}

impl Error {
    /// True when the disk has no room.
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// A blob open for reading: it can be read to its end although it is removed meanwhile.
#[async_trait]
pub trait BlobReader: Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// The blob's file, where there is one: whoever sends it as it is need not read it. It is never
    /// written to or cut, only unlinked.
    fn file(&self) -> Option<Arc<File>> {
        None
    }

    /// Up to `length` bytes from `offset` on; fewer only at the end.
    ///
    /// # Errors
    /// If the store fails.
    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, Error>;
}

/// An upload as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadInfo {
    /// Its id.
    pub id: String,
    /// Whose it is, as it was told when it began.
    pub owner: String,
    /// Bytes that have arrived.
    pub size: u64,
    /// When the last of them did.
    pub touched: SystemTime,
}

/// A store of blobs by digest, and of uploads that become blobs.
///
/// A blob is whole and durable, or it isn't there. `finish` is what makes an upload one: it checks
/// the digest, makes the bytes durable, and then shows them under their name, all or nothing.
#[async_trait]
pub trait Storage: Send + Sync {
    /// A blob's size; none if it isn't there.
    ///
    /// # Errors
    /// If the store fails.
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error>;

    /// Opens a blob; none if it isn't there.
    ///
    /// # Errors
    /// If the store fails.
    async fn open(&self, digest: &Digest) -> Result<Option<Box<dyn BlobReader>>, Error>;

    /// Stores a small blob whole: a manifest.
    ///
    /// # Errors
    /// If the store fails.
    async fn put(&self, digest: &Digest, bytes: Bytes) -> Result<(), Error>;

    /// Removes a blob; true if it was there.
    ///
    /// # Errors
    /// If the store fails.
    async fn remove(&self, digest: &Digest) -> Result<bool, Error>;

    /// All blobs, with the time since which each is there.
    ///
    /// # Errors
    /// If the store fails.
    async fn list(&self) -> Result<Vec<(Digest, SystemTime)>, Error>;

    /// Begins an upload of `owner`.
    ///
    /// # Errors
    /// If the store fails.
    async fn begin(&self, id: &str, owner: &str) -> Result<(), Error>;

    /// Appends to an upload what comes at `offset`, where it ends so far.
    ///
    /// # Errors
    /// If there is no such upload, or the store fails.
    async fn append(&self, id: &str, offset: u64, bytes: Bytes) -> Result<(), Error>;

    /// Reads what an upload has so far.
    ///
    /// # Errors
    /// If there is no such upload, or the store fails.
    async fn reread(&self, id: &str, offset: u64, length: usize) -> Result<Bytes, Error>;

    /// Makes the blob `digest` of an upload, whose content is known to have that digest.
    ///
    /// # Errors
    /// If there is no such upload, or the store fails.
    async fn finish(&self, id: &str, digest: &Digest) -> Result<(), Error>;

    /// Forgets an upload; true if there was one.
    ///
    /// # Errors
    /// If the store fails.
    async fn abort(&self, id: &str) -> Result<bool, Error>;

    /// An upload; none if there is no such.
    ///
    /// # Errors
    /// If the store fails.
    async fn upload(&self, id: &str) -> Result<Option<UploadInfo>, Error>;

    /// All uploads.
    ///
    /// # Errors
    /// If the store fails.
    async fn uploads(&self) -> Result<Vec<UploadInfo>, Error>;
}
