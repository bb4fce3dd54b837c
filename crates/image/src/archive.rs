//! Loads images from docker-archive (`docker save`) and oci-archive tars, also compressed ones.
//!
//! The archive is read once, front to back. Its files go into the content store under the digests
//! of their bytes, whatever they are called; names only connect them. So nothing in an archive
//! chooses a path on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::Digest;
use crate::manifest::{
    self, DOCKER_CONFIG, Descriptor, Document, MAX_MANIFEST_BYTES, Manifest, OCI_LAYER,
    OCI_LAYER_GZIP, OCI_MANIFEST,
};
use crate::platform::Platform;
use crate::progress::Progress;
use crate::reference::{self, Reference};
use crate::store::{self, BlobWriter, Image, ImageStore, ImportGuard, Source};
use crate::unpack::{self, Kind, TarReader};

/// The most members of an archive: images have at most 127 layers, archives several images.
const MAX_MEMBERS: usize = 20_000;
/// The most bytes of an archive.
const MAX_ARCHIVE_BYTES: u64 = 256 << 30;

/// Why an archive couldn't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file couldn't be read.
    #[error("read {}: {error}", .path.display())]
    Io {
        /// The archive.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The file isn't a tar archive.
    #[error("{}: {error}", .path.display())]
    Tar {
        /// The archive.
        path: PathBuf,
        /// The cause.
        error: unpack::TarError,
    },
    /// Neither `manifest.json` nor `index.json` is in it.
    #[error("{}: not a docker-archive (no manifest.json) and not an oci-archive (no index.json)", .0.display())]
    NotAnImage(PathBuf),
    /// `manifest.json` or `index.json` doesn't parse.
    #[error("{file} in the archive is malformed: {error}")]
    Malformed {
        /// The file's name in the archive.
        file: &'static str,
        /// The cause.
        error: serde_json::Error,
    },
    /// A manifest isn't usable.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// A blob's bytes don't have the digest that names it.
    #[error("{name} in the archive is damaged: its bytes have the digest {found}")]
    Digest {
        /// The blob's name.
        name: String,
        /// The digest of the bytes.
        found: Digest,
    },
    /// Something that the archive refers to isn't in it.
    #[error("the archive refers to {0}, which is not in it")]
    Missing(String),
    /// The image has no name in the archive and none was given.
    #[error("the image in the archive has no name; give one with --name")]
    Unnamed,
    /// One name was given for several images.
    #[error("the archive has {0} images; a name can be given for one only")]
    SeveralImages(usize),
    /// A name in the archive isn't a reference.
    #[error(transparent)]
    Reference(#[from] reference::Error),
    /// The archive is larger than anything sensible.
    #[error("the archive has more than {MAX_MEMBERS} members or {MAX_ARCHIVE_BYTES} bytes")]
    TooLarge,
    /// The store refused the image.
    #[error(transparent)]
    Store(#[from] store::Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// What the archive holds, after its one reading.
#[derive(Default)]
struct Contents {
    /// Normalised names to the digest and size of the bytes.
    files: BTreeMap<String, (Digest, u64)>,
    /// Links (old `docker save` shares layers by them).
    links: BTreeMap<String, String>,
    manifest_json: Option<Vec<u8>>,
    index_json: Option<Vec<u8>>,
}

impl ImageStore {
    /// Loads all images of an archive and names them as it says, or the only one as `name` says.
    /// Blocks; call it from a thread where blocking is fine.
    pub fn load(
        &self,
        archive: &Path,
        name: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Vec<Image>, Error> {
        let guard = self.import()?;
        let contents = self.read_archive(archive)?;
        let found = match (&contents.manifest_json, &contents.index_json) {
            (Some(json), _) => self.docker_images(&contents, json)?,
            (None, Some(json)) => self.oci_images(json)?,
            (None, None) => return Err(Error::NotAnImage(archive.to_owned())),
        };
        let found = named(found, name)?;
        let mut images = Vec::new();
        for (name, manifest) in found {
            images.push(self.keep(&guard, &name, &manifest, progress)?);
        }
        Ok(images)
    }

    fn keep(
        &self,
        guard: &ImportGuard,
        name: &str,
        manifest: &Digest,
        progress: &dyn Progress,
    ) -> Result<Image, Error> {
        let name = Reference::parse(name)?;
        Ok(self.commit_unpacked(guard, &name, manifest, None, Source::Local, progress)?)
    }

    fn read_archive(&self, path: &Path) -> Result<Contents, Error> {
        let io_error = |error| Error::Io { path: path.to_owned(), error };
        let tar_error = |error| Error::Tar { path: path.to_owned(), error };
        let file = File::open(path).map_err(io_error)?;
        let plain = unpack::decompress(file).map_err(io_error)?;
        let mut tar = TarReader::new(plain.take(MAX_ARCHIVE_BYTES));
        let mut contents = Contents::default();
        let mut members = 0;
        while let Some(member) = tar.next_member().map_err(tar_error)? {
            members += 1;
            if members > MAX_MEMBERS {
                return Err(Error::TooLarge);
            }
            let name = normalise(&String::from_utf8_lossy(&member.path), "");
            match member.kind {
                Kind::File if name == "manifest.json" || name == "index.json" => {
                    let json = small(&mut tar, member.size).map_err(tar_error)?;
                    match name.as_str() {
                        "manifest.json" => contents.manifest_json = Some(json),
                        _ => contents.index_json = Some(json),
                    }
                }
                Kind::File => {
                    let stored = self.store_member(&mut tar, path)?;
                    check_name(&name, &stored.0)?;
                    contents.files.insert(name, stored);
                }
                Kind::Symlink | Kind::Hardlink => {
                    let target = String::from_utf8_lossy(&member.link).into_owned();
                    // Symbolic links are relative to their directory, hard links to the archive.
                    let base = match (member.kind, name.rsplit_once('/')) {
                        (Kind::Symlink, Some((dir, _))) => dir,
                        _ => "",
                    };
                    contents.links.insert(name.clone(), normalise(&target, base));
                }
                _ => {}
            }
        }
        Ok(contents)
    }

    fn store_member<R: Read>(
        &self,
        tar: &mut TarReader<R>,
        archive: &Path,
    ) -> Result<(Digest, u64), Error> {
        let io_error = |error| Error::Io { path: archive.to_owned(), error };
        let mut blob = BlobWriter::create(self.layout()).map_err(io_error)?;
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let read = tar
                .read(&mut buffer)
                .map_err(|error| Error::Tar { path: archive.to_owned(), error })?;
            if read == 0 {
                return blob.commit().map_err(io_error);
            }
            blob.write_all(&buffer[..read]).map_err(io_error)?;
        }
    }

    /// `manifest.json` names files; an OCI manifest is made for each image.
    fn docker_images(
        &self,
        contents: &Contents,
        json: &[u8],
    ) -> Result<Vec<(BTreeSet<String>, Digest)>, Error> {
        let malformed = |error| Error::Malformed { file: "manifest.json", error };
        let list: Vec<DockerManifest> = serde_json::from_slice(json).map_err(malformed)?;
        let mut images = Vec::new();
        for image in list {
            let (config, size) = contents.find(&image.config)?;
            let mut layers = Vec::new();
            for layer in &image.layers {
                let (digest, size) = contents.find(layer)?;
                layers.push(Descriptor::new(self.layer_type(&digest), digest, size));
            }
            let manifest = Manifest {
                schema_version: 2,
                media_type: Some(OCI_MANIFEST.to_owned()),
                config: Descriptor::new(DOCKER_CONFIG, config, size),
                layers,
            };
            let bytes = serde_json::to_vec(&manifest).map_err(malformed)?;
            let digest = store::put_blob(self.layout(), &bytes)?;
            images.push((image.repo_tags.unwrap_or_default().into_iter().collect(), digest));
        }
        Ok(images)
    }

    fn layer_type(&self, digest: &Digest) -> &'static str {
        let mut magic = [0; 2];
        let read = File::open(self.layout().blob(digest)).and_then(|mut f| f.read(&mut magic));
        match (read, magic) {
            (Ok(2), [0x1f, 0x8b]) => OCI_LAYER_GZIP,
            _ => OCI_LAYER,
        }
    }

    /// `index.json` points to manifests, or to an index per image.
    fn oci_images(&self, json: &[u8]) -> Result<Vec<(BTreeSet<String>, Digest)>, Error> {
        let Document::Index(top) = Document::parse(json, Some(manifest::OCI_INDEX))? else {
            return Err(manifest::Error::Ambiguous.into());
        };
        let host = Platform::host();
        let named = |d: &Descriptor| !names(d).is_empty();
        // Without names, several entries are one image for several platforms.
        let wanted: Vec<&Descriptor> = match top.manifests.iter().any(named) {
            true => top.manifests.iter().filter(|d| named(d)).collect(),
            false if top.manifests.len() == 1 => top.manifests.iter().collect(),
            false => vec![top.select(&host)?],
        };
        let mut images = Vec::new();
        for descriptor in wanted {
            let names = names(descriptor);
            let mut digest = descriptor.digest;
            match self.document(descriptor)? {
                Document::Manifest(_) => {}
                Document::Index(index) => {
                    let inner = index.select(&host)?;
                    self.document(inner)?;
                    digest = inner.digest;
                }
            }
            images.push((names, digest));
        }
        Ok(images)
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Document, Error> {
        let bytes = store::read_blob(self.layout(), &descriptor.digest, MAX_MANIFEST_BYTES)?
            .filter(|bytes| bytes.len() as u64 == descriptor.size)
            .ok_or_else(|| Error::Missing(descriptor.digest.to_string()))?;
        Ok(Document::parse(&bytes, Some(&descriptor.media_type))?)
    }
}

impl Contents {
    fn find(&self, name: &str) -> Result<(Digest, u64), Error> {
        let mut at = normalise(name, "");
        for _ in 0..8 {
            if let Some(found) = self.files.get(&at) {
                return Ok(*found);
            }
            match self.links.get(&at) {
                Some(target) => at = target.clone(),
                None => break,
            }
        }
        Err(Error::Missing(name.to_owned()))
    }
}

/// Pairs each image with each of its names; `given` replaces the names of an only image.
fn named(
    found: Vec<(BTreeSet<String>, Digest)>,
    given: Option<&str>,
) -> Result<Vec<(String, Digest)>, Error> {
    if let Some(name) = given {
        return match found.as_slice() {
            [(_, manifest)] => Ok(vec![(name.to_owned(), *manifest)]),
            several => Err(Error::SeveralImages(several.len())),
        };
    }
    if found.is_empty() || found.iter().any(|(names, _)| names.is_empty()) {
        return Err(Error::Unnamed);
    }
    let pair = |(names, manifest): (BTreeSet<String>, Digest)| {
        names.into_iter().map(move |name| (name, manifest))
    };
    Ok(found.into_iter().flat_map(pair).collect())
}

/// An image's names in `index.json`: containerd's full one, else OCI's.
fn names(descriptor: &Descriptor) -> BTreeSet<String> {
    ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
        .iter()
        .find_map(|key| descriptor.annotations.get(*key))
        .filter(|name| !name.is_empty())
        .cloned()
        .into_iter()
        .collect()
}

/// `blobs/sha256/<hex>` must hold what it says.
fn check_name(name: &str, found: &Digest) -> Result<(), Error> {
    match name.strip_prefix("blobs/sha256/") {
        Some(hex) if hex != found.hex() => {
            Err(Error::Digest { name: name.to_owned(), found: *found })
        }
        _ => Ok(()),
    }
}

/// A name relative to the archive's root; only ever a key, never a path on the host.
fn normalise(name: &str, base: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Reads a small JSON member.
fn small<R: Read>(tar: &mut TarReader<R>, size: u64) -> Result<Vec<u8>, unpack::TarError> {
    if size > MAX_MANIFEST_BYTES {
        return Err(unpack::TarError::Field("size of a JSON document"));
    }
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match tar.read(&mut buffer)? {
            0 => return Ok(bytes),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
