//! Records of the image registry: repositories, and what is in them.
//!
//! Images, tags and blobs are filed under their repository's id and not under its name, so that one
//! record's deletion makes all of them unreachable at once; what is left of them is swept later, and a
//! new repository of the same name begins empty.

use crate::tag::Tag;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// It is in the archive storage class: it can't be pulled.
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_archived: bool,
    /// When it was last archived.
    #[serde(rename = "xa", default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Timestamp>,
    /// When it was last restored.
    #[serde(rename = "xr", default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Timestamp>,
    /// Its last scan.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<ImageScan>,
    /// Its ways to other registries.
    #[serde(rename = "e", default, skip_serializing_if = "Vec::is_empty")]
    pub replications: Vec<Replication>,
}

/// An image's scan for vulnerabilities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageScan {
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// What came of it; none while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ScanOutcome>,
}

/// What came of a scan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ScanOutcome {
    /// It is complete.
    Complete {
        /// When it was.
        at: Timestamp,
        /// How many findings there are of each severity.
        counts: BTreeMap<String, u32>,
        /// Digest of the blob with the findings.
        findings: String,
        /// Of when the vulnerability database is.
        database_at: Timestamp,
    },
    /// It failed.
    Failed {
        /// Why.
        why: String,
    },
}

/// Settings of the registry as a whole; a registry that has never been set has none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RegistrySettings {
    /// Which repositories are scanned when an image is pushed, as wildcards; none means that each
    /// repository says so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan_rules: Option<Vec<ScanRule>>,
    /// Account settings that were put, by name.
    #[serde(default)]
    pub account: BTreeMap<String, String>,
    /// Templates of repositories, by prefix.
    #[serde(default)]
    pub templates: BTreeMap<String, RepositoryTemplate>,
    /// The registry's policy, as it was put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Rules of pull-through caches, by prefix.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pull_through: BTreeMap<String, PullThroughRule>,
    /// Where images are replicated to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replication: Vec<ReplicationRule>,
}

/// Whose images appear below a prefix when they are pulled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PullThroughRule {
    /// API `upstreamRegistryUrl`: `host[:port]`.
    pub upstream: String,
    /// API `upstreamRegistry`, for the registries that have such a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// API `upstreamRepositoryPrefix`.
    pub upstream_prefix: String,
    /// ARN of the secret with a name and a token for the upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_arn: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A rule of the registry's replication.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicationRule {
    /// Where to.
    pub destinations: Vec<RegistryKey>,
    /// What the names of the repositories begin with; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
}

/// Another registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RegistryKey {
    /// Its account.
    #[serde(rename = "a")]
    pub account: String,
    /// Its region.
    #[serde(rename = "g")]
    pub region: String,
}

/// An image's way to another registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replication {
    /// Where to.
    #[serde(flatten)]
    pub to: RegistryKey,
    /// Since when it is wanted there as it is now.
    #[serde(rename = "s")]
    pub since: Timestamp,
    /// What came of it; none while it is on its way.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ReplicationOutcome>,
}

/// What came of a replication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicationOutcome {
    /// It is there.
    Complete,
    /// It was given up.
    Failed {
        /// Why: an error code.
        code: String,
    },
}

/// A rule of the registry's scanning configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScanRule {
    /// API `scanFrequency`.
    pub frequency: String,
    /// Wildcards of repositories' names.
    pub filters: Vec<String>,
}

/// What repositories look like that come into being by themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepositoryTemplate {
    /// What their names begin with, or `ROOT`.
    pub prefix: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Their tags, of the kind that resources have.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// API `imageTagMutability`.
    pub tag_mutability: String,
    /// Wildcards of API `imageTagMutabilityExclusionFilters`.
    #[serde(default)]
    pub exclusion_filters: Vec<String>,
    /// Their policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Their lifecycle policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_policy: Option<String>,
    /// API `appliedFor`.
    pub applied_for: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl RegistrySettings {
    /// What the one record of them is filed under.
    pub const KEY: &str = "settings";
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
    /// When a pull-through cache last asked its upstream for it; none for a tag that was pushed.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
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
