//! What must hold for any bytes given as a layer's tar: a canary beside the layer never changes,
//! and what lies on disk is what the archive's listing says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use wharf_image::unpack::{Kind, Limits, Member, TarReader, unpack};

const LIMITS: Limits = Limits { entries: 100, bytes: 1 << 16 };

type Name = Vec<u8>;
/// Paths below the layer's root, with what is there.
type Tree = BTreeMap<Vec<Name>, Node>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Directory,
    File(Vec<u8>),
    Fifo,
    Other,
}

/// A layer is refused, or unpacked as its listing says; never is anything touched beside it.
/// Checksums are made right too, which random changes never do.
pub fn layer_tar(data: &[u8]) {
    unpack_one(data);
    let repaired = repair(data);
    if repaired != data {
        unpack_one(&repaired);
    }
}

fn unpack_one(data: &[u8]) {
    let field = tempfile::tempdir().expect("a temporary directory");
    let (layer, canary) = (field.path().join("layer"), field.path().join("canary"));
    fs::create_dir(&layer).expect("the layer's root");
    fs::create_dir(&canary).expect("the canary's cage");
    fs::write(canary.join("file"), "alive").expect("the canary");
    let before = state(field.path(), &canary);
    let result = unpack(data, &layer, &[], &LIMITS);
    assert_eq!(state(field.path(), &canary), before, "something changed beside the layer");
    let Ok(unpacked) = result else { return };
    let members = list(data);
    assert_eq!(members.len() as u64, unpacked.entries);
    let found = tree(&layer);
    let mentioned = mentioned(&members);
    for name in found.keys().flatten() {
        assert!(mentioned.contains(name), "{:?} came from nowhere", String::from_utf8_lossy(name));
    }
    if let Some(expected) = expected(&members) {
        assert_eq!(found, expected);
    }
}

/// All that may not change: names beside the layer, and the canary with its inode's state.
fn state(field: &Path, canary: &Path) -> (BTreeSet<Name>, BTreeSet<Name>, Vec<u8>, [u64; 5]) {
    let names = |path: &Path| -> BTreeSet<Name> {
        let entries = fs::read_dir(path).expect("a readable directory");
        entries.map(|entry| entry.expect("an entry").file_name().as_bytes().to_vec()).collect()
    };
    let file = canary.join("file");
    let meta = fs::symlink_metadata(&file).expect("the canary");
    let content = fs::read(&file).expect("the canary");
    let times = [meta.mtime() as u64, meta.ctime_nsec() as u64];
    let numbers = [u64::from(meta.mode()), u64::from(meta.uid()), meta.nlink(), times[0], times[1]];
    (names(field), names(canary), content, numbers)
}

/// The members with their content. Called only for what was unpacked within the limits.
fn list(data: &[u8]) -> Vec<(Member, Vec<u8>)> {
    let mut tar = TarReader::new(data);
    let mut members = Vec::new();
    while let Some(member) = tar.next_member().expect("what was unpacked can be listed") {
        let (mut content, mut buffer) = (Vec::new(), [0; 4096]);
        // Nobody reads what follows a whiteout or a left-out device, however large.
        while content.len() as u64 <= LIMITS.bytes {
            match tar.read(&mut buffer).expect("what was unpacked can be read") {
                0 => break,
                read => content.extend_from_slice(&buffer[..read]),
            }
        }
        members.push((member, content));
    }
    members
}

fn split(path: &[u8]) -> impl Iterator<Item = Name> {
    let parts = path.split(|byte| *byte == b'/');
    parts.filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec)
}

/// Every name that the archive speaks of, whiteouts also by what they hide.
fn mentioned(members: &[(Member, Vec<u8>)]) -> BTreeSet<Name> {
    let mut names = BTreeSet::new();
    for name in members.iter().flat_map(|(m, _)| split(&m.path).chain(split(&m.link))) {
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            names.insert(hidden.to_vec());
        }
        names.insert(name);
    }
    names
}

/// The tree that plain members make, the last of a name winning; none where links or whiteouts
/// need more than a listing to be understood.
fn expected(members: &[(Member, Vec<u8>)]) -> Option<Tree> {
    let mut tree = Tree::new();
    for (member, content) in members {
        let path: Vec<Name> = split(&member.path).collect();
        let whiteout = path.iter().any(|name| name.starts_with(b".wh."));
        if whiteout || matches!(member.kind, Kind::Symlink | Kind::Hardlink) {
            return None;
        }
        let node = match member.kind {
            Kind::Directory => Node::Directory,
            Kind::File => Node::File(content.clone()),
            Kind::Fifo => Node::Fifo,
            // Below dev: left out, and anything else was refused.
            _ => continue,
        };
        for depth in 1..path.len() {
            tree.entry(path[..depth].to_vec()).or_insert(Node::Directory);
        }
        if path.is_empty() {
            continue;
        }
        if node != Node::Directory || tree.get(&path) != Some(&Node::Directory) {
            tree.retain(|other, _| !other.starts_with(&path));
        }
        tree.insert(path, node);
    }
    Some(tree)
}

/// What lies below `root`.
fn tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut pending = vec![(root.to_owned(), Vec::new())];
    while let Some((directory, path)) = pending.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of the layer") {
            let entry = entry.expect("an entry of the layer");
            let mut path: Vec<Name> = path.clone();
            path.push(entry.file_name().as_bytes().to_vec());
            let kind = entry.file_type().expect("a type");
            let node = if kind.is_dir() {
                pending.push((entry.path(), path.clone()));
                Node::Directory
            } else if kind.is_file() {
                Node::File(fs::read(entry.path()).expect("a file of the layer"))
            } else if kind.is_fifo() {
                Node::Fifo
            } else {
                Node::Other
            };
            tree.insert(path, node);
        }
    }
    tree
}

/// The archive with the checksums of all its ustar headers made right.
fn repair(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    for header in data.chunks_exact_mut(512).filter(|block| block[257..].starts_with(b"ustar")) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    data
}
