//! The S3-compatible store that environment files and trust stores come from: where it is, and with which key.

use std::path::{Path, PathBuf};
use wharf_agent::task::Secret;
use wharf_agent::{AgentCredentials, ObjectStore};
use zeroize::Zeroizing;

/// Why there is no key to use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("can't read the key for the object store, {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file holds no key.
    #[error("{0} has no aws_access_key_id and aws_secret_access_key in a section [default]")]
    Form(PathBuf),
}

/// The store that the options name, if they do.
///
/// # Errors
/// If the file with the key can't be read, or holds none.
pub fn store(
    endpoint: Option<&String>,
    credentials: Option<&PathBuf>,
) -> Result<Option<ObjectStore>, Error> {
    let Some(endpoint) = endpoint.cloned() else { return Ok(None) };
    let credentials = match credentials {
        Some(path) => Some(of_file(path)?),
        None => of_environment(|name| std::env::var(name).ok()),
    };
    Ok(Some(ObjectStore { endpoint, credentials }))
}

fn of_file(path: &Path) -> Result<AgentCredentials, Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(read)?);
    parse(&text).ok_or_else(|| Error::Form(path.to_owned()))
}

/// The section `[default]` of a file as the AWS CLI keeps it.
fn parse(text: &str) -> Option<AgentCredentials> {
    let mut in_default = false;
    let (mut id, mut secret, mut token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_default = line == "[default]";
        } else if let Some((name, value)) = line.split_once('=').filter(|_| in_default) {
            let value = value.trim();
            match name.trim() {
                "aws_access_key_id" => id = Some(value.to_owned()),
                "aws_secret_access_key" => secret = Some(Secret::new(value)),
                "aws_session_token" => token = Some(Secret::new(value)),
                _ => {}
            }
        }
    }
    Some(AgentCredentials { access_key_id: id?, secret_access_key: secret?, session_token: token })
}

fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Option<AgentCredentials> {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    Some(AgentCredentials {
        access_key_id: variable("AWS_ACCESS_KEY_ID")?,
        secret_access_key: Secret::new(variable("AWS_SECRET_ACCESS_KEY")?),
        session_token: variable("AWS_SESSION_TOKEN").map(Secret::new),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_section_has_the_key() {
        let key = parse(
            "[other]\naws_access_key_id = no\n\n[default]\n# mine\naws_access_key_id = AKID\n\
             aws_secret_access_key=a=b/c\nregion = x\n[next]\naws_secret_access_key = no\n",
        );
        let key = key.unwrap();
        assert_eq!((key.access_key_id.as_str(), key.secret_access_key.expose()), ("AKID", "a=b/c"));
        assert!(key.session_token.is_none());
        assert!(parse("aws_access_key_id = AKID\naws_secret_access_key = x").is_none());
        assert!(parse("[default]\naws_access_key_id = AKID").is_none());
        assert!(of_environment(|_| Some(String::new())).is_none());
    }
}
