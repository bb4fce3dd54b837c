//! What a load balancer does with requests.

use crate::support::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wharf_model::load_balancing::*;

#[tokio::test]
async fn a_request_gets_to_a_target_with_the_headers_of_a_load_balancer() {
    let harness = Harness::start().await;
    let origin = Origin::start("one").await;
    harness.put(harness.simple(&[origin.address])).await;
    harness.healthy(1).await;

    let answer = get(harness.at(80), "shop.example", "/a?b=c").await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.contains("one GET /a?b=c HTTP/1.1"), "{answer}");
    assert_eq!(field(&answer, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(field(&answer, "x-forwarded-proto"), Some("http"));
    assert_eq!(field(&answer, "x-forwarded-port"), Some("80"));
    assert!(field(&answer, "x-amzn-trace-id").unwrap().starts_with("Root=1-"));
    assert_eq!(field(&answer, "host"), Some("shop.example"));

    let body = "x".repeat(100_000);
    let post = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    assert!(raw(harness.at(80), &post).await.contains("body: 100000"));
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                   3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    let answer = raw(harness.at(80), chunked).await;
    assert!(answer.contains("body: 7"), "{answer}");
    assert_eq!(origin.requests.load(Ordering::Relaxed), 3);

    // Each worker keeps its own connections, and none is made where one waits.
    let connections = origin.connections.load(Ordering::Relaxed);
    let mut client = TcpStream::connect(harness.at(80)).await.unwrap();
    for _ in 0..20 {
        client.write_all(b"GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = [0; 512];
        let length = client.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 204"));
    }
    assert!(origin.connections.load(Ordering::Relaxed) <= connections + 1);
    assert_eq!(harness.metrics.balancer("app/web/1").current()["RequestCount"], 23);
    assert_eq!(harness.metrics.group("g/g").current()["HTTPCode_Target_2XX_Count"], 23);
    harness.stop().await;
}

#[tokio::test]
async fn rules_decide_who_answers() {
    let harness = Harness::start().await;
    let (one, two) = (Origin::start("one").await, Origin::start("two").await);
    let mut items = harness.simple(&[one.address]);
    let listener = listener("web", 80, forward(&["g"]));
    items.push(Item::TargetGroup(Arc::new(group("h"))));
    items.push(target("h", two.address));
    let redirect = Action::Redirect(Redirect {
        protocol: "HTTPS".into(),
        port: "443".into(),
        host: "#{host}".into(),
        path: "/#{path}".into(),
        query: "#{query}".into(),
        status: 301,
    });
    let mut rewriting = rule(&listener, 4, path("/old/*"), forward(&["h"]));
    rewriting.transforms = vec![Transform {
        kind: TransformKind::UrlRewrite,
        rewrites: vec![Rewrite { regex: "^/old/(.*)$".into(), replace: "/new/$1".into() }],
    }];
    for rule in [
        rule(&listener, 1, path("/two/*"), forward(&["h"])),
        rule(&listener, 2, path("/fixed"), fixed(418, "tea")),
        rule(&listener, 3, path("/moved*"), redirect),
        rewriting,
    ] {
        items.push(Item::Rule(Arc::new(rule)));
    }
    harness.put(items).await;
    harness.healthy(2).await;

    assert!(get(harness.at(80), "a", "/two/x").await.contains("two GET /two/x"));
    assert!(get(harness.at(80), "a", "/x").await.contains("one GET /x"));
    assert!(get(harness.at(80), "a", "/old/x?y").await.contains("two GET /new/x?y"));
    let answer = get(harness.at(80), "a", "/fixed").await;
    assert_eq!((status(&answer), answer.ends_with("tea")), (418, true), "{answer}");
    assert_eq!(field(&answer, "server"), Some("awselb/2.0"));
    assert_eq!(field(&answer, "content-type"), Some("text/plain; charset=utf-8"));
    let answer = get(harness.at(80), "a:80", "/moved?q=1").await;
    assert_eq!(status(&answer), 301);
    assert_eq!(field(&answer, "location"), Some("https://a:443/moved?q=1"));

    // A rule that is gone is gone for the next request.
    harness.update(vec![], vec![ItemKey::Rule(format!("{}/1", listener.path()))]).await;
    assert!(get(harness.at(80), "a", "/two/x").await.contains("one GET /two/x"));
    harness.stop().await;
}

#[tokio::test]
async fn the_shared_front_tells_load_balancers_by_name() {
    let harness = Harness::start().await;
    let mut other = harness.balancer("other");
    other.host_address = std::net::Ipv4Addr::new(127, 89, fastrand::u8(..), fastrand::u8(1..255));
    let second = listener("other", 80, fixed(200, "other"));
    let host =
        Condition::HostHeader { values: vec!["*.shop.example".into()], regex_values: vec![] };
    let claim = rule(&second, 1, host, fixed(200, "claimed"));
    harness
        .put(vec![
            Item::LoadBalancer(Arc::new(harness.balancer("web"))),
            Item::LoadBalancer(Arc::new(other)),
            Item::Listener(Arc::new(listener("web", 80, fixed(200, "web")))),
            Item::Listener(Arc::new(second)),
            Item::Rule(Arc::new(claim)),
        ])
        .await;
    let front = (harness.shared, 80).into();
    assert!(get(front, "web-1.us-east-1.elb.localhost", "/").await.ends_with("web"));
    assert!(get(front, "OTHER-1.us-east-1.elb.localhost:80", "/").await.ends_with("other"));
    assert!(get(front, "www.shop.example", "/").await.ends_with("claimed"));
    let answer = get(front, "localhost", "/").await;
    assert_eq!(status(&answer), 404);
    assert!(answer.contains("web-1.us-east-1.elb.localhost"), "{answer}");
    let report = harness.until(|report| report.listeners.len() == 2).await;
    assert!(
        report.listeners.iter().all(|status| status.bound.len() == 2 && status.failed.is_empty())
    );
    harness.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_reported_and_had_once_it_is_free() {
    let harness = Harness::start().await;
    let taken = TcpListener::bind((harness.shared, 80)).await.unwrap();
    harness
        .put(vec![
            Item::LoadBalancer(Arc::new(harness.balancer("web"))),
            Item::Listener(Arc::new(listener("web", 80, fixed(200, "web")))),
        ])
        .await;
    let report = harness.until(|report| !report.listeners.is_empty()).await;
    assert_eq!(report.listeners[0].bound, [harness.at(80)]);
    assert_eq!(report.listeners[0].failed[0].0, (harness.shared, 80).into());
    drop(taken);
    harness.until(|report| report.listeners[0].failed.is_empty()).await;
    harness.stop().await;
}

#[tokio::test]
async fn clients_stay_with_their_target_and_their_group() {
    let harness = Harness::start().await;
    let (one, two) = (Origin::start("one").await, Origin::start("two").await);
    let mut items = harness.simple(&[one.address, two.address]);
    let mut sticky = group("g");
    sticky.attributes = attributes(&[("stickiness.enabled", "true")]);
    items.push(Item::TargetGroup(Arc::new(sticky.clone())));
    harness.put(items).await;
    harness.healthy(2).await;

    let name = |answer: &str| {
        answer.split("\r\n\r\n").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    };
    let ask = async |cookie: &str, path: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
        );
        raw(harness.at(80), &request).await
    };
    let first = ask("x=y", "/").await;
    let cookies: Vec<&str> =
        first.lines().filter_map(|line| line.strip_prefix("set-cookie: ")).collect();
    assert!(cookies[0].starts_with("AWSALB=") && cookies[0].ends_with("; Path=/"), "{first}");
    assert!(
        cookies[1].starts_with("AWSALBCORS=") && cookies[1].ends_with("; SameSite=None; Secure")
    );
    for index in 0..8 {
        let cookie = cookies[index % 2].split(';').next().unwrap();
        assert_eq!(name(&ask(cookie, "/").await), name(&first));
    }

    sticky.attributes = attributes(&[
        ("stickiness.enabled", "true"),
        ("stickiness.type", "app_cookie"),
        ("stickiness.app_cookie.cookie_name", "session"),
    ]);
    harness.put(vec![Item::TargetGroup(Arc::new(sticky))]).await;
    let none = ask("x=y", "/").await;
    assert_eq!(field(&none, "set-cookie"), None);
    let first = ask("x=y", "/app-cookie").await;
    let app = first.lines().find_map(|line| line.strip_prefix("set-cookie: AWSALBAPP-0=")).unwrap();
    let app = app.split(';').next().unwrap();
    let stayed = first.split("\r\n\r\n").nth(1).unwrap();
    for _ in 0..6 {
        assert_eq!(name(&ask(&format!("session=1; AWSALBAPP-0={app}"), "/").await), stayed);
    }
    harness.stop().await;
}

#[tokio::test]
async fn errors_are_those_of_the_service() {
    let harness = Harness::start().await;
    let origin = Origin::start("one").await;
    let mut items = harness.simple(&[]);
    let mut balancer = harness.balancer("web");
    balancer.attributes = attributes(&[("idle_timeout.timeout_seconds", "1")]);
    items.push(Item::LoadBalancer(Arc::new(balancer)));
    harness.put(items).await;
    let answer = get(harness.at(80), "a", "/").await;
    assert_eq!(status(&answer), 503);
    assert!(answer.contains("<center><h1>503 Service Temporarily Unavailable</h1></center>"));

    // Nobody listens there: with no other target the requests go to it nevertheless.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    harness.put(vec![target("g", nobody)]).await;
    assert_eq!(status(&get(harness.at(80), "a", "/").await), 502);

    // With another one there, the request that couldn't be delivered goes there.
    harness.put(vec![target("g", origin.address)]).await;
    for _ in 0..4 {
        assert_eq!(status(&get(harness.at(80), "a", "/").await), 200);
    }
    assert_eq!(status(&get(harness.at(80), "a", "/silent").await), 504);
    let slow = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc";
    assert_eq!(status(&raw(harness.at(80), slow).await), 408);
    assert_eq!(status(&raw(harness.at(80), "GET / HTTP/1.1\r\nHost:").await), 408);
    let trace = "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(status(&raw(harness.at(80), trace).await), 405);
    let forwarded = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: {}\r\n\r\n",
        ["1.1.1.1"; 31].join(", ")
    );
    assert_eq!(status(&raw(harness.at(80), &forwarded).await), 463);
    // A client that is idle is told nothing, and closed.
    assert_eq!(raw(harness.at(80), "").await, "");

    let mut client = TcpStream::connect(harness.at(80)).await.unwrap();
    client.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let meter = harness.metrics.balancer("app/web/1");
    let left = |counts: &std::collections::BTreeMap<&str, u64>| counts["HTTPCode_ELB_4XX_Count"];
    let before = left(&meter.current());
    drop(client);
    for _ in 0..200 {
        if left(&meter.current()) == before + 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(left(&meter.current()), before + 1, "460");
    harness.stop().await;
}

#[tokio::test]
async fn what_a_target_closed_meanwhile_is_sent_again() {
    let harness = Harness::start().await;
    // Answers one request on each connection, says nothing of closing, and closes.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..3))).await;
            });
        }
    });
    harness.put(harness.simple(&[address])).await;
    harness.healthy(1).await;
    for _ in 0..300 {
        let answer = get(harness.at(80), "a", "/").await;
        assert_eq!(status(&answer), 200, "{answer}");
    }
    harness.stop().await;
}

#[tokio::test]
async fn websockets_go_through() {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    let harness = Harness::start().await;
    let origin = Origin::start("one").await;
    harness.put(harness.simple(&[origin.address])).await;
    harness.healthy(1).await;
    let stream = TcpStream::connect(harness.at(80)).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://a/ws", stream).await.unwrap();
    for text in ["hello", "again"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    // It counts as under way: a target that drains has not drained before it ends.
    let mut draining = target_record("g", origin.address);
    draining.deregistered_at = Some(wharf_model::time::Timestamp(1));
    harness.put(vec![Item::Target(Arc::new(draining))]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    socket.send(Message::text("still")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still"));
    assert!(harness.until(|report| report.revision == 2).await.drained.is_empty());
    drop(socket);
    harness.until(|report| report.drained.len() == 1).await;
    harness.stop().await;
}

#[tokio::test]
async fn the_access_log_has_a_line_for_each_request() {
    let harness = Harness::start().await;
    let origin = Origin::start("one").await;
    harness.put(harness.simple(&[origin.address])).await;
    harness.healthy(1).await;
    get(harness.at(80), "a", "/x").await;
    get(harness.at(80), "a", "/status/404").await;
    let directory = harness.directory.path().join("logs");
    let (mut lines, mut connections) = (String::new(), String::new());
    for _ in 0..200 {
        (lines, connections) = (String::new(), String::new());
        for file in std::fs::read_dir(&directory).unwrap() {
            let file = file.unwrap();
            let is_of_connections =
                file.file_name().to_string_lossy().starts_with("conn_log.app.web");
            let log = if is_of_connections { &mut connections } else { &mut lines };
            log.push_str(&std::fs::read_to_string(file.path()).unwrap());
        }
        if (lines.lines().count(), connections.lines().count()) == (2, 2) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A connection's line and those of its requests have one name in common.
    let trace =
        |line: &str| line.split(' ').find(|word| word.starts_with("TID_")).map(str::to_owned);
    let of_requests: Vec<_> = lines.lines().map(trace).collect();
    assert_eq!(connections.lines().map(trace).collect::<Vec<_>>(), of_requests, "{connections}");
    assert!(of_requests.iter().all(Option::is_some), "{lines}");
    assert!(lines.contains(&format!(" {} ", origin.address)), "{lines}");
    assert!(lines.contains("\"GET http://a:80/x HTTP/1.1\""), "{lines}");
    assert!(lines.contains(" 404 404 "), "{lines}");
    harness.stop().await;
}
