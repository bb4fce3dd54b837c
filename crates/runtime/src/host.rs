//! The data directory and what is made on the host around it: at opening, and for a sandbox.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::cgroup::Cgroups;
use crate::error::{Error, io};
use crate::net;
use crate::net::bridge::{Bridges, veth_name};
use crate::options::RuntimeOptions;
use crate::protocol::ShimConfig;
use crate::runtime::Inner;
use crate::sandbox::Sandbox;
use crate::shim::LOST_NAME;
use crate::spec::{NetworkMode, SandboxId, SandboxSpec, TaskResources};
use crate::state::ContainerEvent;
use crate::store;
use crate::zygote::Zygote;

/// Removes a directory and everything in it; one that is gone is no error.
pub(crate) fn remove_directory(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

fn make_directory(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(io(format!("make {}", path.display())))
}

/// Makes directories, the cgroup root and the bridges, and starts the zygote.
pub(crate) fn prepare(
    options: &RuntimeOptions,
    zygote: &Zygote,
) -> Result<(Bridges, Cgroups), Error> {
    for directory in ["sandboxes", "logs"] {
        make_directory(&options.root.join(directory))?;
    }
    // Under the lock, or the last wharf to leave might remove the directory around it.
    let alone = net::lock::take()?;
    make_directory(&options.run_dir)?;
    drop(alone);
    zygote.warm_up()?;
    let cgroups = Cgroups::detect()?;
    cgroups.create(&options.cgroup_root(), &TaskResources::default())?;
    let bridges =
        Bridges::open(&options.root, &options.instance, options.vpc_cidr, options.bridge_cidr)?;
    Ok((bridges, cgroups))
}

/// Makes a sandbox's directories and forks its shim; takes back what it made if that fails.
pub(crate) fn make_sandbox(
    inner: &Inner,
    spec: SandboxSpec,
) -> Result<(PathBuf, ShimConfig), Error> {
    let options = &inner.options;
    let id = spec.id.clone();
    let directory = inner.sandboxes_directory().join(id.as_str());
    if let NetworkMode::Awsvpc(eni) = &spec.network {
        inner.bridges.add_vpc_gateway(eni.gateway, eni.prefix)?;
    }
    let config = ShimConfig {
        instance: options.instance.clone(),
        oci_runtime: options.runtime_of(spec.runtime_class.as_deref()).program(),
        run_dir: options.run_dir.join(id.as_str()),
        log_dir: inner.log_directory(&id),
        cgroup: format!("{}/{id}", options.cgroup_root()),
        bridge: inner.bridges.bridge.clone(),
        vpc_bridge: inner.bridges.vpc_bridge.clone(),
        task_veth: veth_name(&options.instance, id.as_str(), ""),
        dynamic_ports: (*options.dynamic_ports.start(), *options.dynamic_ports.end()),
        sandbox: spec,
    };
    make_directory(&directory)?;
    make_directory(&config.log_dir)?;
    make_directory(&config.run_dir)?;
    let forked = || {
        if let Some(storage) = &config.sandbox.storage {
            crate::storage::make(&directory, storage)?;
        }
        store::write(&directory.join("shim.json"), &config, false)?;
        Ok(inner.zygote.fork_shim(&directory)?)
    };
    if let Err(error) = forked() {
        let _ = inner.cgroups.remove(&config.cgroup);
        let _ = net::delete_link(&config.task_veth);
        let _ = remove_directory(&config.run_dir);
        let _ = remove_directory(&directory);
        return Err(error);
    }
    Ok((directory, config))
}

/// Finds the sandboxes on disk and connects to the shims that live.
pub(crate) async fn adopt(
    options: &RuntimeOptions,
    cgroups: &Cgroups,
    events: &broadcast::Sender<ContainerEvent>,
) -> Result<BTreeMap<SandboxId, Arc<Sandbox>>, Error> {
    let parent = options.root.join("sandboxes");
    let entries = std::fs::read_dir(&parent).map_err(io(format!("list {}", parent.display())))?;
    let mut sandboxes = BTreeMap::new();
    for entry in entries.flatten() {
        let directory = entry.path();
        let config: ShimConfig = match store::read(&directory.join("shim.json")) {
            Ok(config) => config,
            Err(error) => {
                // It was being made or removed; nothing can run in it.
                tracing::warn!(%error, "a sandbox without configuration is removed");
                remove_directory(&directory)?;
                continue;
            }
        };
        let connect =
            || Sandbox::connect(directory.clone(), config.clone(), cgroups.clone(), events.clone());
        let lost = directory.join(LOST_NAME);
        let mut connected = connect().await;
        if connected.is_err() && !lost.exists() {
            // A zygote may be making it this moment, for an agent that has died. From here on it
            // sees that it is too late, or we see that it wasn't.
            std::fs::write(&lost, "").map_err(io(format!("make {}", lost.display())))?;
            connected = connect().await;
            if connected.is_ok() {
                let _ = std::fs::remove_file(&lost);
            }
        }
        let sandbox = match connected {
            Ok(sandbox) => sandbox,
            Err(error) => {
                tracing::warn!(%error, sandbox = %config.sandbox.id, "the shim doesn't answer");
                Sandbox::lost(directory, config, cgroups.clone(), events).await
            }
        };
        sandboxes.insert(sandbox.id.clone(), sandbox);
    }
    Ok(sandboxes)
}
