//! The local store and its uploads: what appears, what is refused, what is left.
#![allow(clippy::unwrap_used)] // tests

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use wharf_registry::digest::{Algorithm, Digest};
use wharf_registry::{Error, LocalStorage, Storage, UploadError, Uploads};

const ID: &str = "00000000-0000-4000-8000-000000000001";

struct Fixture {
    directory: tempfile::TempDir,
    storage: Arc<LocalStorage>,
    uploads: Uploads,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let storage = Arc::new(LocalStorage::open(directory.path()).unwrap());
    let uploads = Uploads::new(Arc::clone(&storage) as Arc<dyn Storage>);
    Fixture { directory, storage, uploads }
}

impl Fixture {
    fn files(&self, part: &str) -> usize {
        std::fs::read_dir(self.directory.path().join("registry").join(part)).unwrap().count()
    }

    async fn whole(&self, digest: &Digest) -> Option<Bytes> {
        let reader = self.storage.open(digest).await.unwrap()?;
        Some(reader.read(0, usize::try_from(reader.size()).unwrap()).await.unwrap())
    }
}

#[tokio::test]
async fn chunks_become_a_blob_of_either_algorithm() {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let f = fixture();
        f.uploads.begin(ID, "repo").await.unwrap();
        let mut writer = f.uploads.writer(ID, "repo").await.unwrap();
        writer.append(Bytes::from_static(b"hello ")).await.unwrap();
        drop(writer);
        let mut writer = f.uploads.writer(ID, "repo").await.unwrap();
        assert!(matches!(
            writer.demand_start(3),
            Err(UploadError::OutOfOrder { expected: 6, found: 3 })
        ));
        writer.append(Bytes::from_static(b"world")).await.unwrap();
        let digest = Digest::with(algorithm, b"hello world");
        assert_eq!(f.uploads.finish(writer, &digest).await.unwrap(), 11);
        assert_eq!(f.whole(&digest).await.unwrap(), "hello world");
        assert_eq!(f.files("uploads"), 0);
        assert!(matches!(f.uploads.get(ID, "repo").await, Err(UploadError::Unknown)));
        let reader = f.storage.open(&digest).await.unwrap().unwrap();
        assert!(f.storage.remove(&digest).await.unwrap());
        assert_eq!(reader.read(6, 100).await.unwrap(), "world", "what is open is read to its end");
    }
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing() {
    let f = fixture();
    f.uploads.begin(ID, "repo").await.unwrap();
    let mut writer = f.uploads.writer(ID, "repo").await.unwrap();
    writer.append(Bytes::from_static(b"x")).await.unwrap();
    let refused = f.uploads.finish(writer, &Digest::of(b"y")).await;
    assert!(matches!(refused, Err(UploadError::Store(Error::Digest { .. }))), "{refused:?}");
    assert_eq!((f.files("uploads"), f.files("blobs/sha256"), f.files("tmp")), (0, 0, 0));
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart_and_belongs_to_its_owner() {
    let f = fixture();
    f.uploads.begin(ID, "repo").await.unwrap();
    f.uploads.writer(ID, "repo").await.unwrap().append(Bytes::from_static(b"abc")).await.unwrap();
    let again = Arc::new(LocalStorage::open(f.directory.path()).unwrap());
    let uploads = Uploads::new(again as Arc<dyn Storage>);
    assert!(matches!(uploads.writer(ID, "other").await, Err(UploadError::Unknown)));
    let mut writer = uploads.writer(ID, "repo").await.unwrap();
    assert_eq!(writer.size(), 3);
    writer.append(Bytes::from_static(b"def")).await.unwrap();
    uploads.finish(writer, &Digest::of(b"abcdef")).await.unwrap();
    assert_eq!(f.whole(&Digest::of(b"abcdef")).await.unwrap(), "abcdef");
}

#[tokio::test]
async fn a_second_connection_takes_over() {
    let f = fixture();
    f.uploads.begin(ID, "repo").await.unwrap();
    let mut first = f.uploads.writer(ID, "repo").await.unwrap();
    first.append(Bytes::from_static(b"a")).await.unwrap();
    let cancelled = first.cancelled();
    let second = async {
        let mut second = f.uploads.writer(ID, "repo").await.unwrap();
        assert_eq!(second.size(), 1);
        second.append(Bytes::from_static(b"b")).await.unwrap();
        second
    };
    let loser = async {
        cancelled.cancelled().await;
        let refused = first.append(Bytes::from_static(b"x")).await;
        assert!(matches!(refused, Err(UploadError::TakenOver)), "{refused:?}");
        drop(first);
    };
    let (second, ()) = tokio::join!(second, loser);
    f.uploads.finish(second, &Digest::of(b"ab")).await.unwrap();
}

#[tokio::test]
async fn what_rests_too_long_is_forgotten_and_leftovers_go() {
    let f = fixture();
    f.uploads.begin(ID, "repo").await.unwrap();
    let now = SystemTime::now();
    assert_eq!(f.uploads.expire(now).await.unwrap(), 0);
    let writer = f.uploads.writer(ID, "repo").await.unwrap();
    let later = now + Duration::from_secs(25 * 3600);
    assert_eq!(f.uploads.expire(later).await.unwrap(), 0, "somebody writes");
    drop(writer);
    assert_eq!(f.uploads.expire(later).await.unwrap(), 1);
    assert_eq!(f.files("uploads"), 0);
    let root = f.directory.path().join("registry");
    std::fs::write(root.join("tmp/put-7"), "half").unwrap();
    std::fs::write(root.join("uploads").join(format!("{ID}.owner")), "repo").unwrap();
    LocalStorage::open(f.directory.path()).unwrap();
    assert_eq!(f.files("tmp"), 0);
    f.uploads.expire(now).await.unwrap();
    assert_eq!(f.files("uploads"), 0, "half of an upload is none");
}

#[tokio::test]
async fn ids_are_no_paths() {
    let f = fixture();
    for id in ["", "..", "../x", "a/b", "/etc/passwd", "x.data"] {
        assert!(f.uploads.get(id, "repo").await.is_err(), "{id}");
        assert!(f.storage.begin(id, "repo").await.is_err(), "{id}");
        assert!(f.storage.append(id, 0, Bytes::new()).await.is_err(), "{id}");
    }
}

#[tokio::test]
async fn manifests_are_stored_whole_and_once() {
    let f = fixture();
    let digest = Digest::of(b"{}");
    for _ in 0..2 {
        f.storage.put(&digest, Bytes::from_static(b"{}")).await.unwrap();
    }
    assert_eq!(f.storage.list().await.unwrap().len(), 1);
    assert_eq!(f.whole(&digest).await.unwrap(), "{}");
    assert_eq!(f.storage.size(&Digest::of(b"x")).await.unwrap(), None);
}
