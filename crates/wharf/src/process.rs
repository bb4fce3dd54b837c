//! wharf's own processes: who they are, whether they live, how they are told to end.

use crate::data_dir::{self, DataDir};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Lets this process open as many files as it may; the limits that it had before.
pub fn raise_open_files() -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    // Where it can't be raised it stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before });
    before
}

/// A process file below `run/`: enough to find the process and to know that it is the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFile {
    /// `supervisor`, `server`, `balancer` or `agent`.
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
        Self::of(std::process::id(), name, addresses)
    }

    /// The process with the id `pid`, which must live.
    pub fn of(pid: u32, name: &str, addresses: Vec<String>) -> Self {
        let pid = i32::try_from(pid).unwrap_or(0);
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

/// The process that listens on a TCP port of this host, as `NAME (pid PID)`; none if it can't be
/// seen, as another user's processes can't.
pub fn listener_on(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let holds = |pid: i32| {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.any(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
    };
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let pid = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .find(|pid| holds(*pid))?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("{} (pid {pid})", name.trim()))
}

/// Inodes of the sockets that listen on `port`, from a table as proc(5) lays it out: field 1 is
/// the local address, field 3 the state (0A is LISTEN), field 9 the inode.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == "0A";
        listens.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
    };
    table.lines().skip(1).filter_map(inode).collect()
}
