//! Debian's containerd, started by hand.

use crate::Result;
use crate::processes::{Process, run, version};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A containerd with everything of its own below a directory.
#[derive(Debug)]
pub struct Containerd {
    socket: String,
    _daemon: Process,
}

impl Containerd {
    /// Starts it; `None` if it isn't installed.
    ///
    /// # Errors
    /// If it doesn't come up.
    pub async fn start(directory: &Path) -> Result<Option<Self>> {
        let Some(version) = version("containerd", "--version") else {
            println!("containerd is not installed: wharf alone (Debian: apt install containerd)");
            return Ok(None);
        };
        println!("{version}");
        let at = directory.display();
        let socket = format!("{at}/containerd.sock");
        let config = format!(
            "version = 2\nroot = \"{at}/containerd\"\nstate = \"{at}/containerd-state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{socket}\"\n"
        );
        let path = directory.join("containerd.toml");
        std::fs::write(&path, config)?;
        let mut command = Command::new("containerd");
        command.arg("-c").arg(&path);
        let log = directory.join("containerd.log");
        let containerd = Self { socket, _daemon: Process::start(&mut command, &log)? };
        let start = Instant::now();
        while run(&mut containerd.ctr(&["version"])).is_err() {
            if start.elapsed() > Duration::from_secs(30) {
                return Err(std::fs::read_to_string(log)?.into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(Some(containerd))
    }

    /// The ctr command against it.
    pub fn ctr(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.args(["-a", &self.socket]).args(arguments);
        command
    }
}
