//! TLS, HTTP/2 and certificates of clients.

use crate::support::*;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wharf_model::load_balancing::*;
use wharf_model::time::Timestamp;

/// A certificate that vouches for itself.
pub struct Own {
    pub certificate: rcgen::Certificate,
    pub key: rcgen::KeyPair,
}

impl Own {
    pub fn new(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(names).unwrap();
        Self { certificate: cert, key: signing_key }
    }

    pub fn item(&self, arn: &str) -> Item {
        Item::KeyPair(Arc::new(KeyPair {
            arn: arn.into(),
            chain: self.certificate.pem(),
            private_key: self.key.serialize_pem(),
        }))
    }
}

/// A client that trusts these, with these protocols and perhaps a certificate of its own.
pub fn config(trusted: &[&Own], alpn: &[&str], own: Option<&Own>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for own in trusted {
        roots.add(own.certificate.der().clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain: Vec<CertificateDer<'static>> = vec![own.certificate.der().clone()];
            let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub async fn connect(
    to: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

async fn ask1(stream: TlsStream<TcpStream>, path: &str) -> String {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "a").body(Full::<Bytes>::default()).unwrap();
    let body = sender.send_request(request).await.unwrap().into_body();
    String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned()
}

pub fn secure(certificates: &[&str]) -> Listener {
    let mut secure = listener("web", 443, forward(&["g"]));
    secure.protocol = Protocol::Https;
    secure.ssl_policy = Some("ELBSecurityPolicy-TLS13-1-2-2021-06".into());
    secure.certificates = certificates.iter().map(|arn| (*arn).into()).collect();
    secure
}

#[tokio::test]
async fn certificates_are_picked_by_name_and_swapped_while_it_runs() {
    let harness = Harness::start().await;
    let origin = Origin::start("one").await;
    let (first, second) = (Own::new(&["a.example"]), Own::new(&["*.b.example"]));
    let mut items = harness.simple(&[origin.address]);
    items.extend([
        first.item("1"),
        second.item("2"),
        Item::Listener(Arc::new(secure(&["1", "2"]))),
    ]);
    let mut balancer = harness.balancer("web");
    balancer.attributes =
        attributes(&[("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "true")]);
    items.push(Item::LoadBalancer(Arc::new(balancer)));
    harness.put(items).await;
    harness.healthy(1).await;
    let to = harness.at(443);

    let one = config(&[&first], &[], None);
    let answer = ask1(connect(to, "a.example", &one).await.unwrap(), "/x").await;
    assert!(answer.contains("one GET /x HTTP/1.1"), "{answer}");
    assert_eq!(field(&answer, "x-forwarded-proto"), Some("https"));
    assert_eq!(field(&answer, "x-amzn-tls-version"), Some("TLSv1.3"));
    assert!(field(&answer, "x-amzn-tls-cipher-suite").unwrap().starts_with("TLS_AES_"));
    let two = config(&[&second], &[], None);
    connect(to, "x.b.example", &two).await.unwrap();
    assert!(connect(to, "a.example", &two).await.is_err());

    // By name on the shared front, too: the load balancer's own name, and a claimed one.
    let named = Own::new(&["web-1.us-east-1.elb.localhost"]);
    harness.put(vec![named.item("1")]).await;
    let client = config(&[&named], &[], None);
    let name = "web-1.us-east-1.elb.localhost";
    let answer =
        ask1(connect((harness.shared, 443).into(), name, &client).await.unwrap(), "/y").await;
    assert!(answer.contains("one GET /y"), "{answer}");
    assert!(connect(to, "a.example", &one).await.is_err(), "the certificate was replaced");
    harness.stop().await;
}

#[tokio::test]
async fn http2_and_grpc_go_through() {
    let harness = Harness::start().await;
    let origin = Origin::start("one").await;
    let own = Own::new(&["a.example"]);
    let mut items = harness.simple(&[origin.address]);
    let mut grpc = group("r");
    grpc.protocol_version = Some(ProtocolVersion::Grpc);
    grpc.health_check.enabled = false;
    let listening = secure(&["1"]);
    items.extend([
        own.item("1"),
        Item::Rule(Arc::new(rule(&listening, 1, path("/rpc.*"), forward(&["r"])))),
        Item::Listener(Arc::new(listening)),
        Item::TargetGroup(Arc::new(grpc)),
        target("r", origin.address),
    ]);
    harness.put(items).await;
    harness.until(|r| r.health.iter().any(|(_, h)| h.state == HealthState::Healthy)).await;

    let client = config(&[&own], &["h2"], None);
    let stream = connect(harness.at(443), "a.example", &client).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let ask = async |method: &str, path: &str, kind: &str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://a.example{path}"))
            .header("content-type", kind)
            .header("te", "trailers")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Full::new(Bytes::from_static(b"12345")))
            .unwrap();
        let answer = sender.clone().send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    let (status, answer) = ask("POST", "/x", "text/plain").await;
    assert_eq!(status, 200);
    assert!(answer.contains("one POST /x HTTP/1.1") && answer.contains("body: 5"), "{answer}");
    assert_eq!(field(&answer, "host"), Some("a.example"));
    assert_eq!(field(&answer, "cookie"), Some("a=1; b=2"));
    let (status, answer) = ask("POST", "/rpc.S/M", "application/grpc").await;
    assert_eq!(status, 200);
    assert!(answer.contains("/rpc.S/M HTTP/2.0") && answer.contains("te: trailers"), "{answer}");
    assert_eq!(ask("GET", "/rpc.S/M", "text/plain").await.0, 464);
    assert_eq!(ask("POST", "/x", "application/grpc").await.0, 464);
    let plain = connect(harness.at(443), "a.example", &config(&[&own], &["http/1.1"], None)).await;
    drop(plain.unwrap());

    // Many requests at once on one connection.
    let many: Vec<_> = (0..100)
        .map(|n| {
            let path = format!("/{n}");
            async move { (n, path) }
        })
        .collect();
    let answers = futures_util::future::join_all(many.into_iter().map(|job| async {
        let (n, path) = job.await;
        (n, ask("POST", &path, "text/plain").await.1)
    }))
    .await;
    assert!(answers.iter().all(|(n, answer)| answer.contains(&format!("POST /{n} "))));
    harness.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_its_requests_back_is_cut_off() {
    let harness = Harness::start().await;
    let origin = Origin::start("one").await;
    let own = Own::new(&["a.example"]);
    let mut items = harness.simple(&[origin.address]);
    items.extend([own.item("1"), Item::Listener(Arc::new(secure(&["1"])))]);
    harness.put(items).await;
    harness.healthy(1).await;
    let client = config(&[&own], &["h2"], None);
    let stream = connect(harness.at(443), "a.example", &client).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..200 {
        let mut sender = sender.clone();
        let request =
            Request::get("https://a.example/silent").body(Full::<Bytes>::default()).unwrap();
        let asking = tokio::spawn(async move { sender.send_request(request).await });
        tokio::time::sleep(Duration::from_millis(2)).await;
        asking.abort();
    }
    tokio::time::timeout(Duration::from_secs(5), connection).await.expect("cut off").unwrap().ok();
    // Others are served as before.
    let other = config(&[&own], &[], None);
    let answer = ask1(connect(harness.at(443), "a.example", &other).await.unwrap(), "/x").await;
    assert!(answer.contains("one GET /x"), "{answer}");
    harness.stop().await;
}

/// Heads without an end, over HTTP/2: nothing is kept of them, and the connection ends.
#[tokio::test]
async fn a_flood_of_continuations_is_cut_off() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let harness = Harness::start().await;
    let own = Own::new(&["a.example"]);
    let mut items = harness.simple(&[]);
    items.extend([own.item("1"), Item::Listener(Arc::new(secure(&["1"])))]);
    harness.put(items).await;
    let client = config(&[&own], &["h2"], None);
    let stream = connect(harness.at(443), "a.example", &client).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let drained = tokio::spawn(async move {
        let mut buffer = vec![0; 16384];
        while let Ok(1..) = reader.read(&mut buffer).await {}
    });
    writer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // HEADERS of stream 1 without END_HEADERS, then CONTINUATION for as long as it is taken.
    writer.write_all(b"\0\0\0\x01\0\0\0\0\x01").await.unwrap();
    let mut frame = b"\0\x40\0\x09\0\0\0\0\x01".to_vec();
    // Literals that no table keeps: name x, value of 16 bytes.
    while frame.len() < 9 + 0x4000 {
        frame.extend_from_slice(b"\0\x01x\x10aaaaaaaaaaaaaaaa");
    }
    frame.truncate(9 + 0x4000);
    let mut sent = 0;
    while writer.write_all(&frame).await.is_ok() && writer.flush().await.is_ok() {
        sent += frame.len();
        assert!(sent < 64 << 20, "a flood goes on");
    }
    tokio::time::timeout(Duration::from_secs(5), drained).await.expect("closed").unwrap();
    harness.stop().await;
}

#[tokio::test]
async fn clients_are_told_by_their_certificates() {
    let harness = Harness::start().await;
    let origin = Origin::start("one").await;
    let (server, known, unknown) =
        (Own::new(&["a.example"]), Own::new(&["client"]), Own::new(&["stranger"]));
    let mut items = harness.simple(&[origin.address]);
    let mut listening = secure(&["1"]);
    listening.mutual_authentication = Some(MutualAuthentication {
        mode: MutualAuthenticationMode::Verify,
        trust_store: Some("store/1".into()),
        ignore_expiry: false,
        advertise_ca_names: false,
    });
    items.extend([
        server.item("1"),
        Item::TrustStore(Arc::new(TrustStore {
            name: "store".into(),
            id: "1".into(),
            bundle: known.certificate.pem(),
            revocations: vec![],
            created_at: Timestamp::default(),
            tags: vec![],
        })),
        Item::Listener(Arc::new(listening.clone())),
    ]);
    harness.put(items).await;
    harness.healthy(1).await;
    let to = harness.at(443);
    let client = config(&[&server], &[], Some(&known));
    let answer = ask1(connect(to, "a.example", &client).await.unwrap(), "/x").await;
    assert!(
        field(&answer, "x-amzn-mtls-clientcert-leaf").unwrap().starts_with("-----BEGIN%20"),
        "{answer}"
    );
    assert!(field(&answer, "x-amzn-mtls-clientcert-subject").unwrap().contains("CN="), "{answer}");
    for stranger in [Some(&unknown), None] {
        // With TLS 1.3 a client learns of it when it reads.
        let client = config(&[&server], &[], stranger);
        let Ok(mut stream) = connect(to, "a.example", &client).await else { continue };
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(!matches!(stream.read(&mut [0; 64]).await, Ok(1..)));
    }
    listening.attributes = attributes(&[(
        "routing.http.request.x_amzn_mtls_clientcert.header_name",
        "X-Client-Certificate",
    )]);
    listening.mutual_authentication.as_mut().unwrap().mode = MutualAuthenticationMode::Passthrough;
    harness.put(vec![Item::Listener(Arc::new(listening))]).await;
    let client = config(&[&server], &[], Some(&unknown));
    let answer = ask1(connect(to, "a.example", &client).await.unwrap(), "/x").await;
    assert!(
        field(&answer, "x-client-certificate").unwrap().starts_with("-----BEGIN%20"),
        "{answer}"
    );
    harness.stop().await;
}
