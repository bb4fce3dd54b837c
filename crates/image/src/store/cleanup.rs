//! Pins, removal, and the cleanup that follows the ECS agent's rules.
//!
//! The agent's rules (its `image_manager.go`): an image that no container uses, that was pulled
//! longer ago than ECS_IMAGE_MINIMUM_CLEANUP_AGE and that isn't excluded may go; the least
//! recently used go first, ECS_NUM_IMAGES_DELETE_PER_CYCLE at a time. Images that were built or
//! loaded here never go by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::files::{self, Lock};
use super::index::Index;
use super::{Error, Image, ImageStore, Layout, Source, documents, find, layers, seconds};
use crate::digest::Digest;
use crate::reference::Reference;

/// How long a partial download is kept for resuming.
const PARTIAL_DOWNLOAD_AGE: Duration = Duration::from_secs(24 * 3600);

/// What the periodic cleanup may remove; the defaults are the ECS agent's.
#[derive(Debug, Clone)]
pub struct CleanupPolicy {
    /// Images pulled more recently stay (ECS_IMAGE_MINIMUM_CLEANUP_AGE, 1 hour).
    pub minimum_age: Duration,
    /// Images removed at most at a time (ECS_NUM_IMAGES_DELETE_PER_CYCLE, 5).
    pub images_per_cycle: usize,
    /// References that always stay (ECS_EXCLUDE_UNTRACKED_IMAGE).
    pub exclude: Vec<String>,
}

impl Default for CleanupPolicy {
    fn default() -> Self {
        let minimum_age = Duration::from_secs(3600);
        Self { minimum_age, images_per_cycle: 5, exclude: Vec::new() }
    }
}

/// What a removal or cleanup did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CleanupReport {
    /// Names that were removed.
    pub names: Vec<String>,
    /// Unpacked layers that were removed.
    pub layers: usize,
    /// Blobs that were removed.
    pub blobs: usize,
    /// Bytes of blobs that were removed.
    pub blob_bytes: u64,
    /// Content was left for the next time, because an import is under way.
    pub content_deferred: bool,
}

impl ImageStore {
    /// Notes that `owner` (a container's id) uses the image: its content stays, under whatever
    /// name, until [`ImageStore::unpin`]. Survives this process. Fails if the content is gone.
    pub fn pin(&self, owner: &str, image: &Image) -> Result<(), Error> {
        let path = self.pin_path(owner)?;
        let _guard = self.import()?;
        if documents(self.layout(), &image.manifest)?.is_none()
            || !image.layers.iter().all(|layer| layer.is_dir())
        {
            return Err(Error::NoSuchImage(image.name.clone()));
        }
        files::replace(&path, &self.layout().tmp(), image.manifest.to_string().as_bytes())
            .map_err(Error::io("write", &path))?;
        self.touch(&image.manifest)
    }

    /// The owner uses its image no more; fine if it had none.
    pub fn unpin(&self, owner: &str) -> Result<(), Error> {
        let path = self.pin_path(owner)?;
        let manifest = read_pin(&path)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", &path)(error))
            }
            _ => manifest.map_or(Ok(()), |manifest| self.touch(&manifest)),
        }
    }

    /// Who pins which manifest.
    pub fn pins(&self) -> Result<BTreeMap<String, Digest>, Error> {
        let dir = self.layout().pins();
        let mut pins = BTreeMap::new();
        for entry in fs::read_dir(&dir).map_err(Error::io("list", &dir))? {
            let entry = entry.map_err(Error::io("list", &dir))?;
            if let Some(manifest) = read_pin(&entry.path())? {
                pins.insert(entry.file_name().to_string_lossy().into_owned(), manifest);
            }
        }
        Ok(pins)
    }

    /// Removes a name (or, given an id, all its names) and whatever content nobody else uses.
    pub fn remove(&self, name: &str) -> Result<CleanupReport, Error> {
        let index = Index::read(self.layout())?;
        let Some((found, entry)) = find(&index, self.layout(), name)? else {
            return Err(Error::NoSuchImage(name.to_owned()));
        };
        let by_id = name.parse::<Digest>().is_ok();
        let (found, manifest) = (found.to_owned(), entry.manifest);
        let names = Index::update(self.layout(), |index| {
            let mut names = Vec::new();
            index.names.retain(|name, entry| {
                let goes = *name == found || (by_id && entry.manifest == manifest);
                if goes {
                    names.push(name.clone());
                }
                !goes
            });
            names
        })?;
        let mut report = self.sweep(&BTreeSet::new())?;
        report.names = names;
        Ok(report)
    }

    /// One cycle of the periodic cleanup. `in_use` are manifests that containers use beyond those
    /// that are pinned.
    pub fn gc(
        &self,
        in_use: &BTreeSet<Digest>,
        policy: &CleanupPolicy,
        now: SystemTime,
    ) -> Result<CleanupReport, Error> {
        let mut used = in_use.clone();
        used.extend(self.pins()?.into_values());
        let excluded: BTreeSet<String> = policy
            .exclude
            .iter()
            .filter_map(|name| Reference::parse(name).ok())
            .map(|reference| reference.to_string())
            .collect();
        let names = Index::update(self.layout(), |index| {
            let goes = candidates(index, &used, &excluded, policy, now);
            let mut names = Vec::new();
            index.names.retain(|name, entry| {
                let gone = goes.contains(&entry.manifest);
                if gone {
                    names.push(name.clone());
                }
                !gone
            });
            names
        })?;
        let mut report = self.sweep(&used)?;
        report.names = names;
        Ok(report)
    }

    /// At start: what dead processes left in `tmp/` goes, unless somebody is importing just now.
    pub(super) fn clear_leftovers(&self) -> Result<(), Error> {
        let path = self.layout().content_lock();
        let lock = Lock::try_exclusive(&path).map_err(Error::io("lock", &path))?;
        match lock {
            Some(_lock) => clear_tmp(self.layout()),
            None => Ok(()),
        }
    }

    /// Removes content that no name, no pin and none of `used` refers to.
    fn sweep(&self, used: &BTreeSet<Digest>) -> Result<CleanupReport, Error> {
        let layout = self.layout();
        let path = layout.content_lock();
        let lock = Lock::try_exclusive(&path).map_err(Error::io("lock", &path))?;
        let mut report = CleanupReport::default();
        let Some(_lock) = lock else {
            report.content_deferred = true;
            return Ok(report);
        };
        let mut manifests = used.clone();
        manifests.extend(self.pins()?.into_values());
        let mut blobs = BTreeSet::new();
        for entry in Index::read(layout)?.names.values() {
            manifests.insert(entry.manifest);
            blobs.extend(entry.repo_digest);
        }
        let mut chains = BTreeSet::new();
        for digest in manifests {
            if let Some((manifest, config)) = documents(layout, &digest)? {
                blobs.extend([digest, manifest.config.digest]);
                blobs.extend(manifest.layers.iter().map(|layer| layer.digest));
                chains.extend(config.chain_ids());
            }
        }
        clear_tmp(layout)?;
        sweep_layers(layout, &chains, &mut report)?;
        sweep_blobs(layout, &blobs, &mut report)?;
        sweep_downloads(layout)?;
        Ok(report)
    }

    fn touch(&self, manifest: &Digest) -> Result<(), Error> {
        let now = seconds(SystemTime::now());
        Index::update(self.layout(), |index| {
            for entry in index.names.values_mut().filter(|entry| entry.manifest == *manifest) {
                entry.last_used_at = now;
            }
        })
    }

    fn pin_path(&self, owner: &str) -> Result<std::path::PathBuf, Error> {
        let fits = (1..=200).contains(&owner.len())
            && !owner.starts_with('.')
            && owner.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        match fits {
            true => Ok(self.layout().pins().join(owner)),
            false => Err(Error::Owner(owner.to_owned())),
        }
    }
}

/// The manifests that may go, least recently used first, as many as one cycle takes.
fn candidates(
    index: &Index,
    used: &BTreeSet<Digest>,
    excluded: &BTreeSet<String>,
    policy: &CleanupPolicy,
    now: SystemTime,
) -> BTreeSet<Digest> {
    let newest = seconds(now).saturating_sub(policy.minimum_age.as_secs());
    let mut by_manifest: BTreeMap<Digest, (bool, u64)> = BTreeMap::new();
    for (name, entry) in &index.names {
        let goes = entry.source == Source::Pulled
            && entry.created_at <= newest
            && !excluded.contains(name)
            && !used.contains(&entry.manifest);
        let known = by_manifest.entry(entry.manifest).or_insert((true, 0));
        known.0 &= goes;
        known.1 = known.1.max(entry.last_used_at);
    }
    let mut order: Vec<_> =
        by_manifest.into_iter().filter(|(_, (goes, _))| *goes).map(|(m, (_, t))| (t, m)).collect();
    order.sort();
    order.into_iter().take(policy.images_per_cycle).map(|(_, manifest)| manifest).collect()
}

fn read_pin(path: &Path) -> Result<Option<Digest>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map(Some).map_err(|error: crate::digest::Error| {
            Error::io("parse", path)(io::Error::other(error))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

fn entries(dir: &Path) -> Result<Vec<(String, fs::DirEntry)>, Error> {
    let mut list = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        list.push((entry.file_name().to_string_lossy().into_owned(), entry));
    }
    Ok(list)
}

fn clear_tmp(layout: &Layout) -> Result<(), Error> {
    for (_, entry) in entries(&layout.tmp())? {
        // Index files and pins are replaced without the content lock: leave what is fresh.
        let scratch_file = entry.file_name().as_encoded_bytes().starts_with(b"file-");
        if scratch_file && age(&entry) < Duration::from_secs(600) {
            continue;
        }
        layers::remove_dir(&entry.path()).map_err(Error::io("remove", &entry.path()))?;
    }
    Ok(())
}

fn sweep_layers(
    layout: &Layout,
    keep: &BTreeSet<Digest>,
    report: &mut CleanupReport,
) -> Result<(), Error> {
    for (name, entry) in entries(&layout.layers())? {
        let path = entry.path();
        let chain = Digest::from_hex(name.strip_suffix(".json").unwrap_or(&name));
        if chain.is_ok_and(|chain| keep.contains(&chain)) {
            continue;
        }
        if name.ends_with(".json") {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            continue;
        }
        // Out of sight first: a half-removed layer must never be taken for a whole one.
        let scratch = layout.tmp().join(files::unique("gone"));
        fs::rename(&path, &scratch).map_err(Error::io("remove", &path))?;
        layers::remove_dir(&scratch).map_err(Error::io("remove", &scratch))?;
        report.layers += 1;
    }
    Ok(())
}

fn sweep_blobs(
    layout: &Layout,
    keep: &BTreeSet<Digest>,
    report: &mut CleanupReport,
) -> Result<(), Error> {
    for (name, entry) in entries(&layout.blobs())? {
        if Digest::from_hex(&name).is_ok_and(|digest| keep.contains(&digest)) {
            continue;
        }
        report.blob_bytes += entry.metadata().map(|meta| meta.len()).unwrap_or(0);
        report.blobs += 1;
        fs::remove_file(entry.path()).map_err(Error::io("remove", &entry.path()))?;
    }
    Ok(())
}

fn sweep_downloads(layout: &Layout) -> Result<(), Error> {
    for (_, entry) in entries(&layout.downloads())? {
        if age(&entry) > PARTIAL_DOWNLOAD_AGE {
            fs::remove_file(entry.path()).map_err(Error::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}

fn age(entry: &fs::DirEntry) -> Duration {
    let modified = entry.metadata().and_then(|meta| meta.modified());
    modified.ok().and_then(|time| time.elapsed().ok()).unwrap_or(Duration::ZERO)
}
