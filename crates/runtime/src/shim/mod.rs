//! The shim: one small single-threaded process per task.
//!
//! It is the parent (as subreaper) of the task's containers, owns their standard streams, their
//! network namespaces, their published ports and their mounts (in a mount namespace of its own),
//! and keeps their exit codes on disk. It never runs an OCI runtime itself: whatever might block,
//! crash or need much code happens in a forked child, a [`job`]. It ends when it is told to, and
//! with it everything that it held.

#![allow(unsafe_code)]

mod container;
mod job;
mod link;
mod log;
mod renew;
mod requests;
mod stray;
mod streams;

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{self, OFlag};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{self, Pid};

use crate::cgroup::Cgroups;
use crate::oci::SHARED_MEMORY;
use crate::oci::shared::DEFAULT_SHM_BYTES;
use crate::protocol::{FromShim, Response, ShimConfig, encode};
use crate::sharing::PAUSE;
use crate::spec::{IpcMode, NetworkMode, PidMode};
use crate::state::{ContainerEvent, EventKind, SandboxInfo};
use crate::store;

use container::Container;
use job::Job;
pub(crate) use log::rotated;
pub(crate) use stray::running_below;

/// The socket's name in the sandbox's directory.
pub const SOCKET_NAME: &str = "shim.sock";
/// The name of its own log there.
const LOG_NAME: &str = "shim.log";
/// What it is called in `ps` and /proc.
const PROCESS_NAME: &CStr = c"wharf-shim";
/// A file by which an agent that found nobody listening tells a shim that comes up too late.
pub const LOST_NAME: &str = "lost";
/// The most that is kept for a client that doesn't read before it is dropped.
const MAX_CLIENT_BACKLOG_BYTES: usize = 16 << 20;

/// Why a shim couldn't set itself up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An agent has given the sandbox up before its shim was there.
    #[error("the sandbox was given up meanwhile")]
    GivenUp,
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried, on what.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// The sandbox's files can't be read or written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The cgroup can't be made.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    /// The network can't be made.
    #[error(transparent)]
    Net(#[from] crate::net::Error),
}

/// Names what failed.
pub(crate) fn failed<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
    let what = what.into();
    move |source| Error::System { what, source: source.into() }
}

/// Ends a forked child at once: no destructors, no exit handlers of the parent's program.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any number and doesn't return.
    unsafe { libc::_exit(code) }
}

/// How often a container whose output has to wait is looked at, in milliseconds.
const HELD_INTERVAL: u16 = 100;

/// A connection of an agent.
struct Client {
    id: u64,
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// The shim's whole state.
pub struct Shim {
    directory: PathBuf,
    config: ShimConfig,
    cgroups: Cgroups,
    listener: UnixListener,
    signals: SignalFd,
    clients: Vec<Client>,
    next_client: u64,
    containers: Vec<Container>,
    jobs: Vec<Job>,
    /// The task's network namespace in network mode awsvpc.
    task_netns: Option<OwnedFd>,
    /// Exits of processes that no container owns yet: its create hasn't been answered.
    strays: HashMap<i32, WaitStatus>,
    created_at_ms: u64,
    /// The request to end, while what it takes is under way.
    shutdown: Option<(u64, u64)>,
    /// Everything is removed; only answers are left to be sent.
    shutting_down: bool,
}

impl Shim {
    /// Turns the calling, freshly forked process into the shim of the sandbox in `directory`.
    /// `keep` is the one further descriptor that stays open.
    pub fn set_up(directory: &Path, keep: RawFd) -> Result<Self, Error> {
        detach_from_parent(directory, keep)?;
        let signals = take_signals()?;
        let config: ShimConfig = store::read(&directory.join("shim.json"))?;
        if config.sandbox.network == NetworkMode::Host {
            // Before that hierarchy is hidden.
            Cgroups::detect()?.join_unified(&config.cgroup)?;
        }
        private_mounts()?;
        let cgroups = Cgroups::detect()?;
        cgroups.create(&config.cgroup, &config.sandbox.resources)?;
        if config.sandbox.sharing.ipc == IpcMode::Task {
            let size = config.sandbox.sharing.shm_bytes.unwrap_or(DEFAULT_SHM_BYTES);
            mount_memory(&directory.join(SHARED_MEMORY), &format!("mode=1777,size={size}"), true)?;
        }
        if let Some(storage) = &config.sandbox.storage {
            crate::storage::mount(directory, storage)
                .map_err(failed("mount the task's storage"))?;
        }
        for (target, options) in &config.sandbox.memory_volumes {
            mount_memory(target, options, false)?;
        }
        let task_netns = link::connect_task(&config)?;
        let listener = listen(directory)?;
        // In this order: the directory is removed configuration first.
        if directory.join(LOST_NAME).exists() || !directory.join("shim.json").exists() {
            link::disconnect_task(&config)?;
            cgroups.remove(&config.cgroup)?;
            return Err(Error::GivenUp);
        }
        let shim = Self {
            directory: directory.to_owned(),
            config,
            cgroups,
            listener,
            signals,
            clients: Vec::new(),
            next_client: 0,
            containers: Vec::new(),
            jobs: Vec::new(),
            task_netns,
            strays: HashMap::new(),
            created_at_ms: now_ms(),
            shutdown: None,
            shutting_down: false,
        };
        shim.save(false)?;
        Ok(shim)
    }

    /// Serves until shut down.
    pub fn serve(&mut self) {
        while !self.finished() {
            if let Err(error) = self.turn() {
                eprintln!("shim: {error}");
            }
        }
        let _ = std::fs::remove_file(self.directory.join(SOCKET_NAME));
    }

    fn finished(&self) -> bool {
        self.shutting_down
            && self.jobs.is_empty()
            && self.clients.iter().all(|client| client.output.is_empty())
    }

    /// Waits for the next thing to happen and handles everything that is ready.
    fn turn(&mut self) -> Result<(), Error> {
        let ready = self.poll()?;
        if ready.signal {
            while let Ok(Some(_)) = self.signals.read_signal() {}
        }
        for index in ready.logs {
            self.containers[index].pump_logs();
        }
        // Results before exits: a container that ends at once is known by then.
        for index in 0..self.jobs.len() {
            self.jobs[index].read_result();
        }
        self.finish_jobs();
        if ready.signal {
            self.reap();
            self.finish_jobs();
        }
        if ready.listener {
            self.accept();
        }
        self.serve_clients();
        Ok(())
    }

    fn poll(&mut self) -> Result<Ready, Error> {
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
        ];
        for client in &self.clients {
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, !client.output.is_empty());
            fds.push(PollFd::new(client.stream.as_fd(), flags));
        }
        for job in &self.jobs {
            fds.extend(job.fds().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        }
        let first_log = fds.len();
        let mut owners = Vec::new();
        let mut timeout = PollTimeout::NONE;
        for (index, container) in self.containers.iter().enumerate() {
            if container.log.is_full() {
                timeout = HELD_INTERVAL.into();
                continue;
            }
            for fd in container.log_fds() {
                fds.push(PollFd::new(fd, PollFlags::POLLIN));
                owners.push(index);
            }
        }
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(failed("poll")(error)),
        }
        let is_ready = |fd: &PollFd| fd.revents().is_some_and(|events| !events.is_empty());
        let mut logs: Vec<usize> = std::iter::zip(&fds[first_log..], owners)
            .filter_map(|(fd, owner)| is_ready(fd).then_some(owner))
            .collect();
        logs.dedup();
        Ok(Ready { signal: is_ready(&fds[0]), listener: is_ready(&fds[1]), logs })
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let root =
                nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials)
                    .is_ok_and(|peer| peer.uid() == unistd::geteuid().as_raw());
            if root && stream.set_nonblocking(true).is_ok() {
                self.next_client += 1;
                let id = self.next_client;
                self.clients.push(Client { id, stream, input: Vec::new(), output: Vec::new() });
            }
        }
    }

    /// Takes the exit status of every child that has ended.
    fn reap(&mut self) {
        loop {
            let status = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => return,
                Ok(status) => status,
                Err(nix::Error::EINTR) => continue,
                Err(_) => return,
            };
            let Some(pid) = status.pid().map(Pid::as_raw) else { continue };
            if let Some(job) = self.jobs.iter_mut().find(|job| job.owns(pid)) {
                job.ended(pid, status);
                continue;
            }
            let owner = self.containers.iter().position(|c| c.pid() == Some(pid));
            // An exit that outruns the answer to its own start is told after it.
            let told_later = |index: usize| {
                let name = &self.containers[index].info.name;
                self.jobs.iter().any(|job| job.starts(name))
            };
            match owner {
                Some(index) if !told_later(index) => self.container_exited(index, status),
                _ if self.jobs.iter().any(Job::leaves_strays) => {
                    self.strays.insert(pid, status);
                }
                _ => {}
            }
        }
    }

    fn container_exited(&mut self, index: usize, status: WaitStatus) {
        let oom_kills = self.cgroups.oom_kills(&self.containers[index].info.cgroup);
        if self.config.sandbox.sharing.pid != PidMode::Private {
            // No namespace ends with it: what it left is ended here, as docker does.
            self.cgroups.kill(&self.containers[index].info.cgroup);
        }
        let exit = self.containers[index].exited(status, oom_kills);
        // Visible to everybody first, then told, then durable: power that goes away takes the
        // other containers with it anyway, so nobody waits for the disk.
        self.save_or_complain(false);
        let name = self.containers[index].info.name.clone();
        self.tell(&name, EventKind::Exited(exit));
        self.flush_clients();
        self.save_or_complain(true);
        if self.containers[index].delete_asked.is_some() {
            self.fork_delete(index);
        }
    }

    /// Sends an event to every client.
    fn tell(&mut self, container: &str, kind: EventKind) {
        if container == PAUSE {
            return;
        }
        let event = ContainerEvent {
            sandbox: self.config.sandbox.id.clone(),
            container: container.to_owned(),
            kind,
        };
        if let Ok(frame) = encode(&FromShim::Event(event)) {
            for client in &mut self.clients {
                client.output.extend_from_slice(&frame);
            }
        }
    }

    /// Answers a client's request; a client that has gone doesn't matter.
    fn answer(&mut self, client: u64, number: u64, response: Response) {
        let client = self.clients.iter_mut().find(|c| c.id == client);
        if let (Some(client), Ok(frame)) =
            (client, encode(&FromShim::Response { number, response }))
        {
            client.output.extend_from_slice(&frame);
        }
    }

    fn info(&self) -> SandboxInfo {
        SandboxInfo {
            id: self.config.sandbox.id.clone(),
            shim_pid: Some(unistd::getpid().as_raw()),
            network: self.config.sandbox.network.clone(),
            address: link::task_address(&self.config),
            labels: self.config.sandbox.labels.clone(),
            containers: self
                .containers
                .iter()
                .filter(|container| container.info.name != PAUSE)
                .map(|container| container.info.clone())
                .collect(),
            created_at_ms: self.created_at_ms,
        }
    }

    fn save(&self, durably: bool) -> Result<(), Error> {
        Ok(store::write(&self.directory.join("state.json"), &self.info(), durably)?)
    }

    fn save_or_complain(&self, durably: bool) {
        if let Err(error) = self.save(durably) {
            eprintln!("shim: {error}");
        }
    }
}

/// What `poll` found.
struct Ready {
    signal: bool,
    listener: bool,
    logs: Vec<usize>,
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// Drops every descriptor of the zygote, takes the streams away and becomes a subreaper.
fn detach_from_parent(directory: &Path, keep: RawFd) -> Result<(), Error> {
    let _ = nix::sys::prctl::set_name(PROCESS_NAME);
    nix::sys::prctl::set_child_subreaper(true).map_err(failed("become a subreaper"))?;
    let null = fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(failed("open /dev/null"))?;
    let log_path = directory.join(LOG_NAME);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_CLOEXEC;
    let log = fcntl::open(&log_path, flags, Mode::from_bits_truncate(0o600))
        .map_err(failed(format!("open {}", log_path.display())))?;
    unistd::dup2_stdin(&null).map_err(failed("dup2"))?;
    unistd::dup2_stdout(&null).map_err(failed("dup2"))?;
    unistd::dup2_stderr(&log).map_err(failed("dup2"))?;
    drop((null, log));
    close_all_but(keep);
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    unistd::chdir("/").map_err(failed("chdir to /"))
}

/// Closes every descriptor above 2 except `keep`.
pub(crate) fn close_all_but(keep: RawFd) {
    let keep = keep.max(2) as libc::c_uint;
    // SAFETY: the ranges hold no descriptor that anything of this freshly forked process still
    // uses: its copies of the parent's objects are never dropped.
    unsafe {
        if keep > 3 {
            libc::close_range(3, keep - 1, 0);
        }
        libc::close_range(keep + 1, libc::c_uint::MAX, 0);
    }
}

/// Children are announced by descriptor; signals meant for terminals and services don't end it.
fn take_signals() -> Result<SignalFd, Error> {
    for ignored in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGPIPE] {
        // SAFETY: ignoring a signal installs no handler code.
        unsafe { signal(ignored, SigHandler::SigIgn) }.map_err(failed("ignore a signal"))?;
    }
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().map_err(failed("block SIGCHLD"))?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(failed("signalfd"))
}

/// A forked child starts with the signals that a program expects.
pub(crate) fn restore_signals() {
    let defaults =
        [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGPIPE, Signal::SIGCHLD];
    for default in defaults {
        // SAFETY: restoring the default disposition installs no handler code.
        let _ = unsafe { signal(default, SigHandler::SigDfl) };
    }
    let _ = SigSet::empty().thread_set_mask();
}

/// Mounts made from here on die with the shim. On hybrid hosts the cgroup2 mount is hidden:
/// crun 1.8 mixes the two versions up when it sees both.
fn private_mounts() -> Result<(), Error> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .map_err(failed("unshare the mount namespace"))?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .map_err(failed("make / a slave mount"))?;
    match umount2("/sys/fs/cgroup/unified", MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => Ok(()),
        Err(error) => Err(failed("hide /sys/fs/cgroup/unified")(error)),
    }
}

/// Memory for all containers of the task: a mount of the shim's, gone with it.
fn mount_memory(target: &Path, options: &str, no_programs: bool) -> Result<(), Error> {
    let what = || format!("mount {}", target.display());
    std::fs::create_dir_all(target).map_err(failed(what()))?;
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    flags.set(MsFlags::MS_NOEXEC, no_programs);
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options)).map_err(failed(what()))
}

/// The address of a socket in `directory`, however long its path is.
pub(crate) fn socket_path(directory: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", directory.as_raw_fd()))
}

fn listen(directory: &Path) -> Result<UnixListener, Error> {
    let what = || format!("listen on {}/{SOCKET_NAME}", directory.display());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fd = fcntl::open(directory, flags, Mode::empty()).map_err(failed(what()))?;
    let path = socket_path(fd.as_fd());
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(failed(what()))?;
    listener.set_nonblocking(true).map_err(failed(what()))?;
    Ok(listener)
}
