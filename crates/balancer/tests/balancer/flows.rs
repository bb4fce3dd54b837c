//! Flows of Network Load Balancers: TCP and UDP.

use crate::support::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use wharf_model::load_balancing::*;
use wharf_model::time::Timestamp;

fn network(harness: &Harness, protocol: Protocol, origin: SocketAddr) -> Vec<Item> {
    let mut balancer = harness.balancer("net");
    balancer.kind = LoadBalancerType::Network;
    let mut listening = listener("net", 53, forward(&["t"]));
    listening.load_balancer = "net/net/1".into();
    listening.protocol = protocol;
    let mut targets = group("t");
    targets.protocol = protocol;
    targets.protocol_version = None;
    targets.health_check.protocol = Protocol::Tcp;
    targets.health_check.enabled = protocol == Protocol::Tcp;
    vec![
        Item::LoadBalancer(Arc::new(balancer)),
        Item::Listener(Arc::new(listening)),
        Item::TargetGroup(Arc::new(targets)),
        target("t", origin),
    ]
}

#[tokio::test]
async fn tcp_flows_go_through_with_both_halves() {
    let harness = Harness::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Sends everything back once the client has said all.
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut all = Vec::new();
                let _ = stream.read_to_end(&mut all).await;
                let _ = stream.write_all(&all).await;
            });
        }
    });
    let mut items = network(&harness, Protocol::Tcp, address);
    harness.put(items.clone()).await;
    harness.healthy(1).await;
    let mut client = TcpStream::connect(harness.at(53)).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"hello");

    let Item::TargetGroup(group) = &items[2] else { unreachable!() };
    let mut told = (**group).clone();
    told.attributes = attributes(&[("proxy_protocol_v2.enabled", "true")]);
    items[2] = Item::TargetGroup(Arc::new(told));
    harness.put(items).await;
    let mut client = TcpStream::connect(harness.at(53)).await.unwrap();
    let port = client.local_addr().unwrap().port();
    client.shutdown().await.unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).await.unwrap();
    assert_eq!(&back[..12], b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(back[24..26], port.to_be_bytes());

    // A flow is under way for as long as it is open.
    let open = TcpStream::connect(harness.at(53)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut leaving = target_record("t", address);
    leaving.deregistered_at = Some(Timestamp(1));
    harness.put(vec![Item::Target(Arc::new(leaving))]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(harness.until(|_| true).await.drained.is_empty());
    drop(open);
    harness.until(|report| report.drained.len() == 1).await;
    harness.stop().await;
}

/// As its security groups expect it: checks, and what clients send.
#[tokio::test]
async fn targets_of_the_vpc_see_the_load_balancers_own_address() {
    let harness = Harness::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (peers, mut seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (_stream, peer) = listener.accept().await.unwrap();
            peers.send(peer.ip()).unwrap();
        }
    });
    let mut items = network(&harness, Protocol::Tcp, address);
    let own = harness.shared;
    let range = |text| wharf_model::network::Ipv4Range::parse(text).unwrap();
    if let Item::LoadBalancer(balancer) = &mut items[0] {
        let balancer = Arc::make_mut(balancer);
        (balancer.task_address, balancer.vpc_range) = (Some(own), Some(range("127.0.0.0/8")));
    }
    harness.put(items.clone()).await;
    harness.healthy(1).await;
    let _client = TcpStream::connect(harness.at(53)).await.unwrap();
    for _ in ["check", "flow"] {
        let peer = tokio::time::timeout(Duration::from_secs(5), seen.recv()).await.unwrap();
        assert_eq!(peer, Some(own.into()));
    }
    harness.stop().await;
}

#[tokio::test]
async fn a_flow_ends_when_its_target_falls_ill() {
    let harness = Harness::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Takes flows, and stops to take new ones after the second connection that says something.
    let accepting = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut first = [0];
            let peeked = tokio::time::timeout(Duration::from_millis(200), stream.peek(&mut first));
            if matches!(peeked.await, Ok(Ok(1))) {
                open.push(stream);
                return open;
            }
        }
    });
    let mut items = network(&harness, Protocol::Tcp, address);
    if let Item::TargetGroup(group) = &mut items[2] {
        Arc::make_mut(group).health_check.interval_seconds = 1;
    }
    harness.put(items).await;
    harness.healthy(1).await;
    let mut client = TcpStream::connect(harness.at(53)).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let _open = accepting.await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(10), client.read(&mut [0; 8])).await;
    assert!(matches!(read.expect("the flow goes on"), Ok(0) | Err(_)));
    harness.stop().await;
}

#[tokio::test]
async fn datagrams_go_to_one_target_and_back() {
    let harness = Harness::start().await;
    let origin = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = origin.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (length, from) = origin.recv_from(&mut buffer).await.unwrap();
            buffer[..length].reverse();
            origin.send_to(&buffer[..length], from).await.unwrap();
        }
    });
    harness.put(network(&harness, Protocol::Udp, address)).await;
    for text in [&b"abc"[..], b"de"] {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(harness.at(53)).await.unwrap();
        let mut back = [0; 16];
        for _ in 0..3 {
            client.send(text).await.unwrap();
            let received =
                tokio::time::timeout(Duration::from_secs(5), client.recv(&mut back)).await;
            let length = received.unwrap().unwrap();
            let expected: Vec<u8> = text.iter().rev().copied().collect();
            assert_eq!(&back[..length], expected);
        }
    }
    harness.stop().await;
}
