//! What the agent must still know after kill -9: one small file for itself and one for each task.
//!
//! A file is written beside its place, synced, renamed over it, and the directory is synced: at
//! any moment there is the old content or the new one. The directory is 0700 and the files 0600:
//! payloads hold environments and credentials.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wharf_runtime::SandboxId;

use crate::engine::Machine;

/// The version of the files' form; files of a newer one are refused.
const FORMAT: u32 = 1;

/// Why the state couldn't be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("agent state: {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file doesn't hold what it should.
    #[error("agent state: {} is damaged: {source}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A file was written by a newer version.
    #[error("agent state: {} was written by a newer wharf (format {format})", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

/// What the agent knows about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster that it registered in, as configured.
    pub cluster: String,
    /// The container instance's ARN.
    pub container_instance_arn: String,
    /// The highest of every payload's seqNum and manifest's timeline; -1 before the first.
    pub sequence_number: i64,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    format: u32,
    #[serde(flatten)]
    content: T,
}

/// The directory of the agent's state.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Opens the directory, making it if needed.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, Error> {
        let directory = directory.into();
        let tasks = directory.join("tasks");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&tasks)
            .map_err(io_error("create", &tasks))?;
        Ok(Self { directory })
    }

    /// What the agent knows about itself, if it was ever registered.
    pub fn identity(&self) -> Result<Option<Identity>, Error> {
        read(&self.directory.join("agent.json"))
    }

    /// Remembers who the agent is.
    pub fn save_identity(&self, identity: &Identity) -> Result<(), Error> {
        write(&self.directory.join("agent.json"), identity)
    }

    fn task_file(&self, id: &SandboxId) -> PathBuf {
        self.directory.join("tasks").join(format!("{id}.json"))
    }

    /// Remembers a task and how far it has come.
    pub fn save_task(&self, machine: &Machine) -> Result<(), Error> {
        write(&self.task_file(&machine.task.id), machine)
    }

    /// Forgets a task.
    pub fn remove_task(&self, id: &SandboxId) -> Result<(), Error> {
        let path = self.task_file(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(io_error("remove", &path)),
        }
    }

    /// Every task. A damaged file is put aside (`.damaged`) and told in the log: the others go on.
    pub fn tasks(&self) -> Result<Vec<Machine>, Error> {
        let directory = self.directory.join("tasks");
        let mut tasks = Vec::new();
        for entry in fs::read_dir(&directory).map_err(io_error("list", &directory))? {
            let path = entry.map_err(io_error("list", &directory))?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => match read::<Machine>(&path) {
                    Ok(Some(machine)) if machine.is_consistent() => tasks.push(machine),
                    Ok(_) | Err(Error::Damaged { .. }) => set_aside(&path),
                    Err(error) => return Err(error),
                },
                // What a write that was cut off left behind.
                Some("new") => fs::remove_file(&path).map_err(io_error("remove", &path))?,
                _ => {}
            }
        }
        Ok(tasks)
    }
}

fn set_aside(path: &Path) {
    let aside = path.with_extension("damaged");
    tracing::error!(file = %path.display(), "a task's state is damaged and was put aside");
    if let Err(error) = fs::rename(path, &aside) {
        tracing::error!(%error, file = %path.display(), "could not put it aside");
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let damaged = |source| Error::Damaged { path: path.to_owned(), source };
    let Format { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if format > FORMAT {
        return Err(Error::Newer { path: path.to_owned(), format });
    }
    let file: Versioned<T> = serde_json::from_slice(&bytes).map_err(damaged)?;
    Ok(Some(file.content))
}

fn write<T: Serialize>(path: &Path, content: &T) -> Result<(), Error> {
    let bytes = serde_json::to_vec(&Versioned { format: FORMAT, content })
        .map_err(|source| Error::Damaged { path: path.to_owned(), source })?;
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(io_error("create", &new))?;
    file.write_all(&bytes).map_err(io_error("write", &new))?;
    file.sync_data().map_err(io_error("sync", &new))?;
    fs::rename(&new, path).map_err(io_error("rename", &new))?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let opened = File::open(directory).map_err(io_error("open", directory))?;
    opened.sync_all().map_err(io_error("sync", directory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::fixtures;

    #[test]
    fn tasks_and_identity_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.identity().unwrap(), None);
        let identity = Identity {
            cluster: "default".into(),
            container_instance_arn: "arn".into(),
            sequence_number: 7,
        };
        store.save_identity(&identity).unwrap();
        let machine = Machine::new(fixtures::task(vec![fixtures::container("app")]));
        store.save_task(&machine).unwrap();
        fs::write(directory.path().join("tasks/torn.json"), "{\"format\":1,").unwrap();
        fs::write(directory.path().join("tasks/half.new"), "{").unwrap();

        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.identity().unwrap(), Some(identity));
        let tasks = store.tasks().unwrap();
        assert_eq!(tasks.len(), 1);
        assert_eq!(tasks[0].task.arn, machine.task.arn);
        assert!(directory.path().join("tasks/torn.damaged").exists());
        assert!(!directory.path().join("tasks/half.new").exists());
        store.remove_task(&machine.task.id).unwrap();
        store.remove_task(&machine.task.id).unwrap();
        assert!(store.tasks().unwrap().is_empty());
    }

    #[test]
    fn a_newer_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        fs::write(directory.path().join("agent.json"), "{\"format\":99}").unwrap();
        assert!(matches!(store.identity(), Err(Error::Newer { format: 99, .. })));
    }
}
