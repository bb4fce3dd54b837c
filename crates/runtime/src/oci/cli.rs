//! An OCI runtime by its standard command line: crun, runc, and what behaves like them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::protocol::OciProgram;

use super::{Bundle, Error, failed};

/// How much of a runtime's complaint is passed on.
const MAX_COMPLAINT_BYTES: usize = 4096;

pub(super) fn create(bundle: &Bundle, program: &OciProgram) -> Result<i32, Error> {
    let pid_file = bundle.directory.join("pid");
    let mut command = command(bundle, program);
    command.arg("create").arg("--bundle").arg(bundle.configuration());
    command.arg("--pid-file").arg(&pid_file);
    if let Some(console) = &bundle.console {
        command.arg("--console-socket").arg(console);
    }
    command.arg(&bundle.runtime_id);
    // The runtime's standard streams become the container's.
    run(bundle, command)?;
    read_pid(&pid_file)
}

pub(super) fn start(bundle: &Bundle, program: &OciProgram) -> Result<(), Error> {
    let mut command = command(bundle, program);
    command.arg("start").arg(&bundle.runtime_id);
    run(bundle, command)
}

pub(super) fn exec(bundle: &Bundle, program: &OciProgram, process: &Path) -> Result<i32, Error> {
    let pid_file = process.with_extension("pid");
    let mut command = command(bundle, program);
    command.arg("exec").arg("--detach").arg("--process").arg(process);
    command.arg("--pid-file").arg(&pid_file).arg(&bundle.runtime_id);
    run(bundle, command)?;
    let pid = read_pid(&pid_file);
    let _ = std::fs::remove_file(&pid_file);
    pid
}

pub(super) fn delete(bundle: &Bundle, program: &OciProgram) -> Result<(), Error> {
    let mut command = command(bundle, program);
    command.arg("delete").arg("--force").arg(&bundle.runtime_id);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    match run(bundle, command) {
        // A container that its create hadn't got to is none; what is left, the shim removes.
        Err(Error::Runtime(complaint)) if complaint.contains("does not exist") => Ok(()),
        other => other,
    }
}

fn command(bundle: &Bundle, program: &OciProgram) -> Command {
    let mut command = Command::new(&program.path);
    // Runtimes keep copies of the configuration there.
    let root = bundle.secret_directory().unwrap_or_else(|| bundle.run_dir.clone()).join("oci");
    command.args(&program.args).arg("--root").arg(root);
    command.arg("--log").arg(log_path(bundle)).arg("--log-format").arg("json");
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.current_dir(&bundle.directory);
    command
}

fn log_path(bundle: &Bundle) -> PathBuf {
    bundle.directory.join("runtime.log")
}

fn run(bundle: &Bundle, mut command: Command) -> Result<(), Error> {
    let what = format!("run {}", command.get_program().to_string_lossy());
    let _ = std::fs::remove_file(log_path(bundle));
    let status = command.status().map_err(failed(what.clone()))?;
    if status.success() {
        return Ok(());
    }
    let complaint = last_error(&log_path(bundle)).unwrap_or_else(|| status.to_string());
    Err(Error::Runtime(format!("{what}: {complaint}")))
}

/// The message of the last error in the runtime's log.
fn last_error(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let message = text.lines().rev().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        (line.get("level")? == "error").then(|| line.get("msg")?.as_str().map(String::from))?
    })?;
    Some(message.chars().take(MAX_COMPLAINT_BYTES).collect())
}

fn read_pid(path: &Path) -> Result<i32, Error> {
    let what = || format!("read {}", path.display());
    let text = std::fs::read_to_string(path).map_err(failed(what()))?;
    text.trim().parse().map_err(|error| {
        failed(what())(std::io::Error::new(std::io::ErrorKind::InvalidData, error))
    })
}
