//! Connections of clients: accepted, through TLS, served until they end.

use super::client::Client;
use super::guard::Guarded;
use super::service::serve;
use crate::access_log::Sheet;
use crate::connection_log;
use crate::head::{MAX_HEAD, MAX_HEADERS};
use crate::live::{Endpoint, Listener, ListenerCell, uptime_ms};
use crate::run::Worker;
use crate::tls::TlsFacts;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::CancellationToken;

/// A TLS handshake may take so long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 streams at once on a connection.
const STREAMS: u32 = 128;
/// The idle timeout where no listener says it.
const DEFAULT_IDLE: Duration = Duration::from_secs(60);
/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// Accepts connections until `stop`; they end when the listener is `gone`.
pub(crate) async fn accept(
    listener: std::net::TcpListener,
    endpoint: Endpoint,
    worker: Arc<Worker>,
    (stop, gone): (CancellationToken, CancellationToken),
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listening socket can't be used"),
    };
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let _ = stream.set_nodelay(true);
                let serving = connection(
                    stream,
                    address,
                    endpoint.clone(),
                    Arc::clone(&worker),
                    gone.clone(),
                );
                worker.shared.connections.spawn(serving);
            }
            Err(error) => {
                // Out of descriptors, mostly: others end, and then it goes on.
                tracing::debug!(%error, "a connection can't be accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    endpoint: Endpoint,
    worker: Arc<Worker>,
    gone: CancellationToken,
) {
    let own = match &endpoint {
        Endpoint::Own(cell) => cell.load(),
        Endpoint::Shared(_) => None,
    };
    let tls = match (&endpoint, &own) {
        (Endpoint::Own(_), own) => own.as_ref().is_some_and(|listener| listener.is_tls()),
        (Endpoint::Shared(front), _) => front.load().any_tls() && begins_tls(&stream).await,
    };
    if !tls {
        let client = Client::new(worker, endpoint, None, address, None, false);
        if let Some(listener) = &own {
            client.is_at(listener);
        }
        return http1(stream, client, own.as_deref(), &gone).await;
    }
    let log = worker.access_log.clone();
    let handshake = handshake(stream, &endpoint, address, log.as_ref());
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await;
    let Ok(Some((stream, facts, cell, took))) = handshake else { return };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let listener = cell.load();
    let client = Client::new(worker, endpoint, Some(cell), address, Some(facts), http2);
    if let Some(listener) = &listener {
        client.is_at(listener);
        client.log_handshake(listener, took);
    }
    if http2 {
        serve_http2(stream, client, listener.as_deref(), &gone).await;
    } else {
        http1(stream, client, listener.as_deref(), &gone).await;
    }
}

async fn begins_tls(stream: &TcpStream) -> bool {
    let mut first = [0];
    let peeked = tokio::time::timeout(DEFAULT_IDLE, stream.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1))) && first[0] == TLS_HANDSHAKE
}

type Secured = tokio_rustls::server::TlsStream<TcpStream>;

async fn handshake(
    stream: TcpStream,
    endpoint: &Endpoint,
    client: SocketAddr,
    log: Option<&Sheet>,
) -> Option<(Secured, TlsFacts, Arc<ListenerCell>, Duration)> {
    let began = Instant::now();
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await.ok()?;
    let cell = match endpoint {
        Endpoint::Own(cell) => Arc::clone(cell),
        Endpoint::Shared(front) => {
            let name = hello.client_hello().server_name().unwrap_or_default().to_owned();
            front.load().find(&name)?
        }
    };
    let listener = cell.load()?;
    let tls = listener.tls.as_ref()?.as_ref().ok()?;
    match hello.into_stream(Arc::clone(&tls.config)).await {
        Ok(stream) => {
            let facts = TlsFacts::new(stream.get_ref().1, tls);
            Some((stream, facts, cell, began.elapsed()))
        }
        Err(error) => {
            tracing::debug!(%error, "a TLS handshake failed");
            listener.balancer.meter.tls_errors.fetch_add(1, Ordering::Relaxed);
            if let Some(log) = log {
                let entry = connection_log::Entry::new(&listener, client, fastrand::u128(..));
                log.connection(&entry.failed(&error));
            }
            None
        }
    }
}

async fn http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    client: Arc<Client>,
    listener: Option<&Listener>,
    gone: &CancellationToken,
) {
    let io = TokioIo::new(Guarded::new(stream, Arc::clone(&client.state), true));
    let watch = Watch::new(&client, listener);
    let service = {
        let client = Arc::clone(&client);
        service_fn(move |request| serve(Arc::clone(&client), request))
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // The watch below sees to slow heads.
        .header_read_timeout(None)
        .max_buf_size(2 * MAX_HEAD)
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut graceful = false;
    let mut rare = FuturesUnordered::new();
    loop {
        if rare.is_empty() {
            rare.push(watch.next(gone, graceful, false));
        }
        tokio::select! {
            biased;
            _ = &mut connection => return,
            Some(event) = rare.next() => match event {
                Event::Look(Look::Fine) => continue,
                Event::Cut | Event::Look(Look::Stuck) => return,
                Event::End | Event::Look(Look::Idle) => graceful = true,
            },
        }
        connection.as_mut().graceful_shutdown();
    }
}

async fn serve_http2(
    stream: Secured,
    client: Arc<Client>,
    listener: Option<&Listener>,
    gone: &CancellationToken,
) {
    let io = TokioIo::new(Guarded::new(stream, Arc::clone(&client.state), false));
    let watch = Watch::new(&client, listener);
    let service = {
        let client = Arc::clone(&client);
        service_fn(move |request| serve(Arc::clone(&client), request))
    };
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_send_buf_size(256 << 10)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .keep_alive_interval(watch.idle)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut graceful = false;
    let mut rare = FuturesUnordered::new();
    loop {
        if rare.is_empty() {
            rare.push(watch.next(gone, graceful, true));
        }
        tokio::select! {
            biased;
            _ = &mut connection => return,
            Some(event) = rare.next() => match event {
                Event::Look(Look::Fine) => continue,
                Event::Cut | Event::Look(Look::Stuck) => return,
                Event::Look(Look::Idle) if graceful => return,
                Event::End | Event::Look(Look::Idle) => graceful = true,
            },
        }
        connection.as_mut().graceful_shutdown();
    }
}

/// What becomes of a connection besides its requests.
enum Event {
    /// It is cut off.
    Cut,
    /// It ends with what is under way.
    End,
    /// It was looked at.
    Look(Look),
}

/// Looks at a connection's time now and then: cheaper than a timer for each thing that can take too
/// long, and late by a quarter at most.
struct Watch {
    client: Arc<Client>,
    idle: Duration,
    period: Duration,
    ends_ms: u64,
}

enum Look {
    Fine,
    /// It has been idle for too long, or has been there for too long.
    Idle,
    /// The client takes nothing.
    Stuck,
}

impl Watch {
    fn new(client: &Arc<Client>, listener: Option<&Listener>) -> Self {
        let balancer = listener.map(|listener| &listener.balancer);
        let idle = balancer.map_or(DEFAULT_IDLE, |balancer| balancer.idle);
        let keep = balancer.map_or(Duration::from_secs(3600), |balancer| balancer.keep_alive);
        Self {
            client: Arc::clone(client),
            idle,
            period: (idle / 4).max(Duration::from_millis(200)),
            ends_ms: uptime_ms() + millis(keep),
        }
    }

    /// Waits for what happens seldom. It stands in a [`FuturesUnordered`] of its own, which looks at
    /// it when it was woken and not with every request.
    async fn next(&self, gone: &CancellationToken, graceful: bool, http2: bool) -> Event {
        let shared = &self.client.worker.shared;
        tokio::select! {
            () = self.client.abuse.cancelled() => Event::Cut,
            () = shared.draining.cancelled(), if !graceful => Event::End,
            // GOAWAY leaves no request in doubt. HTTP/1 is told with the next answer.
            () = shared.leaving.cancelled(), if http2 && !graceful => Event::End,
            () = gone.cancelled(), if !graceful => Event::End,
            () = tokio::time::sleep(self.period) => Event::Look(self.look()),
        }
    }

    fn look(&self) -> Look {
        let (now, idle) = (uptime_ms(), millis(self.idle));
        let state = &self.client.state;
        let since = |value: u64| if value == 0 { 0 } else { now.saturating_sub(value) };
        if since(state.stalled_since_ms.load(Ordering::Relaxed)) >= idle {
            return Look::Stuck;
        }
        if since(state.head_since_ms.load(Ordering::Relaxed)) >= idle {
            state.expired.store(true, Ordering::Release);
            state.reader.wake();
            return Look::Fine;
        }
        let head = state.head_since_ms.load(Ordering::Relaxed) != 0;
        if now >= self.ends_ms || (!head && state.idle_ms(now) >= idle) {
            return Look::Idle;
        }
        Look::Fine
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const _: () = assert!(MAX_HEADERS <= 100, "hyper takes so many without an allocation");
