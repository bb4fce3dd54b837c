//! Headers that a load balancer sets, changes or takes away on the way to a target and back. Pure.

use http::header::{CONNECTION, COOKIE, HOST, HeaderName, TE};
use http::{HeaderMap, HeaderValue, Version};
use std::net::SocketAddr;

/// X-Forwarded-For.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// X-Forwarded-Proto.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// X-Forwarded-Port.
pub const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// X-Amzn-Trace-Id.
pub const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// The most addresses in X-Forwarded-For.
pub const MAX_FORWARDED: usize = 30;

/// What becomes of X-Forwarded-For.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XffMode {
    /// The client's address is added.
    #[default]
    Append,
    /// It stays as it is.
    Preserve,
    /// It goes.
    Remove,
}

impl XffMode {
    /// Reads the attribute's value.
    pub fn parse(word: &str) -> Self {
        match word {
            "preserve" => Self::Preserve,
            "remove" => Self::Remove,
            _ => Self::Append,
        }
    }
}

/// The addresses that X-Forwarded-For already names.
pub fn forwarded_count(headers: &HeaderMap) -> usize {
    let values = headers.get_all(X_FORWARDED_FOR);
    values.iter().map(|value| value.as_bytes().split(|byte| *byte == b',').count()).sum()
}

/// A client's address as X-Forwarded-For has it: written once for all requests of a connection.
#[derive(Debug, Clone)]
pub struct ForwardedFor {
    address: HeaderValue,
    with_port: HeaderValue,
}

impl ForwardedFor {
    /// Of a client.
    pub fn new(client: SocketAddr) -> Self {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        // An address is always a value; the empty one can't come about.
        let value = |text: String| {
            HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
        };
        Self { address: value(client.ip().to_string()), with_port: value(client.to_string()) }
    }
}

/// Sets X-Forwarded-For, -Proto and -Port.
pub fn forward(
    headers: &mut HeaderMap,
    mode: XffMode,
    with_port: bool,
    client: &ForwardedFor,
    tls: bool,
    port: &HeaderValue,
) {
    match mode {
        XffMode::Preserve => {}
        XffMode::Remove => drop(headers.remove(X_FORWARDED_FOR)),
        XffMode::Append => {
            let client = if with_port { &client.with_port } else { &client.address };
            let value = match headers.contains_key(X_FORWARDED_FOR) {
                true => appended(headers, client),
                false => Some(client.clone()),
            };
            if let Some(value) = value {
                headers.insert(X_FORWARDED_FOR, value);
            }
        }
    }
    let proto = if tls { "https" } else { "http" };
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    headers.insert(X_FORWARDED_PORT, port.clone());
}

fn appended(headers: &HeaderMap, client: &HeaderValue) -> Option<HeaderValue> {
    let mut value: Vec<u8> = Vec::new();
    for part in headers.get_all(X_FORWARDED_FOR) {
        value.extend_from_slice(part.as_bytes());
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(client.as_bytes());
    HeaderValue::from_bytes(&value).ok()
}

/// Sets X-Amzn-Trace-Id. `now` is in seconds, `random` is random. The value, for the access log.
pub fn trace(headers: &mut HeaderMap, now: u64, random: u128) -> HeaderValue {
    let mut id = *b"Root=1-00000000-000000000000000000000000";
    hexadecimal(&mut id[7..15], now.into());
    hexadecimal(&mut id[16..], random);
    let given = headers.get(TRACE_ID).and_then(|value| value.to_str().ok());
    let value = match given {
        None => HeaderValue::from_bytes(&id),
        Some(given) => {
            let fields = given.split(';').map(str::trim);
            let kept: Vec<&str> =
                fields.filter(|field| !field.is_empty() && !field.starts_with("Self=")).collect();
            if kept.iter().any(|field| field.starts_with("Root=")) {
                id[..5].copy_from_slice(b"Self=");
            }
            let mut value = id.to_vec();
            for field in kept {
                value.push(b';');
                value.extend_from_slice(field.as_bytes());
            }
            HeaderValue::from_bytes(&value)
        }
    };
    // What was cut out of a header's value is one.
    let value = value.unwrap_or_else(|_| HeaderValue::from_static("-"));
    headers.insert(TRACE_ID, value.clone());
    value
}

/// The lowest digits of a number.
fn hexadecimal(out: &mut [u8], mut number: u128) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "expect",
];

/// Takes away what holds between two neighbours only. Whether `TE: trailers` was among it.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) -> bool {
    if !headers.keys().any(|name| HOP_BY_HOP.contains(&name.as_str())) {
        return false;
    }
    let trailers = headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers")));
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A client must not have the load balancer take away what it set itself, or what frames the
        // message.
        .filter(|name| !is_protected(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    trailers
}

fn is_protected(name: &HeaderName) -> bool {
    let text = name.as_str();
    text.starts_with("x-forwarded-")
        || text.starts_with("x-amzn-")
        || matches!(text, "host" | "content-length" | "cookie" | "authorization")
}

/// Takes away header fields whose names are more than letters, digits and hyphens.
pub fn drop_invalid(headers: &mut HeaderMap) {
    let valid = |name: &HeaderName| {
        name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let invalid: Vec<HeaderName> = headers.keys().filter(|name| !valid(name)).cloned().collect();
    for name in invalid {
        headers.remove(name);
    }
}

/// HTTP/2 may split a Cookie header; HTTP/1.1 may not.
pub fn join_cookies(headers: &mut HeaderMap, version: Version) {
    if version != Version::HTTP_2 || headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// The Host header to a target: with `preserve` as it came, else with the listener's port where that
/// isn't the default one.
pub fn host(headers: &mut HeaderMap, host: &str, port: u16, preserve: bool) {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| {
        !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
    });
    let value = if preserve || has_port || matches!(port, 80 | 443) {
        if headers.get(HOST).is_some_and(|given| given == host) {
            return;
        }
        HeaderValue::from_str(host)
    } else {
        HeaderValue::from_str(&format!("{host}:{port}"))
    };
    if let Ok(value) = value {
        headers.insert(HOST, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn xff(mode: XffMode, with_port: bool, given: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = headers(given);
        let client = ForwardedFor::new("203.0.113.7:4711".parse().unwrap());
        forward(&mut headers, mode, with_port, &client, true, &443.into());
        assert_eq!(headers[X_FORWARDED_PROTO], "https");
        assert_eq!(headers[X_FORWARDED_PORT], "443");
        headers.get(X_FORWARDED_FOR).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_client_is_named_as_the_mode_says() {
        let given = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "5.6.7.8")];
        let check = |mode, with_port| xff(mode, with_port, &given);
        assert_eq!(check(XffMode::Append, false).unwrap(), "1.2.3.4, 5.6.7.8, 203.0.113.7");
        assert_eq!(check(XffMode::Append, true).unwrap(), "1.2.3.4, 5.6.7.8, 203.0.113.7:4711");
        assert_eq!(check(XffMode::Preserve, false).unwrap(), "1.2.3.4");
        assert_eq!(check(XffMode::Remove, false), None);
        assert_eq!(xff(XffMode::Append, false, &[]).unwrap(), "203.0.113.7");
        assert_eq!(forwarded_count(&headers(&given)), 2);
    }

    #[test]
    fn a_trace_keeps_its_root() {
        let traced =
            |given: &[(&'static str, &str)]| trace(&mut headers(given), 0x6789_1233, 0xabc);
        let id = "1-67891233-000000000000000000000abc";
        assert_eq!(traced(&[]), format!("Root={id}"));
        let given = "Self=1-1-2;Root=1-5-6;CalledFrom=app";
        let expected = format!("Self={id};Root=1-5-6;CalledFrom=app");
        assert_eq!(traced(&[("x-amzn-trace-id", given)]), expected);
        assert_eq!(traced(&[("x-amzn-trace-id", "App=x")]), format!("Root={id};App=x"));
    }

    #[test]
    fn what_holds_between_neighbours_goes_and_nothing_of_ours_with_it() {
        let mut given = headers(&[
            ("connection", "close, x-secret, x-forwarded-for, content-length"),
            ("x-secret", "1"),
            ("x-forwarded-for", "1.1.1.1"),
            ("content-length", "3"),
            ("te", "trailers, deflate"),
            ("upgrade", "h2c"),
            ("keep-alive", "5"),
            ("accept", "*/*"),
        ]);
        assert!(strip_hop_by_hop(&mut given));
        let mut left: Vec<&str> = given.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "x-forwarded-for"]);
    }

    #[test]
    fn the_host_header_gets_the_listeners_port() {
        let sent = |name: &str, port, preserve| {
            let mut headers = HeaderMap::new();
            host(&mut headers, name, port, preserve);
            headers[HOST].to_str().unwrap().to_owned()
        };
        assert_eq!(sent("a.example", 80, false), "a.example");
        assert_eq!(sent("a.example", 8080, false), "a.example:8080");
        assert_eq!(sent("a.example:8080", 8080, false), "a.example:8080");
        assert_eq!(sent("a.example", 8080, true), "a.example");
        assert_eq!(sent("[::1]", 8080, false), "[::1]:8080");
    }

    #[test]
    fn cookies_are_joined_and_odd_names_dropped() {
        let mut given = headers(&[("cookie", "a=1"), ("cookie", "b=2"), ("x_odd", "1")]);
        join_cookies(&mut given, Version::HTTP_2);
        assert_eq!(given[COOKIE], "a=1; b=2");
        drop_invalid(&mut given);
        assert!(!given.contains_key("x_odd"));
    }
}
