//! Namespaces and mounts by which containers share processes and IPC resources.

use serde_json::{Value, json};

use crate::sharing::PAUSE;
use crate::spec::{IpcMode, NetworkMode, PidMode};

use super::Bundle;

/// docker's default size of /dev/shm.
pub(crate) const DEFAULT_SHM_BYTES: u64 = 64 << 20;

/// The container's namespaces: new ones, or those of the container that holds the task's.
pub(super) fn namespaces(bundle: &Bundle, own_cgroups: bool) -> Vec<Value> {
    let new = |kind: &str| json!({ "type": kind });
    // In the task's own mode the first container makes what the others enter.
    let shared = |kind: &str| match bundle.pause {
        Some(pid) if bundle.spec.name != PAUSE => {
            json!({ "type": kind, "path": format!("/proc/{pid}/ns/{kind}") })
        }
        _ => new(kind),
    };
    let mut namespaces = vec![new("mount")];
    match bundle.sharing.pid {
        PidMode::Private => namespaces.push(new("pid")),
        PidMode::Task => namespaces.push(shared("pid")),
        PidMode::Host => {}
    }
    match bundle.sharing.ipc {
        IpcMode::Private | IpcMode::None => namespaces.push(new("ipc")),
        IpcMode::Task => namespaces.push(shared("ipc")),
        IpcMode::Host => {}
    }
    // The host's name comes with its network.
    if bundle.network != NetworkMode::Host {
        namespaces.push(new("uts"));
    }
    if let Some(netns) = &bundle.netns {
        namespaces.push(json!({ "type": "network", "path": netns }));
    }
    if own_cgroups {
        namespaces.push(new("cgroup"));
    }
    namespaces
}

/// /dev/shm and /dev/mqueue.
pub(super) fn mounts(bundle: &Bundle) -> Vec<Value> {
    let plain = ["nosuid", "noexec", "nodev"];
    let mount = |target: &str, kind: &str, source: &str, options: Vec<String>| json!({ "destination": target, "type": kind, "source": source, "options": options });
    let with = |more: &[&str]| {
        plain.iter().chain(more).map(|option| (*option).to_owned()).collect::<Vec<_>>()
    };
    let bind = |target: &str, source: &str| {
        mount(target, "bind", source, with(&["rbind", "rprivate", "rw"]))
    };
    let queues = mount("/dev/mqueue", "mqueue", "mqueue", with(&[]));
    match bundle.sharing.ipc {
        IpcMode::Private => {
            let size = bundle.spec.shm_bytes.unwrap_or(DEFAULT_SHM_BYTES);
            let options = with(&["mode=1777", &format!("size={size}")]);
            vec![queues, mount("/dev/shm", "tmpfs", "shm", options)]
        }
        IpcMode::Task => {
            vec![queues, bind("/dev/shm", &bundle.shared_memory().to_string_lossy())]
        }
        IpcMode::Host => {
            // A mount of queues shows those of the namespace that it is made in.
            vec![queues, bind("/dev/shm", "/dev/shm")]
        }
        IpcMode::None => vec![queues],
    }
}
