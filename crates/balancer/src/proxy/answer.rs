//! The bodies of answers: those of the load balancer itself, and those of targets.

use super::exchange::Exchange;
use super::pool::Http1;
use super::transfer::Transfer;
use crate::live::{Lease, uptime_ms};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::futures::OwnedNotified;

/// Why a body ended early.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer. The exchange ends with it.
pub(super) enum Answer {
    Own(Option<Bytes>, #[expect(dead_code)] Exchange),
    Target(Box<FromTarget>),
    /// None: the connection goes on in another protocol.
    None,
}

/// The body of a target's answer.
pub(super) struct FromTarget {
    pub(super) incoming: Incoming,
    pub(super) exchange: Exchange,
    pub(super) lease: Option<Lease>,
    /// The connection, to be kept when all is over.
    pub(super) sender: Option<Http1>,
    pub(super) transfer: Option<Arc<Transfer>>,
    pub(super) idle: Duration,
    /// Since when the target is waited for; 0 if it isn't.
    pub(super) waiting_ms: u64,
    pub(super) tick: Option<Pin<Box<OwnedNotified>>>,
}

impl FromTarget {
    /// The answer is complete: its connection can take the next request, if this one has gone out.
    fn finish(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        let sent = self.transfer.as_ref().is_none_or(|transfer| transfer.has_ended());
        if let Some(sender) = self.sender.take().filter(|_| sent) {
            self.exchange.client.worker.pool.put(lease.target(), sender);
        }
    }

    fn interrupted(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.waiting_ms == 0 {
            self.waiting_ms = uptime_ms();
        }
        let notify = &self.exchange.client.worker.tick;
        let next = || Box::pin(Arc::clone(notify).notified_owned());
        while self.tick.get_or_insert_with(next).as_mut().poll(cx).is_ready() {
            self.tick = None;
            if u128::from(uptime_ms().saturating_sub(self.waiting_ms)) >= self.idle.as_millis() {
                let error = io::Error::new(io::ErrorKind::TimedOut, "the target went silent");
                return Poll::Ready(error);
            }
            if self.lease.as_ref().is_some_and(|lease| lease.target().gone.is_cancelled()) {
                return Poll::Ready(io::Error::other("the target is gone"));
            }
        }
        Poll::Pending
    }
}

impl Drop for FromTarget {
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.finish();
        }
        if let Some(transfer) = &self.transfer {
            self.exchange.received_bytes = transfer.bytes();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = match &mut *self {
            Self::Own(bytes, _) => {
                let bytes = bytes.take().filter(|bytes| !bytes.is_empty());
                return Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))));
            }
            Self::Target(body) => body,
            Self::None => return Poll::Ready(None),
        };
        match Pin::new(&mut body.incoming).poll_frame(cx) {
            Poll::Pending => body.interrupted(cx).map(|error| Some(Err(error.into()))),
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    body.exchange.sent_bytes += data.len() as u64;
                }
                body.waiting_ms = 0;
                if body.incoming.is_end_stream() {
                    body.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                body.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes, _) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Target(body) => body.incoming.is_end_stream(),
            Self::None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes, _) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Target(body) => body.incoming.size_hint(),
            Self::None => SizeHint::with_exact(0),
        }
    }
}
