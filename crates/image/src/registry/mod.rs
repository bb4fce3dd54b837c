//! A client of the OCI distribution specification: what `docker pull` needs of it.
//!
//! One request, one connection: a pull makes few requests, and so no pool can mix up what belongs
//! to whom. Every answer has a size limit, and every digest is checked on the bytes received
//! before they are looked into.

mod auth;
mod docker_config;
mod push;
mod remote;
mod transport;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use hyper::{Method, StatusCode};
use zeroize::Zeroizing;

pub use docker_config::{Error as DockerConfigError, default_path as default_docker_config};
pub(crate) use push::Destination;
pub use remote::{Remote, RemoteUpload};
pub use transport::Error;
use transport::{Answer, Request, Transport, Url};

use crate::digest::Digest;
use crate::manifest::{DOCKER_LIST, DOCKER_MANIFEST, MAX_MANIFEST_BYTES, OCI_INDEX, OCI_MANIFEST};
use crate::reference::Reference;

/// The media types asked for, in the order of preference.
const ACCEPTED: [&str; 4] = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST];
/// The most bytes of an error's body that are read.
const MAX_ERROR_BYTES: u64 = 64 << 10;

/// A user's name and password (or token) for one registry. Has no Debug and no Display.
#[derive(Clone)]
pub struct Credentials {
    pub(crate) username: String,
    pub(crate) secret: Zeroizing<String>,
    /// The secret is an OAuth2 refresh token (`identitytoken` in docker's config).
    pub(crate) identity_token: bool,
}

impl Credentials {
    /// A name and a password.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Self {
        let secret = Zeroizing::new(password.into());
        Self { username: username.into(), secret, identity_token: false }
    }
}

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Docker's `config.json` for credentials; see [`default_docker_config`].
    pub docker_config: Option<PathBuf>,
    /// Directories with `<host>[:port]/ca.crt`, as docker's `certs.d`.
    pub certs_dirs: Vec<PathBuf>,
    /// Where to connect instead of asking DNS, by `host:port`; TLS still checks the name.
    pub resolve: BTreeMap<String, SocketAddr>,
    /// Token servers on another domain than their registry's: registry host → token host.
    pub realms: BTreeMap<String, String>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a peer may be silent.
    pub idle_timeout: Duration,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        let dirs = ["/etc/wharf/certs.d", "/etc/docker/certs.d", "/etc/containers/certs.d"];
        Self {
            docker_config: None,
            certs_dirs: dirs.map(PathBuf::from).to_vec(),
            resolve: BTreeMap::new(),
            realms: BTreeMap::new(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
        }
    }
}

/// A manifest as a registry sent it, its digest checked.
#[derive(Debug, Clone)]
pub struct FetchedManifest {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
    /// The Content-Type.
    pub media_type: Option<String>,
}

/// Speaks to registries; clones share tokens and TLS settings.
#[derive(Clone)]
pub struct RegistryClient {
    transport: Arc<Transport>,
    tokens: Arc<auth::Tokens>,
    options: Arc<RegistryOptions>,
}

/// A blob's bytes from some offset on.
pub struct BlobStream {
    answer: Answer,
    /// Where in the blob the first byte belongs.
    pub offset: u64,
}

impl BlobStream {
    /// The next bytes; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = tokio::time::timeout(self.answer.idle, self.answer.body.frame()).await;
            let url = &self.answer.url;
            match frame {
                Err(_) => return Err(Error::Timeout { url: url.to_string() }),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    return Err(Error::Http { url: url.to_string(), error: Arc::new(error) });
                }
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_trailers) => {}
                },
            }
        }
    }
}

impl RegistryClient {
    /// A client with these options; reads the system's certificates when it first needs them.
    pub fn new(options: RegistryOptions) -> Self {
        let options = Arc::new(options);
        let transport = Arc::new(Transport::new(Arc::clone(&options)));
        Self { transport, tokens: Arc::new(auth::Tokens::default()), options }
    }

    /// The credentials to use: those given, else docker's configuration file's.
    pub(crate) fn credentials(
        &self,
        reference: &Reference,
        given: Option<&Credentials>,
    ) -> Result<Option<Credentials>, DockerConfigError> {
        match (given, &self.options.docker_config) {
            (Some(given), _) => Ok(Some(given.clone())),
            (None, Some(path)) => docker_config::credentials(path, reference.registry()),
            (None, None) => Ok(None),
        }
    }

    /// The digest that the registry has for the reference now; none if it doesn't tell.
    pub(crate) async fn head_manifest(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Option<Digest>, Error> {
        let url = self.manifest_url(reference, &reference.manifest_selector()).await?;
        let answer = self.send(Method::HEAD, &url, &[], reference, credentials).await?;
        Ok(answer.header("docker-content-digest").and_then(|digest| digest.parse().ok()))
    }

    /// Fetches the manifest or index that the reference (or `pinned`) names.
    pub async fn manifest(
        &self,
        reference: &Reference,
        pinned: Option<&Digest>,
        credentials: Option<&Credentials>,
    ) -> Result<FetchedManifest, Error> {
        let pinned = pinned.or(reference.digest());
        let selector = match pinned {
            Some(digest) => digest.to_string(),
            None => reference.manifest_selector(),
        };
        let url = self.manifest_url(reference, &selector).await?;
        let answer = self.send(Method::GET, &url, &[], reference, credentials).await?;
        let told = answer.header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok());
        let media_type = answer.header(CONTENT_TYPE.as_str());
        let bytes = answer.collect(MAX_MANIFEST_BYTES).await?;
        let digest = Digest::of(&bytes);
        for expected in [pinned.copied(), told].into_iter().flatten() {
            if expected != digest {
                return Err(Error::Digest { expected, found: digest });
            }
        }
        Ok(FetchedManifest { bytes, digest, media_type })
    }

    /// Opens a blob at `offset`; the registry may begin at 0 all the same.
    pub(crate) async fn blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        offset: u64,
        credentials: Option<&Credentials>,
    ) -> Result<BlobStream, Error> {
        let base = self.base(reference).await?;
        let url = base.join(&format!("/v2/{}/blobs/{digest}", reference.repository()))?;
        let range = ("range", format!("bytes={offset}-"));
        let headers = if offset > 0 { std::slice::from_ref(&range) } else { &[] };
        let sent = self.send(Method::GET, &url, headers, reference, credentials).await;
        let answer = match sent {
            Err(Error::Status { status: StatusCode::RANGE_NOT_SATISFIABLE, .. }) => {
                self.send(Method::GET, &url, &[], reference, credentials).await?
            }
            other => other?,
        };
        let offset = match answer.status {
            StatusCode::PARTIAL_CONTENT => {
                let range = answer.header(CONTENT_RANGE.as_str()).unwrap_or_default();
                let start = range.strip_prefix("bytes ").and_then(|r| r.split_once('-'));
                match start.and_then(|(start, _)| start.trim().parse().ok()) {
                    Some(start) if start <= offset => start,
                    _ => return Err(Error::Answer { url: url.to_string(), what: "Content-Range" }),
                }
            }
            _ => 0,
        };
        Ok(BlobStream { answer, offset })
    }

    async fn base(&self, reference: &Reference) -> Result<Url, Error> {
        self.transport.base(reference.api_host()).await
    }

    async fn manifest_url(&self, reference: &Reference, selector: &str) -> Result<Url, Error> {
        let path = format!("/v2/{}/manifests/{selector}", reference.repository());
        self.base(reference).await?.join(&path)
    }

    /// Sends a request, answers the registry's challenge once, and follows redirects.
    async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &[(&'static str, String)],
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Answer, Error> {
        let scope = format!("repository:{}:pull", reference.repository());
        self.send_body(method, url, headers, Bytes::new(), &scope, credentials).await
    }

    /// As [`RegistryClient::send`], with a body and the scope that it needs.
    async fn send_body(
        &self,
        method: Method,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Bytes,
        scope: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Answer, Error> {
        let key = auth::Key::new(url, scope, credentials);
        let mut authorization = self.tokens.get(&key);
        for round in 0.. {
            let mut request = Request::new(method.clone(), url.clone());
            request.headers.push(("accept", ACCEPTED.join(", ")));
            request.headers.extend(headers.iter().cloned());
            request.authorization.clone_from(&authorization);
            request.body = body.clone();
            let answer = self.transport.follow(request).await?;
            if answer.status != StatusCode::UNAUTHORIZED {
                return check(answer, &method).await;
            }
            if round > 0 || answer.url.authority() != url.authority() {
                self.tokens.forget(&key);
                return check(answer, &method).await;
            }
            let challenges = answer.headers("www-authenticate");
            let solved = auth::solve(
                &self.transport,
                &self.options.realms,
                url,
                &challenges,
                scope,
                credentials,
            );
            match solved.await? {
                Some(found) => authorization = Some(self.tokens.put(key.clone(), found)),
                None => return check(answer, &method).await,
            }
        }
        Err(Error::Answer { url: url.to_string(), what: "authentication" })
    }
}

/// Turns an error status into an error with the registry's own words.
async fn check(answer: Answer, method: &Method) -> Result<Answer, Error> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let (status, url) = (answer.status, answer.url.to_string());
    let length = answer.header(CONTENT_LENGTH.as_str()).and_then(|l| l.parse::<u64>().ok());
    let body = match *method == Method::HEAD || length.is_some_and(|l| l > MAX_ERROR_BYTES) {
        true => Vec::new(),
        false => answer.collect(MAX_ERROR_BYTES).await.unwrap_or_default(),
    };
    let (code, message) = error_text(&body);
    Err(Error::Status { status, url, code, message })
}

/// The first error of an OCI error body, in printable characters only.
fn error_text(body: &[u8]) -> (String, String) {
    #[derive(serde::Deserialize)]
    struct Body {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let clean =
        |text: String| -> String { text.chars().filter(|c| !c.is_control()).take(300).collect() };
    let first = serde_json::from_slice::<Body>(body).ok().and_then(|b| b.errors.into_iter().next());
    first.map(|e| (clean(e.code), clean(e.message))).unwrap_or_default()
}
