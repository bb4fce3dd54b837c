//! Where things lie below the data directory, and who may read them.

use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why the data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("can't {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The directory itself can't be made or entered.
    #[error("can't use {path} as wharf's data directory: name another one with --data-dir")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file isn't what it should be.
    #[error("{path} isn't readable as JSON; move it away and run `wharf up` again")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// No home directory to put the data under.
    #[error("neither XDG_DATA_HOME nor HOME is set: name a directory with --data-dir")]
    NoHome,
}

/// The data directory and the paths below it.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

macro_rules! paths {
    ($( $(#[$doc:meta])* $name:ident = $path:literal; )*) => {
        impl DataDir {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> PathBuf {
                    self.0.join($path)
                }
            )*
        }
    };
}

paths! {
    /// The root key, mode 0600.
    credentials = "credentials";
    /// The agent's key, mode 0600.
    agent_credentials = "agent/credentials";
    /// The balancer's key, mode 0600.
    balancer_credentials = "balancer/credentials";
    /// Where the supervisor keeps the balancer's sockets.
    socket_keeper = "run/keeper.sock";
    /// What the balancer keeps for itself.
    balancer = "balancer";
    /// The server's own key, which seals secrets, sessions and users' access keys, mode 0600.
    seal_key = "seal-key";
    /// The certificate authority, mode 0600.
    authority = "authority";
    /// Directories that were made to tell clients of the authority.
    trust = "run/trust.json";
    /// What the agent was started with, for the one who cleans up after it.
    agent_settings = "run/agent-settings.json";
    /// The journal.
    journal = "journal";
    /// The image store.
    images = "images";
    /// Process files and locks.
    run = "run";
    /// wharf's own logs.
    log = "log";
}

impl DataDir {
    /// The directory given, or the default for this user: `/var/lib/wharf` for root, else
    /// `wharf` below XDG_DATA_HOME.
    ///
    /// # Errors
    /// If there is no default, or the directory can't be made or resolved.
    pub fn open(given: Option<&Path>) -> Result<Self, Error> {
        let path = match given {
            Some(path) => path.to_owned(),
            None if rustix::process::geteuid().is_root() => PathBuf::from("/var/lib/wharf"),
            None => user_dir("XDG_DATA_HOME", ".local/share").ok_or(Error::NoHome)?,
        };
        let made = private_dirs().create(&path).and_then(|()| path.canonicalize());
        made.map(Self).map_err(|source| Error::Unusable { path, source })
    }

    /// The data directory at `path`, if there is one: nothing is made.
    pub fn existing(path: &Path) -> Option<Self> {
        path.canonicalize().ok().filter(|path| path.is_dir()).map(Self)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A short name that no other data directory on this host shares: names bridges, nft tables
    /// and cgroups. Eight hexadecimal digits of the path's hash.
    pub fn instance(&self) -> String {
        // FNV-1a: the name must stay the same under every version of wharf and of Rust.
        let hash = self
            .0
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193));
        format!("{hash:08x}")
    }
}

/// `wharf` below the directory that `variable` or, in the home directory, `fallback` names.
pub fn user_dir(variable: &str, fallback: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set(variable).or_else(|| set("HOME").map(|home| home.join(fallback)))?;
    Some(base.join("wharf"))
}

/// Makes a directory that only its owner may enter, with its parents.
///
/// # Errors
/// If it can't be made.
pub fn make_private_dir(path: &Path) -> Result<(), Error> {
    private_dirs().create(path).map_err(io("create", path))
}

fn private_dirs() -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
}

/// Reads a JSON file; `None` if there is none.
///
/// # Errors
/// If it can't be read or isn't what it should be.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io("read", path)(source)),
    };
    let json = |source| Error::Json { path: path.to_owned(), source };
    serde_json::from_slice(&text).map(Some).map_err(json)
}

/// Writes a JSON file that only its owner may read: whole and durable, or not at all.
///
/// # Errors
/// If it can't be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::Json { path: path.to_owned(), source })?;
    text.push(b'\n');
    write_private(path, &text)
}

/// Writes a file that only its owner may read: whole and durable, or not at all.
///
/// # Errors
/// If it can't be written.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    make_private_dir(parent)?;
    let next = path.with_extension(format!("next-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&next)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&next, path)?;
        fs::File::open(parent)?.sync_all()
    };
    write().map_err(io("write", path))
}

/// An exclusive lock on a file, held until it is dropped or its process ends.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] rustix::fd::OwnedFd);

impl Lock {
    /// Takes the lock; `None` if another process holds it.
    ///
    /// # Errors
    /// If the file can't be made.
    pub fn try_take(path: &Path) -> Result<Option<Self>, Error> {
        if let Some(parent) = path.parent() {
            make_private_dir(parent)?;
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| io("open", path)(e.into()))?;
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(fd))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(io("lock", path)(e.into())),
        }
    }
}

fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |source| Error::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_names_are_stable_and_differ() {
        assert_eq!(DataDir("/var/lib/wharf".into()).instance(), "14de8846");
        assert_ne!(DataDir("/a".into()).instance(), DataDir("/b".into()).instance());
    }
}
