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
        self.registry_images_from(repository, "")
    }

    /// The manifests of a repository by digest, from `digest` on.
    pub fn registry_images_from<'a>(
        &'a self,
        repository: &'a str,
        digest: &'a str,
    ) -> impl Iterator<Item = &'a Arc<RegistryImage>> {
        within(&self.registry_images, repository, digest)
    }

    /// The tags of a repository by name, from behind `after` on.
    pub fn image_tags<'a>(
        &'a self,
        repository: &'a str,
        after: &'a str,
    ) -> impl Iterator<Item = &'a Arc<ImageTag>> {
        within(&self.image_tags, repository, after).skip_while(move |tag| tag.tag == after)
    }

    /// The names of an image's tags, in order: found without a look at any other tag.
    pub fn tags_of_image(&self, repository: &str, digest: &str) -> impl Iterator<Item = &String> {
        let key = (repository.to_owned(), digest.to_owned());
        self.tags_of_images.get(&key).into_iter().flatten()
    }

    /// Keeps the tags by image in step, before the tag with this key becomes `new`.
    pub(super) fn reindex_tag(&mut self, key: &(String, String), new: Option<&ImageTag>) {
        if let Some(old) = self.image_tags.get(key) {
            let of = (key.0.clone(), old.value.digest.clone());
            if let Some(tags) = self.tags_of_images.get_mut(&of) {
                tags.remove(&key.1);
                if tags.is_empty() {
                    self.tags_of_images.remove(&of);
                }
            }
        }
        if let Some(new) = new {
            let of = (key.0.clone(), new.digest.clone());
            self.tags_of_images.entry(of).or_default().insert(key.1.clone());
        }
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
