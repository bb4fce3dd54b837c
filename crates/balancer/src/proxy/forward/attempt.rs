//! One try to send a request to one target.

use super::*;
use crate::proxy::dial::dial;
use crate::proxy::pool::{Http1, Http2};
use hyper::client::conn::TrySendError;
use std::future::Future;
use std::io;
use tokio::sync::Notify;

/// A request that was answered.
pub(super) enum Sent {
    Http1(Response<Incoming>, Http1),
    Http2(Response<Incoming>),
}

/// A request that wasn't.
pub(super) enum Failure {
    /// There is no other try.
    Final(u16),
    /// The connection had waited, and was closed by the target meanwhile.
    Stale,
    /// The target ended without an answer to what may be asked twice.
    Lost,
    /// There is no connection to this target; the status if no other one can be reached.
    Unreachable(u16),
}

/// The longest head of an answer.
const MAX_ANSWER_HEAD: usize = 64 << 10;

/// Sends the request, and waits for the head of the answer.
pub(super) async fn attempt(
    exchange: &Exchange,
    target: &Arc<TargetState>,
    group: &Group,
    order: &mut Order,
) -> Result<Sent, Failure> {
    if order.prepared.http2 {
        return http2(exchange, target, group, order).await;
    }
    let pool = &exchange.client.worker.pool;
    let waiting = if order.fresh { None } else { pool.take(target) };
    let (mut sender, reused) = match ready(waiting).await {
        Some(sender) => (sender, true),
        // Boxed: it is large and rare, and the state of every request has room for it otherwise.
        None => (Box::pin(connect(target, group)).await?, false),
    };
    let Some(body) = order.body.take() else { return Err(Failure::Final(502)) };
    let request = order.prepared.request(body);
    let answer = sender.try_send_request(request);
    match wait(answer, order, target, &exchange.client.worker.tick).await? {
        Ok(response) => Ok(Sent::Http1(response, sender)),
        Err(error) => Err(judge(error, reused, order)),
    }
}

/// A connection that waited, once it is through with its last answer.
async fn ready(sender: Option<Http1>) -> Option<Http1> {
    let mut sender = sender?;
    sender.ready().await.is_ok().then_some(sender)
}

async fn connect(target: &TargetState, group: &Group) -> Result<Http1, Failure> {
    let tls = group.settings.protocol == Protocol::Https;
    let dialed = dial(target.address, target.source(), tls, false)
        .await
        .map_err(|error| unreachable(&error))?;
    let (sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(2 * MAX_ANSWER_HEAD)
        .handshake(TokioIo::new(dialed))
        .await
        .map_err(|_| Failure::Unreachable(502))?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

fn unreachable(error: &io::Error) -> Failure {
    let status = if error.kind() == io::ErrorKind::TimedOut { 504 } else { 502 };
    Failure::Unreachable(status)
}

async fn http2(
    exchange: &Exchange,
    target: &Arc<TargetState>,
    group: &Group,
    order: &mut Order,
) -> Result<Sent, Failure> {
    let pool = &exchange.client.worker.pool;
    let (mut sender, reused) = match pool.shared(target) {
        Some(sender) => (sender, true),
        None => {
            let sender = Box::pin(connect_http2(target, group)).await?;
            pool.share(target, &sender);
            (sender, false)
        }
    };
    if sender.ready().await.is_err() {
        return Err(if reused { Failure::Stale } else { Failure::Unreachable(502) });
    }
    let Some(body) = order.body.take() else { return Err(Failure::Final(502)) };
    let request = order.prepared.request(body);
    let answer = sender.try_send_request(request);
    match wait(answer, order, target, &exchange.client.worker.tick).await? {
        Ok(response) => Ok(Sent::Http2(response)),
        Err(error) => Err(judge(error, reused, order)),
    }
}

async fn connect_http2(target: &TargetState, group: &Group) -> Result<Http2, Failure> {
    let tls = group.settings.protocol == Protocol::Https;
    let dialed = dial(target.address, target.source(), tls, true)
        .await
        .map_err(|error| unreachable(&error))?;
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_header_list_size(u32::try_from(MAX_ANSWER_HEAD).unwrap_or(u32::MAX))
        .handshake(TokioIo::new(dialed))
        .await
        .map_err(|_| Failure::Unreachable(502))?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Waits for an answer for as long as something of the request moves.
async fn wait<T>(
    answer: impl Future<Output = T>,
    order: &Order,
    target: &TargetState,
    tick: &Notify,
) -> Result<T, Failure> {
    let mut answer = std::pin::pin!(answer);
    let idle_ms = u64::try_from(order.idle.as_millis()).unwrap_or(u64::MAX);
    let began = uptime_ms();
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return Ok(answer),
            () = tick.notified() => {}
        }
        if target.gone.is_cancelled() {
            return Err(Failure::Final(502));
        }
        let transfer = order.transfer.as_ref();
        let last = transfer.map_or(began, |transfer| transfer.last_ms().max(began));
        if uptime_ms().saturating_sub(last) >= idle_ms {
            let uploading = transfer.is_some_and(|transfer| !transfer.has_ended());
            return Err(Failure::Final(if uploading { 408 } else { 504 }));
        }
    }
}

/// What follows from a request that wasn't answered.
fn judge(
    mut error: TrySendError<Request<RequestBody>>,
    reused: bool,
    order: &mut Order,
) -> Failure {
    // It never went out.
    if let Some(request) = error.take_message() {
        order.body = Some(request.into_body());
        return if reused { Failure::Stale } else { Failure::Unreachable(502) };
    }
    if order.transfer.as_ref().is_some_and(|transfer| transfer.is_broken()) {
        return Failure::Final(400);
    }
    let closed = is_closed(error.error());
    let repeatable = closed && order.transfer.is_none() && order.prepared.is_idempotent();
    // Once only: what a request does to one target it could do to all of them.
    if repeatable && (reused || !order.lost) {
        order.body = Some(RequestBody::none());
        order.lost |= !reused;
        return if reused { Failure::Stale } else { Failure::Lost };
    }
    Failure::Final(502)
}

fn is_closed(error: &hyper::Error) -> bool {
    use std::error::Error as _;
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let reset = io.is_some_and(|io| {
        matches!(io.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
    });
    error.is_incomplete_message() || error.is_closed() || error.is_canceled() || reset
}
