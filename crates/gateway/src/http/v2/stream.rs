//! Bodies in pieces: a blob on its way out, and bytes on their way into an upload.

use super::errors::{Code, Refusal};
use super::identify::ClientBody;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use wharf_registry::{BlobReader, UploadWriter};

/// Bytes read from the disk at once.
const READ_BYTES: usize = 256 * 1024;
/// Pieces between the disk and the socket.
const QUEUE: usize = 2;
/// Bytes gathered from the network before they are written.
const WRITE_BYTES: usize = 1 << 20;
/// The largest blob: ECR's limit of a layer.
const MAX_BLOB_BYTES: u64 = 52_000 << 20;
/// A body must bring this much on the average of every window, or it is cut.
const LEAST_BYTES: u64 = 16 * 1024;
const WINDOW: Duration = Duration::from_secs(60);

/// Of a refused body so much is read, for so long.
pub(super) const DISCARDED_BYTES: usize = 16 << 20;
/// And so much of one that was taken in, until the disk took no more of it.
const UNWRITTEN_BYTES: usize = 1 << 30;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// A blob's bytes as a body.
pub(super) struct BlobBody {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
    counted: Counter,
}

impl BlobBody {
    /// Reads `range` of a blob for a client that may rest for `idle` between two pieces.
    pub(super) fn new(
        reader: Box<dyn BlobReader>,
        range: Range<u64>,
        idle: Duration,
        counted: Counter,
    ) -> Self {
        let (sender, pieces) = mpsc::channel(QUEUE);
        let left = range.end - range.start;
        tokio::spawn(async move {
            let mut offset = range.start;
            while offset < range.end {
                let length = usize::try_from(range.end - offset).unwrap_or(READ_BYTES);
                let piece = reader.read(offset, length.min(READ_BYTES)).await;
                let piece = match piece {
                    Ok(piece) if piece.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(piece) => Ok(piece),
                    Err(error) => Err(io::Error::other(error)),
                };
                if let Err(error) = &piece {
                    tracing::error!(%error, "a blob couldn't be read to its end");
                }
                let ended = piece.is_err();
                offset += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                // Whoever takes nothing for so long keeps no file open.
                let sent = tokio::time::timeout(idle, sender.send(piece)).await;
                if ended || !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
        });
        Self { pieces, left, counted }
    }
}

impl Body for BlobBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        match self.pieces.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(piece))) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                self.counted.inc_by(piece.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Writes a body into an upload as it comes. What has arrived when the connection breaks is kept: the
/// client asks how far it came, and goes on.
pub(super) async fn receive(
    writer: &mut UploadWriter,
    mut body: ClientBody,
    idle: Duration,
    counted: &Counter,
) -> Result<(), Refusal> {
    let cancelled = writer.cancelled();
    let mut gathered = BytesMut::new();
    let (mut window, mut in_window) = (tokio::time::Instant::now(), 0_u64);
    loop {
        let frame = tokio::select! {
            frame = tokio::time::timeout(idle, body.frame()) => frame,
            () = cancelled.cancelled() => {
                return Err(wharf_registry::UploadError::TakenOver.into());
            }
        };
        let broken = match frame {
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                in_window += data.len() as u64;
                counted.inc_by(data.len() as u64);
                gathered.extend_from_slice(&data);
                if window.elapsed() < WINDOW {
                    None
                } else if in_window < LEAST_BYTES {
                    Some("the request's body comes too slowly")
                } else {
                    (window, in_window) = (tokio::time::Instant::now(), 0);
                    None
                }
            }
            Ok(None) => break,
            Ok(Some(Err(_))) => Some("the request's body ended before it was complete"),
            Err(_) => Some("the request's body did not arrive in time"),
        };
        if writer.size() + gathered.len() as u64 > MAX_BLOB_BYTES {
            let message = format!("a blob has at most {MAX_BLOB_BYTES} bytes");
            return Err(Refusal::new(Code::SizeInvalid, message));
        }
        if (broken.is_some() || gathered.len() >= WRITE_BYTES)
            && let Err(error) = writer.append(gathered.split().freeze()).await
        {
            // Of a full disk the client shall hear, although it is still writing.
            discard(body, UNWRITTEN_BYTES).await;
            return Err(error.into());
        }
        if let Some(why) = broken {
            return Err(Refusal::new(Code::BlobUploadInvalid, why));
        }
    }
    if !gathered.is_empty() {
        writer.append(gathered.freeze()).await?;
    }
    Ok(())
}

/// Reads for a while what nobody wants: a client that still writes when the connection is closed never
/// hears why it was refused.
pub(super) async fn discard(mut body: ClientBody, limit: usize) {
    let read = async {
        let mut length = 0;
        while let Some(Ok(frame)) = body.frame().await {
            length += frame.data_ref().map_or(0, Bytes::len);
            if length > limit {
                break;
            }
        }
    };
    // Whatever comes of it, the refusal goes out.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, read).await;
}
