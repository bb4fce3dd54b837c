//! Writing in pieces.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// Pieces of so many bytes together go out as one: to copy them costs less than to tell the kernel of
/// each.
const SMALL: usize = 2 << 10;

/// Writes what stands in pieces, most often a head and a small body.
pub(super) fn poll_write<S: AsyncWrite>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut filled = pieces.iter().filter(|piece| !piece.is_empty());
    let (first, second) = (filled.next(), filled.next());
    let Some(first) = first else { return stream.poll_write(cx, &[]) };
    if second.is_none() {
        return stream.poll_write(cx, first);
    }
    if pieces.iter().map(|piece| piece.len()).sum::<usize>() > SMALL {
        return stream.poll_write_vectored(cx, pieces);
    }
    let (mut all, mut length) = ([0; SMALL], 0);
    for piece in pieces {
        all[length..length + piece.len()].copy_from_slice(piece);
        length += piece.len();
    }
    stream.poll_write(cx, &all[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_arrive_in_order_whatever_their_number_and_size() {
        for sizes in [&[][..], &[0, 0], &[5], &[0, 7], &[100, 1024], &[100, 3000, 1]] {
            let pieces: Vec<Vec<u8>> = sizes.iter().map(|size| vec![*size as u8; *size]).collect();
            let slices: Vec<IoSlice<'_>> = pieces.iter().map(|p| IoSlice::new(p)).collect();
            let mut written: Vec<u8> = Vec::new();
            let mut stream = Pin::new(&mut written);
            let count =
                std::future::poll_fn(|cx| poll_write(stream.as_mut(), cx, &slices)).await.unwrap();
            assert_eq!(count, sizes.iter().sum::<usize>());
            assert_eq!(written, pieces.concat());
        }
    }
}
