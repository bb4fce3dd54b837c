//! The pages that a load balancer answers in its own name.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, SERVER};
use http::{HeaderValue, Response, StatusCode};
use wharf_model::load_balancing::FixedResponse;

/// What a load balancer calls itself.
pub const SERVER_NAME: HeaderValue = HeaderValue::from_static("awselb/2.0");

/// The words behind a status, as its page shows them.
pub fn words(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        405 => "Not Allowed",
        408 => "Request Time-out",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        other => StatusCode::from_u16(other)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or(""),
    }
}

/// The page of an error.
pub fn error(status: u16) -> Response<Bytes> {
    let words = words(status);
    let title = if words.is_empty() { status.to_string() } else { format!("{status} {words}") };
    let body = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n\
         <center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    );
    respond(status, Some("text/html"), body.into())
}

/// A fixed response.
pub fn fixed(fixed: &FixedResponse) -> Response<Bytes> {
    let body = Bytes::from(fixed.body.clone().unwrap_or_default());
    let kind = fixed.content_type.as_deref().unwrap_or("text/plain");
    let kind =
        if kind.contains("charset") { kind.into() } else { format!("{kind}; charset=utf-8") };
    respond(fixed.status, (!body.is_empty()).then_some(kind.as_str()), body)
}

/// A redirect.
pub fn redirect(status: u16, location: &str) -> Response<Bytes> {
    let mut response = error(status);
    match HeaderValue::from_str(location) {
        Ok(location) => {
            response.headers_mut().insert(LOCATION, location);
            response
        }
        Err(_) => error(507),
    }
}

/// Nothing here answers to this host name.
pub fn unknown_host(host: &str, candidates: &[String]) -> Response<Bytes> {
    let mut text = format!(
        "No load balancer on this port answers to the host name {host:?}. A request is told by its Host \
         header: use the DNS name of the load balancer, or add a rule with a host-header condition.\n"
    );
    if !candidates.is_empty() {
        text.push_str("Load balancers on this port:\n");
        for candidate in candidates {
            text.push_str("  ");
            text.push_str(candidate);
            text.push('\n');
        }
    }
    respond(404, Some("text/plain; charset=utf-8"), text.into())
}

fn respond(status: u16, content_type: Option<&str>, body: Bytes) -> Response<Bytes> {
    let length = body.len();
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(SERVER, SERVER_NAME);
    if let Some(kind) = content_type.and_then(|kind| HeaderValue::from_str(kind).ok()) {
        headers.insert(CONTENT_TYPE, kind);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}
