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
//! - [`runtime`]: the [`Runtime`] handle.
//! - [`zygote`]: how shims come into being.

pub mod runtime;
pub mod spec;
pub mod state;
pub mod zygote;

pub use runtime::{Error, OciRuntime, Runtime, RuntimeOptions, SweepReport};
pub use spec::{ContainerSpec, ExecSpec, NetworkMode, SandboxId, SandboxSpec};
pub use state::{
    ContainerEvent, ContainerInfo, ContainerStatus, EventKind, ExitStatus, SandboxInfo,
};
pub use zygote::{Zygote, run_if_zygote};
