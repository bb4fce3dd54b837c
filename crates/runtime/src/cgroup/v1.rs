//! Version 1: each controller, or group of controllers, in a hierarchy of its own.

use std::path::{Path, PathBuf};

use crate::spec::TaskResources;
use crate::state::ContainerStats;

use super::{CPU_PERIOD_US, Error, below, make, quota_us, read_key, read_number, write};

/// The kernel's "no limit" is the largest number of whole pages.
const NO_LIMIT_BYTES: u64 = 1 << 62;

/// The hierarchies that are mounted.
#[derive(Debug, Clone, Default)]
pub struct V1 {
    hierarchies: Vec<Hierarchy>,
    /// Where version 2 is mounted beside them, without controllers (hybrid hosts).
    unified: Option<PathBuf>,
}

#[derive(Debug, Clone)]
struct Hierarchy {
    controllers: Vec<String>,
    root: PathBuf,
}

impl V1 {
    /// The mounts of type `cgroup`.
    pub fn from_mountinfo(mounts: &str) -> Self {
        let hierarchies = mounts.lines().filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut after = after.split(' ');
            if after.next() != Some("cgroup") {
                return None;
            }
            let options = after.nth(1)?;
            let root = PathBuf::from(before.split(' ').nth(4)?);
            let controllers = options.split(',').map(String::from).collect();
            Some(Hierarchy { controllers, root })
        });
        let unified = super::V2::from_mountinfo(mounts).map(|v2| v2.root().to_owned());
        Self { hierarchies: hierarchies.collect(), unified }
    }

    /// Whether a controller is mounted.
    pub fn has(&self, controller: &str) -> bool {
        self.root_of(controller).is_some()
    }

    /// The mount points.
    pub fn roots(&self) -> impl Iterator<Item = &Path> {
        let roots = self.hierarchies.iter().map(|hierarchy| hierarchy.root.as_path());
        roots.chain(self.unified())
    }

    /// The mount point of version 2 on a hybrid host.
    pub fn unified(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    fn root_of(&self, controller: &str) -> Option<&Path> {
        let holds = |hierarchy: &&Hierarchy| hierarchy.controllers.iter().any(|c| c == controller);
        self.hierarchies.iter().find(holds).map(|hierarchy| hierarchy.root.as_path())
    }

    fn directory(&self, controller: &str, path: &str) -> PathBuf {
        below(self.root_of(controller).unwrap_or(Path::new("/nonexistent")), path)
    }

    /// Makes the cgroup in every hierarchy and sets the limits.
    pub fn create(&self, path: &str, resources: &TaskResources) -> Result<(), Error> {
        for root in self.roots() {
            make(&below(root, path))?;
        }
        if let Some(root) = self.root_of("cpuset") {
            inherit_cpuset(root, path)?;
        }
        let cpu = self.directory("cpu", path);
        if let Some(shares) = resources.cpu_shares {
            write(&cpu.join("cpu.shares"), shares)?;
        }
        if let Some(millis) = resources.cpu_millis {
            write(&cpu.join("cpu.cfs_period_us"), CPU_PERIOD_US)?;
            write(&cpu.join("cpu.cfs_quota_us"), quota_us(millis))?;
        }
        if let Some(bytes) = resources.memory_bytes {
            let memory = self.directory("memory", path);
            write(&memory.join("memory.limit_in_bytes"), bytes)?;
            let with_swap = memory.join("memory.memsw.limit_in_bytes");
            if with_swap.exists() && !resources.may_swap {
                write(&with_swap, bytes)?;
            }
        }
        Ok(())
    }

    /// The counter of OOM kills.
    pub fn oom_kills(&self, path: &str) -> u64 {
        let control = self.directory("memory", path).join("memory.oom_control");
        read_key(&control, "oom_kill").unwrap_or(0)
    }

    /// The counters of a container.
    pub fn stats(&self, path: &str) -> ContainerStats {
        let memory = self.directory("memory", path);
        let cpuacct = self.directory("cpuacct", path);
        let cpu = self.directory("cpu", path);
        let number = |path: PathBuf| read_number(&path).unwrap_or(0);
        let io = self.directory("blkio", path).join("blkio.throttle.io_service_bytes_recursive");
        let (block_read_bytes, block_write_bytes) = block_bytes(&io);
        ContainerStats {
            cpu_usage_ns: number(cpuacct.join("cpuacct.usage")),
            cpu_system_ns: number(cpuacct.join("cpuacct.usage_sys")),
            cpu_throttled_periods: read_key(&cpu.join("cpu.stat"), "nr_throttled").unwrap_or(0),
            memory_usage_bytes: number(memory.join("memory.usage_in_bytes")),
            memory_inactive_file_bytes: read_key(
                &memory.join("memory.stat"),
                "total_inactive_file",
            )
            .unwrap_or(0),
            memory_max_usage_bytes: number(memory.join("memory.max_usage_in_bytes")),
            memory_limit_bytes: read_number(&memory.join("memory.limit_in_bytes"))
                .filter(|&bytes| bytes < NO_LIMIT_BYTES),
            pids: number(self.directory("pids", path).join("pids.current")),
            block_read_bytes,
            block_write_bytes,
            ..ContainerStats::default()
        }
    }
}

/// A cpuset without CPUs takes no process: every new level copies its parent's.
fn inherit_cpuset(root: &Path, path: &str) -> Result<(), Error> {
    let mut directory = root.to_owned();
    for component in Path::new(path.trim_start_matches('/')) {
        let parent = directory.clone();
        directory.push(component);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let read = |at: &Path| std::fs::read_to_string(at.join(file)).unwrap_or_default();
            if read(&directory).trim().is_empty() {
                write(&directory.join(file), read(&parent).trim())?;
            }
        }
    }
    Ok(())
}

fn block_bytes(path: &Path) -> (u64, u64) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let sum = |word: &str| {
        text.lines()
            .filter_map(|line| {
                let mut fields = line.split(' ').skip(1);
                (fields.next() == Some(word)).then(|| fields.next()?.parse::<u64>().ok())?
            })
            .sum()
    };
    (sum("Read"), sum("Write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_with_co_mounted_controllers() {
        let mounts = "\
30 29 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
33 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:12 - cgroup cgroup rw,cpu,cpuacct
34 30 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
35 30 0:32 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
        let v1 = V1::from_mountinfo(mounts);
        assert_eq!(v1.root_of("cpuacct"), v1.root_of("cpu"));
        assert_eq!(v1.root_of("memory"), Some(Path::new("/sys/fs/cgroup/memory")));
        assert!(!v1.has("pids"));
        assert_eq!(v1.unified(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(v1.roots().count(), 3);
    }
}
