//! From the files on disk to the state in memory, or to the place where they cannot be trusted.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::format::{FILE_HEADER, FileHeader, FileKind, seed};
use super::scan::{Scan, Step};
use super::snapshot::{self, header_problem, sync_failed};
use super::upkeep::{SegmentSpec, create_segment};
use super::{OpenReport, Options, TornTail, io_error, segment_name, snapshot_name};
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::head::Head;

/// Everything that the committer starts from.
pub(super) struct Recovered {
    pub(super) head: Head,
    pub(super) id: Uuid,
    pub(super) chain: u32,
    /// First revisions of the segments on disk, the active one last.
    pub(super) segments: Vec<u64>,
    pub(super) active: Active,
    /// Snapshots on disk, oldest first.
    pub(super) snapshots: Vec<u64>,
    /// Bytes of log that the newest snapshot doesn't cover.
    pub(super) log_bytes: u64,
    /// Changes after this revision are known to watchers.
    pub(super) recent_after: u64,
    pub(super) report: OpenReport,
}

/// The segment that is written to.
pub(super) struct Active {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) path: PathBuf,
    /// Where the next group goes.
    pub(super) position: u64,
    /// Bytes that the file has.
    pub(super) size: u64,
}

/// The journal's files by kind, oldest first.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) segments: Vec<u64>,
    pub(super) snapshots: Vec<u64>,
    pub(super) temporary: Vec<String>,
}

impl Files {
    pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<Self, Error> {
        let mut files = Self::default();
        for name in disk.list(dir).map_err(io_error("list", dir.into()))? {
            match name.split_once('.') {
                Some((number, "log")) => files.segments.extend(number.parse::<u64>()),
                Some((number, "snap")) => files.snapshots.extend(number.parse::<u64>()),
                Some((_, "tmp")) => files.temporary.push(name),
                _ => {}
            }
        }
        files.segments.sort_unstable();
        files.snapshots.sort_unstable();
        Ok(files)
    }
}

/// Reads the directory; makes the first segment where there is none.
pub(super) fn recover(disk: &dyn Disk, dir: &Path, options: &Options) -> Result<Recovered, Error> {
    let files = Files::list(disk, dir)?;
    for name in &files.temporary {
        disk.remove(&dir.join(name)).map_err(io_error("remove", dir.join(name)))?;
    }
    let (head, snapshot_id) = match files.snapshots.last() {
        Some(revision) => {
            let (head, id) = load_snapshot(disk, dir, *revision)?;
            (head, Some(id))
        }
        None => (Head::default(), None),
    };
    let mut replay = Replay {
        disk,
        dir,
        id: snapshot_id,
        chain: None,
        report: OpenReport { snapshot_revision: head.revision, ..OpenReport::default() },
        head,
        log_bytes: 0,
    };
    if files.segments.is_empty() {
        return replay.start_first_segment(files, options);
    }
    let (active, superfluous) = replay.segments(&files.segments)?;
    // A process that was killed may have left names that only it had seen.
    disk.sync_dir(dir).map_err(|error| sync_failed(dir, &error))?;
    let old = files.snapshots.iter().rev().skip(1).map(|revision| snapshot_name(*revision));
    for name in superfluous.iter().map(|first| segment_name(*first)).chain(old) {
        remove_superfluous(disk, &dir.join(name));
    }
    let Replay { head, id, chain, mut report, log_bytes, .. } = replay;
    report.revision = head.revision;
    report.records = head.records.len();
    Ok(Recovered {
        recent_after: head.revision,
        head,
        id: id.unwrap_or_default(),
        chain: chain.unwrap_or_default(),
        segments: files.segments[superfluous.len()..].to_vec(),
        active,
        snapshots: files.snapshots.last().copied().into_iter().collect(),
        log_bytes,
        report,
    })
}

fn load_snapshot(disk: &dyn Disk, dir: &Path, revision: u64) -> Result<(Head, Uuid), Error> {
    let path = dir.join(snapshot_name(revision));
    let file = disk.open(&path).map_err(io_error("open", path.clone()))?;
    let read = snapshot::read(file.as_ref(), &path)?;
    if let Some(problem) = read.problem {
        return Err(problem);
    }
    let corrupt =
        |detail: &str| Error::Corrupt { file: path.clone(), offset: 0, detail: detail.into() };
    let header = read.header.ok_or_else(|| corrupt("the file's header is missing"))?;
    if header.revision != revision {
        return Err(corrupt("the file was renamed: it is another revision's snapshot"));
    }
    let live = read.records.iter().map(|(key, record)| (key.len() + record.value.len()) as u64);
    let live_bytes = live.sum();
    Ok((Head { revision, records: read.records.into_iter().collect(), live_bytes }, header.id))
}

/// Removes a file that nothing needs. If that fails, the next open tries again.
pub(super) fn remove_superfluous(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.remove(path) {
        tracing::warn!(file = %path.display(), %error, "could not remove an old journal file");
    }
}

struct Replay<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    id: Option<Uuid>,
    /// Checksum of the last group read; `None` before the first segment.
    chain: Option<u32>,
    head: Head,
    log_bytes: u64,
    report: OpenReport,
}

impl Replay<'_> {
    fn start_first_segment(self, files: Files, options: &Options) -> Result<Recovered, Error> {
        if let Some(revision) = files.snapshots.last() {
            let file = self.dir.join(segment_name(revision + 1));
            let detail = "there is a snapshot, but no log that goes on from it".into();
            return Err(Error::Corrupt { file, offset: 0, detail });
        }
        let id = Uuid::new_v4();
        let spec = SegmentSpec { id, first_revision: 1, chain: 0 };
        let active = create_segment(self.disk, self.dir, None, &spec, options.segment_bytes)?;
        Ok(Recovered {
            head: Head::default(),
            id,
            chain: 0,
            segments: vec![1],
            active,
            snapshots: Vec::new(),
            log_bytes: 0,
            recent_after: 0,
            report: OpenReport::default(),
        })
    }

    /// Replays the segments that the snapshot doesn't cover. Returns the last one, open, and those
    /// that it does cover.
    fn segments<'s>(&mut self, segments: &'s [u64]) -> Result<(Active, &'s [u64]), Error> {
        // A segment is superfluous if its successor starts where the snapshot ends, or before.
        let covered = segments.iter().skip(1).filter(|first| **first <= self.head.revision + 1);
        let (superfluous, needed) = segments.split_at(covered.count());
        let mut active = None;
        for (index, first) in needed.iter().enumerate() {
            active = Some(self.segment(*first, index + 1 == needed.len())?);
        }
        active.map(|active| (active, superfluous)).ok_or(Error::Closed)
    }

    fn segment(&mut self, first: u64, is_last: bool) -> Result<Active, Error> {
        let path = self.dir.join(segment_name(first));
        let io = |action| io_error(action, path.clone());
        let corrupt = |offset: usize, detail: String| {
            Err(Error::Corrupt { file: path.clone(), offset: offset as u64, detail })
        };
        let file = self.disk.open(&path).map_err(io("open"))?;
        if is_last {
            // What is replayed must be what the disk has, and stay so, before anyone sees it.
            file.sync_data().map_err(|error| sync_failed(&path, &error))?;
            file.drop_cache().map_err(io("reread"))?;
        }
        let bytes = file.read_to_end().map_err(io("read"))?;
        let header = FileHeader::decode(FileKind::Log, &bytes)
            .map_err(|problem| header_problem(&path, problem))?;
        if header.revision != first {
            return corrupt(0, "the file was renamed: its header names another revision".into());
        }
        if self.id.is_some_and(|id| id != header.id) {
            return corrupt(0, "the file belongs to another journal".into());
        }
        self.id = Some(header.id);
        let follows = match self.chain {
            Some(chain) => chain == header.chain && first == self.head.revision + 1,
            None => first <= self.head.revision + 1,
        };
        if !follows {
            let detail = format!(
                "the log goes on at revision {first} where revision {} was expected: a file is \
                 missing or cut short",
                self.head.revision + 1
            );
            return corrupt(0, detail);
        }
        let mut scan = Scan::new(&bytes, FILE_HEADER, seed(header.id), header.chain, first);
        let torn = self.replay(&mut scan, is_last, &path)?;
        self.chain = Some(scan.chain);
        let position = scan.position as u64;
        if let Some(detail) = torn {
            self.cut(file.as_ref(), &path, &bytes, position, detail)?;
        }
        Ok(Active { file, path, position, size: bytes.len() as u64 })
    }

    /// Applies a segment's groups; answers how its end is torn, if it is.
    fn replay(
        &mut self,
        scan: &mut Scan<'_>,
        is_last: bool,
        path: &Path,
    ) -> Result<Option<&'static str>, Error> {
        loop {
            let start = scan.position;
            let corrupt =
                |detail| Err(Error::Corrupt { file: path.into(), offset: start as u64, detail });
            match scan.step() {
                Step::Group { first_revision, transactions } => {
                    self.log_bytes += (scan.position - start) as u64;
                    for (revision, writes) in (first_revision..).zip(&transactions) {
                        // What the snapshot holds already is skipped.
                        if revision > self.head.revision {
                            self.head.apply(writes, None);
                            self.report.replayed += 1;
                        }
                    }
                }
                Step::End if scan.next_revision <= self.head.revision && is_last => {
                    return corrupt("the log ends before the snapshot does".into());
                }
                Step::End => return Ok(None),
                Step::Torn { detail } if is_last => return Ok(Some(detail)),
                Step::Torn { detail } => return corrupt(detail.into()),
                Step::Damaged { detail } => return corrupt(detail),
            }
        }
    }

    /// Cuts a torn tail off, durably, before anything is written in its place.
    fn cut(
        &mut self,
        file: &dyn DiskFile,
        path: &Path,
        bytes: &[u8],
        position: u64,
        detail: &str,
    ) -> Result<(), Error> {
        let tail = bytes.get(position as usize..).unwrap_or_default();
        let last = tail.iter().rposition(|byte| *byte != 0);
        self.report.torn = Some(TornTail {
            file: path.into(),
            offset: position,
            bytes: last.map_or(0, |last| last as u64 + 1),
            detail: detail.into(),
        });
        let cut = file.set_len(position).and_then(|()| file.set_len(bytes.len() as u64));
        cut.map_err(io_error("cut the torn tail off", path.into()))?;
        file.sync_data().map_err(|error| sync_failed(path, &error))
    }
}
