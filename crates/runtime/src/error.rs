//! What the runtime's handle answers when something can't be done.

use std::time::Duration;

use crate::spec::{self, PortMapping, SandboxId};
use crate::zygote;
use crate::{cgroup, net, store};

/// Why the runtime couldn't do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification is wrong.
    #[error(transparent)]
    Spec(#[from] spec::Error),
    /// There is no such sandbox.
    #[error("no sandbox {0}")]
    NoSandbox(SandboxId),
    /// The sandbox's shim is gone, and with it its containers.
    #[error("sandbox {0} has lost its shim")]
    ShimLost(SandboxId),
    /// There is no such container.
    #[error("no container {container} in sandbox {sandbox}")]
    NoContainer {
        /// The task's id.
        sandbox: SandboxId,
        /// The container's name.
        container: String,
    },
    /// A host port that was asked for is taken.
    #[error("host port {}/{} is already in use", .0.host_port, .0.protocol.as_str())]
    PortTaken(PortMapping),
    /// A member of a specification isn't built.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The OCI runtime is missing, or older than its known holes.
    #[error("OCI runtime: {0}")]
    OciRuntime(String),
    /// The shim or the OCI runtime answered with an error: what failed on what.
    #[error("{0}")]
    Failed(String),
    /// It took too long.
    #[error("{what} took longer than {limit:?}")]
    TimedOut {
        /// What was under way.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// No shim could be made.
    #[error(transparent)]
    Zygote(#[from] zygote::Error),
    /// The network failed.
    #[error(transparent)]
    Net(#[from] net::Error),
    /// A cgroup operation failed.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// A file of ours can't be read or written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An input or output operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, on what.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
}

pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}
