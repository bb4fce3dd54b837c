//! Two connections as one: what comes from either goes to the other.

use crate::live::uptime_ms;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose use is noticed.
struct Noticed<S> {
    inner: S,
    last_ms: Arc<AtomicU64>,
}

impl<S> Noticed<S> {
    fn notice<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(result, Poll::Ready(Ok(_))) {
            self.last_ms.store(uptime_ms(), Ordering::Relaxed);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noticed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.notice(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noticed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.notice(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Passes bytes on both ways until both ends have closed, one of them broke, or nothing came for as
/// long as `idle`.
pub(crate) async fn relay(
    a: impl AsyncRead + AsyncWrite + Unpin,
    mut b: impl AsyncRead + AsyncWrite + Unpin,
    idle: Duration,
) -> io::Result<(u64, u64)> {
    let last_ms = Arc::new(AtomicU64::new(uptime_ms()));
    let mut a = Noticed { inner: a, last_ms: Arc::clone(&last_ms) };
    let copied = tokio::io::copy_bidirectional(&mut a, &mut b);
    let silence = async {
        let limit = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        loop {
            let silent = uptime_ms().saturating_sub(last_ms.load(Ordering::Relaxed));
            if silent >= limit {
                return;
            }
            tokio::time::sleep(Duration::from_millis(limit - silent)).await;
        }
    };
    tokio::select! {
        copied = copied => copied,
        () = silence => Err(io::ErrorKind::TimedOut.into()),
    }
}
