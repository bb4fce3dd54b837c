//! What the tests of pulling share: an image, and a registry of our own that can misbehave.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use wharf_image::{BuildOptions, Digest, Image, ImageStore};

/// Builds an image of a few hundred kilobytes that doesn't compress.
pub fn build(dir: &Path, name: &str) -> (ImageStore, Image) {
    let root = dir.join("root");
    fs::create_dir_all(root.join("data")).unwrap();
    let mut random = vec![0; 400_000];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
    fs::write(root.join("data/random"), random).unwrap();
    let store = ImageStore::open(dir.join("built")).unwrap();
    let options = BuildOptions { name: name.into(), cmd: vec!["/x".into()], ..Default::default() };
    let image = store.build(&root, &options).unwrap();
    (store, image)
}

/// A blob of the store in `dir`.
pub fn blob(dir: &Path, digest: &Digest) -> Vec<u8> {
    fs::read(dir.join("blobs/sha256").join(digest.hex())).unwrap()
}

/// Lays an image of the store in `dir`/built out as an OCI directory, for skopeo.
pub fn oci_dir(dir: &Path, image: &Image) -> PathBuf {
    let out = dir.join("oci");
    fs::create_dir_all(out.join("blobs/sha256")).unwrap();
    for entry in fs::read_dir(dir.join("built/blobs/sha256")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), out.join("blobs/sha256").join(entry.file_name())).unwrap();
    }
    let size = blob(&dir.join("built"), &image.manifest).len();
    fs::write(out.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": image.manifest.to_string(), "size": size,
        "annotations": {"org.opencontainers.image.ref.name": "t"}}]});
    fs::write(out.join("index.json"), index.to_string()).unwrap();
    out
}

/// What the registry does wrong, and what it saw.
#[derive(Default)]
pub struct Behaviour {
    /// Path to content type and bytes.
    pub documents: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
    /// How many more large answers break off in the middle.
    pub cuts: AtomicUsize,
    /// How many more requests get 503.
    pub failures: AtomicUsize,
    /// Ask for a token of this realm.
    pub realm: Mutex<Option<String>>,
    /// Basic credentials the token server wants (base64).
    pub basic: Mutex<Option<String>>,
    /// Requests: method, path, and the Range and Authorization headers.
    pub log: Mutex<Vec<String>>,
}

/// A registry on loopback, in threads that end with the process.
pub struct Registry {
    pub address: SocketAddr,
    pub behaviour: Arc<Behaviour>,
}

fn take(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

impl Registry {
    pub fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let behaviour = Arc::new(Behaviour::default());
        let shared = Arc::clone(&behaviour);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                std::thread::spawn(move || serve(stream, tls, &shared));
            }
        });
        Self { address, behaviour }
    }

    pub fn put(&self, path: &str, kind: &str, bytes: Vec<u8>) {
        let mut documents = self.behaviour.documents.lock().unwrap();
        documents.insert(path.to_owned(), (kind.to_owned(), bytes));
    }

    /// Serves an image of the store in `dir` as `repository:tag`.
    pub fn publish(&self, dir: &Path, image: &Image, repository: &str, tag: &str) {
        for entry in fs::read_dir(dir.join("blobs/sha256")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = format!("/v2/{repository}/blobs/sha256:{name}");
            self.put(&path, "application/octet-stream", fs::read(entry.path()).unwrap());
        }
        let manifest = blob(dir, &image.manifest);
        let kind = "application/vnd.oci.image.manifest.v1+json";
        for selector in [tag.to_owned(), image.manifest.to_string()] {
            self.put(&format!("/v2/{repository}/manifests/{selector}"), kind, manifest.clone());
        }
    }

    pub fn log(&self) -> Vec<String> {
        self.behaviour.log.lock().unwrap().clone()
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn serve(tcp: TcpStream, tls: Option<Arc<rustls::ServerConfig>>, behaviour: &Behaviour) {
    let mut stream: Box<dyn Stream> = match tls {
        Some(config) => {
            let connection = rustls::ServerConnection::new(config).unwrap();
            Box::new(rustls::StreamOwned::new(connection, tcp))
        }
        None => Box::new(tcp),
    };
    let mut head = Vec::new();
    let mut lines = BufReader::new(&mut stream);
    loop {
        let mut line = String::new();
        match lines.read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line == "\r\n" => break,
            Ok(_) => head.push(line.trim_end().to_owned()),
        }
    }
    drop(lines);
    let header = |name: &str| {
        let find = |line: &&String| line.to_ascii_lowercase().starts_with(&format!("{name}: "));
        head.iter().find(find).map(|line| line[name.len() + 2..].to_owned())
    };
    let Some(request) = head.first() else { return };
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (range, authorization) = (header("range"), header("authorization"));
    let line = format!("{method} {path} {range:?} {authorization:?}");
    behaviour.log.lock().unwrap().push(line);
    let answer = answer(behaviour, path, range, authorization);
    let (status, headers, body, cut) = answer;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
        body.len()
    );
    let sent = if cut { &body[..body.len() / 2] } else { &body[..] };
    let sent = if method == "HEAD" { &[] } else { sent };
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
    let _ = stream.flush();
}

type Answer = (&'static str, String, Vec<u8>, bool);

fn answer(
    behaviour: &Behaviour,
    path: &str,
    range: Option<String>,
    authorization: Option<String>,
) -> Answer {
    if path.starts_with("/token") {
        let wanted = behaviour.basic.lock().unwrap().clone().map(|b| format!("Basic {b}"));
        if wanted.is_some() && wanted != authorization {
            return ("401 Unauthorized", String::new(), Vec::new(), false);
        }
        return ("200 OK", String::new(), br#"{"token":"T0KEN"}"#.to_vec(), false);
    }
    if take(&behaviour.failures) {
        return ("503 Service Unavailable", String::new(), Vec::new(), false);
    }
    let realm = behaviour.realm.lock().unwrap().clone();
    if let Some(realm) = realm.filter(|_| authorization.as_deref() != Some("Bearer T0KEN")) {
        let challenge = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"test\"\r\n");
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        return ("401 Unauthorized", challenge, body.to_vec(), false);
    }
    let found = behaviour.documents.lock().unwrap().get(path).cloned();
    let Some((kind, bytes)) = found else {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        return ("404 Not Found", String::new(), body.to_vec(), false);
    };
    let mut headers = format!("Content-Type: {kind}\r\n");
    let start = range.as_deref().and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-'));
    let start: usize = start.and_then(|s| s.parse().ok()).unwrap_or(0);
    let total = bytes.len();
    let cut = total > 100_000 && take(&behaviour.cuts);
    if start > 0 {
        headers.push_str(&format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1));
        return ("206 Partial Content", headers, bytes[start..].to_vec(), cut);
    }
    ("200 OK", headers, bytes, cut)
}

/// A CA's certificate in PEM, and a server's settings for `names` signed by it.
pub fn certificates(names: &[&str]) -> (String, Arc<rustls::ServerConfig>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = parameters.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, key);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let server_key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(names).unwrap();
    let leaf = leaf.signed_by(&server_key, &issuer).unwrap();
    let private = rustls_pki_types::PrivatePkcs8KeyDer::from(server_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private.into())
        .unwrap();
    (ca.pem(), Arc::new(config))
}
