//! Blobs in a directory of the local file system.
//!
//! ```text
//! blobs/sha256/<hex>  blobs/sha512/<hex>    whole and durable
//! uploads/<id>.data                          what has arrived
//! uploads/<id>.owner                         whose it is
//! tmp/                                       what is about to become a blob
//! ```
//!
//! A blob appears by a rename of bytes that were synced before, and its directory is synced before
//! anybody is told. What a process leaves that is killed lies in `tmp/`, which is emptied when the
//! store is opened, or among the uploads, which expire. Once a blob has its
//! name its file is never written to or cut, only unlinked: it is sent from a mapping, and others
//! have hard links to it. Files belong to their owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::digest::{Algorithm, Digest};
use crate::storage::{BlobReader, Error, Storage, UploadInfo};

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// The store in a directory. Clones share it.
#[derive(Debug, Clone)]
pub struct LocalStorage {
    root: Arc<PathBuf>,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.display().to_string();
    move |source| Error::Io { action, path, source }
}

/// None where there is nothing of that name.
fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Cancelled))
}

impl LocalStorage {
    /// Opens `<data dir>/registry` and removes what a killed process left unfinished. Blocks.
    ///
    /// # Errors
    /// If a directory can't be made or cleared.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        let storage = Self { root: Arc::new(Self::directory(data_dir)) };
        let mut directories: Vec<PathBuf> =
            ALGORITHMS.iter().map(|algorithm| storage.blobs(*algorithm)).collect();
        directories.extend([storage.uploads_directory(), storage.scratch_directory()]);
        for directory in &directories {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(failed("make", directory))?;
        }
        let scratch = storage.scratch_directory();
        for entry in fs::read_dir(&scratch).map_err(failed("read", &scratch))? {
            let path = entry.map_err(failed("read", &scratch))?.path();
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        let blobs = storage.root.join("blobs");
        for directory in [&blobs, storage.root.as_path(), data_dir] {
            sync_directory(directory).map_err(failed("sync", directory))?;
        }
        Ok(storage)
    }

    /// Where the store of a data directory lies.
    pub fn directory(data_dir: &Path) -> PathBuf {
        data_dir.join("registry")
    }

    /// Where a blob lies in the store of a data directory, if it is there: for readers on this host.
    pub fn blob_path(data_dir: &Path, digest: &Digest) -> PathBuf {
        let blobs = Self::directory(data_dir).join("blobs").join(digest.algorithm().as_str());
        blobs.join(digest.hex())
    }

    fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.as_str())
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs(digest.algorithm()).join(digest.hex())
    }

    fn uploads_directory(&self) -> PathBuf {
        self.root.join("uploads")
    }

    fn scratch_directory(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Ids come from us and are checked on their way in; this is the second look.
    fn upload_file(&self, id: &str, what: &str) -> Result<PathBuf, Error> {
        let fits = !id.is_empty() && id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
        match fits {
            true => Ok(self.uploads_directory().join(format!("{id}.{what}"))),
            false => Err(Error::NoUpload(id.chars().take(40).collect())),
        }
    }

    /// Syncs a file, names it as a blob, and syncs the name.
    fn show(&self, file: &File, from: &Path, digest: &Digest) -> Result<(), Error> {
        file.sync_all().map_err(failed("sync", from))?;
        let place = self.blob(digest);
        fs::rename(from, &place).map_err(failed("name", &place))?;
        let directory = self.blobs(digest.algorithm());
        sync_directory(&directory).map_err(failed("sync", &directory))
    }

    fn put_now(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if fs::metadata(self.blob(digest)).is_ok_and(|found| found.len() == bytes.len() as u64) {
            return Ok(());
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let scratch = self.scratch_directory().join(format!("put-{number}"));
        let write = || -> io::Result<File> {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&scratch)?;
            file.write_all(bytes)?;
            Ok(file)
        };
        let shown = write()
            .map_err(failed("write", &scratch))
            .and_then(|file| self.show(&file, &scratch, digest));
        if shown.is_err() {
            // What failed is what matters; a leftover goes at the next start.
            let _ = fs::remove_file(&scratch);
        }
        shown
    }

    fn info(&self, id: &str) -> Result<Option<UploadInfo>, Error> {
        let owner = self.upload_file(id, "owner")?;
        let data = self.upload_file(id, "data")?;
        let text = absent(fs::read_to_string(&owner)).map_err(failed("read", &owner))?;
        let meta = absent(fs::metadata(&data)).map_err(failed("look at", &data))?;
        let (Some(owner), Some(meta)) = (text, meta) else { return Ok(None) };
        let touched = meta.modified().unwrap_or_else(|_| SystemTime::now());
        Ok(Some(UploadInfo { id: id.to_owned(), owner, size: meta.len(), touched }))
    }
}

struct LocalBlob {
    file: Arc<File>,
    size: u64,
    path: PathBuf,
}

#[async_trait]
impl BlobReader for LocalBlob {
    fn size(&self) -> u64 {
        self.size
    }

    fn file(&self) -> Option<Arc<File>> {
        Some(Arc::clone(&self.file))
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, Error> {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        blocking(move || read_at(&file, &path, offset, length)).await
    }
}

fn read_at(file: &File, path: &Path, offset: u64, length: usize) -> Result<Bytes, Error> {
    let mut buffer = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read", path)(error)),
        }
    }
    buffer.truncate(filled);
    Ok(buffer.into())
}

#[async_trait]
impl Storage for LocalStorage {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let path = self.blob(digest);
        blocking(move || {
            let meta = absent(fs::metadata(&path)).map_err(failed("look at", &path))?;
            Ok(meta.map(|meta| meta.len()))
        })
        .await
    }

    async fn open(&self, digest: &Digest) -> Result<Option<Box<dyn BlobReader>>, Error> {
        let path = self.blob(digest);
        blocking(move || {
            let Some(file) = absent(File::open(&path)).map_err(failed("open", &path))? else {
                return Ok(None);
            };
            let size = file.metadata().map_err(failed("look at", &path))?.len();
            let blob = LocalBlob { file: Arc::new(file), size, path };
            Ok(Some(Box::new(blob) as Box<dyn BlobReader>))
        })
        .await
    }

    async fn put(&self, digest: &Digest, bytes: Bytes) -> Result<(), Error> {
        let (storage, digest) = (self.clone(), digest.clone());
        blocking(move || storage.put_now(&digest, &bytes)).await
    }

    async fn remove(&self, digest: &Digest) -> Result<bool, Error> {
        let path = self.blob(digest);
        blocking(move || {
            Ok(absent(fs::remove_file(&path)).map_err(failed("remove", &path))?.is_some())
        })
        .await
    }

    async fn list(&self) -> Result<Vec<(Digest, SystemTime)>, Error> {
        let storage = self.clone();
        blocking(move || {
            let mut found = Vec::new();
            for algorithm in ALGORITHMS {
                let directory = storage.blobs(algorithm);
                for entry in fs::read_dir(&directory).map_err(failed("read", &directory))? {
                    let entry = entry.map_err(failed("read", &directory))?;
                    let name = entry.file_name();
                    let text = format!("{}:{}", algorithm.as_str(), name.to_string_lossy());
                    let since = entry.metadata().and_then(|meta| meta.modified());
                    if let (Ok(digest), Ok(since)) = (Digest::from_str(&text), since) {
                        found.push((digest, since));
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    async fn begin(&self, id: &str, owner: &str) -> Result<(), Error> {
        let (owner_file, data) = (self.upload_file(id, "owner")?, self.upload_file(id, "data")?);
        let owner = owner.to_owned();
        blocking(move || {
            for (path, content) in [(data, ""), (owner_file, owner.as_str())] {
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
                let written = file.and_then(|mut file| file.write_all(content.as_bytes()));
                written.map_err(failed("write", &path))?;
            }
            Ok(())
        })
        .await
    }

    async fn append(&self, id: &str, offset: u64, bytes: Bytes) -> Result<(), Error> {
        let (id, path) = (id.to_owned(), self.upload_file(id, "data")?);
        blocking(move || {
            let file = absent(OpenOptions::new().write(true).open(&path));
            let file = file.map_err(failed("open", &path))?.ok_or(Error::NoUpload(id))?;
            let written = file.write_all_at(&bytes, offset);
            if written.is_err() {
                // Half a chunk would be counted as arrived.
                file.set_len(offset).map_err(failed("cut", &path))?;
            }
            written.map_err(failed("write", &path))
        })
        .await
    }

    async fn reread(&self, id: &str, offset: u64, length: usize) -> Result<Bytes, Error> {
        let (id, path) = (id.to_owned(), self.upload_file(id, "data")?);
        blocking(move || {
            let file = absent(File::open(&path)).map_err(failed("open", &path))?;
            read_at(&file.ok_or(Error::NoUpload(id))?, &path, offset, length)
        })
        .await
    }

    async fn finish(&self, id: &str, digest: &Digest) -> Result<(), Error> {
        let (owner_file, data) = (self.upload_file(id, "owner")?, self.upload_file(id, "data")?);
        let (storage, digest, id) = (self.clone(), digest.clone(), id.to_owned());
        blocking(move || {
            let file = absent(File::open(&data)).map_err(failed("open", &data))?;
            let file = file.ok_or(Error::NoUpload(id))?;
            storage.show(&file, &data, &digest)?;
            // Without its data the upload is over; the owner's file alone does no harm.
            let _ = fs::remove_file(&owner_file);
            Ok(())
        })
        .await
    }

    async fn abort(&self, id: &str) -> Result<bool, Error> {
        let (owner, data) = (self.upload_file(id, "owner")?, self.upload_file(id, "data")?);
        blocking(move || {
            let was = absent(fs::remove_file(&owner)).map_err(failed("remove", &owner))?;
            absent(fs::remove_file(&data)).map_err(failed("remove", &data))?;
            Ok(was.is_some())
        })
        .await
    }

    async fn upload(&self, id: &str) -> Result<Option<UploadInfo>, Error> {
        if self.upload_file(id, "data").is_err() {
            return Ok(None);
        }
        let (storage, id) = (self.clone(), id.to_owned());
        blocking(move || storage.info(&id)).await
    }

    async fn uploads(&self) -> Result<Vec<UploadInfo>, Error> {
        let storage = self.clone();
        blocking(move || {
            let directory = storage.uploads_directory();
            let mut found = Vec::new();
            for entry in fs::read_dir(&directory).map_err(failed("read", &directory))? {
                let name = entry.map_err(failed("read", &directory))?.file_name();
                let name = name.to_string_lossy();
                // One file without the other is what a killed process left of an upload: both
                // belong to something that is listed, so that it expires.
                let Some((id, what)) = name.split_once('.') else { continue };
                match storage.info(id)? {
                    Some(info) if what == "data" => found.push(info),
                    Some(_) => {}
                    None => found.push(UploadInfo {
                        id: id.to_owned(),
                        owner: String::new(),
                        size: 0,
                        touched: SystemTime::UNIX_EPOCH,
                    }),
                }
            }
            Ok(found)
        })
        .await
    }
}
