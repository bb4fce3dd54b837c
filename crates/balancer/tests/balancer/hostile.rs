//! Clients that mean harm, and what they get.

use crate::support::*;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Every way to hide a second request in a first one: none may make two requests at the target.
#[tokio::test]
async fn nothing_is_smuggled_to_a_target() {
    let harness = Harness::start().await;
    let origin = Origin::start("one").await;
    harness.put(harness.simple(&[origin.address])).await;
    harness.healthy(1).await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunk = format!("0\r\n\r\n{hidden}");
    let corpus = [
        // CL.TE and TE.CL
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}", chunk.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{chunk}"),
        // TE.TE
        format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n{chunk}"),
        format!("Transfer-Encoding: xchunked\r\n\r\n{chunk}"),
        format!("Transfer-Encoding : chunked\r\nContent-Length: {}\r\n\r\n{chunk}", chunk.len()),
        format!("Transfer-Encoding:\x0bchunked\r\nContent-Length: {}\r\n\r\n{chunk}", chunk.len()),
        format!(
            "X: y\nTransfer-Encoding: chunked\r\nContent-Length: {}\r\n\r\n{chunk}",
            chunk.len()
        ),
        format!(
            "X: y\r\n\tTransfer-Encoding: chunked\r\nContent-Length: {}\r\n\r\n{chunk}",
            chunk.len()
        ),
        format!("Transfer_Encoding: chunked\r\nContent-Length: {}\r\n\r\n{chunk}", chunk.len()),
        // CL.CL
        format!("Content-Length: 0\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len()),
        format!("Content-Length: {}, 0\r\n\r\n{hidden}", hidden.len()),
        // Chunks
        format!("Transfer-Encoding: chunked\r\n\r\n0\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked\r\n\r\n1;x\n0\r\na\r\n0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked\r\n\r\n-1\r\n{hidden}"),
        format!("Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n{hidden}"),
        // Upgrade to HTTP/2 in the clear
        format!(
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        ),
    ];
    for (number, tail) in corpus.iter().enumerate() {
        let before = origin.requests.load(Ordering::Relaxed);
        let mut client = TcpStream::connect(harness.at(80)).await.unwrap();
        let request = format!("POST /first HTTP/1.1\r\nHost: a\r\n{tail}");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        // The answers of everything that was taken for a request.
        while let Ok(Ok(length @ 1..)) =
            tokio::time::timeout(Duration::from_millis(150), client.read(&mut buffer)).await
        {
            answer.extend_from_slice(&buffer[..length]);
        }
        let answer = String::from_utf8_lossy(&answer);
        let seen = origin.requests.load(Ordering::Relaxed) - before;
        assert!(seen <= 1, "{number}: {request:?} became {seen} requests: {answer}");
        assert!(!answer.contains("/hidden"), "{number}: {request:?}: {answer}");
    }
    harness.stop().await;
}

/// What a target sees of a request is framed by the load balancer, whatever the client wrote.
#[tokio::test]
async fn a_target_sees_one_unambiguous_head() {
    let harness = Harness::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    harness.put(harness.simple(&[listener.local_addr().unwrap()])).await;
    let client = tokio::spawn({
        let to = harness.at(80);
        let request = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\
                       Connection: close, content-length\r\nX-Forwarded-Proto: https\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        async move { raw(to, request).await }
    });
    let head = loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = String::new();
        let mut buffer = [0; 4096];
        while let Ok(Ok(length @ 1..)) =
            tokio::time::timeout(Duration::from_millis(300), stream.read(&mut buffer)).await
        {
            seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
            if seen.contains("0\r\n\r\n") || seen.starts_with("GET /health") {
                break;
            }
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        if seen.starts_with("POST") {
            break seen;
        }
    };
    assert!(!head.to_lowercase().contains("content-length"), "{head}");
    assert_eq!(head.to_lowercase().matches("transfer-encoding: chunked").count(), 1, "{head}");
    assert_eq!(field(&head, "x-forwarded-proto"), Some("http"), "{head}");
    assert!(client.await.unwrap().starts_with("HTTP/1.1 200"));
    harness.stop().await;
}

#[tokio::test]
async fn limits_and_nonsense_are_answered_as_the_service_does() {
    let harness = Harness::start().await;
    let origin = Origin::start("one").await;
    harness.put(harness.simple(&[origin.address])).await;
    harness.healthy(1).await;
    let long = "a".repeat(17 << 10);
    for (request, expected) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 400),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                format!("X: {}\r\n", &long[..8000]).repeat(9)
            ),
            400,
        ),
        ("nonsense\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".into(), 501),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), 400),
    ] {
        let answer = raw(harness.at(80), &request).await;
        assert_eq!(status(&answer), expected, "{:?}: {answer}", &request[..request.len().min(60)]);
        assert_eq!(field(&answer, "server"), Some("awselb/2.0"), "{answer}");
    }
    // A head of 60 KiB passes.
    let large = format!("X: {}\r\n", &long[..8000]).repeat(7);
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{large}\r\n");
    assert_eq!(status(&raw(harness.at(80), &request).await), 200);
    // Bytes of a second request behind an upgrade don't reach the target before its answer.
    let upgrade = "GET /status/403 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\
                   GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = raw(harness.at(80), upgrade).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("one GET /next"), "{answer}");
    harness.stop().await;
}
