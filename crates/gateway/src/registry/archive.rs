//! The archive storage class: images that stay, and can't be pulled until they are restored. Their
//! bytes don't move, so that a restoration is done at once.

use super::content::{self, commit, image};
use crate::app::App;
use crate::error::ApiError;
use wharf_model::{RegistryImage, Timestamp, Transaction};

/// Why an image doesn't move.
#[derive(Debug)]
pub(crate) enum MoveError {
    /// It isn't there.
    Unknown,
    /// These indexes refer to it and aren't archived.
    Referenced(Vec<String>),
    /// The journal.
    Api(ApiError),
}

impl From<ApiError> for MoveError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// An image out of the archive.
pub(super) fn restored(image: &RegistryImage, now: Timestamp) -> RegistryImage {
    RegistryImage { is_archived: false, activated_at: Some(now), ..image.clone() }
}

/// Moves an image into the archive, or out of it; one that is there stays as it is.
///
/// # Errors
/// See [`MoveError`].
pub(crate) async fn set(
    app: &App,
    repository: &str,
    digest: &str,
    archived: bool,
    now: Timestamp,
) -> Result<(), MoveError> {
    commit(app, "update storage class", |snapshot| {
        let known = image(snapshot, repository, digest).ok_or(MoveError::Unknown)?;
        if known.is_archived == archived {
            return Ok((Transaction::new(), ()));
        }
        let mut transaction = Transaction::new();
        let key = content::image_key(repository, digest);
        transaction.read(key.clone(), snapshot.revision_of(&key));
        if !archived {
            transaction.put(restored(known, now));
            return Ok((transaction, ()));
        }
        let indexes = snapshot.registry_images(repository).filter(|index| {
            !index.is_archived && index.manifests.iter().any(|member| member == digest)
        });
        let indexes: Vec<String> = indexes.map(|index| index.digest.clone()).collect();
        if !indexes.is_empty() {
            return Err(MoveError::Referenced(indexes));
        }
        let image = RegistryImage::clone(known);
        transaction.put(RegistryImage { is_archived: true, archived_at: Some(now), ..image });
        Ok((transaction, ()))
    })
    .await
}
