//! One repository of a registry, for whoever passes on what it has, or what it is to have: manifests
//! and blobs as they are, without a store of this host.

use bytes::Bytes;
use hyper::{Method, StatusCode};

use super::push::{Destination, Upload};
use super::{BlobStream, Credentials, Error, FetchedManifest, RegistryClient};
use crate::digest::Digest;
use crate::reference::{self, Reference};

/// A repository of a registry.
#[derive(Clone)]
pub struct Remote {
    client: RegistryClient,
    name: String,
    reference: Reference,
    credentials: Option<Credentials>,
    headers: Vec<(&'static str, String)>,
}

/// A blob on its way to a registry.
pub struct RemoteUpload(Upload);

impl Remote {
    /// The repository `name` of the registry `host[:port]`, asked with these credentials alone, and
    /// with these headers on every request.
    ///
    /// # Errors
    /// If they make no reference.
    pub fn new(
        client: RegistryClient,
        host: &str,
        name: &str,
        credentials: Option<Credentials>,
        headers: Vec<(&'static str, String)>,
    ) -> Result<Self, reference::Error> {
        let name = format!("{host}/{name}");
        let reference = Reference::parse(&name)?;
        Ok(Self { client, name, reference, credentials, headers })
    }

    /// Asks whether the registry is there and takes the credentials.
    ///
    /// # Errors
    /// If it isn't, or doesn't.
    pub async fn check(&self) -> Result<(), Error> {
        let url = self.client.base(&self.reference).await?.join("/v2/")?;
        let credentials = self.credentials.as_ref();
        let sent = self.client.send_body(Method::GET, &url, &[], Bytes::new(), "", credentials);
        sent.await.map(|_| ())
    }

    /// The digest of the manifest that a tag names; none if the registry doesn't tell.
    ///
    /// # Errors
    /// If the registry has no such tag, or can't be asked.
    pub async fn digest(&self, tag: &str) -> Result<Option<Digest>, Error> {
        let reference = self.with(&format!(":{tag}"))?;
        self.client.head_manifest(&reference, self.credentials.as_ref()).await
    }

    /// The manifest that `selector`, a tag or a digest, names; its digest is checked.
    ///
    /// # Errors
    /// If the registry has none, or can't be asked.
    pub async fn manifest(&self, selector: &str) -> Result<FetchedManifest, Error> {
        let mark = if selector.contains(':') { '@' } else { ':' };
        let reference = self.with(&format!("{mark}{selector}"))?;
        self.client.manifest(&reference, None, self.credentials.as_ref()).await
    }

    /// A blob from `offset` on, or from before it: see [`BlobStream::offset`]. Whoever reads it
    /// checks its digest.
    ///
    /// # Errors
    /// If the registry hasn't got it, or can't be asked.
    pub async fn blob(&self, digest: &Digest, offset: u64) -> Result<BlobStream, Error> {
        self.client.blob(&self.reference, digest, offset, self.credentials.as_ref()).await
    }

    /// True if the repository has the blob.
    ///
    /// # Errors
    /// If the registry can't be asked.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        self.destination(&self.reference).has_blob(digest).await
    }

    /// Begins to send a blob.
    ///
    /// # Errors
    /// If the registry doesn't take it.
    pub async fn begin(&self) -> Result<RemoteUpload, Error> {
        self.destination(&self.reference).begin().await.map(RemoteUpload)
    }

    /// Sends a blob's next bytes.
    ///
    /// # Errors
    /// If the registry doesn't take them.
    pub async fn append(&self, upload: &mut RemoteUpload, chunk: Bytes) -> Result<(), Error> {
        self.destination(&self.reference).append(&mut upload.0, chunk).await
    }

    /// Ends a blob, whose digest the registry checks.
    ///
    /// # Errors
    /// If the registry doesn't take it.
    pub async fn finish(&self, upload: RemoteUpload, digest: &Digest) -> Result<(), Error> {
        self.destination(&self.reference).finish(upload.0, digest).await
    }

    /// Puts a manifest under `selector`, a tag or its digest.
    ///
    /// # Errors
    /// If the registry doesn't take it.
    pub async fn put_manifest(
        &self,
        selector: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let mark = if selector.contains(':') { '@' } else { ':' };
        let reference = self.with(&format!("{mark}{selector}"))?;
        self.destination(&reference).put_manifest(media_type, bytes).await
    }

    fn with(&self, selector: &str) -> Result<Reference, Error> {
        let text = format!("{}{selector}", self.name);
        Reference::parse(&text).map_err(|_| Error::Url(text))
    }

    fn destination<'a>(&'a self, reference: &'a Reference) -> Destination<'a> {
        let (client, credentials) = (&self.client, self.credentials.as_ref());
        Destination { client, reference, credentials, headers: &self.headers }
    }
}

impl Error {
    /// True if the registry has no such thing.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Status { status: StatusCode::NOT_FOUND, .. })
    }

    /// True if the registry wants other credentials, or none will do.
    pub fn is_denied(&self) -> bool {
        let denied = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        matches!(self, Self::Status { status, .. } if denied.contains(status))
    }

    /// True if the registry was asked too often.
    pub fn is_throttled(&self) -> bool {
        matches!(self, Self::Status { status: StatusCode::TOO_MANY_REQUESTS, .. })
    }

    /// The registry's error code, such as `MANIFEST_UNKNOWN`, if it gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Status { code, .. } => Some(code.as_str()).filter(|code| !code.is_empty()),
            _ => None,
        }
    }
}
