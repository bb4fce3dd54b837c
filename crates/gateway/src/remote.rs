//! Other registries, as this one needs them: upstreams that a pull-through cache asks, and peers that
//! images are replicated to. How they are reached is the binary's affair.

use async_trait::async_trait;
use bytes::Bytes;
use wharf_model::RegistryKey;
use wharf_registry::{BlobReader, Digest};
use zeroize::Zeroizing;

/// The header that says of a request below `/v2/` that it replicates an image, and from which registry:
/// `<account>/<region>`.
pub const REPLICATED_FROM: &str = "x-wharf-replicated-from";

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteFailure {
    /// There is no such thing.
    Absent,
    /// The credentials aren't good for it.
    Denied,
    /// It was asked too often.
    TooMany,
    /// Nobody answers, or not now.
    Unavailable,
    /// Whatever it was, asking again doesn't help.
    Other,
}

/// Why another registry didn't do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct RemoteError {
    /// What kind of failure it was.
    pub failure: RemoteFailure,
    /// The registry's error code, or one of ours.
    pub code: String,
    /// What happened, for people.
    pub text: String,
}

/// A name and a password or token for a registry. Has no Debug and no Display.
#[derive(Clone)]
pub struct RemoteLogin {
    /// The name.
    pub username: String,
    /// The password or token.
    pub secret: Zeroizing<String>,
}

/// A repository of an upstream.
#[derive(Clone)]
pub struct Upstream {
    /// `host[:port]`.
    pub host: String,
    /// The repository there.
    pub repository: String,
    /// Who asks; nobody in particular without.
    pub login: Option<RemoteLogin>,
}

/// A manifest as an upstream sent it.
#[derive(Debug, Clone)]
pub struct RemoteManifest {
    /// Its bytes.
    pub bytes: Bytes,
    /// The media type that it was sent with.
    pub media_type: Option<String>,
}

/// A blob's bytes as they come.
#[async_trait]
pub trait RemoteBlob: Send {
    /// Where in the blob the first byte belongs.
    fn offset(&self) -> u64;

    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, RemoteError>;
}

/// A repository of a peer.
#[async_trait]
pub trait PeerRepository: Send + Sync {
    /// True if it has the blob.
    async fn has_blob(&self, digest: &Digest) -> Result<bool, RemoteError>;

    /// Sends a blob.
    async fn push_blob(&self, digest: &Digest, blob: &dyn BlobReader) -> Result<(), RemoteError>;

    /// Puts a manifest under a tag or its digest.
    async fn put_manifest(
        &self,
        selector: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), RemoteError>;
}

/// Reaches other registries.
#[async_trait]
pub trait RemoteRegistries: Send + Sync {
    /// Asks whether an upstream is there and takes the login.
    async fn check(&self, upstream: &Upstream) -> Result<(), RemoteError>;

    /// The digest that an upstream's tag names; none if it doesn't tell.
    async fn digest(&self, upstream: &Upstream, tag: &str) -> Result<Option<String>, RemoteError>;

    /// The manifest that a tag or digest names; a digest is checked.
    async fn manifest(
        &self,
        upstream: &Upstream,
        selector: &str,
    ) -> Result<RemoteManifest, RemoteError>;

    /// A blob from `offset` on, or from before it.
    async fn blob(
        &self,
        upstream: &Upstream,
        digest: &Digest,
        offset: u64,
    ) -> Result<Box<dyn RemoteBlob>, RemoteError>;

    /// True if the operator has named this registry as one to replicate to.
    fn is_peer(&self, peer: &RegistryKey) -> bool;

    /// A repository of a peer, for a registry that replicates to it.
    async fn peer(
        &self,
        peer: &RegistryKey,
        from: &RegistryKey,
        repository: &str,
    ) -> Result<Box<dyn PeerRepository>, RemoteError>;
}
