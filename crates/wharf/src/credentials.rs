//! The root key: made on first start, kept by its owner alone, found again by `wharf env`.

use crate::data_dir::{self, DataDir};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

/// Why there is no key to use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read or written.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// The kernel gave no random bytes.
    #[error("can't get random bytes for a new access key")]
    Random(#[source] std::io::Error),
    /// Nothing was found.
    #[error("no wharf key found in {}: start wharf with `sudo wharf up`", .0.display())]
    Missing(PathBuf),
}

/// An access key and where it is good: the content of a `credentials` file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Credentials {
    /// `AKIA…`.
    pub access_key_id: String,
    /// The secret: printed by `wharf env` alone.
    pub secret_access_key: String,
    /// The server's URL.
    pub endpoint: String,
    /// The server's region.
    pub region: String,
}

impl Credentials {
    /// The key in `path`, or a new one, good at `endpoint` in `region`; the file is brought up to
    /// date.
    ///
    /// # Errors
    /// If the file can't be read or written, or there is no randomness.
    pub fn load_or_create(path: &Path, endpoint: &str, region: &str) -> Result<Self, Error> {
        let key = match data_dir::read_json::<Self>(path)? {
            Some(old) if old.endpoint == endpoint && old.region == region => return Ok(old),
            Some(old) => (old.access_key_id, old.secret_access_key),
            None => new_key()?,
        };
        let new = Self {
            access_key_id: key.0,
            secret_access_key: key.1,
            endpoint: endpoint.to_owned(),
            region: region.to_owned(),
        };
        data_dir::write_json(path, &new)?;
        Ok(new)
    }

    /// The key of the wharf in `data_dir` or, where that can't be read, the copy in the user's
    /// configuration directory.
    ///
    /// # Errors
    /// If neither is there.
    pub fn find(data_dir: &DataDir) -> Result<Self, Error> {
        let own = data_dir.credentials();
        if let Ok(Some(found)) = data_dir::read_json(&own) {
            return Ok(found);
        }
        let copy = data_dir::user_dir("XDG_CONFIG_HOME", ".config").map(|d| d.join("credentials"));
        match copy {
            Some(path) => Ok(data_dir::read_json(&path)?.ok_or(Error::Missing(own))?),
            None => Err(Error::Missing(own)),
        }
    }

    /// Under sudo: leaves a copy that the calling user owns in that user's configuration directory,
    /// so that `wharf env` works without sudo.
    ///
    /// # Errors
    /// If the copy can't be written.
    pub fn copy_for_sudo_user(&self) -> Result<(), Error> {
        let id = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
        let (Some(uid), Some(gid)) = (id("SUDO_UID"), id("SUDO_GID")) else { return Ok(()) };
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
        let Some(user) = user else { return Ok(()) };
        let directory = user.dir.join(".config/wharf");
        let path = directory.join("credentials");
        data_dir::write_json(&path, self)?;
        for owned in [directory, path] {
            chown(&owned, Some(uid), Some(gid)).map_err(|source| data_dir::Error::Io {
                action: "give to the calling user",
                path: owned.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

/// A new key in the form of AWS's: `AKIA` and 16 of A–Z2–7; 40 characters of secret.
///
/// # Errors
/// If the kernel gives no random bytes.
pub fn new_key() -> Result<(String, String), Error> {
    const ID: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const SECRET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let random = random_bytes::<56>()?;
    let (id, secret) = random.split_at(16);
    let pick = |alphabet: &[u8], bytes: &[u8]| -> String {
        bytes.iter().map(|b| char::from(alphabet[usize::from(*b) % alphabet.len()])).collect()
    };
    Ok((format!("AKIA{}", pick(ID, id)), pick(SECRET, secret)))
}

/// Random bytes from the kernel.
///
/// # Errors
/// If there are none.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut bytes[filled..], flags)
            .map_err(|e| Error::Random(e.into()))?;
    }
    Ok(bytes)
}
