//! A request and what became of it: counted and logged once it is over, however it ends.

use super::client::{Client, Note};
use crate::access_log::{Asked, Entry};
use crate::live::{Listener, since_epoch};
use http::{Request, header};
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The status of a request whose client went away before it was answered.
const CLIENT_LEFT: u16 = 460;

/// A request that is under way.
pub(super) struct Exchange {
    pub(super) client: Arc<Client>,
    pub(super) listener: Option<Arc<Listener>>,
    pub(super) started: Instant,
    /// What was answered; 0 before that.
    pub(super) status: u16,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
    entry: Option<Box<Entry>>,
}

impl Exchange {
    pub(super) fn begin(client: &Arc<Client>) -> Self {
        client.state.begin();
        Self {
            client: Arc::clone(client),
            listener: None,
            started: Instant::now(),
            status: 0,
            sent_bytes: 0,
            received_bytes: 0,
            entry: None,
        }
    }

    /// It is for a listener.
    pub(super) fn at(
        &mut self,
        listener: Arc<Listener>,
        request: &Request<Incoming>,
        host: &str,
        note: Option<Note>,
    ) {
        self.client.is_at(&listener);
        let meter = &listener.balancer.meter;
        meter.requests.fetch_add(1, Ordering::Relaxed);
        if note.is_some_and(|note| note.reason.is_some()) {
            meter.desync.fetch_add(1, Ordering::Relaxed);
        }
        if self.client.worker.access_log.is_some() {
            self.entry = Some(Box::new(entry(&self.client, &listener, request, host, note)));
        }
        self.listener = Some(listener);
    }

    /// Changes its line in the access log, if there is one.
    pub(super) fn log(&mut self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = &mut self.entry {
            change(entry);
        }
    }

    /// A target is asked, now.
    pub(super) fn ask(&mut self, address: SocketAddr, group: &Arc<str>) -> Instant {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.started);
        self.log(|entry| {
            entry.target = Some(address);
            entry.group = Some(Arc::clone(group));
            entry.request_time = Some(elapsed);
        });
        now
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.status == 0 {
            self.status = CLIENT_LEFT;
            self.client.took_back();
            if let Some(listener) = &self.listener {
                listener.balancer.meter.count_own(CLIENT_LEFT);
            }
        }
        if let Some(listener) = &self.listener {
            let bytes = self.sent_bytes + self.received_bytes;
            listener.balancer.meter.processed_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        if let (Some(mut entry), Some(log)) = (self.entry.take(), &self.client.worker.access_log) {
            entry.status = self.status;
            entry.sent_bytes = self.sent_bytes;
            entry.received_bytes = self.received_bytes;
            entry.ended = entry.started + self.started.elapsed();
            log.record(&entry);
        }
        self.client.state.end();
    }
}

fn entry(
    client: &Client,
    listener: &Listener,
    request: &Request<Incoming>,
    host: &str,
    note: Option<Note>,
) -> Entry {
    let scheme = if client.tls.is_some() { "https" } else { "http" };
    let kind = match (client.http2, client.tls.is_some(), request.headers().get(header::UPGRADE)) {
        (true, ..) => "h2",
        (_, true, Some(_)) => "wss",
        (_, false, Some(_)) => "ws",
        (_, true, None) => "https",
        (_, false, None) => "http",
    };
    Entry {
        kind,
        balancer: Arc::clone(&listener.balancer.path),
        client: Some(client.address),
        asked: Asked {
            method: request.method().clone(),
            scheme,
            host: crate::proxy::service::without_port(host).to_owned(),
            port: listener.port,
            path: request.uri().path_and_query().cloned(),
            version: request.version(),
        },
        user_agent: request.headers().get(header::USER_AGENT).cloned(),
        tls: client.tls.clone(),
        connection: client.trace,
        started: since_epoch(),
        action: "-",
        classification: note.and_then(|note| Some((note.class.as_str(), note.reason?))),
        ..Entry::default()
    }
}
