//! Removal of what no live task owns.
//!
//! The truth is the set of sandboxes; everything else on the host that carries this wharf's name
//! and isn't of one of them goes: shims, interfaces, cgroups and the processes in them, mounts,
//! directories. The nft table is rewritten whole at every start.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::mount::UnmountFlags;

use crate::cgroup::Cgroups;
use crate::error::{Error, io};
use crate::host::remove_directory;
use crate::net::{self, bridge::veth_name, nft};
use crate::options::RuntimeOptions;
use crate::runtime::{Inner, Runtime, blocking};
use crate::shim;
use crate::spec::{NetworkMode, SandboxId};

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Mount points, network interfaces, cgroups and directories that were removed, as text.
    pub removed: Vec<String>,
    /// What could not be removed, and why.
    pub failed: Vec<String>,
}

impl SweepReport {
    fn note(&mut self, what: String, result: Result<(), Error>) {
        match result {
            Ok(()) => self.removed.push(what),
            Err(error) => self.failed.push(format!("{what}: {error}")),
        }
    }
}

/// What live sandboxes own.
struct Owned {
    sandboxes: BTreeSet<String>,
    interfaces: BTreeSet<String>,
}

impl Runtime {
    /// Removes what no live task owns. Safe at any time, also while tasks start and stop.
    pub async fn sweep(&self) -> SweepReport {
        let inner = Arc::clone(&self.inner);
        let swept = blocking(move || Ok(inner.sweep())).await;
        swept.unwrap_or_else(|error| SweepReport {
            removed: Vec::new(),
            failed: vec![error.to_string()],
        })
    }

    /// Removes every sandbox, then the bridges, the nft table, the cgroup root and the run
    /// directory: nothing of this wharf stays on the host outside its data directory. The handle
    /// is of no use afterwards.
    pub async fn teardown(&self) -> Result<SweepReport, Error> {
        let ids: Vec<SandboxId> = self.all().iter().map(|sandbox| sandbox.id.clone()).collect();
        let mut report = SweepReport::default();
        let removals = ids.iter().map(|id| self.remove_sandbox(id));
        for (id, result) in ids.iter().zip(join_all(removals).await) {
            report.note(format!("sandbox {id}"), result);
        }
        let swept = self.sweep().await;
        report.removed.extend(swept.removed);
        report.failed.extend(swept.failed);
        nft::apply(&self.table_removal()).await?;
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            inner.bridges.remove()?;
            inner.cgroups.remove(&inner.options.cgroup_root())?;
            remove_directory(&inner.options.run_dir)?;
            Ok(net::lock::remove_if_last()?)
        })
        .await?;
        Ok(report)
    }
}

impl RuntimeOptions {
    /// Whether anything on the host bears this wharf's name, also if its own directory is gone.
    pub fn anything_left(&self) -> Result<bool, Error> {
        let is_bridge = net::bridge::vpc_block(&self.instance)?.is_some();
        let cgroups = Cgroups::detect()?;
        Ok(is_bridge || self.run_dir.exists() || cgroups.exists(&self.cgroup_root()))
    }

    /// Takes the block of the VPC from the bridge on this host, if there is one: for a clean-up
    /// that has nothing else to know it from.
    pub fn adopt_vpc_block(&mut self) -> Result<(), Error> {
        if let Some(block) = net::bridge::vpc_block(&self.instance)? {
            self.vpc_cidr = block;
        }
        Ok(())
    }
}

/// Awaits all at once, on the tasks of the caller's runtime.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(Box::pin).map(Some).collect();
    let mut outputs: Vec<Option<F::Output>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (slot, output) in pending.iter_mut().zip(&mut outputs) {
            if let Some(future) = slot
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
                *slot = None;
            }
        }
        if pending.iter().all(Option::is_none) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

impl Inner {
    fn sweep(&self) -> SweepReport {
        let mut report = SweepReport::default();
        // What exists is looked at before what is owned: something made in between is spared.
        let members = self.bridges.members().unwrap_or_default();
        let cgroups = self.cgroups.children(&self.options.cgroup_root());
        let directories = [self.options.run_dir.clone(), self.sandboxes_directory()];
        let entries: Vec<PathBuf> = directories.iter().flat_map(|path| list(path)).collect();
        let mounts = mounts_below(&self.sandboxes_directory());
        let shims = shim::running_below(&self.sandboxes_directory());
        let owned = self.owned();
        // First, so that nothing starts or holds what is removed below.
        for stray in shims.into_iter().filter(|stray| !owned.sandboxes.contains(&stray.sandbox)) {
            let result = stray.kill().map_err(io("kill"));
            report.note(format!("shim of {}", stray.sandbox), result);
        }
        for name in members.into_iter().filter(|name| !owned.interfaces.contains(name)) {
            let result = net::delete_link(&name).map_err(Error::from);
            report.note(format!("interface {name}"), result);
        }
        for name in cgroups.into_iter().filter(|name| !owned.sandboxes.contains(name)) {
            let path = format!("{}/{name}", self.options.cgroup_root());
            let result = self.cgroups.remove(&path).map_err(Error::from);
            report.note(format!("cgroup {path}"), result);
        }
        // Our mounts live in the shims' namespaces; one out here is somebody's mistake.
        for path in mounts {
            let result = rustix::mount::unmount(&path, UnmountFlags::DETACH)
                .map_err(|error| io("unmount")(error.into()));
            report.note(format!("mount {}", path.display()), result);
        }
        for path in entries {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !owned.sandboxes.contains(&name) && path.is_dir() {
                report.note(format!("directory {}", path.display()), remove_directory(&path));
            }
        }
        report
    }

    fn owned(&self) -> Owned {
        let mut sandboxes = self.being_made();
        let mut interfaces = BTreeSet::new();
        for sandbox in self.all() {
            sandboxes.insert(sandbox.id.to_string());
            let info = sandbox.info();
            if info.shim_pid.is_none() {
                continue;
            }
            match info.network {
                NetworkMode::Awsvpc(_) => {
                    interfaces.insert(sandbox.config.task_veth.clone());
                }
                NetworkMode::Bridge => interfaces.extend(
                    sandbox
                        .container_names()
                        .iter()
                        .map(|name| veth_name(&self.options.instance, sandbox.id.as_str(), name)),
                ),
                NetworkMode::Host | NetworkMode::None => {}
            }
        }
        Owned { sandboxes, interfaces }
    }
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Mount points below `root`, the deepest first.
fn mounts_below(root: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| Some(PathBuf::from(line.split(' ').nth(4)?)))
        .filter(|point| point.starts_with(root))
        .collect();
    points.sort();
    points.reverse();
    points
}
