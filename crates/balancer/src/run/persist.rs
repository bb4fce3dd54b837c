//! What a balancer keeps on disk: its last configuration, private keys included, and its secret.

use super::Error;
use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use wharf_model::load_balancing::Configuration;

const CONFIGURATION: &str = "configuration.json";
const SECRET: &str = "secret";
/// Bytes of the secret.
const SECRET_BYTES: usize = 32;

/// A balancer's directory.
#[derive(Debug, Clone)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let fail = |source| Error::Directory { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(fail)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(fail)?;
        Ok(Self(path.to_owned()))
    }

    /// The last configuration; an unreadable one is as good as none, and is said.
    pub(super) fn configuration(&self) -> Configuration {
        let path = self.0.join(CONFIGURATION);
        let read = std::fs::read(&path).and_then(|bytes| {
            serde_json::from_slice(&bytes)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
        });
        match read {
            Ok(Stored { items, revision }) => {
                let mut configuration = Configuration::default();
                let put = items;
                configuration.apply(&wharf_model::load_balancing::Update {
                    revision,
                    complete: true,
                    put,
                    delete: Vec::new(),
                });
                configuration
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Configuration::default(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the last configuration is unreadable");
                Configuration::default()
            }
        }
    }

    /// Writes the configuration in the place of the one before.
    pub(super) fn write(&self, configuration: &Configuration) -> io::Result<()> {
        let stored = Stored { revision: configuration.revision, items: items(configuration) };
        self.replace(CONFIGURATION, &serde_json::to_vec(&stored)?)
    }

    /// The secret that cookies are signed with; made at the first start.
    pub(super) fn secret(&self) -> Result<Vec<u8>, Error> {
        use ring::rand::SecureRandom as _;
        let path = self.0.join(SECRET);
        match std::fs::read(&path) {
            Ok(secret) if secret.len() == SECRET_BYTES => return Ok(secret),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Directory { path, source }),
        }
        let mut secret = vec![0; SECRET_BYTES];
        ring::rand::SystemRandom::new().fill(&mut secret).map_err(|_| Error::Directory {
            path: path.clone(),
            source: io::Error::other("the system gives no random bytes"),
        })?;
        self.replace(SECRET, &secret).map_err(|source| Error::Directory { path, source })?;
        Ok(secret)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.0.join(format!("{name}.new"));
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        std::fs::rename(&new, self.0.join(name))?;
        File::open(&self.0)?.sync_all()
    }
}

/// A configuration as a list: its maps have keys that JSON has no words for.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    revision: u64,
    items: Vec<wharf_model::load_balancing::Item>,
}

fn items(configuration: &Configuration) -> Vec<wharf_model::load_balancing::Item> {
    use wharf_model::load_balancing::Item;
    let c = configuration;
    let mut items = Vec::new();
    items.extend(c.load_balancers.values().cloned().map(Item::LoadBalancer));
    items.extend(c.listeners.values().cloned().map(Item::Listener));
    items.extend(c.rules.values().cloned().map(Item::Rule));
    items.extend(c.target_groups.values().cloned().map(Item::TargetGroup));
    items.extend(c.targets.values().flat_map(|group| group.values()).cloned().map(Item::Target));
    items.extend(c.key_pairs.values().cloned().map(Item::KeyPair));
    items.extend(c.trust_stores.values().cloned().map(Item::TrustStore));
    items
}
