//! Content-addressed blobs: `blobs/sha256/<hex>`, whole and verified or absent.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::files::{sync_dir, unique};
use super::{Error, Layout};
use crate::digest::{Digest, HashingReader, HashingWriter};

/// A blob being written; nothing is visible until [`BlobWriter::commit`].
pub(crate) struct BlobWriter {
    output: Option<HashingWriter<File>>,
    scratch: PathBuf,
    blobs: PathBuf,
}

impl BlobWriter {
    /// Begins a blob.
    pub fn create(layout: &Layout) -> io::Result<Self> {
        let scratch = layout.tmp().join(unique("blob"));
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .read(true)
            .mode(0o600)
            .open(&scratch)?;
        let output = Some(HashingWriter::new(file));
        Ok(Self { output, scratch, blobs: layout.blobs() })
    }

    /// Makes the blob durable and visible under its digest; returns digest and size.
    pub fn commit(mut self) -> io::Result<(Digest, u64)> {
        let Some(output) = self.output.take() else {
            return Err(io::Error::other("the blob is committed already"));
        };
        let (file, digest, size) = output.finish();
        file.sync_all()?;
        fs::rename(&self.scratch, self.blobs.join(digest.hex()))?;
        sync_dir(&self.blobs)?;
        Ok((digest, size))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.output {
            Some(output) => output.write(buffer),
            None => Err(io::Error::other("the blob is committed already")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // After a commit the scratch name is gone and this does nothing.
        let _ = fs::remove_file(&self.scratch);
    }
}

/// Stores `bytes` as a blob.
pub(crate) fn put(layout: &Layout, bytes: &[u8]) -> Result<Digest, Error> {
    let digest = Digest::of(bytes);
    let path = layout.blob(&digest);
    if has(layout, &digest, bytes.len() as u64) {
        return Ok(digest);
    }
    let mut writer = BlobWriter::create(layout).map_err(Error::io("create blob", &path))?;
    writer.write_all(bytes).map_err(Error::io("write blob", &path))?;
    writer.commit().map_err(Error::io("write blob", &path))?;
    Ok(digest)
}

/// Makes a blob of a file on the same file system that nobody changes any more, by a link, if the file
/// has the right content; false if it isn't there or has another.
pub(crate) fn link(
    layout: &Layout,
    source: &std::path::Path,
    digest: &Digest,
    size: u64,
) -> io::Result<bool> {
    let scratch = layout.tmp().join(unique("link"));
    match fs::hard_link(source, &scratch) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    // The link is hashed, not the name that it was made of: what is checked is what is kept.
    let check = || -> io::Result<bool> {
        let file = File::open(&scratch)?;
        if file.metadata()?.len() != size {
            return Ok(false);
        }
        let mut reader = HashingReader::new(file);
        io::copy(&mut reader, &mut io::sink())?;
        if reader.finish().0 != *digest {
            return Ok(false);
        }
        fs::rename(&scratch, layout.blob(digest))?;
        sync_dir(&layout.blobs())?;
        Ok(true)
    };
    let linked = check();
    // A rename between two links to one file does nothing, and leaves both.
    let _ = fs::remove_file(&scratch);
    linked
}

/// True if the blob is here with this size.
pub(crate) fn has(layout: &Layout, digest: &Digest, size: u64) -> bool {
    fs::metadata(layout.blob(digest)).is_ok_and(|meta| meta.is_file() && meta.len() == size)
}

/// Reads a small blob and verifies its digest; none if it isn't here.
pub(crate) fn read(layout: &Layout, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let path = layout.blob(digest);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open blob", &path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io("read blob", &path))?;
    if bytes.len() as u64 > limit || Digest::of(&bytes) != *digest {
        return Err(Error::Corrupt { digest: *digest });
    }
    Ok(Some(bytes))
}
