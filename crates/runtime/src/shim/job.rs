//! Forked children of the shim: each does one thing that might block or crash, says how it went
//! through a pipe and ends.
//!
//! What a job leaves behind, a container's first process above all, becomes the shim's child.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::fcntl::OFlag;
use nix::sys::wait::WaitStatus;
use nix::unistd::{self, ForkResult};
use serde::{Deserialize, Serialize};

use crate::protocol;

use super::{close_all_but, exit_now, restore_signals};

/// The most output of an exec that is kept and answered.
pub(crate) const MAX_EXEC_OUTPUT_BYTES: usize = 64 << 10;

/// What a job found out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Output {
    /// The process that it left behind.
    pub(crate) pid: Option<i32>,
    /// How long the preparation of the bundle took.
    pub(crate) bundle_us: u64,
    /// How long the OCI runtime took.
    pub(crate) runtime_us: u64,
}

type Outcome = Result<Output, String>;

/// What a job is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Makes the container; `network_error` is what went wrong beside it.
    Create { network_us: u64, network_error: Option<String> },
    /// Starts it.
    Start,
    /// Removes it.
    Delete,
    /// Removes the files of one that is gone.
    Clear,
    /// Runs a process in it.
    Exec,
}

/// A process that an exec started, and its output.
pub(super) struct ExecProcess {
    pub(super) pid: Option<i32>,
    pub(super) status: Option<WaitStatus>,
    pub(super) pipe: Option<File>,
    pub(super) output: Vec<u8>,
}

/// A child under way.
pub(super) struct Job {
    pid: i32,
    pipe: File,
    buffer: Vec<u8>,
    pub(super) outcome: Option<Outcome>,
    pub(super) kind: Kind,
    /// The container's name.
    pub(super) container: String,
    /// Who asked: client and request number; nobody for the shim's own.
    pub(super) asked_by: Option<(u64, u64)>,
    pub(super) exec: Option<ExecProcess>,
}

impl Job {
    /// Forks a child that does `work` with `stdio` as its standard streams.
    pub(super) fn fork(
        kind: Kind,
        container: &str,
        asked_by: Option<(u64, u64)>,
        stdio: Option<[BorrowedFd<'_>; 3]>,
        work: impl FnOnce() -> Outcome,
    ) -> io::Result<Self> {
        let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC)?;
        // SAFETY: the shim has one thread.
        match unsafe { unistd::fork() }? {
            ForkResult::Parent { child } => {
                set_nonblocking(&reader)?;
                Ok(Self {
                    pid: child.as_raw(),
                    pipe: File::from(reader),
                    buffer: Vec::new(),
                    outcome: None,
                    kind,
                    container: container.to_owned(),
                    asked_by,
                    exec: None,
                })
            }
            ForkResult::Child => run_child(&writer, stdio, work),
        }
    }

    /// Whether a process that ends meanwhile may be one whose story isn't told yet.
    pub(super) fn leaves_strays(&self) -> bool {
        matches!(self.kind, Kind::Create { .. } | Kind::Start | Kind::Exec)
    }

    /// Whether it starts this container and hasn't been dealt with.
    pub(super) fn starts(&self, container: &str) -> bool {
        self.kind == Kind::Start && self.container == container
    }

    pub(super) fn owns(&self, pid: i32) -> bool {
        self.pid == pid || self.exec.as_ref().is_some_and(|exec| exec.pid == Some(pid))
    }

    /// One of its processes has ended.
    pub(super) fn ended(&mut self, pid: i32, status: WaitStatus) {
        if let Some(exec) = self.exec.as_mut().filter(|exec| exec.pid == Some(pid)) {
            exec.status = Some(status);
            return;
        }
        self.read_result();
        if self.outcome.is_none() {
            self.outcome = Some(Err(format!("the child ended without an answer: {status:?}")));
        }
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let result = self.outcome.is_none().then(|| self.pipe.as_fd());
        let output = self.exec.as_ref().and_then(|exec| exec.pipe.as_ref().map(File::as_fd));
        result.into_iter().chain(output)
    }

    /// Reads what is there of the answer and of an exec's output.
    pub(super) fn read_result(&mut self) {
        if self.outcome.is_none() {
            let _ = read_available(&mut self.pipe, &mut self.buffer, protocol::MAX_FRAME_BYTES);
            if let Ok(Some(frame)) = protocol::take_frame(&mut self.buffer) {
                let outcome = serde_json::from_slice(&frame);
                self.outcome = Some(outcome.unwrap_or_else(|error| Err(error.to_string())));
            }
        }
        if let Some(exec) = &mut self.exec
            && let Some(pipe) = &mut exec.pipe
            && !read_available(pipe, &mut exec.output, MAX_EXEC_OUTPUT_BYTES)
        {
            exec.pipe = None;
        }
    }

    /// Whether there is nothing more to wait for.
    pub(super) fn is_done(&self) -> bool {
        match (&self.outcome, &self.exec) {
            (None, _) => false,
            (Some(Err(_)), _) | (_, None) => true,
            // A process that the exec left in the background may hold the pipe: the exit counts.
            (Some(Ok(_)), Some(exec)) => exec.status.is_some(),
        }
    }
}

/// Reads until the pipe is empty; what exceeds `limit` is read and dropped. False at its end.
fn read_available(pipe: &mut File, into: &mut Vec<u8>, limit: usize) -> bool {
    let mut buffer = [0; 16 << 10];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => {
                let room = limit.saturating_sub(into.len());
                into.extend_from_slice(&buffer[..length.min(room)]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

pub(super) fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

fn run_child(
    writer: &OwnedFd,
    stdio: Option<[BorrowedFd<'_>; 3]>,
    work: impl FnOnce() -> Outcome,
) -> ! {
    restore_signals();
    if let Some([stdin, stdout, stderr]) = stdio {
        let streams = unistd::dup2_stdin(stdin)
            .and_then(|()| unistd::dup2_stdout(stdout))
            .and_then(|()| unistd::dup2_stderr(stderr));
        if streams.is_err() {
            exit_now(1);
        }
    }
    close_all_but(writer.as_raw_fd());
    let outcome = catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err("panicked; see shim.log".to_owned()));
    let frame = protocol::encode(&outcome).unwrap_or_default();
    let _ = unistd::write(writer, &frame);
    exit_now(0)
}
