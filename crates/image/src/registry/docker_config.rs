//! Credentials from docker's `config.json`.
//!
//! Only what stands in the file is used. Credential helpers (`credsStore`, `credHelpers`) are
//! programs; wharf doesn't run them, and says so when the credentials asked for are kept by one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

use super::Credentials;
use crate::reference::{DOCKER_HUB, DOCKER_HUB_API};

const MAX_BYTES: u64 = 4 << 20;

/// Why docker's configuration couldn't be used. Never shows what stands in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The file couldn't be read.
    #[error("read {}: {reason}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        reason: String,
    },
    /// The file isn't docker's configuration.
    #[error("{}: not a docker configuration (line {line})", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where parsing ended.
        line: usize,
    },
    /// An `auth` member isn't base64 of `user:password`.
    #[error("{}: the auth of {registry} is not base64 of user:password", .path.display())]
    Auth {
        /// The file.
        path: PathBuf,
        /// The registry.
        registry: String,
    },
    /// The credentials are kept by a program.
    #[error(
        "{}: the credentials of {registry} are kept by docker-credential-{program}, which wharf \
         does not run; put them into \"auths\" (docker login with no credsStore)",
        .path.display()
    )]
    Helper {
        /// The file.
        path: PathBuf,
        /// The registry.
        registry: String,
        /// The program's suffix.
        program: String,
    },
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: BTreeMap<String, Auth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: Option<Zeroizing<String>>,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
    identitytoken: Option<Zeroizing<String>>,
}

/// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`, if it is there.
pub fn default_path() -> Option<PathBuf> {
    let dir = match std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
    };
    Some(dir.join("config.json")).filter(|path| path.is_file())
}

/// The credentials for a registry; none if the file has none or isn't there.
pub(super) fn credentials(path: &Path, registry: &str) -> Result<Option<Credentials>, Error> {
    let read_error =
        |error: io::Error| Error::Read { path: path.to_owned(), reason: error.to_string() };
    let bytes = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read_error(error)),
        Ok(meta) if meta.len() > MAX_BYTES => {
            return Err(read_error(io::Error::from(io::ErrorKind::FileTooLarge)));
        }
        Ok(_) => Zeroizing::new(fs::read(path).map_err(read_error)?),
    };
    let file: File = serde_json::from_slice(&bytes)
        .map_err(|error| Error::Malformed { path: path.to_owned(), line: error.line() })?;
    let helper = |program: &String| Error::Helper {
        path: path.to_owned(),
        registry: registry.to_owned(),
        program: program.clone(),
    };
    let matches = |key: &str| host_of(key) == registry || is_hub(registry) && is_hub(host_of(key));
    if let Some((_, program)) = file.cred_helpers.iter().find(|(key, _)| matches(key)) {
        return Err(helper(program));
    }
    let Some((_, auth)) = file.auths.iter().find(|(key, _)| matches(key)) else { return Ok(None) };
    match (decode(auth), &file.creds_store) {
        (Ok(Some(credentials)), _) => Ok(Some(credentials)),
        // docker leaves an empty entry for what its helper keeps.
        (Ok(None), Some(program)) => Err(helper(program)),
        (Ok(None), None) => Ok(None),
        (Err(()), _) => Err(Error::Auth { path: path.to_owned(), registry: registry.to_owned() }),
    }
}

fn decode(auth: &Auth) -> Result<Option<Credentials>, ()> {
    let mut username = auth.username.clone().unwrap_or_default();
    let mut password = auth.password.clone().unwrap_or_default();
    if let Some(encoded) = auth.auth.as_ref().filter(|text| !text.is_empty()) {
        let bytes = Zeroizing::new(STANDARD.decode(encoded.trim()).map_err(|_| ())?);
        let text = std::str::from_utf8(&bytes).map_err(|_| ())?;
        let (name, secret) = text.split_once(':').ok_or(())?;
        username = name.to_owned();
        // docker pads some passwords with NULs.
        password = Zeroizing::new(secret.trim_end_matches('\0').to_owned());
    }
    if let Some(token) = auth.identitytoken.as_ref().filter(|token| !token.is_empty()) {
        return Ok(Some(Credentials { username, secret: token.clone(), identity_token: true }));
    }
    if username.is_empty() && password.is_empty() {
        return Ok(None);
    }
    Ok(Some(Credentials { username, secret: password, identity_token: false }))
}

/// Keys are hosts, or URLs from docker's earlier days (`https://index.docker.io/v1/`).
fn host_of(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

fn is_hub(host: &str) -> bool {
    matches!(host, DOCKER_HUB | DOCKER_HUB_API | "index.docker.io")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, registry: &str) -> Result<Option<(String, String, bool)>, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, json).unwrap();
        let found = credentials(&path, registry)?;
        Ok(found.map(|c| (c.username.clone(), c.secret.to_string(), c.identity_token)))
    }

    #[test]
    fn credentials_as_docker_writes_them() {
        let pair = |u: &str, p: &str| Some((u.to_owned(), p.to_owned(), false));
        let hub = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "YTpiOmM="}}}"#;
        assert_eq!(check(hub, "docker.io").unwrap(), pair("a", "b:c"));
        assert_eq!(check(hub, "ghcr.io").unwrap(), None);
        let host = r#"{"auths": {"h:5000": {"username": "u", "password": "p"}}, "other": 1}"#;
        assert_eq!(check(host, "h:5000").unwrap(), pair("u", "p"));
        assert_eq!(check(host, "h").unwrap(), None);
        let token = r#"{"auths": {"x.azurecr.io": {"auth": "MDA6", "identitytoken": "t"}}}"#;
        assert_eq!(check(token, "x.azurecr.io").unwrap().unwrap().1, "t");
    }

    #[test]
    fn helpers_are_named_not_run() {
        let store = r#"{"auths": {"h": {}}, "credsStore": "desktop"}"#;
        let error = check(store, "h").unwrap_err().to_string();
        assert!(error.contains("docker-credential-desktop"), "{error}");
        assert!(check(store, "other").unwrap().is_none());
        let helper = r#"{"credHelpers": {"h": "ecr-login"}}"#;
        assert!(check(helper, "h").unwrap_err().to_string().contains("ecr-login"));
    }

    #[test]
    fn errors_keep_secrets() {
        for json in [
            r#"{"auths": {"h": {"auth": "c2VjcmV0"}}}"#,
            r#"{"auths": {"h": {"auth": "secret!"}}}"#,
            "{\"auths\": {\"h\": {\"auth\": \"secret\"",
        ] {
            let error = check(json, "h").unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }
}
