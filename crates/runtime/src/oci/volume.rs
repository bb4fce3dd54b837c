//! docker's rule for volumes: an empty one gets what the image has at its place.
//!
//! Other containers may write to the volume meanwhile: every step is by descriptor, follows no link
//! and makes what wasn't there.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec,
    Timestamps, Uid, XattrFlags, chownat, fchmod, fchown, fgetxattr, flock, fsetxattr, fstat,
    futimens, mkdirat, openat2, readlinkat, statat, symlinkat,
};

use super::rootfs::open_in_root;
use super::{Error, failed};

/// Directories deeper than this are no content that anyone means.
const MAX_DEPTH: usize = 256;
/// What a program may do without its user being allowed to.
const FILE_CAPABILITIES: &str = "security.capability";

/// Copies what `root` has at `target` into the volume, if that is empty.
pub(super) fn fill(root: &OwnedFd, target: &str, volume: &Path) -> Result<(), Error> {
    let what = || format!("fill volume {} from {target} of the image", volume.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let from = match open_in_root(root, target, flags) {
        Ok(from) => from,
        // Nothing is there, or a file.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            return Ok(());
        }
        Err(error) => return Err(failed(what())(error)),
    };
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let into = rustix::fs::openat(CWD, volume, flags, Mode::empty()).map_err(failed(what()))?;
    // Containers of a task are made at the same time.
    flock(&into, FlockOperation::LockExclusive).map_err(failed(what()))?;
    if !is_empty(&into).map_err(failed(what()))? {
        return Ok(());
    }
    copy_directory(&from, &into, 0).map_err(failed(what()))
}

fn is_empty(directory: &OwnedFd) -> io::Result<bool> {
    let mut entries = Dir::read_from(directory)?;
    let other = entries.find(|entry| match entry {
        Ok(entry) => !matches!(entry.file_name().to_bytes(), b"." | b".."),
        Err(_) => true,
    });
    Ok(other.transpose()?.is_none())
}

fn open_beneath(directory: &OwnedFd, name: &std::ffi::CStr, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mode = if flags.contains(OFlags::CREATE) { 0o600 } else { 0 };
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(openat2(directory, name, flags, Mode::from_raw_mode(mode), resolve)?)
}

fn copy_directory(from: &OwnedFd, into: &OwnedFd, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other("too many directories within each other"));
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                mkdirat(into, name, Mode::from_raw_mode(0o700))?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let inner = open_beneath(from, name, flags)?;
                copy_directory(&inner, &open_beneath(into, name, flags)?, depth + 1)?;
            }
            FileType::RegularFile => {
                let mut inner = File::from(open_beneath(from, name, OFlags::RDONLY)?);
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let mut made = File::from(open_beneath(into, name, flags)?);
                io::copy(&mut inner, &mut made)?;
                copy_attributes(inner.as_fd(), made.as_fd(), &stat)?;
            }
            FileType::Symlink => {
                let target = readlinkat(from, name, Vec::new())?;
                symlinkat(&*target, into, name)?;
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                chownat(into, name, Some(owner(&stat).0), Some(owner(&stat).1), flags)?;
            }
            // An image chooses no devices, and sockets and pipes are nothing without a process.
            _ => {}
        }
    }
    let stat = fstat(from)?;
    copy_attributes(from.as_fd(), into.as_fd(), &stat)
}

fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

/// Owner first: a change of it takes special bits and capabilities away.
fn copy_attributes(from: BorrowedFd<'_>, into: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = owner(stat);
    fchown(into, Some(uid), Some(gid))?;
    fchmod(into, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let mut value = [0; 64];
    if let Ok(length) = fgetxattr(from, FILE_CAPABILITIES, &mut value) {
        fsetxattr(into, FILE_CAPABILITIES, &value[..length], XattrFlags::empty())?;
    }
    let time = |sec: i64, nsec: u64| Timespec { tv_sec: sec, tv_nsec: nsec as _ };
    let times = Timestamps {
        last_access: time(stat.st_atime as _, stat.st_atime_nsec as _),
        last_modification: time(stat.st_mtime as _, stat.st_mtime_nsec as _),
    };
    Ok(futimens(into, &times)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn an_empty_volume_gets_the_images_content_and_no_other_does() {
        let directory = tempfile::tempdir().unwrap();
        let (root, volume) = (directory.path().join("root"), directory.path().join("volume"));
        let canary = directory.path().join("canary");
        for path in [&root.join("data/deep"), &volume, &canary] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(canary.join("secret"), "host").unwrap();
        std::fs::write(root.join("data/deep/file"), "content").unwrap();
        let mode = std::fs::Permissions::from_mode(0o4751);
        std::fs::set_permissions(root.join("data/deep/file"), mode).unwrap();
        std::os::unix::fs::chown(root.join("data"), Some(33), Some(34)).unwrap();
        symlink(&canary, root.join("data/out")).unwrap();
        symlink(&canary, root.join("absolute")).unwrap();
        let opened = File::open(&root).unwrap().into();
        // An image's link leads nowhere outside of it.
        fill(&opened, "/absolute", &volume).unwrap();
        fill(&opened, "/missing", &volume).unwrap();
        assert_eq!(std::fs::read_dir(&volume).unwrap().count(), 0);
        fill(&opened, "/data", &volume).unwrap();
        let made = std::fs::metadata(volume.join("deep/file")).unwrap();
        assert_eq!((made.mode() & 0o7777, made.len()), (0o4751, 7));
        let top = std::fs::metadata(&volume).unwrap();
        assert_eq!((top.uid(), top.gid()), (33, 34));
        assert_eq!(std::fs::read_link(volume.join("out")).unwrap(), canary);
        // What is in a volume stays as it is.
        std::fs::remove_dir_all(volume.join("deep")).unwrap();
        fill(&opened, "/data", &volume).unwrap();
        assert!(!volume.join("deep").exists());
        assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 1);
    }
}
