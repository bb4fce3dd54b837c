//! Where the body of an HTTP/1 request ends, told from its bytes.

use super::Framing;

/// A chunked body that isn't one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunked body is malformed")]
pub struct BadChunk;

/// Bytes of all extensions of chunks and all trailers of a body, at most.
const MAX_EXTRA: usize = 16 << 10;

/// Follows a body until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyReader {
    state: State,
    extra: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes that aren't looked at, then what follows.
    Bytes(u64, Then),
    Size(u64, u8),
    Extension(u64),
    /// The line feed behind a carriage return.
    SizeLf(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Done,
    Chunk,
}

impl BodyReader {
    /// At the start of a body.
    pub const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Bytes(length, Then::Done),
            Framing::Chunked => State::Size(0, 0),
        };
        Self { state, extra: 0 }
    }

    /// Whether the body is over.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many of these bytes belong to the body.
    pub fn take(&mut self, bytes: &[u8], size: &mut u64) -> Result<usize, BadChunk> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if let State::Bytes(left, then) = self.state {
                let here = left.min((bytes.len() - at) as u64);
                at += usize::try_from(here).unwrap_or(usize::MAX);
                *size += here;
                self.state = match (left - here, then) {
                    (0, Then::Done) => State::Done,
                    (0, Then::Chunk) => State::DataCr,
                    (left, then) => State::Bytes(left, then),
                };
                continue;
            }
            self.state = self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State, BadChunk> {
        Ok(match (self.state, byte) {
            (State::Size(size, digits), byte) if byte.is_ascii_hexdigit() && digits < 16 => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                State::Size(size << 4 | u64::from(digit), digits + 1)
            }
            (State::Size(size, 1..), b'\r') => State::SizeLf(size),
            // Extensions are counted over the whole body: one byte of data with each would be a way
            // to keep a server busy.
            (State::Size(size, 1..), b';' | b' ' | b'\t') => self.more(State::Extension(size))?,
            (State::Extension(size), b'\r') => State::SizeLf(size),
            (State::Extension(size), byte) if byte >= b' ' || byte == b'\t' => {
                self.more(State::Extension(size))?
            }
            (State::SizeLf(0), b'\n') => State::TrailerStart,
            (State::SizeLf(size), b'\n') => State::Bytes(size, Then::Chunk),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size(0, 0),
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::TrailerStart | State::Trailer, byte) if byte >= b' ' || byte == b'\t' => {
                self.more(State::Trailer)?
            }
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::LastLf, b'\n') => State::Done,
            _ => return Err(BadChunk),
        })
    }

    fn more(&mut self, state: State) -> Result<State, BadChunk> {
        self.extra += 1;
        if self.extra > MAX_EXTRA { Err(BadChunk) } else { Ok(state) }
    }
}
