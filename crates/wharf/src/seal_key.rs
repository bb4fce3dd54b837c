//! The server's own key, which seals secrets and sessions: a file of its own in the data directory,
//! made on the first start. The journal without this file gives no secret away; whoever backs one up
//! needs both.

use crate::credentials;
use crate::data_dir::{self, DataDir};
use std::collections::BTreeSet;
use std::path::PathBuf;
use wharf_gateway::Vault;
use wharf_gateway::seal::{KEY_BYTES, SealKey};
use wharf_model::{Sealed, Snapshot};
use zeroize::Zeroizing;

/// Why there is no key to use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be written.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// The file can't be read.
    #[error("can't read the key that secrets are sealed with, {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file holds no key.
    #[error(
        "{0} holds no key: it has 64 hexadecimal digits. Restore it from a backup; without it \
         sessions end, and users' access keys and all secrets are lost"
    )]
    Form(PathBuf),
    /// The file is gone, and what was sealed with its key isn't.
    #[error(
        "{path} is missing, and with it the key {key} that {count} values of secrets and parameters \
         are sealed with: put it back. If it is lost for good, so are they; `openssl rand -hex 32 > \
         {path}` makes another key, with which they can be put anew"
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// The key's id.
        key: String,
        /// How many values need it.
        count: usize,
    },
    /// The kernel gave no random bytes.
    #[error(transparent)]
    Random(#[from] credentials::Error),
    /// No cipher takes the key.
    #[error(transparent)]
    Vault(#[from] wharf_gateway::vault::Error),
}

/// What values of secrets are sealed with, of all that follows from the key.
const VALUES: &str = "values";

/// The key of the data directory, which is made if no secret was sealed yet, and the vault for secrets.
///
/// # Errors
/// If the key is missing although it is needed, or can't be read or made.
pub fn open(data_dir: &DataDir, snapshot: &Snapshot) -> Result<(SealKey, Vault), Error> {
    let path = data_dir.seal_key();
    let key = match std::fs::read(&path).map(Zeroizing::new) {
        Ok(text) => parse(&text).ok_or_else(|| Error::Form(path.clone()))?,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
            if let Some(first) = sealed(snapshot).next() {
                let key = Vault::key_of(first).unwrap_or("of an unknown name").to_owned();
                return Err(Error::Lost { path, key, count: sealed(snapshot).count() });
            }
            let key = Zeroizing::new(credentials::random_bytes::<KEY_BYTES>()?);
            let text = Zeroizing::new(format!("{}\n", hex(&key).as_str()));
            data_dir::write_private(&path, text.as_bytes())?;
            key
        }
        Err(source) => return Err(Error::Read { path, source }),
    };
    let seal = SealKey::new(*key);
    let vault = Vault::new(&seal.derive(VALUES, &[]))?;
    let others: BTreeSet<&str> =
        sealed(snapshot).filter_map(Vault::key_of).filter(|id| *id != vault.key_id()).collect();
    if !others.is_empty() {
        tracing::error!(
            path = %path.display(),
            key = vault.key_id(),
            needed = ?others,
            "secrets were sealed with another key: they can't be read until it is put back"
        );
    }
    Ok((seal, vault))
}

/// All that is sealed.
fn sealed(snapshot: &Snapshot) -> impl Iterator<Item = &Sealed> {
    let parameters = snapshot.parameter_versions().map(|version| &version.value);
    parameters.chain(snapshot.secret_versions().map(|version| &version.value))
}

fn hex(key: &[u8; KEY_BYTES]) -> Zeroizing<String> {
    Zeroizing::new(key.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn parse(text: &[u8]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if text.len() != 2 * KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use wharf_model::secret::SecretVersion;
    use wharf_model::{Record, Revision, Timestamp, Write};

    fn with_a_secret(vault: &Vault) -> Snapshot {
        let mut version = SecretVersion {
            secret_name: "s".to_owned(),
            secret_id: "i".to_owned(),
            id: "v".to_owned(),
            value: Sealed::new(""),
            is_binary: false,
            created_at: Timestamp(0),
        };
        version.value = vault.seal(&version.seal_name(), b"hunter2").unwrap();
        let mut snapshot = Snapshot::default();
        snapshot.apply(Revision(1), &[Write::Put(Record::from(version))]);
        snapshot
    }

    #[test]
    fn a_key_is_made_once_and_missed_when_it_is_needed() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(Some(directory.path())).unwrap();
        let vault = |data_dir: &DataDir, snapshot: &Snapshot| {
            open(data_dir, snapshot).map(|(_, vault)| vault)
        };
        let one = vault(&data_dir, &Snapshot::default()).unwrap();
        let path = data_dir.seal_key();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let snapshot = with_a_secret(&one);
        let again = vault(&data_dir, &snapshot).unwrap();
        assert_eq!(one.key_id(), again.key_id());
        let version = snapshot.secret_versions().next().unwrap();
        assert_eq!(*again.open(&version.seal_name(), &version.value).unwrap(), b"hunter2");

        std::fs::remove_file(&path).unwrap();
        let error = open(&data_dir, &snapshot).map(|_| ()).unwrap_err();
        assert!(matches!(&error, Error::Lost { count: 1, key, .. } if key == one.key_id()));
        assert!(!path.exists(), "no other key may be made in its place");
        std::fs::write(&path, "7".repeat(63)).unwrap();
        let error = open(&data_dir, &snapshot).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Form(_)));
        std::fs::write(&path, "7".repeat(64)).unwrap();
        let other = vault(&data_dir, &snapshot).unwrap();
        assert!(other.open(&version.seal_name(), &version.value).is_err());
    }
}
