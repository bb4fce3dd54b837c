//! Images on their way from an upstream: pulled through, and kept.
//!
//! A manifest is answered as soon as it is here; its blobs are fetched behind the answer's back and read
//! while they come. What an upload of ours has been given is what a client gets, but for its last byte,
//! which waits until the whole has the digest that it should have. An image becomes a record once all of
//! it is there. Whatever many clients ask for at once is fetched once.

use super::access::{self, Asker, Denied, Resource};
use super::content::{self, commit};
use super::flight::{BlobFlight, Flight, Imports};
use super::manifests::{self, Origin, Put, PutError};
use super::pull_through::{self, Cached};
use super::templates::{self, PULL_THROUGH_CACHE};
use crate::app::App;
use crate::error::ApiError;
use crate::identity::{Kind, Verified};
use crate::remote::{RemoteError, RemoteFailure, RemoteLogin, RemoteManifest, Upstream};
use crate::secretsmanager;
use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;
use wharf_model::{
    ImageTag, PullThroughRule, RecordKey, Repository, Snapshot, Timestamp, Transaction,
};
use wharf_registry::manifest::{Descriptor, Manifest};
use wharf_registry::route::Reference;
use wharf_registry::{BlobReader, Digest, UploadWriter};

/// How long what a tag names is taken for what it names upstream, as in ECR.
const CHECK_MS: i64 = 24 * 3600 * 1000;
/// How long an upstream that didn't answer isn't asked whether a cached tag has moved.
const AWAY_MS: i64 = 60 * 1000;
/// Attempts at a blob.
const ATTEMPTS: u32 = 4;
/// How often what is here is said to be needed; the sweep leaves it for an hour.
const ASSERTED: Duration = Duration::from_secs(600);
/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// Why nothing was imported.
#[derive(Debug)]
pub(crate) enum ImportError {
    /// The caller may not.
    Denied(Denied),
    /// The upstream.
    Remote(RemoteError),
    /// What the upstream sent isn't taken.
    Put(PutError),
    /// The journal.
    Api(ApiError),
}

impl From<ApiError> for ImportError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<Denied> for ImportError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

/// Has what `reference` names of a repository here, if it is a pull-through cache's: as records, or, if
/// its blobs are still on their way, as the flight that is returned.
///
/// # Errors
/// If it isn't here and can't be fetched. What is here is answered although the upstream is away.
pub(crate) async fn bring(
    app: &Arc<App>,
    identity: &Verified,
    name: &str,
    reference: &Reference,
) -> Result<Option<Arc<Flight>>, ImportError> {
    let snapshot = app.store().snapshot();
    let Some(cached) = pull_through::cached(&snapshot, name) else { return Ok(None) };
    if is_fresh(&snapshot, name, reference, app.now()) {
        return Ok(None);
    }
    let repository = snapshot.repository(&name.to_owned());
    let is_here =
        repository.is_some_and(|r| content::resolve(&snapshot, &r.id, reference).is_some());
    if !is_here {
        let asker = Asker { identity, arns: app.arns(), snapshot: &snapshot };
        let resource = Resource::found(repository.map(AsRef::as_ref), name);
        access::demand(asker, resource, access::IMPORT)?;
        // An agent pulls for a task whose owner named the image; it makes no repository of its own.
        if repository.is_none() && identity.kind() != Kind::ContainerInstance {
            access::demand(asker, resource, access::CREATE)?;
        }
    }
    let imports = app.registry().imports();
    let _turn = imports.turn(name, &reference.to_string()).await;
    if let Some(flight) = imports.flight(name, &reference.to_string()) {
        return Ok(Some(flight));
    }
    // Whoever had the turn before may have brought it.
    if is_fresh(&app.store().snapshot(), name, reference, app.now()) {
        return Ok(None);
    }
    match fetch(app, name, &cached, reference, is_here).await {
        Err(error) if is_here => {
            let error = text(&error);
            tracing::warn!(repository = name, %reference, error, "answered from the cache alone");
            imports.is_away(name, &reference.to_string(), app.now());
            Ok(None)
        }
        other => other,
    }
}

fn text(error: &ImportError) -> String {
    match error {
        ImportError::Denied(denied) => denied.to_string(),
        ImportError::Remote(error) => error.to_string(),
        ImportError::Put(error) => format!("{error:?}"),
        ImportError::Api(error) => error.to_string(),
    }
}

/// True if what is here needs no look at the upstream: a digest, a tag that was pushed here, or one that
/// was compared lately.
fn is_fresh(snapshot: &Snapshot, name: &str, reference: &Reference, now: Timestamp) -> bool {
    let Some(repository) = snapshot.repository(&name.to_owned()) else { return false };
    if content::resolve(snapshot, &repository.id, reference).is_none() {
        return false;
    }
    let Reference::Tag(tag) = reference else { return true };
    let checked = content::tag(snapshot, &repository.id, tag).and_then(|tag| tag.checked_at);
    checked.is_none_or(|at| now.as_millis().saturating_sub(at.as_millis()) < CHECK_MS)
}

/// A rule's upstream, with what its secret says.
///
/// # Errors
/// If the secret can't be used.
pub(crate) fn upstream(
    app: &App,
    rule: &PullThroughRule,
    repository: String,
) -> Result<Upstream, RemoteError> {
    let login = match &rule.credential_arn {
        None => None,
        Some(arn) => Some(login(app, arn).map_err(|text| RemoteError {
            failure: RemoteFailure::Denied,
            code: "UPSTREAM_CREDENTIALS".to_owned(),
            text,
        })?),
    };
    Ok(Upstream { host: rule.upstream.clone(), repository, login })
}

/// The name and token of a secret, in the form that ECR wants.
fn login(app: &App, arn: &str) -> Result<RemoteLogin, String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Content {
        username: String,
        access_token: zeroize::Zeroizing<String>,
    }
    let snapshot = app.store().snapshot();
    let text = secretsmanager::current(&snapshot, app.arns(), app.vault(), arn, app.now());
    let text = text.map_err(|error| error.to_string())?;
    let content: Content = serde_json::from_str(&text).map_err(|_| {
        format!("the secret {arn} isn't of the form {{\"username\": …, \"accessToken\": …}}")
    })?;
    Ok(RemoteLogin { username: content.username, secret: content.access_token })
}

async fn fetch(
    app: &Arc<App>,
    name: &str,
    cached: &Cached,
    reference: &Reference,
    is_here: bool,
) -> Result<Option<Arc<Flight>>, ImportError> {
    let remotes = app.remotes().ok_or_else(absent_remotes)?;
    let upstream = upstream(app, &cached.rule, cached.upstream_name.clone());
    let upstream = upstream.map_err(ImportError::Remote)?;
    if let (Reference::Tag(tag), true) = (reference, is_here) {
        if app.registry().imports().was_away(name, tag, app.now(), AWAY_MS) {
            return Ok(None);
        }
        let digest = remotes.digest(&upstream, tag).await.map_err(ImportError::Remote)?;
        if digest.is_some_and(|digest| names(app, name, tag, &digest)) {
            note_check(app, name, tag).await?;
            return Ok(None);
        }
    }
    let sent = remotes.manifest(&upstream, &reference.to_string()).await;
    let sent = sent.map_err(ImportError::Remote)?;
    let repository = repository(app, name).await?;
    let take = Take { app, repository, upstream, tag: tag_of(reference).map(str::to_owned) };
    take.manifest(sent).await
}

fn absent_remotes() -> ImportError {
    ImportError::Remote(RemoteError {
        failure: RemoteFailure::Unavailable,
        code: "UNAVAILABLE".to_owned(),
        text: "this server reaches no other registries".to_owned(),
    })
}

fn tag_of(reference: &Reference) -> Option<&str> {
    match reference {
        Reference::Tag(tag) => Some(tag),
        Reference::Digest(_) => None,
    }
}

/// True if a tag here names this digest.
fn names(app: &App, name: &str, tag: &str, digest: &str) -> bool {
    let snapshot = app.store().snapshot();
    let repository = snapshot.repository(&name.to_owned());
    let found = repository.and_then(|r| content::tag(&snapshot, &r.id, tag));
    found.is_some_and(|found| found.digest == digest)
}

/// Writes down that a tag was compared with the upstream's.
async fn note_check(app: &App, name: &str, tag: &str) -> Result<(), ApiError> {
    commit(app, "compare cached tag", |snapshot| {
        let mut transaction = Transaction::new();
        let repository = snapshot.repository(&name.to_owned());
        let found = repository.and_then(|r| content::tag(snapshot, &r.id, tag));
        if let Some(found) = found {
            let key = RecordKey::ImageTag((found.repository.clone(), found.tag.clone()));
            transaction.read(key.clone(), snapshot.revision_of(&key));
            let checked_at = Some(app.now());
            transaction.put(ImageTag { checked_at, ..ImageTag::clone(found) });
        }
        Ok((transaction, ()))
    })
    .await
}

/// The repository that caches, made if there is none: as a template says, or with ECR's defaults.
async fn repository(app: &App, name: &str) -> Result<Arc<Repository>, ApiError> {
    let snapshot = app.store().snapshot();
    if let Some(repository) = snapshot.repository(&name.to_owned()) {
        return Ok(Arc::clone(repository));
    }
    let template = templates::template_for(&snapshot, name, PULL_THROUGH_CACHE);
    let when = (app.now(), uuid::Uuid::new_v4().as_u64_pair().0);
    templates::create(app, name, template, when).await
}

/// An image that is taken over from an upstream.
struct Take<'a> {
    app: &'a Arc<App>,
    repository: Arc<Repository>,
    upstream: Upstream,
    tag: Option<String>,
}

impl Take<'_> {
    /// Takes a manifest in, or begins the flight of its blobs.
    async fn manifest(self, sent: RemoteManifest) -> Result<Option<Arc<Flight>>, ImportError> {
        let manifest = Manifest::parse(&sent.bytes, sent.media_type.as_deref());
        let manifest = manifest.map_err(|error| ImportError::Put(PutError::Manifest(error)))?;
        let snapshot = self.app.store().snapshot();
        let mut missing: Vec<Descriptor> = manifest.blobs().cloned().collect();
        missing
            .retain(|blob| content::blob(&snapshot, &self.repository.id, &blob.digest).is_none());
        missing.sort_unstable_by_key(|blob| blob.digest.to_string());
        missing.dedup_by(|a, b| a.digest == b.digest);
        if missing.is_empty() {
            let (app, tag) = (self.app, self.tag.as_deref());
            put(app, &self.repository, &sent, tag).await.map_err(ImportError::Put)?;
            return Ok(None);
        }
        let imports = self.app.registry().imports();
        let mut blobs = Vec::new();
        for blob in missing {
            let (flight, is_new) = imports.blob_flight(&self.repository.name, &blob);
            if is_new {
                tokio::spawn(carry(
                    Arc::clone(self.app),
                    Arc::clone(&self.repository),
                    self.upstream.clone(),
                    Arc::clone(&flight),
                ));
            }
            blobs.push(flight);
        }
        let digest = Digest::of(&sent.bytes).to_string();
        let flight = Arc::new(Flight {
            digest: digest.clone(),
            bytes: sent.bytes.clone(),
            media_type: manifest.media_type,
        });
        let mut keys = vec![digest];
        keys.extend(self.tag.clone());
        imports.begin(&self.repository.name, &keys, &flight);
        tokio::spawn(land(Arc::clone(self.app), self.repository, (sent, self.tag), blobs, keys));
        Ok(Some(flight))
    }
}

async fn put(
    app: &Arc<App>,
    repository: &Arc<Repository>,
    sent: &RemoteManifest,
    tag: Option<&str>,
) -> Result<(), PutError> {
    let put = Put {
        repository,
        bytes: sent.bytes.clone(),
        content_type: sent.media_type.as_deref(),
        digest: None,
        tag,
        origin: Origin::Cached,
    };
    manifests::put(app, put).await.map(|_| ())
}

/// Waits for all blobs of an image. Those that are here are counted on meanwhile, however long it takes.
async fn whole(
    app: &App,
    repository: &Repository,
    blobs: &[Arc<BlobFlight>],
) -> Result<(), String> {
    let mut whole = Ok(());
    for (n, blob) in blobs.iter().enumerate() {
        loop {
            match tokio::time::timeout(ASSERTED, blob.ended()).await {
                Ok(Ok(())) => break,
                Ok(Err(why)) => {
                    whole = Err(format!("blob {}: {why}", blob.digest()));
                    break;
                }
                Err(_) => {
                    for here in &blobs[..n] {
                        let digest = here.digest().to_string();
                        app.registry().assert_blob(&repository.id, &digest, app.now());
                    }
                }
            }
        }
    }
    whole
}

/// Waits for an image's blobs, and makes it a record.
async fn land(
    app: Arc<App>,
    repository: Arc<Repository>,
    (sent, tag): (RemoteManifest, Option<String>),
    blobs: Vec<Arc<BlobFlight>>,
    keys: Vec<String>,
) {
    let done = match whole(&app, &repository, &blobs).await {
        Ok(()) => {
            let done = put(&app, &repository, &sent, tag.as_deref()).await;
            done.map_err(|error| format!("{error:?}"))
        }
        Err(why) => Err(why),
    };
    match done {
        Ok(()) => tracing::info!(repository = repository.name, ?keys, "image pulled through"),
        Err(error) => {
            tracing::warn!(repository = repository.name, ?keys, error, "an image wasn't kept");
        }
    }
    app.registry().imports().end(&repository.name, &keys, &blobs);
}

/// Fetches one blob.
async fn carry(
    app: Arc<App>,
    repository: Arc<Repository>,
    upstream: Upstream,
    flight: Arc<BlobFlight>,
) {
    let _place = flight.place(app.registry().imports()).await;
    let carried = carry_in(&app, &repository, &upstream, &flight).await;
    flight.end(carried);
}

async fn carry_in(
    app: &Arc<App>,
    repository: &Arc<Repository>,
    upstream: &Upstream,
    flight: &BlobFlight,
) -> Result<(), String> {
    let uploads = app.registry().uploads();
    let (id, owner) = (flight.upload(), repository.id.as_str());
    uploads.begin(id, owner).await.map_err(|error| error.to_string())?;
    let mut writer = uploads.writer(id, owner).await.map_err(|error| error.to_string())?;
    let mut attempt = 1;
    while let Err(error) = receive(app, upstream, flight, &mut writer).await {
        if attempt == ATTEMPTS || error.failure != RemoteFailure::Unavailable {
            drop(writer);
            // What is left of it expires otherwise.
            let _ = uploads.cancel(id, owner).await;
            return Err(error.text);
        }
        tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
        attempt += 1;
    }
    let _adding = app.registry().adding().await;
    let size = uploads.finish(writer, flight.digest()).await.map_err(|error| error.to_string())?;
    let linked = content::link(app, repository, flight.digest(), size).await;
    linked.map_err(|error| match error {
        Some(error) => error.to_string(),
        None => "the repository is gone".to_owned(),
    })
}

/// Receives what is missing of a blob.
async fn receive(
    app: &App,
    upstream: &Upstream,
    flight: &BlobFlight,
    writer: &mut UploadWriter,
) -> Result<(), RemoteError> {
    let broken = |failure, text: String| RemoteError { failure, code: String::new(), text };
    let remotes = app.remotes().ok_or_else(|| {
        broken(RemoteFailure::Other, "this server reaches no other registries".to_owned())
    })?;
    let mut blob = remotes.blob(upstream, flight.digest(), writer.size()).await?;
    let mut skip =
        usize::try_from(writer.size().saturating_sub(blob.offset())).unwrap_or(usize::MAX);
    let mut gathered = BytesMut::new();
    let counted = app.metrics().blob_bytes_in();
    loop {
        let next = blob.next().await;
        let is_end = !matches!(next, Ok(Some(_)));
        if let Ok(Some(bytes)) = &next {
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            gathered.extend_from_slice(&bytes[skipped..]);
        }
        let size = writer.size() + gathered.len() as u64;
        if size > flight.size() {
            let text = format!("it has more than the {} bytes that were said", flight.size());
            return Err(broken(RemoteFailure::Other, text));
        }
        if !gathered.is_empty() && (is_end || gathered.len() >= WRITE_BYTES) {
            counted.inc_by(gathered.len() as u64);
            let appended = writer.append(gathered.split().freeze()).await;
            appended.map_err(|error| broken(RemoteFailure::Other, error.to_string()))?;
            flight.arrived(writer.size());
        }
        match next {
            Ok(Some(_)) => {}
            Ok(None) if size < flight.size() => {
                let text = format!("it ended after {size} of {} bytes", flight.size());
                return Err(broken(RemoteFailure::Unavailable, text));
            }
            Ok(None) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// A blob of a repository that is still on its way.
pub(crate) fn reader(
    app: &Arc<App>,
    repository: &str,
    digest: &Digest,
) -> Option<Box<dyn BlobReader>> {
    let imports: &Imports = app.registry().imports();
    let flight = imports.find_blob(repository, digest)?;
    Some(Box::new(super::flight::FlightReader::new(app, flight)))
}
