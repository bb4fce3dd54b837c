//! Images to and from programs of other people: Debian's docker-registry and skopeo.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::{build, oci_dir};
use wharf_image::{
    Image, ImageStore, NoProgress, PullOptions, RegistryClient, RegistryOptions, Source,
};

/// Debian's docker-registry on a free port, ended with the test.
struct DockerRegistry {
    child: Child,
    address: SocketAddr,
}

impl DockerRegistry {
    fn start(dir: &Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = dir.join("registry.yml");
        let data = dir.join("registry");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"{address}\"}}\n",
            data.display()
        );
        fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is needed: apt-get install docker-registry");
        let registry = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "docker-registry doesn't listen");
            std::thread::yield_now();
        }
        registry
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn skopeo(arguments: &[&str]) {
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet"])
        .args(arguments)
        .output()
        .expect("skopeo is needed: apt-get install skopeo");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn same_content(one: &Image, other: &Image) {
    assert_eq!(one.config, other.config);
    assert_eq!(one.layers.len(), other.layers.len());
    for (a, b) in one.layers.iter().zip(&other.layers) {
        let read = |dir: &Path| fs::read(dir.join("data/random")).unwrap();
        assert_eq!(read(a), read(b));
    }
}

#[tokio::test]
async fn pulls_what_skopeo_pushed_to_docker_registry() {
    let dir = tempfile::tempdir().unwrap();
    let (_, image) = build(dir.path(), "app");
    let registry = DockerRegistry::start(dir.path());
    let source = format!("oci:{}:t", oci_dir(dir.path(), &image).display());
    let client = RegistryClient::new(RegistryOptions::default());
    let store = ImageStore::open(dir.path().join("pulled")).unwrap();
    let cases: [(&str, &[&str]); 3] = [
        ("oci", &["--format", "oci"]),
        ("docker", &["--format", "v2s2"]),
        ("zstd", &["--format", "oci", "--dest-compress-format", "zstd", "--dest-compress"]),
    ];
    for (tag, flags) in cases {
        let name = format!("{}/team/app:{tag}", registry.address);
        let target = format!("docker://{name}");
        skopeo(&[flags, &["--dest-tls-verify=false", &source, &target]].concat());
        let progress = Arc::new(NoProgress);
        let pulled = store.pull(&client, &name, &PullOptions::default(), progress).await.unwrap();
        same_content(&image, &pulled);
        assert_eq!(pulled.source, Source::Pulled);
        let pinned = pulled.repo_digest.clone().unwrap().to_string();
        assert_eq!(store.resolve(&pinned).unwrap().unwrap().id, pulled.id);
    }
    // By digest, and a tag that moves on.
    let pinned = format!("{}/team/app@{}", registry.address, image.manifest);
    let other = ImageStore::open(dir.path().join("other")).unwrap();
    let progress = Arc::new(NoProgress);
    let pulled = other.pull(&client, &pinned, &PullOptions::default(), progress).await.unwrap();
    assert_eq!(pulled.id, image.id);
}

#[test]
fn loads_what_skopeo_archived() {
    let dir = tempfile::tempdir().unwrap();
    let (_, image) = build(dir.path(), "app");
    let source = format!("oci:{}:t", oci_dir(dir.path(), &image).display());
    let store = ImageStore::open(dir.path().join("loaded")).unwrap();
    for kind in ["docker-archive", "oci-archive"] {
        let file = dir.path().join(format!("{kind}.tar"));
        let name = format!("example.com/loaded/{kind}:v1");
        skopeo(&[&source, &format!("{kind}:{}:{name}", file.display())]);
        for (program, suffix) in [("", ""), ("gzip", "gz"), ("zstd", "zst")] {
            let mut archive = file.clone();
            if !program.is_empty() {
                archive = file.with_extension(suffix);
                let output = Command::new(program).arg("-c").arg(&file).output();
                let Ok(output) = output else { continue };
                fs::write(&archive, output.stdout).unwrap();
            }
            let loaded = store.load(&archive, None, &NoProgress).unwrap();
            assert_eq!(loaded.len(), 1);
            assert_eq!(loaded[0].name, name);
            assert_eq!(loaded[0].source, Source::Local);
            same_content(&image, &loaded[0]);
        }
        let renamed = store.load(&file, Some("other"), &NoProgress).unwrap();
        assert_eq!(renamed[0].name, "docker.io/library/other:latest");
    }
}

#[test]
fn damaged_archives_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, image) = build(dir.path(), "app");
    let source = format!("oci:{}:t", oci_dir(dir.path(), &image).display());
    let store = ImageStore::open(dir.path().join("loaded")).unwrap();
    for kind in ["docker-archive", "oci-archive"] {
        let file = dir.path().join(format!("{kind}.tar"));
        skopeo(&[&source, &format!("{kind}:{}:a:b", file.display())]);
        let good = fs::read(&file).unwrap();
        for step in 1..12 {
            let mut bad = good.clone();
            let at = good.len() * step / 12;
            match step % 2 {
                0 => bad.truncate(at),
                _ => bad[at] ^= 0x10,
            }
            fs::write(&file, bad).unwrap();
            // A flip in a tar header's unused bytes may be harmless; then the image is right.
            if let Ok(images) = store.load(&file, None, &NoProgress) {
                same_content(&image, &images[0]);
                store.remove(&images[0].name).unwrap();
            }
            assert!(store.list().unwrap().is_empty(), "{kind} {step}");
        }
    }
    let error = store.load(Path::new("/etc/hostname"), None, &NoProgress).unwrap_err();
    assert!(error.to_string().contains("/etc/hostname"), "{error}");
}
