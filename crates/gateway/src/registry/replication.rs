//! Replication: images that were pushed here go to the registries that the rules name. Which image goes
//! where is decided with the push and written down with it; carrying it there is retried for a while,
//! also over a restart. What was replicated to this registry goes no further, and deletions don't
//! either, as in ECR.

use super::content::{self, commit};
use crate::app::App;
use crate::error::ApiError;
use crate::remote::{PeerRepository, RemoteError, RemoteFailure};
use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use wharf_model::{
    ArnScope, RecordKey, RegistryImage, RegistryKey, RegistrySettings, Replication,
    ReplicationOutcome, Repository, Snapshot, Timestamp, Transaction,
};
use wharf_registry::Digest;

/// How long it is tried.
const TRIED_FOR_MS: i64 = 30 * 60 * 1000;
/// The pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// Images that are carried at once.
const IMAGES: usize = 4;

/// An image and where it goes.
type Way = (String, String, RegistryKey);

/// What is on its way.
pub(crate) struct Replicator {
    under_way: Mutex<BTreeSet<Way>>,
    places: Semaphore,
}

impl Replicator {
    pub(super) fn new() -> Self {
        Self { under_way: Mutex::default(), places: Semaphore::new(IMAGES) }
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeSet<Way>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This registry.
pub(crate) fn own_key(arns: &ArnScope) -> RegistryKey {
    RegistryKey { account: arns.account.clone(), region: arns.region.clone() }
}

/// Where the images of a repository go.
fn destinations(
    settings: &RegistrySettings,
    own: &RegistryKey,
    name: &str,
) -> BTreeSet<RegistryKey> {
    let rules = settings.replication.iter().filter(|rule| {
        let mut prefixes = rule.prefixes.iter();
        rule.prefixes.is_empty() || prefixes.any(|prefix| name.starts_with(prefix.as_str()))
    });
    rules.flat_map(|rule| &rule.destinations).filter(|key| *key != own).cloned().collect()
}

/// Writes into an image's record where it goes now.
pub(super) fn want(
    snapshot: &Snapshot,
    arns: &ArnScope,
    name: &str,
    image: &mut RegistryImage,
    now: Timestamp,
) {
    let Some(settings) = snapshot.registry_settings(&RegistrySettings::KEY.to_owned()) else {
        return;
    };
    for to in destinations(settings, &own_key(arns), name) {
        image.replications.retain(|known| known.to != to);
        image.replications.push(Replication { to, since: now, outcome: None });
    }
}

/// Begins to carry an image to where it isn't yet.
pub(super) fn begin(app: &Arc<App>, image: &RegistryImage) {
    for wanted in image.replications.iter().filter(|known| known.outcome.is_none()) {
        let way = (image.repository.clone(), image.digest.clone(), wanted.to.clone());
        if app.registry().replicator().under_way().insert(way.clone()) {
            tokio::spawn(carry(Arc::clone(app), way));
        }
    }
}

/// Goes on with what an earlier run didn't end.
pub(super) fn resume(app: &Arc<App>) {
    for image in app.store().snapshot().all_registry_images() {
        begin(app, image);
    }
}

/// An image's way as it is written down.
fn wanted<'a>(
    snapshot: &'a Snapshot,
    (repository, digest, to): &Way,
) -> Option<(&'a Arc<RegistryImage>, &'a Replication)> {
    let image = content::image(snapshot, repository, digest)?;
    let known = image.replications.iter().find(|known| known.to == *to);
    known.filter(|known| known.outcome.is_none()).map(|known| (image, known))
}

async fn carry(app: Arc<App>, way: Way) {
    let mut pause = FIRST_PAUSE;
    loop {
        let snapshot = app.store().snapshot();
        let Some((image, known)) = wanted(&snapshot, &way) else {
            app.registry().replicator().under_way().remove(&way);
            // It may have been pushed again just before.
            if let Some((image, _)) = wanted(&app.store().snapshot(), &way) {
                begin(&app, image);
            }
            return;
        };
        let since = known.since;
        let sent = {
            let _place = app.registry().replicator().places.acquire().await;
            send(&app, &snapshot, image, &way.2).await
        };
        let outcome = match sent {
            Ok(()) => Some(ReplicationOutcome::Complete),
            Err(error) => {
                let (_, digest, to) = &way;
                let (account, region) = (&to.account, &to.region);
                tracing::warn!(digest, account, region, %error, "an image isn't replicated");
                let waited = app.now().as_millis().saturating_sub(since.as_millis());
                let again = [RemoteFailure::Unavailable, RemoteFailure::TooMany];
                let gives_up = waited >= TRIED_FOR_MS || !again.contains(&error.failure);
                gives_up.then_some(ReplicationOutcome::Failed { code: error.code })
            }
        };
        match outcome {
            Some(outcome) => {
                if let Err(error) = note(&app, &way, since, &outcome).await {
                    tracing::warn!(%error, "a replication's end couldn't be written down");
                    tokio::time::sleep(LAST_PAUSE).await;
                }
            }
            None => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = app.stopping().cancelled() => return,
                }
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
    }
}

/// Writes down what came of it, unless it is wanted anew since.
async fn note(
    app: &App,
    way: &Way,
    since: Timestamp,
    outcome: &ReplicationOutcome,
) -> Result<(), ApiError> {
    commit(app, "note replication", |snapshot| {
        let mut transaction = Transaction::new();
        if let Some((image, _)) = wanted(snapshot, way).filter(|(_, known)| known.since == since) {
            let key = RecordKey::RegistryImage((image.repository.clone(), image.digest.clone()));
            transaction.read(key.clone(), snapshot.revision_of(&key));
            let mut image = RegistryImage::clone(image);
            for known in image.replications.iter_mut().filter(|known| known.to == way.2) {
                known.outcome = Some(outcome.clone());
            }
            transaction.put(image);
        }
        Ok((transaction, ()))
    })
    .await
}

fn lost(what: &str) -> RemoteError {
    RemoteError {
        failure: RemoteFailure::Other,
        code: "IMAGE_NOT_FOUND".to_owned(),
        text: format!("{what} isn't in this registry any more"),
    }
}

/// Sends an image with what it refers to and its tags.
async fn send(
    app: &App,
    snapshot: &Snapshot,
    image: &RegistryImage,
    to: &RegistryKey,
) -> Result<(), RemoteError> {
    let mut repositories = snapshot.repositories();
    let repository: Option<&Arc<Repository>> = repositories.find(|r| r.id == image.repository);
    let repository = repository.ok_or_else(|| lost("the repository"))?;
    let remotes = app.remotes().ok_or_else(|| RemoteError {
        failure: RemoteFailure::Other,
        code: "UNKNOWN_DESTINATION".to_owned(),
        text: "this server reaches no other registries".to_owned(),
    })?;
    let peer = remotes.peer(to, &own_key(app.arns()), &repository.name).await?;
    let (mut all, mut next) = (vec![image], 0);
    let mut seen = HashSet::from([image.digest.as_str()]);
    while let Some(image) = all.get(next).copied() {
        for digest in image.manifests.iter().filter(|digest| seen.insert(digest.as_str())) {
            let member = content::image(snapshot, &image.repository, digest);
            all.push(member.ok_or_else(|| lost(digest))?);
        }
        next += 1;
    }
    // What is referred to comes before what refers to it.
    all.sort_by_key(|image| image.depth);
    for image in all {
        manifest(app, peer.as_ref(), image, &image.digest).await?;
    }
    for tag in snapshot.tags_of_image(&image.repository, &image.digest) {
        manifest(app, peer.as_ref(), image, tag).await?;
    }
    Ok(())
}

/// Sends the blobs of one manifest, and then the manifest.
async fn manifest(
    app: &App,
    peer: &dyn PeerRepository,
    image: &RegistryImage,
    selector: &str,
) -> Result<(), RemoteError> {
    let store = |error: wharf_registry::Error| RemoteError {
        failure: RemoteFailure::Unavailable,
        code: "STORE".to_owned(),
        text: error.to_string(),
    };
    if selector == image.digest {
        for digest in &image.blobs {
            let digest: Digest = digest.parse().map_err(|_| lost(digest))?;
            if peer.has_blob(&digest).await? {
                continue;
            }
            let blob = app.registry().storage().open(&digest).await.map_err(store)?;
            let blob = blob.ok_or_else(|| lost(&digest.to_string()))?;
            peer.push_blob(&digest, blob.as_ref()).await?;
        }
    }
    let bytes = content::manifest_bytes(app, &image.digest).await.map_err(store)?;
    let bytes = bytes.ok_or_else(|| lost(&image.digest))?;
    peer.put_manifest(selector, &image.media_type, bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_model::ReplicationRule;

    #[test]
    fn rules_say_where_a_repositorys_images_go() {
        let key = |account: &str, region: &str| RegistryKey {
            account: account.to_owned(),
            region: region.to_owned(),
        };
        let own = key("1", "here");
        let rule = |destinations: &[RegistryKey], prefixes: &[&str]| ReplicationRule {
            destinations: destinations.to_vec(),
            prefixes: prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
        };
        let (east, west) = (key("1", "east"), key("2", "here"));
        let settings = RegistrySettings {
            replication: vec![
                rule(&[east.clone(), own.clone()], &["prod", "stage/"]),
                rule(&[west.clone(), east.clone()], &["prod/shop"]),
            ],
            ..RegistrySettings::default()
        };
        let found = |name| destinations(&settings, &own, name).into_iter().collect::<Vec<_>>();
        assert_eq!(found("production"), vec![east.clone()]);
        assert_eq!(found("stage/app"), vec![east.clone()]);
        assert_eq!(found("prod/shop/web"), vec![east.clone(), west]);
        assert_eq!(found("stage"), vec![]);
        let all = RegistrySettings {
            replication: vec![rule(std::slice::from_ref(&east), &[])],
            ..RegistrySettings::default()
        };
        assert_eq!(destinations(&all, &own, "x").len(), 1);
    }
}
