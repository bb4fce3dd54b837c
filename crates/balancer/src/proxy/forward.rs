//! A request on its way to a target and the answer on its way back.

use super::answer::{Answer, FromTarget};
use super::exchange::Exchange;
use super::service::own;
use super::transfer::{RequestBody, Transfer};
use super::tunnel::{Passed, relay};
use crate::forwarded;
use crate::live::{Group, GroupCell, Lease, Listener, TargetState, unix_seconds, uptime_ms};
use crate::pages;
use crate::rules::{Choice, Rewrites};
use crate::tls;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TE, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wharf_model::load_balancing::{Protocol, ProtocolVersion};

mod attempt;
mod prepare;
mod stay;

use attempt::{Failure, Sent};

/// Targets that are tried for a request, at most.
const ATTEMPTS: usize = 4;

/// Forwards a request.
pub(super) async fn forward(
    mut exchange: Exchange,
    listener: &Arc<Listener>,
    choice: &Choice<Arc<GroupCell>>,
    rewrites: &Rewrites,
    request: Request<Incoming>,
    host: String,
) -> Response<Answer> {
    let stay = stay::choose(&exchange, choice, request.headers());
    let Some((cell, group)) = stay.group.as_ref().and_then(|cell| Some((cell, cell.load()?)))
    else {
        return own(exchange, pages::error(503), true);
    };
    if mismatch(&group, &request) {
        return own(exchange, pages::error(464), true);
    }
    let (parts, body) = request.into_parts();
    let prepared = match prepare::prepare(&mut exchange, listener, &group, rewrites, parts, host) {
        Ok(prepared) => prepared,
        Err(status) => return own(exchange, pages::error(status), true),
    };
    let (body, transfer) = RequestBody::new(body);
    let idle = listener.balancer.idle;
    let body = Some(body);
    let mut order = Order { prepared, body, transfer, idle, fresh: false, lost: false };
    match send(&mut exchange, &stay, cell, &group, &mut order).await {
        Ok((lease, sent, took)) => answer(exchange, &stay, &group, order, lease, sent, took).await,
        Err(status) => {
            let mut response = own(exchange, pages::error(status), true);
            // What the client still sends belongs to a request that is over.
            if order.transfer.is_some_and(|transfer| !transfer.has_ended()) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// What is sent, and with what patience.
struct Order {
    prepared: prepare::Prepared,
    body: Option<RequestBody>,
    transfer: Option<Arc<Transfer>>,
    idle: Duration,
    /// Connections that waited aren't to be trusted: they may all have been closed.
    fresh: bool,
    /// A target ended while it was about to answer.
    lost: bool,
}

fn mismatch(group: &Group, request: &Request<Incoming>) -> bool {
    let http2 = request.version() == Version::HTTP_2;
    let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let grpc = kind.is_some_and(|kind| kind.starts_with(b"application/grpc"));
    match group.settings.version {
        ProtocolVersion::Http1 => grpc && http2,
        ProtocolVersion::Http2 => !http2,
        ProtocolVersion::Grpc => !http2 || request.method() != Method::POST,
    }
}

/// Sends a request to one target after the other, as long as none of them can have seen it.
async fn send(
    exchange: &mut Exchange,
    stay: &stay::Stay,
    cell: &GroupCell,
    group: &Group,
    order: &mut Order,
) -> Result<(Lease, Sent, Duration), u16> {
    let mut tried: Vec<u64> = Vec::new();
    let mut status = 503;
    for attempt in 0..ATTEMPTS {
        let marked = stay.target.as_ref().filter(|_| attempt == 0);
        let lease = marked.and_then(|mark| group.marked(mark));
        let Some(lease) = lease.or_else(|| group.pick(cell, &tried)) else { return Err(status) };
        let target = Arc::clone(lease.target());
        let began = exchange.ask(target.address, &group.settings.path);
        let failure = match attempt::attempt(exchange, &target, group, order).await {
            Ok(sent) => return Ok((lease, sent, began.elapsed())),
            Err(failure) => failure,
        };
        match failure {
            Failure::Final(final_status) => return Err(final_status),
            // A connection that had waited was closed: the next one is made anew.
            Failure::Stale => order.fresh = true,
            Failure::Lost => {
                group.meter.connection_errors.fetch_add(1, Ordering::Relaxed);
                status = 502;
                tried.push(target.serial);
            }
            Failure::Unreachable(why) => {
                group.meter.connection_errors.fetch_add(1, Ordering::Relaxed);
                status = why;
                tried.push(target.serial);
            }
        }
        if order.body.is_none() {
            return Err(502);
        }
    }
    Err(if status == 503 { 502 } else { status })
}

/// The answer of a target, as the client gets it.
async fn answer(
    mut exchange: Exchange,
    stay: &stay::Stay,
    group: &Group,
    order: Order,
    lease: Lease,
    sent: Sent,
    took: Duration,
) -> Response<Answer> {
    let (mut response, sender) = match sent {
        Sent::Http1(response, sender) => (response, Some(sender)),
        Sent::Http2(response) => (response, None),
    };
    let status = response.status();
    group.meter.count(status.as_u16(), took);
    exchange.log(|entry| {
        entry.target_status = Some(status.as_u16());
        entry.target_time = Some(took);
        entry.response_time = Some(Duration::ZERO);
    });
    let cookies = stay.cookies(&exchange, group, lease.target(), response.headers());
    let headers = response.headers_mut();
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
    exchange.status = status.as_u16();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return switch(exchange, order, lease, response);
    }
    forwarded::strip_hop_by_hop(response.headers_mut());
    let (mut parts, incoming) = response.into_parts();
    parts.version = Version::HTTP_11;
    let body = FromTarget {
        incoming,
        exchange,
        lease: Some(lease),
        sender,
        transfer: order.transfer,
        idle: order.idle,
        waiting_ms: 0,
        tick: None,
    };
    Response::from_parts(parts, Answer::Target(Box::new(body)))
}

/// Both sides go on in another protocol.
fn switch(
    exchange: Exchange,
    order: Order,
    lease: Lease,
    mut response: Response<Incoming>,
) -> Response<Answer> {
    let Some(upgrade) = order.prepared.upgrade else {
        return own(exchange, pages::error(502), true);
    };
    let (kind, connection) =
        (response.headers().get(UPGRADE).cloned(), response.headers().get(CONNECTION).cloned());
    let target = hyper::upgrade::on(&mut response);
    forwarded::strip_hop_by_hop(response.headers_mut());
    let headers = response.headers_mut();
    if let Some(kind) = kind {
        headers.insert(UPGRADE, kind);
    }
    headers.insert(CONNECTION, connection.unwrap_or(HeaderValue::from_static("upgrade")));
    exchange.client.state.tunnel.store(true, Ordering::Release);
    exchange.client.state.reader.wake();
    let (parts, _) = response.into_parts();
    let worker = Arc::clone(&exchange.client.worker);
    let tracker = worker.shared.connections.clone();
    tracker.spawn(tunnel(exchange, upgrade, target, lease, order.idle));
    Response::from_parts(parts, Answer::None)
}

async fn tunnel(
    mut exchange: Exchange,
    client: OnUpgrade,
    target: OnUpgrade,
    lease: Lease,
    idle: Duration,
) {
    let Ok((client, upstream)) = futures_util::future::try_join(client, target).await else {
        return;
    };
    let gone = lease.target().gone.clone();
    let ending = exchange.client.worker.shared.ending.clone();
    let passed = Passed::default();
    let relayed = relay(TokioIo::new(client), TokioIo::new(upstream), idle, &passed);
    tokio::select! {
        _ = relayed => {}
        () = gone.cancelled() => {}
        () = ending.cancelled() => {}
    }
    (exchange.received_bytes, exchange.sent_bytes) = (passed.up(), passed.down());
}
