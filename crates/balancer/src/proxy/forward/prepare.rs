//! The head of a request as a target gets it.

use super::*;

/// A head that is ready, and can be sent more than once.
pub(super) struct Prepared {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: http::HeaderMap,
    pub(super) http2: bool,
    /// The client's side, if it asks for another protocol.
    pub(super) upgrade: Option<OnUpgrade>,
}

impl Prepared {
    /// A request of it.
    pub(super) fn request(&self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if self.http2 {
            *request.version_mut() = Version::HTTP_2;
        }
        request
    }

    /// Whether the request may be sent again although a target may have seen it.
    pub(super) fn is_idempotent(&self) -> bool {
        self.upgrade.is_none() && self.method.is_idempotent()
    }
}

/// Prepares a head; else the status to answer with.
pub(super) fn prepare(
    exchange: &mut Exchange,
    listener: &Listener,
    group: &Group,
    rewrites: &Rewrites,
    mut parts: Parts,
    host: String,
) -> Result<Prepared, u16> {
    let balancer = &listener.balancer;
    let http2 = group.settings.version != ProtocolVersion::Http1;
    let upgrade = upgrade(&mut parts, http2);
    let chunked = parts.headers.contains_key(http::header::TRANSFER_ENCODING);
    let kind = parts.headers.get(UPGRADE).cloned();
    let trailers = forwarded::strip_hop_by_hop(&mut parts.headers);
    let headers = &mut parts.headers;
    if chunked {
        headers.remove(CONTENT_LENGTH);
    }
    if let (Some(_), Some(kind)) = (&upgrade, kind) {
        headers.insert(UPGRADE, kind);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if trailers && http2 {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if balancer.drop_invalid {
        forwarded::drop_invalid(headers);
    }
    forwarded::join_cookies(headers, parts.version);
    let client = &exchange.client;
    let tls = client.tls.as_deref();
    let (xff, address) = (balancer.xff, &client.forwarded_for);
    let port = &listener.port_header;
    forwarded::forward(headers, xff, balancer.xff_port, address, tls.is_some(), port);
    tls::mutual_headers(headers, tls, &listener.names);
    tls_headers(headers, tls.filter(|_| balancer.tls_headers), &listener.names);
    let trace = forwarded::trace(headers, unix_seconds(), fastrand::u128(..));
    exchange.log(|entry| entry.trace = Some(trace));

    let host = rewrites.host(&host).unwrap_or(host);
    forwarded::host(headers, &host, listener.port, balancer.preserve_host);
    let uri = uri(&parts.uri, rewrites, http2.then_some((group, host.as_str())))?;
    if http2 {
        headers.remove(http::header::HOST);
    }
    Ok(Prepared { method: parts.method, uri, headers: parts.headers, http2, upgrade })
}

/// WebSockets, and other protocols that begin as HTTP/1.1. Never HTTP/2 in the clear: it would carry
/// requests past the rules.
fn upgrade(parts: &mut Parts, http2: bool) -> Option<OnUpgrade> {
    let kind = parts.headers.get(UPGRADE)?.as_bytes().to_ascii_lowercase();
    let asked = parts.headers.get_all(CONNECTION).iter().any(|value| {
        let mut words = value.as_bytes().split(|byte| *byte == b',');
        words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    // A body in front of another protocol is nobody's usage, and somebody's attack.
    let bare = !parts.headers.contains_key(http::header::TRANSFER_ENCODING)
        && parts.headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0");
    let plain = kind.split(|byte| *byte == b',').all(|word| !word.trim_ascii().starts_with(b"h2"));
    if !asked || !plain || !bare || http2 || parts.version != Version::HTTP_11 {
        return None;
    }
    parts.extensions.remove::<OnUpgrade>()
}

fn tls_headers(
    headers: &mut http::HeaderMap,
    tls: Option<&tls::TlsFacts>,
    names: &tls::HeaderNames,
) {
    let Some(tls) = tls else { return };
    headers.insert(&names.version, HeaderValue::from_static(tls.version));
    if let Ok(cipher) = HeaderValue::from_str(&tls.cipher) {
        headers.insert(&names.cipher, cipher);
    }
}

/// The URI to ask for: path and query alone, or with the authority that HTTP/2 wants.
fn uri(asked: &Uri, rewrites: &Rewrites, absolute: Option<(&Group, &str)>) -> Result<Uri, u16> {
    let path = asked.path_and_query().map_or("/", PathAndQuery::as_str);
    let path = match rewrites.url(path) {
        Some(path) if path.starts_with('/') => PathAndQuery::try_from(path).map_err(|_| 500_u16)?,
        Some(_) => return Err(500),
        None => asked.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")),
    };
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path);
    if let Some((group, host)) = absolute {
        let secure = group.settings.protocol == Protocol::Https;
        parts.scheme =
            Some(if secure { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP });
        parts.authority = Some(host.parse().map_err(|_| 400_u16)?);
    }
    Uri::from_parts(parts).map_err(|_| 400)
}
