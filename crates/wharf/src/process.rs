//! wharf's own processes: who they are, whether they live, how they are told to end.

use crate::data_dir::{self, DataDir};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A process file below `run/`: enough to find the process and to know that it is the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFile {
    /// `supervisor`, `server` or `agent`.
    pub name: String,
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks after boot: with the pid it names one process for ever.
    pub start_ticks: u64,
    /// wharf's version.
    pub version: String,
    /// Addresses that it listens on.
    #[serde(default)]
    pub addresses: Vec<String>,
}

impl ProcessFile {
    /// The calling process.
    pub fn of_this_process(name: &str, addresses: Vec<String>) -> Self {
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        Self {
            name: name.to_owned(),
            pid,
            start_ticks: start_ticks(pid).unwrap_or(0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            addresses,
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, data_dir: &DataDir) -> Result<(), data_dir::Error> {
        data_dir::write_json(&path(data_dir, &self.name), self)
    }

    /// Reads the file of the process called `name`; `None` if there is none or its process ended.
    pub fn read_live(data_dir: &DataDir, name: &str) -> Option<Self> {
        let file: Self = data_dir::read_json(&path(data_dir, name)).ok().flatten()?;
        (start_ticks(file.pid) == Some(file.start_ticks)).then_some(file)
    }

    /// A descriptor of the process, if it still lives.
    pub fn open(&self) -> Option<OwnedFd> {
        let fd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Checked after opening: a pid that was reused meanwhile has another start time.
        (start_ticks(self.pid) == Some(self.start_ticks)).then_some(fd)
    }

    /// Asks the process to end and waits for it. True if it ended in time.
    pub fn stop(&self, signal: Signal, timeout: Duration) -> bool {
        let Some(fd) = self.open() else { return true };
        let _ = pidfd_send_signal(&fd, signal);
        wait(&fd, timeout)
    }
}

/// Waits until the process behind a pidfd has ended; false if it hasn't in time.
pub fn wait(pidfd: &OwnedFd, timeout: Duration) -> bool {
    let Ok(timeout) = rustix::event::Timespec::try_from(timeout) else { return false };
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&timeout)), Ok(n) if n > 0)
}

fn path(data_dir: &DataDir, name: &str) -> std::path::PathBuf {
    data_dir.run().join(format!("{name}.json"))
}

/// Field 22 of /proc/PID/stat, counted after the parenthesised name, which may hold anything.
fn start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // A zombie has ended: nobody has collected it yet.
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19)?.parse().ok()
}
