//! A balancer with what surrounds it.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wharf_balancer::Options;
use wharf_balancer::metrics::Metrics;
use wharf_model::load_balancing::*;
use wharf_model::time::Timestamp;

/// A balancer, and what it reported.
pub struct Harness {
    pub host: Ipv4Addr,
    pub shared: Ipv4Addr,
    pub metrics: Arc<Metrics>,
    pub directory: Arc<tempfile::TempDir>,
    updates: mpsc::Sender<Update>,
    seen: Arc<Mutex<Report>>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    revision: AtomicU64,
}

/// An address of the loopback that no other test has.
fn address() -> Ipv4Addr {
    Ipv4Addr::new(127, fastrand::u8(90..250), fastrand::u8(..), fastrand::u8(1..255))
}

impl Harness {
    pub async fn start() -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        Self::start_at(address(), address(), directory).await
    }

    pub async fn start_at(
        host: Ipv4Addr,
        shared: Ipv4Addr,
        directory: Arc<tempfile::TempDir>,
    ) -> Self {
        let mut options = Options::new(directory.path().join("state"));
        options.workers = 2;
        options.shared_addresses = vec![IpAddr::V4(shared)];
        options.access_logs = Some(directory.path().join("logs"));
        let metrics = Arc::clone(&options.metrics);
        let (updates, receiver) = mpsc::channel(16);
        let (sender, mut reports) = mpsc::channel::<Report>(16);
        let shutdown = CancellationToken::new();
        let seen = Arc::new(Mutex::new(Report::default()));
        let running = wharf_balancer::run(options, receiver, sender, shutdown.clone());
        let task = tokio::spawn(async move { running.await.unwrap() });
        let collected = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Some(report) = reports.recv().await {
                let mut seen = collected.lock().unwrap();
                seen.revision = report.revision;
                seen.complete |= report.complete;
                let changed: Vec<_> = report.health.iter().map(|(key, _)| key.clone()).collect();
                seen.health.retain(|(key, _)| !changed.contains(key));
                seen.health.extend(report.health);
                seen.drained.extend(report.drained);
                for status in report.listeners {
                    seen.listeners.retain(|other| other.listener != status.listener);
                    seen.listeners.push(status);
                }
            }
        });
        let revision = AtomicU64::new(0);
        Self { host, shared, metrics, directory, updates, seen, shutdown, task, revision }
    }

    /// Tells the balancer of things.
    pub async fn put(&self, put: Vec<Item>) {
        self.update(put, vec![]).await;
    }

    pub async fn update(&self, put: Vec<Item>, delete: Vec<ItemKey>) {
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        self.updates.send(Update { revision, complete: false, put, delete }).await.unwrap();
        self.until(|report| report.revision >= revision).await;
    }

    /// Waits until what was reported is as it should be.
    pub async fn until(&self, is: impl Fn(&Report) -> bool) -> Report {
        for _ in 0..2000 {
            {
                let seen = self.seen.lock().unwrap();
                if is(&seen) {
                    return seen.clone();
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not reported: {:?}", self.seen.lock().unwrap());
    }

    pub async fn healthy(&self, count: usize) {
        let is = |(_, health): &&(TargetKey, TargetHealth)| health.state == HealthState::Healthy;
        self.until(|report| report.health.iter().filter(is).count() == count).await;
    }

    /// Forgets what was said of a target.
    pub fn forget(&self, key: &TargetKey) {
        self.seen.lock().unwrap().health.retain(|(other, _)| other != key);
    }

    /// Waits for the end, of which nobody told it.
    pub async fn ended(self) {
        self.task.await.unwrap();
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    pub fn at(&self, port: u16) -> SocketAddr {
        (self.host, port).into()
    }

    /// A load balancer with a listener and a group, and targets in it.
    pub fn simple(&self, origins: &[SocketAddr]) -> Vec<Item> {
        let mut items = vec![
            Item::LoadBalancer(Arc::new(self.balancer("web"))),
            Item::Listener(Arc::new(listener("web", 80, forward(&["g"])))),
            Item::TargetGroup(Arc::new(group("g"))),
        ];
        items.extend(origins.iter().map(|origin| target("g", *origin)));
        items
    }

    pub fn balancer(&self, name: &str) -> LoadBalancer {
        LoadBalancer {
            kind: LoadBalancerType::Application,
            name: name.into(),
            id: "1".into(),
            scheme: Scheme::InternetFacing,
            dns_name: format!("{name}-1.us-east-1.elb.localhost"),
            created_at: Timestamp::default(),
            vpc_id: "vpc-1".into(),
            subnets: vec![],
            security_groups: vec![],
            ip_address_type: "ipv4".into(),
            host_address: self.host,
            task_address: None,
            vpc_range: None,
            attributes: BTreeMap::new(),
            tags: vec![],
        }
    }
}

pub fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

pub fn forward(groups: &[&str]) -> Action {
    let target_groups = groups
        .iter()
        .map(|name| WeightedTargetGroup { target_group: format!("{name}/{name}"), weight: Some(1) })
        .collect();
    Action::Forward(Forward { target_groups, stickiness_seconds: None })
}

pub fn fixed(status: u16, body: &str) -> Action {
    Action::FixedResponse(FixedResponse { status, content_type: None, body: Some(body.into()) })
}

pub fn listener(balancer: &str, port: u16, action: Action) -> Listener {
    Listener {
        load_balancer: format!("app/{balancer}/1"),
        id: port.to_string(),
        port,
        protocol: Protocol::Http,
        ssl_policy: None,
        certificates: vec![],
        alpn_policy: None,
        mutual_authentication: None,
        default_actions: vec![action],
        attributes: BTreeMap::new(),
        tags: vec![],
    }
}

pub fn rule(listener: &Listener, priority: u32, condition: Condition, action: Action) -> Rule {
    Rule {
        listener: listener.path(),
        id: priority.to_string(),
        priority,
        conditions: vec![condition],
        actions: vec![action],
        transforms: vec![],
        tags: vec![],
    }
}

pub fn path(pattern: &str) -> Condition {
    Condition::PathPattern { values: vec![pattern.into()], regex_values: vec![] }
}

pub fn group(name: &str) -> TargetGroup {
    TargetGroup {
        name: name.into(),
        id: name.into(),
        protocol: Protocol::Http,
        protocol_version: Some(ProtocolVersion::Http1),
        port: 80,
        vpc_id: "vpc-1".into(),
        target_type: TargetType::Ip,
        ip_address_type: "ipv4".into(),
        health_check: HealthCheck {
            enabled: true,
            protocol: Protocol::Http,
            port: None,
            path: Some("/health".into()),
            matcher: Some("200".into()),
            interval_seconds: 5,
            timeout_seconds: 2,
            healthy_threshold: 2,
            unhealthy_threshold: 2,
        },
        created_at: Timestamp::default(),
        attributes: BTreeMap::new(),
        tags: vec![],
    }
}

pub fn target_record(group: &str, address: SocketAddr) -> Target {
    Target {
        key: TargetKey {
            target_group: group.into(),
            id: address.ip().to_string(),
            port: address.port(),
        },
        address: address.ip(),
        zone: None,
        registered_at: Timestamp::default(),
        deregistered_at: None,
    }
}

pub fn target(group: &str, address: SocketAddr) -> Item {
    Item::Target(Arc::new(target_record(group, address)))
}

/// Something that listens on a port of its own and answers HTTP/1 and HTTP/2.
pub struct Origin {
    pub address: SocketAddr,
    pub requests: Arc<AtomicUsize>,
    pub connections: Arc<AtomicUsize>,
    pub release: Arc<tokio::sync::Semaphore>,
    stop: CancellationToken,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Origin {
    pub async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, name)
    }

    pub fn on(listener: TcpListener, name: &'static str) -> Self {
        let origin = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
            release: Arc::new(tokio::sync::Semaphore::new(0)),
            stop: CancellationToken::new(),
        };
        let (requests, connections) =
            (Arc::clone(&origin.requests), Arc::clone(&origin.connections));
        let (release, stop) = (Arc::clone(&origin.release), origin.stop.clone());
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let (stream, _) = accepted.unwrap();
                connections.fetch_add(1, Ordering::Relaxed);
                let (requests, release) = (Arc::clone(&requests), Arc::clone(&release));
                let stop = stop.clone();
                let service = hyper::service::service_fn(move |request| {
                    answer(name, request, Arc::clone(&requests), Arc::clone(&release))
                });
                tokio::spawn(async move {
                    let builder =
                        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let serving =
                        builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                    tokio::select! {
                        _ = serving => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
        });
        origin
    }
}

async fn answer(
    name: &'static str,
    mut request: Request<Incoming>,
    requests: Arc<AtomicUsize>,
    release: Arc<tokio::sync::Semaphore>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = |body: String| Ok(Response::new(Full::new(Bytes::from(body))));
    let path = request.uri().path().to_owned();
    if path == "/health" {
        return text("well".into());
    }
    requests.fetch_add(1, Ordering::Relaxed);
    if path == "/wait" {
        release.acquire().await.unwrap().forget();
    }
    if path == "/silent" {
        std::future::pending::<()>().await;
    }
    if let Some(status) = path.strip_prefix("/status/") {
        let response = Response::builder().status(status.parse::<u16>().unwrap());
        return Ok(response.body(Full::default()).unwrap());
    }
    if path == "/app-cookie" {
        let response = Response::builder().header("set-cookie", "session=1; Path=/");
        return Ok(response.body(Full::new(name.into())).unwrap());
    }
    if path == "/ws" {
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(
            request.headers()["sec-websocket-key"].as_bytes(),
        );
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            let (mut reader, mut writer) = tokio::io::split(&mut io);
            let _ = echo_frames(&mut reader, &mut writer).await;
        });
        let response = Response::builder()
            .status(101)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", accept);
        return Ok(response.body(Full::default()).unwrap());
    }
    let mut body =
        format!("{name} {} {} {:?}\n", request.method(), request.uri(), request.version());
    for (key, value) in request.headers() {
        body.push_str(&format!("{key}: {}\n", value.to_str().unwrap_or("?")));
    }
    let received = request.into_body().collect().await;
    body.push_str(&format!("body: {}\n", received.map_or(0, |received| received.to_bytes().len())));
    text(body)
}

/// Sends back the text frames of a WebSocket client, unmasked.
async fn echo_frames(
    reader: &mut (impl tokio::io::AsyncRead + Unpin),
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> std::io::Result<()> {
    loop {
        let mut head = [0; 2];
        reader.read_exact(&mut head).await?;
        let length = usize::from(head[1] & 0x7f);
        let mut mask = [0; 4];
        reader.read_exact(&mut mask).await?;
        let mut data = vec![0; length];
        reader.read_exact(&mut data).await?;
        for (index, byte) in data.iter_mut().enumerate() {
            *byte ^= mask[index % 4];
        }
        writer.write_all(&[head[0], head[1] & 0x7f]).await?;
        writer.write_all(&data).await?;
        writer.flush().await?;
    }
}

/// What comes back for these bytes until the connection is closed.
pub async fn raw(to: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let done = tokio::time::timeout(Duration::from_secs(20), reading).await;
    assert!(done.is_ok(), "open: {:?}", String::from_utf8_lossy(&answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// The answer to a GET, over a connection of its own.
pub async fn get(to: SocketAddr, host: &str, path: &str) -> String {
    raw(to, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
}

/// The status of a raw answer.
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// A header of a raw answer, or of the request that an origin tells of.
pub fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
