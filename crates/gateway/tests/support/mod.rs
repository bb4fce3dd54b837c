//! A real server on a free port over a journal in memory, and a client that signs as the SDKs do
//! or sends whatever bytes a test wants.
#![allow(clippy::unwrap_used)] // tests
#![allow(dead_code)] // each test binary uses its part

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use wharf_gateway::agent_sessions::{AgentSessions, NoSessions};
use wharf_gateway::context::NoHistory;
use wharf_gateway::http::{Options, Server};
use wharf_gateway::registry::{Quotas, RegistryParts};
use wharf_gateway::sigv4::{Key, KeySource, Secret, SystemClock};
use wharf_gateway::{App, Parts, Vault};
use wharf_journal::{MemoryJournal, Store};
use wharf_logs::{LogStore, LogStoreOptions};
use wharf_model::Principal;
use wharf_model::network::{BuiltinVpc, DEFAULT_VPC_CIDR, Ipv4Range};
use wharf_registry::LocalStorage;
use wharf_scheduler::AllConnected;

pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
pub const ROOT: &str = "AKIAROOT";
pub const USER: &str = "AKIAUSER";
pub const HOST: &str = "AKIAHOST";

struct Keys;

impl KeySource for Keys {
    fn find(&self, access_key_id: &str, session_token: Option<&str>) -> Option<Key> {
        let principal = match access_key_id {
            ROOT => Principal::Root,
            USER => Principal::User("jo".into()),
            HOST => Principal::Instance("host-1".into()),
            _ => return None,
        };
        session_token.is_none().then(|| Key {
            secret: Secret::new(SECRET),
            principal,
            expires_at: None,
            session: None,
        })
    }
}

/// A running server; it ends with the fixture.
pub struct Fixture {
    pub address: SocketAddr,
    pub store: Arc<Store>,
    pub app: Arc<App>,
    shutdown: CancellationToken,
    pub server: tokio::task::JoinHandle<()>,
    /// The log store's directory.
    _logs: tempfile::TempDir,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn code(&self) -> String {
        self.json()["__type"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (n, v) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| v.trim())
        })
    }
}

impl Fixture {
    pub async fn start() -> Self {
        Self::start_with(Arc::new(NoSessions), |_| {}).await
    }

    pub async fn start_with(
        sessions: Arc<dyn AgentSessions>,
        adjust: impl FnOnce(&mut Options),
    ) -> Self {
        let store = Arc::new(Store::open(Arc::new(MemoryJournal::new())).await.unwrap());
        let region = "us-east-1";
        let logs = tempfile::tempdir().unwrap();
        let app = App::new(Parts {
            region: region.to_owned(),
            account: "123456789012".to_owned(),
            vpc: BuiltinVpc::new(Ipv4Range::parse(DEFAULT_VPC_CIDR).unwrap(), region),
            endpoint: String::new(),
            store: Arc::clone(&store),
            logs: LogStore::open(logs.path(), LogStoreOptions::default()).unwrap(),
            has_object_store: false,
            vault: Arc::new(Vault::new(&[7; 32]).unwrap()),
            seal: Arc::new(wharf_gateway::seal::SealKey::new([1; 32])),
            registry: RegistryParts {
                osv_database: None,
                storage: Arc::new(LocalStorage::open(logs.path()).unwrap()),
                token_key: [7; 32],
                public_name: Arc::new(|| None),
                quotas: Quotas { images: 12, tags_of_image: 6, ..Quotas::default() },
            },
            keys: Arc::new(Keys),
            clock: Arc::new(SystemClock),
            soft: Arc::new(AllConnected),
            history: Arc::new(NoHistory),
            history_writer: Arc::new(NoHistory),
            sessions,
        });
        let mut options = Options::new("127.0.0.1:0".parse().unwrap());
        adjust(&mut options);
        let app = Arc::new(app);
        let server = Server::bind(options, Arc::clone(&app)).await.unwrap();
        let address = server.local_addr();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(server.run(shutdown.clone()));
        Self { address, store, app, shutdown, server, _logs: logs }
    }

    pub fn stop(&self) {
        self.shutdown.cancel();
    }

    /// Sends bytes as they are and reads one answer, or what comes before the connection's end.
    pub async fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = async {
            while !whole(&answer) && stream.read_buf(&mut answer).await.is_ok_and(|n| n > 0) {}
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer");
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// A request signed with `key` for `service`.
    pub async fn signed(
        &self,
        key: &str,
        service: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        self.raw(&self.signed_bytes(key, service, method, target, headers, body)).await
    }

    pub fn signed_bytes(
        &self,
        key: &str,
        service: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<u8> {
        let host = self.address.to_string();
        let mut all: Vec<(String, String)> = vec![("host".to_owned(), host.clone())];
        all.extend(headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        let identity = Credentials::new(key, SECRET, None, None, "test").into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let signable = SignableRequest::new(
            method,
            format!("http://{host}{target}"),
            all.iter().map(|(n, v)| (n.as_str(), v.as_str())),
            SignableBody::Bytes(body),
        )
        .unwrap();
        let (instructions, _) = sign(signable, &parameters).unwrap().into_parts();
        let (new, _) = instructions.into_parts();
        all.extend(new.into_iter().map(|h| (h.name().to_owned(), h.value().to_owned())));
        let mut bytes = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        for (name, value) in &all {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let upgrade = headers.iter().any(|(n, _)| *n == "upgrade");
        if !upgrade {
            bytes.extend_from_slice(b"connection: close\r\n");
        }
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    /// An ECS call by root with a body of any bytes.
    pub async fn ecs_bytes(&self, operation: &str, body: &[u8]) -> Reply {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        let headers =
            [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        self.signed(ROOT, "ecs", "POST", "/", &headers, body).await
    }

    /// An ECS call by root.
    pub async fn ecs(&self, operation: &str, input: serde_json::Value) -> Reply {
        self.ecs_bytes(operation, input.to_string().as_bytes()).await
    }

    /// A call of CloudWatch Logs.
    pub async fn logs(&self, key: &str, operation: &str, input: serde_json::Value) -> Reply {
        let target = format!("Logs_20140328.{operation}");
        let headers =
            [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        self.signed(key, "logs", "POST", "/", &headers, input.to_string().as_bytes()).await
    }

    /// A call of a service that speaks JSON.
    pub async fn json_call(
        &self,
        key: &str,
        service: wharf_wire::Service,
        operation: &str,
        input: serde_json::Value,
    ) -> Reply {
        let target = format!("{}.{operation}", service.target_prefix);
        let headers =
            [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        let body = input.to_string();
        self.signed(key, service.signing_name, "POST", "/", &headers, body.as_bytes()).await
    }

    /// A call of ECR.
    pub async fn ecr(&self, key: &str, operation: &str, input: serde_json::Value) -> Reply {
        let target = format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
        let headers =
            [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        self.signed(key, "ecr", "POST", "/", &headers, input.to_string().as_bytes()).await
    }

    /// A Query call by root.
    pub async fn query(&self, service: &str, form: &str) -> Reply {
        let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        self.signed(ROOT, service, "POST", "/", &headers, form.as_bytes()).await
    }
}

/// True once the answer's head and the body that it announces are there.
fn whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    head.starts_with("HTTP/1.1 101") || length.is_some_and(|length| body.len() >= length)
}
