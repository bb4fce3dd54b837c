//! The AWS SDK's own signer (aws-sigv4) as the oracle: what it signs is let in, and no mutation
//! of what it signed is. `WHARF_SOAK=1` tries the full counts.
#![allow(clippy::unwrap_used)] // tests

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use fastrand::Rng;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use wharf_gateway::sigv4::{Error, Gate, Key, KeySource, Request, Secret};
use wharf_model::{Principal, Timestamp};

const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const NOW_SECONDS: u64 = 1_795_500_000;

struct OneKey;

impl KeySource for OneKey {
    fn find(&self, access_key_id: &str, session_token: Option<&str>) -> Option<Key> {
        let known = access_key_id == KEY_ID && session_token.is_none()
            || access_key_id == "ASIATOKEN" && session_token == Some("the/token+=");
        known.then(|| Key {
            secret: Secret::new(SECRET),
            principal: Principal::Root,
            expires_at: None,
            session: None,
        })
    }
}

/// A request that owns its parts, so that it can be mutated.
#[derive(Debug, Clone, PartialEq)]
struct Owned {
    method: String,
    path: Vec<u8>,
    query: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Owned {
    fn request(&self) -> Request<'_> {
        Request {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: self.headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect(),
            body: &self.body,
        }
    }
}

fn gate() -> Gate {
    Gate::new(Arc::new(OneKey), "123456789012", "us-east-1")
}

fn now() -> Timestamp {
    Timestamp(i64::try_from(NOW_SECONDS).unwrap() * 1000)
}

struct How {
    at: u64,
    presigned: Option<u64>,
    content_hash: bool,
    temporary: bool,
    region: &'static str,
}

impl Default for How {
    fn default() -> Self {
        Self {
            at: NOW_SECONDS,
            presigned: None,
            content_hash: false,
            temporary: false,
            region: "us-east-1",
        }
    }
}

/// Signs as an SDK does.
fn signed(mut request: Owned, how: &How) -> Owned {
    let credentials = if how.temporary {
        Credentials::new("ASIATOKEN", SECRET, Some("the/token+=".to_owned()), None, "test")
    } else {
        Credentials::new(KEY_ID, SECRET, None, None, "test")
    };
    let identity = credentials.into();
    let mut settings = SigningSettings::default();
    if how.content_hash {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    if let Some(seconds) = how.presigned {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_secs(seconds));
    }
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(how.region)
        .name("ecs")
        .time(SystemTime::UNIX_EPOCH + Duration::from_secs(how.at))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let uri = format!(
        "http://127.0.0.1:4580{}{}{}",
        std::str::from_utf8(&request.path).unwrap(),
        if request.query.is_empty() { "" } else { "?" },
        std::str::from_utf8(&request.query).unwrap()
    );
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), std::str::from_utf8(v).unwrap()))
        .collect();
    let signable = SignableRequest::new(
        &request.method,
        uri,
        headers.into_iter(),
        SignableBody::Bytes(&request.body),
    )
    .unwrap();
    let (instructions, _) = sign(signable, &parameters).unwrap().into_parts();
    let (new_headers, new_query) = instructions.into_parts();
    for header in new_headers {
        request.headers.push((header.name().to_owned(), header.value().as_bytes().to_vec()));
    }
    for (name, value) in new_query {
        if !request.query.is_empty() {
            request.query.push(b'&');
        }
        let pair: String = form_pair(name, &value);
        request.query.extend_from_slice(pair.as_bytes());
    }
    request
}

fn form_pair(name: &str, value: &str) -> String {
    let encode = |text: &str| {
        text.bytes().fold(String::new(), |mut out, b| {
            match b {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    out.push(char::from(b));
                }
                _ => out.push_str(&format!("%{b:02X}")),
            }
            out
        })
    };
    format!("{}={}", encode(name), encode(value))
}

fn api_call(rng: &mut Rng) -> Owned {
    let length = rng.usize(0..200);
    let body = format!("{{\"clusterName\":\"{}\"}}", "x".repeat(length)).into_bytes();
    let mut headers = vec![
        ("host".to_owned(), b"127.0.0.1:4580".to_vec()),
        ("content-type".to_owned(), b"application/x-amz-json-1.1".to_vec()),
        ("x-amz-target".to_owned(), b"AmazonEC2ContainerServiceV20141113.CreateCluster".to_vec()),
    ];
    if rng.bool() {
        headers.push(("user-agent".to_owned(), b"aws-sdk-rust/1.0  spaced".to_vec()));
    }
    if rng.bool() {
        headers.push(("x-amz-meta".to_owned(), b"  two  blanks  ".to_vec()));
    }
    let words = ["/", "/ws", "/a/b", "/a//b", "/%20x", "/a%2Fb"];
    let path = words[rng.usize(..words.len())].as_bytes().to_vec();
    let queries =
        ["", "a=b", "b=2&a=1", "clusterArn=arn%3Aaws%3Aecs&x=y%20z", "empty=", "k=%E1%88%B4"];
    let query = queries[rng.usize(..queries.len())].as_bytes().to_vec();
    Owned { method: "POST".to_owned(), path, query, headers, body }
}

fn any_how(rng: &mut Rng) -> How {
    How {
        // SDKs' clocks are within the window.
        at: NOW_SECONDS - rng.u64(0..299) * u64::from(rng.bool()),
        presigned: rng.bool().then(|| rng.u64(300..=604_800)),
        content_hash: rng.bool(),
        temporary: rng.bool(),
        ..How::default()
    }
}

#[test]
fn what_the_sdk_signs_is_let_in() {
    let mut rng = Rng::with_seed(11);
    let gate = gate();
    for _ in 0..500 {
        let how = any_how(&mut rng);
        let request = signed(api_call(&mut rng), &how);
        let identity = gate
            .verify(&request.request(), now())
            .unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(&request.query)));
        assert_eq!(identity.service(), "ecs");
    }
}

/// Flips, drops, doubles or swaps something. None where the change means nothing to SigV4.
fn mutate(original: &Owned, rng: &mut Rng) -> Option<(Owned, &'static str)> {
    let mut request = original.clone();
    let presigned = !request.headers.iter().any(|(n, _)| n == "authorization");
    let signed_header = |request: &Owned, rng: &mut Rng| {
        let candidates: Vec<usize> = request
            .headers
            .iter()
            .enumerate()
            .filter(|(_, (n, _))| n != "user-agent")
            .map(|(at, _)| at)
            .collect();
        candidates[rng.usize(..candidates.len())]
    };
    let flip = |bytes: &mut Vec<u8>, rng: &mut Rng| -> bool {
        if bytes.is_empty() {
            return false;
        }
        let at = rng.usize(..bytes.len());
        let bit = 1 << rng.u8(0..8);
        bytes[at] ^= bit;
        true
    };
    let what = match rng.u8(0..12) {
        0 => flip(&mut request.body, rng).then_some("bit of the body")?,
        1 => flip(&mut request.path, rng).then_some("bit of the path")?,
        2 => flip(&mut request.query, rng).then_some("bit of the query")?,
        3 | 4 => {
            let at = signed_header(&request, rng);
            flip(&mut request.headers[at].1, rng).then_some("bit of a header")?
        }
        5 => {
            let at = signed_header(&request, rng);
            request.headers.remove(at);
            "a header dropped"
        }
        6 => {
            let at = signed_header(&request, rng);
            let copy = request.headers[at].clone();
            request.headers.push(copy);
            "a header doubled"
        }
        7 => {
            request.headers.push(("x-amz-extra".to_owned(), b"1".to_vec()));
            "an unsigned x-amz header"
        }
        8 => {
            request.method = ["GET", "PUT", "DELETE", "post"][rng.usize(..4)].to_owned();
            "the method"
        }
        9 => {
            request.body.extend_from_slice(b" ");
            "the body extended"
        }
        10 => {
            request.query.extend_from_slice(b"&injected=1");
            "a parameter added"
        }
        _ if presigned => {
            let text = String::from_utf8_lossy(&request.query).into_owned();
            request.query = text.replace("X-Amz-Expires=", "X-Amz-Expires=1").into_bytes();
            "the life extended"
        }
        _ => {
            request.headers.retain(|(n, _)| n != "authorization");
            "the signature dropped"
        }
    };
    let same = meaning(&request) == meaning(original);
    (!same).then_some((request, what))
}

/// What the signature is about: header values with their blanks folded, the query decoded and
/// sorted, and the path without dot segments or doubled slashes.
#[allow(clippy::type_complexity)]
fn meaning(
    request: &Owned,
) -> (String, Vec<Vec<u8>>, bool, Vec<(Vec<u8>, Vec<u8>)>, Vec<(String, Vec<String>)>, Vec<u8>) {
    let segments: Vec<Vec<u8>> = request
        .path
        .split(|b| *b == b'/')
        .filter(|s| !s.is_empty() && *s != b".")
        .map(<[u8]>::to_vec)
        .collect();
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = request
        .query
        .split(|b| *b == b'&')
        .filter(|p| !p.is_empty())
        .map(|p| {
            let at = p.iter().position(|b| *b == b'=');
            let (n, v) = at.map_or((p, &b""[..]), |at| (&p[..at], &p[at + 1..]));
            (decode(n), decode(v))
        })
        .collect();
    pairs.sort();
    let mut headers: Vec<(String, Vec<String>)> = Vec::new();
    for (name, value) in &request.headers {
        let folded = value
            .split(|b| [b' ', b'\t', b'\r', b'\n'].contains(b))
            .filter(|w| !w.is_empty())
            .map(|w| String::from_utf8_lossy(w).into_owned())
            .collect::<Vec<_>>()
            .join(" ");
        headers.push((name.clone(), vec![folded]));
    }
    headers.sort();
    let slash = request.path.ends_with(b"/") && !segments.is_empty();
    (request.method.clone(), segments, slash, pairs, headers, request.body.clone())
}

fn decode(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        let hex = raw.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        let hex = hex.filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
        match (raw[at], hex) {
            (b'%', Some(hex)) => {
                out.push(u8::from_str_radix(hex, 16).unwrap());
                at += 3;
            }
            (b'+', _) => {
                out.push(b' ');
                at += 1;
            }
            (b, _) => {
                out.push(b);
                at += 1;
            }
        }
    }
    out
}

#[test]
fn no_mutation_is_let_in() {
    let wanted = if std::env::var_os("WHARF_SOAK").is_some() { 20_000 } else { 2_000 };
    let mut rng = Rng::with_seed(7);
    let gate = gate();
    let (mut tried, mut kinds) = (0, std::collections::BTreeMap::new());
    while tried < wanted {
        let how = any_how(&mut rng);
        let original = signed(api_call(&mut rng), &how);
        assert!(gate.verify(&original.request(), now()).is_ok());
        for _ in 0..20 {
            let Some((mutant, what)) = mutate(&original, &mut rng) else { continue };
            assert!(
                gate.verify(&mutant.request(), now()).is_err(),
                "let in after a change of {what}:\n{mutant:?}\nwas\n{original:?}"
            );
            tried += 1;
            *kinds.entry(what).or_insert(0) += 1;
        }
    }
    println!("{tried} mutations refused: {kinds:?}");
    assert!(kinds.len() >= 11, "{kinds:?}");
}

#[test]
fn unsigned_requests_are_missing_their_token() {
    let mut rng = Rng::with_seed(3);
    for _ in 0..200 {
        let request = api_call(&mut rng);
        assert_eq!(gate().verify(&request.request(), now()).unwrap_err(), Error::Missing);
    }
}

#[test]
fn time_region_and_life() {
    let gate = gate();
    let mut rng = Rng::with_seed(5);
    let mut check = |how: How, at_seconds: i64| {
        let request = signed(api_call(&mut rng), &how);
        gate.verify(&request.request(), Timestamp(at_seconds * 1000)).map(|_| ())
    };
    let base = i64::try_from(NOW_SECONDS).unwrap();
    assert_eq!(check(How::default(), base + 300), Ok(()));
    assert_eq!(check(How::default(), base - 300), Ok(()));
    let late = check(How::default(), base + 301).unwrap_err();
    assert_eq!(
        late.to_string(),
        "Signature expired: 20261124T060000Z is now earlier than 20261124T060001Z \
         (20261124T060501Z - 5 min.)"
    );
    let early = check(How::default(), base - 301).unwrap_err();
    assert_eq!(
        early.to_string(),
        "Signature not yet current: 20261124T060000Z is still later than 20261124T055959Z \
         (20261124T055459Z + 5 min.)"
    );
    let presigned = |seconds| How { presigned: Some(seconds), ..How::default() };
    assert_eq!(check(presigned(3600), base + 3600), Ok(()));
    assert!(matches!(check(presigned(3600), base + 3601), Err(Error::Expired { .. })));
    assert_eq!(check(presigned(604_800), base + 604_800), Ok(()));
    assert!(matches!(check(presigned(604_801), base), Err(Error::Incomplete(_))));
    let elsewhere = How { region: "eu-west-1", ..How::default() };
    assert!(matches!(check(elsewhere, base), Err(Error::Scope(_))));
}

#[test]
fn a_session_token_belongs_to_its_key() {
    let mut rng = Rng::with_seed(9);
    let gate = gate();
    let how = How { temporary: true, ..How::default() };
    let good = signed(api_call(&mut rng), &how);
    assert!(gate.verify(&good.request(), now()).is_ok());
    let mut without = good.clone();
    without.headers.retain(|(n, _)| n != "x-amz-security-token");
    assert!(gate.verify(&without.request(), now()).is_err());
}

#[test]
fn two_forms_and_unsigned_payloads() {
    let mut rng = Rng::with_seed(13);
    let gate = gate();
    let mut both = signed(api_call(&mut rng), &How::default());
    both.query.extend_from_slice(b"&X-Amz-Signature=00");
    assert!(matches!(gate.verify(&both.request(), now()), Err(Error::Incomplete(_))));
    let mut twice = signed(api_call(&mut rng), &How::default());
    let authorization = twice.headers.iter().find(|(n, _)| n == "authorization").cloned().unwrap();
    twice.headers.push(authorization);
    assert!(matches!(gate.verify(&twice.request(), now()), Err(Error::Incomplete(_))));
    for word in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "0".repeat(64).as_str()]
    {
        let mut request = api_call(&mut rng);
        request.headers.push(("x-amz-content-sha256".to_owned(), word.as_bytes().to_vec()));
        let request = signed(request, &How::default());
        assert!(matches!(gate.verify(&request.request(), now()), Err(Error::Payload(_))), "{word}");
    }
}
