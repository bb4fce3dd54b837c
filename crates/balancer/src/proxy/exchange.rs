//! A request and what became of it: counted and logged once it is over, however it ends.

use super::client::{Client, Note};
use crate::access_log::{Entry, Line};
use crate::live::Listener;
use http::{HeaderMap, Request, header};
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
        if self.client.worker.shared.access_log.is_some() {
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

    /// A target is asked.
    pub(super) fn ask(&mut self, address: SocketAddr, group: &str) {
        let elapsed = self.started.elapsed().as_secs_f64();
        self.log(|entry| {
            entry.target = Some(address);
            entry.group = Some(group.to_owned());
            entry.request_seconds = Some(elapsed);
        });
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
        if let (Some(mut entry), Some(log)) =
            (self.entry.take(), &self.client.worker.shared.access_log)
        {
            entry.status = self.status;
            entry.sent_bytes = self.sent_bytes;
            entry.received_bytes = self.received_bytes;
            entry.ended = jiff::Timestamp::now();
            log.record(Line::Request(entry));
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
    let text = |headers: &HeaderMap, name| {
        headers
            .get(name)
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            .unwrap_or_default()
    };
    let scheme = if client.tls.is_some() { "https" } else { "http" };
    let (name, port) = (crate::proxy::service::without_port(host), listener.port);
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let kind = match (client.http2, client.tls.is_some(), request.headers().get(header::UPGRADE)) {
        (true, ..) => "h2",
        (_, true, Some(_)) => "wss",
        (_, false, Some(_)) => "ws",
        (_, true, None) => "https",
        (_, false, None) => "http",
    };
    Entry {
        kind,
        balancer: listener.balancer.path.clone(),
        client: Some(client.address),
        request: format!(
            "{} {scheme}://{name}:{port}{path} {:?}",
            request.method(),
            request.version()
        ),
        user_agent: text(request.headers(), header::USER_AGENT),
        cipher: client.tls.as_ref().map(|tls| tls.cipher.clone()).unwrap_or_default(),
        certificate: client.tls.as_ref().and_then(|tls| tls.certificate.clone()),
        connection: client.trace,
        tls_version: client.tls.as_ref().map_or("-", |tls| tls.version),
        server_name: client.tls.as_ref().and_then(|tls| tls.server_name.clone()),
        started: jiff::Timestamp::now(),
        action: "-",
        classification: note.and_then(|note| Some((note.class.as_str(), note.reason?))),
        ..Entry::default()
    }
}
