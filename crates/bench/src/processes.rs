//! The processes that a bench starts, and what they cost.

use crate::Result;
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A child that ends when it is dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts `command` with its output in the file `log`.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::create(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Self(child))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The time that its threads have spent on a CPU, in nanoseconds.
    ///
    /// # Errors
    /// If /proc doesn't say.
    pub fn cpu_ns(&self) -> Result<u64> {
        let mut sum = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            sum += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(sum)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap_or(0));
        if pid.as_raw() > 0 && nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).is_ok() {
            for _ in 0..100 {
                if self.0.try_wait().is_ok_and(|status| status.is_some()) {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address on loopback that nobody listens on.
///
/// # Errors
/// If there is none.
pub fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// The line that tells a program's version; `None` if the program isn't here.
pub fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&text).lines().next()?.to_owned())
}

/// Runs a command to its end.
///
/// # Errors
/// If it fails; what it printed to its error output is the text.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}
