//! A large image made of the Debian packages that are installed here.

use crate::Result;
use crate::processes::run;
use serde_json::{Value, json};
use sha2::Digest as _;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An image to be pushed.
#[derive(Debug)]
pub struct DebianImage {
    /// The layers' files, bottom first, each with its digest.
    pub layers: Vec<(PathBuf, String)>,
    /// The configuration.
    pub config: Vec<u8>,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// Bytes of the layers' tars.
    pub bytes: u64,
    /// Files and directories in them.
    pub entries: usize,
}

/// `sha256:` and the digest.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

impl DebianImage {
    /// Packs installed packages, the largest first, into `layers` layers of about `mib` MiB each, compressed
    /// by gzip as docker does it.
    ///
    /// # Errors
    /// If there are too few packages, or a command fails.
    pub fn make(directory: &Path, layers: usize, mib: usize) -> Result<Self> {
        let mut packages = packages()?.into_iter();
        let (mut made, mut diff_ids, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut bytes, mut entries) = (0, 0);
        let mut seen = BTreeSet::new();
        for n in 0..layers {
            let mut files = Vec::new();
            let mut size = 0;
            while size < (mib as u64) << 20 {
                let package = packages.next().ok_or("too few Debian packages are installed")?;
                size += add(&package, &mut files, &mut seen)?;
            }
            files.sort();
            entries += files.len();
            let list = directory.join("files");
            let text: Vec<u8> =
                files.iter().flat_map(|f| [f.as_os_str().as_bytes(), b"\0"].concat()).collect();
            std::fs::write(&list, text)?;
            let tar = directory.join(format!("layer-{n}.tar"));
            run(Command::new("tar")
                .args(["--no-recursion", "--null", "-C", "/", "-cf"])
                .arg(&tar)
                .arg("-T")
                .arg(&list))?;
            let content = std::fs::read(&tar)?;
            bytes += content.len() as u64;
            diff_ids.push(digest_of(&content));
            run(Command::new("gzip").arg("-n").arg(&tar))?;
            let packed = directory.join(format!("layer-{n}.tar.gz"));
            let content = std::fs::read(&packed)?;
            sizes.push(content.len());
            made.push((packed, digest_of(&content)));
        }
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let described: Vec<Value> = made
            .iter()
            .zip(sizes)
            .map(|((_, digest), size)| {
                let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
                json!({"mediaType": kind, "digest": digest, "size": size})
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                       "digest": digest_of(&config), "size": config.len()},
            "layers": described,
        });
        let manifest = manifest.to_string().into_bytes();
        Ok(Self { layers: made, config, manifest, bytes, entries })
    }
}

/// The installed packages, the largest first.
fn packages() -> Result<Vec<String>> {
    let mut command = Command::new("dpkg-query");
    let output = command.args(["-W", "-f", "${Installed-Size} ${binary:Package}\n"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut packages: Vec<(u64, &str)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(size, name)| Some((size.parse().ok()?, name)))
        .collect();
    packages.sort_unstable_by(|a, b| b.cmp(a));
    Ok(packages.into_iter().map(|(_, name)| name.to_owned()).collect())
}

/// Adds a package's files that no layer has yet, and its directories; the files' bytes.
fn add(package: &str, files: &mut Vec<PathBuf>, seen: &mut BTreeSet<PathBuf>) -> Result<u64> {
    let output = Command::new("dpkg").args(["-L", package]).output()?;
    let mut bytes = 0;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some(path) = line.strip_prefix('/').filter(|path| !path.is_empty() && *path != ".")
        else {
            continue;
        };
        let path = PathBuf::from(path);
        let Ok(metadata) = std::fs::symlink_metadata(Path::new("/").join(&path)) else { continue };
        if metadata.is_dir() {
            if !files.contains(&path) {
                files.push(path);
            }
        } else if seen.insert(path.clone()) {
            bytes += metadata.len();
            files.push(path);
        }
    }
    Ok(bytes)
}
