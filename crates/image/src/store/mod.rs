//! The images of one host, in one directory that several processes use at once.
//!
//! ```text
//! images.json                 names → manifests
//! blobs/sha256/<hex>          manifests, configurations, layers as they came
//! layers/<chain id>           layers unpacked, overlay lower directories; <chain id>.json beside
//! pins/<owner>                images that containers use
//! downloads/<hex>.part        partial downloads, resumed
//! tmp/ locks/                 work under way
//! ```
//!
//! Whatever is visible under its final name is whole and durable: files and directories are made
//! under `tmp/`, synced, and renamed. Importing holds `content.lock` shared, sweeping holds it
//! exclusively, so that nothing is swept that is about to be referred to. The directory is 0700:
//! images bring setuid programs that the host's users must not reach.

pub(crate) mod arrivals;
mod blobs;
mod cleanup;
pub(crate) mod files;
mod index;
mod layers;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use arrivals::Arrivals;
pub(crate) use blobs::{
    BlobWriter, has as has_blob, link as link_blob, put as put_blob, read as read_blob,
};
pub use cleanup::{CleanupPolicy, CleanupReport};
use files::Lock;
use index::{Entry, Index};
use layers::Unpacking;

use crate::config::{self, ConfigFile, ImageConfig, MAX_CONFIG_BYTES};
use crate::digest::Digest;
use crate::manifest::{self, Document, MAX_MANIFEST_BYTES, Manifest};
use crate::platform::Platform;
use crate::progress::Progress;
use crate::reference::{self, Reference};
use crate::unpack::{self, Limits};

/// Why the store couldn't do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("image store: {action} {}: {error}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The kernel's answer.
        error: io::Error,
    },
    /// A name isn't an image reference.
    #[error(transparent)]
    Reference(#[from] reference::Error),
    /// A manifest isn't usable.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// An image configuration isn't usable.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A blob's bytes don't have the digest they are named by.
    #[error("image store: blob {digest} is damaged: its bytes have another digest")]
    Corrupt {
        /// The blob.
        digest: Digest,
    },
    /// A blob that an image needs isn't there.
    #[error("image store: blob {digest} is missing")]
    Missing {
        /// The blob.
        digest: Digest,
    },
    /// A layer was refused or couldn't be written.
    #[error("layer {digest}: {error}")]
    Layer {
        /// The layer's blob.
        digest: Digest,
        /// Why.
        error: Box<unpack::Error>,
    },
    /// A layer's content isn't what the configuration says.
    #[error("layer {layer} unpacks to {found}, the image configuration says {expected}")]
    DiffId {
        /// The layer's blob.
        layer: Digest,
        /// The diff id in the configuration.
        expected: Digest,
        /// The digest of the uncompressed tar.
        found: Digest,
    },
    /// Manifest and configuration disagree about the number of layers.
    #[error("the manifest has {layers} layers, the image configuration {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// An image for another platform.
    #[error("the image is for {image}, this host is {host}")]
    Platform {
        /// The image's platform.
        image: String,
        /// The host's platform.
        host: String,
    },
    /// The store was written by a newer version.
    #[error("{} has version {version}: it was written by a newer wharf", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// No image of this name.
    #[error("no such image: {0}")]
    NoSuchImage(String),
    /// The owner's name can't be a file name.
    #[error("\"{0}\" can't name the owner of a pin")]
    Owner(String),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Io { action, path, error }
    }
}

/// Where an image came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Built or loaded on this host: used without asking a registry, never cleaned up by age.
    Local,
    /// Pulled from a registry.
    Pulled,
}

/// An image ready for use.
#[derive(Debug, Clone)]
pub struct Image {
    /// The full reference it was found by (`docker.io/library/busybox:latest`).
    pub name: String,
    /// The image id: the digest of its configuration.
    pub id: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// What the registry calls it, as docker's RepoDigests (`…/busybox@sha256:…`); ECS reports
    /// the digest as `imageDigest`. None for images that were never in a registry.
    pub repo_digest: Option<Reference>,
    /// What a container of it runs.
    pub config: ImageConfig,
    /// For which platform it is.
    pub platform: Platform,
    /// The unpacked layers, topmost first: overlay's `lowerdir` in its order.
    pub layers: Vec<PathBuf>,
    /// Where it came from.
    pub source: Source,
    /// Bytes of content of all its layers.
    pub size_bytes: u64,
}

impl Image {
    /// The digest that ECS shows as a container's `imageDigest`.
    pub fn image_digest(&self) -> Digest {
        self.repo_digest.as_ref().and_then(|r| r.digest().copied()).unwrap_or(self.manifest)
    }
}

/// A line of `wharf image ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageSummary {
    /// The full reference.
    pub name: String,
    /// The image id: the digest of its configuration.
    pub id: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// What the registry calls it.
    pub repo_digest: Option<Digest>,
    /// Where it came from.
    pub source: Source,
    /// Bytes of content of all its layers.
    pub size_bytes: u64,
    /// When it came here, seconds since 1970.
    pub created_at: u64,
    /// When a container last used it, seconds since 1970.
    pub last_used_at: u64,
}

/// Paths inside the store.
#[derive(Debug)]
pub(crate) struct Layout(PathBuf);

impl Layout {
    fn index(&self) -> PathBuf {
        self.0.join("images.json")
    }
    fn index_lock(&self) -> PathBuf {
        self.0.join("locks/index")
    }
    fn content_lock(&self) -> PathBuf {
        self.0.join("content.lock")
    }
    fn blobs(&self) -> PathBuf {
        self.0.join("blobs/sha256")
    }
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }
    fn layers(&self) -> PathBuf {
        self.0.join("layers")
    }
    fn layer(&self, chain: &Digest) -> PathBuf {
        self.layers().join(chain.hex())
    }
    fn pins(&self) -> PathBuf {
        self.0.join("pins")
    }
    fn downloads(&self) -> PathBuf {
        self.0.join("downloads")
    }
    pub(crate) fn download(&self, digest: &Digest) -> PathBuf {
        self.downloads().join(format!("{}.part", digest.hex()))
    }
    pub(crate) fn lock(&self, name: &str) -> PathBuf {
        self.0.join("locks").join(name)
    }
    pub(crate) fn tmp(&self) -> PathBuf {
        self.0.join("tmp")
    }
}

/// Keeps what is imported from being swept until it is named.
#[must_use]
pub(crate) struct ImportGuard {
    _lock: Lock,
}

/// The images of this host; clones share the directory.
#[derive(Debug, Clone)]
pub struct ImageStore {
    layout: Arc<Layout>,
    limits: Limits,
}

impl ImageStore {
    /// Opens the store in `dir`, making it if needed, and clears what dead processes left behind.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let layout = Layout(dir.as_ref().to_owned());
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let dirs = ["blobs/sha256", "layers", "pins", "downloads", "locks", "tmp"];
        for dir in dirs.map(|dir| layout.0.join(dir)) {
            builder.create(&dir).map_err(Error::io("create", &dir))?;
        }
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&layout.0, mode).map_err(Error::io("set mode of", &layout.0))?;
        let store = Self { layout: Arc::new(layout), limits: Limits::default() };
        Index::read(&store.layout)?;
        store.clear_leftovers()?;
        Ok(store)
    }

    /// The same store with other limits for unpacking.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Finds an image by reference (`busybox`, `host/app@sha256:…`) or by id (`sha256:…`). None
    /// if it isn't here, or a pulled image's content isn't complete any more.
    pub fn resolve(&self, name: &str) -> Result<Option<Image>, Error> {
        let index = Index::read(&self.layout)?;
        match find(&index, &self.layout, name)? {
            Some((name, entry)) => self.image(name, entry),
            None => Ok(None),
        }
    }

    /// All names, sorted, with what they stand for.
    pub fn list(&self) -> Result<Vec<ImageSummary>, Error> {
        let index = Index::read(&self.layout)?;
        let mut list = Vec::with_capacity(index.names.len());
        for (name, entry) in &index.names {
            let Some((manifest, config)) = documents(&self.layout, &entry.manifest)? else {
                continue;
            };
            list.push(ImageSummary {
                name: name.clone(),
                id: manifest.config.digest,
                manifest: entry.manifest,
                repo_digest: entry.repo_digest,
                source: entry.source,
                size_bytes: self.size_bytes(&config),
                created_at: entry.created_at,
                last_used_at: entry.last_used_at,
            });
        }
        Ok(list)
    }

    /// Gives an image a further name on this host, as `docker tag` does.
    pub fn tag(&self, name: &str, new_name: &str) -> Result<Image, Error> {
        let new_name = Reference::parse(new_name)?.to_string();
        let image = self.resolve(name)?.ok_or_else(|| Error::NoSuchImage(name.to_owned()))?;
        self.commit(&new_name, &image.manifest, None, Source::Local)
    }

    fn image(&self, name: &str, entry: &Entry) -> Result<Option<Image>, Error> {
        let Some((manifest, config)) = documents(&self.layout, &entry.manifest)? else {
            return match entry.source {
                Source::Pulled => Ok(None),
                Source::Local => Err(Error::Missing { digest: entry.manifest }),
            };
        };
        let (mut layers, complete) = layers::paths(&self.layout, &config);
        if !complete {
            let _guard = self.import()?;
            let (arrivals, progress) = (&Arrivals::over(), &crate::progress::NoProgress);
            let unpacking = Unpacking { limits: &self.limits, arrivals, progress };
            match layers::ensure(&self.layout, &manifest, &config, &unpacking) {
                Err(Error::Missing { .. }) if entry.source == Source::Pulled => return Ok(None),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        layers.reverse();
        let reference = Reference::parse(name)?;
        Ok(Some(Image {
            name: name.to_owned(),
            id: manifest.config.digest,
            manifest: entry.manifest,
            repo_digest: entry.repo_digest.map(|digest| reference.with_digest(digest)),
            size_bytes: self.size_bytes(&config),
            platform: Platform {
                architecture: config.architecture,
                os: config.os,
                variant: config.variant,
            },
            config: config.config,
            layers,
            source: entry.source,
        }))
    }

    fn size_bytes(&self, config: &ConfigFile) -> u64 {
        let records =
            config.chain_ids().into_iter().filter_map(|c| layers::record(&self.layout, &c));
        records.map(|record| record.bytes).sum()
    }

    /// Begins an import: nothing is swept while the guard lives.
    pub(crate) fn import(&self) -> Result<ImportGuard, Error> {
        let path = self.layout.content_lock();
        Ok(ImportGuard { _lock: Lock::shared(&path).map_err(Error::io("lock", &path))? })
    }

    /// Unpacks an image whose blobs are all here, and names it.
    pub(crate) fn commit_unpacked(
        &self,
        guard: &ImportGuard,
        name: &Reference,
        manifest: &Digest,
        repo_digest: Option<Digest>,
        source: Source,
        progress: &dyn Progress,
    ) -> Result<Image, Error> {
        self.unpack_arriving(guard, manifest, &Arrivals::over(), progress)?;
        self.commit(&name.to_string(), manifest, repo_digest, source)
    }

    /// Unpacks an image whose manifest is here and whose other blobs may still be on their way.
    pub(crate) fn unpack_arriving(
        &self,
        _guard: &ImportGuard,
        manifest: &Digest,
        arrivals: &Arrivals,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let missing = || Error::Missing { digest: *manifest };
        let bytes = blobs::read(&self.layout, manifest, MAX_MANIFEST_BYTES)?.ok_or_else(missing)?;
        if let Document::Manifest(parsed) = Document::parse(&bytes, None)? {
            arrivals.wait(&parsed.config.digest);
        }
        let (parsed, config) = documents(&self.layout, manifest)?.ok_or_else(missing)?;
        check_platform(&config)?;
        let unpacking = Unpacking { limits: &self.limits, arrivals, progress };
        layers::ensure(&self.layout, &parsed, &config, &unpacking)?;
        Ok(())
    }

    pub(crate) fn commit(
        &self,
        name: &str,
        manifest: &Digest,
        repo_digest: Option<Digest>,
        source: Source,
    ) -> Result<Image, Error> {
        let now = seconds(SystemTime::now());
        let entry =
            Entry { manifest: *manifest, repo_digest, source, created_at: now, last_used_at: now };
        Index::update(&self.layout, |index| index.names.insert(name.to_owned(), entry.clone()))?;
        self.image(name, &entry)?.ok_or(Error::Missing { digest: *manifest })
    }
}

/// Finds the index entry of a reference or an image id.
fn find<'a>(
    index: &'a Index,
    layout: &Layout,
    name: &str,
) -> Result<Option<(&'a str, &'a Entry)>, Error> {
    let same = |(name, entry): (&'a String, &'a Entry)| (name.as_str(), entry);
    if let Ok(id) = name.parse::<Digest>() {
        for (name, entry) in &index.names {
            let found = documents(layout, &entry.manifest)?;
            if entry.manifest == id || found.is_some_and(|(m, _)| m.config.digest == id) {
                return Ok(Some((name, entry)));
            }
        }
        return Ok(None);
    }
    let reference = Reference::parse(name)?;
    if let Some(entry) = index.names.get_key_value(&reference.to_string()) {
        return Ok(Some(same(entry)));
    }
    let Some(digest) = reference.digest() else { return Ok(None) };
    let found = index.names.iter().find(|(name, entry)| {
        (entry.repo_digest == Some(*digest) || entry.manifest == *digest)
            && Reference::parse(name).is_ok_and(|known| {
                known.registry() == reference.registry()
                    && known.repository() == reference.repository()
            })
    });
    Ok(found.map(same))
}

/// The verified manifest and configuration of an image; none if either isn't here.
fn documents(layout: &Layout, digest: &Digest) -> Result<Option<(Manifest, ConfigFile)>, Error> {
    let Some(bytes) = blobs::read(layout, digest, MAX_MANIFEST_BYTES)? else { return Ok(None) };
    let manifest = match Document::parse(&bytes, None)? {
        Document::Manifest(manifest) => manifest,
        Document::Index(_) => return Err(manifest::Error::NestedIndex.into()),
    };
    match blobs::read(layout, &manifest.config.digest, MAX_CONFIG_BYTES)? {
        Some(bytes) => Ok(Some((manifest, ConfigFile::parse(&bytes)?))),
        None => Ok(None),
    }
}

/// Refuses images whose configuration names another platform; empty members name none.
fn check_platform(config: &ConfigFile) -> Result<(), Error> {
    let host = Platform::host();
    let os = config.os.is_empty() || config.os == host.os;
    let cpu = config.architecture.is_empty() || config.architecture == host.architecture;
    match os && cpu {
        true => Ok(()),
        false => Err(Error::Platform {
            image: format!("{}/{}", config.os, config.architecture),
            host: host.to_string(),
        }),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
