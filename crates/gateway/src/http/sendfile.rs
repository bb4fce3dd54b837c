//! Files on their way out by sendfile(2): the kernel hands the page cache to the socket, and the bytes
//! never come into this process.
//!
//! hyper owns the socket and knows only memory. So a body lends it memory that is mapped from the file and
//! that nobody ever looks at; and the socket, which is ours beneath hyper, knows the mapped addresses of
//! its connection ([`Loans`]). When hyper hands it a slice from there, it sends the same part of the
//! file instead. Were a slice copied on its way, it would still have the right bytes: the way out is
//! shorter by this, not another.
//!
//! Under TLS the bytes must be read anyway, and are read as ever: a fault of the disk is an error of
//! read(2), but a signal that ends the process where a mapping is looked at.

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// What is written at once where a file can't be sent.
const COPY_BYTES: usize = 64 * 1024;
/// The page cache is looked at in steps of this size: what the kernel reads ahead.
const PROBE_BYTES: u64 = 128 * 1024;

/// What the bodies of one connection have lent to hyper.
#[derive(Debug, Clone, Default)]
pub(super) struct Loans(Arc<Mutex<Vec<Loan>>>);

/// A part of a file, by the addresses that stand for it.
#[derive(Debug)]
struct Loan {
    addresses: Range<usize>,
    file: Arc<File>,
    offset: u64,
}

/// A mapping that is given back when the last slice of it is gone.
struct Lent {
    mapping: Mmap,
    loans: Loans,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.mapping
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Before the mapping goes, and its addresses with it.
        let begin = self.mapping.as_ptr().addr();
        self.loans.all().retain(|loan| loan.addresses.start != begin);
    }
}

impl Loans {
    fn all(&self) -> MutexGuard<'_, Vec<Loan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part of `file`, not empty, as memory that the connection's socket recognises. The file must never
    /// be cut or written again.
    ///
    /// # Errors
    /// If it can't be mapped.
    pub fn lend(&self, file: &Arc<File>, part: &Range<u64>) -> io::Result<Bytes> {
        let length = usize::try_from(part.end - part.start).map_err(io::Error::other)?;
        let mut options = MmapOptions::new();
        options.offset(part.start).len(length);
        // SAFETY: what is mapped must not change. Blobs never do: their files get their names when they
        // are whole, and are unlinked afterwards, never cut or written to.
        #[allow(unsafe_code, reason = "mapping a file is unsafe as such")]
        let mapping = unsafe { options.map(file.as_ref()) }?;
        let begin = mapping.as_ptr().addr();
        let addresses = begin..begin + length;
        self.all().push(Loan { addresses, file: Arc::clone(file), offset: part.start });
        Ok(Bytes::from_owner(Lent { mapping, loans: self.clone() }))
    }

    /// The part of a file that a slice stands for.
    fn find(&self, slice: &[u8]) -> Option<(Arc<File>, u64)> {
        let begin = slice.as_ptr().addr();
        let loans = self.all();
        let loan = loans.iter().find(|loan| {
            loan.addresses.contains(&begin) && begin + slice.len() <= loan.addresses.end
        })?;
        Some((Arc::clone(&loan.file), loan.offset + (begin - loan.addresses.start) as u64))
    }

    /// How many of these slices come before the first that is lent.
    fn plain(&self, slices: &[IoSlice<'_>]) -> usize {
        if self.all().is_empty() {
            return slices.len();
        }
        let lent = |slice: &IoSlice<'_>| !slice.is_empty() && self.find(slice).is_some();
        slices.iter().position(lent).unwrap_or(slices.len())
    }
}

/// True if a part of a file is in memory, so that sending it waits for no disk.
pub(super) fn is_cached(file: &File, part: &Range<u64>) -> bool {
    let mut at = part.start;
    while at < part.end {
        let mut byte = [0_u8];
        let mut into = [io::IoSliceMut::new(&mut byte)];
        // A file system that can't tell counts as a slow one.
        if !matches!(rustix::io::preadv2(file, &mut into, at, ReadWriteFlags::NOWAIT), Ok(1)) {
            return false;
        }
        at += PROBE_BYTES;
    }
    true
}

/// Reads a part of a file, so that it is in memory. Blocks.
pub(super) fn warm(file: &File, part: &Range<u64>) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = part.start;
    while at < part.end {
        let length = COPY_BYTES.min(usize::try_from(part.end - at).unwrap_or(COPY_BYTES));
        match file.read_at(&mut buffer[..length], at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => at += read as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A connection without TLS.
pub(super) struct Socket {
    stream: TcpStream,
    loans: Loans,
    /// How long a client may take nothing of a file.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub fn new(stream: TcpStream, loans: Loans, patience: Duration) -> Self {
        Self { stream, loans, patience, stalled: None }
    }

    /// Sends up to `length` bytes of a file.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        (file, offset): &(Arc<File>, u64),
        length: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.stream.poll_write_ready(context)?.is_pending() {
                let patience = self.patience;
                let stalled =
                    self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                ready!(stalled.as_mut().poll(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let stream = &self.stream;
            let sent = stream.try_io(Interest::WRITABLE, || {
                let mut at = *offset;
                match rustix::fs::sendfile(stream.as_fd(), file.as_fd(), Some(&mut at), length) {
                    // Some file systems can't.
                    Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                        let mut buffer = vec![0; length.min(COPY_BYTES)];
                        let read = file.read_at(&mut buffer, *offset)?;
                        stream.try_write(&buffer[..read])
                    }
                    sent => Ok(sent?),
                }
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                other => {
                    self.stalled = None;
                    return Poll::Ready(other);
                }
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().position(|slice| !slice.is_empty()).unwrap_or(slices.len());
        let slices = &slices[first..];
        let plain = self.loans.plain(slices);
        if let (0, Some(slice)) = (plain, slices.first())
            && let Some(part) = self.loans.find(slice)
        {
            return self.poll_send(context, &part, slice.len());
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, &slices[..plain])
    }

    /// Always: otherwise hyper would copy what it is lent.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn file(content: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Arc::new(file)
    }

    async fn pair(loans: &Loans, patience: Duration) -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (Socket::new(stream, loans.clone(), patience), client)
    }

    #[tokio::test]
    async fn what_is_lent_leaves_from_the_file_between_what_isnt() {
        let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let file = file(&content);
        let loans = Loans::default();
        let (mut socket, mut client) = pair(&loans, Duration::from_secs(60)).await;
        let part = 4097..content.len() as u64 - 3;
        let mut lent = loans.lend(&file, &part).unwrap();
        // Nobody looks at the mapping: what the loan says is what is sent, also if it's another file.
        let other: Vec<u8> = content.iter().map(|byte| !byte).collect();
        loans.all()[0].file = self::file(&other);
        let mut expected = b"head".to_vec();
        expected.extend_from_slice(&other[4097..content.len() - 3]);
        expected.extend_from_slice(b"tail");
        let read = tokio::spawn(async move {
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.unwrap();
            all
        });
        let mut first = lent.split_to(1_000_001);
        let slices = [IoSlice::new(b""), IoSlice::new(b"head"), IoSlice::new(&first)];
        let written = socket.write_vectored(&slices).await.unwrap();
        assert_eq!(written, 4, "what is plain goes first, and alone");
        socket.write_all_buf(&mut first).await.unwrap();
        socket.write_all_buf(&mut lent).await.unwrap();
        assert_eq!(loans.all().len(), 1);
        drop((first, lent));
        assert!(loans.all().is_empty(), "given back with the last slice");
        socket.write_all(b"tail").await.unwrap();
        socket.shutdown().await.unwrap();
        assert!(read.await.unwrap() == expected);
    }

    #[tokio::test]
    async fn who_takes_nothing_is_cut() {
        let file = file(&vec![7; 64 << 20]);
        let loans = Loans::default();
        let (mut socket, _client) = pair(&loans, Duration::from_millis(50)).await;
        let mut lent = loans.lend(&file, &(0..64 << 20)).unwrap();
        let error = socket.write_all_buf(&mut lent).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_file_just_written_is_in_memory_and_can_be_read_there() {
        let file = file(&[1; 300_000]);
        warm(&file, &(5..300_000)).unwrap();
        assert!(is_cached(&file, &(0..300_000)));
        assert!(!is_cached(&file, &(200_000..600_000)), "beyond the end there is nothing");
        assert!(warm(&file, &(5..300_001)).is_err());
    }
}
