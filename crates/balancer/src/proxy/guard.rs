//! Stands between a client's connection and the HTTP parser: looks at every raw head before the
//! parser does, and keeps bytes of the next request from the one before.

use super::client::{Note, State};
use super::pieces;
use crate::head::{self, BodyReader, Examined, Framing, MAX_HEAD, MAX_REQUEST_LINE, Mitigation};
use crate::live::uptime_ms;
use bytes::{Buf as _, BytesMut};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// A client's connection, guarded if it speaks HTTP/1.
pub(super) struct Guarded<S> {
    inner: S,
    state: Arc<State>,
    guard: Option<Guard>,
}

/// Bytes are read in pieces of this.
const PIECE: usize = 8 << 10;
/// What the parser is given in the place of a head that it must not see. The note that goes with it
/// says what is answered.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n";

struct Guard {
    phase: Phase,
    /// Read, and not yet looked at.
    raw: BytesMut,
    /// Looked at, and not yet given to the parser.
    ready: BytesMut,
    scanned: usize,
    /// Requests that the parser was given.
    heads: u64,
}

enum Phase {
    Head,
    Body(BodyReader),
    /// After a request for another protocol: nothing goes on before it is answered.
    Upgrade,
    /// The parser gets nothing any more.
    Closed,
}

impl<S> Guarded<S> {
    pub(super) fn new(inner: S, state: Arc<State>, http1: bool) -> Self {
        let guard = http1.then(|| Guard {
            phase: Phase::Head,
            raw: BytesMut::new(),
            ready: BytesMut::new(),
            scanned: 0,
            heads: 0,
        });
        Self { inner, state, guard }
    }
}

impl Guard {
    /// Moves on with what was read. Whether more must be read before the parser gets something.
    fn advance(&mut self, state: &State) -> io::Result<()> {
        while !self.raw.is_empty() {
            match &mut self.phase {
                Phase::Head => {
                    if !self.head(state) {
                        return Ok(());
                    }
                }
                Phase::Body(reader) => {
                    let taken = reader
                        .take(&self.raw, &mut 0)
                        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                    self.ready.extend_from_slice(&self.raw[..taken]);
                    self.raw.advance(taken);
                    if reader.is_done() {
                        self.phase = Phase::Head;
                    }
                    // Pipelined requests wait: one at a time is looked at.
                    return Ok(());
                }
                Phase::Upgrade if state.tunnel.load(Ordering::Acquire) => {
                    self.ready.extend_from_slice(&self.raw);
                    self.raw.clear();
                }
                Phase::Upgrade => return Ok(()),
                Phase::Closed => self.raw.clear(),
            }
            if !self.ready.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Looks at the head that is coming in; whether all of it has been dealt with.
    fn head(&mut self, state: &State) -> bool {
        if self.scanned == 0 {
            // Empty lines before a request are skipped.
            let empty = self.raw.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.raw.advance(empty);
            if self.raw.is_empty() {
                return false;
            }
            state.head_since_ms.store(uptime_ms(), Ordering::Relaxed);
        }
        let examined = match head::end(&self.raw, self.scanned) {
            Some(end) => {
                let raw = self.raw.split_to(end);
                let examined = head::examine(&raw, Mitigation::Monitor);
                match (&examined.status, &examined.rewritten) {
                    (Some(_), _) => {}
                    (None, Some(rewritten)) => self.ready.extend_from_slice(rewritten),
                    (None, None) if self.ready.is_empty() => self.ready = raw,
                    (None, None) => self.ready.extend_from_slice(&raw),
                }
                examined
            }
            None => {
                self.scanned = self.raw.len();
                match self.too_long() {
                    Some(status) => Examined::refused(status, "BadHeader"),
                    None => return false,
                }
            }
        };
        self.scanned = 0;
        state.head_since_ms.store(0, Ordering::Relaxed);
        self.conclude(&examined, state);
        true
    }

    fn too_long(&self) -> Option<u16> {
        if self.raw.len() > MAX_REQUEST_LINE && !self.raw[..MAX_REQUEST_LINE].contains(&b'\n') {
            return Some(414);
        }
        (self.raw.len() > MAX_HEAD).then_some(400)
    }

    fn conclude(&mut self, examined: &Examined, state: &State) {
        let Examined { status, class, reason, .. } = *examined;
        state.note(Note { status, class, reason });
        self.heads += 1;
        self.phase = if status.is_some() {
            self.ready.extend_from_slice(STAND_IN);
            Phase::Closed
        } else if examined.upgrade && examined.framing == Framing::None {
            Phase::Upgrade
        } else {
            match BodyReader::new(examined.framing) {
                reader if reader.is_done() => Phase::Head,
                reader => Phase::Body(reader),
            }
        };
    }

    /// The head took too long.
    fn expire(&mut self, state: &State) {
        self.raw.clear();
        self.conclude(&Examined::refused(408, "-"), state);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { inner, state, guard } = &mut *self;
        let Some(guard) = guard else {
            let before = buf.filled().len();
            ready!(Pin::new(inner).poll_read(cx, buf))?;
            if buf.filled().len() > before {
                state.touch();
            }
            return Poll::Ready(Ok(()));
        };
        state.reader.register(cx.waker());
        loop {
            if guard.ready.is_empty() {
                if state.expired.swap(false, Ordering::AcqRel) && matches!(guard.phase, Phase::Head)
                {
                    guard.expire(state);
                }
                // An upgrade that was answered by something else: what follows is a request.
                if matches!(guard.phase, Phase::Upgrade)
                    && !state.tunnel.load(Ordering::Acquire)
                    && state.answered() == guard.heads
                {
                    guard.phase = Phase::Head;
                }
                guard.advance(state)?;
            }
            if !guard.ready.is_empty() {
                let take = guard.ready.len().min(buf.remaining());
                buf.put_slice(&guard.ready[..take]);
                guard.ready.advance(take);
                return Poll::Ready(Ok(()));
            }
            // Bytes that wait for an answer are enough: the client waits, too.
            if guard.raw.len() >= MAX_HEAD + PIECE {
                return Poll::Pending;
            }
            if matches!(guard.phase, Phase::Closed) {
                return Poll::Pending;
            }
            guard.raw.reserve(PIECE);
            if ready!(poll_read_buf(Pin::new(&mut *inner), cx, &mut guard.raw))? == 0 {
                return Poll::Ready(Ok(()));
            }
            state.touch();
        }
    }
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    fn wrote<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let stalled = &self.state.stalled_since_ms;
        if result.is_pending() {
            if stalled.load(Ordering::Relaxed) == 0 {
                stalled.store(uptime_ms(), Ordering::Relaxed);
            }
        } else if stalled.load(Ordering::Relaxed) != 0 {
            stalled.store(0, Ordering::Relaxed);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = pieces::poll_write(Pin::new(&mut self.inner), cx, bufs);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.wrote(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
