//! Two connections as one: what comes from either goes to the other.

use crate::live::uptime_ms;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What went through, also of what was cut off.
#[derive(Debug, Clone, Default)]
pub(crate) struct Passed(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    last_ms: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    client_failed: AtomicBool,
}

impl Passed {
    /// Bytes of the client.
    pub(crate) fn up(&self) -> u64 {
        self.0.up.load(Ordering::Relaxed)
    }

    /// Bytes for the client.
    pub(crate) fn down(&self) -> u64 {
        self.0.down.load(Ordering::Relaxed)
    }
}

/// Who ended what wasn't closed by both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The client broke it off.
    Client,
    /// The target did.
    Target,
    /// Nothing came for too long.
    Silence,
}

/// The client's end, whose use is noticed.
struct Noticed<S> {
    inner: S,
    passed: Passed,
}

impl<S> Noticed<S> {
    fn notice<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &result {
            Poll::Ready(Ok(_)) => self.passed.0.last_ms.store(uptime_ms(), Ordering::Relaxed),
            Poll::Ready(Err(_)) => self.passed.0.client_failed.store(true, Ordering::Relaxed),
            Poll::Pending => {}
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
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        let came = buf.filled().len().saturating_sub(before) as u64;
        self.passed.0.up.fetch_add(came, Ordering::Relaxed);
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
        if let Poll::Ready(Ok(written)) = &result {
            self.passed.0.down.fetch_add(*written as u64, Ordering::Relaxed);
        }
        self.notice(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Passes bytes on both ways between a client and a target until both ends have closed, one of them
/// broke, or nothing came for as long as `idle`.
pub(crate) async fn relay(
    client: impl AsyncRead + AsyncWrite + Unpin,
    mut target: impl AsyncRead + AsyncWrite + Unpin,
    idle: Duration,
    passed: &Passed,
) -> Result<(), Broken> {
    passed.0.last_ms.store(uptime_ms(), Ordering::Relaxed);
    let mut client = Noticed { inner: client, passed: passed.clone() };
    let copied = tokio::io::copy_bidirectional(&mut client, &mut target);
    let silence = async {
        let limit = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        loop {
            let silent = uptime_ms().saturating_sub(passed.0.last_ms.load(Ordering::Relaxed));
            if silent >= limit {
                return;
            }
            tokio::time::sleep(Duration::from_millis(limit - silent)).await;
        }
    };
    tokio::select! {
        copied = copied => match copied {
            Ok(_) => Ok(()),
            Err(_) if passed.0.client_failed.load(Ordering::Relaxed) => Err(Broken::Client),
            Err(_) => Err(Broken::Target),
        },
        () = silence => Err(Broken::Silence),
    }
}
