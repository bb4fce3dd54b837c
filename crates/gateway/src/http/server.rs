//! The listening socket and its connections.

use super::guard::AllowedHosts;
use super::service::Front;
use crate::app::App;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
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
    listener: TcpListener,
    local: SocketAddr,
    front: Arc<Front>,
    limits: Limits,
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
        let front = Arc::new(Front::new(app, hosts, options.limits.clone()));
        Ok(Self { listener, local, front, limits: options.limits })
    }

    /// The address that it listens on, with the port that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Accepts and serves until `shutdown` is cancelled and the running requests are answered.
    pub async fn run(self, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(self.limits.connections));
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
                    let connection = self.connection(stream, peer, shutdown.clone());
                    let open = self.front.app().metrics().connections().clone();
                    connections.spawn(async move {
                        open.inc();
                        connection.await;
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
        drop(self.listener);
        connections.close();
        if tokio::time::timeout(self.limits.drain_timeout, connections.wait()).await.is_err() {
            tracing::warn!("requests were still running when the server stopped");
        }
    }

    fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let front = Arc::clone(&self.front);
        // Answers are small and whole: they need no delay to become full packets.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            .max_headers(self.limits.headers)
            .max_header_size(self.limits.head_bytes)
            .max_buf_size(self.limits.head_bytes + 8192)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| Arc::clone(&front).serve(request, peer)),
            )
            .with_upgrades();
        async move {
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
    }
}
