//! TCP and TLS flows.

use super::proxy_protocol;
use crate::live::{Group, Lease, Listener, ListenerCell};
use crate::metrics::{Active, BalancerMeter};
use crate::proxy::{Broken, Dialed, Passed, dial, relay};
use crate::run::Worker;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use wharf_model::load_balancing::Protocol;

/// A TLS handshake may take so long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Targets that are tried for a flow, at most.
const ATTEMPTS: usize = 3;

/// Accepts flows until `stop`.
pub(crate) async fn accept(
    listener: std::net::TcpListener,
    cell: Arc<ListenerCell>,
    worker: Arc<Worker>,
    stop: CancellationToken,
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
            Ok((stream, client)) => {
                let flow = flow(stream, client, Arc::clone(&cell));
                let ending = worker.shared.ending.clone();
                worker.shared.connections.spawn(async move {
                    tokio::select! {
                        () = flow => {}
                        () = ending.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection can't be accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn flow(stream: TcpStream, client: SocketAddr, cell: Arc<ListenerCell>) {
    let _ = stream.set_nodelay(true);
    let Some(listener) = cell.load() else { return };
    let Ok(to) = stream.local_addr() else { return };
    let _active = Active::flow(&listener.balancer.meter);
    match &listener.tls {
        None => through(stream, client, to, &listener).await,
        Some(Ok(tls)) => {
            let handshake = TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream);
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => through(stream, client, to, &listener).await,
                _ => drop(listener.balancer.meter.tls_errors.fetch_add(1, Ordering::Relaxed)),
            }
        }
        Some(Err(_)) => {}
    }
}

async fn through(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: SocketAddr,
    to: SocketAddr,
    listener: &Listener,
) {
    let choice = listener.rules.default_choice();
    let cell = choice.and_then(|choice| choice.pick(fastrand::u64(..)));
    let Some(group) = cell.and_then(|cell| cell.load()) else { return };
    let Some((lease, mut target)) = connect(&group, client).await else {
        listener.balancer.meter.rejected_flows.fetch_add(1, Ordering::Relaxed);
        return;
    };
    if group.settings.proxy_protocol {
        let header = proxy_protocol::header(client, to);
        if target.write_all(&header).await.is_err() {
            return;
        }
    }
    let gone = lease.target().gone.clone();
    let ill = lease.target().ill();
    let (cut, cut_ill) = (group.settings.cut_when_gone, group.settings.cut_when_ill);
    let passed = Passed::default();
    // Bytes count and the flow is over however it ends, also if it is cut off from outside.
    let _counted = Counted { meter: &listener.balancer.meter, passed: &passed };
    let ended = tokio::select! {
        relayed = relay(stream, target, listener.flow_idle, &passed) => relayed,
        () = gone.cancelled(), if cut => Err(Broken::Silence),
        () = ill.cancelled(), if cut_ill => Err(Broken::Silence),
    };
    let meter = &listener.balancer.meter;
    let resets = match ended {
        Ok(()) => return,
        Err(Broken::Client) => &meter.client_resets,
        Err(Broken::Target) => &meter.target_resets,
        Err(Broken::Silence) => &meter.own_resets,
    };
    resets.fetch_add(1, Ordering::Relaxed);
}

struct Counted<'a> {
    meter: &'a BalancerMeter,
    passed: &'a Passed,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let bytes = self.passed.up() + self.passed.down();
        self.meter.processed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

async fn connect(group: &Group, client: SocketAddr) -> Option<(Lease, Dialed)> {
    let tls = group.settings.protocol == Protocol::Tls;
    // A target that can't be reached is as good as none; another port of the hash finds another.
    for attempt in 0..ATTEMPTS {
        let salt = u16::try_from(attempt).unwrap_or(0).wrapping_mul(7919);
        let lease =
            group.pick_flow(client.ip().to_canonical(), client.port().wrapping_add(salt))?;
        match dial(lease.target().address, lease.target().source(), tls, false).await {
            Ok(dialed) => return Some((lease, dialed)),
            Err(error) => {
                let target = lease.target().address;
                tracing::debug!(%target, %error, "a target can't be reached");
                group.meter.connection_errors.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    None
}
