//! A container's standard streams: pipes to its log, or a terminal.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::cmsg_space;
use nix::fcntl::{self, OFlag};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use nix::sys::stat::Mode;
use nix::unistd;

use crate::spec::ContainerSpec;

use super::job::set_nonblocking;
use super::log::Stream;

/// The shim's ends.
pub(super) struct Streams {
    /// What goes to the log.
    pub(super) output: Vec<Stream>,
    /// Keeps standard input open: nobody writes, and nothing ends.
    pub(super) input: Option<OwnedFd>,
    /// Where the terminal will come from.
    pub(super) console: Option<Console>,
    /// The container's ends: input, output, errors.
    pub(super) theirs: [OwnedFd; 3],
}

/// Makes the streams that the container asks for; a terminal's socket is made in `directory`.
pub(super) fn open(
    spec: &ContainerSpec,
    directory: &Path,
    runtime_id: &str,
) -> io::Result<Streams> {
    if spec.tty {
        // A path of a socket has to be short.
        let name: String = runtime_id.chars().take(12).chain(".tty".chars()).collect();
        return Ok(Streams {
            output: Vec::new(),
            input: None,
            console: Some(Console::listen(directory.join(name))?),
            theirs: [null()?, null()?, null()?],
        });
    }
    let (out_reader, out_writer) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    let (err_reader, err_writer) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    set_nonblocking(&out_reader)?;
    set_nonblocking(&err_reader)?;
    let (stdin, input) = if spec.stdin {
        let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC)?;
        (reader, Some(writer))
    } else {
        (null()?, None)
    };
    Ok(Streams {
        output: vec![Stream::new("stdout", out_reader), Stream::new("stderr", err_reader)],
        input,
        console: None,
        theirs: [stdin, out_writer, err_writer],
    })
}

pub(super) fn null() -> nix::Result<OwnedFd> {
    fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
}

/// A socket to which the OCI runtime sends the terminal that it made inside the container.
pub(super) struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    fn listen(path: PathBuf) -> io::Result<Self> {
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// Where it listens.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal; it was sent before the runtime's `create` ended.
    pub(super) fn receive(&self) -> io::Result<OwnedFd> {
        let (stream, _) = self.listener.accept()?;
        let mut space = cmsg_space!([RawFd; 1]);
        let mut text = [0; 4096];
        let mut slices = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let message =
            recvmsg::<UnixAddr>(stream.as_fd().as_raw_fd(), &mut slices, Some(&mut space), flags)?;
        let mut terminal = None;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = control {
                for fd in received {
                    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
                    terminal = Some(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
        }
        let none = || io::Error::new(io::ErrorKind::InvalidData, "the runtime sent no terminal");
        let terminal = terminal.ok_or_else(none)?;
        set_nonblocking(&terminal)?;
        Ok(terminal)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
