//! Answers to `WWW-Authenticate`: Basic, and Docker's token protocol (Bearer).
//!
//! The scope asked for is always `repository:<name>:pull`, whatever the challenge says, and the
//! token server must be on the registry's own domain (CVE-2026-33540), or be named by the
//! operator. Credentials go to the registry's host and its token server, nowhere else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use super::transport::{Error, Request, Transport, Url, is_loopback_name};
use super::{Credentials, check};
use crate::digest::Digest;

const MAX_TOKEN_BYTES: u64 = 1 << 20;
/// What the token protocol says when the server doesn't.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// Token servers on other domains than their registry's that the whole world uses.
const KNOWN_REALMS: [(&str, &str); 2] =
    [("registry-1.docker.io", "auth.docker.io"), ("lscr.io", "ghcr.io")];

/// An Authorization header and how long it holds.
pub(super) struct Authorization {
    value: Arc<Zeroizing<String>>,
    lifetime: Duration,
}

/// For what an Authorization header holds: host, scope, and whose.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(String, String, Option<Digest>);

impl Key {
    pub fn new(url: &Url, scope: &str, credentials: Option<&Credentials>) -> Self {
        let whose = credentials
            .map(|c| Digest::of(format!("{}\0{}", c.username, c.secret.as_str()).as_bytes()));
        Self(url.authority(), scope.to_owned(), whose)
    }
}

/// The value of an Authorization header.
type Secret = Arc<Zeroizing<String>>;

/// Headers that hold still.
#[derive(Default)]
pub(super) struct Tokens {
    held: Mutex<BTreeMap<Key, (Secret, Instant)>>,
}

impl Tokens {
    pub fn get(&self, key: &Key) -> Option<Arc<Zeroizing<String>>> {
        let held = self.held.lock().ok()?;
        held.get(key).filter(|(_, until)| *until > Instant::now()).map(|(value, _)| value.clone())
    }

    pub fn put(&self, key: Key, found: Authorization) -> Arc<Zeroizing<String>> {
        if let Ok(mut held) = self.held.lock() {
            held.retain(|_, (_, until)| *until > Instant::now());
            // A little early: the request must still arrive in time.
            let until = Instant::now() + found.lifetime.mul_f32(0.9);
            held.insert(key, (Arc::clone(&found.value), until));
        }
        found.value
    }

    pub fn forget(&self, key: &Key) {
        if let Ok(mut held) = self.held.lock() {
            held.remove(key);
        }
    }
}

/// Finds an answer to the registry's challenges; none if it wants credentials and there are none.
pub(super) async fn solve(
    transport: &Transport,
    realms: &BTreeMap<String, String>,
    registry: &Url,
    challenges: &[String],
    scope: &str,
    credentials: Option<&Credentials>,
) -> Result<Option<Authorization>, Error> {
    let parsed: Vec<_> = challenges.iter().filter_map(|text| parse_challenge(text)).collect();
    if let Some((_, parameters)) = parsed.iter().find(|(scheme, _)| scheme == "bearer") {
        let Some(realm) = parameters.get("realm") else {
            return Err(Error::Answer {
                url: registry.to_string(),
                what: "challenge without realm",
            });
        };
        let realm = Url::parse(realm)?;
        check_realm(registry, &realm, realms)?;
        let service = parameters.get("service").map_or("", String::as_str);
        let elsewhere = realm.host != registry.host && !is_loopback_name(&registry.host);
        let found = token(transport, &realm, elsewhere, service, scope, credentials);
        return found.await.map(Some);
    }
    if parsed.iter().any(|(scheme, _)| scheme == "basic") {
        let lifetime = Duration::from_secs(3600);
        return Ok(credentials.map(|c| Authorization { value: Arc::new(basic(c)), lifetime }));
    }
    match parsed.first() {
        None => Ok(None),
        Some((scheme, _)) => {
            Err(Error::Scheme { registry: registry.authority(), scheme: scheme.clone() })
        }
    }
}

fn basic(credentials: &Credentials) -> Zeroizing<String> {
    let pair = Zeroizing::new(format!("{}:{}", credentials.username, credentials.secret.as_str()));
    Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
}

/// The realm must be TLS (or loopback like its registry) and on the registry's domain.
fn check_realm(
    registry: &Url,
    realm: &Url,
    allowed: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let known = KNOWN_REALMS.iter().any(|(r, t)| *r == registry.host && *t == realm.host)
        || allowed.get(&registry.host).is_some_and(|host| *host == realm.host);
    let related = realm.host == registry.host
        || registry.host.ends_with(&format!(".{}", realm.host)) && realm.host.contains('.')
        || domain(&registry.host).is_some_and(|domain| {
            realm.host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
        })
        || (is_loopback_name(&registry.host) && is_loopback_name(&realm.host));
    let safe = realm.tls || (!registry.tls && is_loopback_name(&realm.host));
    match (known || related) && safe {
        true => Ok(()),
        false => Err(Error::Realm { registry: registry.authority(), realm: realm.to_string() }),
    }
}

/// What follows a host's first label, if that is a domain of at least two labels itself.
fn domain(host: &str) -> Option<&str> {
    let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    let (_, rest) = host.split_once('.')?;
    (!is_address && rest.contains('.')).then_some(rest)
}

async fn token(
    transport: &Transport,
    realm: &Url,
    elsewhere: bool,
    service: &str,
    scope: &str,
    credentials: Option<&Credentials>,
) -> Result<Authorization, Error> {
    #[derive(serde::Deserialize)]
    struct Token {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
    }
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    // Without a scope the token is good for asking whether the credentials are.
    let mut query = format!("service={}", encode(service));
    if !scope.is_empty() {
        query.push_str("&scope=");
        query.push_str(&encode(scope));
    }
    let mut request = match credentials {
        Some(credentials) if credentials.identity_token => {
            let mut request = Request::new(Method::POST, realm.clone());
            let secret = Zeroizing::new(encode(&credentials.secret));
            query.push_str("&grant_type=refresh_token&client_id=wharf&refresh_token=");
            query.push_str(&secret);
            let form = "application/x-www-form-urlencoded".to_owned();
            request.headers.push(("content-type", form));
            request.body = Bytes::from(query);
            request
        }
        _ => {
            let separator = if realm.path.contains('?') { '&' } else { '?' };
            let mut url = realm.clone();
            url.path = format!("{}{separator}{query}", realm.path);
            let mut request = Request::new(Method::GET, url);
            request.authorization = credentials.map(|c| Arc::new(basic(c)));
            request
        }
    };
    request.sent_elsewhere = elsewhere;
    let method = request.method.clone();
    let answer = check(transport.follow(request).await?, &method).await?;
    let bytes = Zeroizing::new(answer.collect(MAX_TOKEN_BYTES).await?);
    let unusable = || Error::Answer { url: realm.to_string(), what: "token" };
    let token: Token = serde_json::from_slice(&bytes).map_err(|_| unusable())?;
    let value =
        token.token.or(token.access_token).filter(|t| !t.is_empty()).ok_or_else(unusable)?;
    let lifetime = token.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs);
    let lifetime = lifetime.clamp(DEFAULT_LIFETIME, Duration::from_secs(3600));
    Ok(Authorization { value: Arc::new(Zeroizing::new(format!("Bearer {value}"))), lifetime })
}

/// `Bearer realm="…",service="…"` (RFC 9110, one challenge a header).
pub(super) fn parse_challenge(text: &str) -> Option<(String, BTreeMap<String, String>)> {
    let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.is_empty() || text.len() > 8192 {
        return None;
    }
    let mut parameters = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([' ', ',', '\t']);
        if rest.is_empty() {
            return Some((scheme.to_ascii_lowercase(), parameters));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find([',', ' ']).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        // The first of a name counts; a second one can't take its place.
        parameters.entry(name.trim().to_ascii_lowercase()).or_insert(value);
        rest = after;
    }
}

fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let text = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a:b,c""#;
        let (scheme, parameters) = parse_challenge(text).unwrap();
        assert_eq!(scheme, "bearer");
        assert_eq!(parameters["realm"], "https://auth.docker.io/token");
        assert_eq!(parameters["scope"], "a:b,c");
        assert_eq!(parse_challenge("Basic").unwrap().0, "basic");
        assert!(parse_challenge("").is_none());
        assert!(parse_challenge("Bearer realm=\"x").is_none());
        assert!(parse_challenge("Bearer realm").is_none());
    }

    #[test]
    fn realms_stay_on_their_domain() {
        let allowed =
            BTreeMap::from([("a.example.com".to_owned(), "tokens.example.net".to_owned())]);
        let check = |registry: &str, realm: &str| {
            check_realm(&Url::parse(registry).unwrap(), &Url::parse(realm).unwrap(), &allowed)
                .is_ok()
        };
        assert!(check("https://registry-1.docker.io/", "https://auth.docker.io/token"));
        assert!(check("https://ghcr.io/", "https://ghcr.io/token"));
        assert!(check("https://registry.gitlab.com/", "https://gitlab.com/jwt/auth"));
        assert!(check("https://a.example.com/", "https://tokens.example.net/t"));
        assert!(check("http://localhost:5000/", "http://127.0.0.1:5001/t"));
        assert!(!check("https://ghcr.io/", "https://evil.io/token"));
        assert!(!check("https://ghcr.io/", "https://io/token"));
        assert!(!check("https://ghcr.io/", "http://ghcr.io/token"));
        assert!(!check("https://b.example.com/", "https://tokens.example.net/t"));
        assert!(!check("https://example.com/", "http://127.0.0.1/t"));
        assert!(!check("https://example.com/", "https://127.0.0.1/t"));
        assert!(!check("https://10.0.0.1/", "https://10.9.0.1/t"));
        assert!(!check("https://registry.example.com/", "https://evilexample.com/t"));
    }
}
