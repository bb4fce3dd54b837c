//! What happens beside the writers: preparing the next segment, writing snapshots.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

use tokio::sync::mpsc::WeakSender;
use uuid::Uuid;

use super::committer::Command;
use super::format::{FILE_HEADER, FileHeader, FileKind};
use super::recovery::{Active, remove_superfluous};
use super::snapshot::{self, rename_failed, sync_failed};
use super::{io_error, segment_name};
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::journal::Loaded;

/// Zeros are written in pieces of this size.
const ZEROS: usize = 1024 * 1024;

/// One piece of work.
pub(super) enum Job {
    /// Make the next segment's file and fill it with zeros.
    Prepare { bytes: u64 },
    /// Write a snapshot, then remove the files that it makes superfluous.
    Snapshot { id: Uuid, state: Loaded, superfluous: Vec<PathBuf> },
}

/// What came of it.
pub(super) enum Done {
    Prepared(Result<Prepared, Error>),
    /// The snapshot's revision; `None` if it was aborted.
    Snapshot(Result<Option<u64>, Error>),
}

/// A file of zeros that waits to become a segment.
pub(super) struct Prepared {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// Where the work is done.
pub(super) enum Upkeep {
    /// By a thread of its own, which answers through the committer's queue.
    Thread { jobs: mpsc::Sender<Job>, thread: std::thread::JoinHandle<()>, abort: Arc<AtomicBool> },
    /// By the committer itself.
    Inline(Worker),
}

/// Does the work.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) abort: Arc<AtomicBool>,
}

impl Worker {
    pub(super) fn run(&self, job: Job) -> Done {
        match job {
            Job::Prepare { bytes } => Done::Prepared(self.prepare(bytes)),
            Job::Snapshot { id, state, superfluous } => {
                Done::Snapshot(self.snapshot(id, &state, &superfluous))
            }
        }
    }

    fn prepare(&self, bytes: u64) -> Result<Prepared, Error> {
        let path = self.dir.join("segment.tmp");
        let prepared = zero_file(self.disk.as_ref(), &path, bytes);
        if prepared.is_err() {
            let _ = self.disk.remove(&path);
        }
        Ok(Prepared { file: prepared?, path, bytes })
    }

    fn snapshot(
        &self,
        id: Uuid,
        state: &Loaded,
        superfluous: &[PathBuf],
    ) -> Result<Option<u64>, Error> {
        let disk = self.disk.as_ref();
        let Some(path) = snapshot::write(disk, &self.dir, id, state, &self.abort)? else {
            return Ok(None);
        };
        tracing::debug!(snapshot = %path.display(), records = state.records.len(), "compacted");
        for path in superfluous {
            remove_superfluous(disk, path);
        }
        Ok(Some(state.revision))
    }
}

impl Upkeep {
    /// Starts the thread.
    pub(super) fn spawn(worker: Worker, answers: WeakSender<Command>) -> std::io::Result<Self> {
        let (jobs, receiver) = mpsc::channel();
        let abort = worker.abort.clone();
        let thread =
            std::thread::Builder::new().name("journal-upkeep".into()).spawn(move || {
                for job in receiver {
                    let done = worker.run(job);
                    if let Some(answers) = answers.upgrade() {
                        // The committer may have ended meanwhile; then nobody needs the answer.
                        let _ = answers.blocking_send(Command::Done(done));
                    }
                }
            })?;
        Ok(Self::Thread { jobs, thread, abort })
    }
}

fn zero_file(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<Box<dyn DiskFile>, Error> {
    let file = disk.create(path).map_err(io_error("create", path.into()))?;
    let zeros = vec![0; ZEROS.min(usize::try_from(bytes).unwrap_or(ZEROS))];
    let mut offset = 0;
    while offset < bytes {
        let len = zeros.len().min((bytes - offset) as usize);
        file.write_all_at(&zeros[..len], offset).map_err(io_error("write", path.into()))?;
        offset += len as u64;
    }
    file.sync_data().map_err(|error| sync_failed(path, &error))?;
    Ok(file)
}

/// What a new segment's header says.
pub(super) struct SegmentSpec {
    pub(super) id: Uuid,
    pub(super) first_revision: u64,
    pub(super) chain: u32,
}

/// Makes a segment that is durably in place, out of a prepared file where there is one.
///
/// # Errors
/// [`Error::Failed`] if what is on disk is unknown; with any other, there is no such segment.
pub(super) fn create_segment(
    disk: &dyn Disk,
    dir: &Path,
    prepared: Option<Prepared>,
    spec: &SegmentSpec,
    bytes: u64,
) -> Result<Active, Error> {
    let Prepared { file, path: temporary, bytes: size } = match prepared {
        Some(prepared) => prepared,
        None => {
            // Zeros without blocks: slower to write to, but there at once.
            let path = dir.join("new-segment.tmp");
            let file = disk.create(&path).map_err(io_error("create", path.clone()))?;
            file.set_len(bytes).map_err(io_error("extend", path.clone()))?;
            Prepared { file, path, bytes }
        }
    };
    let header =
        FileHeader { id: spec.id, revision: spec.first_revision, chain: spec.chain, records: 0 };
    file.write_all_at(&header.encode(FileKind::Log), 0)
        .map_err(io_error("write", temporary.clone()))?;
    file.sync_data().map_err(|error| sync_failed(&temporary, &error))?;
    let path = dir.join(segment_name(spec.first_revision));
    disk.rename(&temporary, &path).map_err(|error| rename_failed(&path, error))?;
    disk.sync_dir(dir).map_err(|error| sync_failed(dir, &error))?;
    Ok(Active { file, path, position: FILE_HEADER as u64, size })
}
