//! Upkeep: expired images, uploads nobody ends, records of repositories that are gone, blobs that no
//! image needs, and bytes that no repository has. It runs beside everything else; what it removes was
//! seen to be needless while nobody could begin to need it.

use super::content::{BATCH, commit};
use super::{lifecycle, replication, scan};
use crate::app::App;
use crate::error::ApiError;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;
use wharf_model::{
    RecordKey, RegistryImage, RepositoryBlob, ScanOutcome, Snapshot, Timestamp, Transaction,
};
use wharf_registry::{Digest, UPLOAD_LIFE};

/// How often lifecycle policies are evaluated and leftovers are swept. The first time comes that late,
/// too: what clients were told before the server was started anew isn't known any more.
const INTERVAL: Duration = Duration::from_secs(3600);
/// How long a blob stays that nothing refers to: a push may be about to.
const GRACE: Duration = Duration::from_secs(3600);
/// Files removed while additions wait.
const FILES: usize = 32;

/// What a sweep removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Images that lifecycle policies found expired.
    pub expired_images: usize,
    /// Images that lifecycle policies have archived.
    pub archived_images: usize,
    /// Uploads that had rested for too long.
    pub uploads: usize,
    /// Records of repositories that are gone, and of blobs that no image of their repository needs.
    pub records: usize,
    /// Files that no repository has.
    pub blobs: usize,
}

/// Keeps the registry in order until `shutdown`.
pub async fn upkeep(app: Arc<App>, shutdown: CancellationToken) {
    scan::resume(&app);
    replication::resume(&app);
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.cancelled() => return,
        }
        let swept = sweep(&app, app.now()).await;
        if swept != Swept::default() {
            tracing::info!(?swept, "registry swept");
        }
    }
}

/// How long what nothing refers to must have rested before it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// Uploads that nobody goes on with.
    pub uploads: Duration,
    /// Blobs.
    pub blobs: Duration,
}

impl Default for Rest {
    fn default() -> Self {
        Self { uploads: UPLOAD_LIFE, blobs: GRACE }
    }
}

/// Removes what isn't needed at `now`. What can't be removed stays until the next time, with a line
/// in the log.
pub async fn sweep(app: &App, now: Timestamp) -> Swept {
    sweep_rested(app, now, Rest::default()).await
}

/// As [`sweep`], with another measure of rest: an operator may know that nobody is pushing.
pub async fn sweep_rested(app: &App, now: Timestamp, rest: Rest) -> Swept {
    let since = before(now, rest.blobs);
    let told = |what: &'static str, error: &dyn std::fmt::Display| {
        tracing::warn!(what, %error, "the registry couldn't be swept");
    };
    let (expired_images, archived_images) = lifecycle::apply(app, now).await;
    let mut swept = Swept { expired_images, archived_images, ..Swept::default() };
    match app.registry().uploads().expire_after(system_time(now), rest.uploads).await {
        Ok(count) => swept.uploads = count,
        Err(error) => told("uploads", &error),
    }
    match records(app, since).await {
        Ok(count) => swept.records = count,
        Err(error) => told("records", &error),
    }
    match blobs(app, since).await {
        Ok(count) => swept.blobs = count,
        Err(error) => told("blobs", &error),
    }
    swept
}

fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(0))
}

fn before(now: Timestamp, rest: Duration) -> Timestamp {
    Timestamp(now.as_millis().saturating_sub(i64::try_from(rest.as_millis()).unwrap_or(i64::MAX)))
}

/// Removes needless records, some at a time.
async fn records(app: &App, since: Timestamp) -> Result<usize, ApiError> {
    app.registry().forget_assertions(since);
    let mut gone = 0;
    loop {
        let _removing = app.registry().removing().await;
        let count = commit(app, "sweep registry", |snapshot| {
            let needless = needless(app, snapshot, since);
            let mut transaction = Transaction::new();
            for key in needless {
                transaction.read(key.clone(), snapshot.revision_of(&key));
                transaction.delete(key);
            }
            let count = transaction.writes.len();
            Ok::<_, ApiError>((transaction, count))
        });
        let count = count.await?;
        gone += count;
        if count < BATCH {
            return Ok(gone);
        }
    }
}

/// Up to a transaction's worth of records that nothing needs.
fn needless(app: &App, snapshot: &Snapshot, since: Timestamp) -> Vec<RecordKey> {
    let alive: BTreeSet<&str> = snapshot.repositories().map(|r| r.id.as_str()).collect();
    let gone = |id: &str| !alive.contains(id);
    let images = snapshot.all_registry_images().filter(|image| gone(&image.repository));
    let images = images.map(|i| RecordKey::RegistryImage((i.repository.clone(), i.digest.clone())));
    let tags = snapshot.all_image_tags().filter(|tag| gone(&tag.repository));
    let tags = tags.map(|t| RecordKey::ImageTag((t.repository.clone(), t.tag.clone())));
    let key = |b: &Arc<RepositoryBlob>| {
        RecordKey::RepositoryBlob((b.repository.clone(), b.digest.clone()))
    };
    let orphans = snapshot.all_repository_blobs().filter(|blob| gone(&blob.repository)).map(key);
    let unneeded = alive.iter().flat_map(|id| {
        let images: Vec<&Arc<RegistryImage>> = snapshot.registry_images(id).collect();
        let needed: BTreeSet<&String> = images.iter().flat_map(|image| &image.blobs).collect();
        let blobs = snapshot.repository_blobs(id);
        let rest = blobs.filter(|blob| blob.since < since && !needed.contains(&blob.digest));
        let rest: Vec<_> = rest.collect();
        rest
    });
    let unneeded = unneeded
        .filter(|blob| !app.registry().is_asserted(&blob.repository, &blob.digest))
        .map(key);
    images.chain(tags).chain(orphans).chain(unneeded).take(BATCH).collect()
}

/// Removes files that no repository has.
async fn blobs(app: &App, since: Timestamp) -> Result<usize, wharf_registry::Error> {
    let since = system_time(since);
    let files = app.registry().storage().list().await?;
    let old: Vec<Digest> =
        files.into_iter().filter(|(_, at)| *at < since).map(|(digest, _)| digest).collect();
    let had = had(&app.store().snapshot());
    let candidates: Vec<Digest> =
        old.into_iter().filter(|digest| !had.contains(&digest.to_string())).collect();
    let mut gone = 0;
    for some in candidates.chunks(FILES) {
        let _removing = app.registry().removing().await;
        let had = self::had(&app.store().snapshot());
        for digest in some.iter().filter(|digest| !had.contains(&digest.to_string())) {
            gone += usize::from(app.registry().storage().remove(digest).await?);
        }
    }
    Ok(gone)
}

/// The digests of everything that some repository has.
fn had(snapshot: &Snapshot) -> BTreeSet<String> {
    let blobs = snapshot.all_repository_blobs().map(|blob| blob.digest.clone());
    let findings =
        snapshot.all_registry_images().filter_map(|image| match &image.scan.as_ref()?.outcome {
            Some(ScanOutcome::Complete { findings, .. }) => Some(findings.clone()),
            _ => None,
        });
    let images = snapshot.all_registry_images().map(|image| image.digest.clone());
    blobs.chain(images).chain(findings).collect()
}
