//! One file of a log, as it was written or compressed since. Both are read as the same lines, and a
//! file is known as the one that it was: whoever follows it while it is compressed reads no line twice.

use std::fs::File;
use std::io::{self, BufRead, BufReader, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use tokio::io::{AsyncBufReadExt, AsyncSeekExt};

/// The subfield of the gzip header that says which file it was.
const SUBFIELD: &[u8; 4] = b"WL\x10\0";

/// Tells a file from all others of its log: inodes come again, at another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) inode: u64,
    born_ns: u64,
}

impl Identity {
    fn of(metadata: &std::fs::Metadata) -> Self {
        let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.and_then(|age| u64::try_from(age.as_nanos()).ok()).unwrap_or(0);
        Self { inode: metadata.ino(), born_ns }
    }

    fn to_header(self) -> Vec<u8> {
        [&SUBFIELD[..], &self.inode.to_le_bytes(), &self.born_ns.to_le_bytes()].concat()
    }

    fn of_header(extra: &[u8]) -> Option<Self> {
        let (inode, born) = extra.strip_prefix(SUBFIELD)?.split_at_checked(8)?;
        Some(Self {
            inode: u64::from_le_bytes(inode.try_into().ok()?),
            born_ns: u64::from_le_bytes(born.try_into().ok()?),
        })
    }
}

/// What a file is called once it is compressed.
pub(crate) fn compressed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    PathBuf::from(name)
}

/// Compresses a file that is written to no more. It goes when the other is whole, so that a reader
/// finds one of them at any time.
pub(crate) fn compress(path: &Path) -> io::Result<()> {
    let target = compressed(path);
    let unfinished = target.with_extension("gz.tmp");
    let mut from = File::open(path)?;
    let identity = Identity::of(&from.metadata()?);
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let to = options.open(&unfinished)?;
    let result = (|| {
        let builder = flate2::GzBuilder::new().extra(identity.to_header());
        // The container's output waits for it: quick rather than small.
        let mut encoder: GzEncoder<File> = builder.write(to, Compression::fast());
        io::copy(&mut from, &mut encoder)?;
        let mut to = encoder.finish()?;
        to.flush()?;
        to.sync_all()?;
        std::fs::rename(&unfinished, &target)
    })();
    if let Err(error) = result {
        let _ = std::fs::remove_file(&unfinished);
        return Err(error);
    }
    std::fs::remove_file(path)
}

enum Bytes {
    Plain(tokio::io::BufReader<tokio::fs::File>),
    /// Decompressing a piece takes microseconds.
    Compressed(Box<BufReader<GzDecoder<BufReader<File>>>>),
}

/// A file that is read.
pub(super) struct Source {
    pub(super) identity: Identity,
    bytes: Bytes,
}

impl Source {
    /// Opens the file of that name, or what it was compressed to.
    pub(super) async fn open(path: &Path) -> io::Result<Self> {
        match tokio::fs::File::open(path).await {
            Ok(file) => {
                let metadata = file.metadata().await?;
                let bytes = Bytes::Plain(tokio::io::BufReader::new(file));
                Ok(Self { identity: Identity::of(&metadata), bytes })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = File::open(compressed(path))?;
                let own = Identity::of(&file.metadata()?);
                let decoder = GzDecoder::new(BufReader::new(file));
                let header = decoder.header().and_then(|header| header.extra());
                let identity = header.and_then(Identity::of_header).unwrap_or(own);
                Ok(Self { identity, bytes: Bytes::Compressed(Box::new(BufReader::new(decoder))) })
            }
            Err(error) => Err(error),
        }
    }

    /// How long it is by now; none if it is compressed, which no position points into.
    pub(super) async fn length(&self) -> io::Result<Option<u64>> {
        match &self.bytes {
            Bytes::Plain(file) => Ok(Some(file.get_ref().metadata().await?.len())),
            Bytes::Compressed(_) => Ok(None),
        }
    }

    /// Goes to a position; a compressed one is at its beginning.
    pub(super) async fn seek(&mut self, offset: u64) -> io::Result<()> {
        if let Bytes::Plain(file) = &mut self.bytes {
            file.seek(SeekFrom::Start(offset)).await?;
        }
        Ok(())
    }

    /// Whether there is more than what was read, and makes it readable.
    pub(super) async fn has_more(&mut self) -> io::Result<bool> {
        let Bytes::Plain(file) = &mut self.bytes else { return Ok(false) };
        let position = file.stream_position().await?;
        if position >= file.get_ref().metadata().await?.len() {
            return Ok(false);
        }
        file.seek(SeekFrom::Start(position)).await?;
        Ok(true)
    }

    pub(super) async fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match &mut self.bytes {
            Bytes::Plain(file) => file.fill_buf().await,
            Bytes::Compressed(file) => file.fill_buf(),
        }
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        match &mut self.bytes {
            Bytes::Plain(file) => file.consume(bytes),
            Bytes::Compressed(file) => file.consume(bytes),
        }
    }
}

/// A compressed file's content.
#[cfg(test)]
pub(crate) fn content(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    GzDecoder::new(BufReader::new(File::open(compressed(path))?)).read_to_string(&mut text)?;
    Ok(text)
}
