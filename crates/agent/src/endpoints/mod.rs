//! What the agent serves: metadata, credentials and the way to the API to tasks, introspection to
//! the host's root.
//!
//! Tasks reach it at 169.254.170.2:80 and 169.254.170.4:80, and its name server at 169.254.169.253,
//! which the runtime leads to ports on the
//! bridge's own address; it never listens on all addresses. Introspection is a unix socket in the agent's
//! directory. Credentials answer only to the task that they belong to: to its address, in network mode
//! host to its processes.

mod api;
mod documents;
mod host_mode;
mod protection;
mod routes;
mod stats;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::net::Listener;
use tokio_util::sync::CancellationToken;
use wharf_runtime::net::nft::TaskEndpoints;

use crate::api::EcsClient;
use crate::dns::Resolver;
use crate::options::AgentOptions;
use crate::stats::Sampler;
use crate::tasks::{Tasks, locked};

/// Where the host's name servers stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The most connections at once.
const MAX_CONNECTIONS: usize = 512;
/// The longest body that a request may have.
const MAX_BODY_BYTES: usize = 64 << 10;
/// How long a client may take to send its request's head, and then its body.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the endpoints can't be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address or socket can't be listened on.
    #[error("listening on {place}: {source}")]
    Listen {
        /// The address or path.
        place: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// What the documents tell of the instance.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) cluster: String,
    pub(crate) availability_zone: Option<String>,
    pub(crate) container_instance_arn: Option<String>,
}

/// What answers need.
#[derive(Clone)]
pub(crate) struct Context {
    tasks: Tasks,
    sampler: Sampler,
    instance: Arc<Mutex<Instance>>,
    client: EcsClient,
    /// The cgroup above all tasks'.
    cgroup: Arc<str>,
}

impl Context {
    fn instance(&self) -> Instance {
        locked(&self.instance).clone()
    }
}

/// The servers.
pub(crate) struct Endpoints {
    ports: TaskEndpoints,
    instance: Arc<Mutex<Instance>>,
}

impl Endpoints {
    /// Listens; ends with `stop`.
    pub(crate) async fn start(
        options: &AgentOptions,
        client: &EcsClient,
        tasks: Tasks,
        sampler: Sampler,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let listen = |place: String| move |source| Error::Listen { place, source };
        let gateway = tasks.host().runtime.gateway();
        let at_gateway = || listen(gateway.to_string());
        let tcp = TcpListener::bind((gateway, 0)).await.map_err(at_gateway())?;
        let api = TcpListener::bind((gateway, 0)).await.map_err(at_gateway())?;
        let ports = TaskEndpoints {
            metadata: tcp.local_addr().map_err(at_gateway())?.port(),
            api: api.local_addr().map_err(at_gateway())?.port(),
            dns: Some(name_server(&tasks, stop.clone()).await.map_err(at_gateway())?),
        };
        let path = options.data_dir.join("agent/introspection.sock");
        let place = path.display().to_string();
        // A socket that a killed agent left.
        let _ = std::fs::remove_file(&path);
        let unix = UnixListener::bind(&path).map_err(listen(place.clone()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .map_err(listen(place))?;
        let instance = Arc::new(Mutex::new(Instance {
            cluster: options.cluster.clone(),
            availability_zone: options.availability_zone.clone(),
            container_instance_arn: None,
        }));
        let context = Context {
            tasks,
            sampler,
            instance: instance.clone(),
            client: client.clone(),
            cgroup: format!("/wharf-{}", options.instance).into(),
        };
        tokio::spawn(serve_tasks(tcp, context.clone(), stop.clone()));
        tokio::spawn(api::serve(api, client.clone(), stop.clone()));
        tokio::spawn(serve_host(unix, context, stop));
        Ok(Self { ports, instance })
    }

    /// The ports on the bridge's address.
    pub(crate) fn ports(&self) -> TaskEndpoints {
        self.ports
    }

    /// From now on the documents name the instance.
    pub(crate) fn registered(&self, arn: &str, availability_zone: Option<&str>) {
        let mut instance = locked(&self.instance);
        instance.container_instance_arn = Some(arn.to_owned());
        if let Some(zone) = availability_zone {
            instance.availability_zone = Some(zone.to_owned());
        }
    }
}

/// Starts the name server of tasks; its port.
async fn name_server(tasks: &Tasks, stop: CancellationToken) -> std::io::Result<u16> {
    let host = tasks.host();
    let resolver = Resolver::new(host.names.clone(), RESOLV_CONF.into());
    resolver.start(host.runtime.gateway(), stop).await
}

/// Takes connections until `stop`, and lets `serve` have each on a task of its own.
async fn accept<L, F, S>(mut listener: L, stop: CancellationToken, serve: F)
where
    L: Listener,
    F: Fn(L::Io, L::Addr) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of descriptors: others will be closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
        let (served, stop) = (serve(stream, peer), stop.clone());
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = served => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn serve_tasks(listener: TcpListener, context: Context, stop: CancellationToken) {
    accept(listener, stop, |stream, peer| {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let context = context.clone();
        serve(stream, move |asked| {
            let context = context.clone();
            async move { routes::for_task(&context, peer, &asked).await }
        })
    })
    .await;
}

async fn serve_host(listener: UnixListener, context: Context, stop: CancellationToken) {
    accept(listener, stop, |stream, _| {
        let context = context.clone();
        serve(stream, move |asked| {
            let context = context.clone();
            async move { routes::introspection(&context, &asked) }
        })
    })
    .await;
}

/// An answer: status and JSON.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: serde_json::Value,
}

impl Answer {
    fn ok(body: serde_json::Value) -> Self {
        Self { status: 200, body }
    }
}

/// A request, whole.
pub(crate) struct Asked {
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Bytes,
}

impl Asked {
    async fn read(request: Request<hyper::body::Incoming>) -> Option<Self> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect();
        let body = tokio::time::timeout(HEAD_TIMEOUT, body).await.ok()?.ok()?;
        Some(Self {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body: body.to_bytes(),
        })
    }
}

async fn serve<S, F, A>(stream: S, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Asked) -> A,
    A: Future<Output = Answer>,
{
    let service = hyper::service::service_fn(async |request| {
        let answer = match Asked::read(request).await {
            Some(asked) => answer(asked).await,
            None => routes::unreadable(),
        };
        Ok::<_, Infallible>(response(&answer))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Simple clients close their side once they have asked.
        .half_close(true)
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks off is its own affair.
    let _ = connection.await;
}

fn response(answer: &Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(answer.body.to_string()));
    if let Ok(status) = http::StatusCode::from_u16(answer.status) {
        *response.status_mut() = status;
    }
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}
