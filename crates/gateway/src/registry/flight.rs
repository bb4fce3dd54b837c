//! What is on its way from an upstream at the moment, and reading it while it comes. In memory only:
//! whatever was on its way when the server ends is fetched anew.

use crate::app::App;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedMutexGuard, Semaphore, SemaphorePermit, watch};
use wharf_model::Timestamp;
use wharf_registry::manifest::Descriptor;
use wharf_registry::{BlobReader, Digest, Error};

/// Blobs that are fetched at once before anybody asks for them.
const BLOBS: usize = 4;

/// An image whose blobs are on their way.
#[derive(Debug)]
pub(crate) struct Flight {
    /// The manifest's digest.
    pub digest: String,
    /// The manifest.
    pub bytes: Bytes,
    /// Its media type.
    pub media_type: String,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    arrived: u64,
    ended: Option<Result<(), String>>,
}

/// A blob on its way.
pub(crate) struct BlobFlight {
    digest: Digest,
    size: u64,
    upload: String,
    progress: watch::Sender<Progress>,
    wanted: Notify,
}

impl BlobFlight {
    fn new(blob: &Descriptor) -> Self {
        Self {
            digest: blob.digest.clone(),
            size: blob.size,
            upload: uuid::Uuid::new_v4().to_string(),
            progress: watch::Sender::default(),
            wanted: Notify::new(),
        }
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The upload that it is gathered in.
    pub(crate) fn upload(&self) -> &str {
        &self.upload
    }

    /// A place among those that are fetched at once; what a client waits for needs none.
    pub(super) async fn place<'a>(&self, imports: &'a Imports) -> Option<SemaphorePermit<'a>> {
        tokio::select! {
            place = imports.places.acquire() => place.ok(),
            () = self.wanted.notified() => None,
        }
    }

    /// So much of it is here.
    pub(super) fn arrived(&self, bytes: u64) {
        self.progress.send_modify(|progress| progress.arrived = bytes);
    }

    /// All of it is here and is what it should be, or why not.
    pub(super) fn end(&self, outcome: Result<(), String>) {
        self.progress.send_modify(|progress| progress.ended = Some(outcome));
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) -> Result<(), String> {
        let mut progress = self.progress.subscribe();
        let ended = progress.wait_for(|progress| progress.ended.is_some()).await;
        // Its sender lives as long as this flight.
        ended.ok().and_then(|progress| progress.ended.clone()).unwrap_or(Ok(()))
    }
}

/// What two things of a name are filed under: the repository, and a tag or digest.
type Key = (String, String);

/// Everything that is on its way.
pub(crate) struct Imports {
    turns: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
    flights: Mutex<HashMap<Key, Arc<Flight>>>,
    blobs: Mutex<HashMap<Key, Arc<BlobFlight>>>,
    away: Mutex<HashMap<Key, Timestamp>>,
    places: Semaphore,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(repository: &str, what: &str) -> Key {
    (repository.to_owned(), what.to_owned())
}

impl Imports {
    pub(super) fn new() -> Self {
        Self {
            turns: Mutex::default(),
            flights: Mutex::default(),
            blobs: Mutex::default(),
            away: Mutex::default(),
            places: Semaphore::new(BLOBS),
        }
    }

    /// One at a time asks an upstream for one thing.
    pub(super) async fn turn(&self, repository: &str, reference: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = lock(&self.turns);
            // Those that nobody waits for are needed no more.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(key(repository, reference)).or_default())
        };
        turn.lock_owned().await
    }

    /// The flight that a tag or digest names.
    pub(super) fn flight(&self, repository: &str, reference: &str) -> Option<Arc<Flight>> {
        lock(&self.flights).get(&key(repository, reference)).cloned()
    }

    /// Files a flight under its digest and tag.
    pub(super) fn begin(&self, repository: &str, keys: &[String], flight: &Arc<Flight>) {
        let mut flights = lock(&self.flights);
        flights.extend(keys.iter().map(|what| (key(repository, what), Arc::clone(flight))));
    }

    /// Ends a flight; what has ended of its blobs is known no more.
    pub(super) fn end(&self, repository: &str, keys: &[String], blobs: &[Arc<BlobFlight>]) {
        let mut flights = lock(&self.flights);
        for what in keys {
            flights.remove(&key(repository, what));
        }
        drop(flights);
        let mut known = lock(&self.blobs);
        for blob in blobs {
            let key = key(repository, &blob.digest.to_string());
            // Where it failed, another attempt may have taken its place.
            if known.get(&key).is_some_and(|known| Arc::ptr_eq(known, blob)) {
                known.remove(&key);
            }
        }
    }

    /// The flight of a blob, and whether it has just begun.
    pub(super) fn blob_flight(
        &self,
        repository: &str,
        blob: &Descriptor,
    ) -> (Arc<BlobFlight>, bool) {
        let mut blobs = lock(&self.blobs);
        let key = key(repository, &blob.digest.to_string());
        let failed = |flight: &&Arc<BlobFlight>| {
            !matches!(flight.progress.borrow().ended, Some(Err(_))) && flight.size == blob.size
        };
        if let Some(flight) = blobs.get(&key).filter(failed) {
            return (Arc::clone(flight), false);
        }
        let flight = Arc::new(BlobFlight::new(blob));
        blobs.insert(key, Arc::clone(&flight));
        (flight, true)
    }

    pub(super) fn find_blob(&self, repository: &str, digest: &Digest) -> Option<Arc<BlobFlight>> {
        lock(&self.blobs).get(&key(repository, &digest.to_string())).cloned()
    }

    /// Remembers that an upstream couldn't be asked about a tag.
    pub(super) fn is_away(&self, repository: &str, tag: &str, now: Timestamp) {
        lock(&self.away).insert(key(repository, tag), now);
    }

    /// True if an upstream couldn't be asked about a tag within so many milliseconds.
    pub(super) fn was_away(
        &self,
        repository: &str,
        tag: &str,
        now: Timestamp,
        for_ms: i64,
    ) -> bool {
        let mut away = lock(&self.away);
        away.retain(|_, at| now.as_millis().saturating_sub(at.as_millis()) < for_ms);
        away.contains_key(&key(repository, tag))
    }
}

/// Reads a blob while it comes.
pub(super) struct FlightReader {
    app: Arc<App>,
    flight: Arc<BlobFlight>,
}

impl FlightReader {
    pub(super) fn new(app: &Arc<App>, flight: Arc<BlobFlight>) -> Self {
        Self { app: Arc::clone(app), flight }
    }

    fn failed(&self, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let path = format!("blob {}", self.flight.digest);
        Error::Io { action: "fetch", path, source: io::Error::other(why) }
    }
}

#[async_trait]
impl BlobReader for FlightReader {
    fn size(&self) -> u64 {
        self.flight.size
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, Error> {
        self.flight.wanted.notify_one();
        let storage = self.app.registry().storage();
        let mut progress = self.flight.progress.subscribe();
        loop {
            let now = progress.borrow_and_update().clone();
            match now.ended {
                Some(Ok(())) => {
                    let blob = storage.open(&self.flight.digest).await?;
                    let blob = blob.ok_or_else(|| self.failed("it is gone"))?;
                    return blob.read(offset, length).await;
                }
                Some(Err(why)) => return Err(self.failed(why)),
                None => {}
            }
            // The last byte waits until the digest is known to be right.
            let ready = now.arrived.min(self.flight.size.saturating_sub(1));
            if offset < ready {
                let length = length.min(usize::try_from(ready - offset).unwrap_or(length));
                match storage.reread(&self.flight.upload, offset, length).await {
                    // It has just become a blob.
                    Err(Error::NoUpload(_)) => {}
                    read => return read,
                }
            }
            progress.changed().await.map_err(|error| self.failed(error))?;
        }
    }
}
