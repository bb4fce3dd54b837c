//! Unpacked layers: `layers/<chain id>`, complete or absent.
//!
//! Layers are unpacked under `tmp/`, several at a time, made durable, and renamed into place, each under
//! a lock of its own: whoever wants the same layer meanwhile waits and then finds it. Chain ids, not diff ids,
//! name the directories, since a layer that leaves out parent directories takes their owner and
//! mode from the layers below.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::arrivals::Arrivals;
use super::files::{self, Lock, sync_dir, unique};
use super::{Error, Layout};
use crate::config::ConfigFile;
use crate::digest::{Digest, HashingReader};
use crate::manifest::{Descriptor, Manifest};
use crate::progress::Progress;
use crate::unpack::{self, Below, Limits};

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

/// One layer that is to be unpacked.
struct Job<'a> {
    layer: &'a Descriptor,
    diff_id: &'a Digest,
    place: PathBuf,
    scratch: PathBuf,
    /// The layers below, topmost first, where they are or will be.
    lowers: Vec<PathBuf>,
    /// How many of the jobs are below this one.
    below: usize,
}

/// What unpacking needs besides.
pub(crate) struct Unpacking<'a> {
    /// What one layer may cost.
    pub limits: &'a Limits,
    /// Which blobs are here already.
    pub arrivals: &'a Arrivals,
    /// Told of each layer.
    pub progress: &'a dyn Progress,
}

/// Unpacks the layers that aren't there yet, several at a time, each when its blob is here. The caller holds
/// the content lock. Returns the directories, bottom first.
pub(crate) fn ensure(
    layout: &Layout,
    manifest: &Manifest,
    config: &ConfigFile,
    unpacking: &Unpacking<'_>,
) -> Result<Vec<PathBuf>, Error> {
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let (layers, diff_ids) = (manifest.layers.len(), diff_ids.len());
        return Err(Error::LayerCount { layers, diff_ids });
    }
    let places: Vec<PathBuf> = config.chain_ids().iter().map(|c| layout.layer(c)).collect();
    let mut at = 0;
    while let Some(layer) = manifest.layers.get(at) {
        if !places[at].is_dir() {
            unpacking.arrivals.wait(&layer.digest);
        }
        // Whatever else can be unpacked now: nothing is waited for under a lock but other processes' work.
        let ready = manifest.layers[at..].iter().zip(&places[at..]);
        let ready = ready.take_while(|(l, p)| unpacking.arrivals.has(&l.digest) || p.is_dir());
        let end = at + ready.count().max(1);
        ensure_some(layout, manifest, config, at..end, unpacking)?;
        at = end;
    }
    Ok(places)
}

/// Unpacks some layers on top of those that are there, and shows them.
fn ensure_some(
    layout: &Layout,
    manifest: &Manifest,
    config: &ConfigFile,
    which: Range<usize>,
    unpacking: &Unpacking<'_>,
) -> Result<(), Error> {
    let (chains, diff_ids) = (config.chain_ids(), &config.rootfs.diff_ids);
    let mut locks = Vec::new();
    let mut jobs: Vec<Job<'_>> = Vec::new();
    // Topmost first, as overlay and the unpacking want it.
    let mut lowers: Vec<PathBuf> =
        chains[..which.start].iter().rev().map(|chain| layout.layer(chain)).collect();
    for n in which {
        let (chain, layer) = (&chains[n], &manifest.layers[n]);
        let place = layout.layer(chain);
        if !place.is_dir() {
            // Always taken from the bottom up, and chains form a tree: no two wait for each other.
            let lock = layout.lock(&format!("layer-{}", chain.hex()));
            locks.push(Lock::exclusive(&lock).map_err(Error::io("lock", &lock))?);
        }
        if place.is_dir() {
            unpacking.progress.ready(&layer.digest);
            lowers.insert(0, place);
            continue;
        }
        let scratch = layout.tmp().join(unique("layer"));
        let (below, above) = (jobs.len(), scratch.clone());
        let diff_id = &diff_ids[n];
        jobs.push(Job { layer, diff_id, place, scratch, lowers: lowers.clone(), below });
        lowers.insert(0, above);
    }
    publish(layout, unpack_all(layout, &jobs, unpacking)?)
}

/// Unpacks layers on as many threads as there are processors. A layer that wants to know what is below it
/// waits for that, and threads take layers from the bottom up: so whoever waits does so for a layer that
/// another thread is at work on, and the lowest of these waits for nobody.
fn unpack_all(
    layout: &Layout,
    jobs: &[Job<'_>],
    unpacking: &Unpacking<'_>,
) -> Result<Vec<Pending>, Error> {
    let results = Results::new(jobs.len());
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if results.failed() {
                return;
            }
            let settled = Settled { results: &results, job: job.below };
            let result = unpack_one(layout, job, &results, unpacking);
            if result.is_ok() {
                unpacking.progress.ready(&job.layer.digest);
            }
            results.set(job.below, result);
            drop(settled);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..threads.min(jobs.len()) {
            // Without another thread this one does it all.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    results.into_pending(jobs)
}

/// Sees to it that nobody waits for a job whose thread ended in a panic.
struct Settled<'a> {
    results: &'a Results,
    job: usize,
}

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        self.results.set(self.job, Err(unfinished()));
    }
}

fn unfinished() -> Error {
    Error::io("unpack", Path::new("layers"))(io::Error::other("the work was cut off"))
}

/// What came of each job.
struct Results {
    done: Mutex<Vec<Option<Result<LayerRecord, Error>>>>,
    changed: Condvar,
}

impl Results {
    fn new(jobs: usize) -> Self {
        Self { done: Mutex::new((0..jobs).map(|_| None).collect()), changed: Condvar::new() }
    }

    fn done(&self) -> MutexGuard<'_, Vec<Option<Result<LayerRecord, Error>>>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, job: usize, result: Result<LayerRecord, Error>) {
        if let Some(place) = self.done().get_mut(job) {
            place.get_or_insert(result);
        }
        self.changed.notify_all();
    }

    fn failed(&self) -> bool {
        self.done().iter().flatten().any(Result::is_err)
    }

    /// Waits for the first `count` jobs; false if one of them failed.
    fn complete(&self, count: usize) -> bool {
        let all = |done: &[Option<Result<LayerRecord, Error>>]| {
            let below = done.iter().take(count);
            if below.clone().any(|result| matches!(result, Some(Err(_)))) {
                return Some(false);
            }
            below.clone().all(Option::is_some).then_some(true)
        };
        let mut done = self.done();
        loop {
            if let Some(complete) = all(&done) {
                return complete;
            }
            done = self.changed.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The unpacked layers; or the lowest one's error, and nothing stays of the others.
    fn into_pending(self, jobs: &[Job<'_>]) -> Result<Vec<Pending>, Error> {
        let done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut pending = Vec::new();
        let mut failure = None;
        for (job, result) in jobs.iter().zip(done) {
            let (scratch, place) = (job.scratch.clone(), job.place.clone());
            match result {
                Some(Ok(record)) => pending.push(Pending { scratch, place, record }),
                Some(Err(error)) => failure = failure.or(Some(error)),
                // A thread that began it has said so; a failure kept the others from it.
                None => {}
            }
        }
        match failure {
            None if pending.len() == jobs.len() => Ok(pending),
            None => Err(unfinished()),
            Some(error) => Err(error),
        }
    }
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
    job: &Job<'_>,
    results: &Results,
    unpacking: &Unpacking<'_>,
) -> Result<LayerRecord, Error> {
    let unpacked = unpack_into(layout, job, results, unpacking);
    if unpacked.is_err() {
        // What failed is what matters; a leftover goes at the next start.
        let _ = remove_dir(&job.scratch);
    }
    unpacked
}

fn unpack_into(
    layout: &Layout,
    job: &Job<'_>,
    results: &Results,
    unpacking: &Unpacking<'_>,
) -> Result<LayerRecord, Error> {
    let Job { layer, diff_id, scratch, .. } = job;
    let Unpacking { limits, progress, .. } = *unpacking;
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
    let lowers = Below::when(job.lowers.clone(), || results.complete(job.below));
    let unpacked = unpack::unpack_over(&mut hashed, scratch, lowers, limits)
        .map_err(|error| Error::Layer { digest: layer.digest, error: Box::new(error) })?;
    io::copy(&mut hashed, &mut io::sink()).map_err(Error::io("decompress", &path))?;
    let (found, _) = hashed.finish();
    if found != **diff_id {
        return Err(Error::DiffId { layer: layer.digest, expected: **diff_id, found });
    }
    Ok(LayerRecord { diff_id: **diff_id, bytes: unpacked.bytes, entries: unpacked.entries })
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
