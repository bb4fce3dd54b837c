//! Unpacked layers: `layers/<chain id>`, complete or absent.
//!
//! A layer is unpacked under `tmp/`, made durable, and renamed into place, all under a lock of its
//! own: whoever wants the same layer meanwhile waits and then finds it. Chain ids, not diff ids,
//! name the directories, since a layer that leaves out parent directories takes their owner and
//! mode from the layers below.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{self, Lock, sync_dir, unique};
use super::{Error, Layout};
use crate::config::ConfigFile;
use crate::digest::{Digest, HashingReader};
use crate::manifest::{Descriptor, Manifest};
use crate::progress::Progress;
use crate::unpack::{self, Limits};

/// What is remembered of a layer beside its directory.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Bytes of content.
    pub bytes: u64,
    /// Members.
    pub entries: u64,
}

/// The directories of an image's layers, bottom first, and whether all of them are there.
pub(crate) fn paths(layout: &Layout, config: &ConfigFile) -> (Vec<PathBuf>, bool) {
    let paths: Vec<_> = config.chain_ids().iter().map(|chain| layout.layer(chain)).collect();
    let complete = paths.iter().all(|path| path.is_dir());
    (paths, complete)
}

/// A layer unpacked but not yet in place.
struct Pending {
    scratch: PathBuf,
    place: PathBuf,
    record: LayerRecord,
}

impl Drop for Pending {
    fn drop(&mut self) {
        // Does nothing once the directory was renamed into place.
        let _ = remove_dir(&self.scratch);
    }
}

/// Unpacks the layers that aren't there yet, from blobs that are. The caller holds the content
/// lock. Returns the directories, bottom first.
pub(crate) fn ensure(
    layout: &Layout,
    manifest: &Manifest,
    config: &ConfigFile,
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<Vec<PathBuf>, Error> {
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let (layers, diff_ids) = (manifest.layers.len(), diff_ids.len());
        return Err(Error::LayerCount { layers, diff_ids });
    }
    let mut locks = Vec::new();
    let mut pending: Vec<Pending> = Vec::new();
    // Topmost first, as overlay and the unpacking want it.
    let mut lowers: Vec<PathBuf> = Vec::new();
    let mut places = Vec::new();
    for ((chain, diff_id), layer) in config.chain_ids().iter().zip(diff_ids).zip(&manifest.layers) {
        let place = layout.layer(chain);
        places.push(place.clone());
        if !place.is_dir() {
            // Always taken from the bottom up, and chains form a tree: no two wait for each other.
            let lock = layout.lock(&format!("layer-{}", chain.hex()));
            locks.push(Lock::exclusive(&lock).map_err(Error::io("lock", &lock))?);
        }
        if place.is_dir() {
            progress.ready(&layer.digest);
            lowers.insert(0, place);
            continue;
        }
        let scratch = layout.tmp().join(unique("layer"));
        let unpacked = unpack_one(layout, layer, diff_id, &scratch, &lowers, limits, progress);
        let record = match unpacked {
            Ok(record) => record,
            Err(error) => {
                let _ = remove_dir(&scratch);
                return Err(error);
            }
        };
        lowers.insert(0, scratch.clone());
        pending.push(Pending { scratch, place, record });
        progress.ready(&layer.digest);
    }
    publish(layout, pending)?;
    Ok(places)
}

/// Makes the unpacked layers durable and visible, bottom first.
fn publish(layout: &Layout, pending: Vec<Pending>) -> Result<(), Error> {
    if pending.is_empty() {
        return Ok(());
    }
    let layers = layout.layers();
    let fail = |path: &Path| Error::io("publish layer", path);
    // One sync of the file system is far cheaper than an fsync of each of thousands of files.
    let dir = File::open(&layers).map_err(fail(&layers))?;
    rustix::fs::syncfs(dir.as_fd()).map_err(|errno| fail(&layers)(errno.into()))?;
    for layer in &pending {
        let record = serde_json::to_vec(&layer.record)
            .map_err(|error| fail(&layer.place)(io::Error::other(error)))?;
        files::replace(&layer.place.with_extension("json"), &layout.tmp(), &record)
            .map_err(fail(&layer.place))?;
        fs::rename(&layer.scratch, &layer.place).map_err(fail(&layer.place))?;
    }
    sync_dir(&layers).map_err(fail(&layers))
}

fn unpack_one(
    layout: &Layout,
    layer: &Descriptor,
    diff_id: &Digest,
    scratch: &Path,
    lowers: &[PathBuf],
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<LayerRecord, Error> {
    let path = layout.blob(&layer.digest);
    let blob = match File::open(&path) {
        Ok(blob) => blob,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Missing { digest: layer.digest });
        }
        Err(error) => return Err(Error::io("open blob", &path)(error)),
    };
    fs::DirBuilder::new().mode(0o755).create(scratch).map_err(Error::io("create", scratch))?;
    let counted = Counted { inner: blob, layer, done: 0, told: 0, progress };
    let plain = unpack::decompress(counted).map_err(Error::io("decompress", &path))?;
    // The tar's own end may be followed by padding: it belongs to the diff id too.
    let mut hashed = HashingReader::new(plain.take(stream_limit(limits)));
    let unpacked = unpack::unpack(&mut hashed, scratch, lowers, limits)
        .map_err(|error| Error::Layer { digest: layer.digest, error: Box::new(error) })?;
    io::copy(&mut hashed, &mut io::sink()).map_err(Error::io("decompress", &path))?;
    let (found, _) = hashed.finish();
    if found != *diff_id {
        return Err(Error::DiffId { layer: layer.digest, expected: *diff_id, found });
    }
    Ok(LayerRecord { diff_id: *diff_id, bytes: unpacked.bytes, entries: unpacked.entries })
}

/// What a tar of the allowed content can measure at most: content, headers, long names.
fn stream_limit(limits: &Limits) -> u64 {
    limits.bytes.saturating_add(limits.entries.saturating_mul(8 * 1024)).saturating_add(1 << 20)
}

/// Removes a directory tree by descriptors; absent is fine.
pub(crate) fn remove_dir(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let parent = File::open(parent)?;
    match unpack::remove_tree(parent.as_fd(), name.as_encoded_bytes()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The record beside a layer's directory.
pub(crate) fn record(layout: &Layout, chain: &Digest) -> Option<LayerRecord> {
    let bytes = fs::read(layout.layer(chain).with_extension("json")).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Tells the progress how much of the blob was read.
struct Counted<'a> {
    inner: File,
    layer: &'a Descriptor,
    done: u64,
    told: u64,
    progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.done += read as u64;
        if read == 0 || self.done - self.told >= 1 << 20 {
            self.told = self.done;
            self.progress.unpacked(&self.layer.digest, self.done, self.layer.size);
        }
        Ok(read)
    }
}
