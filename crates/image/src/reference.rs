//! Image references as users write them (`busybox`, `ghcr.io/org/app:v1`, `host:5000/x@sha256:…`).
//!
//! The grammar and the defaults are those of Docker (`distribution/reference`): a first component
//! that has a dot, a colon or is `localhost` names a registry, everything else is on Docker Hub,
//! one-word names live under `library/`, and the tag defaults to `latest`. A name of Amazon ECR is
//! only a host among others here.

use std::fmt;
use std::str::FromStr;

use crate::digest::{self, Digest};

/// The registry that a name without a host belongs to.
pub const DOCKER_HUB: &str = "docker.io";
/// The host that serves Docker Hub's API.
pub const DOCKER_HUB_API: &str = "registry-1.docker.io";

const MAX_REPOSITORY_LEN: usize = 255;
const MAX_TAG_LEN: usize = 128;
const MAX_REFERENCE_LEN: usize = 512;

/// A fully qualified image reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text isn't an image reference; worded as docker words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text as a whole doesn't fit the grammar.
    #[error("invalid reference format: \"{0}\"")]
    Format(String),
    /// A repository name has upper-case letters.
    #[error("invalid reference format: repository name \"{0}\" must be lowercase")]
    Uppercase(String),
    /// The text is empty or too long.
    #[error(
        "invalid reference format: the name has {0} bytes, 1 to {MAX_REFERENCE_LEN} are allowed"
    )]
    Length(usize),
    /// The part behind `@` isn't a digest.
    #[error("invalid reference format")]
    Digest(#[from] digest::Error),
}

impl Reference {
    /// Parses a reference and fills in Docker's defaults.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() || text.len() > MAX_REFERENCE_LEN {
            return Err(Error::Length(text.len()));
        }
        let bad = || Error::Format(text.to_owned());
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad());
        }
        // docker refuses 64 hexadecimal digits as a name: they would shadow image ids.
        if tag.is_none() && digest.is_none() && Digest::from_hex(name).is_ok() {
            return Err(bad());
        }
        let (registry, path) = split_registry(name);
        let lower = registry.map(str::to_ascii_lowercase);
        let registry = match (registry, lower) {
            (Some(host), Some(lower)) if is_host(host) => match lower.as_str() {
                "index.docker.io" | DOCKER_HUB_API => DOCKER_HUB.to_owned(),
                // "Host/path" is known to begin with a registry by its case alone.
                _ if split_registry(&format!("{lower}/{path}")).0.is_none() => host.to_owned(),
                _ => lower,
            },
            (Some(_), _) => return Err(bad()),
            (None, _) => DOCKER_HUB.to_owned(),
        };
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(Error::Uppercase(path.to_owned()));
        }
        let repository = match path.contains('/') || registry != DOCKER_HUB {
            true => path.to_owned(),
            false => format!("library/{path}"),
        };
        if repository.len() > MAX_REPOSITORY_LEN || !repository.split('/').all(is_path_component) {
            return Err(bad());
        }
        let tag = match (tag, digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Self { registry, repository, tag, digest })
    }

    /// The registry's name, with its port if one was given (`docker.io`, `host:5000`).
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The host (and port) that serves the registry's API: Docker Hub's differs from its name.
    pub fn api_host(&self) -> &str {
        match self.registry.as_str() {
            DOCKER_HUB => DOCKER_HUB_API,
            host => host,
        }
    }

    /// The repository below the registry (`library/busybox`).
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; none when the reference has a digest only.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference is pinned to one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What the registry's manifest endpoint is asked for: the digest, else the tag.
    pub fn manifest_selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same repository pinned to `digest`, as docker's RepoDigests show it.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same repository, tag and digest at another registry, `host[:port]`.
    pub fn at(&self, registry: &str) -> Self {
        Self { registry: registry.to_owned(), ..self.clone() }
    }

    /// The short form that docker shows (`busybox:latest` for Docker Hub's library).
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        match full.strip_prefix("docker.io/") {
            Some(rest) => rest.strip_prefix("library/").unwrap_or(rest).to_owned(),
            None => full,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

/// Splits a tag off; a colon before the last slash belongs to the registry's port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, "")) => return v6.parse::<std::net::Ipv6Addr>().is_ok(),
        Some((v6, port)) => {
            let port = port.strip_prefix(':').unwrap_or("");
            return v6.parse::<std::net::Ipv6Addr>().is_ok() && is_port(port);
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port != 0)
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG_LEN
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// `[a-z0-9]+` joined by single `.`, one or two `_`, or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alnum(*first) || !alnum(*last) {
        return false;
    }
    bytes
        .split(|b| alnum(*b))
        .all(|sep| matches!(sep, b"" | b"." | b"_" | b"__") || sep.iter().all(|b| *b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, full: &str) {
        assert_eq!(Reference::parse(text).unwrap().to_string(), full, "{text}");
    }

    #[test]
    fn defaults_are_dockers() {
        check("busybox", "docker.io/library/busybox:latest");
        check("busybox:1.36", "docker.io/library/busybox:1.36");
        check("grafana/loki", "docker.io/grafana/loki:latest");
        check("index.docker.io/library/nginx", "docker.io/library/nginx:latest");
        check("docker.io/nginx", "docker.io/library/nginx:latest");
        check("localhost/app", "localhost/app:latest");
        check("localhost:5000/app:v1", "localhost:5000/app:v1");
        check("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest");
        check("[::1]:5000/a", "[::1]:5000/a:latest");
        check("GHCR.io/Org".to_lowercase().as_str(), "ghcr.io/org:latest");
        check(
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:v2",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:v2",
        );
        let hex = "a".repeat(64);
        check(&format!("b@sha256:{hex}"), &format!("docker.io/library/b@sha256:{hex}"));
        check(&format!("b:t@sha256:{hex}"), &format!("docker.io/library/b:t@sha256:{hex}"));
        check("a__b/c---d/e.f", "docker.io/a__b/c---d/e.f:latest");
    }

    #[test]
    fn hub_has_an_api_host_of_its_own() {
        assert_eq!(Reference::parse("busybox").unwrap().api_host(), "registry-1.docker.io");
        assert_eq!(Reference::parse("h:1/b").unwrap().api_host(), "h:1");
        assert_eq!(Reference::parse("busybox").unwrap().familiar(), "busybox:latest");
    }

    #[test]
    fn malformed_references_are_refused() {
        let long = "a".repeat(256);
        let hex64 = "0".repeat(64);
        let long_tag = format!("a:{}", "t".repeat(129));
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a/B",
            "a:",
            ":t",
            "a:b:c/d",
            "a@",
            "a@sha256:12",
            "a@sha512:00",
            "a b",
            "a\n",
            "../a",
            "a/../b",
            "a/./b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "host:99999/a",
            "host:0/a",
            "host:x/a",
            "-h.io/a",
            "h..io/a",
            "a:-t",
            "a:.t",
            "a?b",
            "a#b",
            "http://a/b",
            "a%2fb",
            "é",
            &long,
            &long_tag,
            &hex64,
            "[::1/a",
            "[x]:1/a",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?} was accepted");
        }
    }
}
