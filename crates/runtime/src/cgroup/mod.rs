//! Control groups: the task's limits, the containers' counters, and their removal.
//!
//! The OCI runtime makes a container's cgroup and sets its limits; this module makes the task's
//! above it, reads statistics and OOM counters, and removes both. Paths are the same in every
//! hierarchy: `/wharf-<instance>/<task>/<container>`.

mod v1;
mod v2;

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::spec::TaskResources;
use crate::state::ContainerStats;

pub use v1::V1;
pub use v2::V2;

/// The period of CPU quotas, as docker's.
const CPU_PERIOD_US: u64 = 100_000;
/// How often a cgroup whose processes were killed is tried to be removed, and how long apart.
const REMOVE_TRIES: u32 = 400;
const REMOVE_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// Why a cgroup operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cgroup {what}: {source}")]
    Io {
        /// What was tried, on what.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// The host has no cgroups mounted.
    #[error("no cgroup file system is mounted below /sys/fs/cgroup")]
    NotMounted,
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}

/// The host's hierarchies.
#[derive(Debug, Clone)]
pub enum Cgroups {
    /// Version 1 and hybrid: a hierarchy per controller.
    V1(V1),
    /// Version 2: one hierarchy.
    V2(V2),
}

impl Cgroups {
    /// Finds what is mounted, from `/proc/self/mountinfo`.
    pub fn detect() -> Result<Self, Error> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")
            .map_err(failed("read /proc/self/mountinfo"))?;
        let v1 = V1::from_mountinfo(&mounts);
        if v1.has("memory") {
            return Ok(Self::V1(v1));
        }
        V2::from_mountinfo(&mounts).map(Self::V2).ok_or(Error::NotMounted)
    }

    /// Makes a task's cgroup with its limits.
    pub fn create(&self, path: &str, resources: &TaskResources) -> Result<(), Error> {
        match self {
            Self::V1(v1) => v1.create(path, resources),
            Self::V2(v2) => v2.create(path, resources),
        }
    }

    /// How many processes of this cgroup the kernel has killed for memory.
    pub fn oom_kills(&self, path: &str) -> u64 {
        match self {
            Self::V1(v1) => v1.oom_kills(path),
            Self::V2(v2) => v2.oom_kills(path),
        }
    }

    /// The counters of a container's cgroup; those that can't be read are 0.
    pub fn stats(&self, path: &str) -> ContainerStats {
        match self {
            Self::V1(v1) => v1.stats(path),
            Self::V2(v2) => v2.stats(path),
        }
    }

    /// Kills every process in the cgroup and below it, and removes it. One that is gone is no
    /// error.
    pub fn remove(&self, path: &str) -> Result<(), Error> {
        for root in self.roots() {
            remove_tree(&below(root, path))?;
        }
        Ok(())
    }

    /// Kills what is in the cgroup itself.
    pub fn kill(&self, path: &str) {
        self.roots().for_each(|root| kill_members(&below(root, path)));
    }

    /// The names directly below `path`, over all hierarchies.
    pub fn children(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .roots()
            .filter_map(|root| std::fs::read_dir(below(root, path)).ok())
            .flat_map(|entries| entries.flatten())
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Whether the cgroup is in any hierarchy.
    pub fn exists(&self, path: &str) -> bool {
        self.roots().any(|root| below(root, path).exists())
    }

    /// Brings the calling process into the cgroup in the hierarchy of version 2 beside version 1,
    /// which OCI runtimes don't touch: its children stay there. With version 2 alone the
    /// runtime puts them into their cgroup in any case.
    pub fn join_unified(&self, path: &str) -> Result<(), Error> {
        let Self::V1(v1) = self else { return Ok(()) };
        let Some(root) = v1.unified() else { return Ok(()) };
        make(&below(root, path))?;
        write(&below(root, path).join("cgroup.procs"), 0)
    }

    /// A cgroup of version 2 as nft names it: from /sys/fs/cgroup on, also on hybrid hosts, where
    /// the hierarchy is mounted one level deeper.
    pub fn nft_name(&self, path: &str) -> Option<String> {
        let root = match self {
            Self::V1(v1) => v1.unified()?,
            Self::V2(v2) => v2.root(),
        };
        let directory = below(root, path);
        let name = directory.strip_prefix("/sys/fs/cgroup").ok()?;
        directory.exists().then(|| name.to_string_lossy().into_owned())
    }

    fn roots(&self) -> Box<dyn Iterator<Item = &Path> + '_> {
        match self {
            Self::V1(v1) => Box::new(v1.roots()),
            Self::V2(v2) => Box::new(std::iter::once(v2.root())),
        }
    }
}

/// A cgroup's directory in a hierarchy.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn remove_tree(directory: &Path) -> Result<(), Error> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(format!("list {}", directory.display()))(error)),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    let mut tries = 0;
    loop {
        match std::fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if tries >= REMOVE_TRIES => {
                return Err(failed(format!("remove {}", directory.display()))(error));
            }
            Err(_) => {
                kill_members(directory);
                std::thread::sleep(REMOVE_PAUSE);
                tries += 1;
            }
        }
    }
}

fn kill_members(directory: &Path) {
    let Ok(members) = std::fs::read_to_string(directory.join("cgroup.procs")) else { return };
    for pid in members.lines().filter_map(|line| line.parse::<i32>().ok()) {
        // 0 stands for processes of another pid namespace, and would signal our own group.
        if pid > 1 {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn read_number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The value of `key` in a file of lines `key value`.
fn read_key(path: &Path, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn write(path: &Path, value: impl ToString) -> Result<(), Error> {
    std::fs::write(path, value.to_string()).map_err(failed(format!("write {}", path.display())))
}

fn make(directory: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(directory).map_err(failed(format!("make {}", directory.display())))
}

/// A limit in thousandths of a CPU as a quota of [`CPU_PERIOD_US`].
fn quota_us(cpu_millis: u64) -> u64 {
    // The kernel refuses quotas below a millisecond.
    (cpu_millis.saturating_mul(CPU_PERIOD_US) / 1000).max(1000)
}
