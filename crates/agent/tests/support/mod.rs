//! A control plane of loopback: answers the agent's calls, holds its sessions, and remembers what
//! it said.

#![allow(dead_code, clippy::unwrap_used)]

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::{CancellationToken, DropGuard};
use wharf_agent::task::Secret;
use wharf_agent::{AgentCredentials, AgentOptions};
use wharf_image::{BuildOptions, ImageStore};
use wharf_runtime::{Runtime, RuntimeOptions};

pub const CLUSTER_ARN: &str = "arn:aws:ecs:us-east-1:123456789012:cluster/default";
pub const INSTANCE_ARN: &str =
    "arn:aws:ecs:us-east-1:123456789012:container-instance/default/0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Seen {
    calls: Vec<(String, Value)>,
    acs: Vec<Value>,
    tcs: Vec<Value>,
    sessions: usize,
    session: Option<mpsc::UnboundedSender<Message>>,
}

#[derive(Clone)]
pub struct ControlPlane {
    pub url: String,
    seen: Arc<Mutex<Seen>>,
    _stop: Arc<DropGuard>,
}

impl ControlPlane {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let plane = Self {
            url: url.clone(),
            seen: Arc::default(),
            _stop: Arc::new(stop.clone().drop_guard()),
        };
        let seen = plane.seen.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = stop.cancelled() => return,
                };
                let (seen, url) = (seen.clone(), url.clone());
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(|request| {
                        let (seen, url) = (seen.clone(), url.clone());
                        async move { Ok::<_, Infallible>(answer(request, seen, url).await) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(tcp), service)
                        .with_upgrades();
                    let _ = connection.await;
                });
            }
        });
        plane
    }

    pub fn calls(&self, operation: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        seen.calls.iter().filter(|(op, _)| op == operation).map(|(_, v)| v.clone()).collect()
    }

    /// Task state changes of one task, in order.
    pub fn reports(&self, arn: &str) -> Vec<Value> {
        let mut reports = self.calls("SubmitTaskStateChange");
        reports.retain(|report| report["task"] == arn);
        reports
    }

    /// The ACS messages of a type that the agent sent.
    pub fn messages(&self, kind: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        let of_kind = seen.acs.iter().filter(|message| message["type"] == kind);
        of_kind.map(|message| message["message"].clone()).collect()
    }

    pub fn telemetry(&self, kind: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        let of_kind = seen.tcs.iter().filter(|message| message["type"] == kind);
        of_kind.map(|message| message["message"].clone()).collect()
    }

    pub fn sessions(&self) -> usize {
        self.seen.lock().unwrap().sessions
    }

    pub async fn session(&self, nth: usize) {
        until("a session", || (self.sessions() >= nth).then_some(())).await;
    }

    /// Sends a text as it is.
    pub fn send_raw(&self, message: Message) {
        let seen = self.seen.lock().unwrap();
        seen.session.as_ref().expect("a session").send(message).unwrap();
    }

    pub fn send(&self, kind: &str, message: Value) {
        self.send_raw(Message::text(json!({ "type": kind, "message": message }).to_string()));
    }

    /// Sends tasks and waits for the acknowledgement.
    pub async fn payload(&self, message_id: &str, sequence: i64, tasks: Value) {
        self.send_payload(message_id, sequence, tasks);
        until("the payload's ack", || {
            let acks = self.messages("AckRequest");
            acks.iter().any(|ack| ack["messageId"] == message_id).then_some(())
        })
        .await;
    }

    pub fn send_payload(&self, message_id: &str, sequence: i64, tasks: Value) {
        self.send(
            "PayloadMessage",
            json!({ "clusterArn": CLUSTER_ARN, "containerInstanceArn": INSTANCE_ARN,
                    "messageId": message_id, "seqNum": sequence, "tasks": tasks }),
        );
    }

    /// Waits for a report with this status and answers it.
    pub async fn reported(&self, arn: &str, status: &str) -> Value {
        until(&format!("{status} of {arn}"), || {
            self.reports(arn).into_iter().find(|report| report["status"] == status)
        })
        .await
    }
}

async fn answer(
    mut request: Request<Incoming>,
    seen: Arc<Mutex<Seen>>,
    url: String,
) -> Response<Full<Bytes>> {
    let header = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let authorization = header("authorization").unwrap_or_default();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "signed");
    if let Some(key) = header("sec-websocket-key") {
        let telemetry = request.uri().path().starts_with("/tcs");
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let stream = TokioIo::new(upgrade.await.unwrap());
            let stream = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            if telemetry { tcs(stream, seen).await } else { acs(stream, seen).await }
        });
        return Response::builder()
            .status(101)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", derive_accept_key(key.as_bytes()))
            .body(Full::default())
            .unwrap();
    }
    let target = header("x-amz-target").unwrap_or_default();
    let host = header("host").unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let body = request.collect().await.unwrap().to_bytes();
    let input: Value = serde_json::from_slice(&body).unwrap();
    // What a task asks goes on under the name that it signed.
    let of_a_task = operation == "ListClusters";
    assert_eq!(host == "169.254.170.4", of_a_task, "{operation} for {host}");
    let output = match operation.as_str() {
        "RegisterContainerInstance" => json!({ "containerInstance": {
            "containerInstanceArn": INSTANCE_ARN, "attributes": input["attributes"] } }),
        "DiscoverPollEndpoint" => json!({ "endpoint": format!("{url}/acs"),
            "telemetryEndpoint": format!("{url}/tcs") }),
        _ => json!({ "acknowledgment": "ok" }),
    };
    seen.lock().unwrap().calls.push((operation, input));
    Response::new(Full::from(output.to_string()))
}

type Stream = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn acs(mut stream: Stream, seen: Arc<Mutex<Seen>>) {
    let (sender, mut outgoing) = mpsc::unbounded_channel();
    {
        let mut seen = seen.lock().unwrap();
        seen.session = Some(sender);
        seen.sessions += 1;
    }
    loop {
        tokio::select! {
            Some(message) = outgoing.recv() => {
                if stream.send(message).await.is_err() {
                    return;
                }
            }
            next = stream.next() => match next {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    seen.lock().unwrap().acs.push(message);
                }
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

async fn tcs(mut stream: Stream, seen: Arc<Mutex<Seen>>) {
    while let Some(Ok(message)) = stream.next().await {
        let Message::Text(text) = message else { continue };
        let (head, body) = text.split_once("\r\n\r\n").expect("a block of headers");
        assert!(head.to_ascii_lowercase().contains("authorization: aws4-hmac-sha256"), "{head}");
        let message: Value = serde_json::from_str(body).unwrap();
        let ack = match message["type"].as_str().unwrap() {
            "PublishMetricsRequest" => "AckPublishMetric",
            "PublishHealthRequest" => "AckPublishHealth",
            _ => "AckPublishInstanceStatus",
        };
        seen.lock().unwrap().tcs.push(message);
        let ack = json!({ "type": ack, "message": { "message": "ok" } }).to_string();
        let _ = stream.send(Message::text(ack)).await;
    }
}

/// Waits until `look` finds something.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A data directory with an image and a wharf's name; dropping it takes everything of that wharf
/// away from the host, also when the test fails.
pub struct Host {
    pub data: tempfile::TempDir,
    pub instance: String,
}

impl Host {
    pub fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        build_image(data.path());
        Self { data, instance: instance_name() }
    }

    pub fn path(&self) -> &Path {
        self.data.path()
    }

    pub fn options(&self, url: &str) -> AgentOptions {
        options(url, self.path(), &self.instance)
    }

    /// The runtime under the agent.
    pub async fn runtime(&self) -> Runtime {
        let root = self.path().join("runtime");
        let mut options = RuntimeOptions::new(root, &self.instance).unwrap();
        options.vpc_cidr = vpc(&self.instance);
        Runtime::open(options, wharf_runtime::testing::zygote()).await.unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let executor = tokio::runtime::Runtime::new().unwrap();
                executor.block_on(async { self.runtime().await.teardown().await.unwrap() });
            });
        });
    }
}

/// A name for this test's wharf: 1 to 8 letters and digits.
pub fn instance_name() -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let nth = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mixed = (u64::from(std::process::id()) * 64 + u64::from(nth)) % 36u64.pow(6);
    let digits = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut rest = mixed;
    let mut name = String::from("a");
    for _ in 0..6 {
        name.push(digits[(rest % 36) as usize] as char);
        rest /= 36;
    }
    name
}

/// Options of an agent with an image `box` (busybox) in its store.
pub fn options(url: &str, data_dir: &Path, instance: &str) -> AgentOptions {
    let credentials = AgentCredentials {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        session_token: None,
    };
    let zygote = wharf_runtime::testing::zygote();
    let mut options = AgentOptions::new(url, "default", credentials, data_dir, zygote).unwrap();
    options.instance = instance.to_owned();
    // The tests run beside each other and beside a real wharf on its default block.
    options.vpc_cidr = vpc(instance);
    options
}

fn vpc(instance: &str) -> wharf_runtime::spec::Ipv4Cidr {
    let sum: u32 = instance.bytes().fold(7, |sum, byte| sum * 31 % 9973 + u32::from(byte));
    format!("10.{}.{}.0/24", 120 + sum % 100, sum / 100 % 250).parse().unwrap()
}

/// Puts busybox into the store under the name `box`.
pub fn build_image(data_dir: &Path) {
    let root = tempfile::tempdir().unwrap();
    let bin = root.path().join("bin");
    for directory in ["bin", "tmp", "etc", "proc", "sys", "dev"] {
        std::fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    std::fs::copy("/usr/bin/busybox", bin.join("busybox")).expect("Debian's busybox-static");
    for applet in ["sh", "sleep", "cat", "env", "true", "echo", "nc", "httpd", "hostname"] {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
    }
    let store = ImageStore::open(data_dir.join("images")).unwrap();
    let options = BuildOptions {
        name: "box".to_owned(),
        env: vec!["FROM_IMAGE=yes".to_owned()],
        ..BuildOptions::default()
    };
    store.build(root.path(), &options).unwrap();
}

/// A task's ARN by its id.
pub fn arn(id: &str) -> String {
    format!("arn:aws:ecs:us-east-1:123456789012:task/default/{id}")
}

/// A task of one essential shell.
pub fn shell_task(id: &str, script: &str) -> Value {
    task(id, json!([shell("app", script)]))
}

pub fn task(id: &str, containers: Value) -> Value {
    json!({ "arn": arn(id), "family": "web", "version": "1", "desiredStatus": "RUNNING",
            "networkMode": "bridge", "containers": containers, "taskClusterArn": CLUSTER_ARN })
}

pub fn shell(name: &str, script: &str) -> Value {
    json!({ "name": name, "image": "box", "essential": true, "stopTimeout": 2,
            "command": ["/bin/sh", "-c", script] })
}

/// A log's lines without their frame, all as one text.
pub fn log(data_dir: &Path, id: &str) -> String {
    let mut text = String::new();
    let mut directories = vec![data_dir.join("runtime")];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "log")
                && path.to_string_lossy().contains(id)
            {
                text.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }
    text
}
