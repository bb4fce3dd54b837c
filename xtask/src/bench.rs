//! `cargo xtask bench WHAT`: builds the programs in release and runs them one after the other.
//! The benches themselves are in the crates that they measure, and in `crates/bench`.

use std::path::Path;
use std::process::Command;

/// Why a bench didn't end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such bench.
    #[error(
        "usage: cargo xtask bench launch|api|balancer|placement|footprint|registry|pull [ARGUMENT ...]"
    )]
    Usage,
    /// A command can't be started.
    #[error("can't run {0}")]
    Spawn(String, #[source] std::io::Error),
    /// A command failed.
    #[error("{0} failed")]
    Failed(String),
}

/// Runs the bench that the first argument names; the rest is the bench's own.
///
/// # Errors
/// If there is no such bench, the build fails, or a measurement does.
pub fn run(root: &Path, arguments: &[String]) -> Result<(), Error> {
    let (what, rest) = arguments.split_first().ok_or(Error::Usage)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), Into::into);
    let release = root.join(target).join("release");
    let wharf = release.join("wharf").display().to_string();
    match what.as_str() {
        "launch" => {
            cargo(root, &["-p", "wharf-runtime", "--example", "launch"])?;
            cargo(
                root,
                &["-p", "wharf", "-p", "wharf-bench", "--bin", "wharf", "--bin", "launch"],
            )?;
            program(&release.join("examples/launch"), &[])?;
            program(&release.join("launch"), &[&[wharf], rest].concat())
        }
        "api" | "balancer" | "footprint" | "registry" | "pull" => {
            cargo(root, &["-p", "wharf", "-p", "wharf-bench", "--bin", "wharf", "--bin", what])?;
            program(&release.join(what), &[&[wharf], rest].concat())
        }
        "placement" => {
            cargo(root, &["-p", "wharf-scheduler", "--example", "placement"])?;
            program(&release.join("examples/placement"), rest)
        }
        _ => Err(Error::Usage),
    }
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<(), Error> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    status(command.current_dir(root).args(["build", "--quiet", "--release"]).args(arguments))
}

fn program(path: &Path, arguments: &[String]) -> Result<(), Error> {
    status(Command::new(path).args(arguments))
}

fn status(command: &mut Command) -> Result<(), Error> {
    let text = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Error::Failed(text)),
        Err(source) => Err(Error::Spawn(text, source)),
    }
}
