//! Downloads on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::Cause;
use crate::digest::Hasher;
use crate::manifest::Descriptor;
use crate::registry;
use crate::store::{self, ImageStore};

/// A download on disk, hashed as far as it goes.
pub(super) struct Partial {
    file: File,
    hasher: Hasher,
    path: std::path::PathBuf,
}

impl Partial {
    /// Opens or begins the download; a file longer than the blob is begun anew.
    pub(super) fn open(path: &Path, size: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        if file.metadata()?.len() > size {
            file.set_len(0)?;
        }
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match io::Read::read(&mut file, &mut buffer)? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        Ok(Self { file, hasher, path: path.to_owned() })
    }

    pub(super) fn written(&self) -> u64 {
        self.hasher.bytes()
    }

    pub(super) fn restart(mut self) -> io::Result<Self> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = Hasher::default();
        Ok(self)
    }

    pub(super) fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk)?;
        self.hasher.update(chunk);
        Ok(())
    }

    /// Checks size and digest and makes it a blob; what is wrong is thrown away.
    pub(super) fn finish(self, store: &ImageStore, blob: &Descriptor) -> Result<(), Cause> {
        let digest = blob.digest;
        let write_error = |error| Cause::Write { digest, error };
        let size = self.written();
        if size < blob.size {
            // The registry closed early but properly; the rest is asked for next.
            let url = format!("blob {digest}");
            return Err(Cause::Copy { error: registry::Error::CutShort { url }.into() });
        }
        let found = self.hasher.finish();
        if found != digest {
            fs::remove_file(&self.path).map_err(write_error)?;
            let error = registry::Error::Digest { expected: digest, found };
            return Err(Cause::Copy { error: error.into() });
        }
        self.file.sync_all().map_err(write_error)?;
        let place = store.layout().blob(&digest);
        fs::rename(&self.path, &place).map_err(write_error)?;
        place.parent().map_or(Ok(()), store::files::sync_dir).map_err(write_error)
    }
}

pub(super) fn partial_size(path: &Path) -> u64 {
    fs::metadata(path).map(|meta| meta.len()).unwrap_or(0)
}
