//! Layer compression, recognised by the stream's first bytes as docker and containerd do it.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// The largest zstd window, 2^27 bytes: what `zstd --long` needs at most by default.
const MAX_ZSTD_WINDOW_LOG: u32 = 27;

/// A decompressed view of `reader`: gzip, zstd or plain tar.
pub fn decompress<'a, R: Read + 'a>(reader: R) -> io::Result<Box<dyn Read + 'a>> {
    let mut reader = BufReader::with_capacity(128 * 1024, reader);
    let magic = peek(&mut reader)?;
    if magic.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(MultiGzDecoder::new(reader)));
    }
    // 0x184d2a5? are zstd's skippable frames, which chunked layers may begin with.
    let skippable = magic.len() == 4 && magic[0] & 0xf0 == 0x50 && magic[1..] == [0x2a, 0x4d, 0x18];
    if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable {
        let mut decoder = zstd::Decoder::with_buffer(reader)?;
        decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
        return Ok(Box::new(decoder));
    }
    let other = match magic.as_slice() {
        [b'B', b'Z', b'h', ..] => Some("bzip2"),
        [0xfd, b'7', b'z', b'X'] => Some("xz"),
        _ => None,
    };
    if let Some(other) = other {
        let text = format!("{other} compression is not supported, only gzip and zstd are");
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(Box::new(reader))
}

fn peek(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let available = reader.fill_buf()?;
    Ok(available[..available.len().min(4)].to_vec())
}
