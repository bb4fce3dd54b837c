//! What is refused whoever asks: requests that a browser's page sends to this port, by its own
//! script or after its name was pointed here (DNS rebinding). Loopback is no protection.

use crate::error::ApiError;
use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};
use std::net::{IpAddr, SocketAddr};

/// The name by which agents pass on what tasks ask: the link-local address at which every task
/// finds the API (`wharf_runtime::net::nft::API_ADDRESS`).
const TASK_HOSTS: [&str; 2] = ["169.254.170.4", "169.254.170.4:80"];

/// The host prefix of StartLiveTail in the service's model.
const STREAM_PREFIX: &str = "stream-";

/// Whether a name with a prefix belongs to whom the name itself does: that of a whole domain with a
/// prefix is another domain.
fn is_below(host: &str) -> bool {
    let (name, _) = split_port(host);
    name == "localhost" || name.parse::<IpAddr>().is_ok() || name.matches('.').count() >= 2
}

/// Whether a task asks, by way of its agent. Nothing is answered to it without a signature.
pub(super) fn is_of_a_task(headers: &HeaderMap) -> bool {
    headers.get_all(HOST).iter().any(|host| TASK_HOSTS.iter().any(|own| host == own))
}

/// The names under which this server is spoken to.
#[derive(Debug, Clone)]
pub struct AllowedHosts {
    /// `name:port`, lower case.
    exact: Vec<String>,
    /// Names good for every port, lower case.
    any_port: Vec<String>,
}

impl AllowedHosts {
    /// The address `local` under its usual names, and `extra`: `name` or `name:port`.
    pub fn new(local: SocketAddr, extra: &[String]) -> Self {
        let port = local.port();
        let mut exact = vec![local.to_string()];
        let loopback = match local.ip() {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_unspecified(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified(),
        };
        if loopback {
            exact.extend(["localhost", "127.0.0.1", "[::1]"].map(|name| format!("{name}:{port}")));
        }
        exact.extend(TASK_HOSTS.map(str::to_owned));
        let mut any_port = Vec::new();
        for name in extra {
            let name = name.to_ascii_lowercase();
            if split_port(&name).1.is_some() { exact.push(name) } else { any_port.push(name) }
        }
        Self { exact, any_port }
    }

    /// True if `host` (`name[:port]`) is one of them.
    pub fn allows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        // SDKs put the prefix before the endpoint's name when they ask for a live tail.
        let host = host.strip_prefix(STREAM_PREFIX).filter(|host| is_below(host)).unwrap_or(&host);
        let (name, port) = split_port(host);
        // A Host without a port means the scheme's default.
        let with_port = if port.is_none() { format!("{host}:80") } else { host.to_owned() };
        self.exact.contains(&with_port) || self.any_port.iter().any(|n| n == name)
    }

    /// Refuses a request with another Host, a foreign Origin, or one that a browser calls
    /// cross-site.
    ///
    /// # Errors
    /// What the caller hears: 403, or 400 where there isn't exactly one Host.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(ApiError::new(
                "MalformedHttpRequestException",
                400,
                "Exactly one Host header is required.",
            ));
        };
        let host = host.to_str().unwrap_or_default();
        if !self.allows(host) {
            return Err(denied(format!(
                "The Host '{host}' is not one of this endpoint's names. Start the server with it \
                 among its allowed hosts, or use the endpoint that `wharf env` prints."
            )));
        }
        for origin in headers.get_all(ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let name = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
            if !name.is_some_and(|name| self.allows(name)) {
                return Err(denied(format!(
                    "Requests from web pages of another origin ('{origin}') are not accepted."
                )));
            }
        }
        let cross_site =
            headers.get_all("sec-fetch-site").iter().any(|v| v == "cross-site" || v == "same-site");
        if cross_site {
            return Err(denied("Requests from other sites' web pages are not accepted."));
        }
        Ok(())
    }
}

fn denied(message: impl Into<String>) -> ApiError {
    ApiError::new("AccessDeniedException", 403, message)
}

/// `name` and `port` of `name[:port]`, where name may be an IPv6 address in brackets.
fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && !port.contains(']') => {
            port.parse().map_or((host, None), |port| (name, Some(port)))
        }
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &[&str], origin: &[&str]) -> Result<(), u16> {
        let hosts = AllowedHosts::new(
            "127.0.0.1:4580".parse().unwrap(),
            &["wharf.internal".to_owned(), "169.254.170.3:80".to_owned()],
        );
        let mut headers = HeaderMap::new();
        for value in host {
            headers.append(HOST, value.parse().unwrap());
        }
        for value in origin {
            headers.append(ORIGIN, value.parse().unwrap());
        }
        hosts.check(&headers).map_err(|e| e.status)
    }

    #[test]
    fn own_names_only() {
        for host in [
            "127.0.0.1:4580",
            "localhost:4580",
            "LOCALHOST:4580",
            "[::1]:4580",
            "wharf.internal",
            "wharf.internal:99",
            "169.254.170.3",
            "169.254.170.3:80",
            "169.254.170.4",
            "169.254.170.4:80",
        ] {
            assert_eq!(check(&[host], &[]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:4580",
            "localhost",
            "localhost:80",
            "localhost.evil.example:4580",
            "127.0.0.1:4581",
            "127.0.0.1:4580:4580",
            "127.0.0.1:04580x",
            "",
            "wharf.internal.evil",
            "169.254.170.4:4580",
        ] {
            assert_eq!(check(&[host], &[]), Err(403), "{host}");
        }
        assert_eq!(check(&[], &[]), Err(400));
        assert_eq!(check(&["localhost:4580", "localhost:4580"], &[]), Err(400));
    }

    #[test]
    fn foreign_origins_are_refused() {
        let own = &["localhost:4580"];
        assert_eq!(check(own, &["http://localhost:4580"]), Ok(()));
        for origin in ["null", "http://evil.example", "http://localhost:4581", "file://", ""] {
            assert_eq!(check(own, &[origin]), Err(403), "{origin}");
        }
        assert_eq!(check(own, &["http://localhost:4580", "http://evil.example"]), Err(403));
    }
}
