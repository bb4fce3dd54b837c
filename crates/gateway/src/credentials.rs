//! Keys that this server gives out: temporary ones of sessions, and those of users.
//!
//! A session is nowhere recorded: its token says, sealed, whose it is and when it ends, and its
//! secret follows from the token. So it outlives a restart of the server, and ends by itself, with
//! its role, or with the server's key.

use crate::identity::Session;
use crate::seal::SealKey;
use crate::sigv4::{Key, KeySource, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use wharf_journal::Store;
use wharf_model::iam::{self, Role};
use wharf_model::{AccessKey, ArnScope, Principal, Snapshot, Timestamp};
use wharf_wire::acs::IAMRoleCredentials;

const TOKEN: &str = "session token";
const USER_SECRET: &str = "secret of an access key";

/// What a session token says.
#[derive(Serialize, Deserialize)]
struct Content {
    /// The access key id that belongs to it.
    k: String,
    /// The role's name.
    r: String,
    /// The role's unique id: a role that is made anew under the name is another.
    i: String,
    /// The session's name.
    s: String,
    /// When it ends.
    e: Timestamp,
    /// Makes two sessions of one name different.
    n: String,
}

/// A session's key.
pub struct TemporaryKey {
    /// `ASIA…`.
    pub access_key_id: String,
    /// Secret access key.
    pub secret: Secret,
    /// Session token.
    pub session_token: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A key for a session of `role`. `salt` makes it different from others of the same name and end.
pub fn role_session(
    seal: &SealKey,
    role: &Role,
    name: &str,
    expires_at: Timestamp,
    salt: &[u8],
) -> TemporaryKey {
    let end = expires_at.as_millis().to_be_bytes();
    let unique = seal.derive("session", &[role.id.as_bytes(), name.as_bytes(), &end, salt]);
    let access_key_id = key_id("ASIA", &unique[..16]);
    let content = Content {
        k: access_key_id.clone(),
        r: role.name.clone(),
        i: role.id.clone(),
        s: name.to_owned(),
        e: expires_at,
        n: STANDARD_NO_PAD.encode(&unique[16..]),
    };
    // Plain data with string keys: serialising it into memory can't fail.
    let content = serde_json::to_vec(&content).unwrap_or_default();
    let session_token = STANDARD.encode(seal.seal(TOKEN, &content));
    let secret = token_secret(seal, &session_token);
    TemporaryKey { access_key_id, secret, session_token, expires_at }
}

/// Credentials of a task's role (ACS `IAMRoleCredentials`). The id stays the same as long as the
/// task lives: containers were told it.
pub fn task_credentials(
    seal: &SealKey,
    arns: &ArnScope,
    role: &Role,
    task: &wharf_model::TaskKey,
    role_type: &str,
    expires_at: Timestamp,
    salt: &[u8],
) -> IAMRoleCredentials {
    let key = role_session(seal, role, task.id.as_str(), expires_at, salt);
    let name = task.to_string();
    let id = seal.derive("credentials id", &[name.as_bytes(), role_type.as_bytes()]);
    let id = id.first_chunk().map(|bytes| uuid::Builder::from_random_bytes(*bytes).into_uuid());
    IAMRoleCredentials {
        credentials_id: id.map(|id| id.to_string()),
        role_arn: Some(role.arn(&arns.account)),
        access_key_id: Some(key.access_key_id),
        secret_access_key: Some(key.secret.expose().to_owned()),
        session_token: Some(key.session_token),
        expiration: Some(rfc3339(expires_at)),
        credential_scope: None,
    }
}

fn rfc3339(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_second(at.as_millis() / 1000).unwrap_or(jiff::Timestamp::MAX);
    at.to_string()
}

/// Prefix and 16 of A–Z2–7.
fn key_id(prefix: &str, bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letters = bytes.iter().map(|b| char::from(ALPHABET[usize::from(b % 32)]));
    prefix.chars().chain(letters).collect()
}

/// 40 characters from 30 bytes.
fn secret(bytes: &[u8; 32]) -> Secret {
    Secret::new(STANDARD.encode(&bytes[..30]))
}

fn token_secret(seal: &SealKey, token: &str) -> Secret {
    secret(&seal.derive("session secret", &[token.as_bytes()]))
}

/// A new key of a user with its secret, which only the answer to its creation shows.
pub fn user_key(
    seal: &SealKey,
    principal: Principal,
    now: Timestamp,
    seed: u64,
) -> (AccessKey, Secret) {
    let owner = principal.name().unwrap_or_default().to_owned();
    let salt = [now.as_millis().to_be_bytes(), seed.to_be_bytes()].concat();
    let unique = seal.derive("access key id", &[owner.as_bytes(), &salt]);
    let access_key_id = key_id("AKIA", &unique[..16]);
    let secret = secret(&seal.derive("access key", &[access_key_id.as_bytes(), &salt]));
    let sealed = seal.seal(USER_SECRET, secret.expose().as_bytes());
    let record = AccessKey {
        access_key_id,
        sealed_secret: hex::encode(sealed),
        principal,
        created_at: now,
        is_inactive: false,
    };
    (record, secret)
}

/// The keys that sign requests on this server: those in files, users', and sessions'.
pub struct Keys {
    fixed: BTreeMap<String, (Secret, Principal)>,
    store: Arc<Store>,
    seal: Arc<SealKey>,
}

impl Keys {
    /// The given keys (id, secret, owner), and all that `store` knows or `seal` has sealed.
    pub fn new(
        fixed: impl IntoIterator<Item = (String, Secret, Principal)>,
        store: Arc<Store>,
        seal: Arc<SealKey>,
    ) -> Self {
        let fixed = fixed.into_iter().map(|(id, secret, owner)| (id, (secret, owner))).collect();
        Self { fixed, store, seal }
    }

    fn of_session(&self, access_key_id: &str, token: &str) -> Option<Key> {
        let sealed = STANDARD.decode(token).ok()?;
        let content = self.seal.open(TOKEN, &sealed)?;
        let Content { k, r, i, s, e, n: _ } = serde_json::from_slice(&content).ok()?;
        let snapshot = self.store.snapshot();
        let role = snapshot.role(&iam::key(&r)).filter(|role| role.id == i)?;
        (k == access_key_id).then(|| Key {
            secret: token_secret(&self.seal, token),
            principal: Principal::RoleSession(role.name.clone(), s.clone()),
            expires_at: Some(e),
            session: Some(Session { role: r, name: s, expires_at: e }),
        })
    }

    fn of_user(&self, snapshot: &Snapshot, access_key_id: &str) -> Option<Key> {
        let key = snapshot.access_key(&access_key_id.to_owned()).filter(|key| !key.is_inactive)?;
        let sealed = hex::decode(&key.sealed_secret).ok()?;
        let secret = self.seal.open(USER_SECRET, &sealed)?;
        Some(Key {
            secret: Secret::new(std::str::from_utf8(&secret).ok()?),
            principal: key.principal.clone(),
            expires_at: None,
            session: None,
        })
    }
}

impl KeySource for Keys {
    fn find(&self, access_key_id: &str, session_token: Option<&str>) -> Option<Key> {
        if let Some(token) = session_token {
            return self.of_session(access_key_id, token);
        }
        match self.fixed.get(access_key_id) {
            Some((secret, principal)) => Some(Key {
                secret: secret.clone(),
                principal: principal.clone(),
                expires_at: None,
                session: None,
            }),
            None => self.of_user(&self.store.snapshot(), access_key_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_journal::MemoryJournal;
    use wharf_model::{TaskKey, Transaction};

    fn role(id: &str) -> Role {
        serde_json::from_value(serde_json::json!({
            "name": "Web", "path": "/", "id": id, "created_at": 0, "trust_policy": "{}",
            "max_session_seconds": 3600 }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_session_is_good_with_its_own_token_and_role_until_its_end() {
        let store = Arc::new(Store::open(Arc::new(MemoryJournal::new())).await.unwrap());
        let put = async |role: Role| {
            let mut transaction = Transaction::new();
            transaction.put(role);
            store.commit(transaction).await.unwrap();
        };
        put(role("AROAONE")).await;
        let seal = Arc::new(SealKey::new([3; 32]));
        let end = Timestamp(1_000);
        let key = role_session(&seal, &role("AROAONE"), "s", end, b"1");
        let other = role_session(&seal, &role("AROAONE"), "s", end, b"2");
        assert_ne!(key.access_key_id, other.access_key_id);
        assert_ne!(key.secret.expose(), other.secret.expose());
        let keys = Keys::new([], Arc::clone(&store), Arc::clone(&seal));
        let found = keys.find(&key.access_key_id, Some(&key.session_token)).unwrap();
        assert_eq!(found.secret.expose(), key.secret.expose());
        assert_eq!(found.principal, Principal::RoleSession("Web".into(), "s".into()));
        // The gate holds it against the clock.
        assert_eq!(found.expires_at, Some(end));
        for (id, token) in [
            (&key.access_key_id, None),
            (&key.access_key_id, Some(other.session_token.as_str())),
            (&other.access_key_id, Some(key.session_token.as_str())),
            (&key.access_key_id, Some("")),
            (&key.access_key_id, Some("%%%")),
        ] {
            assert!(keys.find(id, token).is_none());
        }
        // After a restart with the same key file; with another one, never.
        let again = Keys::new([], Arc::clone(&store), Arc::new(SealKey::new([3; 32])));
        assert!(again.find(&key.access_key_id, Some(&key.session_token)).is_some());
        let foreign = Keys::new([], Arc::clone(&store), Arc::new(SealKey::new([4; 32])));
        assert!(foreign.find(&key.access_key_id, Some(&key.session_token)).is_none());
        put(role("AROATWO")).await;
        assert!(keys.find(&key.access_key_id, Some(&key.session_token)).is_none());
    }

    #[test]
    fn a_tasks_credentials_keep_their_id_and_change_their_key() {
        let seal = SealKey::new([3; 32]);
        let arns = ArnScope { region: "us-east-1".into(), account: "123456789012".into() };
        let make = |task: &str, role_type: &str, salt: &[u8]| {
            let key = TaskKey::new("default", task);
            task_credentials(&seal, &arns, &role("AROAONE"), &key, role_type, Timestamp(0), salt)
        };
        let first = make("1", "TaskApplication", b"a");
        let renewed = make("1", "TaskApplication", b"b");
        assert_eq!(first.credentials_id, renewed.credentials_id);
        assert_ne!(first.secret_access_key, renewed.secret_access_key);
        assert_ne!(first.credentials_id, make("1", "TaskExecution", b"a").credentials_id);
        assert_ne!(first.credentials_id, make("2", "TaskApplication", b"a").credentials_id);
        assert_eq!(first.expiration.as_deref(), Some("1970-01-01T00:00:00Z"));
    }
}
