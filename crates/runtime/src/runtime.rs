//! The handle that the agent drives: sandboxes and containers by id.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::spec::{self, ContainerSpec, ExecSpec, Ipv4Cidr, SandboxId, SandboxSpec};
use crate::state::{ContainerEvent, ContainerInfo, ContainerStats, ExitStatus, SandboxInfo};
use crate::zygote::Zygote;

/// Why the runtime couldn't do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification is wrong.
    #[error(transparent)]
    Spec(#[from] spec::Error),
    /// There is no such sandbox.
    #[error("no sandbox {0}")]
    NoSandbox(SandboxId),
    /// There is no such container.
    #[error("no container {container} in sandbox {sandbox}")]
    NoContainer {
        /// The task's id.
        sandbox: SandboxId,
        /// The container's name.
        container: String,
    },
    /// The call isn't built yet.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The shim or the OCI runtime answered with an error (its text: what failed on what).
    #[error("{0}")]
    Failed(String),
    /// An input or output operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, on what.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
}

/// Which OCI runtime makes the containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OciRuntime {
    /// youki's libcontainer, inside this program.
    Embedded,
    /// crun at this path.
    Crun(PathBuf),
    /// runc at this path.
    Runc(PathBuf),
    /// Another runtime with runc's command line: program and global arguments.
    Custom {
        /// The program.
        path: PathBuf,
        /// Arguments before the subcommand.
        args: Vec<String>,
    },
}

/// What a [`Runtime`] is opened with.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// Where sandboxes, bundles and logs are kept: an absolute path on a file system that can be
    /// an overlay's upper directory.
    pub root: PathBuf,
    /// 1 to 8 lower-case letters and digits that tell several wharfs on one host apart: names the
    /// bridges, the nft table and the cgroup root.
    pub instance: String,
    /// The OCI runtime.
    pub oci_runtime: OciRuntime,
    /// The built-in VPC's block.
    pub vpc_cidr: Ipv4Cidr,
    /// The bridge network's block; `None` takes the first free one and keeps it.
    pub bridge_cidr: Option<Ipv4Cidr>,
    /// The port on the bridge's gateway address that 169.254.170.2:80 leads to from tasks.
    pub metadata_port: Option<u16>,
    /// The range of dynamic host ports.
    pub dynamic_ports: RangeInclusive<u16>,
}

impl RuntimeOptions {
    /// Options with the embedded runtime, VPC 10.113.0.0/16 and ports 32768 to 60999.
    pub fn new(root: impl Into<PathBuf>, instance: impl Into<String>) -> Result<Self, Error> {
        Ok(Self {
            root: root.into(),
            instance: instance.into(),
            oci_runtime: OciRuntime::Embedded,
            vpc_cidr: Ipv4Cidr::new(Ipv4Addr::new(10, 113, 0, 0), 16)?,
            bridge_cidr: None,
            metadata_port: None,
            dynamic_ports: 32768..=60999,
        })
    }
}

/// What a sweep removed that no live task owned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Mount points, network interfaces, cgroups, nft elements, processes and directories, each
    /// as text.
    pub removed: Vec<String>,
    /// What could not be removed, and why.
    pub failed: Vec<String>,
}

/// The handle. Clones share everything.
#[derive(Clone)]
pub struct Runtime {}

impl Runtime {
    /// Opens the data directory, makes the bridges, the nft table and the cgroup root where they
    /// are missing, connects to live shims and sweeps away what no live task owns.
    pub async fn open(_options: RuntimeOptions, _zygote: Zygote) -> Result<Self, Error> {
        Err(Error::Unsupported("open"))
    }

    /// The bridge's own address: reachable from tasks in network modes bridge and awsvpc.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::UNSPECIFIED
    }

    /// Leads 169.254.170.2:80 from tasks to this port of [`Runtime::gateway`].
    pub async fn set_metadata_port(&self, _port: u16) -> Result<(), Error> {
        Err(Error::Unsupported("set_metadata_port"))
    }

    /// Makes a task's sandbox. Making one that exists answers the existing one.
    pub async fn create_sandbox(&self, _spec: SandboxSpec) -> Result<SandboxInfo, Error> {
        Err(Error::Unsupported("create_sandbox"))
    }

    /// Every sandbox that is on disk, its shim alive or not.
    pub async fn list_sandboxes(&self) -> Vec<SandboxInfo> {
        Vec::new()
    }

    /// One sandbox.
    pub async fn sandbox(&self, id: &SandboxId) -> Result<SandboxInfo, Error> {
        Err(Error::NoSandbox(id.clone()))
    }

    /// Kills what still runs and removes everything of the sandbox but its logs.
    pub async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
        Err(Error::NoSandbox(id.clone()))
    }

    /// Removes a task's logs.
    pub async fn remove_logs(&self, _id: &SandboxId) -> Result<(), Error> {
        Err(Error::Unsupported("remove_logs"))
    }

    /// Makes a container up to the point where only `start` is missing.
    pub async fn create_container(
        &self,
        sandbox: &SandboxId,
        _spec: ContainerSpec,
    ) -> Result<ContainerInfo, Error> {
        Err(Error::NoSandbox(sandbox.clone()))
    }

    /// Starts a created container.
    pub async fn start_container(&self, sandbox: &SandboxId, _name: &str) -> Result<i32, Error> {
        Err(Error::NoSandbox(sandbox.clone()))
    }

    /// Sends a signal to the container's first process. No error if it has already ended.
    pub async fn signal_container(
        &self,
        sandbox: &SandboxId,
        _name: &str,
        _signal: i32,
    ) -> Result<(), Error> {
        Err(Error::NoSandbox(sandbox.clone()))
    }

    /// Sends the stop signal, and SIGKILL when the container still runs after `timeout`.
    pub async fn stop_container(
        &self,
        sandbox: &SandboxId,
        _name: &str,
        _timeout: Duration,
    ) -> Result<ExitStatus, Error> {
        Err(Error::NoSandbox(sandbox.clone()))
    }

    /// Waits until the container has ended.
    pub async fn wait_container(
        &self,
        sandbox: &SandboxId,
        _name: &str,
    ) -> Result<ExitStatus, Error> {
        Err(Error::NoSandbox(sandbox.clone()))
    }

    /// Removes a container, killing it first if it still runs. Its log stays.
    pub async fn delete_container(&self, sandbox: &SandboxId, _name: &str) -> Result<(), Error> {
        Err(Error::NoSandbox(sandbox.clone()))
    }

    /// Runs a further process in a running container, waits for it and answers its exit code and
    /// the first 64 KiB of its output (standard output and error together).
    pub async fn exec(
        &self,
        sandbox: &SandboxId,
        _name: &str,
        _spec: ExecSpec,
        _timeout: Duration,
    ) -> Result<ExecOutput, Error> {
        Err(Error::NoSandbox(sandbox.clone()))
    }

    /// What a container uses now.
    pub async fn stats(&self, sandbox: &SandboxId, _name: &str) -> Result<ContainerStats, Error> {
        Err(Error::NoSandbox(sandbox.clone()))
    }

    /// Starts and exits from now on; a receiver that lags must call `list_sandboxes`.
    pub fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        broadcast::channel(1).1
    }

    /// The directory of a task's logs: `<container>.log` and rotated `<container>.log.1` …
    pub fn log_path(&self, _sandbox: &SandboxId, _name: &str) -> PathBuf {
        PathBuf::new()
    }

    /// Removes what no live task owns.
    pub async fn sweep(&self) -> SweepReport {
        SweepReport::default()
    }

    /// Removes every sandbox, the bridges, the nft table and the cgroup root.
    pub async fn teardown(&self) -> Result<SweepReport, Error> {
        Err(Error::Unsupported("teardown"))
    }
}

/// How an `exec` ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// The exit code, or 128 + the signal.
    pub code: i32,
    /// Standard output and error together, the first 64 KiB.
    pub output: Vec<u8>,
}
