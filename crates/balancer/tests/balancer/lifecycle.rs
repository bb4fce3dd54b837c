//! Targets that come, go and fall ill; changes and restarts under load.

use crate::support::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wharf_model::load_balancing::*;
use wharf_model::time::Timestamp;

/// Asks over kept connections until told to stop; the requests that failed, and all.
async fn load(
    to: std::net::SocketAddr,
    path: &'static str,
    stop: Arc<AtomicBool>,
) -> (Vec<String>, usize) {
    let (mut failed, mut count) = (Vec::new(), 0);
    let mut client: Option<TcpStream> = None;
    while !stop.load(Ordering::Relaxed) {
        let mut stream = match client.take() {
            Some(stream) => stream,
            None => TcpStream::connect(to).await.unwrap(),
        };
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        let complete = loop {
            match stream.read(&mut buffer).await {
                Ok(length @ 1..) => answer.extend_from_slice(&buffer[..length]),
                _ => break false,
            }
            let text = String::from_utf8_lossy(&answer);
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && field(head, "content-length").is_some_and(|n| n.parse() == Ok(body.len()))
            {
                break true;
            }
        };
        count += 1;
        let text = String::from_utf8_lossy(&answer).into_owned();
        if !complete || status(&text) != 200 {
            failed.push(text.clone());
        }
        if complete && field(&text, "connection") != Some("close") {
            client = Some(stream);
        }
    }
    (failed, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_drops_a_request() {
    let harness = Harness::start().await;
    let origins = [Origin::start("a").await, Origin::start("b").await, Origin::start("c").await];
    harness.put(harness.simple(&[origins[0].address])).await;
    harness.healthy(1).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> =
        (0..8).map(|_| tokio::spawn(load(harness.at(80), "/x", Arc::clone(&stop)))).collect();
    let web = listener("web", 80, forward(&["g"]));
    // A rolling deployment, one target after the other, with rules that change all the while.
    for round in 0..12_usize {
        let (old, new) = (&origins[round % 3], &origins[(round + 1) % 3]);
        harness.put(vec![target("g", new.address)]).await;
        harness.healthy(2).await;
        let priority = u32::try_from(round).unwrap() + 1;
        let condition = path(if round % 2 == 0 { "/x" } else { "/y" });
        harness
            .put(vec![Item::Rule(Arc::new(rule(&web, priority, condition, forward(&["g"]))))])
            .await;
        let mut leaving = target_record("g", old.address);
        leaving.deregistered_at = Some(Timestamp(1));
        let key = leaving.key.clone();
        let drained = harness.until(|_| true).await.drained.len();
        harness.put(vec![Item::Target(Arc::new(leaving))]).await;
        harness.until(|report| report.drained.len() > drained).await;
        harness.update(vec![], vec![ItemKey::Target(key.clone())]).await;
        forget(&harness, &key).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut total = 0;
    for client in clients {
        let (failed, count) = client.await.unwrap();
        assert!(failed.is_empty(), "{} of {count} failed: {:?}", failed.len(), failed.first());
        total += count;
    }
    assert!(total > 500, "{total}");
    harness.stop().await;
}

/// A target that was deleted has no health any more: the next of its name begins anew.
async fn forget(harness: &Harness, key: &TargetKey) {
    harness.forget(key);
    harness.healthy(1).await;
}

#[tokio::test]
async fn a_target_that_is_deregistered_finishes_what_it_has() {
    let harness = Harness::start().await;
    let origin = Origin::start("one").await;
    harness.put(harness.simple(&[origin.address])).await;
    harness.healthy(1).await;
    let to = harness.at(80);
    let waiting = tokio::spawn(async move { get(to, "a", "/wait").await });
    while origin.requests.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut leaving = target_record("g", origin.address);
    leaving.deregistered_at = Some(Timestamp(1));
    harness.put(vec![Item::Target(Arc::new(leaving))]).await;
    let report =
        harness.until(|r| r.health.iter().all(|(_, h)| h.state == HealthState::Draining)).await;
    assert!(report.drained.is_empty());
    assert_eq!(status(&get(harness.at(80), "a", "/").await), 503);
    origin.release.add_permits(1);
    assert_eq!(status(&waiting.await.unwrap()), 200);
    harness.until(|report| report.drained.len() == 1).await;
    harness.stop().await;
}

#[tokio::test]
async fn a_target_gets_traffic_while_its_checks_pass() {
    let harness = Harness::start().await;
    let (well, ill) = (Origin::start("well").await, Origin::start("ill").await);
    let mut items = harness.simple(&[well.address]);
    let mut sick = group("g");
    sick.health_check.interval_seconds = 1;
    items.push(Item::TargetGroup(Arc::new(sick.clone())));
    harness.put(items).await;
    harness.healthy(1).await;
    // Its checks fail: it comes to nothing.
    let nobody = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    harness.put(vec![target("g", nobody), target("g", ill.address)]).await;
    harness.healthy(2).await;
    let report =
        harness.until(|r| r.health.iter().any(|(_, h)| h.state == HealthState::Unhealthy)).await;
    let (_, health) = report.health.iter().find(|(key, _)| key.port == nobody.port()).unwrap();
    assert_eq!(health.reason, Some(HealthReason::FailedHealthChecks));
    for _ in 0..10 {
        assert_eq!(status(&get(harness.at(80), "a", "/").await), 200);
    }
    // All fail by their codes: they get traffic nevertheless.
    sick.health_check.path = Some("/status/500".into());
    harness.put(vec![Item::TargetGroup(Arc::new(sick))]).await;
    let report =
        harness.until(|r| r.health.iter().all(|(_, h)| h.state == HealthState::Unhealthy)).await;
    let (_, health) = report.health.iter().find(|(key, _)| key.port == ill.address.port()).unwrap();
    assert_eq!(health.description.as_deref(), Some("Health checks failed with these codes: [500]"));
    assert_eq!(status(&get(harness.at(80), "a", "/").await), 200);
    harness.stop().await;
}

#[tokio::test]
async fn it_goes_on_without_the_server() {
    let harness = Harness::start().await;
    let origin = Origin::start("one").await;
    harness.put(harness.simple(&[origin.address])).await;
    harness.healthy(1).await;
    let (host, shared, directory) = (harness.host, harness.shared, Arc::clone(&harness.directory));
    harness.stop().await;
    let secret = std::fs::metadata(directory.path().join("state/configuration.json")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&secret.permissions()) & 0o777, 0o600);
    let harness = Harness::start_at(host, shared, directory).await;
    harness.healthy(1).await;
    assert_eq!(status(&get(harness.at(80), "a", "/").await), 200);
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_refuses_no_connection() {
    let mut harness = Harness::start().await;
    let origin = Origin::start("one").await;
    harness.put(harness.simple(&[origin.address])).await;
    harness.healthy(1).await;
    let stop = Arc::new(AtomicBool::new(false));
    let to = harness.at(80);
    let clients: Vec<_> = (0..4).map(|_| tokio::spawn(load(to, "/x", Arc::clone(&stop)))).collect();
    let waiting = tokio::spawn(async move { get(to, "a", "/wait").await });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        // The successor comes while the predecessor still runs, which then ends by itself.
        let directory = Arc::clone(&harness.directory);
        let successor = Harness::start_at(harness.host, harness.shared, directory).await;
        successor.healthy(1).await;
        let predecessor = std::mem::replace(&mut harness, successor);
        tokio::spawn(predecessor.ended());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let (failed, count) = client.await.unwrap();
        assert!(failed.is_empty(), "{} of {count} failed: {:?}", failed.len(), failed.first());
    }
    // What the first of them had begun is finished.
    origin.release.add_permits(1);
    assert_eq!(status(&waiting.await.unwrap()), 200);
    harness.stop().await;
}

#[tokio::test]
async fn a_thousand_listeners_with_ten_thousand_targets_are_quick() {
    let harness = Harness::start().await;
    let mut items = Vec::new();
    for number in 0..1000_u16 {
        let name = format!("n{number}");
        let mut balancer = harness.balancer(&name);
        balancer.host_address =
            std::net::Ipv4Addr::new(127, 88, (number / 250) as u8, (number % 250) as u8 + 1);
        items.push(Item::LoadBalancer(Arc::new(balancer)));
        items.push(Item::Listener(Arc::new(listener(&name, 9000, forward(&[&name])))));
        let mut unchecked = group(&name);
        unchecked.health_check.enabled = false;
        items.push(Item::TargetGroup(Arc::new(unchecked)));
        for port in 1..=10 {
            items.push(target(&name, ([10, 0, 0, 1], port).into()));
        }
    }
    let began = Instant::now();
    harness.put(items).await;
    let loaded = began.elapsed();
    let web = listener("n7", 9000, forward(&["n7"]));
    let mut quickest = Duration::MAX;
    for number in 0..20 {
        let began = Instant::now();
        let rule = rule(&web, number + 1, path("/x"), fixed(200, "x"));
        harness.put(vec![Item::Rule(Arc::new(rule))]).await;
        quickest = quickest.min(began.elapsed());
    }
    // A listener's own action opens no socket, and a new listener only its own.
    let action = Item::Listener(Arc::new(listener("n8", 9000, fixed(200, "y"))));
    let new = Item::Listener(Arc::new(listener("n8", 9001, fixed(200, "z"))));
    for item in [action, new] {
        let began = Instant::now();
        harness.put(vec![item]).await;
        eprintln!("another change in {:?}", began.elapsed());
    }
    let host = std::net::Ipv4Addr::new(127, 88, 0, 9);
    for (port, body) in [(9000, "y"), (9001, "z")] {
        let answer = get((host, port).into(), "a", "/").await;
        assert!(answer.ends_with(body), "{answer}");
    }
    // Debug builds on a busy machine.
    assert!(loaded < Duration::from_secs(10), "{loaded:?}");
    assert!(quickest < Duration::from_millis(50), "{quickest:?}");
    eprintln!("loaded in {loaded:?}, a change in {quickest:?}");
    harness.stop().await;
}
