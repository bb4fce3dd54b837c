//! A blob's file as a body that is sent and never read.

use super::super::sendfile::{self, Loans};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// Bytes that are handed out at once: about what a socket takes.
const PIECE_BYTES: usize = 2 << 20;

/// A part of a file.
pub(super) struct FileBody {
    file: Arc<File>,
    /// What is still to be handed out, as the connection's socket knows it.
    left: Bytes,
    /// Where that begins in the file.
    offset: u64,
    /// The next piece on its way from the disk to memory: a socket that sends must not wait for a disk,
    /// since a thread that serves others waits with it.
    warming: Option<JoinHandle<io::Result<()>>>,
    counted: Counter,
}

impl FileBody {
    /// A part of a file, not empty, for a connection's socket to send.
    pub(super) fn new(
        file: Arc<File>,
        loans: &Loans,
        part: Range<u64>,
        counted: Counter,
    ) -> io::Result<Self> {
        let left = loans.lend(&file, &part)?;
        Ok(Self { file, left, offset: part.start, warming: None, counted })
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let length = self.left.len().min(PIECE_BYTES);
        if length == 0 {
            return Poll::Ready(None);
        }
        if let Some(warming) = &mut self.warming {
            let warmed = ready!(Pin::new(warming).poll(context));
            self.warming = None;
            if let Err(error) = warmed.unwrap_or_else(|error| Err(io::Error::other(error))) {
                tracing::error!(%error, "a blob couldn't be read to its end");
                return Poll::Ready(Some(Err(error)));
            }
        } else {
            let part = self.offset..self.offset + length as u64;
            if !sendfile::is_cached(&self.file, &part) {
                let file = Arc::clone(&self.file);
                let warming = tokio::task::spawn_blocking(move || sendfile::warm(&file, &part));
                self.warming = Some(warming);
                return self.poll_frame(context);
            }
        }
        self.offset += length as u64;
        self.counted.inc_by(length as u64);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
