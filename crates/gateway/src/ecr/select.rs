//! Images that a request names by digest, by tag or by both, and why one of them isn't found.

use crate::registry::content;
use std::sync::Arc;
use wharf_model::{RegistryImage, Snapshot};
use wharf_registry::Digest;
use wharf_wire::ecr::types::{ImageFailure, ImageFailureCode, ImageIdentifier};

/// A failure of one image of a request.
pub(super) fn failure(
    id: &ImageIdentifier,
    code: ImageFailureCode,
    reason: impl Into<String>,
) -> ImageFailure {
    ImageFailure {
        image_id: Some(id.clone()),
        failure_code: Some(code),
        failure_reason: Some(reason.into()),
    }
}

/// The image that `id` names.
pub(super) fn find<'a>(
    snapshot: &'a Snapshot,
    repository: &str,
    id: &ImageIdentifier,
) -> Result<&'a Arc<RegistryImage>, ImageFailure> {
    let unknown = || failure(id, ImageFailureCode::ImageNotFound, "Requested image not found");
    if let Some(digest) = &id.image_digest
        && digest.parse::<Digest>().is_err()
    {
        let reason = "Invalid request parameters: image digest should satisfy the regex \
                      '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'";
        return Err(failure(id, ImageFailureCode::InvalidImageDigest, reason));
    }
    match (&id.image_digest, &id.image_tag) {
        (None, None) => {
            let reason = "Invalid request parameters: both tag and digest cannot be null";
            Err(failure(id, ImageFailureCode::MissingDigestAndTag, reason))
        }
        (Some(digest), None) => content::image(snapshot, repository, digest).ok_or_else(unknown),
        (digest, Some(tag)) => {
            let tag = content::tag(snapshot, repository, tag).ok_or_else(unknown)?;
            if digest.as_ref().is_some_and(|digest| *digest != tag.digest) {
                let reason = "Tag does not match digest of the image";
                return Err(failure(id, ImageFailureCode::ImageTagDoesNotMatchDigest, reason));
            }
            content::image(snapshot, repository, &tag.digest).ok_or_else(unknown)
        }
    }
}
