//! Paths below `/v2/` and what they name. Names are checked here, by the grammar of the OCI
//! distribution specification, so that nothing behind meets another: no `..`, no empty component,
//! nothing that a file system or a log could stumble over.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::digest::{self, Digest};

/// The longest name of a repository (ECR's limit; the specification advises 255 with the host).
pub const MAX_NAME_BYTES: usize = 256;
/// The longest tag.
pub const MAX_TAG_BYTES: usize = 128;

/// A tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A tag.
    Tag(String),
    /// A digest.
    Digest(Digest),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

/// What a path names within a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `/v2/<name>/manifests/<reference>`
    Manifest(Reference),
    /// `/v2/<name>/blobs/<digest>`
    Blob(Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads,
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(String),
    /// `/v2/<name>/tags/list`
    Tags,
    /// `/v2/<name>/referrers/<digest>`
    Referrers(Digest),
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// Something of a repository.
    Repository {
        /// The repository's name.
        name: String,
        /// What of it.
        target: Target,
    },
}

/// Why a path names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such path.
    #[error("there is nothing at this path")]
    Unknown,
    /// The repository's name isn't one.
    #[error("invalid repository name")]
    Name,
    /// Neither a tag nor a digest.
    #[error("invalid tag")]
    Tag,
    /// Not a digest.
    #[error("{0}")]
    Digest(#[from] digest::Error),
}

impl Route {
    /// Reads a request's path.
    ///
    /// # Errors
    /// If it names nothing.
    pub fn parse(path: &str) -> Result<Self, Error> {
        let path = percent_decode_str(path).decode_utf8().map_err(|_| Error::Unknown)?;
        let rest = match path.as_ref() {
            "/v2" | "/v2/" => return Ok(Self::Base),
            "/v2/_catalog" => return Ok(Self::Catalog),
            path => path.strip_prefix("/v2/").ok_or(Error::Unknown)?,
        };
        // From the end: a repository may well be called `a/blobs/b`.
        let segments: Vec<&str> = rest.split('/').collect();
        let (name, target) = match segments.as_slice() {
            [name @ .., "blobs", "uploads", ""] | [name @ .., "blobs", "uploads"] => {
                (name, Target::Uploads)
            }
            [name @ .., "blobs", "uploads", id] => {
                let fits = id.len() == 36 && id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
                (name, Target::Upload(if fits { (*id).to_owned() } else { String::new() }))
            }
            [name @ .., "blobs", digest] => (name, Target::Blob(digest.parse()?)),
            [name @ .., "manifests", reference] => {
                (name, Target::Manifest(parse_reference(reference)?))
            }
            [name @ .., "tags", "list"] => (name, Target::Tags),
            [name @ .., "referrers", digest] => (name, Target::Referrers(digest.parse()?)),
            _ => return Err(Error::Unknown),
        };
        let name = name.join("/");
        if !is_name(&name) {
            return Err(Error::Name);
        }
        Ok(Self::Repository { name, target })
    }
}

/// A tag or a digest out of a path or a query.
///
/// # Errors
/// If it is neither.
pub fn parse_reference(text: &str) -> Result<Reference, Error> {
    if text.contains(':') {
        return Ok(Reference::Digest(text.parse()?));
    }
    if is_tag(text) { Ok(Reference::Tag(text.to_owned())) } else { Err(Error::Tag) }
}

/// True for a repository's name: components of `[a-z0-9]+` joined by `.`, `_`, `__` or dashes.
pub fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && text.split('/').all(is_component)
}

fn is_component(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let separator =
        |gap: &[u8]| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-');
    letter(*first) && letter(*last) && bytes.split(|b| letter(*b)).all(separator)
}

/// True for a tag.
pub fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG_BYTES
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn named(path: &str) -> (String, Target) {
        match Route::parse(path).unwrap() {
            Route::Repository { name, target } => (name, target),
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn paths_name_what_the_specification_says() {
        let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
        assert_eq!(Route::parse("/v2/"), Ok(Route::Base));
        assert_eq!(Route::parse("/v2"), Ok(Route::Base));
        let tag = Target::Manifest(Reference::Tag("v1".to_owned()));
        assert_eq!(named("/v2/a/manifests/v1"), ("a".to_owned(), tag));
        let blob = Target::Blob(digest.clone());
        for path in [format!("/v2/a/b/blobs/sha256:{HEX}"), format!("/v2/a/b/blobs/sha256%3A{HEX}")]
        {
            assert_eq!(named(&path), ("a/b".to_owned(), blob.clone()));
        }
        assert_eq!(named("/v2/blobs/uploads/blobs/uploads/").0, "blobs/uploads");
        assert_eq!(named("/v2/tags/list/tags/list").0, "tags/list");
        let referrers = named(&format!("/v2/manifests/referrers/sha256:{HEX}"));
        assert_eq!(referrers, ("manifests".to_owned(), Target::Referrers(digest)));
    }

    #[test]
    fn tricks_name_nothing() {
        for path in [
            "",
            "/",
            "/v1/",
            "/v2/../etc/manifests/x",
            "/v2/%2e%2e/manifests/x",
            "/v2/a/../../b/manifests/x",
            "/v2/a//b/manifests/x",
            "/v2//manifests/x",
            "/v2/manifests/x",
            "/v2/A/manifests/x",
            "/v2/a/manifests/..",
            "/v2/a/manifests/.x",
            "/v2/a/manifests/x%2Fy",
            "/v2/a/manifests/x%00",
            "/v2/a%00/manifests/x",
            "/v2/a/manifests/sha256:..%2F..%2Fetc",
            "/v2/a/blobs/sha256:abc",
            "/v2/a/blobs/",
            "/v2/a/manifests/",
            "/v2/a/tags/listen",
            "/v2/a_-b/manifests/x",
            "/v2/a/manifests/%ff",
        ] {
            assert!(Route::parse(path).is_err(), "{path}");
        }
        let long = "a".repeat(257);
        assert_eq!(Route::parse(&format!("/v2/{long}/tags/list")), Err(Error::Name));
        // An upload's id is never a path.
        let upload = named("/v2/a/blobs/uploads/..%2E").1;
        assert_eq!(upload, Target::Upload(String::new()));
    }
}
