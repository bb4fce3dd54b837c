//! The listening socket and its connections.

use super::guard::AllowedHosts;
use super::sendfile::{Loans, Socket};
use super::service::{Front, Serves};
use crate::app::App;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Limits on what one client can take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request's line and headers together.
    pub head_bytes: usize,
    /// Number of headers.
    pub headers: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Time from the first byte of a request, or from the last answer, to the end of the headers.
    pub head_timeout: Duration,
    /// Time for the body.
    pub body_timeout: Duration,
    /// How long the registry's clients may be silent in the middle of a blob.
    pub blob_idle: Duration,
    /// Connections open at once; more wait in the listen queue.
    pub connections: usize,
    /// Time for running requests to end after the shutdown has begun.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            headers: 100,
            body_bytes: 1024 * 1024,
            head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            blob_idle: Duration::from_secs(60),
            connections: 8192,
            drain_timeout: Duration::from_secs(20),
        }
    }
}

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Names besides the listening address that requests may have in `Host`: `name` for every
    /// port, `name:port` for one.
    pub allowed_hosts: Vec<String>,
    /// Limits.
    pub limits: Limits,
}

impl Options {
    /// The default limits on `listen`.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, allowed_hosts: Vec::new(), limits: Limits::default() }
    }
}

/// A further address, where the registry alone is served under names of its own.
pub struct RegistryDoor {
    /// The bound socket.
    pub listener: TcpListener,
    /// The names in `Host`, for every port.
    pub names: Vec<String>,
    /// How TLS is spoken; plain HTTP without it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// Why a server didn't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address could not be listened on.
    #[error("could not listen on {listen}")]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// A bound server.
pub struct Server {
    doors: Vec<Door>,
    local: SocketAddr,
    app: Arc<App>,
    limits: Limits,
}

/// A socket with what is served behind it.
struct Door {
    listener: TcpListener,
    front: Arc<Front>,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Binds the address. Nothing is accepted before [`Server::run`].
    ///
    /// # Errors
    /// [`Error::Bind`].
    pub async fn bind(options: Options, app: Arc<App>) -> Result<Self, Error> {
        let failed = |source| Error::Bind { listen: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        app.set_endpoint(format!("http://{local}"));
        let hosts = AllowedHosts::new(local, &options.allowed_hosts);
        let front = Front::new(Arc::clone(&app), hosts, options.limits.clone(), Serves::Everything);
        let doors = vec![Door { listener, front: Arc::new(front), tls: None }];
        Ok(Self { doors, local, app, limits: options.limits })
    }

    /// Serves the registry at a further address, too.
    ///
    /// # Errors
    /// If the socket has no address.
    pub fn open_registry_door(&mut self, door: RegistryDoor) -> std::io::Result<()> {
        let RegistryDoor { listener, names, tls } = door;
        let local = listener.local_addr()?;
        let names: Vec<String> = names.into_iter().chain([local.ip().to_string()]).collect();
        let hosts = AllowedHosts::new(local, &names);
        let serves = Serves::Registry { tls: tls.is_some() };
        let front = Front::new(Arc::clone(&self.app), hosts, self.limits.clone(), serves);
        let tls = tls.map(TlsAcceptor::from);
        self.doors.push(Door { listener, front: Arc::new(front), tls });
        Ok(())
    }

    /// The address that it listens on, with the port that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Accepts and serves until `shutdown` is cancelled and the running requests are answered.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { doors, app, limits, .. } = self;
        let limits = Arc::new(limits);
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(limits.connections));
        let accepting: JoinSet<()> = doors
            .into_iter()
            .map(|door| {
                let (limits, connections) = (Arc::clone(&limits), connections.clone());
                door.accept(limits, connections, Arc::clone(&places), shutdown.clone())
            })
            .collect();
        accepting.join_all().await;
        app.stopping().cancel();
        connections.close();
        if tokio::time::timeout(limits.drain_timeout, connections.wait()).await.is_err() {
            tracing::warn!("requests were still running when the server stopped");
        }
    }
}

impl Door {
    /// Accepts connections until `shutdown`, as long as there are places.
    async fn accept(
        self,
        limits: Arc<Limits>,
        connections: TaskTracker,
        places: Arc<Semaphore>,
        shutdown: CancellationToken,
    ) {
        loop {
            let place = tokio::select! {
                () = shutdown.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            // The semaphore is never closed.
            let Ok(place) = place else { break };
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (front, tls) = (Arc::clone(&self.front), self.tls.clone());
                    let (limits, shutdown) = (Arc::clone(&limits), shutdown.clone());
                    let open = front.app().metrics().connections().clone();
                    connections.spawn(async move {
                        open.inc();
                        connection(stream, peer, tls, front, limits, shutdown).await;
                        open.dec();
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors, or a connection that was gone before it was taken.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    front: Arc<Front>,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) {
    // Answers are small and whole: they need no delay to become full packets.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        let loans = Loans::default();
        let stream = Socket::new(stream, loans.clone(), limits.blob_idle);
        return serve(stream, peer, front, &limits, Some(loans), shutdown).await;
    };
    match tokio::time::timeout(limits.head_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, peer, front, &limits, None, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS connection came about"),
        Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
    }
}

async fn serve<S>(
    stream: S,
    peer: SocketAddr,
    front: Arc<Front>,
    limits: &Limits,
    loans: Option<Loans>,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(limits.headers)
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes + 8192)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |mut request| {
                if let Some(loans) = &loans {
                    request.extensions_mut().insert(loans.clone());
                }
                Arc::clone(&front).serve(request, peer)
            }),
        )
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            // Closes it when idle, or after the answer that is on its way.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
