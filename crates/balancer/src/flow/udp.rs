//! UDP flows: a socket to a target for each client, for as long as something is said.

use crate::live::{Lease, ListenerCell, uptime_ms};
use crate::metrics::{Active, BalancerMeter};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

/// A flow ends after so much silence.
const IDLE_MS: u64 = 120_000;
/// Flows of a socket, at most; the next client waits for one to end.
const FLOWS: usize = 4096;
/// The largest datagram.
const DATAGRAM: usize = 65_535;
/// Between two looks at flows that have ended.
const SWEEP: Duration = Duration::from_secs(1);

struct Flow {
    socket: Arc<UdpSocket>,
    lease: Arc<Lease>,
    last_ms: Arc<AtomicU64>,
    stop: CancellationToken,
    meter: Arc<BalancerMeter>,
    _active: Active,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Passes datagrams on until `stop`.
pub(crate) async fn datagrams(
    socket: std::net::UdpSocket,
    cell: Arc<ListenerCell>,
    stop: CancellationToken,
) {
    let socket = match UdpSocket::from_std(socket) {
        Ok(socket) => Arc::new(socket),
        Err(error) => return tracing::error!(%error, "a socket can't be used"),
    };
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM];
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = sweep.tick() => {
                let oldest = uptime_ms().saturating_sub(IDLE_MS);
                flows.retain(|_, flow| {
                    flow.last_ms.load(Ordering::Relaxed) >= oldest
                        && !flow.stop.is_cancelled()
                        // A flow has no end of its own: to drain is to move on.
                        && !flow.lease.target().is_draining()
                });
            }
            received = socket.recv_from(&mut buffer) => {
                let Ok((length, client)) = received else { continue };
                let known = flows.get(&client).filter(|flow| !flow.lease.target().is_draining());
                if known.is_none() {
                    flows.remove(&client);
                    if flows.len() >= FLOWS {
                        continue;
                    }
                    let Some(flow) = open(&cell, client, &socket).await else { continue };
                    flows.insert(client, flow);
                }
                if let Some(flow) = flows.get(&client) {
                    flow.last_ms.store(uptime_ms(), Ordering::Relaxed);
                    count(&flow.meter, length);
                    // What can't be sent is lost, as datagrams are.
                    let _ = flow.socket.try_send(&buffer[..length]);
                }
            }
        }
    }
}

fn count(meter: &BalancerMeter, bytes: usize) {
    meter.processed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
}

async fn open(cell: &ListenerCell, client: SocketAddr, answers: &Arc<UdpSocket>) -> Option<Flow> {
    let listener = cell.load()?;
    let group = listener.rules.default_choice()?.pick(fastrand::u64(..))?.load()?;
    let lease = Arc::new(group.pick_flow(client.ip().to_canonical(), client.port())?);
    let target = lease.target().address;
    let source: SocketAddr = match lease.target().source() {
        Some(source) => (source, 0).into(),
        None if target.is_ipv4() => (Ipv4Addr::UNSPECIFIED, 0).into(),
        None => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = Arc::new(UdpSocket::bind(source).await.ok()?);
    socket.connect(target).await.ok()?;
    socket.writable().await.ok()?;
    let flow = Flow {
        socket: Arc::clone(&socket),
        lease: Arc::clone(&lease),
        last_ms: Arc::new(AtomicU64::new(uptime_ms())),
        stop: CancellationToken::new(),
        meter: Arc::clone(&listener.balancer.meter),
        _active: Active::flow(&listener.balancer.meter),
    };
    let meter = Arc::clone(&flow.meter);
    let (stop, last_ms, answers) =
        (flow.stop.clone(), Arc::clone(&flow.last_ms), Arc::clone(answers));
    tokio::spawn(async move {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => return,
                received = socket.recv(&mut buffer) => received,
            };
            match received {
                Ok(length) => {
                    last_ms.store(uptime_ms(), Ordering::Relaxed);
                    count(&meter, length);
                    let _ = answers.send_to(&buffer[..length], client).await;
                }
                // Nobody is there: the next datagram looks for another target.
                Err(_) => return stop.cancel(),
            }
        }
    });
    Some(flow)
}
