//! Records of the image registry: repositories, and what is in them.
//!
//! Images, tags and blobs are filed under their repository's id and not under its name, so that one
//! record's deletion makes all of them unreachable at once; what is left of them is swept later, and a
//! new repository of the same name begins empty.

use crate::tag::Tag;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repository {
    /// Its name.
    pub name: String,
    /// What its images, tags and blobs are filed under; never used again.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// API `imageTagMutability`.
    pub tag_mutability: String,
    /// Wildcards of API `imageTagMutabilityExclusionFilters`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclusion_filters: Vec<String>,
    /// API `scanOnPush`.
    #[serde(default)]
    pub scan_on_push: bool,
    /// Its tags, of the kind that resources have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Its policy, as it was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Its lifecycle policy, as it was put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_policy: Option<String>,
}

/// A manifest or an index in a repository. Its bytes are a blob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegistryImage {
    /// The repository's id.
    #[serde(rename = "r")]
    pub repository: String,
    /// Digest of its bytes.
    #[serde(rename = "d")]
    pub digest: String,
    /// Its media type.
    #[serde(rename = "t")]
    pub media_type: String,
    /// Bytes of the manifest.
    #[serde(rename = "s")]
    pub manifest_bytes: u64,
    /// Bytes of what it refers to: configuration and layers.
    #[serde(rename = "c")]
    pub content_bytes: u64,
    /// What kind of artifact it is.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Digest of the manifest that it is about.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How deep it is nested: 0 for a manifest, one more than its deepest member for an index.
    #[serde(rename = "n", default)]
    pub depth: u32,
    /// Digests of the blobs that it needs.
    #[serde(rename = "b", default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<String>,
    /// Digests of the manifests that it needs.
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<String>,
    /// When it was pushed first.
    #[serde(rename = "p")]
    pub pushed_at: Timestamp,
    /// When it was last pulled, to within a day.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub pulled_at: Option<Timestamp>,
}

/// A tag in a repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageTag {
    /// The repository's id.
    #[serde(rename = "r")]
    pub repository: String,
    /// The tag.
    #[serde(rename = "t")]
    pub tag: String,
    /// Digest of the manifest that it names.
    #[serde(rename = "d")]
    pub digest: String,
}

/// A blob that a repository has: whoever may read the repository may read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepositoryBlob {
    /// The repository's id.
    #[serde(rename = "r")]
    pub repository: String,
    /// The blob's digest.
    #[serde(rename = "d")]
    pub digest: String,
    /// Bytes.
    #[serde(rename = "s")]
    pub bytes: u64,
    /// Since when the repository has it.
    #[serde(rename = "p")]
    pub since: Timestamp,
}
