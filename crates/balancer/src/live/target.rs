//! A target, and what is under way to it.

use crate::targets::Load;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use wharf_model::load_balancing::{Target, TargetKey};

/// A target. The same for as long as it is registered at its address.
pub(crate) struct TargetState {
    /// Never used again in this process.
    pub(crate) serial: u64,
    pub(crate) key: TargetKey,
    pub(crate) address: SocketAddr,
    pub(crate) zone: Option<String>,
    /// The address that connections to it come from, in bits; 0 if the host chooses.
    source: AtomicU32,
    /// What cookies call it.
    pub(crate) mark: [u8; 16],
    /// It is no longer registered, and its time to drain is over.
    pub(crate) gone: CancellationToken,
    draining: AtomicBool,
    /// Cancelled, and replaced, when it becomes unhealthy.
    ill: Mutex<CancellationToken>,
    outstanding: AtomicUsize,
    healthy_since_ms: AtomicU64,
}

impl TargetState {
    pub(crate) fn new(target: &Target, mark: [u8; 16]) -> Arc<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            key: target.key.clone(),
            address: SocketAddr::new(target.address, target.key.port),
            zone: target.zone.clone(),
            source: AtomicU32::new(0),
            mark,
            gone: CancellationToken::new(),
            draining: AtomicBool::new(target.deregistered_at.is_some()),
            ill: Mutex::default(),
            outstanding: AtomicUsize::new(0),
            healthy_since_ms: AtomicU64::new(0),
        })
    }

    /// The address that connections to it come from; none if the host chooses.
    pub(crate) fn source(&self) -> Option<Ipv4Addr> {
        let bits = self.source.load(Ordering::Relaxed);
        (bits != 0).then(|| Ipv4Addr::from_bits(bits))
    }

    /// Connections to it come from this address from now on.
    pub(crate) fn set_source(&self, source: Option<Ipv4Addr>) {
        self.source.store(source.map_or(0, Ipv4Addr::to_bits), Ordering::Relaxed);
    }

    /// It gets nothing new, or does again.
    pub(crate) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::SeqCst);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// It became healthy now, or is no longer.
    pub(crate) fn set_healthy(&self, healthy: bool) {
        let since = if healthy { super::uptime_ms() } else { 0 };
        self.healthy_since_ms.store(since, Ordering::Relaxed);
    }

    /// It became unhealthy.
    pub(crate) fn fell_ill(&self) {
        std::mem::take(&mut *self.ill.lock().unwrap_or_else(PoisonError::into_inner)).cancel();
    }

    /// Cancelled when it becomes unhealthy the next time.
    pub(crate) fn ill(&self) -> CancellationToken {
        self.ill.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests and connections under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.outstanding.load(Ordering::SeqCst)
    }
}

impl Load for Arc<TargetState> {
    fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    fn healthy_for(&self) -> Option<Duration> {
        match self.healthy_since_ms.load(Ordering::Relaxed) {
            0 => None,
            since => Some(Duration::from_millis(super::uptime_ms().saturating_sub(since))),
        }
    }
}

/// A request or connection that is under way to a target.
pub(crate) struct Lease(Arc<TargetState>);

impl Lease {
    /// None if the target takes nothing new: it is counted first and looked at then, so that a target
    /// that is seen idle after it was told to drain stays idle.
    pub(crate) fn take(target: &Arc<TargetState>) -> Option<Self> {
        target.outstanding.fetch_add(1, Ordering::SeqCst);
        let lease = Self(Arc::clone(target));
        (!target.is_draining()).then_some(lease)
    }

    pub(crate) fn target(&self) -> &Arc<TargetState> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::SeqCst);
    }
}
