//! What the shim holds of one container.

use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sys::wait::WaitStatus;

use crate::net::ports::HeldPort;
use crate::protocol::BridgePort;
use crate::spec::ContainerSpec;
use crate::state::{ContainerInfo, ContainerStatus, ExitReason, ExitStatus};

use super::log::{LogFile, Stream};
use super::now_ms;
use super::streams::Console;

/// Turns that empty a pipe of 1 MiB, the largest that a container can ask for.
const DRAIN_TURNS: usize = 5;

/// A container, from the request to make it until it is deleted.
pub(super) struct Container {
    pub(super) spec: ContainerSpec,
    pub(super) info: ContainerInfo,
    /// The ports that are held for it; dropping them frees them.
    pub(super) _ports: Vec<HeldPort>,
    /// Its network namespace, unless it uses the task's or the host's.
    pub(super) netns: Option<OwnedFd>,
    pub(super) bridge_port: Option<BridgePort>,
    pub(super) log: LogFile,
    pub(super) streams: Vec<Stream>,
    /// Keeps its standard input open.
    pub(super) input: Option<OwnedFd>,
    /// Where its terminal comes from, until its create has ended.
    pub(super) console: Option<Console>,
    /// The addresses and names of the containers that it is linked to.
    pub(super) links: Vec<(Ipv4Addr, String)>,
    /// False until its create has succeeded: nobody sees it before.
    pub(super) created: bool,
    /// Set once it is to be removed, with the client and request number that asked, if any did.
    pub(super) delete_asked: Option<Option<(u64, u64)>>,
    /// Why its create failed; told once what there was of it is removed.
    pub(super) create_error: Option<String>,
}

impl Container {
    pub(super) fn pid(&self) -> Option<i32> {
        match self.info.status {
            _ if !self.created => None,
            ContainerStatus::Created { pid } | ContainerStatus::Running { pid, .. } => Some(pid),
            ContainerStatus::Exited(_) => None,
        }
    }

    pub(super) fn log_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.streams.iter().map(Stream::fd)
    }

    /// Takes over the terminal that the OCI runtime has sent, if there is to be one: its output is
    /// logged, and held open it is an input that never ends.
    pub(super) fn take_terminal(&mut self) -> std::io::Result<()> {
        let Some(console) = self.console.take() else { return Ok(()) };
        let terminal = console.receive()?;
        self.input = Some(terminal.try_clone()?);
        self.streams = vec![Stream::new("stdout", terminal)];
        Ok(())
    }

    /// Moves output into the log; closed pipes are let go.
    pub(super) fn pump_logs(&mut self) {
        let log = &mut self.log;
        self.streams.retain_mut(|stream| stream.pump(log));
    }

    /// Notes the end of its first process. Its whole output is in the log afterwards: with the
    /// first process of a pid namespace every other one is dead.
    pub(super) fn exited(&mut self, status: WaitStatus, oom_kills: u64) -> ExitStatus {
        // A turn takes less than the largest pipe holds that a container can make of its own.
        for _ in 0..DRAIN_TURNS {
            self.pump_logs();
        }
        let (code, signal) = code_of(status);
        let started_at_ms = match self.info.status {
            ContainerStatus::Running { started_at_ms, .. } => Some(started_at_ms),
            _ => None,
        };
        let exit = ExitStatus {
            code,
            signal,
            oom_killed: oom_kills > 0,
            at_ms: now_ms(),
            reason: ExitReason::Exited,
            started_at_ms,
        };
        self.info.status = ContainerStatus::Exited(exit.clone());
        exit
    }
}

/// The exit code as docker reports it, and the signal.
pub(super) fn code_of(status: WaitStatus) -> (i32, Option<i32>) {
    match status {
        WaitStatus::Exited(_, code) => (code, None),
        WaitStatus::Signaled(_, signal, _) => (128 + signal as i32, Some(signal as i32)),
        _ => (255, None),
    }
}
