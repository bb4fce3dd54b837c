//! The canonical request and the string to sign, as the "Create a signed AWS API request" pages of
//! the IAM user guide define them for every service but S3: the path normalised and encoded once
//! more, the query decoded, encoded and sorted, header values trimmed.

use super::Request;
use super::claim::{Claim, Form};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// A request in SigV4's canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalRequest(String);

impl CanonicalRequest {
    /// The canonical form of `request` under the signed headers and the form of `claim`.
    pub fn new(request: &Request<'_>, claim: &Claim) -> Self {
        let mut text = String::with_capacity(512);
        text.push_str(request.method);
        text.push('\n');
        text.push_str(&canonical_path(request.path));
        text.push('\n');
        text.push_str(&canonical_query(request.query, claim.form));
        text.push('\n');
        for name in &claim.signed_headers {
            text.push_str(name);
            text.push(':');
            text.push_str(&canonical_value(request, name));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&claim.signed_headers.join(";"));
        text.push('\n');
        text.push_str(&hex::encode(Sha256::digest(request.body)));
        Self(text)
    }

    /// The text that is hashed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The string to sign.
pub fn string_to_sign(claim: &Claim, canonical: &CanonicalRequest) -> String {
    format!(
        "AWS4-HMAC-SHA256\n{}\n{}\n{}",
        claim.date.as_str(),
        claim.scope.credential_scope(),
        hex::encode(Sha256::digest(canonical.as_str().as_bytes()))
    )
}

/// Percent-encodes all but RFC 3986's unreserved characters, and `/` where `keep_slash` is set.
fn encode(bytes: &[u8], keep_slash: bool, out: &mut String) {
    for &b in bytes {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(b));
            }
            b'/' if keep_slash => out.push('/'),
            _ => {
                // Writing to a String doesn't fail.
                let _ = write!(out, "%{b:02X}");
            }
        }
    }
}

fn canonical_path(raw: &[u8]) -> String {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in raw.split(|b| *b == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let mut path = String::from("/");
    for (n, segment) in segments.iter().enumerate() {
        if n > 0 {
            path.push('/');
        }
        encode(segment, false, &mut path);
    }
    if raw.ends_with(b"/") && !segments.is_empty() {
        path.push('/');
    }
    path
}

/// Undoes percent-encoding; a `%` without two hexadecimal digits stands for itself, `+` for a
/// space.
pub(super) fn decode(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&b, after)) = rest.split_first() {
        let hex_digit = |i: usize| after.get(i).and_then(|c| char::from(*c).to_digit(16));
        match (b, hex_digit(0), hex_digit(1)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits fit a byte.
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = &after[2..];
            }
            (b'+', ..) => {
                out.push(b' ');
                rest = after;
            }
            _ => {
                out.push(b);
                rest = after;
            }
        }
    }
    out
}

/// The parameters of a query, decoded, in the order of arrival.
pub(super) fn query_parameters(raw: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
    raw.split(|b| *b == b'&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = match part.iter().position(|b| *b == b'=') {
            Some(at) => (&part[..at], &part[at + 1..]),
            None => (part, &b""[..]),
        };
        (decode(name), decode(value))
    })
}

fn canonical_query(raw: &[u8], form: Form) -> String {
    let mut pairs: Vec<(String, String)> = query_parameters(raw)
        .filter(|(name, _)| form == Form::Header || name != b"X-Amz-Signature")
        .map(|(name, value)| {
            let (mut n, mut v) = (String::new(), String::new());
            encode(&name, false, &mut n);
            encode(&value, false, &mut v);
            (n, v)
        })
        .collect();
    pairs.sort();
    let mut query = String::new();
    for (n, (name, value)) in pairs.iter().enumerate() {
        if n > 0 {
            query.push('&');
        }
        query.push_str(name);
        query.push('=');
        query.push_str(value);
    }
    query
}

/// All values of a header joined with commas, each trimmed and its runs of blanks made one.
fn canonical_value(request: &Request<'_>, name: &str) -> String {
    let values: Vec<String> = request
        .header_values(name)
        .map(|raw| {
            // Bytes above ASCII are kept one to one where they are UTF-8; else the signature
            // can't match, since no client signs them so.
            let text = String::from_utf8_lossy(raw);
            text.split([' ', '\t', '\r', '\n'])
                .filter(|w| !w.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    values.join(",")
}
