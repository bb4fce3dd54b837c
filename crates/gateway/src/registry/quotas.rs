//! How much a repository may hold.

use crate::error::ApiError;
use wharf_model::Snapshot;

/// The code of ECR's exception, which both of the registry's fronts know.
pub(crate) const LIMIT_EXCEEDED: &str = "LimitExceededException";

/// How much a repository may hold: ECR's quotas unless told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Images of one repository.
    pub images: usize,
    /// Tags of one image.
    pub tags_of_image: usize,
    /// Bytes of one repository: its blobs, whatever else has them, and its manifests. ECR has no such
    /// quota.
    pub bytes: Option<u64>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { images: 20_000, tags_of_image: 1_000, bytes: None }
    }
}

/// A repository has no room for more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the repository has {has} bytes, {more} more would exceed the quota of {quota} bytes that this \
     registry's operator has set"
)]
pub(crate) struct QuotaExceeded {
    has: u64,
    more: u64,
    quota: u64,
}

impl From<QuotaExceeded> for ApiError {
    fn from(exceeded: QuotaExceeded) -> Self {
        Self::new(LIMIT_EXCEEDED, 400, exceeded.to_string())
    }
}

impl Quotas {
    /// Demands that a repository has room for so many bytes more.
    pub(super) fn demand_room(
        &self,
        snapshot: &Snapshot,
        repository: &str,
        more: u64,
    ) -> Result<(), QuotaExceeded> {
        let Some(quota) = self.bytes else { return Ok(()) };
        let blobs = snapshot.repository_blobs(repository).map(|blob| blob.bytes);
        let manifests = snapshot.registry_images(repository).map(|image| image.manifest_bytes);
        let has = blobs.chain(manifests).fold(0_u64, u64::saturating_add);
        match has.saturating_add(more) > quota {
            true => Err(QuotaExceeded { has, more, quota }),
            false => Ok(()),
        }
    }
}
