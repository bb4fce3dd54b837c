//! The body of a request on its way to a target.

use crate::live::uptime_ms;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

/// How far a body is.
#[derive(Default)]
pub(crate) struct Transfer {
    bytes: AtomicU64,
    last_ms: AtomicU64,
    ended: AtomicBool,
    broken: AtomicBool,
}

impl Transfer {
    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// When something of it came last.
    pub(crate) fn last_ms(&self) -> u64 {
        self.last_ms.load(Ordering::Relaxed)
    }

    /// All of it has been passed on.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// The client broke off, or what it sent is no body.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

/// A body that is passed on.
pub(crate) struct RequestBody(Option<(Incoming, Arc<Transfer>)>);

impl RequestBody {
    /// No body at all.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// The body that a client sends.
    pub(crate) fn new(incoming: Incoming) -> (Self, Option<Arc<Transfer>>) {
        if incoming.is_end_stream() {
            return (Self::none(), None);
        }
        let transfer = Arc::new(Transfer::default());
        transfer.last_ms.store(uptime_ms(), Ordering::Relaxed);
        (Self(Some((incoming, Arc::clone(&transfer)))), Some(transfer))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some((incoming, transfer)) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    transfer.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                }
                transfer.last_ms.store(uptime_ms(), Ordering::Relaxed);
            }
            Some(Err(_)) => transfer.broken.store(true, Ordering::Relaxed),
            None => {}
        }
        if frame.is_none() || incoming.is_end_stream() {
            transfer.ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(incoming, _)| incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |(incoming, _)| incoming.size_hint())
    }
}
