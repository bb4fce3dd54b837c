//! The client's writing half: blobs in chunks, and manifests.

use bytes::Bytes;
use hyper::header::LOCATION;
use hyper::{Method, StatusCode};

use super::transport::Url;
use super::{Credentials, Error, RegistryClient};
use crate::digest::Digest;
use crate::reference::Reference;

/// An upload under way: where its next chunk goes, and how far it has come.
pub(crate) struct Upload {
    url: Url,
    offset: u64,
}

/// Where an image is pushed to, and by whom.
pub(crate) struct Destination<'a> {
    pub client: &'a RegistryClient,
    pub reference: &'a Reference,
    pub credentials: Option<&'a Credentials>,
    /// On every request.
    pub headers: &'a [(&'static str, String)],
}

impl Destination<'_> {
    async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<super::Answer, Error> {
        let scope = format!("repository:{}:pull,push", self.reference.repository());
        let headers = [self.headers, headers].concat();
        self.client.send_body(method, url, &headers, body, &scope, self.credentials).await
    }

    async fn url(&self, path: &str) -> Result<Url, Error> {
        let base = self.client.base(self.reference).await?;
        base.join(&format!("/v2/{}/{path}", self.reference.repository()))
    }

    /// True if the repository has the blob.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let url = self.url(&format!("blobs/{digest}")).await?;
        match self.send(Method::HEAD, &url, &[], Bytes::new()).await {
            Ok(_) => Ok(true),
            Err(Error::Status { status: StatusCode::NOT_FOUND, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Begins an upload.
    pub async fn begin(&self) -> Result<Upload, Error> {
        let url = self.url("blobs/uploads/").await?;
        let answer = self.send(Method::POST, &url, &[], Bytes::new()).await?;
        Ok(Upload { url: next(&answer)?, offset: 0 })
    }

    /// Sends an upload's next bytes.
    pub async fn append(&self, upload: &mut Upload, chunk: Bytes) -> Result<(), Error> {
        let end = upload.offset + chunk.len() as u64;
        let range = format!("{}-{}", upload.offset, end.saturating_sub(1));
        let kind = "application/octet-stream".to_owned();
        let headers = [("content-range", range), ("content-type", kind)];
        let answer = self.send(Method::PATCH, &upload.url, &headers, chunk).await?;
        *upload = Upload { url: next(&answer)?, offset: end };
        Ok(())
    }

    /// Makes a blob of an upload.
    pub async fn finish(&self, upload: Upload, digest: &Digest) -> Result<(), Error> {
        let separator = if upload.url.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{separator}digest={digest}", upload.url.path);
        let url = upload.url.join(&path)?;
        self.send(Method::PUT, &url, &[], Bytes::new()).await.map(|_| ())
    }

    /// Puts a manifest under the reference's tag or digest.
    pub async fn put_manifest(&self, media_type: &str, bytes: Bytes) -> Result<(), Error> {
        let url = self.url(&format!("manifests/{}", self.reference.manifest_selector())).await?;
        let headers = [("content-type", media_type.to_owned())];
        self.send(Method::PUT, &url, &headers, bytes).await.map(|_| ())
    }
}

/// Where an upload goes on.
fn next(answer: &super::Answer) -> Result<Url, Error> {
    let location = answer.header(LOCATION.as_str());
    let missing = || Error::Answer { url: answer.url.to_string(), what: "no Location" };
    let url = answer.url.join(&location.ok_or_else(missing)?)?;
    // Credentials go to the registry's host, nowhere else.
    match url.authority() == answer.url.authority() && url.tls == answer.url.tls {
        true => Ok(url),
        false => Err(Error::Redirect { from: answer.url.to_string(), to: url.to_string() }),
    }
}
