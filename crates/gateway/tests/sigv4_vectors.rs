//! botocore's 34 SigV4 vectors (tests/unit/auth/aws4_testsuite of its source distribution): each
//! gives the canonical request, the string to sign and the signature that we compute, and passes
//! the gate, unless the gate's stricter rules refuse it by name.
#![allow(clippy::unwrap_used)] // tests

use std::path::{Path, PathBuf};
use std::sync::Arc;
use wharf_gateway::sigv4::{
    AmzDate, CanonicalRequest, Claim, Error, Gate, Key, KeySource, Request, Secret, string_to_sign,
};
use wharf_model::Principal;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Where `cargo xtask fetch-cases` puts botocore's cases, or where `WHARF_BOTOCORE_CASES` says.
fn cases_directory() -> PathBuf {
    let fetched = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/botocore-cases");
    let directory = std::env::var_os("WHARF_BOTOCORE_CASES").map_or_else(fetched, PathBuf::from);
    assert!(
        directory.join("auth/aws4_testsuite").is_dir(),
        "botocore's test vectors are missing: run `cargo xtask fetch-cases` first"
    );
    directory
}

struct Vector {
    method: String,
    path: Vec<u8>,
    query: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// Reads a raw request as the suite writes it: `\n` line ends, folded header values, blanks in
/// the path.
fn parse(text: &str) -> Vector {
    let text = text.replace('\r', "");
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let first = lines.next().unwrap();
    let (method, rest) = first.split_once(' ').unwrap();
    let target = rest.strip_suffix(" HTTP/1.1").unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
    for line in lines {
        if line.starts_with(' ') {
            let last = &mut headers.last_mut().unwrap().1;
            last.push(b'\n');
            last.extend_from_slice(line.as_bytes());
        } else {
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_ascii_lowercase(), value.as_bytes().to_vec()));
        }
    }
    Vector {
        method: method.to_owned(),
        path: path.as_bytes().to_vec(),
        query: query.as_bytes().to_vec(),
        headers,
        body: body.as_bytes().to_vec(),
    }
}

impl Vector {
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

struct OneKey;

impl KeySource for OneKey {
    fn find(&self, access_key_id: &str, _session_token: Option<&str>) -> Option<Key> {
        (access_key_id == "AKIDEXAMPLE").then(|| Key {
            secret: Secret::new(SECRET),
            principal: Principal::Root,
            expires_at: None,
            session: None,
        })
    }
}

fn cases(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            cases(&path, found);
        } else if path.extension().is_some_and(|e| e == "req") {
            found.push(path.with_extension(""));
        }
    }
}

#[test]
fn every_vector_of_botocore() {
    let mut found = Vec::new();
    cases(&cases_directory().join("auth/aws4_testsuite"), &mut found);
    found.sort();
    assert_eq!(found.len(), 34, "the suite has changed");
    let now = AmzDate::parse("20150830T123600Z").unwrap().timestamp();
    let gate = Gate::new(Arc::new(OneKey), "123456789012", "us-east-1");
    let mut refused = Vec::new();
    for case in &found {
        let name = case.file_name().unwrap().to_str().unwrap();
        let read = |extension: &str| {
            std::fs::read_to_string(case.with_extension(extension)).unwrap().replace('\r', "")
        };
        // The signature is taken from the .authz file, as botocore's own test does: one of the
        // .sreq files carries another one.
        let mut signed = parse(&read("sreq"));
        signed.headers.retain(|(n, _)| n != "authorization");
        let authorization = read("authz").trim_end().as_bytes().to_vec();
        signed.headers.push(("authorization".to_owned(), authorization));
        let request = signed.request();
        let claim = Claim::parse(&request).unwrap();
        let canonical = CanonicalRequest::new(&request, &claim);
        assert_eq!(canonical.as_str(), read("creq"), "{name}: canonical request");
        assert_eq!(string_to_sign(&claim, &canonical), read("sts"), "{name}: string to sign");
        match gate.verify(&request, now) {
            Ok(identity) => {
                assert_eq!(identity.service(), "service");
                assert_eq!(identity.principal_arn(), "arn:aws:iam::123456789012:root");
            }
            Err(error) => refused.push((name.to_owned(), error)),
        }
        // The same without its signature, and signed by a key that nobody has.
        let unsigned = parse(&read("req"));
        assert_eq!(gate.verify(&unsigned.request(), now).unwrap_err(), Error::Missing, "{name}");
        let mut other = parse(&read("sreq").replace("AKIDEXAMPLE", "AKIDOTHER"));
        other
            .headers
            .retain(|(n, _)| name != "post-sts-header-after" || n != "x-amz-security-token");
        assert_eq!(gate.verify(&other.request(), now).unwrap_err(), Error::Mismatch, "{name}");
    }
    // The session token is added after signing: not covered by the signature, so not taken.
    let names: Vec<&str> = refused.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["post-sts-header-after"], "{refused:?}");
    assert!(matches!(refused[0].1, Error::Payload(_)));
}
