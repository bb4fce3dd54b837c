//! The zygote: a small single-threaded process that forks shims on request.
//!
//! It is this same program, started once with a hidden argument and turned aside at the top of
//! `main` before any thread exists, so that its forks are safe and a task's start pays neither for
//! exec nor for linking. It is started again when it has died. A shim is forked twice and in a
//! session of its own: it belongs to init and survives agent, zygote and terminal.
//!
//! Rejected: forking the zygote out of the agent itself; that is only sound before the first
//! thread, and a zygote that died could not be made again.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::cmsg_space;
use nix::sys::socket::{
    self, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr,
};
use nix::unistd::{self, ForkResult};
use serde::{Deserialize, Serialize};

use crate::shim;

/// The hidden argument. It stands in `ps` beside the program's name.
pub(crate) const ARGUMENT: &str = "wharf-zygote";
/// The largest message of either side: a path, or an error's text.
const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// Why a shim couldn't be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The zygote's program couldn't be started.
    #[error("start {program:?} as zygote: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Talking to the zygote failed, also with a fresh one.
    #[error("talk to the zygote: {0}")]
    Talk(#[source] io::Error),
    /// The zygote answered something else; its program lacks the hook in `main`.
    #[error("{0:?} doesn't serve as zygote: does its main call run_if_zygote?")]
    NotAZygote(PathBuf),
    /// The shim couldn't set itself up.
    #[error("shim: {0}")]
    Shim(String),
}

#[derive(Serialize, Deserialize)]
struct ForkRequest {
    directory: PathBuf,
}

/// The zygote answers that it has forked; the shim itself says through the pipe that came with the
/// request whether it is ready. So the zygote is free for the next while shims set themselves up.
#[derive(Serialize, Deserialize)]
enum ForkReply {
    Forked { pid: i32 },
    Failed { error: String },
}

/// Starts zygotes and asks them for shims. The zygote is started on first use, and again when it
/// has died.
#[derive(Debug, Clone)]
pub struct Zygote {
    program: PathBuf,
    socket: Arc<Mutex<Option<OwnedFd>>>,
}

impl Zygote {
    /// The running program itself (`/proc/self/exe`): its `main` must call [`run_if_zygote`].
    pub fn this_program() -> Self {
        Self::program("/proc/self/exe")
    }

    /// Another program whose `main` calls [`run_if_zygote`] (for tests).
    pub fn program(path: impl Into<PathBuf>) -> Self {
        Self { program: path.into(), socket: Arc::default() }
    }

    /// Starts the zygote now, so that the first task doesn't wait for it.
    pub fn warm_up(&self) -> Result<(), Error> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if socket.is_none() {
            *socket = Some(self.start()?);
        }
        Ok(())
    }

    /// Forks the shim of the sandbox in `directory` (which holds `shim.json`); when this returns
    /// it listens on its socket. Blocks for some milliseconds. Returns the shim's process id.
    pub(crate) fn fork_shim(&self, directory: &Path) -> Result<i32, Error> {
        let request = ForkRequest { directory: directory.to_owned() };
        let request = serde_json::to_vec(&request).map_err(|e| Error::Talk(e.into()))?;
        let reader = self.ask_twice(&request)?;
        let mut text = Vec::new();
        File::from(reader).read_to_end(&mut text).map_err(Error::Talk)?;
        let died = || Error::Shim("died while it set itself up; see shim.log".to_owned());
        match serde_json::from_slice::<ForkReply>(&text).map_err(|_| died())? {
            ForkReply::Forked { pid } => Ok(pid),
            ForkReply::Failed { error } => Err(Error::Shim(error)),
        }
    }

    /// A zygote that was killed shows as a broken pipe or an end of file: one fresh try.
    fn ask_twice(&self, request: &[u8]) -> Result<OwnedFd, Error> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let was_running = socket.is_some();
        let asked = match self.ask(&mut socket, request) {
            Err(Error::Talk(_) | Error::NotAZygote(_)) if was_running => {
                *socket = None;
                self.ask(&mut socket, request)
            }
            other => other,
        };
        if matches!(asked, Err(Error::Talk(_) | Error::NotAZygote(_))) {
            *socket = None;
        }
        asked
    }

    /// Has a shim forked; answers the pipe from which its own answer will come.
    fn ask(&self, socket: &mut Option<OwnedFd>, request: &[u8]) -> Result<OwnedFd, Error> {
        let talk = |error: nix::Error| Error::Talk(error.into());
        let fd = match socket {
            Some(fd) => fd.as_raw_fd(),
            None => socket.insert(self.start()?).as_raw_fd(),
        };
        let (reader, writer) = unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(talk)?;
        let descriptors = [writer.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let flags = MsgFlags::MSG_NOSIGNAL;
        socket::sendmsg::<UnixAddr>(fd, &[IoSlice::new(request)], &rights, flags, None)
            .map_err(talk)?;
        let mut buffer = vec![0; MAX_MESSAGE_BYTES];
        let length = receive(fd, &mut buffer).map_err(Error::Talk)?;
        match serde_json::from_slice(&buffer[..length]) {
            Ok(ForkReply::Forked { .. }) => Ok(reader),
            Ok(ForkReply::Failed { error }) => Err(Error::Shim(error)),
            Err(_) => Err(Error::NotAZygote(self.program.clone())),
        }
    }

    fn start(&self) -> Result<OwnedFd, Error> {
        let failed = |source| Error::Start { program: self.program.clone(), source };
        let (ours, theirs) = socket::socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(|e| failed(e.into()))?;
        let mut child = Command::new(&self.program)
            .arg0("wharf-zygote")
            .arg(ARGUMENT)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        // It ends when our end of the socket closes; somebody has to take its exit status.
        std::thread::Builder::new()
            .name("zygote-reaper".to_owned())
            .spawn(move || child.wait())
            .map_err(failed)?;
        Ok(ours)
    }
}

fn receive(fd: i32, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket::recv(fd, buffer, MsgFlags::empty()) {
            Ok(length) => return Ok(length),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A request and the descriptor that came with it.
fn receive_request(fd: RawFd, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = cmsg_space!([RawFd; 1]);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = loop {
        match socket::recvmsg::<UnixAddr>(fd, &mut slices, Some(&mut space), flags) {
            Err(nix::Error::EINTR) => {}
            other => break other?,
        }
    };
    let mut descriptor = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            for fd in received {
                // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
                descriptor = Some(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    Ok((message.bytes, descriptor))
}

/// Call first in `main`, before any thread exists: if this process was started as a zygote it
/// serves as one and never returns; otherwise this does nothing.
pub fn run_if_zygote() {
    let mut arguments = std::env::args_os();
    let named = arguments.nth(1).is_some_and(|argument| argument == ARGUMENT);
    if named && arguments.next().is_none() {
        serve();
    }
}

/// Serves as zygote on descriptor 0 until the other end closes.
pub(crate) fn serve() -> ! {
    let _ = unistd::setsid();
    let _ = nix::sys::prctl::set_name(c"wharf-zygote");
    // SAFETY: descriptor 0 was given by `Zygote::start` and stays open for the process's life.
    let socket = unsafe { BorrowedFd::borrow_raw(0) };
    let mut buffer = vec![0; MAX_MESSAGE_BYTES];
    // Made once here, and inherited by every shim.
    crate::oci::warm_up();
    loop {
        let (length, writer) = match receive_request(socket.as_raw_fd(), &mut buffer) {
            Ok((0, _)) | Err(_) => std::process::exit(0),
            Ok((length, writer)) => (length, writer),
        };
        let reply = match (serde_json::from_slice::<ForkRequest>(&buffer[..length]), writer) {
            (Ok(request), Some(writer)) => fork_twice(&request.directory, writer),
            (Ok(_), None) => ForkReply::Failed { error: "no pipe came along".to_owned() },
            (Err(error), _) => ForkReply::Failed { error: error.to_string() },
        };
        let reply = serde_json::to_vec(&reply).unwrap_or_default();
        if socket::send(socket.as_raw_fd(), &reply, MsgFlags::MSG_NOSIGNAL).is_err() {
            std::process::exit(0);
        }
    }
}

/// Forks a child that forks the shim and exits, so that the shim belongs to init. The shim itself
/// writes to the pipe when it listens.
fn fork_twice(directory: &Path, writer: OwnedFd) -> ForkReply {
    match try_fork_twice(directory, writer) {
        Ok(pid) => ForkReply::Forked { pid },
        Err(error) => ForkReply::Failed { error: error.to_string() },
    }
}

fn try_fork_twice(directory: &Path, writer: OwnedFd) -> io::Result<i32> {
    // SAFETY: the zygote has one thread.
    match unsafe { unistd::fork() }? {
        ForkResult::Parent { child } => {
            drop(writer);
            nix::sys::wait::waitpid(child, None)?;
            Ok(child.as_raw())
        }
        ForkResult::Child => {
            let _ = unistd::setsid();
            // SAFETY: still one thread.
            match unsafe { unistd::fork() } {
                Ok(ForkResult::Child) => shim_process(directory, writer),
                Ok(ForkResult::Parent { .. }) => shim::exit_now(0),
                Err(_) => shim::exit_now(1),
            }
        }
    }
}

fn shim_process(directory: &Path, writer: OwnedFd) -> ! {
    let report = |reply: ForkReply| {
        let text = serde_json::to_vec(&reply).unwrap_or_default();
        let _ = unistd::write(&writer, &text);
    };
    match shim::Shim::set_up(directory, writer.as_raw_fd()) {
        Ok(mut shim) => {
            report(ForkReply::Forked { pid: unistd::getpid().as_raw() });
            drop(writer);
            shim.serve();
            shim::exit_now(0)
        }
        Err(error) => {
            report(ForkReply::Failed { error: error.to_string() });
            shim::exit_now(1)
        }
    }
}
