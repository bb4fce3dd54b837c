//! Repositories' content: found, linked, removed.

use crate::app::App;
use crate::dispatch::{MAX_ATTEMPTS, commit_failed};
use crate::error::ApiError;
use std::collections::BTreeSet;
use std::sync::Arc;
use wharf_journal::StoreError;
use wharf_model::{
    ImageTag, RecordKey, RegistryImage, Repository, RepositoryBlob, Snapshot, Timestamp,
    Transaction,
};
use wharf_registry::Digest;
use wharf_registry::route::Reference;

/// Records in one transaction at most, with room for what belongs to them.
pub(crate) const BATCH: usize = 80;
/// How long after a pull the next one is written down.
const PULL_RECORD_MS: i64 = 24 * 3600 * 1000;

/// Commits what `decide` wants, and decides anew when something changed meanwhile.
///
/// # Errors
/// What `decide` says, or that the journal takes nothing.
pub(crate) async fn commit<T, E: From<ApiError>>(
    app: &App,
    what: &str,
    mut decide: impl FnMut(&Snapshot) -> Result<(Transaction, T), E>,
) -> Result<T, E> {
    for _ in 0..MAX_ATTEMPTS {
        let snapshot = app.store().snapshot();
        let (transaction, outcome) = decide(&snapshot)?;
        if transaction.is_empty() {
            return Ok(outcome);
        }
        match app.store().commit(transaction).await {
            Ok(_) => return Ok(outcome),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(commit_failed(what, &error).into()),
        }
    }
    tracing::warn!(what, "gave up after {MAX_ATTEMPTS} conflicts");
    Err(ApiError::server().into())
}

/// Demands that a repository is what it was.
pub(crate) fn read_repository(
    snapshot: &Snapshot,
    transaction: &mut Transaction,
    repository: &Repository,
) -> bool {
    let there = snapshot.repository(&repository.name).is_some_and(|r| r.id == repository.id);
    let key = RecordKey::Repository(repository.name.clone());
    let revision = snapshot.revision_of(&key);
    transaction.read(key, revision);
    there
}

/// The key of an image's record.
pub(crate) fn image_key(repository: &str, digest: &str) -> RecordKey {
    RecordKey::RegistryImage((repository.to_owned(), digest.to_owned()))
}

/// The image of a repository with this digest.
pub(crate) fn image<'a>(
    snapshot: &'a Snapshot,
    repository: &str,
    digest: &str,
) -> Option<&'a Arc<RegistryImage>> {
    snapshot.registry_image(&(repository.to_owned(), digest.to_owned()))
}

/// The tag of a repository with this name.
pub(crate) fn tag<'a>(
    snapshot: &'a Snapshot,
    repository: &str,
    tag: &str,
) -> Option<&'a Arc<ImageTag>> {
    snapshot.image_tag(&(repository.to_owned(), tag.to_owned()))
}

/// The blob of a repository with this digest.
pub(crate) fn blob<'a>(
    snapshot: &'a Snapshot,
    repository: &str,
    digest: &Digest,
) -> Option<&'a Arc<RepositoryBlob>> {
    snapshot.repository_blob(&(repository.to_owned(), digest.to_string()))
}

/// The image of a repository that a tag or digest names.
pub(crate) fn resolve<'a>(
    snapshot: &'a Snapshot,
    repository: &str,
    reference: &Reference,
) -> Option<&'a Arc<RegistryImage>> {
    match reference {
        Reference::Digest(digest) => image(snapshot, repository, &digest.to_string()),
        Reference::Tag(name) => {
            image(snapshot, repository, &tag(snapshot, repository, name)?.digest)
        }
    }
}

/// Digests that such indexes of the repository refer to.
pub(crate) fn in_indexes(
    snapshot: &Snapshot,
    repository: &str,
    such: impl Fn(&RegistryImage) -> bool,
) -> BTreeSet<String> {
    let indexes = snapshot.registry_images(repository).filter(|image| such(image));
    indexes.flat_map(|image| image.manifests.iter().cloned()).collect()
}

/// Gives a repository a blob that is in the store. The caller is [`super::ImageRegistry::adding`].
///
/// # Errors
/// `None` if the repository is gone.
pub(crate) async fn link(
    app: &App,
    repository: &Repository,
    digest: &Digest,
    bytes: u64,
) -> Result<(), Option<ApiError>> {
    let now = app.now();
    let digest = digest.to_string();
    let quotas = app.registry().quotas();
    let linked = commit(app, "link blob", |snapshot| {
        let mut transaction = Transaction::new();
        if !read_repository(snapshot, &mut transaction, repository) {
            return Err(LinkError(None));
        }
        let key = (repository.id.clone(), digest.clone());
        if snapshot.repository_blob(&key).is_some() {
            return Ok((Transaction::new(), ()));
        }
        let room = quotas.demand_room(snapshot, &repository.id, bytes);
        room.map_err(|exceeded| LinkError(Some(exceeded.into())))?;
        let (repository, digest) = key;
        transaction.put(record(RepositoryBlob { repository, digest, bytes, since: now }));
        Ok((transaction, ()))
    });
    linked.await.map_err(|LinkError(error)| error)?;
    app.registry().assert_blob(&repository.id, &digest, now);
    Ok(())
}

struct LinkError(Option<ApiError>);

impl From<ApiError> for LinkError {
    fn from(error: ApiError) -> Self {
        Self(Some(error))
    }
}

/// A record of a kind that has no conversion of its own name.
fn record(blob: RepositoryBlob) -> wharf_model::Record {
    blob.into()
}

/// Why an image stays.
#[derive(Debug)]
pub(crate) enum DeleteError {
    /// It isn't there.
    Unknown,
    /// These indexes refer to it.
    Referenced(Vec<String>),
    /// The journal.
    Api(ApiError),
}

impl From<ApiError> for DeleteError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// Removes an image with all its tags.
///
/// # Errors
/// See [`DeleteError`].
pub(crate) async fn delete_image(
    app: &App,
    repository: &str,
    digest: &str,
) -> Result<(), DeleteError> {
    let _removing = app.registry().removing().await;
    let mut done = false;
    while !done {
        done = commit(app, "delete image", |snapshot| {
            if image(snapshot, repository, digest).is_none() {
                return Err(DeleteError::Unknown);
            }
            let indexes: Vec<String> = snapshot
                .registry_images(repository)
                .filter(|index| index.manifests.iter().any(|member| member == digest))
                .map(|index| index.digest.clone())
                .collect();
            if !indexes.is_empty() {
                return Err(DeleteError::Referenced(indexes));
            }
            let mut transaction = Transaction::new();
            let tags = snapshot.tags_of_image(repository, digest);
            let mut tags = tags.map(|tag| (repository.to_owned(), tag.clone()));
            for key in tags.by_ref().take(BATCH) {
                let key = RecordKey::ImageTag(key);
                let revision = snapshot.revision_of(&key);
                transaction.read(key.clone(), revision);
                transaction.delete(key);
            }
            // With more tags than a transaction takes, the image goes with the last of them.
            let last = tags.next().is_none();
            if last {
                transaction.delete(image_key(repository, digest));
            }
            Ok::<_, DeleteError>((transaction, last))
        })
        .await?;
    }
    Ok(())
}

/// Removes a tag.
///
/// # Errors
/// [`DeleteError::Unknown`] if there is none.
pub(crate) async fn delete_tag(app: &App, repository: &str, name: &str) -> Result<(), DeleteError> {
    commit(app, "delete tag", |snapshot| {
        let key = RecordKey::ImageTag((repository.to_owned(), name.to_owned()));
        if tag(snapshot, repository, name).is_none() {
            return Err(DeleteError::Unknown);
        }
        let mut transaction = Transaction::new();
        transaction.read(key.clone(), snapshot.revision_of(&key));
        transaction.delete(key);
        Ok::<_, DeleteError>((transaction, ()))
    })
    .await
}

/// Takes a blob from a repository that none of its images needs.
///
/// # Errors
/// [`DeleteError::Unknown`] if it hasn't got it, [`DeleteError::Referenced`] if an image needs it.
pub(crate) async fn unlink(
    app: &App,
    repository: &str,
    digest: &Digest,
) -> Result<(), DeleteError> {
    let _removing = app.registry().removing().await;
    let digest = digest.to_string();
    commit(app, "unlink blob", |snapshot| {
        let key = (repository.to_owned(), digest.clone());
        if snapshot.repository_blob(&key).is_none() {
            return Err(DeleteError::Unknown);
        }
        let images: Vec<String> = snapshot
            .registry_images(repository)
            .filter(|image| image.blobs.contains(&digest))
            .map(|image| image.digest.clone())
            .collect();
        if !images.is_empty() {
            return Err(DeleteError::Referenced(images));
        }
        let mut transaction = Transaction::new();
        transaction.delete(RecordKey::RepositoryBlob(key));
        Ok((transaction, ()))
    })
    .await
}

/// Writes down that an image was pulled, at most once a day, behind the answer's back.
pub(crate) fn note_pull(app: &Arc<App>, image: &RegistryImage, now: Timestamp) {
    let recent = |at: Timestamp| now.as_millis().saturating_sub(at.as_millis()) < PULL_RECORD_MS;
    if image.pulled_at.is_some_and(recent) {
        return;
    }
    let (app, key) = (Arc::clone(app), (image.repository.clone(), image.digest.clone()));
    tokio::spawn(async move {
        let noted = commit(&app, "note pull", |snapshot| {
            let mut transaction = Transaction::new();
            if let Some(image) = snapshot.registry_image(&key) {
                let mut image = RegistryImage::clone(image);
                let record = RecordKey::RegistryImage(key.clone());
                transaction.read(record.clone(), snapshot.revision_of(&record));
                image.pulled_at = Some(now);
                transaction.put(image);
            }
            Ok::<_, ApiError>((transaction, ()))
        });
        if let Err(error) = noted.await {
            tracing::debug!(%error, "a pull couldn't be written down");
        }
    });
}

/// The bytes of a manifest; none if they are lost.
///
/// # Errors
/// If the store fails.
pub(crate) async fn manifest_bytes(
    app: &App,
    digest: &str,
) -> Result<Option<bytes::Bytes>, wharf_registry::Error> {
    let Ok(digest) = digest.parse::<Digest>() else { return Ok(None) };
    let Some(reader) = app.registry().storage().open(&digest).await? else { return Ok(None) };
    let limit = wharf_registry::manifest::MAX_MANIFEST_BYTES;
    let bytes = reader.read(0, usize::try_from(reader.size()).unwrap_or(limit).min(limit)).await?;
    Ok(Some(bytes))
}

/// Digests of the images whose subject is `subject`.
pub(crate) fn referrers(snapshot: &Snapshot, repository: &str, subject: &str) -> Vec<String> {
    let images = snapshot.registry_images(repository);
    let about = images.filter(|image| image.subject.as_deref() == Some(subject));
    about.map(|image| image.digest.clone()).collect()
}
