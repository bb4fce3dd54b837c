//! A disk in memory that loses what wasn't synced, and fails when it is told to.
//!
//! It keeps what a process sees (the cache) apart from what a power cut leaves (the platter), per
//! file and for the directory, and knows every operation in between. Names become durable only by
//! syncing the directory. After a failed sync the cache claims what the platter doesn't have, as
//! Linux does.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use wharf_journal::disk::Lock;
use wharf_journal::{Disk, DiskFile};

const SECTOR: usize = 512;

/// What happens at one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power fails: this and all later operations fail, and nobody is there to care.
    PowerCut,
    /// The operation fails once with EIO.
    Broken,
    /// Operations that need room fail with ENOSPC, for as many operations.
    Full(u64),
}

/// What of the unsynced operations the platter gets when the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Lost,
    /// All of it.
    Kept,
    /// A prefix of each file's operations, the last cut at any byte.
    Torn,
    /// Any of the operations, and of each write any of its sectors.
    Reordered,
}

/// Bugs that the checkers must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// A sync that does nothing, as if the call had been forgotten.
    SkippedSync,
    /// A failed write or sync whose error nobody looks at.
    SwallowedError,
}

#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending_names: Vec<NameOp>,
    next_inode: u64,
    operations: u64,
    fault: Option<(u64, Fault)>,
    faults_hit: u64,
    is_off: bool,
    /// The operation that has just begun is the one at which the power failed.
    is_failing_now: bool,
    planted: Option<Planted>,
    locked: bool,
    trace: Vec<String>,
}

#[derive(Clone, Default)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<FileOp>,
}

#[derive(Clone)]
enum FileOp {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone)]
enum NameOp {
    Link(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
}

impl FileOp {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => bytes.resize(*len, 0),
            Self::Write { offset, bytes: written } => write(bytes, *offset, written),
        }
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let end = offset + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(written);
}

impl NameOp {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Link(path, inode) => drop(names.insert(path.clone(), *inode)),
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Unlink(path) => drop(names.remove(path)),
        }
    }
}

/// A small deterministic generator; seeds are printed with failures.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

impl SimDisk {
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lets a fault happen at the given operation, counted from now, starting at 0.
    pub fn plan(&self, operation: u64, fault: Fault) {
        let mut state = self.state();
        state.operations = 0;
        state.faults_hit = 0;
        state.fault = Some((operation, fault));
        state.trace.clear();
    }

    pub fn plant(&self, bug: Planted) {
        self.state().planted = Some(bug);
    }

    /// Operations since [`SimDisk::plan`].
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How many operations the fault has hit.
    pub fn faults_hit(&self) -> u64 {
        self.state().faults_hit
    }

    /// The last operations, for a failure's message.
    pub fn trace(&self) -> String {
        let state = self.state();
        let from = state.trace.len().saturating_sub(12);
        state.trace[from..].join("\n  ")
    }

    /// Whether an operation of that name was made to fail.
    pub fn has_failed(&self, operation: &str) -> bool {
        let needle = format!("{operation} failed");
        self.state().trace.iter().any(|line| line.contains(&needle))
    }

    /// What a new process finds after the power came back.
    pub fn after_power_cut(&self, survival: Survival, random: &mut Random) -> Self {
        let mut state = self.state();
        state.is_off = true;
        let mut files = BTreeMap::new();
        for (inode, file) in &state.files {
            let bytes = survive(file, survival, random);
            let file = Inode { cached: bytes.clone(), durable: bytes, pending: Vec::new() };
            files.insert(*inode, file);
        }
        let mut names = state.durable_names.clone();
        let pending = &state.pending_names;
        let kept = match survival {
            Survival::Lost => 0,
            Survival::Kept => pending.len(),
            Survival::Torn | Survival::Reordered => random.below(pending.len() + 1),
        };
        pending[..kept].iter().for_each(|operation| operation.apply(&mut names));
        Self::with(files, names, state.next_inode)
    }

    /// What a new process finds when the old one ended and the machine went on.
    pub fn after_restart(&self) -> Self {
        let mut state = self.state();
        state.is_off = true;
        let copy = Self::with(state.files.clone(), state.names.clone(), state.next_inode);
        let mut new = copy.state();
        new.durable_names = state.durable_names.clone();
        new.pending_names = state.pending_names.clone();
        drop(new);
        copy
    }

    fn with(files: BTreeMap<u64, Inode>, names: BTreeMap<PathBuf, u64>, next_inode: u64) -> Self {
        let durable_names = names.clone();
        let state = State { files, names, durable_names, next_inode, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Every file's path and length.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        let state = self.state();
        let files = state.names.iter();
        files.map(|(path, inode)| (path.clone(), state.files[inode].cached.len())).collect()
    }

    /// An independent copy with one bit of one file turned.
    pub fn flipped(&self, path: &Path, bit: usize) -> Self {
        let copy = self.after_restart();
        self.state().is_off = false;
        let mut state = copy.state();
        let inode = state.names[path];
        let file = state.files.get_mut(&inode).unwrap();
        file.cached[bit / 8] ^= 1 << (bit % 8);
        file.durable = file.cached.clone();
        file.pending.clear();
        drop(state);
        copy
    }
}

fn survive(file: &Inode, survival: Survival, random: &mut Random) -> Vec<u8> {
    let mut bytes = file.durable.clone();
    match survival {
        Survival::Lost => {}
        Survival::Kept => file.pending.iter().for_each(|operation| operation.apply(&mut bytes)),
        Survival::Torn => {
            let whole = random.below(file.pending.len() + 1);
            file.pending[..whole].iter().for_each(|operation| operation.apply(&mut bytes));
            if let Some(FileOp::Write { offset, bytes: written }) = file.pending.get(whole) {
                write(&mut bytes, *offset, &written[..random.below(written.len() + 1)]);
            }
        }
        Survival::Reordered => {
            for operation in &file.pending {
                match operation {
                    FileOp::SetLen(_) if random.coin() => operation.apply(&mut bytes),
                    FileOp::SetLen(_) => {}
                    FileOp::Write { offset, bytes: written } => {
                        let mut start = 0;
                        while start < written.len() {
                            let sector = (offset + start) / SECTOR;
                            let end = ((sector + 1) * SECTOR - offset).min(written.len());
                            if random.coin() {
                                write(&mut bytes, offset + start, &written[start..end]);
                            }
                            start = end;
                        }
                    }
                }
            }
        }
    }
    bytes
}

/// What kind of operation asks, as far as faults care.
#[derive(PartialEq, Eq)]
enum Kind {
    NeedsRoom,
    Other,
}

impl State {
    /// Counts an operation and lets it fail if it is its turn.
    fn begin(&mut self, name: &str, path: &Path, kind: Kind) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        self.is_failing_now = false;
        self.trace.push(format!("{number} {name} {}", path.display()));
        if self.is_off {
            return Err(io::Error::other("the power is off"));
        }
        let Some((at, fault)) = self.fault else { return Ok(()) };
        let failure = match fault {
            Fault::PowerCut if number >= at => {
                self.is_off = true;
                self.is_failing_now = true;
                io::Error::other("the power is off")
            }
            Fault::Broken if number == at => io::Error::from_raw_os_error(5),
            Fault::Full(count)
                if (at..at.saturating_add(count)).contains(&number) && kind == Kind::NeedsRoom =>
            {
                io::Error::from_raw_os_error(28)
            }
            _ => return Ok(()),
        };
        self.faults_hit += 1;
        self.trace.push(format!("{number} {name} failed: {failure}"));
        Err(failure)
    }

    fn name_op(&mut self, operation: NameOp) {
        operation.apply(&mut self.names);
        self.pending_names.push(operation);
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
    path: PathBuf,
}

impl SimFile {
    /// Begins an operation; the file's state afterwards.
    fn with<T>(
        &self,
        name: &str,
        kind: Kind,
        work: impl FnOnce(&mut Inode) -> T,
        failed: impl FnOnce(&mut Inode),
    ) -> io::Result<T> {
        let mut state = self.disk.state();
        let begun = state.begin(name, &self.path, kind);
        let (is_off, is_failing_now) = (state.is_off, state.is_failing_now);
        let file = state.files.get_mut(&self.inode).unwrap();
        match begun {
            Ok(()) => Ok(work(file)),
            Err(error) => {
                // The power may fail in the middle of the operation: it may still happen.
                if is_failing_now {
                    work(file);
                } else if !is_off {
                    failed(file);
                }
                Err(error)
            }
        }
    }

    fn planted(&self) -> Option<Planted> {
        self.disk.state().planted
    }

    fn swallow<T>(&self, result: io::Result<T>, instead: T) -> io::Result<T> {
        let swallow = self.planted() == Some(Planted::SwallowedError) && !self.disk.state().is_off;
        if swallow { Ok(result.unwrap_or(instead)) } else { result }
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with("len", Kind::Other, |file| file.cached.len() as u64, |_| {})
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = |file: &mut Inode| {
            let rest = file.cached.get(offset as usize..).unwrap_or_default();
            let len = buffer.len().min(rest.len());
            buffer[..len].copy_from_slice(&rest[..len]);
            len
        };
        self.with("read", Kind::Other, read, |_| {})
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let apply = |bytes: &[u8], file: &mut Inode| {
            let operation = FileOp::Write { offset: offset as usize, bytes: bytes.to_vec() };
            operation.apply(&mut file.cached);
            file.pending.push(operation);
        };
        let written = self.with(
            "write",
            Kind::NeedsRoom,
            |file| {
                apply(bytes, file);
                bytes.len()
            },
            // A part may have been written before the error.
            |file| apply(&bytes[..bytes.len() / 2], file),
        );
        self.swallow(written, bytes.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let apply = |file: &mut Inode| {
            let operation = FileOp::SetLen(len as usize);
            operation.apply(&mut file.cached);
            file.pending.push(operation);
        };
        self.with("set_len", Kind::Other, apply, |_| {})
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.planted() == Some(Planted::SkippedSync) {
            return self.with("skipped sync", Kind::Other, |_| {}, |_| {});
        }
        let mut state = self.disk.state();
        let begun = state.begin("sync_data", &self.path, Kind::Other);
        let is_off = state.is_off;
        let file = state.files.get_mut(&self.inode).unwrap();
        let pending = std::mem::take(&mut file.pending);
        if begun.is_ok() {
            pending.iter().for_each(|operation| operation.apply(&mut file.durable));
        } else if is_off {
            file.pending = pending;
        }
        // Else the cache forgets that it holds what the platter never got.
        drop(state);
        self.swallow(begun, ())
    }

    fn drop_cache(&self) -> io::Result<()> {
        let reread = |file: &mut Inode| {
            file.cached = file.durable.clone();
            file.pending.iter().for_each(|operation| operation.apply(&mut file.cached));
        };
        self.with("drop_cache", Kind::Other, reread, |_| {})
    }
}

struct Unlock(SimDisk);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.state().begin("create_dir", dir, Kind::NeedsRoom)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.begin("list", dir, Kind::Other)?;
        let in_dir = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(in_dir.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.begin("create", path, Kind::NeedsRoom)?;
        let inode = state.next_inode;
        state.next_inode += 1;
        state.files.insert(inode, Inode::default());
        state.name_op(NameOp::Link(path.into(), inode));
        Ok(Box::new(SimFile { disk: self.clone(), inode, path: path.into() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.begin("open", path, Kind::Other)?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile { disk: self.clone(), inode, path: path.into() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let begun = state.begin("rename", to, Kind::Other);
        if begun.is_ok() || state.is_failing_now {
            state.name_op(NameOp::Rename(from.into(), to.into()));
        }
        begun
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let begun = state.begin("remove", path, Kind::Other);
        if begun.is_ok() || state.is_failing_now {
            state.name_op(NameOp::Unlink(path.into()));
        }
        begun
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let begun = state.begin("sync_dir", dir, Kind::Other);
        if begun.is_ok() && state.planted != Some(Planted::SkippedSync) {
            state.durable_names = state.names.clone();
            state.pending_names.clear();
        }
        begun
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut state = self.state();
        state.begin("lock", path, Kind::Other)?;
        if std::mem::replace(&mut state.locked, true) {
            return Ok(Lock::HeldBy("another process".into()));
        }
        Ok(Lock::Held(Box::new(Unlock(self.clone()))))
    }
}
