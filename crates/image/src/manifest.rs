//! Manifests and indexes (OCI and Docker v2.2), parsed strictly.
//!
//! The bytes' digest is checked before they come here. What is checked here is that one body can
//! be read in one way only: its media type agrees with what the registry's header said, and a body
//! that is manifest and index at once is refused (CVE-2021-41190).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{MAX_CONFIG_BYTES, MAX_LAYERS};
use crate::digest::Digest;
use crate::platform::Platform;

/// The largest manifest or index that is read (OCI distribution specification's limit).
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// `application/vnd.oci.image.manifest.v1+json`
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// `application/vnd.oci.image.index.v1+json`
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// `application/vnd.docker.distribution.manifest.v2+json`
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// `application/vnd.docker.distribution.manifest.list.v2+json`
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// `application/vnd.oci.image.config.v1+json`
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// `application/vnd.docker.container.image.v1+json`
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// `application/vnd.oci.image.layer.v1.tar`
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// `application/vnd.oci.image.layer.v1.tar+gzip`
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

const LAYER_TYPES: [&str; 6] = [
    OCI_LAYER,
    OCI_LAYER_GZIP,
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

/// A reference from one blob to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// For which platform it is (in indexes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Annotations; only names are ever read from them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor without platform and annotations.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let annotations = BTreeMap::new();
        Self { media_type: media_type.to_owned(), digest, size, platform: None, annotations }
    }
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The manifest's own media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
}

/// An image index (OCI) or manifest list (Docker).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The index's own media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// One descriptor per platform (and attestations).
    pub manifests: Vec<Descriptor>,
}

/// What a manifest endpoint or an `index.json` may answer with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// One image per platform.
    Index(Index),
}

/// Why a manifest isn't usable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON of the right shape.
    #[error("malformed manifest: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The body is larger than [`MAX_MANIFEST_BYTES`].
    #[error("the manifest has {0} bytes, at most {MAX_MANIFEST_BYTES} are allowed")]
    TooLarge(u64),
    /// A media type that isn't an image manifest or index.
    #[error("unsupported manifest media type \"{0}\"")]
    MediaType(String),
    /// The media types of header, descriptor and body disagree.
    #[error("the manifest says it is \"{body}\" but was announced as \"{announced}\"")]
    Disagreement {
        /// The media type inside the body.
        body: String,
        /// The media type of the header or the descriptor.
        announced: String,
    },
    /// The body has members of a manifest and of an index.
    #[error("ambiguous manifest: it has the members of an image manifest and of an index")]
    Ambiguous,
    /// `schemaVersion` isn't 2.
    #[error("unsupported manifest schemaVersion {0}")]
    SchemaVersion(u64),
    /// More layers than overlay can stack.
    #[error("the image has {0} layers, at most {MAX_LAYERS} are supported")]
    TooManyLayers(usize),
    /// A layer's media type can't be unpacked.
    #[error("unsupported layer media type \"{0}\"")]
    LayerType(String),
    /// The configuration's media type isn't that of a container image.
    #[error("unsupported image configuration media type \"{0}\": not a container image")]
    ConfigType(String),
    /// The configuration is too large.
    #[error("the image configuration has {0} bytes, at most {MAX_CONFIG_BYTES} are allowed")]
    ConfigTooLarge(u64),
    /// No entry of the index fits this host.
    #[error("image Manifest does not contain descriptor matching platform '{0}'")]
    NoPlatform(Platform),
    /// An index whose entry is again an index.
    #[error("the image index refers to another index")]
    NestedIndex,
}

/// The members that decide what a body is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Parses `body`; `announced` is the media type of the header or descriptor that led here.
    pub fn parse(body: &[u8], announced: Option<&str>) -> Result<Self, Error> {
        if body.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(Error::TooLarge(body.len() as u64));
        }
        let probe: Probe = serde_json::from_slice(body)?;
        let manifest_like = probe.layers.is_some() || probe.config.is_some();
        if probe.manifests.is_some() && (manifest_like || probe.fs_layers.is_some()) {
            return Err(Error::Ambiguous);
        }
        match probe.schema_version {
            Some(2) => {}
            other => return Err(Error::SchemaVersion(other.unwrap_or(0))),
        }
        let announced = announced.map(essence).filter(|t| !is_vague(t));
        let kind = match (&probe.media_type, announced) {
            (Some(body), Some(announced)) if *body != announced => {
                return Err(Error::Disagreement { body: body.clone(), announced });
            }
            (Some(body), _) => body.clone(),
            (None, Some(announced)) => announced,
            (None, None) if probe.manifests.is_some() => OCI_INDEX.to_owned(),
            (None, None) => OCI_MANIFEST.to_owned(),
        };
        match kind.as_str() {
            OCI_MANIFEST | DOCKER_MANIFEST => {
                if probe.manifests.is_some() {
                    return Err(Error::Ambiguous);
                }
                let manifest: Manifest = serde_json::from_slice(body)?;
                manifest.check()?;
                Ok(Self::Manifest(manifest))
            }
            OCI_INDEX | DOCKER_LIST => {
                if manifest_like {
                    return Err(Error::Ambiguous);
                }
                Ok(Self::Index(serde_json::from_slice(body)?))
            }
            _ => Err(Error::MediaType(kind)),
        }
    }
}

impl Manifest {
    fn check(&self) -> Result<(), Error> {
        if self.layers.len() > MAX_LAYERS {
            return Err(Error::TooManyLayers(self.layers.len()));
        }
        if !matches!(self.config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG) {
            return Err(Error::ConfigType(self.config.media_type.clone()));
        }
        if self.config.size > MAX_CONFIG_BYTES {
            return Err(Error::ConfigTooLarge(self.config.size));
        }
        match self.layers.iter().find(|l| !LAYER_TYPES.contains(&l.media_type.as_str())) {
            Some(layer) => Err(Error::LayerType(layer.media_type.clone())),
            None => Ok(()),
        }
    }
}

impl Index {
    /// The entry for `platform`: exact variant first, then the best one this CPU can run.
    pub fn select(&self, platform: &Platform) -> Result<&Descriptor, Error> {
        let best = self
            .manifests
            .iter()
            .filter_map(|d| Some((platform.rank(d.platform.as_ref()?)?, d)))
            .min_by_key(|(rank, _)| *rank);
        let chosen = match (best, self.manifests.as_slice()) {
            (Some((_, descriptor)), _) => descriptor,
            // skopeo and buildah write one entry without a platform.
            (None, [only]) if only.platform.is_none() => only,
            (None, _) => return Err(Error::NoPlatform(platform.clone())),
        };
        match chosen.media_type.as_str() {
            OCI_MANIFEST | DOCKER_MANIFEST => Ok(chosen),
            OCI_INDEX | DOCKER_LIST => Err(Error::NestedIndex),
            other => Err(Error::MediaType(other.to_owned())),
        }
    }
}

/// A media type without its parameters.
fn essence(media_type: &str) -> String {
    let end = media_type.find(';').unwrap_or(media_type.len());
    media_type[..end].trim().to_ascii_lowercase()
}

/// Types that plain file servers put on everything: they announce nothing.
fn is_vague(media_type: &str) -> bool {
    matches!(media_type, "application/json" | "application/octet-stream" | "text/plain" | "")
}
