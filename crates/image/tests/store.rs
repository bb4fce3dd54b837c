//! The store's promises: nothing half is ever used, nothing in use is ever removed.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use support::{Registry, build};
use wharf_image::{
    BuildOptions, CleanupPolicy, ImageStore, NoProgress, PullOptions, RegistryClient,
    RegistryOptions,
};

/// Not a test of its own: builds an image when it is started as a child of the next one.
#[test]
fn child_that_builds() {
    let Ok(dir) = std::env::var("WHARF_TEST_BUILD_IN") else { return };
    let dir = Path::new(&dir);
    let store = ImageStore::open(dir.join("images")).unwrap();
    let options = BuildOptions { name: "app".into(), ..Default::default() };
    store.build(&dir.join("root"), &options).unwrap();
}

#[test]
fn a_killed_build_leaves_nothing_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    for index in 0..300 {
        fs::write(root.join(format!("file{index}")), format!("{index}").repeat(3000)).unwrap();
    }
    let mut finished = 0;
    for round in 0..20_u64 {
        let images = dir.path().join("images");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_builds", "--test-threads=1"])
            .env("WHARF_TEST_BUILD_IN", dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // The moment of the kill is the point of this wait.
        std::thread::sleep(Duration::from_millis(round * 12));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = ImageStore::open(&images).unwrap();
        // A fresh scratch file of the index may be another process's: opening leaves it alone.
        let scratch = fs::read_dir(images.join("tmp")).unwrap().map(|e| e.unwrap().file_name());
        let left = scratch.filter(|name| !name.as_encoded_bytes().starts_with(b"file-"));
        assert_eq!(left.count(), 0, "round {round}");
        for layer in fs::read_dir(images.join("layers")).unwrap().map(Result::unwrap) {
            if layer.path().is_dir() {
                assert_eq!(fs::read_dir(layer.path()).unwrap().count(), 300, "round {round}");
            }
        }
        if let Some(image) = store.resolve("app").unwrap() {
            finished += 1;
            assert_eq!(fs::read_dir(&image.layers[0]).unwrap().count(), 300);
            store.remove("app").unwrap();
            assert_eq!(fs::read_dir(images.join("layers")).unwrap().count(), 0);
            assert_eq!(fs::read_dir(images.join("blobs/sha256")).unwrap().count(), 0);
        }
    }
    println!("{finished} of 20 builds had finished before they were killed");
}

#[tokio::test]
async fn cleanup_follows_the_agents_rules() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start(None);
    let store = ImageStore::open(dir.path().join("images")).unwrap();
    let client = RegistryClient::new(RegistryOptions::default());
    let mut images = Vec::new();
    for index in 0..4 {
        let own = dir.path().join(index.to_string());
        let (_, image) = build(&own, "x");
        registry.publish(&own.join("built"), &image, &format!("app{index}"), "v");
        let name = format!("{}/app{index}:v", registry.address);
        let progress = Arc::new(NoProgress);
        let pulled = store.pull(&client, &name, &PullOptions::default(), progress).await;
        images.push(pulled.unwrap());
    }
    store
        .build(
            &dir.path().join("0/root"),
            &BuildOptions { name: "own".into(), ..Default::default() },
        )
        .unwrap();
    store.pin("task-1", &images[0]).unwrap();
    let in_use = BTreeSet::from([images[1].manifest]);
    let policy = CleanupPolicy { exclude: vec![images[2].name.clone()], ..Default::default() };
    let now = SystemTime::now();
    // Too young.
    assert!(store.gc(&in_use, &policy, now).unwrap().names.is_empty());
    let later = now + Duration::from_secs(3601);
    let report = store.gc(&in_use, &policy, later).unwrap();
    assert_eq!(report.names, [images[3].name.clone()]);
    assert_eq!(report.layers, 1);
    assert!(!images[3].layers[0].exists());
    // A removed name keeps its content as long as a container uses it.
    store.remove(&images[0].name).unwrap();
    assert!(images[0].layers[0].join("data/random").exists());
    store.unpin("task-1").unwrap();
    let all = CleanupPolicy { images_per_cycle: 1, ..Default::default() };
    assert_eq!(store.gc(&BTreeSet::new(), &all, later).unwrap().names.len(), 1);
    assert_eq!(store.gc(&BTreeSet::new(), &all, later).unwrap().names.len(), 1);
    assert!(store.gc(&BTreeSet::new(), &all, later).unwrap().names.is_empty());
    let left: Vec<_> = store.list().unwrap().into_iter().map(|image| image.name).collect();
    assert_eq!(left, ["docker.io/library/own:latest"]);
    assert!(store.pin("../x", &images[0]).is_err());
    assert!(store.pin("task-2", &images[0]).is_err(), "the content is gone");
}

#[test]
fn a_layer_that_vanished_is_unpacked_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, image) = build(dir.path(), "app");
    fs::remove_dir_all(&image.layers[0]).unwrap();
    let again = store.resolve("app").unwrap().unwrap();
    assert!(again.layers[0].join("data/random").exists());
}
