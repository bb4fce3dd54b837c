//! Pulls an image: manifest, configuration, layers; at most three downloads at once, resumed where
//! a connection broke.
//!
//! Errors come in ECS's words. What can't get better (not found, denied, a wrong digest twice)
//! fails at once; what may (a refused connection, a 503) is tried again within half a minute, and
//! a download that makes progress never runs out of attempts.

mod error;
mod partial;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::MAX_CONFIG_BYTES;
use crate::digest::Digest;
use crate::manifest::{Descriptor, Document, Manifest};
use crate::platform::Platform;
use crate::progress::Progress;
use crate::reference::Reference;
use crate::registry::{self, Credentials, FetchedManifest, RegistryClient};
use crate::store::arrivals::Arrivals;
use crate::store::{self, Image, ImageStore, ImportGuard, Source};

use error::resolve_cause;
pub use error::{Cause, Phase, PullError};
use partial::{Partial, partial_size};

/// Docker's default.
const MAX_DOWNLOADS: usize = 3;
/// Attempts without any progress, the first included: containerd's number in ECS's messages.
const MAX_ATTEMPTS: u32 = 5;
/// All attempts without progress end within this time.
const MAX_RETRY_TIME: Duration = Duration::from_secs(30);
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
/// The largest layer that is downloaded, compressed.
const MAX_LAYER_BYTES: u64 = 64 << 30;
/// Chunks between the network and the disk.
const WRITE_QUEUE: usize = 16;

/// How to pull.
#[derive(Clone, Default)]
pub struct PullOptions {
    /// Credentials; without them docker's configuration file is asked.
    pub credentials: Option<Credentials>,
    /// The host (`host[:port]`) that serves the image, where that isn't the one in its name.
    pub served_by: Option<String>,
    /// A directory of that registry's blobs on this host, by `<algorithm>/<hex>`: what lies there and
    /// has the right digest needs no download.
    pub blobs: Option<PathBuf>,
}

/// Attempts with growing pauses, counted anew whenever there was progress.
struct Retry {
    attempts: u32,
    since: Instant,
}

impl Retry {
    fn new() -> Self {
        Self { attempts: 0, since: Instant::now() }
    }

    fn progressed(&mut self) {
        *self = Self::new();
    }

    /// Waits for the next attempt, or returns the error if there is none.
    async fn again(
        &mut self,
        phase: Phase,
        cause: Cause,
        progress: &dyn Progress,
    ) -> Result<(), PullError> {
        self.attempts += 1;
        let pause = FIRST_BACKOFF * 2_u32.pow(self.attempts.min(6) - 1);
        let pause = pause.mul_f64(0.75 + fastrand::f64() / 2.0);
        let over = self.attempts >= MAX_ATTEMPTS || self.since.elapsed() + pause > MAX_RETRY_TIME;
        if over || !cause.is_transient() {
            return Err(PullError { phase, attempts: self.attempts, source: cause });
        }
        progress.retry(self.attempts, &cause.to_string());
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Ends the wait for blobs when the downloads have ended, in whatever way.
struct Arriving(Arc<Arrivals>);

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// One pull's companions.
#[derive(Clone)]
struct Pull {
    store: ImageStore,
    client: RegistryClient,
    reference: Reference,
    /// As the registry is asked: the same repository, maybe at another host.
    asked: Reference,
    blobs: Option<PathBuf>,
    credentials: Option<Credentials>,
    progress: Arc<dyn Progress>,
}

impl ImageStore {
    /// Pulls `name` and names it in this store. Content that is here already isn't fetched again,
    /// and pulls of the same image, also in other processes, share their work.
    pub async fn pull(
        &self,
        client: &RegistryClient,
        name: &str,
        options: &PullOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Image, PullError> {
        let fail = |cause: Cause| cause.once(Phase::Manifest);
        let reference = Reference::parse(name).map_err(|error| fail(error.into()))?;
        let credentials = client
            .credentials(&reference, options.credentials.as_ref())
            .map_err(|error| fail(error.into()))?;
        let (store, client) = (self.clone(), client.clone());
        let asked = match &options.served_by {
            Some(host) => reference.at(host),
            None => reference.clone(),
        };
        let blobs = options.blobs.clone();
        Pull { store, client, reference, asked, blobs, credentials, progress }.run().await
    }
}

impl Pull {
    async fn run(self) -> Result<Image, PullError> {
        if let Some(image) = self.up_to_date().await? {
            return Ok(image);
        }
        let store = self.store.clone();
        let guard = blocking(move || store.import().map_err(Cause::from)).await;
        let guard = guard.map_err(|cause| cause.once(Phase::Content))?;
        let top = self.fetch_manifest(None).await?;
        let repo_digest = top.digest;
        let (digest, manifest) = self.manifest(top).await?;
        let guard = self.blobs_and_layers(guard, digest, &manifest).await?;
        let named = blocking(move || {
            let name = self.reference.to_string();
            let image = self.store.commit(&name, &digest, Some(repo_digest), Source::Pulled)?;
            drop(guard);
            Ok(image)
        });
        named.await.map_err(|cause: Cause| cause.once(Phase::Content))
    }

    /// Fetches the blobs, and unpacks each layer when it is here, while the others come.
    async fn blobs_and_layers(
        &self,
        guard: ImportGuard,
        digest: Digest,
        manifest: &Manifest,
    ) -> Result<ImportGuard, PullError> {
        let arrivals = Arc::new(Arrivals::default());
        let arriving = Arriving(Arc::clone(&arrivals));
        let (pull, known) = (self.clone(), Arc::clone(&arrivals));
        let unpacked = blocking(move || {
            pull.store.unpack_arriving(&guard, &digest, &known, pull.progress.as_ref())?;
            Ok(guard)
        });
        let unpacked = tokio::spawn(unpacked);
        let mut unpacked = std::pin::pin!(unpacked);
        let mut blobs = std::pin::pin!(self.blobs(manifest, &arrivals));
        let failed = |cause: Cause| cause.once(Phase::Content);
        let ended = |ended: Result<_, _>| ended.unwrap_or(Err(Cause::Cancelled)).map_err(failed);
        tokio::select! {
            // A download's failure is what a missing blob comes from.
            biased;
            fetched = &mut blobs => {
                drop(arriving);
                fetched?;
                ended(unpacked.await)
            }
            // Before everything is here: it was refused, or all was here already.
            done = &mut unpacked => {
                let guard = ended(done)?;
                blobs.await.map(|()| guard)
            }
        }
    }

    /// A HEAD request tells whether what is here is still what the registry has; Docker Hub
    /// doesn't count it as a pull.
    async fn up_to_date(&self) -> Result<Option<Image>, PullError> {
        let known = self
            .store
            .resolve(&self.reference.to_string())
            .map_err(|error| Cause::from(error).once(Phase::Content))?;
        let Some(known) = known.filter(|image| image.source == Source::Pulled) else {
            return Ok(None);
        };
        let here = known.repo_digest.as_ref().and_then(|r| r.digest().copied());
        let there = self.client.head_manifest(&self.asked, self.credentials.as_ref()).await;
        // Whatever went wrong will go wrong again with GET, and is reported then.
        Ok(there.ok().flatten().filter(|digest| Some(*digest) == here).map(|_| known))
    }

    async fn fetch_manifest(&self, pinned: Option<&Digest>) -> Result<FetchedManifest, PullError> {
        let mut retry = Retry::new();
        loop {
            let credentials = self.credentials.as_ref();
            match self.client.manifest(&self.asked, pinned, credentials).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => {
                    let cause = resolve_cause(&self.reference, error);
                    retry.again(Phase::Manifest, cause, self.progress.as_ref()).await?;
                }
            }
        }
    }

    /// From whatever the reference names to this platform's manifest; both are kept as blobs.
    async fn manifest(&self, top: FetchedManifest) -> Result<(Digest, Manifest), PullError> {
        let fail = |cause: Cause| cause.once(Phase::Manifest);
        let document = |fetched: &FetchedManifest, announced: Option<&str>| {
            Document::parse(&fetched.bytes, announced).map_err(|error| fail(error.into()))
        };
        let keep = |fetched: FetchedManifest| {
            let layout = self.store.clone();
            blocking(move || Ok(store::put_blob(layout.layout(), &fetched.bytes)?))
        };
        let index = match document(&top, top.media_type.as_deref())? {
            Document::Manifest(manifest) => {
                return Ok((keep(top).await.map_err(fail)?, manifest));
            }
            Document::Index(index) => index,
        };
        let chosen = index.select(&Platform::host()).map_err(|error| fail(error.into()))?;
        let fetched = self.fetch_manifest(Some(&chosen.digest)).await?;
        let found = fetched.bytes.len() as u64;
        if found != chosen.size {
            let (digest, expected) = (chosen.digest, chosen.size);
            return Err(fail(Cause::ManifestSize { digest, expected, found }));
        }
        document(&fetched, fetched.media_type.as_deref())?;
        match document(&fetched, Some(&chosen.media_type))? {
            Document::Manifest(manifest) => {
                keep(top).await.map_err(fail)?;
                Ok((keep(fetched).await.map_err(fail)?, manifest))
            }
            Document::Index(_) => Err(fail(crate::manifest::Error::NestedIndex.into())),
        }
    }

    /// Fetches configuration and layers.
    async fn blobs(&self, manifest: &Manifest, arrivals: &Arc<Arrivals>) -> Result<(), PullError> {
        let check = |blob: &Descriptor, limit: u64| match blob.size > limit {
            true => {
                let (digest, size) = (blob.digest, blob.size);
                Err(Cause::BlobTooLarge { digest, size, limit }.once(Phase::Content))
            }
            false => Ok(()),
        };
        check(&manifest.config, MAX_CONFIG_BYTES)?;
        for layer in &manifest.layers {
            check(layer, MAX_LAYER_BYTES)?;
        }
        let sizes: Vec<_> = manifest.layers.iter().map(|l| (l.digest, l.size)).collect();
        self.progress.layers(&sizes);
        let slots = Arc::new(Semaphore::new(MAX_DOWNLOADS));
        let mut downloads = JoinSet::new();
        let mut seen = std::collections::BTreeSet::new();
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            if !seen.insert(blob.digest) {
                continue;
            }
            let (pull, blob, slots) = (self.clone(), blob.clone(), Arc::clone(&slots));
            let arrivals = Arc::clone(arrivals);
            downloads.spawn(async move {
                let _slot = slots.acquire_owned().await;
                pull.blob(&blob).await?;
                arrivals.arrived(&blob.digest);
                Ok(())
            });
        }
        // The first failure drops the set and with it the other downloads.
        while let Some(done) = downloads.join_next().await {
            done.map_err(|_| Cause::Cancelled.once(Phase::Content))??;
        }
        Ok(())
    }

    async fn blob(&self, blob: &Descriptor) -> Result<(), PullError> {
        let (store, descriptor) = (self.store.clone(), blob.clone());
        // Whoever else fetches this blob is waited for; then it is here.
        let lock = blocking(move || {
            let layout = store.layout();
            let path = layout.lock(&format!("blob-{}", descriptor.digest.hex()));
            let fail = |error| Cause::Write { digest: descriptor.digest, error };
            store::files::Lock::exclusive(&path).map_err(fail)
        });
        let _lock = lock.await.map_err(|cause| cause.once(Phase::Content))?;
        if store::has_blob(self.store.layout(), &blob.digest, blob.size) {
            self.progress.exists(&blob.digest);
            return Ok(());
        }
        if self.take(blob).await {
            self.progress.exists(&blob.digest);
            return Ok(());
        }
        let mut retry = Retry::new();
        loop {
            let before = partial_size(self.store.layout().download(&blob.digest).as_path());
            let Err(cause) = self.attempt(blob).await else { return Ok(()) };
            let after = partial_size(self.store.layout().download(&blob.digest).as_path());
            if after > before {
                retry.progressed();
            }
            retry.again(Phase::Content, cause, self.progress.as_ref()).await?;
        }
    }

    /// Takes a blob from the registry's own directory, if it lies on this host: its digest is checked,
    /// and both stores have the one file. False if it must be downloaded.
    async fn take(&self, blob: &Descriptor) -> bool {
        let Some(directory) = &self.blobs else { return false };
        let source = directory.join("sha256").join(blob.digest.hex());
        let (store, descriptor) = (self.store.clone(), blob.clone());
        let taken = blocking(move || {
            let fail = |error| Cause::Write { digest: descriptor.digest, error };
            let layout = store.layout();
            store::link_blob(layout, &source, &descriptor.digest, descriptor.size).map_err(fail)
        });
        match taken.await {
            Ok(taken) => taken,
            // Another file system, or no permission: the registry has it by HTTP as well.
            Err(cause) => {
                tracing::debug!(digest = %blob.digest, %cause, "downloading what lies on this host");
                false
            }
        }
    }

    /// One connection's worth of a download; what arrived stays for the next.
    async fn attempt(&self, blob: &Descriptor) -> Result<(), Cause> {
        let path = self.store.layout().download(&blob.digest);
        let digest = blob.digest;
        let write_error = move |error| Cause::Write { digest, error };
        let (size, place) = (blob.size, path.clone());
        let partial = blocking(move || Partial::open(&place, size).map_err(write_error)).await?;
        let mut partial = partial;
        if partial.written() < blob.size || blob.size == 0 {
            let credentials = self.credentials.as_ref();
            let stream =
                self.client.blob(&self.asked, &digest, partial.written(), credentials).await;
            let mut stream = stream.map_err(|error| Cause::Copy { error: error.into() })?;
            if stream.offset != partial.written() {
                partial = blocking(move || partial.restart().map_err(write_error)).await?;
                if stream.offset != 0 {
                    let url = digest.to_string();
                    let error = registry::Error::Answer { url, what: "Content-Range" };
                    return Err(Cause::Copy { error: error.into() });
                }
            }
            partial = self.receive(blob, partial, &mut stream).await?;
        }
        let store = self.store.clone();
        let descriptor = blob.clone();
        blocking(move || partial.finish(&store, &descriptor)).await
    }

    /// Moves bytes from the network to a thread that hashes and writes them.
    async fn receive(
        &self,
        blob: &Descriptor,
        mut partial: Partial,
        stream: &mut registry::BlobStream,
    ) -> Result<Partial, Cause> {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(WRITE_QUEUE);
        let (digest, total) = (blob.digest, blob.size);
        let mut done = partial.written();
        let writer = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = receiver.blocking_recv() {
                partial.write(&chunk)?;
            }
            Ok::<_, io::Error>(partial)
        });
        let received = loop {
            let chunk = match stream.next().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break Ok(()),
                Err(error) => break Err(Cause::Copy { error: error.into() }),
            };
            done += chunk.len() as u64;
            if done > total {
                let error =
                    registry::Error::TooLarge { url: format!("blob {digest}"), limit: total };
                break Err(Cause::Copy { error: error.into() });
            }
            // A closed channel means that writing failed: the writer says why.
            if sender.send(chunk).await.is_err() {
                break Ok(());
            }
            self.progress.downloaded(&digest, done, total);
        };
        drop(sender);
        let written = writer.await.map_err(|_| Cause::Cancelled)?;
        let partial = written.map_err(|error| Cause::Write { digest, error })?;
        received.map(|()| partial)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Cause> + Send + 'static,
) -> Result<T, Cause> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Cause::Cancelled))
}
