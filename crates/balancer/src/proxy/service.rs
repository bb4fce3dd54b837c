//! What becomes of a request: whose it is, whether it is answered at once, where it goes.

use super::answer::Answer;
use super::client::{Client, Note};
use super::exchange::Exchange;
use super::forward::forward;
use crate::forwarded::{MAX_FORWARDED, forwarded_count};
use crate::live::{Endpoint, Listener};
use crate::pages;
use crate::rules::{self, Decision};
use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Answers a request.
pub(super) async fn serve(
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let note = if client.http2 { None } else { client.state.next_note() };
    let mut exchange = Exchange::begin(&client);
    let host = host_of(&request).unwrap_or_default();
    let listener = match find(&client, without_port(&host)) {
        Ok(listener) => listener,
        Err(page) => {
            // What was no request at all has no host name to go by.
            let page = note.and_then(|note| note.status).map_or(*page, pages::error);
            return Ok(own(exchange, page, true));
        }
    };
    exchange.at(Arc::clone(&listener), &request, &host, note);
    let (refused, close) = refusal(&listener, &request, note);
    let http1 = request.version() < Version::HTTP_2;
    let mut response = match refused {
        Some(status) => own(exchange, pages::error(status), true),
        None => decide(exchange, &listener, request, host).await,
    };
    listener.finish_response(response.headers_mut());
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if http1 && !switched && (close || client.worker.shared.leaving.is_cancelled()) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// An answer of the load balancer itself.
pub(super) fn own(mut exchange: Exchange, page: Response<Bytes>, counts: bool) -> Response<Answer> {
    exchange.status = page.status().as_u16();
    exchange.sent_bytes = page.body().len() as u64;
    if counts && let Some(listener) = &exchange.listener {
        listener.balancer.meter.count_own(exchange.status);
    }
    page.map(|bytes| Answer::Own(Some(bytes), exchange))
}

/// The host of a request, by its authority or its Host header.
fn host_of(request: &Request<Incoming>) -> Option<String> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str().to_owned());
    }
    request.headers().get(HOST)?.to_str().ok().map(str::to_owned)
}

/// A host name without its port.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn find(client: &Client, host: &str) -> Result<Arc<Listener>, Box<Response<Bytes>>> {
    let cell = match (&client.picked, &client.endpoint) {
        (Some(cell), _) | (None, Endpoint::Own(cell)) => Some(Arc::clone(cell)),
        (None, Endpoint::Shared(front)) => {
            let front = front.load();
            match front.find(host) {
                Some(cell) => Some(cell),
                None => return Err(Box::new(pages::unknown_host(host, &front.names()))),
            }
        }
    };
    cell.and_then(|cell| cell.load()).ok_or_else(|| Box::new(pages::error(503)))
}

/// The status by which a request is refused, if it is, and whether its connection ends with it.
fn refusal(
    listener: &Listener,
    request: &Request<Incoming>,
    note: Option<Note>,
) -> (Option<u16>, bool) {
    if let Some(note) = note {
        if note.status.is_some() {
            return (note.status, true);
        }
        let (blocked, close) = listener.balancer.mitigation.judge(note.class);
        if blocked || close {
            return (blocked.then_some(400), close);
        }
    }
    if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
        return (Some(405), true);
    }
    if forwarded_count(request.headers()) > MAX_FORWARDED {
        return (Some(463), false);
    }
    (None, false)
}

async fn decide(
    mut exchange: Exchange,
    listener: &Arc<Listener>,
    request: Request<Incoming>,
    host: String,
) -> Response<Answer> {
    let view = rules::Request {
        host: without_port(&host),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        method: request.method().as_str(),
        headers: request.headers(),
        source: exchange.client.address.ip().to_canonical(),
        port: listener.port,
        tls: exchange.client.tls.is_some(),
    };
    let rule = listener.rules.find(&view);
    exchange.log(|entry| entry.priority = rule.priority);
    let meter = &listener.balancer.meter;
    match &rule.decision {
        Some(Decision::Redirect(redirect)) => {
            let location = rules::location(redirect, &view);
            meter.redirects.fetch_add(1, Ordering::Relaxed);
            exchange.log(|entry| entry.action = "redirect");
            let page = if rules::leads_nowhere(&location) {
                pages::error(507)
            } else {
                pages::redirect(redirect.status, &location)
            };
            own(exchange, page, true)
        }
        Some(Decision::Fixed(fixed)) => {
            meter.fixed.fetch_add(1, Ordering::Relaxed);
            exchange.log(|entry| entry.action = "fixed-response");
            own(exchange, pages::fixed(fixed), false)
        }
        Some(Decision::Forward(choice)) => {
            exchange.log(|entry| entry.action = "forward");
            forward(exchange, listener, choice, &rule.rewrites, request, host).await
        }
        None => own(exchange, pages::error(500), true),
    }
}
