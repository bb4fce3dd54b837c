//! Debian's docker, started by hand.

use crate::Result;
use crate::processes::{Process, run, version};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Debian's docker on a socket of its own.
#[derive(Debug)]
pub struct Docker {
    socket: String,
    _daemon: Process,
}

impl Docker {
    /// Starts dockerd with everything of its own below `directory`, in a network namespace of its own
    /// (it would change the host's firewall), and imports `bench:latest`; `None` if it isn't installed.
    ///
    /// # Errors
    /// If it doesn't come up.
    pub async fn start(directory: &Path) -> Result<Option<Self>> {
        let Some(version) = version("dockerd", "--version") else {
            println!("docker is not installed: wharf alone (Debian: apt install docker.io)");
            return Ok(None);
        };
        println!("{version}");
        let at = directory.display();
        let socket = format!("unix://{at}/docker.sock");
        let daemon = format!(
            "ip link set lo up && exec dockerd --data-root {at}/docker --exec-root {at}/exec \
             -H {socket} -p {at}/docker.pid --storage-driver overlay2"
        );
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", &daemon]);
        let log = directory.join("docker.log");
        let docker = Self { socket, _daemon: Process::start(&mut command, &log)? };
        let start = Instant::now();
        while docker.docker(&["version"]).is_err() {
            if start.elapsed() > Duration::from_secs(30) {
                return Err(std::fs::read_to_string(log)?.into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        docker.import(directory, "bench:latest", &[])?;
        Ok(Some(docker))
    }

    /// Imports busybox as an image; its archive is left in `directory`.
    ///
    /// # Errors
    /// If docker refuses.
    pub fn import(&self, directory: &Path, name: &str, options: &[&str]) -> Result<()> {
        let tar = directory.join("busybox.tar");
        run(Command::new("tar").args(["-C", "/bin", "-cf"]).arg(&tar).arg("busybox"))?;
        run(self.command(&["import"]).args(options).arg(&tar).arg(name))
    }

    /// The docker command against it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["-H", &self.socket]).args(arguments);
        command
    }

    /// Runs one docker command.
    ///
    /// # Errors
    /// If it fails; its output is the text.
    pub fn docker(&self, arguments: &[&str]) -> Result<()> {
        run(&mut self.command(arguments))
    }

    /// Removes containers, killing them.
    ///
    /// # Errors
    /// If one can't be removed.
    pub fn remove(&self, names: &[String]) -> Result<()> {
        run(self.command(&["rm", "-f"]).args(names))
    }
}
