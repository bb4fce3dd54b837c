//! youki's libcontainer, linked in.
//!
//! Its `build` clones without libc's knowledge and runs much Rust in the child: it is only ever
//! called from a single-threaded process that does nothing else.

use std::path::{Path, PathBuf};

use libcontainer::capabilities::drop_privileges;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::runtime::{LinuxCapabilities, LinuxSeccomp, Spec};
use libcontainer::seccomp::initialize_seccomp;
use libcontainer::syscall::syscall::{SyscallType, create_syscall};
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorValidationError, default::get_executor,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Bundle, Error, failed};

/// What loading a seccomp filter and dropping capabilities afterwards takes.
const TO_CONFINE: [&str; 2] = ["CAP_SYS_ADMIN", "CAP_SETPCAP"];

fn state_directory(bundle: &Bundle) -> PathBuf {
    bundle.run_dir.join(&bundle.runtime_id)
}

pub(super) fn create(bundle: &Bundle) -> Result<i32, Error> {
    let build = || {
        ContainerBuilder::new(bundle.runtime_id.clone(), SyscallType::Linux)
            .with_root_path(&bundle.run_dir)?
            .as_init(&bundle.directory)
            .with_systemd(false)
            .with_detach(true)
            .build()
    };
    let container = build().map_err(told)?;
    container
        .pid()
        .map(|pid| pid.as_raw())
        .ok_or_else(|| Error::Runtime("libcontainer made no process".to_owned()))
}

pub(super) fn start(bundle: &Bundle) -> Result<(), Error> {
    let mut container = Container::load(state_directory(bundle)).map_err(told)?;
    container.start().map_err(told)
}

/// The last step of an exec. libcontainer 0.7 runs further processes without the container's
/// seccomp filter: it gets there with [`TO_CONFINE`] on top of its capabilities, loads the filter
/// here and drops them.
#[derive(Clone)]
struct Confined {
    seccomp: Option<LinuxSeccomp>,
    capabilities: LinuxCapabilities,
}

impl Executor for Confined {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        if let Some(seccomp) = &self.seccomp {
            initialize_seccomp(seccomp).map_err(|e| ExecutorError::Other(e.to_string()))?;
        }
        drop_privileges(&self.capabilities, create_syscall().as_ref())
            .map_err(|error| ExecutorError::Other(error.to_string()))?;
        get_executor().exec(spec)
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        get_executor().validate(spec)
    }
}

/// Takes the sets that the process shall have out of its file, and puts in those to get there.
fn confined(bundle: &Bundle, process: &Path) -> Result<Confined, Error> {
    let mut json: Value = read(process)?;
    let capabilities = parse(process, json["capabilities"].clone())?;
    for set in ["bounding", "effective", "permitted"] {
        let Some(names) = json["capabilities"][set].as_array_mut() else { continue };
        for name in TO_CONFINE {
            if !names.iter().any(|known| known == name) {
                names.push(name.into());
            }
        }
    }
    std::fs::write(process, json.to_string())
        .map_err(failed(format!("write {}", process.display())))?;
    let path = bundle.directory.join("config.json");
    let config: Value = read(&path)?;
    let seccomp = match &config["linux"]["seccomp"] {
        Value::Null => None,
        profile => Some(parse(&path, profile.clone())?),
    };
    Ok(Confined { seccomp, capabilities })
}

fn read(path: &Path) -> Result<Value, Error> {
    let what = || format!("read {}", path.display());
    let text = std::fs::read(path).map_err(failed(what()))?;
    serde_json::from_slice(&text).map_err(failed(what()))
}

fn parse<T: DeserializeOwned>(path: &Path, value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(failed(format!("read {}", path.display())))
}

pub(super) fn exec(bundle: &Bundle, process: &Path) -> Result<i32, Error> {
    let executor = confined(bundle, process)?;
    let build = || {
        ContainerBuilder::new(bundle.runtime_id.clone(), SyscallType::Linux)
            .with_root_path(&bundle.run_dir)?
            .with_executor(executor)
            .as_tenant()
            .with_detach(true)
            .with_process(Some(process))
            .build()
    };
    build().map(|pid| pid.as_raw()).map_err(told)
}

/// The shim calls this when the first process has ended, and removes the cgroup itself; there are
/// no hooks. libcontainer's own `delete` would do no more, in several times the time.
pub(super) fn delete(bundle: &Bundle) -> Result<(), Error> {
    let directory = state_directory(bundle);
    match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed(format!("remove {}", directory.display()))(error))
        }
        _ => Ok(()),
    }
}

/// The whole chain of causes, outermost first, each said once.
fn told(error: LibcontainerError) -> Error {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    Error::Runtime(text)
}
