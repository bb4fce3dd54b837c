//! Putting a manifest: what must be there with it, and the tag that it gets.

use super::content::{self, commit, image, read_repository, tag};
use super::events::{self, Action};
use super::{QuotaExceeded, archive, replication, scan};
use crate::app::App;
use crate::error::ApiError;
use bytes::Bytes;
use std::sync::Arc;
use wharf_model::{
    ImageScan, ImageTag, RecordKey, RegistryImage, Repository, Snapshot, Timestamp, Transaction,
};
use wharf_registry::Digest;
use wharf_registry::manifest::{self, MAX_DEPTH, Manifest};
use wharf_registry::mutability::Mutability;

/// A manifest on its way into a repository.
pub(crate) struct Put<'a> {
    /// The repository.
    pub repository: &'a Arc<Repository>,
    /// Its bytes.
    pub bytes: Bytes,
    /// The media type that it was sent with.
    pub content_type: Option<&'a str>,
    /// Its digest, if the caller says one.
    pub digest: Option<&'a Digest>,
    /// Its tag.
    pub tag: Option<&'a str>,
    /// How it came here.
    pub origin: Origin,
}

/// How an image came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client has pushed it.
    Pushed,
    /// Another registry has replicated it: it goes no further.
    Replicated,
    /// It was pulled through: what an index refers to comes when it is asked for.
    Cached,
}

/// A manifest that is in.
pub(crate) struct Done {
    /// Its record.
    pub image: RegistryImage,
    /// True if it was there before, under the same tag.
    pub was_there: bool,
}

/// Why a manifest isn't taken.
#[derive(Debug)]
pub(crate) enum PutError {
    /// It isn't one.
    Manifest(manifest::Error),
    /// It has another digest than was said.
    Digest {
        /// The digest that it has.
        found: Digest,
    },
    /// Blobs that it needs aren't in the repository.
    BlobsUnknown(Vec<String>),
    /// Manifests that it needs aren't in the repository.
    ManifestsUnknown(Vec<String>),
    /// Indexes of indexes, too deep.
    TooDeep,
    /// The tag names another image and may not be moved.
    TagImmutable(String),
    /// The repository or the image holds as much as it may.
    Quota(String),
    /// The repository is gone.
    RepositoryUnknown,
    /// The store.
    Store(wharf_registry::Error),
    /// The journal.
    Api(ApiError),
}

impl From<QuotaExceeded> for PutError {
    fn from(exceeded: QuotaExceeded) -> Self {
        Self::Quota(exceeded.to_string())
    }
}

impl From<ApiError> for PutError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// A repository's rule about its tags.
pub(crate) fn mutability(repository: &Repository) -> Mutability {
    match repository.tag_mutability.as_str() {
        "IMMUTABLE" => Mutability::Immutable,
        "IMMUTABLE_WITH_EXCLUSION" => Mutability::ImmutableWithExclusion,
        "MUTABLE_WITH_EXCLUSION" => Mutability::MutableWithExclusion,
        _ => Mutability::Mutable,
    }
}

/// Puts a manifest: its bytes first, then its records.
///
/// # Errors
/// See [`PutError`].
pub(crate) async fn put(app: &Arc<App>, put: Put<'_>) -> Result<Done, PutError> {
    let manifest = Manifest::parse(&put.bytes, put.content_type).map_err(PutError::Manifest)?;
    let algorithm = put.digest.map_or(wharf_registry::digest::Algorithm::Sha256, Digest::algorithm);
    let digest = Digest::with(algorithm, &put.bytes);
    if put.digest.is_some_and(|said| *said != digest) {
        return Err(PutError::Digest { found: digest });
    }
    let _adding = app.registry().adding().await;
    // What is missing is told before anything is written.
    check(&app.store().snapshot(), &put, &manifest)?;
    app.registry().storage().put(&digest, put.bytes.clone()).await.map_err(PutError::Store)?;
    let now = app.now();
    let quotas = app.registry().quotas();
    let done = commit(app, "put image", |snapshot| {
        let mut transaction = Transaction::new();
        if !read_repository(snapshot, &mut transaction, put.repository) {
            return Err(PutError::RepositoryUnknown);
        }
        let (depth, content_bytes) = check(snapshot, &put, &manifest)?;
        let name = digest.to_string();
        let known = image(snapshot, &put.repository.id, &name);
        let mut was_there = known.is_some_and(|known| !known.is_archived);
        let record = match known {
            // Pushing it again takes it out of the archive.
            Some(known) if known.is_archived => archive::restored(known, now),
            Some(known) => RegistryImage::clone(known),
            None => {
                let bytes = (put.bytes.len() as u64, content_bytes);
                let mut record =
                    new_record(&put.repository.id, name.clone(), &manifest, depth, bytes, now);
                if scan::is_scannable(&record) && scan::on_push(snapshot, put.repository) {
                    record.scan = Some(ImageScan { asked_at: now, outcome: None });
                }
                record
            }
        };
        // Also where it is known: whoever deletes it meanwhile makes this decide anew.
        let key = content::image_key(&put.repository.id, &name);
        transaction.read(key.clone(), snapshot.revision_of(&key));
        if known.is_none() && snapshot.registry_images(&put.repository.id).count() >= quotas.images
        {
            let text = format!("a repository holds at most {} images", quotas.images);
            return Err(PutError::Quota(text));
        }
        if known.is_none() {
            quotas.demand_room(snapshot, &put.repository.id, put.bytes.len() as u64)?;
        }
        if let Some(text) = put.tag {
            let same = set_tag(snapshot, &mut transaction, &put, (text, &name), now)?;
            was_there &= same;
            let of_image = snapshot.tags_of_image(&put.repository.id, &name);
            if !same && of_image.count() >= quotas.tags_of_image {
                let text = format!("an image has at most {} tags", quotas.tags_of_image);
                return Err(PutError::Quota(text));
            }
        }
        let mut record = record;
        if put.origin == Origin::Pushed && !was_there {
            replication::want(snapshot, app.arns(), &put.repository.name, &mut record, now);
        }
        if known.is_none_or(|known| **known != record) {
            transaction.put(record.clone());
        }
        Ok((transaction, Done { image: record, was_there }))
    })
    .await?;
    if done.image.scan.as_ref().is_some_and(|scan| scan.asked_at == now && scan.outcome.is_none()) {
        scan::begin(app, &done.image);
    }
    if !done.was_there && put.origin != Origin::Cached {
        replication::begin(app, &done.image);
        events::image(app, put.repository, Action::Push, &done.image.digest, put.tag);
    }
    Ok(done)
}

/// Names `digest` by `text`; true if it was named so before.
fn set_tag(
    snapshot: &Snapshot,
    transaction: &mut Transaction,
    put: &Put<'_>,
    (text, digest): (&str, &str),
    now: Timestamp,
) -> Result<bool, PutError> {
    let repository = put.repository;
    let checked_at = Some(now).filter(|_| put.origin == Origin::Cached);
    let key = RecordKey::ImageTag((repository.id.clone(), text.to_owned()));
    transaction.read(key.clone(), snapshot.revision_of(&key));
    match tag(snapshot, &repository.id, text) {
        Some(present) if present.digest == digest => {
            if put.origin == Origin::Cached {
                transaction.put(ImageTag { checked_at, ..ImageTag::clone(present) });
            }
            return Ok(true);
        }
        Some(_) if !mutability(repository).allows(&repository.exclusion_filters, text) => {
            return Err(PutError::TagImmutable(text.to_owned()));
        }
        _ => {}
    }
    transaction.put(ImageTag {
        repository: repository.id.clone(),
        tag: text.to_owned(),
        digest: digest.to_owned(),
        checked_at,
    });
    Ok(false)
}

/// Demands that everything is there that a manifest needs: its depth, and the bytes of its content.
fn check(snapshot: &Snapshot, put: &Put<'_>, manifest: &Manifest) -> Result<(u32, u64), PutError> {
    let repository = put.repository;
    let mut bytes: u64 = 0;
    let mut missing = Vec::new();
    for descriptor in manifest.blobs() {
        match content::blob(snapshot, &repository.id, &descriptor.digest) {
            // A descriptor that lies about the size would have clients fail later.
            Some(blob) if blob.bytes == descriptor.size => bytes = bytes.saturating_add(blob.bytes),
            _ => missing.push(descriptor.digest.to_string()),
        }
    }
    if !missing.is_empty() {
        return Err(PutError::BlobsUnknown(missing));
    }
    let mut depth = 0;
    for member in &manifest.manifests {
        match image(snapshot, &repository.id, &member.digest.to_string()) {
            Some(image) if image.manifest_bytes == member.size => {
                depth = depth.max(image.depth + 1);
                bytes = bytes.saturating_add(image.content_bytes);
            }
            // The others are fetched when somebody asks for them.
            None if put.origin == Origin::Cached => depth = depth.max(1),
            _ => missing.push(member.digest.to_string()),
        }
    }
    if !missing.is_empty() {
        return Err(PutError::ManifestsUnknown(missing));
    }
    if depth > MAX_DEPTH { Err(PutError::TooDeep) } else { Ok((depth, bytes)) }
}

fn new_record(
    repository: &str,
    digest: String,
    manifest: &Manifest,
    depth: u32,
    (manifest_bytes, content_bytes): (u64, u64),
    now: Timestamp,
) -> RegistryImage {
    let digests = |list: Vec<&manifest::Descriptor>| -> Vec<String> {
        let mut digests: Vec<String> = list.iter().map(|d| d.digest.to_string()).collect();
        digests.sort_unstable();
        digests.dedup();
        digests
    };
    RegistryImage {
        repository: repository.to_owned(),
        digest,
        media_type: manifest.media_type.clone(),
        manifest_bytes,
        content_bytes,
        artifact_type: manifest.artifact_type.clone(),
        subject: manifest.subject.as_ref().map(|subject| subject.digest.to_string()),
        depth,
        blobs: digests(manifest.blobs().collect()),
        manifests: digests(manifest.manifests.iter().collect()),
        pushed_at: now,
        pulled_at: None,
        is_archived: false,
        archived_at: None,
        activated_at: None,
        scan: None,
        replications: Vec::new(),
    }
}
