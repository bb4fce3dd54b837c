//! The zygote: a small single-threaded process that forks shims on request.

use std::path::{Path, PathBuf};

/// Call first in `main`, before any thread exists: if this process was started as a zygote it
/// serves as one and never returns; otherwise this does nothing.
pub fn run_if_zygote() {}

/// How to start zygotes. Starting is lazy and repeated when the zygote died.
#[derive(Debug, Clone)]
pub struct Zygote {
    program: PathBuf,
}

impl Zygote {
    /// The running program itself (`/proc/self/exe`): its `main` must call [`run_if_zygote`].
    pub fn this_program() -> Self {
        Self { program: PathBuf::from("/proc/self/exe") }
    }

    /// Another program whose `main` calls [`run_if_zygote`] (for tests).
    pub fn program(path: impl Into<PathBuf>) -> Self {
        Self { program: path.into() }
    }

    /// The program that is started.
    pub fn path(&self) -> &Path {
        &self.program
    }
}
