//! `wharf supervise`: keeps server, balancer and agent running.
//!
//! Each of them is a process in a session of its own and lives on when the supervisor is killed. A
//! new supervisor adopts what runs and starts what doesn't. It restarts a process that ends at
//! once, more slowly one that keeps ending.

use crate::cli::{HostArgs, Up};
use crate::data_dir::{self, DataDir, Lock};
use crate::process::{self, ProcessFile};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a supervised process is looked at when nothing wakes the supervisor.
const TICK: Duration = Duration::from_millis(100);
/// A process that lived this long starts again without a pause.
const STEADY: Duration = Duration::from_secs(10);
/// Longest pause before a process that keeps ending is started again.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Why the supervisor ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another one runs.
    #[error("another wharf already supervises {0}")]
    AlreadyRunning(std::path::PathBuf),
    /// A file can't be used.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// Signals or processes can't be used.
    #[error("can't supervise")]
    Io(#[from] std::io::Error),
}

/// One supervised process.
struct Supervised {
    name: &'static str,
    arguments: Vec<OsString>,
    child: Option<std::process::Child>,
    started: Instant,
    not_before: Instant,
    pause: Duration,
}

/// Runs until SIGTERM or SIGINT, then stops what it supervises (tasks go on).
///
/// # Errors
/// If another supervisor runs on the same data directory, or a file can't be used.
pub fn run(data_dir: &DataDir, up: &Up) -> Result<(), Error> {
    let lock = Lock::try_take(&data_dir.run().join("supervisor.lock"))?;
    let _lock = lock.ok_or_else(|| Error::AlreadyRunning(data_dir.path().to_owned()))?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    ProcessFile::of_this_process("supervisor", Vec::new()).write(data_dir)?;
    let limit = process::raise_open_files();
    // A balancer that is killed leaves its listening sockets open here: nobody is refused.
    if let Err(error) = wharf_balancer::keeper::serve(&data_dir.socket_keeper()) {
        tracing::warn!(%error, "a balancer that is killed takes its listening sockets along");
    }
    let mut processes = vec![
        Supervised::new("server", server_arguments(data_dir, up)),
        Supervised::new("balancer", balancer_arguments(data_dir, up)),
    ];
    if !up.no_agent {
        processes.push(Supervised::new("agent", agent_arguments(data_dir, up)));
    }
    // Paths were given relative to here; from now on nothing is to be held busy.
    std::env::set_current_dir("/")?;
    while !stop.load(Ordering::Relaxed) {
        for process in &mut processes {
            process.look(data_dir, &limit)?;
        }
        std::thread::sleep(TICK);
    }
    // The agent first: its last reports still find the server.
    for process in processes.iter().rev() {
        // One that has only just begun has no file yet.
        let child = || Some(ProcessFile::of(process.child.as_ref()?.id(), process.name, vec![]));
        if let Some(file) = ProcessFile::read_live(data_dir, process.name).or_else(child) {
            tracing::info!(process = process.name, pid = file.pid, "stopping");
            if !file.stop(rustix::process::Signal::TERM, Duration::from_secs(15)) {
                tracing::warn!(process = process.name, pid = file.pid, "did not end in 15 s");
                file.stop(rustix::process::Signal::KILL, Duration::from_secs(5));
            }
        }
    }
    Ok(())
}

impl Supervised {
    fn new(name: &'static str, arguments: Vec<OsString>) -> Self {
        let now = Instant::now();
        let pause = Duration::ZERO;
        Self { name, arguments, child: None, started: now, not_before: now, pause }
    }

    /// Starts the process unless it runs, be it as our child or adopted.
    fn look(&mut self, data_dir: &DataDir, limit: &Rlimit) -> Result<(), Error> {
        if let Some(child) = &mut self.child {
            let Some(status) = child.try_wait()? else { return Ok(()) };
            self.child = None;
            self.pause = if self.started.elapsed() > STEADY {
                Duration::ZERO
            } else {
                (self.pause * 2).clamp(Duration::from_millis(100), MAX_PAUSE)
            };
            self.not_before = Instant::now() + self.pause;
            tracing::warn!(process = self.name, %status, "ended; starting it again");
        }
        // One that an earlier supervisor started, and that outlived it.
        if let Some(file) = ProcessFile::read_live(data_dir, self.name) {
            if let Some(fd) = file.open() {
                process::wait(&fd, Duration::from_millis(1));
            }
            return Ok(());
        }
        if Instant::now() >= self.not_before {
            self.start(data_dir, limit)?;
        }
        Ok(())
    }

    fn start(&mut self, data_dir: &DataDir, limit: &Rlimit) -> Result<(), Error> {
        data_dir::make_private_dir(&data_dir.log())?;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(data_dir.log().join(format!("{}.log", self.name)))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(&self.arguments).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        in_own_session(&mut command);
        with_limit(&mut command, limit);
        let child = command.spawn()?;
        tracing::info!(process = self.name, pid = child.id(), "started");
        self.child = Some(child);
        self.started = Instant::now();
        Ok(())
    }
}

/// Lets the command's process begin a session, so that no signal to our group reaches it.
#[allow(unsafe_code)]
pub fn in_own_session(command: &mut Command) {
    // SAFETY: setsid is async-signal-safe and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(|_| ()).map_err(Into::into));
    }
}

/// Lets the command's process have the limit of open files that this one had at first: containers have
/// it from the agent.
#[allow(unsafe_code)]
fn with_limit(command: &mut Command, limit: &Rlimit) {
    let limit = *limit;
    // SAFETY: setrlimit is async-signal-safe and touches no memory of the parent.
    unsafe {
        command.pre_exec(move || setrlimit(Resource::Nofile, limit).map_err(Into::into));
    }
}

fn server_arguments(data_dir: &DataDir, up: &Up) -> Vec<OsString> {
    let server = &up.server;
    let mut arguments = vec!["server".into(), "--data-dir".into(), data_dir.path().into()];
    for (name, value) in [
        ("--listen", server.listen.to_string()),
        ("--region", server.region.clone()),
        ("--account", server.account.clone()),
        ("--vpc-cidr", server.vpc_cidr.clone()),
        ("--history", server.history.to_string()),
    ] {
        arguments.extend([name.into(), value.into()]);
    }
    if let Some(endpoint) = &server.s3_endpoint {
        arguments.extend(["--s3-endpoint".into(), endpoint.into()]);
    }
    if let Some(directory) = &server.osv_database {
        arguments.extend(["--osv-database".into(), absolute(directory)]);
    }
    if let Some(file) = &server.s3_credentials {
        arguments.extend(["--s3-credentials".into(), absolute(file)]);
    }
    if let Some(file) = &server.registry.registry_peers {
        arguments.extend(["--registry-peers".into(), absolute(file)]);
    }
    if let Some(quota) = server.registry.repository_quota_mib {
        arguments.extend(["--repository-quota-mib".into(), quota.to_string().into()]);
    }
    arguments.extend(host_arguments(&server.host));
    arguments
}

fn host_arguments(host: &HostArgs) -> Vec<OsString> {
    let mut arguments = vec!["--etc".into(), absolute(&host.etc)];
    if host.no_hosts {
        arguments.push("--no-hosts".into());
    }
    arguments
}

/// A path for processes that run elsewhere than the command that was given it.
fn absolute(path: &Path) -> OsString {
    std::path::absolute(path).map_or_else(|_| path.into(), OsString::from)
}

fn balancer_arguments(data_dir: &DataDir, up: &Up) -> Vec<OsString> {
    let mut arguments = vec!["balancer".into(), "--data-dir".into(), data_dir.path().into()];
    for (name, value) in [
        ("--server", format!("http://{}", up.server.listen)),
        ("--region", up.server.region.clone()),
        ("--account", up.server.account.clone()),
    ] {
        arguments.extend([name.into(), value.into()]);
    }
    arguments.extend(host_arguments(&up.server.host));
    if let Some(address) = up.public_address {
        arguments.extend(["--public-address".into(), address.to_string().into()]);
    }
    if let Some(directory) = &up.access_logs {
        arguments.extend(["--access-logs".into(), absolute(directory)]);
    }
    arguments
}

fn agent_arguments(data_dir: &DataDir, up: &Up) -> Vec<OsString> {
    let mut arguments = vec!["agent".into(), "--data-dir".into(), data_dir.path().into()];
    for (name, value) in [
        ("--server", format!("http://{}", up.server.listen)),
        ("--cluster", up.cluster.clone()),
        ("--region", up.server.region.clone()),
        ("--vpc-cidr", up.server.vpc_cidr.clone()),
        ("--runtime", up.runtime.clone()),
    ] {
        arguments.extend([name.into(), value.into()]);
    }
    arguments.extend(["--gpu-devices".into(), absolute(&up.gpu_devices)]);
    for class in &up.runtime_class {
        arguments.extend(["--runtime-class".into(), class.into()]);
    }
    if up.allow_old_runtime {
        arguments.push("--allow-old-runtime".into());
    }
    if let Some(endpoint) = &up.server.s3_endpoint {
        arguments.extend(["--s3-endpoint".into(), endpoint.into()]);
    }
    if let Some(file) = &up.server.s3_credentials {
        arguments.extend(["--s3-credentials".into(), absolute(file)]);
    }
    arguments
}
