//! Version 2: one hierarchy. Written against the kernel's cgroup-v2 documentation.

use std::path::{Path, PathBuf};

use crate::spec::TaskResources;
use crate::state::ContainerStats;

use super::{CPU_PERIOD_US, Error, below, make, quota_us, read_key, read_number, write};

/// The controllers that tasks need, where the host has them.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "memory", "pids", "io"];

/// The unified hierarchy.
#[derive(Debug, Clone)]
pub struct V2 {
    root: PathBuf,
}

impl V2 {
    /// The hierarchy mounted at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The first mount of type `cgroup2`.
    pub fn from_mountinfo(mounts: &str) -> Option<Self> {
        mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            after.starts_with("cgroup2 ").then(|| Some(Self::at(before.split(' ').nth(4)?)))?
        })
    }

    /// The mount point.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the cgroup, hands the controllers down to it and sets the limits.
    pub fn create(&self, path: &str, resources: &TaskResources) -> Result<(), Error> {
        let mut directory = self.root.clone();
        for component in Path::new(path.trim_start_matches('/')) {
            hand_down(&directory)?;
            directory.push(component);
            make(&directory)?;
        }
        // The containers' cgroups below it need them as well.
        hand_down(&directory)?;
        if let Some(shares) = resources.cpu_shares {
            write(&directory.join("cpu.weight"), weight(shares))?;
        }
        if let Some(millis) = resources.cpu_millis {
            let quota = format!("{} {CPU_PERIOD_US}", quota_us(millis));
            write(&directory.join("cpu.max"), quota)?;
        }
        if let Some(bytes) = resources.memory_bytes {
            write(&directory.join("memory.max"), bytes)?;
            let swap = directory.join("memory.swap.max");
            if swap.exists() && !resources.may_swap {
                write(&swap, 0)?;
            }
        }
        Ok(())
    }

    /// The counter of OOM kills.
    pub fn oom_kills(&self, path: &str) -> u64 {
        read_key(&below(&self.root, path).join("memory.events"), "oom_kill").unwrap_or(0)
    }

    /// The counters of a container.
    pub fn stats(&self, path: &str) -> ContainerStats {
        let directory = below(&self.root, path);
        let key = |file: &str, key: &str| read_key(&directory.join(file), key).unwrap_or(0);
        let number = |file: &str| read_number(&directory.join(file));
        let io = std::fs::read_to_string(directory.join("io.stat")).unwrap_or_default();
        let io_sum = |name: &str| -> u64 {
            io.split_whitespace()
                .filter_map(|field| field.strip_prefix(name)?.parse::<u64>().ok())
                .sum()
        };
        ContainerStats {
            cpu_usage_ns: key("cpu.stat", "usage_usec") * 1000,
            cpu_system_ns: key("cpu.stat", "system_usec") * 1000,
            cpu_throttled_periods: key("cpu.stat", "nr_throttled"),
            memory_usage_bytes: number("memory.current").unwrap_or(0),
            memory_inactive_file_bytes: key("memory.stat", "inactive_file"),
            memory_max_usage_bytes: number("memory.peak").unwrap_or(0),
            // "max" isn't a number: no limit.
            memory_limit_bytes: number("memory.max"),
            pids: number("pids.current").unwrap_or(0),
            block_read_bytes: io_sum("rbytes="),
            block_write_bytes: io_sum("wbytes="),
            ..ContainerStats::default()
        }
    }
}

/// Enables the controllers for the children of `directory`, one by one: one that the parent
/// doesn't offer must not keep the others away.
fn hand_down(directory: &Path) -> Result<(), Error> {
    let read = |file: &str| std::fs::read_to_string(directory.join(file)).unwrap_or_default();
    let (offered, enabled) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let lists = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    for controller in CONTROLLERS {
        if lists(&offered, controller) && !lists(&enabled, controller) {
            write(&directory.join("cgroup.subtree_control"), format!("+{controller}"))?;
        }
    }
    Ok(())
}

/// docker's conversion of CPU shares (2 to 262144) into a weight (1 to 10000).
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::super::Cgroups;
    use super::*;
    use std::fs;

    /// A directory that looks like a cgroup2 mount. Files of new cgroups don't come by
    /// themselves, so writes make them: what was written last can be read.
    fn fake_root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpuset cpu io memory pids misc")
            .unwrap();
        fs::write(root.path().join("cgroup.subtree_control"), "memory").unwrap();
        root
    }

    #[test]
    fn a_task_gets_its_limits_and_controllers() {
        let root = fake_root();
        let task = root.path().join("wharf-t/task");
        fs::create_dir_all(&task).unwrap();
        fs::write(task.join("memory.swap.max"), "max").unwrap();
        let resources = TaskResources {
            cpu_millis: Some(250),
            cpu_shares: Some(1024),
            memory_bytes: Some(64 << 20),
            may_swap: false,
        };
        V2::at(root.path()).create("/wharf-t/task", &resources).unwrap();
        let read = |file: &str| fs::read_to_string(task.join(file)).unwrap();
        assert_eq!(read("cpu.max"), "25000 100000");
        assert_eq!(read("cpu.weight"), "39");
        assert_eq!(read("memory.max"), (64 << 20).to_string());
        assert_eq!(read("memory.swap.max"), "0");
        let last = fs::read_to_string(root.path().join("cgroup.subtree_control")).unwrap();
        assert_eq!(last, "+io");
    }

    #[test]
    fn counters_are_read() {
        let root = fake_root();
        let container = root.path().join("wharf-t/task/app");
        fs::create_dir_all(&container).unwrap();
        let put = |file: &str, text: &str| fs::write(container.join(file), text).unwrap();
        put("memory.events", "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n");
        put("cpu.stat", "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_throttled 4\n");
        put("memory.current", "4096\n");
        put("memory.max", "max\n");
        put("memory.stat", "anon 1\ninactive_file 512\n");
        put("io.stat", "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=5 wbytes=0 rios=1\n");
        put("pids.current", "3\n");
        let cgroups = Cgroups::V2(V2::at(root.path()));
        assert_eq!(cgroups.oom_kills("/wharf-t/task/app"), 2);
        let stats = cgroups.stats("/wharf-t/task/app");
        assert_eq!((stats.cpu_usage_ns, stats.cpu_system_ns), (1_500_000, 500_000));
        assert_eq!((stats.block_read_bytes, stats.block_write_bytes), (15, 20));
        assert_eq!((stats.memory_limit_bytes, stats.memory_inactive_file_bytes), (None, 512));
        assert_eq!((stats.pids, stats.cpu_throttled_periods), (3, 4));
        assert_eq!(cgroups.children("/wharf-t"), ["task"]);
    }

    #[test]
    fn the_mount_is_found() {
        let mounts =
            "24 1 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(V2::from_mountinfo(mounts).unwrap().root(), Path::new("/sys/fs/cgroup"));
    }
}
