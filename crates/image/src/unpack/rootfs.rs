//! The directory that a layer is unpacked into, reached by descriptors only.
//!
//! Every lookup goes through openat2 with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS, so that nothing
//! an archive names can lead out, whatever else runs meanwhile. Symbolic links that stand in the
//! way of a member's parent are resolved here, by hand, and as in a chroot: a base image whose
//! `/lib` is a link to `usr/lib` takes members named `lib/…`, and an absolute link or `..` ends at
//! the layer's own root.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{
    self, AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;

/// The deepest path that is unpacked.
pub(super) const MAX_DEPTH: usize = 256;
const MAX_LINKS: usize = 40;
const OPAQUE: &str = "trusted.overlay.opaque";

/// What a system call failed on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{action} \"{}\": {errno}", .path.display())]
    Os {
        /// What was tried.
        action: &'static str,
        /// The path below the layer's root.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A parent of the member is neither a directory nor a link to one.
    #[error("\"{}\" is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// Symbolic links that go round in circles.
    #[error("too many symbolic links in \"{}\"", .0.display())]
    LinkLoop(PathBuf),
    /// A layer below couldn't be unpacked; why is that layer's to say.
    #[error("a layer below couldn't be unpacked")]
    Below,
    /// The path is deeper than [`MAX_DEPTH`].
    #[error("\"{}\" is more than {MAX_DEPTH} directories deep", .0.display())]
    TooDeep(PathBuf),
}

/// Owner, mode, time and attributes of one member.
#[derive(Debug, Clone, Default)]
pub(super) struct Metadata {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A name in the layer: the directory's canonical components, its descriptor and the last one.
pub(super) struct Place {
    pub dir_path: Vec<Vec<u8>>,
    pub dir: Rc<OwnedFd>,
    pub name: Vec<u8>,
}

impl Place {
    /// The components of the whole path, canonical.
    pub fn path(&self) -> Vec<Vec<u8>> {
        [self.dir_path.as_slice(), std::slice::from_ref(&self.name)].concat()
    }
}

/// A parent as members name it, as it really is, and its descriptor.
struct Parent {
    asked: Vec<Vec<u8>>,
    dir_path: Vec<Vec<u8>>,
    dir: Rc<OwnedFd>,
}

/// The layers below one, topmost first. They may still be at work: they are waited for when the first of
/// them is looked at, which most layers never do, since they say themselves what their directories are.
pub(crate) struct Below<'a> {
    paths: Vec<PathBuf>,
    /// Returns when all are complete; false if one never will be.
    complete: Box<dyn Fn() -> bool + 'a>,
}

impl<'a> Below<'a> {
    /// Layers that are complete.
    pub fn of(paths: &[PathBuf]) -> Self {
        Self::when(paths.to_vec(), || true)
    }

    /// Layers that are complete when `complete` returns true.
    pub fn when(paths: Vec<PathBuf>, complete: impl Fn() -> bool + 'a) -> Self {
        Self { paths, complete: Box::new(complete) }
    }
}

fn open_path(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |errno| Error::Os { action: "open", path: path.to_owned(), errno };
    fs::open(path, flags, Mode::empty()).map_err(failed)
}

/// The layer being written, over the layers below it.
pub(super) struct Root<'a> {
    fd: OwnedFd,
    below: Below<'a>,
    /// Opened when they are first looked at.
    lowers: OnceCell<Vec<OwnedFd>>,
    /// The last parent: members come sorted by directory.
    cache: Option<Parent>,
}

/// Joins components for openat2 and for messages.
pub(super) fn join(components: &[Vec<u8>]) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    match components.is_empty() {
        true => PathBuf::from("."),
        false => PathBuf::from(std::ffi::OsString::from_vec(components.join(&b'/'))),
    }
}

/// Opens `components` below `root` without following any link.
pub(super) fn open_beneath(
    root: impl AsFd,
    components: &[Vec<u8>],
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    loop {
        match fs::openat2(&root, join(components).as_path(), flags, Mode::empty(), resolve) {
            // A rename elsewhere raced with the lookup.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

pub(super) fn at(action: &'static str, dir: &[Vec<u8>], name: &[u8]) -> impl Fn(Errno) -> Error {
    let mut path = dir.to_vec();
    path.push(name.to_vec());
    move |errno| Error::Os { action, path: join(&path), errno }
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

pub(super) fn is_whiteout(stat: &Stat) -> bool {
    file_type(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

impl<'a> Root<'a> {
    /// Takes `root`, an empty directory, and the layers below it.
    pub fn open(root: &Path, below: Below<'a>) -> Result<Self, Error> {
        Ok(Self { fd: open_path(root)?, below, lowers: OnceCell::new(), cache: None })
    }

    /// The layers below, complete.
    fn lowers(&self) -> Result<&[OwnedFd], Error> {
        if let Some(lowers) = self.lowers.get() {
            return Ok(lowers);
        }
        let paths = &self.below.paths;
        if !paths.is_empty() && !(self.below.complete)() {
            return Err(Error::Below);
        }
        let opened = paths.iter().map(|path| open_path(path)).collect::<Result<_, _>>()?;
        Ok(self.lowers.get_or_init(|| opened))
    }

    /// The root's own descriptor (O_PATH).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Finds the directory of `components`, making the missing ones, and following links within
    /// the layer. `components` has no `.` and no `..`.
    pub fn place(&mut self, components: &[Vec<u8>]) -> Result<Place, Error> {
        let Some((name, parents)) = components.split_last() else {
            return Err(Error::NotADirectory(PathBuf::from("/")));
        };
        if components.len() > MAX_DEPTH {
            return Err(Error::TooDeep(join(components)));
        }
        let name = name.clone();
        if let Some(Parent { asked, dir_path, dir }) = &self.cache
            && asked == parents
        {
            return Ok(Place { dir_path: dir_path.clone(), dir: Rc::clone(dir), name });
        }
        let (dir_path, dir) = self.directory(parents)?;
        let dir = Rc::new(dir);
        let asked = parents.to_vec();
        self.cache = Some(Parent { asked, dir_path: dir_path.clone(), dir: Rc::clone(&dir) });
        Ok(Place { dir_path, dir, name })
    }

    fn directory(&mut self, parents: &[Vec<u8>]) -> Result<(Vec<Vec<u8>>, OwnedFd), Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        if let Ok(dir) = open_beneath(&self.fd, parents, flags) {
            return Ok((parents.to_vec(), dir));
        }
        let mut ahead: VecDeque<Vec<u8>> = parents.iter().cloned().collect();
        let mut path: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(component) = ahead.pop_front() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    path.pop();
                    continue;
                }
                _ => {}
            }
            let Some(target) = self.step(&path, &component)? else {
                path.push(component);
                if path.len() > MAX_DEPTH {
                    return Err(Error::TooDeep(join(&path)));
                }
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::LinkLoop(join(parents)));
            }
            if target.starts_with(b"/") {
                path.clear();
            }
            for part in target.split(|b| *b == b'/').rev() {
                ahead.push_front(part.to_vec());
            }
        }
        let dir = open_beneath(&self.fd, &path, flags).map_err(|errno| Error::Os {
            action: "open",
            path: join(&path),
            errno,
        })?;
        Ok((path, dir))
    }

    /// Makes sure that `path`/`name` is a directory, or returns the link that stands there.
    fn step(&mut self, path: &[Vec<u8>], name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let dir = open_beneath(&self.fd, path, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(at("open", path, name))?;
        let whited_out = match fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match file_type(&stat) {
                FileType::Directory => return Ok(None),
                FileType::Symlink => return read_link(&dir, name, path).map(Some),
                _ if is_whiteout(&stat) => {
                    fs::unlinkat(&dir, name, AtFlags::empty()).map_err(at("remove", path, name))?;
                    true
                }
                _ => return Err(Error::NotADirectory(join(&[path, &[name.to_vec()]].concat()))),
            },
            Err(Errno::NOENT) => false,
            Err(errno) => return Err(at("look up", path, name)(errno)),
        };
        let mut metadata = Metadata { mode: 0o755, ..Metadata::default() };
        if !whited_out {
            let below = [path, &[name.to_vec()]].concat();
            match self.lower(&below)? {
                Some((_, parent, stat)) if file_type(&stat) == FileType::Symlink => {
                    return read_link(&parent, name, path).map(Some);
                }
                Some((_, parent, stat)) if file_type(&stat) == FileType::Directory => {
                    metadata = copied_metadata(&parent, name, &stat);
                }
                _ => {}
            }
        }
        make_directory(&dir, path, name, &metadata)?;
        if whited_out {
            self.set_opaque(&[path, &[name.to_vec()]].concat())?;
        }
        Ok(None)
    }

    /// What the layers below show at `path`: the lower's index, the parent there, and its state.
    pub fn lower(&self, path: &[Vec<u8>]) -> Result<Option<(usize, OwnedFd, Stat)>, Error> {
        let Some((name, parents)) = path.split_last() else { return Ok(None) };
        for (index, lower) in self.lowers()?.iter().enumerate() {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let found = open_beneath(lower, parents, flags).and_then(|parent| {
                let stat = fs::statat(&parent, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
                Ok((parent, stat))
            });
            match found {
                Ok((_, stat)) if is_whiteout(&stat) => return Ok(None),
                Ok((parent, stat)) => return Ok(Some((index, parent, stat))),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                    if hides_below(lower, parents) {
                        return Ok(None);
                    }
                }
                Err(errno) => return Err(at("look up", parents, name)(errno)),
            }
        }
        Ok(None)
    }

    /// Marks a directory as hiding what the layers below have in it.
    pub fn set_opaque(&self, path: &[Vec<u8>]) -> Result<(), Error> {
        let error = |errno| Error::Os { action: "mark opaque", path: join(path), errno };
        let dir =
            open_beneath(&self.fd, path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(error)?;
        fs::fsetxattr(&dir, OPAQUE, b"y", XattrFlags::empty()).map_err(error)
    }

    /// Removes what stands at `place`, a directory with all below it; true if there was something.
    pub fn remove(&mut self, place: &Place) -> Result<bool, Error> {
        self.cache = None;
        match remove_tree(place.dir.as_fd(), &place.name) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(at("remove", &place.dir_path, &place.name)(errno)),
        }
    }

    /// Sets the times of a directory, after everything in it was made.
    pub fn set_directory_time(&self, path: &[Vec<u8>], mtime: (i64, u32)) -> Result<(), Error> {
        match open_beneath(&self.fd, path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) => fs::futimens(&dir, &timestamps(mtime)).map_err(|errno| Error::Os {
                action: "set times of",
                path: join(path),
                errno,
            }),
            // A later member replaced it.
            Err(_) => Ok(()),
        }
    }
}

/// True if some ancestor in `lower` is opaque, whited out or not a directory: what is further
/// down cannot be seen through it.
fn hides_below(lower: &OwnedFd, parents: &[Vec<u8>]) -> bool {
    for depth in 1..=parents.len() {
        match open_beneath(lower, &parents[..depth], OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) => {
                let mut value = [0; 1];
                if fs::fgetxattr(&dir, OPAQUE, &mut value).is_ok() && value == *b"y" {
                    return true;
                }
            }
            Err(Errno::NOENT) => return false,
            Err(_) => return true,
        }
    }
    false
}

fn read_link(dir: &OwnedFd, name: &[u8], path: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
    let target = fs::readlinkat(dir, name, Vec::new()).map_err(at("read link", path, name))?;
    Ok(target.into_bytes())
}

/// The metadata of a file in a lower layer, as far as a copy needs it.
pub(super) fn copied_metadata(dir: &OwnedFd, name: &[u8], stat: &Stat) -> Metadata {
    let mut metadata = Metadata {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        xattrs: Vec::new(),
    };
    if let Ok(file) = open_beneath(dir, &[name.to_vec()], OFlags::RDONLY | OFlags::NONBLOCK) {
        let mut value = vec![0; 64 * 1024];
        if let Ok(len) = fs::fgetxattr(&file, "security.capability", &mut value) {
            metadata.xattrs.push((b"security.capability".to_vec(), value[..len].to_vec()));
        }
    }
    metadata
}

/// Makes a directory with its metadata; the time is set too, and again when the layer is done.
pub(super) fn make_directory(
    dir: &OwnedFd,
    path: &[Vec<u8>],
    name: &[u8],
    metadata: &Metadata,
) -> Result<(), Error> {
    match fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(at("make directory", path, name)(errno)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let made = open_beneath(dir, &[name.to_vec()], flags).map_err(at("open", path, name))?;
    apply(&made, metadata).map_err(at("set owner and mode of", path, name))
}

/// Owner first: chown clears setuid and file capabilities.
pub(super) fn apply(file: &OwnedFd, metadata: &Metadata) -> Result<(), Errno> {
    let (uid, gid) = owner(metadata);
    fs::fchown(file, Some(uid), Some(gid))?;
    fs::fchmod(file, Mode::from_raw_mode(metadata.mode))?;
    for (name, value) in &metadata.xattrs {
        fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty())?;
    }
    fs::futimens(file, &timestamps(metadata.mtime))
}

pub(super) fn owner(metadata: &Metadata) -> (Uid, Gid) {
    (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid))
}

pub(super) fn timestamps((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = fs::Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Removes `name` in `dir`, with all below it if it is a directory; never follows a link.
pub(crate) fn remove_tree(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        other => return other,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = fs::openat(dir, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&inner)? {
        let entry = entry?;
        let child = entry.file_name().to_bytes();
        if child != b"." && child != b".." {
            match remove_tree(inner.as_fd(), child) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}
