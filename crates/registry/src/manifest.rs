//! Manifests as a registry reads them: which blobs and manifests one refers to, and what it is.
//!
//! A registry keeps the bytes as they came; what is read here only decides whether they are taken,
//! and what must be there with them. One body can be read in one way only (CVE-2021-41190).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::Digest;

/// The largest manifest, as in the specification and in ECR.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// The most blobs and manifests that one manifest refers to.
pub const MAX_REFERENCES: usize = 1000;
/// The longest media type that is kept.
pub const MAX_MEDIA_TYPE_BYTES: usize = 255;
/// How deep indexes of indexes go.
pub const MAX_DEPTH: u32 = 5;

/// `application/vnd.oci.image.manifest.v1+json`
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// `application/vnd.oci.image.index.v1+json`
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// `application/vnd.docker.distribution.manifest.v2+json`
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// `application/vnd.docker.distribution.manifest.list.v2+json`
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A reference from a manifest to something else.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl Descriptor {
    /// True for a layer that registries needn't have: its licence keeps it from being distributed.
    pub fn is_foreign(&self) -> bool {
        self.media_type.contains("nondistributable") || self.media_type.contains("foreign")
    }
}

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its own media type.
    pub media_type: String,
    /// The configuration; an index has none.
    pub config: Option<Descriptor>,
    /// The layers.
    pub layers: Vec<Descriptor>,
    /// The manifests of an index.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one is about.
    pub subject: Option<Descriptor>,
    /// What kind of artifact it is: `artifactType`, else a manifest's configuration's media type.
    pub artifact_type: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Why a manifest isn't taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too large.
    #[error("manifest has {0} bytes, at most {MAX_MANIFEST_BYTES} are allowed")]
    TooLarge(usize),
    /// Not JSON of the right shape.
    #[error("malformed manifest: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another `schemaVersion` than 2.
    #[error("manifest schemaVersion must be 2")]
    SchemaVersion,
    /// A media type that isn't served.
    #[error("manifest media type \"{0}\" is not supported")]
    MediaType(String),
    /// Header and body disagree.
    #[error("the manifest says it is \"{body}\" but was sent as \"{header}\"")]
    Disagreement {
        /// `mediaType` of the body.
        body: String,
        /// `Content-Type` of the request.
        header: String,
    },
    /// Members of an image manifest and of an index at once, or neither's.
    #[error("the manifest must have either config and layers, or manifests")]
    Ambiguous,
    /// A media type of unreasonable length.
    #[error("a media type of the manifest has more than {MAX_MEDIA_TYPE_BYTES} bytes")]
    LongMediaType,
    /// Too many references.
    #[error("manifest refers to {0} blobs and manifests, at most {MAX_REFERENCES} are allowed")]
    TooManyReferences(usize),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Manifest {
    /// Reads a manifest that was sent with a `Content-Type`, if with any.
    ///
    /// # Errors
    /// If it isn't one that is taken.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, Error> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(Error::TooLarge(bytes.len()));
        }
        let body: Body = serde_json::from_slice(bytes)?;
        if body.schema_version != Some(2) || body.fs_layers.is_some() {
            return Err(Error::SchemaVersion);
        }
        let header = content_type.map(essence).filter(|t| !t.is_empty() && t != "application/json");
        let media_type = match (body.media_type, header) {
            (Some(body), Some(header)) if body != header => {
                return Err(Error::Disagreement { body, header });
            }
            (Some(kind), _) | (None, Some(kind)) => kind,
            (None, None) if body.manifests.is_some() => OCI_INDEX.to_owned(),
            (None, None) => OCI_MANIFEST.to_owned(),
        };
        let is_index = match media_type.as_str() {
            OCI_MANIFEST | DOCKER_MANIFEST => false,
            OCI_INDEX | DOCKER_LIST => true,
            _ => return Err(Error::MediaType(media_type)),
        };
        let image_like = body.config.is_some() || body.layers.is_some();
        if is_index != body.manifests.is_some() || is_index == image_like {
            return Err(Error::Ambiguous);
        }
        if !is_index && (body.config.is_none() || body.layers.is_none()) {
            return Err(Error::Ambiguous);
        }
        let named = body.artifact_type.filter(|text| !text.is_empty());
        let by_config = || body.config.as_ref().map(|config| config.media_type.clone());
        let manifest = Self {
            artifact_type: named.or_else(by_config),
            media_type,
            config: body.config,
            layers: body.layers.unwrap_or_default(),
            manifests: body.manifests.unwrap_or_default(),
            subject: body.subject,
            annotations: body.annotations.unwrap_or_default(),
        };
        if manifest.artifact_type.as_ref().is_some_and(|text| text.len() > MAX_MEDIA_TYPE_BYTES) {
            return Err(Error::LongMediaType);
        }
        let references = manifest.layers.len() + manifest.manifests.len();
        match references > MAX_REFERENCES {
            true => Err(Error::TooManyReferences(references)),
            false => Ok(manifest),
        }
    }

    /// True for an index or manifest list.
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_LIST)
    }

    /// The blobs that must be in the repository: configuration and layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers).filter(|blob| !blob.is_foreign())
    }
}

/// A media type without its parameters, in lower case.
pub fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn blob(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": Digest::of(b"x").to_string(), "size": 1})
    }

    fn parse(body: &Value, header: Option<&str>) -> Result<Manifest, Error> {
        Manifest::parse(body.to_string().as_bytes(), header)
    }

    #[test]
    fn one_body_has_one_reading() {
        let image = json!({"schemaVersion": 2, "config": blob("c"), "layers": [blob("l")]});
        let manifest =
            parse(&image, Some("application/vnd.oci.image.manifest.v1+json; x=y")).unwrap();
        assert_eq!(manifest.artifact_type.as_deref(), Some("c"));
        assert_eq!(manifest.blobs().count(), 2);
        assert!(matches!(parse(&image, Some(OCI_INDEX)), Err(Error::Ambiguous)));
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []});
        assert!(parse(&index, None).unwrap().is_index());
        assert!(matches!(parse(&index, Some(OCI_MANIFEST)), Err(Error::Disagreement { .. })));
        let both = json!({"schemaVersion": 2, "config": blob("c"), "layers": [], "manifests": []});
        for header in [None, Some(OCI_INDEX), Some(OCI_MANIFEST)] {
            assert!(parse(&both, header).is_err());
        }
        for wrong in [
            json!({"schemaVersion": 1, "fsLayers": []}),
            json!({"schemaVersion": 2}),
            json!({"schemaVersion": 2, "config": blob("c")}),
            json!({"schemaVersion": 2, "mediaType": "text/plain", "manifests": []}),
            json!([]),
            json!({"schemaVersion": 2, "config": {"digest": "sha256:../x", "size": 1}, "layers": []}),
            json!({"schemaVersion": 2, "config": blob("c"), "layers": vec![blob("l"); 1001]}),
        ] {
            assert!(parse(&wrong, None).is_err(), "{wrong}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Manifest::parse(deep.as_bytes(), None).is_err());
    }

    #[test]
    fn foreign_layers_may_be_elsewhere() {
        let layer = blob("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
        let image = json!({"schemaVersion": 2, "config": blob("c"), "layers": [layer]});
        assert_eq!(parse(&image, None).unwrap().blobs().count(), 1);
    }
}
