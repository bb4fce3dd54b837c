//! The files of an image to be, and the reproducible tar made of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::{Error, OPTIONS_FILE, source_error};

/// What stands at a path of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Directory { mode: u32 },
    File { source: PathBuf, mode: u32, identity: (u64, u64) },
    Symlink { target: PathBuf },
}

/// Paths in the image, relative to its root, in the order of the tar.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
}

impl Tree {
    /// Takes everything below `root`. Sockets are left out as docker does; device nodes are an
    /// error, since no layer may hold them.
    pub fn add_directory(&mut self, root: &Path) -> Result<(), Error> {
        let mut open = vec![PathBuf::new()];
        while let Some(below) = open.pop() {
            let dir = root.join(&below);
            for entry in fs::read_dir(&dir).map_err(source_error("list", &dir))? {
                let entry = entry.map_err(source_error("list", &dir))?;
                let place = below.join(entry.file_name());
                if place == Path::new(OPTIONS_FILE) {
                    continue;
                }
                let path = entry.path();
                let meta = entry.metadata().map_err(source_error("look up", &path))?;
                if let Some(node) = node(&path, &meta)? {
                    if matches!(node, Node::Directory { .. }) {
                        open.push(place.clone());
                    }
                    self.nodes.insert(place, node);
                }
            }
        }
        Ok(())
    }

    /// Adds the file `source` (links followed) at the absolute `place`, with its parents.
    pub fn add_file(&mut self, source: &Path, place: &Path) -> Result<(), Error> {
        let place = relative(place)?;
        let meta = fs::metadata(source).map_err(source_error("open", source))?;
        if !meta.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(source_error("add", source)(error));
        }
        self.add_parents(&place);
        let identity = (meta.dev(), meta.ino());
        let node = Node::File { source: source.to_owned(), mode: meta.mode() & 0o7777, identity };
        self.nodes.insert(place, node);
        Ok(())
    }

    /// Adds a symbolic link at the absolute `place`, unless something stands there already.
    pub fn add_symlink(&mut self, place: &Path, target: &Path) -> Result<(), Error> {
        let place = relative(place)?;
        self.add_parents(&place);
        self.nodes.entry(place).or_insert(Node::Symlink { target: target.to_owned() });
        Ok(())
    }

    /// Adds an empty directory at the absolute `place`.
    pub fn add_empty_directory(&mut self, place: &Path, mode: u32) -> Result<(), Error> {
        let place = relative(place)?;
        self.add_parents(&place);
        self.nodes.entry(place).or_insert(Node::Directory { mode });
        Ok(())
    }

    fn add_parents(&mut self, place: &Path) {
        for parent in place.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
            self.nodes.entry(parent.to_owned()).or_insert(Node::Directory { mode: 0o755 });
        }
    }

    /// Writes the tree as a tar: sorted, owned by root, all times 1970, hard links kept.
    pub fn write_tar(&self, output: impl Write) -> Result<(), Error> {
        let mut tar = Builder::new(output);
        let mut written: BTreeMap<(u64, u64), &Path> = BTreeMap::new();
        let fail = |path: &Path| source_error("archive", path);
        for (place, node) in &self.nodes {
            let mut header = Header::new_gnu();
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(0);
            header.set_mode(0o777);
            match node {
                Node::Directory { mode } => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(*mode);
                    let mut name = place.as_os_str().to_owned();
                    name.push("/");
                    tar.append_data(&mut header, Path::new(&name), io::empty())
                        .map_err(fail(place))?;
                }
                Node::Symlink { target } => {
                    header.set_entry_type(EntryType::Symlink);
                    tar.append_link(&mut header, place, target).map_err(fail(place))?;
                }
                Node::File { identity, .. } if written.contains_key(identity) => {
                    header.set_entry_type(EntryType::Link);
                    tar.append_link(&mut header, place, written[identity]).map_err(fail(place))?;
                }
                Node::File { source, mode, identity } => {
                    written.insert(*identity, place);
                    header.set_entry_type(EntryType::Regular);
                    header.set_mode(*mode);
                    let file = open_regular(source).map_err(source_error("open", source))?;
                    let meta = file.metadata().map_err(source_error("open", source))?;
                    header.set_size(meta.len());
                    let content = Exactly { inner: file, left: meta.len() };
                    tar.append_data(&mut header, place, content)
                        .map_err(source_error("read", source))?;
                }
            }
        }
        let mut output = tar.into_inner().map_err(fail(Path::new("/")))?;
        output.flush().map_err(fail(Path::new("/")))
    }
}

fn node(path: &Path, meta: &fs::Metadata) -> Result<Option<Node>, Error> {
    let kind = meta.file_type();
    let mode = meta.mode() & 0o7777;
    if kind.is_dir() {
        return Ok(Some(Node::Directory { mode }));
    }
    if kind.is_symlink() {
        let target = fs::read_link(path).map_err(source_error("read link", path))?;
        return Ok(Some(Node::Symlink { target }));
    }
    if kind.is_file() {
        let name = path.file_name().map_or(&[][..], |name| name.as_bytes());
        if name.starts_with(b".wh.") {
            let text = "names that begin with .wh. mean a deletion in an image";
            let error = io::Error::new(io::ErrorKind::InvalidInput, text);
            return Err(source_error("add", path)(error));
        }
        let identity = (meta.dev(), meta.ino());
        return Ok(Some(Node::File { source: path.to_owned(), mode, identity }));
    }
    if kind.is_socket() {
        return Ok(None);
    }
    let text = "device nodes and FIFOs can't be in a built image";
    Err(source_error("add", path)(io::Error::new(io::ErrorKind::InvalidInput, text)))
}

/// The path below the image's root; `..` has no place in it.
fn relative(place: &Path) -> Result<PathBuf, Error> {
    let mut path = PathBuf::new();
    for component in place.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => path.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                let error = io::Error::new(io::ErrorKind::InvalidInput, "not an absolute path");
                return Err(source_error("place", place)(error));
            }
        }
    }
    Ok(path)
}

fn open_regular(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags as i32).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// Fails if the file ends before the size that its header promised; ignores what grew since.
struct Exactly {
    inner: File,
    left: u64,
}

impl io::Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        match io::Read::read(&mut self.inner, &mut buffer[..want])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file shrank meanwhile")),
            read => {
                self.left -= read as u64;
                Ok(read)
            }
        }
    }
}
