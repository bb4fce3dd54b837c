//! Targets that speak TLS: flows and requests that are encrypted anew, and checks over HTTPS.

use crate::support::*;
use crate::tls::{Own, config, connect, secure};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use wharf_model::load_balancing::*;

/// Takes TLS connections, and gives each to `serve`, at an address of its own.
async fn target_of<F: Future<Output = ()> + Send + 'static>(
    own: &Own,
    serve: fn(TlsStream<TcpStream>) -> F,
) -> SocketAddr {
    let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who doesn't shake hands, as a check by TCP, gets nothing.
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream).await;
                }
            });
        }
    });
    address
}

async fn reverse(mut stream: TlsStream<TcpStream>) {
    let mut buffer = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        buffer[..length].reverse();
        stream.write_all(&buffer[..length]).await.unwrap();
    }
}

async fn http(stream: TlsStream<TcpStream>) {
    let service = hyper::service::service_fn(async |request: hyper::Request<_>| {
        let _: &hyper::body::Incoming = request.body();
        let path = request.uri().path().to_owned();
        Ok::<_, std::convert::Infallible>(hyper::Response::new(format!("encrypted {path}")))
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[tokio::test]
async fn tls_flows_end_at_the_balancer_and_begin_anew() {
    let harness = Harness::start().await;
    let (front, back) = (Own::new(&["flows.example"]), Own::new(&["any.name"]));
    let address = target_of(&back, reverse).await;
    let mut balancer = harness.balancer("net");
    balancer.kind = LoadBalancerType::Network;
    let mut listening = secure(&["1"]);
    listening.load_balancer = "net/net/1".into();
    listening.protocol = Protocol::Tls;
    let mut targets = group("g");
    (targets.protocol, targets.protocol_version) = (Protocol::Tls, None);
    targets.health_check.protocol = Protocol::Tcp;
    harness
        .put(vec![
            front.item("1"),
            Item::LoadBalancer(Arc::new(balancer)),
            Item::Listener(Arc::new(listening)),
            Item::TargetGroup(Arc::new(targets)),
            target("g", address),
        ])
        .await;
    harness.healthy(1).await;
    // The client sees the listener's certificate, not the target's.
    let mut client =
        connect(harness.at(443), "flows.example", &config(&[&front], &[], None)).await.unwrap();
    for (said, heard) in [(b"abc", b"cba"), (b"xyz", b"zyx")] {
        client.write_all(said).await.unwrap();
        let mut answer = [0; 3];
        let reading = client.read_exact(&mut answer);
        tokio::time::timeout(Duration::from_secs(5), reading).await.unwrap().unwrap();
        assert_eq!(&answer, heard);
    }
    let refused = connect(harness.at(443), "flows.example", &config(&[&back], &[], None)).await;
    assert!(refused.is_err(), "the target's own certificate was shown");
    harness.stop().await;
}

#[tokio::test]
async fn requests_and_checks_reach_targets_over_https() {
    let harness = Harness::start().await;
    let own = Own::new(&["any.name"]);
    let address = target_of(&own, http).await;
    // The second takes connections, but doesn't speak TLS: it never passes a check.
    let plain = Origin::start("plain").await;
    let mut items = harness.simple(&[address, plain.address]);
    let mut targets = group("g");
    targets.protocol = Protocol::Https;
    targets.health_check.protocol = Protocol::Https;
    targets.health_check.unhealthy_threshold = 2;
    items.push(Item::TargetGroup(Arc::new(targets)));
    harness.put(items).await;
    harness.healthy(1).await;
    for _ in 0..4 {
        let answer = get(harness.at(80), "web", "/x").await;
        assert!(answer.ends_with("encrypted /x"), "{answer}");
    }
    harness.stop().await;
}
