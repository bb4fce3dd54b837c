//! What of the image registry is in a snapshot.

use super::{Snapshot, values, within};
use crate::repository::{ImageTag, RegistryImage, Repository, RepositoryBlob};
use std::sync::Arc;

impl Snapshot {
    /// All image repositories by name.
    pub fn repositories(&self) -> impl Iterator<Item = &Arc<Repository>> {
        values(&self.repositories)
    }

    /// The manifests of a repository by digest.
    pub fn registry_images<'a>(
        &'a self,
        repository: &'a str,
    ) -> impl Iterator<Item = &'a Arc<RegistryImage>> {
        within(&self.registry_images, repository, "")
    }

    /// The tags of a repository by name, from behind `after` on.
    pub fn image_tags<'a>(
        &'a self,
        repository: &'a str,
        after: &'a str,
    ) -> impl Iterator<Item = &'a Arc<ImageTag>> {
        within(&self.image_tags, repository, after).skip_while(move |tag| tag.tag == after)
    }

    /// The blobs of a repository by digest.
    pub fn repository_blobs<'a>(
        &'a self,
        repository: &'a str,
    ) -> impl Iterator<Item = &'a Arc<RepositoryBlob>> {
        within(&self.repository_blobs, repository, "")
    }

    /// All manifests of all repositories, also of those that are gone.
    pub fn all_registry_images(&self) -> impl Iterator<Item = &Arc<RegistryImage>> {
        values(&self.registry_images)
    }

    /// All tags of all repositories, also of those that are gone.
    pub fn all_image_tags(&self) -> impl Iterator<Item = &Arc<ImageTag>> {
        values(&self.image_tags)
    }

    /// All blobs of all repositories, also of those that are gone.
    pub fn all_repository_blobs(&self) -> impl Iterator<Item = &Arc<RepositoryBlob>> {
        values(&self.repository_blobs)
    }
}
