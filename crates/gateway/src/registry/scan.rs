//! Scans of images for known vulnerabilities: one at a time, off the path of every request.
//!
//! That a scan was asked for is a record before it begins, so that a server that is started anew goes
//! on with it. Findings are a blob; the image's record names it.

use super::content::{self, commit, image};
use crate::app::App;
use crate::error::ApiError;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use wharf_model::{
    ImageScan, RegistryImage, RegistrySettings, Repository, ScanOutcome, Snapshot, Timestamp,
    Transaction,
};
use wharf_registry::manifest::{DOCKER_MANIFEST, Manifest, OCI_MANIFEST};
use wharf_registry::{BlobReader, Digest, mutability};
use wharf_scan::{Database, Error, Findings, Inventory, Limits};

/// How long one scan may take; the first one reads the whole database.
const MOST_TIME: Duration = Duration::from_secs(15 * 60);
/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;
/// The longest text of why a scan failed.
const MAX_WHY_CHARS: usize = 500;
/// The configurations that container images have; other artifacts have no packages.
const CONFIGURATIONS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// True for what has layers of a container's root.
pub(crate) fn is_scannable(image: &RegistryImage) -> bool {
    let is_manifest = matches!(image.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST);
    let kind = image.artifact_type.as_deref();
    is_manifest && kind.is_none_or(|kind| CONFIGURATIONS.contains(&kind))
}

/// The rule of the registry that has a repository scanned on push, with the filter that fits.
pub(crate) fn rule<'a>(snapshot: &'a Snapshot, repository: &str) -> Option<(&'a str, &'a str)> {
    let settings = snapshot.registry_settings(&RegistrySettings::KEY.to_owned())?;
    let rules = settings.scan_rules.as_ref()?.iter();
    rules.filter(|rule| rule.frequency == "SCAN_ON_PUSH").find_map(|rule| {
        let fits = |filter: &&String| mutability::matches(filter, repository);
        Some((rule.frequency.as_str(), rule.filters.iter().find(fits)?.as_str()))
    })
}

/// True if a repository's images are scanned when they are pushed.
pub(crate) fn on_push(snapshot: &Snapshot, repository: &Repository) -> bool {
    repository.scan_on_push || rule(snapshot, &repository.name).is_some()
}

/// Writes down that a scan is asked for, unless one is under way, and begins it.
///
/// # Errors
/// `None` if the image is gone.
pub(crate) async fn ask(
    app: &Arc<App>,
    wanted: &RegistryImage,
    now: Timestamp,
) -> Result<(), Option<ApiError>> {
    struct Gone(Option<ApiError>);
    impl From<ApiError> for Gone {
        fn from(error: ApiError) -> Self {
            Self(Some(error))
        }
    }
    let asked = commit(app, "start image scan", |snapshot| {
        let known = image(snapshot, &wanted.repository, &wanted.digest).ok_or(Gone(None))?;
        if known.scan.as_ref().is_some_and(|scan| scan.outcome.is_none()) {
            return Ok((Transaction::new(), false));
        }
        let mut changed = RegistryImage::clone(known);
        changed.scan = Some(ImageScan { asked_at: now, outcome: None });
        Ok((write(snapshot, changed), true))
    });
    if asked.await.map_err(|Gone(error)| error)? {
        begin(app, wanted);
    }
    Ok(())
}

fn write(snapshot: &Snapshot, changed: RegistryImage) -> Transaction {
    let mut transaction = Transaction::new();
    let key = content::image_key(&changed.repository, &changed.digest);
    transaction.read(key.clone(), snapshot.revision_of(&key));
    transaction.put(changed);
    transaction
}

/// Begins a scan that is written down.
pub(super) fn begin(app: &Arc<App>, image: &RegistryImage) {
    let (app, key) = (Arc::clone(app), (image.repository.clone(), image.digest.clone()));
    tokio::spawn(async move {
        let _turn = tokio::select! {
            turn = app.registry().scans().acquire() => turn,
            () = app.stopping().cancelled() => return,
        };
        let found = run(&app, &key).await;
        // Held until the record names the findings: a sweep may know the same bytes as needless.
        let _adding = app.registry().adding().await;
        let kept = match found {
            Ok(Some(found)) => keep(&app, &found).await,
            Ok(None) => Ok(no_database()),
            Err(error) => Err(error),
        };
        let outcome = match kept {
            Ok(outcome) => outcome,
            // It goes on when the server does.
            Err(Error::Stopped) if app.stopping().is_cancelled() => return,
            Err(error) => failed(&error),
        };
        if let ScanOutcome::Failed { why } = &outcome {
            tracing::warn!(digest = key.1, why, "scan failed");
        }
        let noted = commit(&app, "end image scan", |snapshot| {
            let known = snapshot.registry_image(&key).filter(|image| image.scan.is_some());
            let Some(known) = known else { return Ok((Transaction::new(), ())) };
            let mut changed = RegistryImage::clone(known);
            if let Some(scan) = &mut changed.scan {
                scan.outcome = Some(outcome.clone());
            }
            Ok::<_, ApiError>((write(snapshot, changed), ()))
        });
        if let Err(error) = noted.await {
            tracing::warn!(%error, "a scan's end couldn't be written down");
        }
    });
}

/// Begins the scans that were under way when the server ended.
pub(super) fn resume(app: &Arc<App>) {
    let snapshot = app.store().snapshot();
    let pending = snapshot
        .all_registry_images()
        .filter(|image| image.scan.as_ref().is_some_and(|scan| scan.outcome.is_none()));
    for image in pending {
        begin(app, image);
    }
}

fn failed(error: &Error) -> ScanOutcome {
    let why = match error {
        Error::Unsupported => format!("UnsupportedImageError: {error}"),
        error => error.to_string(),
    };
    ScanOutcome::Failed { why: why.chars().take(MAX_WHY_CHARS).collect() }
}

fn no_database() -> ScanOutcome {
    let why = "this server has no vulnerability database: start wharf with --osv-database DIR, a \
               directory with OSV records as osv.dev publishes them, and scan again";
    ScanOutcome::Failed { why: why.to_owned() }
}

/// What is found in an image; none without a database.
async fn run(app: &Arc<App>, (_, digest): &(String, String)) -> Result<Option<Findings>, Error> {
    let Some(database) = app.registry().database() else { return Ok(None) };
    let gone = |what: &dyn std::fmt::Display| {
        Error::Io(io::Error::new(io::ErrorKind::NotFound, format!("{what} can't be read")))
    };
    let bytes = content::manifest_bytes(app, digest).await.ok().flatten();
    let bytes = bytes.ok_or_else(|| gone(digest))?;
    let manifest = Manifest::parse(&bytes, None).map_err(|error| gone(&error))?;
    let mut layers = Vec::new();
    for layer in manifest.layers.iter().filter(|layer| !layer.is_foreign()) {
        let reader = app.registry().storage().open(&layer.digest).await;
        layers.push(reader.ok().flatten().ok_or_else(|| gone(&layer.digest))?);
    }
    let (database, handle) = (Arc::clone(database), Handle::current());
    let (worker, until) = (Arc::clone(app), app.now().as_millis().saturating_add(most_time_ms()));
    let work = move || {
        let stop = || worker.stopping().is_cancelled() || worker.now().as_millis() > until;
        look(&database, layers, &handle, &stop)
    };
    let found = tokio::task::spawn_blocking(work).await;
    found.map_err(|error| Error::Io(io::Error::other(error)))?.map(Some)
}

fn most_time_ms() -> i64 {
    i64::try_from(MOST_TIME.as_millis()).unwrap_or(i64::MAX)
}

fn look(
    database: &Database,
    layers: Vec<Box<dyn BlobReader>>,
    handle: &Handle,
    stop: &dyn Fn() -> bool,
) -> Result<Findings, Error> {
    let mut inventory = Inventory::new(Limits::default());
    for reader in layers {
        let layer = Layer { reader, handle: handle.clone(), at: 0 };
        inventory.apply(io::BufReader::with_capacity(CHUNK, layer), stop)?;
    }
    wharf_scan::scan(database, &inventory.packages()?, stop)
}

/// Stores the findings. The caller is [`super::ImageRegistry::adding`].
async fn keep(app: &App, found: &Findings) -> Result<ScanOutcome, Error> {
    let bytes = serde_json::to_vec(found).map_err(|error| Error::Io(error.into()))?;
    let digest = Digest::with(wharf_registry::digest::Algorithm::Sha256, &bytes);
    let stored = app.registry().storage().put(&digest, bytes.into()).await;
    stored.map_err(|error| {
        tracing::error!(%error, "findings couldn't be stored");
        Error::Io(io::Error::other(error))
    })?;
    Ok(ScanOutcome::Complete {
        at: app.now(),
        counts: found.counts(),
        findings: digest.to_string(),
        database_at: Timestamp(found.database_ms),
    })
}

/// A blob as a stream, read on a thread that may wait.
struct Layer {
    reader: Box<dyn BlobReader>,
    handle: Handle,
    at: u64,
}

impl Read for Layer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.handle.block_on(self.reader.read(self.at, buffer.len()));
        let bytes = bytes.map_err(io::Error::other)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
}

/// The findings of a scan; none if their bytes are lost.
///
/// # Errors
/// If the store fails.
pub(crate) async fn findings(
    app: &App,
    digest: &str,
) -> Result<Option<Findings>, wharf_registry::Error> {
    let Ok(digest) = digest.parse::<Digest>() else { return Ok(None) };
    let Some(reader) = app.registry().storage().open(&digest).await? else { return Ok(None) };
    let mut bytes = Vec::new();
    loop {
        let next = reader.read(bytes.len() as u64, CHUNK).await?;
        if next.is_empty() {
            return Ok(serde_json::from_slice(&bytes).ok());
        }
        bytes.extend_from_slice(&next);
    }
}
