//! Containers on this host: sandboxes, OCI runtimes, cgroups, networks, logs.
//!
//! One sandbox per task: a shim process that owns the containers' standard streams and exit codes
//! and outlives whoever asked for it. The caller's process holds a [`Runtime`]; everything that
//! it made can be listed again after a restart, from disk and from the live shims.
//!
//! A program that uses this crate calls [`run_if_zygote`] first thing in `main`: shims are forked
//! by a single-threaded zygote, which is this same program started with a hidden argument.
//!
//! - [`spec`], [`state`]: what is asked for, what is known.
//! - [`runtime`]: the [`Runtime`] handle; [`logs`]: what containers wrote.
//! - [`zygote`], `shim`, `oci`: the other side, in processes of their own.
//! - [`net`], [`cgroup`]: what surrounds a container on the host.

pub mod cgroup;
mod error;
mod host;
mod janitor;
pub mod logs;
pub mod net;
mod oci;
mod oci_version;
mod options;
mod protocol;
mod publisher;
pub mod runtime;
mod sandbox;
mod secret;
mod sharing;
mod shim;
pub mod spec;
pub mod state;
mod storage;
mod store;
#[cfg(feature = "test-support")]
pub mod testing;
pub mod zygote;

pub use janitor::SweepReport;
pub use runtime::{Error, OciRuntime, Runtime, RuntimeOptions};
pub use spec::{ContainerSpec, ExecSpec, NetworkMode, SandboxId, SandboxSpec};
pub use state::{
    ContainerEvent, ContainerInfo, ContainerStatus, EventKind, ExitStatus, SandboxInfo,
};
pub use storage::is_available as can_limit_storage;
pub use zygote::{Zygote, run_if_zygote};

/// Whether the kernel confines by AppArmor's profiles.
pub fn has_apparmor() -> bool {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|text| text.starts_with('Y'))
}
