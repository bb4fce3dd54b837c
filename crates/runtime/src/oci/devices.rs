//! Devices: what a container may open, and the nodes that it gets.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::spec::{ContainerSpec, Device};

use super::{Error, failed, rootfs};

/// The character devices that every container may use, as `major, minor` (none: any minor).
const ALLOWED_DEVICES: [(i64, Option<i64>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

/// What the container may do with which device.
pub(super) fn rules(spec: &ContainerSpec) -> Result<Vec<Value>, Error> {
    if spec.privileged {
        return Ok(vec![json!({ "allow": true, "access": "rwm" })]);
    }
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    // Any node may be made (CAP_MKNOD is a default), few may be opened.
    for kind in ["c", "b"] {
        rules.push(json!({ "allow": true, "type": kind, "access": "m" }));
    }
    for (major, minor) in ALLOWED_DEVICES {
        let mut rule = json!({ "allow": true, "type": "c", "major": major, "access": "rwm" });
        if let Some(minor) = minor {
            rule["minor"] = json!(minor);
        }
        rules.push(rule);
    }
    for (device, _, node) in asked(spec)? {
        rules.push(json!({
            "allow": true,
            "type": node.kind,
            "major": node.major,
            "minor": node.minor,
            "access": device.permissions,
        }));
    }
    Ok(rules)
}

/// The nodes that the container gets beside those that every one has.
pub(super) fn nodes(spec: &ContainerSpec) -> Result<Vec<Value>, Error> {
    let mut devices = Vec::new();
    for (_, inside, node) in asked(spec)? {
        check_device_path(&inside, spec)?;
        devices.push(node.json(&inside));
    }
    if spec.privileged {
        for entry in std::fs::read_dir("/dev").map_err(failed("list /dev"))?.flatten() {
            let path = entry.path();
            // These are the container's own.
            let own = ["ptmx", "console", "null", "zero", "full", "random", "urandom", "tty"];
            if own.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if let Ok(node) = Node::at(&path) {
                devices.push(node.json(&path));
            }
        }
    }
    Ok(devices)
}

/// The devices that were asked for, with their places inside: as docker does it, a link of the
/// host's leads to the device, and a directory stands for what is in it.
fn asked(spec: &ContainerSpec) -> Result<Vec<(&Device, PathBuf, Node)>, Error> {
    let mut found = Vec::new();
    for device in &spec.devices {
        let path = &device.host_path;
        let inside = device.container_path.as_deref().map_or(&**path, Path::new);
        let real =
            std::fs::canonicalize(path).map_err(failed(format!("device {}", path.display())))?;
        if !real.is_dir() {
            found.push((device, inside.to_owned(), Node::at(&real)?));
            continue;
        }
        let entries =
            std::fs::read_dir(&real).map_err(failed(format!("list {}", real.display())))?;
        for entry in entries.flatten() {
            if let Ok(node) = Node::at(&entry.path()) {
                found.push((device, inside.join(entry.file_name()), node));
            }
        }
    }
    Ok(found)
}

/// A node is made by name: /dev is the one place that neither an image nor, without a volume in the
/// way, another container can have prepared.
fn check_device_path(path: &Path, spec: &ContainerSpec) -> Result<(), Error> {
    let within = path.strip_prefix("/dev").is_ok_and(|rest| !rest.as_os_str().is_empty());
    let plain = path.to_str().is_some_and(rootfs::is_plain_absolute);
    let below_volume = spec.mounts.iter().any(|mount| path.starts_with(&mount.target));
    match within && plain && !below_volume {
        true => Ok(()),
        false => {
            let path = path.display();
            Err(Error::Rootfs(format!("{path} is no place for a device: not in the own /dev")))
        }
    }
}

/// A device node of the host.
struct Node {
    kind: &'static str,
    major: u64,
    minor: u64,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Node {
    fn at(path: &Path) -> Result<Self, Error> {
        let what = || format!("device {}", path.display());
        let metadata = std::fs::symlink_metadata(path).map_err(failed(what()))?;
        let kind = if metadata.file_type().is_char_device() {
            "c"
        } else if metadata.file_type().is_block_device() {
            "b"
        } else {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a device");
            return Err(failed(what())(error));
        };
        Ok(Self {
            kind,
            major: nix::sys::stat::major(metadata.rdev()),
            minor: nix::sys::stat::minor(metadata.rdev()),
            mode: metadata.mode() & 0o777,
            uid: metadata.uid(),
            gid: metadata.gid(),
        })
    }

    fn json(&self, path: &Path) -> Value {
        json!({
            "path": path,
            "type": self.kind,
            "major": self.major,
            "minor": self.minor,
            "fileMode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
        })
    }
}
