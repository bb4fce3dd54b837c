//! Shims whose sandbox is gone from the disk: their sockets are gone too, so nothing can talk to
//! them, and they would wait for ever.
//!
//! A shim is known by its log, which it keeps open as its standard error: a path below this wharf's
//! own directory, which no other process has there.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{LOG_NAME, PROCESS_NAME};

/// How long the kernel may take to end a killed process.
const END: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// A running shim.
pub(crate) struct Stray {
    /// The sandbox that it was made for.
    pub(crate) sandbox: String,
    process: OwnedFd,
}

impl Stray {
    /// Kills it and waits for its end.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.process, Signal::KILL) {
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            other => other?,
        }
        match poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&END))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}

/// The shims of sandboxes in `sandboxes`, whether those are still there or not.
pub(crate) fn running_below(sandboxes: &Path) -> Vec<Stray> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| shim(pid, sandboxes)).collect()
}

fn shim(pid: i32, sandboxes: &Path) -> Option<Stray> {
    sandbox_of(pid, sandboxes)?;
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    // Once more: now that it is held, the number can't have gone to another process.
    let sandbox = sandbox_of(pid, sandboxes)?;
    Some(Stray { sandbox, process })
}

/// The sandbox whose log a process has as its standard error.
fn sandbox_of(pid: i32, sandboxes: &Path) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    if name.trim_ascii_end() != PROCESS_NAME.to_bytes() {
        return None;
    }
    sandbox_of_log(&std::fs::read_link(format!("/proc/{pid}/fd/2")).ok()?, sandboxes)
}

fn sandbox_of_log(log: &Path, sandboxes: &Path) -> Option<String> {
    let text = log.as_os_str().as_bytes();
    // What the kernel shows of a file that was removed.
    let text = text.strip_suffix(b" (deleted)").unwrap_or(text);
    let log = PathBuf::from(std::ffi::OsStr::from_bytes(text));
    let below = log.strip_prefix(sandboxes).ok()?;
    let sandbox = below.parent()?.to_str()?;
    let is_one = below.file_name()? == LOG_NAME && !sandbox.is_empty() && !sandbox.contains('/');
    is_one.then(|| sandbox.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_names_its_sandbox() {
        let of = |log: &str| sandbox_of_log(Path::new(log), Path::new("/d/sandboxes"));
        assert_eq!(of("/d/sandboxes/t1/shim.log").as_deref(), Some("t1"));
        assert_eq!(of("/d/sandboxes/t1/shim.log (deleted)").as_deref(), Some("t1"));
        assert_eq!(of("/d/sandboxes/shim.log"), None);
        assert_eq!(of("/d/sandboxes/t1/app/shim.log"), None);
        assert_eq!(of("/d/sandboxes/t1/other.log"), None);
        assert_eq!(of("/e/sandboxes/t1/shim.log"), None);
        assert_eq!(of("pipe:[1]"), None);
    }
}
