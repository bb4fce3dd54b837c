//! OCI bundles and the runtimes that turn them into containers.
//!
//! Everything here runs in short-lived, single-threaded children of the shim, in the shim's mount
//! namespace: what is mounted stays for as long as the shim lives, and no longer.

mod capabilities;
mod cli;
mod config;
mod devices;
mod embedded;
mod etc;
mod files;
mod filter;
mod init;
mod rootfs;
mod seccomp;
pub(crate) mod shared;
mod sysctl;
#[cfg(test)]
mod testing;
mod user;
mod volume;

pub(crate) use filter::warm_up;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use crate::protocol::OciProgram;
use crate::spec::{ContainerSpec, Dns, ExecSpec, MountSource, NetworkMode, Sharing};

/// The directory beside the bundles where the shim mounts shared memory: no container's name begins
/// with a dot.
pub(crate) const SHARED_MEMORY: &str = ".shm";

/// The directory beside the bundles, in memory, with what an OCI runtime keeps of containers that
/// have secrets in their environment.
const SECRET: &str = ".secret";
/// Its size: configurations take some dozens of KiB each.
const SECRET_OPTIONS: &str = "mode=0700,size=32m";

/// Why a container can't be made, started or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call or file operation failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried, on what.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// The image's root file system is refused.
    #[error("root file system: {0}")]
    Rootfs(String),
    /// The user can't be found or isn't one.
    #[error("user {user:?}: {why}")]
    User {
        /// As given.
        user: String,
        /// What is wrong.
        why: String,
    },
    /// A capability, ulimit or other name isn't known.
    #[error("unknown {what} {name:?}")]
    Unknown {
        /// What kind of name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The OCI runtime said so.
    #[error("{0}")]
    Runtime(String),
}

/// Names what failed.
fn failed<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
    let what = what.into();
    move |source| Error::System { what, source: source.into() }
}

/// A container's place on disk and everything that its configuration depends on.
#[derive(Debug, Clone)]
pub(crate) struct Bundle {
    /// Holds `config.json`, `rootfs`, `upper`, `work` and the files for /etc.
    pub(crate) directory: PathBuf,
    /// The task's own file system, if it has one.
    pub(crate) storage: Option<PathBuf>,
    /// Where the OCI runtime keeps its state.
    pub(crate) run_dir: PathBuf,
    /// The runtime's command; `None` is the embedded one.
    pub(crate) program: Option<OciProgram>,
    /// The container's id for the runtime.
    pub(crate) runtime_id: String,
    /// Its cgroup below each hierarchy's mount.
    pub(crate) cgroup: String,
    /// Its network namespace; `None` is the host's.
    pub(crate) netns: Option<PathBuf>,
    /// The task's network mode.
    pub(crate) network: NetworkMode,
    /// Its address, for /etc/hosts.
    pub(crate) address: Option<Ipv4Addr>,
    /// The task's name servers.
    pub(crate) dns: Dns,
    /// What the task's containers share.
    pub(crate) sharing: Sharing,
    /// The first process of the container that holds it, once there is one.
    pub(crate) pause: Option<i32>,
    /// Linked containers' addresses and names, for /etc/hosts.
    pub(crate) links: Vec<(Ipv4Addr, String)>,
    /// Where the terminal is to be sent, if the container gets one.
    pub(crate) console: Option<PathBuf>,
    /// What was asked for.
    pub(crate) spec: ContainerSpec,
}

impl Bundle {
    fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// Where what the container writes lies: `upper` and `work`.
    fn written(&self) -> PathBuf {
        match &self.storage {
            Some(storage) => storage.join(&self.spec.name),
            None => self.directory.clone(),
        }
    }

    /// The memory that the task's containers share; the shim mounts it.
    pub(crate) fn shared_memory(&self) -> PathBuf {
        self.directory.with_file_name(SHARED_MEMORY)
    }

    /// Where another runtime than the embedded one has what would be secrets on a disk: it reads the
    /// environment from a file, and keeps copies of it.
    fn secret_directory(&self) -> Option<PathBuf> {
        let has_secrets = self.program.is_some() && !self.spec.secret_env.is_empty();
        has_secrets.then(|| self.directory.with_file_name(SECRET))
    }

    /// The directory of `config.json`.
    fn configuration(&self) -> PathBuf {
        match self.secret_directory() {
            Some(directory) => directory.join(&self.spec.name),
            None => self.directory.clone(),
        }
    }

    /// Where the directory is while it is removed; no container's name begins with a dot.
    fn removed(&self) -> PathBuf {
        self.directory.with_file_name(format!(".{}", self.runtime_id))
    }

    fn hostname(&self) -> String {
        if let Some(hostname) = &self.spec.hostname {
            return hostname.clone();
        }
        match &self.network {
            NetworkMode::Host => etc::host_name(),
            NetworkMode::Awsvpc(eni) => {
                let derived = || format!("ip-{}", eni.address.to_string().replace('.', "-"));
                eni.private_dns_name.clone().unwrap_or_else(derived)
            }
            NetworkMode::Bridge | NetworkMode::None => self.runtime_id.chars().take(12).collect(),
        }
    }
}

/// Mounts the root file system and writes what the runtime reads.
pub(crate) fn prepare(bundle: &Bundle) -> Result<(), Error> {
    let make = |path: &Path| {
        std::fs::create_dir_all(path).map_err(failed(format!("make {}", path.display())))
    };
    make(&bundle.directory)?;
    make(&bundle.run_dir)?;
    let root = rootfs::mount(bundle)?;
    rootfs::check(&root, &bundle.spec)?;
    for mount in &bundle.spec.mounts {
        if let MountSource::Volume(path) = &mount.source {
            if bundle.storage.is_some() {
                // The task's volumes are another directory there than for whoever asked.
                make(path)?;
            }
            volume::fill(&root, &mount.target, path)?;
        }
    }
    let user = user::resolve(&root, &bundle.spec.user)?;
    etc::write(bundle)?;
    init::write(bundle)?;
    files::write(&bundle.spec.files)?;
    if let Some(directory) = bundle.secret_directory() {
        mount_secret(&directory)?;
        make(&bundle.configuration())?;
    }
    let config = config::config(bundle, &user)?;
    let path = bundle.configuration().join("config.json");
    let text = serde_json::to_vec(&config).map_err(io::Error::from);
    text.and_then(|text| std::fs::write(&path, text))
        .map_err(failed(format!("write {}", path.display())))
}

/// Mounts memory for the shim and its children alone; once is enough.
fn mount_secret(directory: &Path) -> Result<(), Error> {
    let what = || format!("mount {}", directory.display());
    std::fs::create_dir_all(directory).map_err(failed(what()))?;
    let own = rustix::fs::stat(directory).map_err(failed(what()))?;
    let above = directory.parent().unwrap_or(directory);
    if rustix::fs::stat(above).map_err(failed(what()))?.st_dev != own.st_dev {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let options = std::ffi::CString::new(SECRET_OPTIONS).map_err(io::Error::other);
    let options = options.map_err(failed(what()))?;
    rustix::mount::mount("tmpfs", directory, "tmpfs", flags, options.as_c_str())
        .map_err(failed(what()))
}

/// Makes the container up to its start; answers its first process's id.
pub(crate) fn create(bundle: &Bundle) -> Result<i32, Error> {
    match &bundle.program {
        None => embedded::create(bundle),
        Some(program) => cli::create(bundle, program),
    }
}

/// Lets a created container go.
pub(crate) fn start(bundle: &Bundle) -> Result<(), Error> {
    match &bundle.program {
        None => embedded::start(bundle),
        Some(program) => cli::start(bundle, program),
    }
}

/// Runs a further process in the container; answers its id.
pub(crate) fn exec(bundle: &Bundle, init: i32, exec: &ExecSpec, number: u64) -> Result<i32, Error> {
    let root = rootfs::open_of(init)?;
    let user = if exec.user.is_empty() { &bundle.spec.user } else { &exec.user };
    let user = user::resolve(&root, user)?;
    let process = config::exec_process(bundle, exec, &user)?;
    let path = bundle.configuration().join(format!("exec-{number}.json"));
    let text = serde_json::to_vec(&process).map_err(io::Error::from);
    text.and_then(|text| std::fs::write(&path, text))
        .map_err(failed(format!("write {}", path.display())))?;
    let pid = match &bundle.program {
        None => embedded::exec(bundle, &path),
        Some(program) => cli::exec(bundle, program, &path),
    };
    let _ = std::fs::remove_file(&path);
    pid
}

/// Removes whatever there is of the container: the runtime's state, the mount, its directory's
/// name. The files are gone after [`clear`], for which nobody waits: on a busy disk it takes
/// longer than all the rest.
pub(crate) fn delete(bundle: &Bundle) -> Result<(), Error> {
    let deleted = forget(bundle);
    rootfs::unmount(bundle)?;
    if bundle.storage.is_some() {
        remove(&bundle.written())?;
    }
    match std::fs::rename(&bundle.directory, bundle.removed()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(format!("rename {}", bundle.directory.display()))(error))
        }
        _ => deleted,
    }
}

/// Removes what the runtime knows of a container that has ended; its files and its configuration
/// stay, so that it can be created again.
pub(crate) fn forget(bundle: &Bundle) -> Result<(), Error> {
    match &bundle.program {
        None => embedded::delete(bundle),
        Some(program) => cli::delete(bundle, program),
    }
}

/// Removes the files of a deleted container.
pub(crate) fn clear(bundle: &Bundle) -> Result<(), Error> {
    remove(&bundle.removed())
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}
