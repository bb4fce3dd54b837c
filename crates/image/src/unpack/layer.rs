//! Applies the members of one layer, in the archive's order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::rootfs::{self, Below, Metadata, Place, Root, at, join};
use super::tar_stream::{self, Kind, Member, TarReader};

const WHITEOUT: &[u8] = b".wh.";
const AUFS_PRIVATE: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const COPY_BUFFER: usize = 128 * 1024;

/// Why a layer was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive doesn't parse.
    #[error("layer archive: {0}")]
    Tar(#[from] tar_stream::Error),
    /// Writing the layer failed, or a member's parent isn't a directory.
    #[error("layer: {0}")]
    Root(#[from] rootfs::Error),
    /// A name that may not be in a layer.
    #[error("layer member \"{}\" is refused: {reason}", String::from_utf8_lossy(.path))]
    Refused {
        /// The member's name as it stands in the archive.
        path: Vec<u8>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More members than [`Limits::entries`].
    #[error("the layer has more than {0} members")]
    TooManyEntries(u64),
    /// More bytes than [`Limits::bytes`].
    #[error("the layer unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// A file's content couldn't be written.
    #[error("write \"{}\": {error}", .path.display())]
    Write {
        /// The path below the layer's root.
        path: PathBuf,
        /// The cause, a full disk for example.
        error: io::Error,
    },
}

/// What one layer may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most members (inodes).
    pub entries: u64,
    /// The most bytes of content, holes included.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 1_000_000, bytes: 64 << 30 }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Members in the archive.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Device nodes below `dev/` that were left out.
    pub devices_left_out: u64,
}

/// Unpacks the uncompressed tar `stream` into the empty directory `root`. `lowers` are the layers
/// below, topmost first: they are looked at where the archive leaves out a parent directory or
/// hard-links to a file of theirs.
pub fn unpack(
    stream: impl Read,
    root: &Path,
    lowers: &[PathBuf],
    limits: &Limits,
) -> Result<Unpacked, Error> {
    unpack_over(stream, root, Below::of(lowers), limits)
}

/// As [`unpack`], over layers that may not be there yet.
pub(crate) fn unpack_over(
    stream: impl Read,
    root: &Path,
    lowers: Below<'_>,
    limits: &Limits,
) -> Result<Unpacked, Error> {
    let mut layer = Layer {
        root: Root::open(root, lowers)?,
        limits: *limits,
        done: Unpacked::default(),
        directory_times: BTreeMap::new(),
    };
    let mut reader = TarReader::new(stream);
    while let Some(member) = reader.next_member()? {
        layer.done.entries += 1;
        if layer.done.entries > limits.entries {
            return Err(Error::TooManyEntries(limits.entries));
        }
        layer.apply(&member, &mut reader)?;
    }
    for (path, mtime) in &layer.directory_times {
        layer.root.set_directory_time(path, *mtime)?;
    }
    Ok(layer.done)
}

struct Layer<'a> {
    root: Root<'a>,
    limits: Limits,
    done: Unpacked,
    directory_times: BTreeMap<Vec<Vec<u8>>, (i64, u32)>,
}

impl Layer<'_> {
    fn apply<R: Read>(&mut self, member: &Member, tar: &mut TarReader<R>) -> Result<(), Error> {
        let components = components(&member.path, &member.path)?;
        let Some((name, parents)) = components.split_last() else {
            return self.apply_root(member);
        };
        if components.iter().any(|c| c.starts_with(AUFS_PRIVATE) && c != OPAQUE) {
            return Ok(());
        }
        if parents.iter().any(|c| c.starts_with(WHITEOUT)) {
            return Err(refused(member, "a whiteout is used as a directory"));
        }
        if name == OPAQUE {
            let place = self.root.place(&components)?;
            return Ok(self.root.set_opaque(&place.dir_path)?);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(refused(member, "a whiteout of nothing"));
            }
            return self.white_out(parents, hidden);
        }
        if matches!(member.kind, Kind::CharDevice | Kind::BlockDevice) {
            if components[0] == b"dev" {
                self.done.devices_left_out += 1;
                return Ok(());
            }
            return Err(refused(member, "device nodes are not allowed in layers"));
        }
        let place = self.root.place(&components)?;
        self.create(member, &place, tar)
    }

    /// A member for the layer's own root gives it its owner and mode.
    fn apply_root(&mut self, member: &Member) -> Result<(), Error> {
        if member.kind != Kind::Directory {
            return Err(refused(member, "the root of a layer must be a directory"));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let root = rootfs::open_beneath(self.root.fd(), &[], flags)
            .and_then(|root| rootfs::apply(&root, &metadata(member)));
        root.map_err(at("set owner and mode of", &[], b"."))?;
        self.directory_times.insert(Vec::new(), member.mtime);
        Ok(())
    }

    /// Hides what the layers below have. What this layer itself has under the name stays: OCI
    /// says that whiteouts apply to lower layers only.
    fn white_out(&mut self, parents: &[Vec<u8>], hidden: &[u8]) -> Result<(), Error> {
        let path = [parents, &[hidden.to_vec()]].concat();
        let place = self.root.place(&path)?;
        let error = at("white out", &place.dir_path, hidden);
        match fs::statat(&*place.dir, hidden, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                let path = [place.dir_path.as_slice(), &[hidden.to_vec()]].concat();
                Ok(self.root.set_opaque(&path)?)
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                let kind = FileType::CharacterDevice;
                fs::mknodat(&*place.dir, hidden, kind, Mode::empty(), 0).map_err(error)?;
                Ok(())
            }
            Err(errno) => Err(error(errno).into()),
        }
    }

    fn create<R: Read>(
        &mut self,
        member: &Member,
        place: &Place,
        tar: &mut TarReader<R>,
    ) -> Result<(), Error> {
        let existing = fs::statat(&*place.dir, place.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
        let whited_out = existing.as_ref().is_ok_and(rootfs::is_whiteout);
        let keeps = |stat: &fs::Stat| {
            member.kind == Kind::Directory
                && FileType::from_raw_mode(stat.st_mode) == FileType::Directory
        };
        // A hard link onto itself (some builders write them) must not remove its own target.
        if member.kind == Kind::Hardlink {
            return self.hardlink(member, place);
        }
        if existing.is_ok_and(|stat| !keeps(&stat)) {
            self.root.remove(place)?;
        }
        let metadata = metadata(member);
        match member.kind {
            Kind::Directory => {
                rootfs::make_directory(&place.dir, &place.dir_path, &place.name, &metadata)?;
                let path = place.path();
                if whited_out {
                    self.root.set_opaque(&path)?;
                }
                self.directory_times.insert(path, member.mtime);
                Ok(())
            }
            Kind::File => self.file(member, place, &metadata, tar),
            Kind::Symlink => symlink(member, place, &metadata),
            Kind::Fifo => {
                let error = at("make FIFO", &place.dir_path, &place.name);
                let mode = Mode::from_raw_mode(0o600);
                fs::mknodat(&*place.dir, place.name.as_slice(), FileType::Fifo, mode, 0)
                    .map_err(&error)?;
                set_by_name(place, &metadata)
            }
            Kind::Hardlink | Kind::CharDevice | Kind::BlockDevice => {
                Err(refused(member, "unexpected type"))
            }
        }
    }

    fn file<R: Read>(
        &mut self,
        member: &Member,
        place: &Place,
        metadata: &Metadata,
        tar: &mut TarReader<R>,
    ) -> Result<(), Error> {
        self.account(member.size)?;
        let file = create_file(place)?;
        let mut output = SparseFile { file: &file, at: 0, tail_is_hole: false };
        let mut buffer = vec![0; COPY_BUFFER.min(member.size.try_into().unwrap_or(COPY_BUFFER))];
        let failed = |error| Error::Write { path: display_path(place), error };
        loop {
            let read = tar.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            output.write_block(&buffer[..read]).map_err(failed)?;
        }
        output.finish().map_err(failed)?;
        rootfs::apply(&OwnedFd::from(file), metadata).map_err(at(
            "set owner and mode of",
            &place.dir_path,
            &place.name,
        ))?;
        Ok(())
    }

    fn account(&mut self, bytes: u64) -> Result<(), Error> {
        self.done.bytes = self.done.bytes.saturating_add(bytes);
        match self.done.bytes > self.limits.bytes {
            true => Err(Error::TooLarge(self.limits.bytes)),
            false => Ok(()),
        }
    }

    fn hardlink(&mut self, member: &Member, place: &Place) -> Result<(), Error> {
        let target = components(&member.link, &member.path)?;
        if target.is_empty() || target.iter().any(|c| c.starts_with(WHITEOUT)) {
            return Err(refused(member, "a hard link to something that can't be linked"));
        }
        let target = self.root.place(&target)?;
        let error = at("hard-link to", &target.dir_path, &target.name);
        let stat = match fs::statat(&*target.dir, target.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
        {
            Ok(stat) => stat,
            Err(Errno::NOENT) => self.copy_up(member, &target)?,
            Err(errno) => return Err(error(errno).into()),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory || rootfs::is_whiteout(&stat) {
            return Err(refused(member, "a hard link to a directory or a whiteout"));
        }
        match fs::statat(&*place.dir, place.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(own) if own.st_ino == stat.st_ino && own.st_dev == stat.st_dev => return Ok(()),
            Ok(_) => {
                self.root.remove(place)?;
            }
            Err(_) => {}
        }
        let flags = AtFlags::empty();
        let (from, to) = (target.name.as_slice(), place.name.as_slice());
        fs::linkat(&*target.dir, from, &*place.dir, to, flags).map_err(error)?;
        Ok(())
    }

    /// Copies a file of a layer below, as overlay does when it is hard-linked.
    fn copy_up(&mut self, member: &Member, target: &Place) -> Result<fs::Stat, Error> {
        let path = target.path();
        let Some((_, parent, stat)) = self.root.lower(&path)? else {
            return Err(refused(member, "a hard link to something that isn't in the image"));
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(refused(member, "a hard link to something that isn't a regular file"));
        }
        self.account(u64::try_from(stat.st_size).unwrap_or(0))?;
        let metadata = rootfs::copied_metadata(&parent, &target.name, &stat);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
        let source = rootfs::open_beneath(&parent, std::slice::from_ref(&target.name), flags)
            .map_err(at("open", &target.dir_path, &target.name))?;
        let mut file = create_file(target)?;
        io::copy(&mut File::from(source), &mut file)
            .map_err(|error| Error::Write { path: display_path(target), error })?;
        let error = at("set owner and mode of", &target.dir_path, &target.name);
        let file = OwnedFd::from(file);
        rootfs::apply(&file, &metadata).map_err(&error)?;
        fs::fstat(&file).map_err(error).map_err(Error::from)
    }
}

/// Splits a name into components; `.` and leading slashes fall away, `..` is refused.
fn components(name: &[u8], shown: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let refuse = |reason| Err(Error::Refused { path: shown.to_vec(), reason });
    let mut parts = Vec::new();
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return refuse("its name contains \"..\""),
            _ if part.contains(&0) => return refuse("its name contains a NUL byte"),
            _ if part.len() > 255 => return refuse("a component of its name is too long"),
            _ => parts.push(part.to_vec()),
        }
    }
    if name.len() > 4095 - 256 {
        return refuse("its name is too long");
    }
    if name.is_empty() {
        return refuse("its name is empty");
    }
    Ok(parts)
}

fn refused(member: &Member, reason: &'static str) -> Error {
    Error::Refused { path: member.path.clone(), reason }
}

/// Only attributes that mean something in a container are kept: file capabilities and user's own.
/// `trusted.*` and `user.overlay.*` would speak to overlay.
fn metadata(member: &Member) -> Metadata {
    let wanted = |name: &[u8]| {
        name == b"security.capability"
            || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
    };
    Metadata {
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        mtime: member.mtime,
        xattrs: member.xattrs.iter().filter(|(name, _)| wanted(name)).cloned().collect(),
    }
}

fn create_file(place: &Place) -> Result<File, Error> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let file = fs::openat(place.dir.as_fd(), place.name.as_slice(), flags, mode).map_err(at(
        "create",
        &place.dir_path,
        &place.name,
    ))?;
    Ok(File::from(file))
}

fn symlink(member: &Member, place: &Place, metadata: &Metadata) -> Result<(), Error> {
    if member.link.is_empty() || member.link.contains(&0) || member.link.len() > 4095 {
        return Err(refused(member, "a symbolic link with an impossible target"));
    }
    fs::symlinkat(member.link.as_slice(), &*place.dir, place.name.as_slice()).map_err(at(
        "make symbolic link",
        &place.dir_path,
        &place.name,
    ))?;
    let (uid, gid) = rootfs::owner(metadata);
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let name = place.name.as_slice();
    fs::chownat(&*place.dir, name, Some(uid), Some(gid), flags)
        .and_then(|()| fs::utimensat(&*place.dir, name, &rootfs::timestamps(metadata.mtime), flags))
        .map_err(at("set owner of", &place.dir_path, name))?;
    Ok(())
}

/// For a FIFO, which can't be opened without a peer.
fn set_by_name(place: &Place, metadata: &Metadata) -> Result<(), Error> {
    let (uid, gid) = rootfs::owner(metadata);
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let name = place.name.as_slice();
    fs::chownat(&*place.dir, name, Some(uid), Some(gid), flags)
        .and_then(|()| {
            let mode = Mode::from_raw_mode(metadata.mode);
            fs::chmodat(&*place.dir, name, mode, AtFlags::empty())
        })
        .and_then(|()| fs::utimensat(&*place.dir, name, &rootfs::timestamps(metadata.mtime), flags))
        .map_err(at("set owner and mode of", &place.dir_path, name))?;
    Ok(())
}

fn display_path(place: &Place) -> PathBuf {
    join(&place.path())
}

/// Writes content and leaves holes where it is zero.
struct SparseFile<'a> {
    file: &'a File,
    at: u64,
    tail_is_hole: bool,
}

impl SparseFile<'_> {
    fn write_block(&mut self, block: &[u8]) -> io::Result<()> {
        self.tail_is_hole = block.len() >= 4096 && block.iter().all(|b| *b == 0);
        if self.tail_is_hole {
            self.file.seek(SeekFrom::Current(block.len() as i64))?;
        } else {
            self.file.write_all(block)?;
        }
        self.at += block.len() as u64;
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        if self.tail_is_hole {
            self.file.set_len(self.at)?;
        }
        Ok(())
    }
}
