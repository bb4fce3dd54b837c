//! Reads the members of a tar stream, strictly.
//!
//! Only a parser: it touches no file. It covers v7, ustar, GNU (long names, old sparse) and PAX
//! archives, and refuses what two tar programs would read differently: sizes on members that have
//! no data, two names for one member, global headers that rename, malformed PAX records. (The
//! `tar` crate's PAX reader splits records at newlines, so a binary xattr makes it drop the
//! record's `size`: hence a reader of our own.)

use std::io::{self, Read};

use super::pax::{self, Pax};

pub(super) const BLOCK: usize = 512;
/// The most bytes that the extension headers of one member may have.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;
/// The most extents of one sparse member.
const MAX_EXTENTS: usize = 100_000;

/// Why a stream isn't a tar archive that may be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading failed; decompression errors arrive here too.
    #[error("reading the archive: {0}")]
    Io(#[from] io::Error),
    /// The stream ends inside a member.
    #[error("unexpected end of the archive")]
    Truncated,
    /// A header's checksum is wrong: not a tar archive, or a damaged one.
    #[error("not a tar header: checksum mismatch")]
    Checksum,
    /// A header field doesn't parse.
    #[error("invalid {0} in a tar header")]
    Field(&'static str),
    /// A PAX record doesn't parse.
    #[error("malformed PAX extended header")]
    Pax,
    /// Something that tar programs read differently from each other.
    #[error("ambiguous tar member: {0}")]
    Ambiguous(&'static str),
    /// A member type that can't be in a layer.
    #[error("unsupported tar member type {0:?}")]
    Type(char),
    /// Extension headers are too large.
    #[error("tar extension headers of more than {MAX_EXTENSION_BYTES} bytes")]
    ExtensionTooLarge,
}

/// The type of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file (also contiguous and sparse ones).
    File,
    /// A directory.
    Directory,
    /// A symbolic link to `link`.
    Symlink,
    /// A hard link to the member or file named `link`.
    Hardlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A FIFO.
    Fifo,
}

/// One member, its names as they stand in the archive.
#[derive(Debug, Clone)]
pub struct Member {
    /// The name, not normalised.
    pub path: Vec<u8>,
    /// The target of links.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Size of the content in bytes, holes included.
    pub size: u64,
    /// Extended attributes from PAX `SCHILY.xattr.*` records.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The reader: alternate [`TarReader::next_member`] and [`TarReader::read`].
pub struct TarReader<R> {
    inner: R,
    /// Bytes of the current member still in the stream, and the padding behind them.
    stored_left: u64,
    padding: u64,
    /// Position in the content, its size, and where in it the stored bytes belong.
    position: u64,
    size: u64,
    extents: Vec<(u64, u64)>,
    next_extent: usize,
}

impl<R: Read> TarReader<R> {
    /// Reads from `inner`, which stands at the first header.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            stored_left: 0,
            padding: 0,
            position: 0,
            size: 0,
            extents: Vec::new(),
            next_extent: 0,
        }
    }

    /// The underlying stream, behind whatever was read.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Skips what is left of the current member and reads the next header.
    pub fn next_member(&mut self) -> Result<Option<Member>, Error> {
        let mut pax: Option<Pax> = None;
        let mut long_name: Option<Vec<u8>> = None;
        let mut long_link: Option<Vec<u8>> = None;
        loop {
            self.skip_rest()?;
            let Some(header) = self.read_header()? else {
                return match pax.is_some() || long_name.is_some() || long_link.is_some() {
                    true => Err(Error::Truncated),
                    false => Ok(None),
                };
            };
            match header.type_flag() {
                b'x' => {
                    let body = self.extension(&header)?;
                    if pax.replace(pax::parse(&body)?).is_some() {
                        return Err(Error::Ambiguous("two PAX headers for one member"));
                    }
                }
                b'g' => pax::check_global(&self.extension(&header)?)?,
                b'L' => {
                    let name = c_string(self.extension(&header)?)?;
                    if long_name.replace(name).is_some() {
                        return Err(Error::Ambiguous("two long names for one member"));
                    }
                }
                b'K' => {
                    let name = c_string(self.extension(&header)?)?;
                    if long_link.replace(name).is_some() {
                        return Err(Error::Ambiguous("two long link names for one member"));
                    }
                }
                _ => {
                    let names = (long_name, long_link);
                    return self.member(&header, pax.unwrap_or_default(), names).map(Some);
                }
            }
        }
    }

    /// Reads the current member's content; 0 at its end. Holes read as zeros.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if self.position >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let extent = self.extents.get(self.next_extent).copied();
        let (stored, room) = match extent {
            Some((start, len)) if self.position >= start => (true, start + len - self.position),
            Some((start, _)) => (false, start - self.position),
            None => (false, self.size - self.position),
        };
        let want = buffer.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..want];
        if !stored {
            buffer.fill(0);
            self.position += want as u64;
            return Ok(want);
        }
        let read = self.inner.read(buffer)?;
        if read == 0 {
            return Err(Error::Truncated);
        }
        self.position += read as u64;
        self.stored_left -= read as u64;
        if let Some((start, len)) = extent
            && self.position >= start + len
        {
            self.next_extent += 1;
        }
        Ok(read)
    }

    /// Reads and skips extension bodies or content that wasn't asked for, and the padding.
    fn skip_rest(&mut self) -> Result<(), Error> {
        let mut left = self.stored_left + self.padding;
        let mut sink = [0; 16 * 1024];
        while left > 0 {
            let want = sink.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match self.inner.read(&mut sink[..want])? {
                0 => return Err(Error::Truncated),
                read => left -= read as u64,
            }
        }
        (self.stored_left, self.padding, self.position, self.size) = (0, 0, 0, 0);
        self.extents.clear();
        self.next_extent = 0;
        Ok(())
    }

    fn begin_data(&mut self, stored: u64) {
        self.stored_left = stored;
        self.padding = (BLOCK as u64 - stored % BLOCK as u64) % BLOCK as u64;
    }

    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let size = header.number(124..136, "size")?;
        if size > MAX_EXTENSION_BYTES {
            return Err(Error::ExtensionTooLarge);
        }
        self.begin_data(size);
        let mut body = vec![0; usize::try_from(size).map_err(|_| Error::ExtensionTooLarge)?];
        read_exact(&mut self.inner, &mut body)?;
        self.stored_left = 0;
        Ok(body)
    }

    /// The next header block; none at the archive's end (a zero block, or the stream's end).
    fn read_header(&mut self) -> Result<Option<Header>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(Error::Truncated),
                read => filled += read,
            }
        }
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let header = Header(block);
        header.check()?;
        Ok(Some(header))
    }

    fn member(
        &mut self,
        header: &Header,
        pax: Pax,
        (long_name, long_link): (Option<Vec<u8>>, Option<Vec<u8>>),
    ) -> Result<Member, Error> {
        if (pax.path.is_some() && long_name.is_some())
            || (pax.link.is_some() && long_link.is_some())
        {
            return Err(Error::Ambiguous("a GNU long name and a PAX name for one member"));
        }
        let long = pax.path.is_some() || long_name.is_some();
        let path = pax.path.or(long_name).unwrap_or_else(|| header.name());
        let link = pax.link.or(long_link).unwrap_or_else(|| header.text(157..257).to_vec());
        let mut kind = match header.type_flag() {
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::Hardlink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => return Err(Error::Type(char::from(other))),
        };
        // Archives older than ustar mark directories by a slash alone.
        if kind == Kind::File && path.ends_with(b"/") {
            // Those archives have no long names: GNU tar lists such a member as a file, and
            // extracts it as a directory.
            if long || !matches!(header.type_flag(), 0 | b'0') {
                return Err(Error::Ambiguous("a file with a directory's name"));
            }
            kind = Kind::Directory;
        }
        if matches!(kind, Kind::Hardlink | Kind::Symlink) && link.is_empty() {
            return Err(Error::Field("link name"));
        }
        let stored = match pax.size {
            Some(size) => size,
            None => header.number(124..136, "size")?,
        };
        if kind != Kind::File && stored != 0 {
            return Err(Error::Ambiguous("a member without content has a size"));
        }
        let mut size = stored;
        self.extents = vec![(0, stored)];
        if header.type_flag() == b'S' {
            if pax.size.is_some() {
                return Err(Error::Ambiguous("a sparse member with a PAX size"));
            }
            size = self.sparse(header, stored)?;
        }
        self.extents.retain(|(_, len)| *len > 0);
        self.begin_data(stored);
        (self.position, self.size, self.next_extent) = (0, size, 0);
        let id = |pax: Option<u32>, range, field| match pax {
            Some(id) => Ok(id),
            None => u32::try_from(header.number(range, field)?).map_err(|_| Error::Field(field)),
        };
        Ok(Member {
            path,
            link,
            kind,
            mode: (header.number(100..108, "mode")? & 0o7777) as u32,
            uid: id(pax.uid, 108..116, "uid")?,
            gid: id(pax.gid, 116..124, "gid")?,
            mtime: match pax.mtime {
                Some(mtime) => mtime,
                None => (header.signed(136..148, "mtime")?, 0),
            },
            size,
            xattrs: pax.xattrs,
        })
    }

    /// Reads the extents of an old GNU sparse member; returns the size with holes.
    fn sparse(&mut self, header: &Header, stored: u64) -> Result<u64, Error> {
        if !header.is_gnu() {
            return Err(Error::Field("sparse header"));
        }
        let real = header.number(483..495, "real size")?;
        let mut extents = Vec::new();
        read_extents(header, 386, 4, &mut extents)?;
        let mut extended = header.0[482] != 0;
        while extended {
            let mut block = [0; BLOCK];
            read_exact(&mut self.inner, &mut block)?;
            let block = Header(block);
            read_extents(&block, 0, 21, &mut extents)?;
            extended = block.0[504] != 0;
        }
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for (start, len) in &extents {
            let next = start.checked_add(*len).ok_or(Error::Field("sparse map"))?;
            if *start < end || next > real {
                return Err(Error::Field("sparse map"));
            }
            end = next;
            sum += len;
        }
        if sum != stored {
            return Err(Error::Ambiguous("the sparse map doesn't add up to the member's size"));
        }
        self.extents = extents;
        Ok(real)
    }
}

fn read_extents(
    block: &Header,
    at: usize,
    count: usize,
    extents: &mut Vec<(u64, u64)>,
) -> Result<(), Error> {
    for index in 0..count {
        let start = at + index * 24;
        if block.0[start] == 0 {
            break;
        }
        if extents.len() >= MAX_EXTENTS {
            return Err(Error::Field("sparse map"));
        }
        let offset = block.number(start..start + 12, "sparse map")?;
        let len = block.number(start + 12..start + 24, "sparse map")?;
        extents.push((offset, len));
    }
    Ok(())
}

struct Header([u8; BLOCK]);

impl Header {
    fn type_flag(&self) -> u8 {
        self.0[156]
    }

    fn is_gnu(&self) -> bool {
        &self.0[257..265] == b"ustar  \0"
    }

    fn is_ustar(&self) -> bool {
        &self.0[257..263] == b"ustar\0"
    }

    /// The unsigned sum, or the signed one that some old programs wrote.
    fn check(&self) -> Result<(), Error> {
        let stored = self.number(148..156, "checksum").map_err(|_| Error::Checksum)?;
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (index, byte) in self.0.iter().enumerate() {
            let byte = if (148..156).contains(&index) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte as i8);
        }
        let stored = i64::try_from(stored).map_err(|_| Error::Checksum)?;
        if stored == unsigned || stored == signed { Ok(()) } else { Err(Error::Checksum) }
    }

    fn text(&self, range: std::ops::Range<usize>) -> &[u8] {
        let field = &self.0[range];
        &field[..field.iter().position(|b| *b == 0).unwrap_or(field.len())]
    }

    fn name(&self) -> Vec<u8> {
        let name = self.text(0..100);
        let prefix = self.text(345..500);
        if !self.is_ustar() || prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    fn number(&self, range: std::ops::Range<usize>, field: &'static str) -> Result<u64, Error> {
        u64::try_from(self.signed(range, field)?).map_err(|_| Error::Field(field))
    }

    /// Octal digits, or GNU's base-256 when the first bit is set.
    fn signed(&self, range: std::ops::Range<usize>, field: &'static str) -> Result<i64, Error> {
        let bytes = &self.0[range];
        let first = bytes[0];
        if first & 0x80 != 0 {
            let negative = first & 0x40 != 0;
            let mut value: i128 = i128::from(first & 0x3f) - if negative { 0x40 } else { 0 };
            for byte in &bytes[1..] {
                value = (value << 8) | i128::from(*byte);
                if value > i128::from(i64::MAX) || value < i128::from(i64::MIN) {
                    return Err(Error::Field(field));
                }
            }
            return i64::try_from(value).map_err(|_| Error::Field(field));
        }
        let text = bytes.trim_ascii_start();
        let end = text.iter().position(|b| *b == 0 || *b == b' ').unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        if rest.iter().any(|b| *b != 0 && *b != b' ') {
            return Err(Error::Field(field));
        }
        let mut value: i64 = 0;
        for digit in digits {
            if !(b'0'..=b'7').contains(digit) {
                return Err(Error::Field(field));
            }
            let shifted = value.checked_mul(8).ok_or(Error::Field(field))?;
            value = shifted + i64::from(digit - b'0');
        }
        Ok(value)
    }
}

/// The name in an `L` or `K` body. Without its NUL, GNU tar reads on into the padding.
fn c_string(mut bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    let end = bytes.iter().position(|b| *b == 0);
    bytes.truncate(end.ok_or(Error::Ambiguous("a long name without its end"))?);
    Ok(bytes)
}

fn read_exact(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), Error> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Truncated,
        _ => Error::Io(error),
    })
}
