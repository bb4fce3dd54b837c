//! Targets that end in the middle of it.

use crate::support::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

/// A target that takes requests and ends without a word, but answers its checks.
async fn faithless() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    use tokio::io::AsyncWriteExt as _;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).await.unwrap_or(0);
                if buffer[..read].starts_with(b"GET /health") {
                    let well = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    let _ = stream.write_all(well).await;
                } else if read > 0 {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    (address, asked)
}

#[tokio::test]
async fn what_may_be_asked_twice_goes_to_another_target_and_the_rest_fails() {
    let harness = Harness::start().await;
    let (bad, asked) = faithless().await;
    let good = Origin::start("good").await;
    harness.put(harness.simple(&[bad, good.address])).await;
    harness.healthy(2).await;
    for _ in 0..10 {
        let answer = get(harness.at(80), "a", "/x").await;
        assert!(answer.contains("good GET /x"), "{answer}");
    }
    assert!(asked.load(Ordering::Relaxed) >= 4, "both have their turns");
    let mut statuses = Vec::new();
    for _ in 0..10 {
        let post =
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
        statuses.push(status(&raw(harness.at(80), post).await));
    }
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[9]), (200, 502), "a POST isn't sent twice: {statuses:?}");
    harness.stop().await;
}

#[tokio::test]
async fn a_request_that_ends_its_targets_doesn_t_end_them_all() {
    let harness = Harness::start().await;
    let mut targets = Vec::new();
    for _ in 0..4 {
        targets.push(faithless().await);
    }
    let addresses: Vec<_> = targets.iter().map(|(address, _)| *address).collect();
    harness.put(harness.simple(&addresses)).await;
    harness.healthy(4).await;
    assert_eq!(status(&get(harness.at(80), "a", "/deadly").await), 502);
    let asked: usize = targets.iter().map(|(_, asked)| asked.load(Ordering::Relaxed)).sum();
    assert_eq!(asked, 2, "once, and once again");
    harness.stop().await;
}
