//! youki's libcontainer, linked in.
//!
//! Its `build` clones without libc's knowledge and runs much Rust in the child: it is only ever
//! called from a single-threaded process that does nothing else.

use std::path::{Path, PathBuf};

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;

use super::{Bundle, Error};

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

pub(super) fn exec(bundle: &Bundle, process: &Path) -> Result<i32, Error> {
    let build = || {
        ContainerBuilder::new(bundle.runtime_id.clone(), SyscallType::Linux)
            .with_root_path(&bundle.run_dir)?
            .as_tenant()
            .with_detach(true)
            .with_process(Some(process))
            .build()
    };
    build().map(|pid| pid.as_raw()).map_err(told)
}

pub(super) fn delete(bundle: &Bundle) -> Result<(), Error> {
    let directory = state_directory(bundle);
    if !directory.exists() {
        return Ok(());
    }
    let mut container = Container::load(directory.clone()).map_err(told)?;
    match container.delete(true) {
        // The first process may be a zombie still, which the shim takes care of.
        Err(_) if !directory.exists() => Ok(()),
        other => other.map_err(told),
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
