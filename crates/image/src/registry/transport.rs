//! Connections: resolve, check, connect to what was checked, TLS, one request, redirects.
//!
//! Plain HTTP goes to loopback addresses only, decided on the address that is connected to and
//! not on the name. A registry on loopback is tried with TLS first, as docker does. Redirects are
//! checked like first requests, never lead from TLS to plain HTTP or from elsewhere to loopback,
//! and lose the Authorization header when the host changes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, LOCATION, USER_AGENT};
use hyper::{HeaderMap, Method, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::RegistryOptions;

const MAX_REDIRECTS: usize = 5;

/// Why a registry couldn't be asked, or what it answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The URL isn't usable.
    #[error("invalid URL \"{0}\"")]
    Url(String),
    /// The host has no address.
    #[error("dial tcp: lookup {host}: {reason}")]
    Lookup {
        /// The host.
        host: String,
        /// The resolver's answer.
        reason: String,
    },
    /// Plain HTTP to an address that isn't loopback.
    #[error(
        "refusing plain HTTP to {host} ({address}): only loopback registries may do without TLS"
    )]
    PlainHttp {
        /// The host.
        host: String,
        /// Its address.
        address: SocketAddr,
    },
    /// An address that no registry may send us to: link-local (where clouds keep their metadata)
    /// always, loopback when another host pointed there.
    #[error("refusing to connect to {host} at {address}")]
    Forbidden {
        /// The host.
        host: String,
        /// Its address.
        address: SocketAddr,
    },
    /// No TCP connection.
    #[error("dial tcp {address}: connect: {reason}")]
    Connect {
        /// The address tried last.
        address: SocketAddr,
        /// The kernel's answer.
        reason: String,
    },
    /// No TLS.
    #[error("tls: {host}: {error}")]
    Tls {
        /// The host.
        host: String,
        /// The cause.
        error: Arc<io::Error>,
    },
    /// A CA file isn't usable.
    #[error("{path}: {reason}")]
    Certificates {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The peer was silent for too long.
    #[error("{url}: timed out")]
    Timeout {
        /// What was asked.
        url: String,
    },
    /// The connection broke, or what came isn't HTTP.
    #[error("{url}: {error}")]
    Http {
        /// What was asked.
        url: String,
        /// The cause.
        error: Arc<hyper::Error>,
    },
    /// The answer is larger than allowed.
    #[error("{url}: the answer has more than {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// The answer ended early.
    #[error("{url}: unexpected EOF")]
    CutShort {
        /// What was asked.
        url: String,
    },
    /// An error status.
    #[error("unexpected status from GET request to {url}: {status}{}", detail(.code, .message))]
    Status {
        /// The status.
        status: StatusCode,
        /// What was asked.
        url: String,
        /// The registry's error code (`MANIFEST_UNKNOWN`), or empty.
        code: String,
        /// The registry's words, or empty.
        message: String,
    },
    /// The answer lacks something, or has it in a wrong form.
    #[error("{url}: unusable answer: {what}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A redirect to somewhere it may not lead.
    #[error("{from}: refused redirect to {to}")]
    Redirect {
        /// What was asked.
        from: String,
        /// Where the answer pointed.
        to: String,
    },
    /// The bytes don't have the digest they should have.
    #[error("digest mismatch: expected {expected}, received {found}")]
    Digest {
        /// What was asked for.
        expected: crate::digest::Digest,
        /// What came.
        found: crate::digest::Digest,
    },
    /// The registry sends clients to a token server that isn't its own.
    #[error(
        "registry {registry} names the token server {realm}, which is not on its domain; allow it in the registry options if that is right"
    )]
    Realm {
        /// The registry.
        registry: String,
        /// The token server.
        realm: String,
    },
    /// The registry asks for a kind of authentication that isn't known here.
    #[error("registry {registry} asks for unsupported authentication \"{scheme}\"")]
    Scheme {
        /// The registry.
        registry: String,
        /// The scheme.
        scheme: String,
    },
}

fn detail(code: &str, message: &str) -> String {
    match (code, message) {
        ("", "") => String::new(),
        (code, "") => format!(": {code}"),
        ("", message) => format!(": {message}"),
        (code, message) => format!(": {}: {message}", code.to_lowercase().replace('_', " ")),
    }
}

impl Error {
    /// True when the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Http { .. } => true,
            Self::Lookup { .. } | Self::Digest { .. } | Self::CutShort { .. } => true,
            Self::Tls { error, .. } => error.kind() != io::ErrorKind::InvalidData,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    )
            }
            _ => false,
        }
    }
}

/// An absolute http or https URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    pub path: String,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = || Error::Url(text.chars().take(300).collect());
        let uri: hyper::Uri = text.parse().map_err(|_| bad())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(bad());
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { tls, host: authority.host().to_ascii_lowercase(), port, path })
    }

    /// An absolute path, or a whole URL, seen from here.
    pub fn join(&self, target: &str) -> Result<Self, Error> {
        match target.starts_with('/') && !target.starts_with("//") {
            true => Self::parse(&format!("{}{target}", self.origin())),
            false => Self::parse(target),
        }
    }

    fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }

    pub fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Without the query: presigned URLs of blob stores carry secrets there.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or("/");
        write!(f, "{}{path}", self.origin())
    }
}

pub(super) struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(&'static str, String)>,
    pub authorization: Option<Arc<Zeroizing<String>>>,
    pub body: Bytes,
    /// The registry sent us to another host: this host's own addresses are out of bounds.
    pub sent_elsewhere: bool,
}

impl Request {
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            authorization: None,
            body: Bytes::new(),
            sent_elsewhere: false,
        }
    }
}

pub(super) struct Answer {
    pub status: StatusCode,
    pub url: Url,
    pub header_map: HeaderMap,
    pub body: Incoming,
    pub idle: Duration,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<String> {
        self.header_map.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    }

    pub fn headers(&self, name: &str) -> Vec<String> {
        let values = self.header_map.get_all(name).iter();
        values.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    }

    /// The whole body, at most `limit` bytes.
    pub async fn collect(self, limit: u64) -> Result<Vec<u8>, Error> {
        let url = self.url.to_string();
        let bytes = usize::try_from(limit).unwrap_or(usize::MAX);
        let body = Limited::new(self.body, bytes).collect();
        // Small documents: twice the patience for silence is enough for all of one.
        match tokio::time::timeout(self.idle * 2, body).await {
            Err(_) => Err(Error::Timeout { url }),
            Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
            Ok(Err(error)) => match error.downcast::<hyper::Error>() {
                Ok(error) => Err(Error::Http { url, error: Arc::new(*error) }),
                Err(_) => Err(Error::TooLarge { url, limit }),
            },
        }
    }
}

pub(super) struct Transport {
    options: Arc<RegistryOptions>,
    system_roots: OnceLock<RootCertStore>,
    /// Whether a loopback registry speaks TLS, by authority.
    loopback_tls: Mutex<BTreeMap<String, bool>>,
}

impl Transport {
    pub fn new(options: Arc<RegistryOptions>) -> Self {
        let loopback_tls = Mutex::new(BTreeMap::new());
        Self { options, system_roots: OnceLock::new(), loopback_tls }
    }

    /// The base URL of a registry, `host[:port]`.
    pub async fn base(&self, authority: &str) -> Result<Url, Error> {
        let https = Url::parse(&format!("https://{authority}/"))?;
        if !is_loopback_name(&https.host) {
            return Ok(https);
        }
        let plain = Url::parse(&format!("http://{authority}/"))?;
        let known = self.loopback_tls.lock().ok().and_then(|map| map.get(authority).copied());
        let tls = match known {
            Some(known) => known,
            None => match self.connect_tls(&https, false).await {
                Ok(_) => true,
                // A certificate that doesn't fit is no reason to do without.
                Err(Error::Tls { error, .. }) => is_certificate_error(&error),
                // Port 443 and port 80 are two services: ask for what is there.
                Err(_) if https.port != plain.port => false,
                Err(error) => return Err(error),
            },
        };
        if let Ok(mut map) = self.loopback_tls.lock() {
            map.insert(authority.to_owned(), tls);
        }
        Ok(if tls { https } else { plain })
    }

    /// Sends the request and follows redirects.
    pub async fn follow(&self, mut request: Request) -> Result<Answer, Error> {
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.once(&request).await?;
            if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let from = &request.url;
            let target = answer.header(LOCATION.as_str()).unwrap_or_default();
            let to = from.join(&target)?;
            let refused = || Error::Redirect { from: from.to_string(), to: to.to_string() };
            let inward = is_loopback_name(&to.host) && !is_loopback_name(&from.host);
            if (from.tls && !to.tls) || inward {
                return Err(refused());
            }
            if to.authority() != from.authority() {
                request.authorization = None;
            }
            request.sent_elsewhere |= to.host != from.host && !is_loopback_name(&from.host);
            request.url = to;
        }
        Err(Error::Answer { url: request.url.to_string(), what: "too many redirects" })
    }

    async fn once(&self, request: &Request) -> Result<Answer, Error> {
        let url = &request.url;
        let idle = self.options.idle_timeout;
        let http_error = |error| Error::Http { url: url.to_string(), error: Arc::new(error) };
        let mut sender = if url.tls {
            let stream = self.connect_tls(url, request.sent_elsewhere).await?;
            self.handshake(stream).await.map_err(http_error)?
        } else {
            let stream = self.connect_tcp(url, request.sent_elsewhere).await?;
            self.handshake(stream).await.map_err(http_error)?
        };
        let mut builder = hyper::Request::builder()
            .method(request.method.clone())
            .uri(&url.path)
            .header(HOST, url.authority())
            .header(USER_AGENT, concat!("wharf/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(authorization) = &request.authorization {
            let mut value = HeaderValue::from_str(authorization)
                .map_err(|_| Error::Answer { url: url.to_string(), what: "token" })?;
            value.set_sensitive(true);
            builder = builder.header(AUTHORIZATION, value);
        }
        let message = builder
            .body(Full::new(request.body.clone()))
            .map_err(|_| Error::Url(url.to_string()))?;
        let answer = tokio::time::timeout(idle, sender.send_request(message)).await;
        let answer =
            answer.map_err(|_| Error::Timeout { url: url.to_string() })?.map_err(http_error)?;
        let (head, body) = answer.into_parts();
        Ok(Answer { status: head.status, url: url.clone(), header_map: head.headers, body, idle })
    }

    async fn handshake<S>(
        &self,
        stream: S,
    ) -> Result<hyper::client::conn::http1::SendRequest<Full<Bytes>>, hyper::Error>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the answer's body, or when the sender is dropped before.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "registry connection ended");
            }
        });
        Ok(sender)
    }

    async fn connect_tcp(&self, url: &Url, elsewhere: bool) -> Result<TcpStream, Error> {
        let addresses = self.addresses(url).await?;
        let mapped = self.options.resolve.contains_key(&format!("{}:{}", url.host, url.port));
        if let Some(address) = addresses.iter().find(|a| !mapped && is_inward(a.ip(), elsewhere)) {
            let address = *address;
            return Err(Error::Forbidden { host: url.host.clone(), address });
        }
        if !url.tls
            && let Some(address) = addresses.iter().find(|a| !a.ip().to_canonical().is_loopback())
        {
            return Err(Error::PlainHttp { host: url.host.clone(), address: *address });
        }
        let mut last = Error::Lookup { host: url.host.clone(), reason: "no such host".to_owned() };
        for address in addresses {
            let connect = TcpStream::connect(address);
            let reason = match tokio::time::timeout(self.options.connect_timeout, connect).await {
                Ok(Ok(stream)) => {
                    // Requests are one small write each.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => describe(&error),
                Err(_) => "i/o timeout".to_owned(),
            };
            last = Error::Connect { address, reason };
        }
        Err(last)
    }

    async fn connect_tls(
        &self,
        url: &Url,
        elsewhere: bool,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
        let config = self.tls_config(url)?;
        let bare = url.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare).map_err(|_| Error::Url(url.to_string()))?;
        let stream = self.connect_tcp(url, elsewhere).await?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        match tokio::time::timeout(self.options.connect_timeout, handshake).await {
            Err(_) => Err(Error::Timeout { url: url.to_string() }),
            Ok(result) => {
                result.map_err(|error| Error::Tls { host: url.authority(), error: Arc::new(error) })
            }
        }
    }

    async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, Error> {
        let key = format!("{}:{}", url.host, url.port);
        if let Some(address) = self.options.resolve.get(&key) {
            return Ok(vec![*address]);
        }
        let bare = url.host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, url.port)]);
        }
        // Never by DNS (RFC 6761), and glibc doesn't know *.localhost.
        if is_loopback_name(bare) {
            let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            return Ok(both.map(|ip| SocketAddr::new(ip, url.port)).to_vec());
        }
        let lookup = tokio::net::lookup_host((bare, url.port));
        let failed = |reason: String| Error::Lookup { host: bare.to_owned(), reason };
        match tokio::time::timeout(self.options.connect_timeout, lookup).await {
            Ok(Ok(found)) => Ok(found.collect()),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("i/o timeout".to_owned())),
        }
    }

    fn tls_config(&self, url: &Url) -> Result<Arc<ClientConfig>, Error> {
        let mut roots = self
            .system_roots
            .get_or_init(|| {
                let mut roots = RootCertStore::empty();
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                roots
            })
            .clone();
        let names = [url.authority(), format!("{}:{}", url.host, url.port)];
        for dir in &self.options.certs_dirs {
            for name in &names {
                let path = dir.join(name).join("ca.crt");
                let Ok(pem) = fs::read(&path) else { continue };
                let bad = |reason: String| {
                    let path = path.display().to_string();
                    Error::Certificates { path, reason }
                };
                for certificate in CertificateDer::pem_slice_iter(&pem) {
                    let certificate = certificate.map_err(|error| bad(error.to_string()))?;
                    roots.add(certificate).map_err(|error| bad(error.to_string()))?;
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Certificates {
                path: "TLS".to_owned(),
                reason: error.to_string(),
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// Names that mean this host without asking anybody.
pub(super) fn is_loopback_name(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn is_inward(ip: IpAddr, elsewhere: bool) -> bool {
    let link_local = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_unspecified(),
    };
    link_local || (elsewhere && ip.to_canonical().is_loopback())
}

fn is_certificate_error(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)))
}

/// As Go prints it, without the number.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        _ => error.to_string(),
    }
}
