//! Pulling from a registry of our own that breaks off, lies, wants tokens and speaks TLS.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use support::{Registry, blob, build, certificates};
use wharf_image::{
    Credentials, Digest, Image, ImageStore, NoProgress, PullError, PullOptions, RegistryClient,
    RegistryOptions, Source,
};

async fn pull(dir: &Path, options: RegistryOptions, name: &str) -> Result<Image, PullError> {
    let store = ImageStore::open(dir.join("pulled")).unwrap();
    let client = RegistryClient::new(options);
    store.pull(&client, name, &PullOptions::default(), Arc::new(NoProgress)).await
}

/// A plain registry with the image as `app:v1`, and the name to pull.
fn plain(dir: &Path) -> (Registry, Image, String) {
    let (_, image) = build(dir, "app");
    let registry = Registry::start(None);
    registry.publish(&dir.join("built"), &image, "app", "v1");
    let name = format!("{}/app:v1", registry.address);
    (registry, image, name)
}

#[tokio::test]
async fn a_cut_connection_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, image, name) = plain(dir.path());
    // More than the attempts without progress: each half brings something.
    registry.behaviour.cuts.store(2, Ordering::SeqCst);
    let pulled = pull(dir.path(), RegistryOptions::default(), &name).await.unwrap();
    assert_eq!(pulled.id, image.id);
    assert_eq!(pulled.source, Source::Pulled);
    assert_eq!(pulled.image_digest(), image.manifest);
    let ranges: Vec<_> = registry.log().into_iter().filter(|l| l.contains("bytes=")).collect();
    assert_eq!(ranges.len(), 2, "{ranges:?}");
    assert_eq!(
        fs::read(pulled.layers[0].join("data/random")).unwrap(),
        fs::read(image.layers[0].join("data/random")).unwrap()
    );
    // Nothing is fetched twice: one HEAD or manifest request at most, and no blob.
    let before = registry.log().len();
    pull(dir.path(), RegistryOptions::default(), &name).await.unwrap();
    let after = registry.log();
    assert!(after[before..].iter().all(|line| !line.contains("/blobs/")), "{after:?}");
}

#[tokio::test]
async fn passing_failures_are_retried_and_lasting_ones_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, _, name) = plain(dir.path());
    registry.behaviour.failures.store(2, Ordering::SeqCst);
    pull(dir.path(), RegistryOptions::default(), &name).await.unwrap();

    let missing = format!("{}/app:nope", registry.address);
    let error = pull(dir.path(), RegistryOptions::default(), &missing).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): \
             failed to resolve ref {missing}: {missing}: not found"
        )
    );
    let begin = std::time::Instant::now();
    let error = pull(dir.path(), RegistryOptions::default(), "127.0.0.1:1/x:y").await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("retried 5 time(s)") && text.contains("connection refused"), "{text}");
    assert!(begin.elapsed().as_secs() < 30);
}

#[tokio::test]
async fn wrong_bytes_are_never_used() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, _, name) = plain(dir.path());
    let documents: Vec<_> = {
        let documents = registry.behaviour.documents.lock().unwrap();
        documents.iter().map(|(path, d)| (path.clone(), d.clone())).collect()
    };
    let largest = documents.iter().max_by_key(|(_, (_, bytes))| bytes.len()).unwrap();
    let (path, (kind, mut bytes)) = largest.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    registry.put(&path, &kind, bytes.clone());
    let error = pull(dir.path(), RegistryOptions::default(), &name).await.unwrap_err().to_string();
    assert!(error.contains("digest mismatch"), "{error}");
    bytes.push(0);
    registry.put(&path, &kind, bytes);
    let error = pull(dir.path(), RegistryOptions::default(), &name).await.unwrap_err().to_string();
    assert!(error.contains("has more than"), "{error}");
    let store = ImageStore::open(dir.path().join("pulled")).unwrap();
    assert!(store.resolve(&name).unwrap().is_none());
    assert_eq!(fs::read_dir(dir.path().join("pulled/layers")).unwrap().count(), 0);
}

#[tokio::test]
async fn manifests_that_can_be_read_in_two_ways_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, image, name) = plain(dir.path());
    let path = "/v2/app/manifests/v1";
    let oci = "application/vnd.oci.image.manifest.v1+json";
    let index = "application/vnd.oci.image.index.v1+json";
    let good = String::from_utf8(blob(&dir.path().join("built"), &image.manifest)).unwrap();
    let both = good.replacen('{', r#"{"manifests":[],"#, 1);
    let typed = good.replace(oci, index);
    let huge = format!("{good}{}", " ".repeat(5 << 20));
    let old = r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned();
    for (body, kind, word) in [
        (both, oci, "ambiguous"),
        (good.clone(), index, "announced"),
        (typed, oci, "announced"),
        (huge, oci, "more than"),
        (old, oci, "schemaVersion 1"),
        ("{".to_owned(), oci, "malformed"),
        (good.clone(), "text/html", "text/html"),
        (good.replace("layer.v1.tar+gzip", "layer.v1.tar+xz"), oci, "layer media type"),
        (good.replace("image.config.v1", "helm.config.v1"), oci, "not a container image"),
        (good.replacen("sha256:", "sha512:", 1), oci, "sha256"),
    ] {
        registry.put(path, kind, body.into_bytes());
        let error = pull(dir.path(), RegistryOptions::default(), &name).await.unwrap_err();
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}

#[tokio::test]
async fn an_index_is_resolved_for_this_platform() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, image, name) = plain(dir.path());
    let size = blob(&dir.path().join("built"), &image.manifest).len();
    let entry = |arch: &str, digest: String| {
        serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest, "size": size, "platform": {"os": "linux", "architecture": arch}})
    };
    let host = wharf_image::Platform::host().architecture;
    let other = Digest::of(b"other").to_string();
    let mut index = serde_json::json!({"schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry("s390x", other.clone()), entry(&host, image.manifest.to_string())]});
    let kind = "application/vnd.oci.image.index.v1+json";
    registry.put("/v2/app/manifests/v1", kind, index.to_string().into_bytes());
    let pulled = pull(dir.path(), RegistryOptions::default(), &name).await.unwrap();
    assert_eq!(pulled.manifest, image.manifest);
    assert_eq!(pulled.image_digest(), Digest::of(index.to_string().as_bytes()));
    index["manifests"] = serde_json::json!([entry("s390x", other)]);
    registry.put("/v2/app/manifests/v1", kind, index.to_string().into_bytes());
    let error = pull(dir.path(), RegistryOptions::default(), &name).await.unwrap_err().to_string();
    assert!(error.contains("does not contain descriptor matching platform"), "{error}");
}

#[tokio::test]
async fn docker_hubs_conventions_with_tls_and_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let (_, image) = build(dir.path(), "busybox");
    let hosts = ["registry-1.docker.io", "auth.docker.io"];
    let (ca, tls) = certificates(&hosts);
    let registry = Registry::start(Some(tls));
    registry.publish(&dir.path().join("built"), &image, "library/busybox", "latest");
    *registry.behaviour.realm.lock().unwrap() = Some("https://auth.docker.io/token".to_owned());
    *registry.behaviour.basic.lock().unwrap() = Some("dTpwYXNz".to_owned()); // u:pass
    let certs = dir.path().join("certs");
    for host in hosts {
        fs::create_dir_all(certs.join(host)).unwrap();
        fs::write(certs.join(host).join("ca.crt"), &ca).unwrap();
    }
    let config = dir.path().join("config.json");
    fs::write(&config, r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwYXNz"}}}"#).unwrap();
    let options = RegistryOptions {
        certs_dirs: vec![certs],
        resolve: hosts.map(|host| (format!("{host}:443"), registry.address)).into(),
        docker_config: Some(config),
        ..RegistryOptions::default()
    };
    let pulled = pull(dir.path(), options.clone(), "busybox").await.unwrap();
    assert_eq!(pulled.name, "docker.io/library/busybox:latest");
    assert_eq!(pulled.id, image.id);
    let log = registry.log();
    let token = log.iter().find(|line| line.contains("/token")).unwrap();
    assert!(token.contains("scope=repository%3Alibrary%2Fbusybox%3Apull"), "{token}");

    // Wrong credentials are denied at once; a token server elsewhere and an unknown CA refused.
    let store = ImageStore::open(dir.path().join("pulled2")).unwrap();
    let credentials = Some(Credentials::basic("u", "no"));
    let wrong = PullOptions { credentials, ..PullOptions::default() };
    let client = RegistryClient::new(options.clone());
    let error = store.pull(&client, "busybox", &wrong, Arc::new(NoProgress)).await.unwrap_err();
    assert!(error.to_string().contains("pull access denied"), "{error}");
    assert_eq!(error.attempts, 1);
    *registry.behaviour.realm.lock().unwrap() = Some("https://evil.example/token".to_owned());
    let fresh = dir.path().join("fresh");
    let error = pull(&fresh, options.clone(), "busybox").await.unwrap_err().to_string();
    assert!(error.contains("token server"), "{error}");
    let options = RegistryOptions { certs_dirs: Vec::new(), ..options };
    let error = pull(&fresh, options, "busybox").await.unwrap_err();
    assert!(error.to_string().contains("tls:"), "{error}");
    assert_eq!(error.attempts, 1);
}

#[tokio::test]
async fn plain_http_stays_on_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, _, _) = plain(dir.path());
    // A name that isn't loopback's is asked by TLS only, wherever it resolves to.
    let options = RegistryOptions {
        resolve: [("registry.example:443".to_owned(), registry.address)].into(),
        ..RegistryOptions::default()
    };
    let error = pull(dir.path(), options, "registry.example/app:v1").await.unwrap_err().to_string();
    assert!(error.contains("tls:"), "{error}");
    let error = pull(dir.path(), RegistryOptions::default(), "169.254.169.254/x").await;
    assert!(error.unwrap_err().to_string().contains("refusing to connect"));
}

#[tokio::test]
async fn pulls_of_one_image_share_their_work() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, image, name) = plain(dir.path());
    let pulls: Vec<_> = (0..8)
        .map(|_| {
            let (dir, name) = (dir.path().to_owned(), name.clone());
            tokio::spawn(async move { pull(&dir, RegistryOptions::default(), &name).await })
        })
        .collect();
    for pull in pulls {
        assert_eq!(pull.await.unwrap().unwrap().id, image.id);
    }
    let blobs = registry.log().iter().filter(|line| line.contains("/blobs/")).count();
    assert_eq!(blobs, 2, "configuration and layer once each: {:?}", registry.log());
}
