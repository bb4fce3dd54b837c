//! A client's connection, as everything on it sees it.

use crate::connection_log;
use crate::forwarded::ForwardedFor;
use crate::head::Class;
use crate::live::{Endpoint, Listener, ListenerCell, uptime_ms};
use crate::metrics::Active;
use crate::run::Worker;
use crate::tls::TlsFacts;
use futures_util::task::AtomicWaker;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Requests that a client may take back within a second, before it is taken for an attacker.
const RESETS_PER_SECOND: u64 = 20;

/// What was found in the raw head of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note {
    pub(super) status: Option<u16>,
    pub(super) class: Class,
    pub(super) reason: Option<&'static str>,
}

/// A client's connection.
pub(super) struct Client {
    pub(super) worker: Arc<Worker>,
    pub(super) endpoint: Endpoint,
    /// The listener that the client's TLS picked.
    pub(super) picked: Option<Arc<ListenerCell>>,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Arc<TlsFacts>>,
    /// As targets are told of it.
    pub(super) forwarded_for: ForwardedFor,
    pub(super) http2: bool,
    /// What the logs call it.
    pub(super) trace: u128,
    /// Counted at the load balancer that it is for, once that is known.
    counted: OnceLock<Active>,
    /// It is to be closed, whatever is under way.
    pub(super) abuse: CancellationToken,
    pub(super) state: Arc<State>,
    resets: Mutex<(u64, u64)>,
}

/// What those who read and write the connection and those who watch it tell each other.
#[derive(Default)]
pub(super) struct State {
    notes: Mutex<VecDeque<Note>>,
    in_flight: AtomicUsize,
    last_active_ms: AtomicU64,
    /// Requests that are over.
    answered: AtomicU64,
    /// Since when the head of a request is coming in; 0 if none is.
    pub(super) head_since_ms: AtomicU64,
    /// Since when the client takes nothing; 0 if it does.
    pub(super) stalled_since_ms: AtomicU64,
    /// The head took too long.
    pub(super) expired: AtomicBool,
    /// It speaks another protocol from here on.
    pub(super) tunnel: AtomicBool,
    /// Whoever reads is to look again.
    pub(super) reader: AtomicWaker,
}

impl State {
    pub(super) fn note(&self, note: Note) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push_back(note);
    }

    pub(super) fn next_note(&self) -> Option<Note> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.last_active_ms.store(uptime_ms(), Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.answered.fetch_add(1, Ordering::Release);
        self.reader.wake();
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    pub(super) fn touch(&self) {
        self.last_active_ms.store(uptime_ms(), Ordering::Relaxed);
    }

    /// For how long nothing was under way, in milliseconds.
    pub(super) fn idle_ms(&self, now: u64) -> u64 {
        if self.in_flight.load(Ordering::Relaxed) > 0 || self.tunnel.load(Ordering::Relaxed) {
            return 0;
        }
        now.saturating_sub(self.last_active_ms.load(Ordering::Relaxed))
    }
}

impl Client {
    pub(super) fn new(
        worker: Arc<Worker>,
        endpoint: Endpoint,
        picked: Option<Arc<ListenerCell>>,
        address: SocketAddr,
        tls: Option<TlsFacts>,
        http2: bool,
    ) -> Arc<Self> {
        let state = Arc::new(State::default());
        state.touch();
        Arc::new(Self {
            worker,
            endpoint,
            picked,
            address,
            tls: tls.map(Arc::new),
            forwarded_for: ForwardedFor::new(address),
            http2,
            trace: fastrand::u128(..),
            counted: OnceLock::new(),
            abuse: CancellationToken::new(),
            state,
            resets: Mutex::new((0, 0)),
        })
    }

    /// It is for a listener: counted and logged, the first time.
    pub(super) fn is_at(&self, listener: &Listener) {
        if self.counted.get().is_some() {
            return;
        }
        let mut first = false;
        self.counted.get_or_init(|| {
            first = true;
            Active::connection(&listener.balancer.meter)
        });
        if let (true, None, Some(log)) = (first, &self.tls, &self.worker.access_log) {
            let entry = connection_log::Entry::new(listener, self.address, self.trace);
            log.connection(&entry);
        }
    }

    /// Logs that its TLS stands.
    pub(super) fn log_handshake(&self, listener: &Listener, took: Duration) {
        if let (Some(tls), Some(log)) = (&self.tls, &self.worker.access_log) {
            let entry = connection_log::Entry::new(listener, self.address, self.trace);
            log.connection(&entry.secured(tls, took));
        }
    }

    /// A request was taken back before it was answered.
    pub(super) fn took_back(&self) {
        if !self.http2 {
            return;
        }
        let second = uptime_ms() / 1000;
        let mut resets = self.resets.lock().unwrap_or_else(PoisonError::into_inner);
        if resets.0 != second {
            *resets = (second, 0);
        }
        resets.1 += 1;
        if resets.1 > RESETS_PER_SECOND {
            self.abuse.cancel();
        }
    }
}
