//! youki's libcontainer, linked in.
//!
//! Its `build` clones without libc's knowledge and runs much Rust in the child: it is only ever
//! called from a single-threaded process that does nothing else.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use libcontainer::capabilities::drop_privileges;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::runtime::{LinuxCapabilities, Spec};
use libcontainer::syscall::syscall::{SyscallType, create_syscall};
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError, default::get_executor,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::filter::Program;
use super::{Bundle, Error, failed};
use crate::spec::SecretText;

/// What loading a seccomp filter and dropping capabilities afterwards takes.
const TO_CONFINE: [&str; 2] = ["CAP_SYS_ADMIN", "CAP_SETPCAP"];

fn state_directory(bundle: &Bundle) -> PathBuf {
    bundle.run_dir.join(&bundle.runtime_id)
}

/// Where the configuration lies that libcontainer is given.
fn configuration_directory(bundle: &Bundle) -> PathBuf {
    bundle.run_dir.join(format!(".{}", bundle.runtime_id))
}

pub(super) fn create(bundle: &Bundle) -> Result<i32, Error> {
    let directory = configuration_directory(bundle);
    let executor = own_configuration(bundle, &directory)?;
    let build = || {
        let builder = ContainerBuilder::new(bundle.runtime_id.clone(), SyscallType::Linux)
            .with_root_path(&bundle.run_dir)?
            .with_console_socket(bundle.console.as_ref());
        let builder = match executor {
            Some(executor) => builder.with_executor(executor),
            None => builder,
        };
        builder.as_init(&directory).with_systemd(false).with_detach(true).build()
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

/// The bundle's configuration for libcontainer: without the seccomp profile, which libcontainer
/// would compile anew each time (and not quite as it is meant), and with what [`Confined`] needs
/// to apply it. A container without a profile keeps its configuration; if it has secrets, they
/// still need somebody to put them into its environment.
fn own_configuration(bundle: &Bundle, directory: &Path) -> Result<Option<Confined>, Error> {
    let path = bundle.directory.join("config.json");
    let mut config: Value = read(&path)?;
    let profile = config["linux"].as_object_mut().and_then(|linux| linux.remove("seccomp"));
    let confined = match profile {
        None if bundle.spec.secret_env.is_empty() => None,
        None => {
            let capabilities = parse(&path, config["process"]["capabilities"].clone())?;
            Some(Confined { program: None, capabilities, secrets: secrets(bundle) })
        }
        Some(profile) => {
            let program = Some(Program::of(&parse(&path, profile)?)?);
            let capabilities = widened(&path, &mut config["process"])?;
            Some(Confined { program, capabilities, secrets: secrets(bundle) })
        }
    };
    std::fs::create_dir_all(directory).map_err(failed(format!("make {}", directory.display())))?;
    let path = directory.join("config.json");
    std::fs::write(&path, config.to_string())
        .map_err(failed(format!("write {}", path.display())))?;
    Ok(confined)
}

/// Takes the capability sets that the process shall have out of its configuration, and puts in
/// those to get there.
fn widened(path: &Path, process: &mut Value) -> Result<LinuxCapabilities, Error> {
    let capabilities = parse(path, process["capabilities"].clone())?;
    for set in ["bounding", "effective", "permitted"] {
        let Some(names) = process["capabilities"][set].as_array_mut() else { continue };
        for name in TO_CONFINE {
            if !names.iter().any(|known| known == name) {
                names.push(name.into());
            }
        }
    }
    Ok(capabilities)
}

/// Confines a container's process before it waits for its start, or an exec's before it runs:
/// libcontainer gets it there with [`TO_CONFINE`] on top of its capabilities; the filter is loaded
/// here, and they are dropped. Secrets reach the environment here, too: they are in no file.
#[derive(Clone)]
struct Confined {
    program: Option<Program>,
    capabilities: LinuxCapabilities,
    secrets: Vec<SecretText>,
}

fn secrets(bundle: &Bundle) -> Vec<SecretText> {
    bundle.spec.secret_env.clone()
}

impl Executor for Confined {
    fn setup_envs(&self, mut envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        let pairs = self.secrets.iter().filter_map(|secret| secret.expose().split_once('='));
        envs.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        get_executor().setup_envs(envs)?;
        if let Some(program) = &self.program {
            program.load().map_err(|error| {
                ExecutorSetEnvsError::Other(format!("load the seccomp filter: {error}"))
            })?;
        }
        drop_privileges(&self.capabilities, create_syscall().as_ref())
            .map_err(|error| ExecutorSetEnvsError::Other(error.to_string()))
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        get_executor().exec(spec)
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        get_executor().validate(spec)
    }
}

/// How a further process is confined; libcontainer 0.7 runs those without the seccomp filter.
fn confined(bundle: &Bundle, process: &Path) -> Result<Confined, Error> {
    let mut json: Value = read(process)?;
    let capabilities = widened(process, &mut json)?;
    std::fs::write(process, json.to_string())
        .map_err(failed(format!("write {}", process.display())))?;
    let path = bundle.directory.join("config.json");
    let config: Value = read(&path)?;
    let program = match &config["linux"]["seccomp"] {
        Value::Null => None,
        profile => Some(Program::of(&parse(&path, profile.clone())?)?),
    };
    Ok(Confined { program, capabilities, secrets: secrets(bundle) })
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
    for directory in [state_directory(bundle), configuration_directory(bundle)] {
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(format!("remove {}", directory.display()))(error));
            }
            _ => {}
        }
    }
    Ok(())
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
