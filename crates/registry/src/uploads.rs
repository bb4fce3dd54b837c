//! Uploads under way: who writes where, and what has been hashed so far.
//!
//! The bytes are hashed as they arrive, so that finishing costs no second read. The hash is in
//! memory only: an upload that is taken up again after a restart is read once. One connection writes
//! at a time; a second one takes the upload over, since the first may have been cut without anybody
//! having noticed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::storage::{Error, Storage, UploadInfo};

/// How long an upload may rest before it is forgotten.
pub const UPLOAD_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The most uploads under way.
pub const MAX_UPLOADS: usize = 1000;
/// Bytes read at once where an upload is hashed anew.
const REREAD_BYTES: usize = 1 << 20;

/// Why an upload didn't go on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
    /// Too many at once.
    #[error("there are {MAX_UPLOADS} uploads under way, which is the limit")]
    TooMany,
    /// No such upload of this owner.
    #[error("no such upload")]
    Unknown,
    /// The chunk doesn't begin where the upload ends.
    #[error("the chunk begins at {found}, the upload ends at {expected}")]
    OutOfOrder {
        /// Where the upload ends.
        expected: u64,
        /// Where the chunk begins.
        found: u64,
    },
    /// Another connection has taken the upload over.
    #[error("another connection has taken this upload over")]
    TakenOver,
}

/// What is known of one upload in memory.
struct Progress {
    size: u64,
    /// By SHA-256, which nearly every client uses; for another algorithm the bytes are read again.
    hasher: Option<Hasher>,
    over: bool,
}

struct Entry {
    progress: Arc<tokio::sync::Mutex<Progress>>,
    /// Cancelled when somebody else begins to write.
    writer: CancellationToken,
}

/// The uploads of a store.
pub struct Uploads {
    storage: Arc<dyn Storage>,
    entries: Mutex<HashMap<String, Entry>>,
}

/// The right to write to an upload.
pub struct UploadWriter {
    id: String,
    storage: Arc<dyn Storage>,
    progress: OwnedMutexGuard<Progress>,
    cancelled: CancellationToken,
}

impl Uploads {
    /// The uploads of `storage`.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, entries: Mutex::new(HashMap::new()) }
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an upload with a new id.
    ///
    /// # Errors
    /// If there are too many, or the store fails.
    pub async fn begin(&self, id: &str, owner: &str) -> Result<(), UploadError> {
        {
            let mut entries = self.entries();
            if entries.len() >= MAX_UPLOADS {
                return Err(UploadError::TooMany);
            }
            let hasher = Some(Hasher::new(Algorithm::Sha256));
            let progress = Progress { size: 0, hasher, over: false };
            entries.insert(id.to_owned(), Entry::new(progress));
        }
        let begun = self.storage.begin(id, owner).await;
        if begun.is_err() {
            self.entries().remove(id);
        }
        Ok(begun?)
    }

    /// An upload of `owner`.
    ///
    /// # Errors
    /// If there is none, or the store fails.
    pub async fn get(&self, id: &str, owner: &str) -> Result<UploadInfo, UploadError> {
        let info = self.storage.upload(id).await?;
        info.filter(|info| info.owner == owner).ok_or(UploadError::Unknown)
    }

    /// Takes an upload of `owner` over for writing.
    ///
    /// # Errors
    /// If there is none, or the store fails.
    pub async fn writer(&self, id: &str, owner: &str) -> Result<UploadWriter, UploadError> {
        self.get(id, owner).await?;
        let cancelled = CancellationToken::new();
        let progress = {
            let mut entries = self.entries();
            let entry = entries
                .entry(id.to_owned())
                .or_insert_with(|| Entry::new(Progress { size: 0, hasher: None, over: false }));
            entry.writer.cancel();
            entry.writer = cancelled.clone();
            Arc::clone(&entry.progress)
        };
        let progress = progress.lock_owned().await;
        if progress.over {
            return Err(UploadError::Unknown);
        }
        let storage = Arc::clone(&self.storage);
        let mut writer = UploadWriter { id: id.to_owned(), storage, progress, cancelled };
        if writer.progress.hasher.is_none() {
            // Of the upload's size on disk, only what was hashed counts: all of it is read.
            let size = self.get(id, owner).await?.size;
            let (hasher, size) = writer.hash(Algorithm::Sha256, size).await?;
            writer.progress.hasher = Some(hasher);
            writer.progress.size = size;
        }
        Ok(writer)
    }

    /// Forgets an upload of `owner`.
    ///
    /// # Errors
    /// If there is none, or the store fails.
    pub async fn cancel(&self, id: &str, owner: &str) -> Result<(), UploadError> {
        let mut writer = self.writer(id, owner).await?;
        writer.progress.over = true;
        self.entries().remove(id);
        self.storage.abort(id).await?;
        Ok(())
    }

    /// Makes a blob of an upload, if it has the digest that was said; otherwise the upload is over,
    /// too. Returns its size.
    ///
    /// # Errors
    /// If the digest is another, or the store fails.
    pub async fn finish(
        &self,
        mut writer: UploadWriter,
        digest: &Digest,
    ) -> Result<u64, UploadError> {
        if writer.cancelled.is_cancelled() {
            return Err(UploadError::TakenOver);
        }
        let size = writer.progress.size;
        let hasher = match (digest.algorithm(), writer.progress.hasher.take()) {
            (Algorithm::Sha256, Some(hasher)) => hasher,
            (algorithm, _) => writer.hash(algorithm, size).await?.0,
        };
        let found = hasher.finish();
        writer.progress.over = true;
        self.entries().remove(&writer.id);
        if found != *digest {
            self.storage.abort(&writer.id).await?;
            return Err(Error::Digest { expected: digest.clone(), found }.into());
        }
        self.storage.finish(&writer.id, digest).await?;
        Ok(size)
    }

    /// Forgets the uploads that have rested for too long at `now`; how many there were.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn expire(&self, now: SystemTime) -> Result<usize, Error> {
        self.expire_after(now, UPLOAD_LIFE).await
    }

    /// Forgets the uploads that have rested for longer than `life` at `now`; how many there were.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn expire_after(&self, now: SystemTime, life: Duration) -> Result<usize, Error> {
        let mut gone = 0;
        for upload in self.storage.uploads().await? {
            let rested = now.duration_since(upload.touched).unwrap_or_default();
            let busy = |entry: &Entry| entry.progress.try_lock().is_err();
            let kept = {
                let entries = self.entries();
                let entry = entries.get(&upload.id);
                // One without a file is about to begin, or about to be a blob.
                entry.is_some_and(busy) || (entry.is_some() && upload.owner.is_empty())
            };
            if kept || rested < life {
                continue;
            }
            self.entries().remove(&upload.id);
            gone += usize::from(self.storage.abort(&upload.id).await?);
        }
        Ok(gone)
    }
}

impl Entry {
    fn new(progress: Progress) -> Self {
        let progress = Arc::new(tokio::sync::Mutex::new(progress));
        Self { progress, writer: CancellationToken::new() }
    }
}

impl UploadWriter {
    /// Bytes that have arrived.
    pub fn size(&self) -> u64 {
        self.progress.size
    }

    /// Done when another connection takes the upload over.
    pub fn cancelled(&self) -> CancellationToken {
        self.cancelled.clone()
    }

    /// Demands that the next bytes begin at `start`.
    ///
    /// # Errors
    /// If they don't.
    pub fn demand_start(&self, start: u64) -> Result<(), UploadError> {
        let expected = self.progress.size;
        match start == expected {
            true => Ok(()),
            false => Err(UploadError::OutOfOrder { expected, found: start }),
        }
    }

    /// Appends what has arrived.
    ///
    /// # Errors
    /// If another connection has taken over, or the store fails.
    pub async fn append(&mut self, bytes: Bytes) -> Result<(), UploadError> {
        if self.cancelled.is_cancelled() {
            return Err(UploadError::TakenOver);
        }
        let Some(mut hasher) = self.progress.hasher.take() else {
            return Err(UploadError::Unknown);
        };
        // Whoever drops this future on the way leaves no hash, and the next one reads the file.
        self.storage.append(&self.id, self.progress.size, bytes.clone()).await?;
        let length = bytes.len() as u64;
        let hashed = tokio::task::spawn_blocking(move || {
            hasher.update(&bytes);
            hasher
        });
        self.progress.hasher = Some(hashed.await.map_err(|_| Error::Cancelled)?);
        self.progress.size += length;
        Ok(())
    }

    async fn hash(&self, algorithm: Algorithm, size: u64) -> Result<(Hasher, u64), Error> {
        let mut hasher = Hasher::new(algorithm);
        let mut offset = 0;
        while offset < size {
            let length = REREAD_BYTES.min(usize::try_from(size - offset).unwrap_or(REREAD_BYTES));
            let bytes = self.storage.reread(&self.id, offset, length).await?;
            if bytes.is_empty() {
                break;
            }
            offset += bytes.len() as u64;
            hasher.update(&bytes);
        }
        Ok((hasher, offset))
    }
}
