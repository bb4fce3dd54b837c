//! `wharf up`: starts the supervisor and waits until everything that it prints works.

use crate::cli::Up;
use crate::client::{self, Client};
use crate::credentials::{self, Credentials};
use crate::data_dir::{self, DataDir};
use crate::output::spinner;
use crate::process::{self, ProcessFile};
use crate::supervisor;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wharf_wire::ecs::{operation, types};

/// Why wharf isn't up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Containers need root.
    #[error(
        "running containers needs root: try `sudo {}`, or `wharf up --no-agent` for the API alone",
        .0
    )]
    NotRoot(String),
    /// The data directory can't be used.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// No key.
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    /// A process can't be started.
    #[error("can't start wharf's supervisor")]
    Spawn(#[source] std::io::Error),
    /// The supervisor ended.
    #[error(transparent)]
    Supervisor(#[from] supervisor::Error),
    /// Something else listens on the address.
    #[error("can't listen on {address}{holder}; free it, or choose another with --listen")]
    PortTaken {
        /// The address.
        address: std::net::SocketAddr,
        /// Who has it, where that can be seen.
        holder: String,
    },
    /// The cluster to join can't be made.
    #[error("can't make the cluster {name}; make it yourself, or join another with --cluster")]
    Cluster {
        /// Its name.
        name: String,
        /// The API's answer.
        #[source]
        source: client::Error,
    },
    /// Something did not answer in time.
    #[error("{what} did not answer within {seconds} s; the end of {log}:\n{tail}")]
    NotReady {
        /// `the server`, `the balancer` or `the agent`.
        what: &'static str,
        /// The time given.
        seconds: u64,
        /// Its log.
        log: String,
        /// The log's last lines.
        tail: String,
    },
}

/// Starts wharf unless it runs, waits until it answers, and prints where.
///
/// # Errors
/// If something is missing or does not answer in time.
pub fn run(data_dir: &DataDir, up: &Up) -> Result<(), Error> {
    if !up.no_agent && !rustix::process::geteuid().is_root() {
        let line: Vec<String> = std::env::args().collect();
        return Err(Error::NotRoot(line.join(" ")));
    }
    let endpoint = format!("http://{}", up.server.listen);
    let key = Credentials::load_or_create(&data_dir.credentials(), &endpoint, &up.server.region)?;
    key.copy_for_sudo_user()?;
    // The balancer's own key: certificates' keys are told to nobody else.
    Credentials::load_or_create(&data_dir.balancer_credentials(), &endpoint, &up.server.region)?;
    if !up.no_agent {
        // The agent's own key: the server takes it over as that of this host alone.
        Credentials::load_or_create(&data_dir.agent_credentials(), &endpoint, &up.server.region)?;
    }
    // A server of ours that runs, or that a supervisor is just starting, has the port by right.
    if ["supervisor", "server"].iter().all(|name| ProcessFile::read_live(data_dir, name).is_none())
    {
        check_port(up.server.listen)?;
    }
    if up.foreground {
        return Ok(supervisor::run(data_dir, up)?);
    }
    let starts = ProcessFile::read_live(data_dir, "supervisor").is_none();
    if starts {
        spawn_supervisor(data_dir)?;
    }
    wait_until_ready(data_dir, up, starts)?;
    let server = ProcessFile::read_live(data_dir, "server");
    let running = server.and_then(|p| p.addresses.into_iter().next());
    let endpoint = match running {
        Some(running) if running != endpoint && up.server.listen.port() != 0 => {
            eprintln!(
                "wharf: it was up already, at {running}: the options given now have no effect; \
                 run `wharf down` first to change them"
            );
            running
        }
        running => running.unwrap_or(endpoint),
    };
    println!("wharf is up at {endpoint} (data in {})", data_dir.path().display());
    eprintln!("Point AWS clients at it with: eval \"$(wharf env)\"");
    Ok(())
}

/// An error if somebody listens on the address already; every other trouble is the server's to
/// tell.
fn check_port(address: std::net::SocketAddr) -> Result<(), Error> {
    match std::net::TcpListener::bind(address) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let holder = process::listener_on(address.port());
            let holder = holder.map(|who| format!(": {who} has it")).unwrap_or_default();
            Err(Error::PortTaken { address, holder })
        }
        _ => Ok(()),
    }
}

/// Starts this program again with the same arguments as `supervise`, in a session of its own.
fn spawn_supervisor(data_dir: &DataDir) -> Result<(), Error> {
    data_dir::make_private_dir(&data_dir.log())?;
    let spawn = || -> std::io::Result<std::process::Child> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(data_dir.log().join("supervisor.log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(supervise_arguments(std::env::args_os().skip(1)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.env("WHARF_DATA_DIR", data_dir.path());
        supervisor::in_own_session(&mut command);
        command.spawn()
    };
    let supervisor = spawn().map_err(Error::Spawn)?;
    // It writes the same once it has begun; a `down` that comes before that has to find it, too.
    if ProcessFile::read_live(data_dir, "supervisor").is_none() {
        ProcessFile::of(supervisor.id(), "supervisor", Vec::new()).write(data_dir)?;
    }
    Ok(())
}

/// The arguments of `up` with the command replaced; a relative --data-dir comes in resolved by
/// the environment instead.
fn supervise_arguments(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let (mut replaced, mut skip, mut result) = (false, false, Vec::new());
    for argument in arguments {
        let text = argument.to_string_lossy();
        if std::mem::take(&mut skip) || text.starts_with("--data-dir=") {
            continue;
        }
        if text == "--data-dir" {
            skip = true;
        } else if !replaced && text == "up" {
            replaced = true;
            result.push("supervise".into());
        } else {
            result.push(argument);
        }
    }
    result
}

/// An agent joins only what exists, as Amazon's does; whoever names a cluster here wants it to be.
fn make_cluster(data_dir: &DataDir, name: &str) -> Result<(), Error> {
    let input = types::CreateClusterRequest {
        cluster_name: Some(name.to_owned()),
        ..types::CreateClusterRequest::default()
    };
    let made = async {
        Client::new(data_dir, name)?.call::<operation::CreateCluster>(input).await.map(drop)
    };
    let runtime = tokio::runtime::Runtime::new().map_err(Error::Spawn)?;
    runtime.block_on(made).map_err(|source| Error::Cluster { name: name.to_owned(), source })
}

fn wait_until_ready(data_dir: &DataDir, up: &Up, starts: bool) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(up.timeout);
    let bar = spinner("waiting for the server");
    let wait = |what: &'static str, name: &str, ready: &dyn Fn() -> bool| {
        while !ready() {
            if Instant::now() > deadline {
                let log = data_dir.log().join(format!("{name}.log"));
                let tail = last_lines(&std::fs::read_to_string(&log).unwrap_or_default(), 15);
                let log = log.display().to_string();
                return Err(Error::NotReady { what, seconds: up.timeout, log, tail });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    };
    wait("the server", "server", &|| {
        ProcessFile::read_live(data_dir, "server").is_some_and(|p| !p.addresses.is_empty())
    })?;
    bar.set_message("waiting for the balancer");
    wait("the balancer", "balancer", &|| ProcessFile::read_live(data_dir, "balancer").is_some())?;
    if !up.no_agent {
        if starts {
            make_cluster(data_dir, &up.cluster)?;
        }
        bar.set_message("waiting for the agent to register");
        wait("the agent", "agent", &|| {
            ProcessFile::read_live(data_dir, "agent").is_some_and(|p| !p.addresses.is_empty())
        })?;
    }
    bar.finish_and_clear();
    Ok(())
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_told_with_its_holder() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let text = check_port(address).unwrap_err().to_string();
        assert!(text.contains(&address.to_string()), "{text}");
        assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
        drop(listener);
        assert!(check_port(address).is_ok());
    }

    #[test]
    fn the_supervisor_gets_the_same_options() {
        let arguments = ["--data-dir", "x", "up", "--listen", "127.0.0.1:1", "--data-dir=y"];
        let got = supervise_arguments(arguments.iter().map(OsString::from));
        assert_eq!(got, ["supervise", "--listen", "127.0.0.1:1"]);
    }
}
