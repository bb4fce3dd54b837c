//! The root file system: shared layers below, a directory of the container's own on top.
//!
//! Nothing below the root is ever opened by a path string: descriptors and `openat2` only.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, open, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::spec::ContainerSpec;

use super::{Bundle, Error, failed};

/// OCI images and overlayfs both end here.
const MAX_LAYERS: usize = 127;
/// Directories that the OCI runtime mounts over by name: a link would lead it elsewhere.
const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "sys"];

/// Mounts the layers at the bundle's `rootfs` and opens it.
pub(super) fn mount(bundle: &Bundle) -> Result<OwnedFd, Error> {
    let rootfs = bundle.rootfs();
    let written = bundle.written();
    for path in [rootfs.clone(), written.join("upper"), written.join("work")] {
        std::fs::create_dir_all(&path).map_err(failed(format!("make {}", path.display())))?;
    }
    let layers = &bundle.spec.layers;
    if layers.is_empty() || layers.len() > MAX_LAYERS {
        return Err(Error::Rootfs(format!(
            "{} layers; 1 to {MAX_LAYERS} are possible",
            layers.len()
        )));
    }
    let opened = layers
        .iter()
        .map(|layer| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            open(layer, flags, Mode::empty())
                .map_err(failed(format!("open layer {}", layer.display())))
        })
        .collect::<Result<Vec<_>, _>>()?;
    match mount_by_descriptor(bundle, &opened) {
        // Kernels before 6.5 don't take layers one by one.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            mount_by_options(bundle, &opened)
        }
        other => other,
    }
    .map_err(failed(format!("mount overlay at {}", rootfs.display())))?;
    open(&rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed(format!("open {}", rootfs.display())))
}

/// Short whatever the directory's real path is, and free of the characters that options split at.
fn magic_link(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn mount_by_descriptor(bundle: &Bundle, layers: &[OwnedFd]) -> rustix::io::Result<()> {
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let overlay = overlay.as_fd();
    for layer in layers {
        fsconfig_set_string(overlay, "lowerdir+", magic_link(layer))?;
    }
    let (upper, work) = open_upper(bundle)?;
    fsconfig_set_string(overlay, "upperdir", magic_link(&upper))?;
    fsconfig_set_string(overlay, "workdir", magic_link(&work))?;
    // What a container writes to its own root doesn't outlive a power cut anyway: no syncing.
    let _ = fsconfig_set_flag(overlay, "volatile");
    fsconfig_create(overlay)?;
    let mount = fsmount(overlay, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    move_mount(
        mount.as_fd(),
        "",
        rustix::fs::CWD,
        bundle.rootfs(),
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

fn mount_by_options(bundle: &Bundle, layers: &[OwnedFd]) -> rustix::io::Result<()> {
    let (upper, work) = open_upper(bundle)?;
    let lower: Vec<String> = layers.iter().map(magic_link).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={},volatile",
        lower.join(":"),
        magic_link(&upper),
        magic_link(&work)
    );
    let options = std::ffi::CString::new(options).map_err(|_| rustix::io::Errno::INVAL)?;
    rustix::mount::mount(
        "overlay",
        bundle.rootfs(),
        "overlay",
        MountFlags::empty(),
        options.as_c_str(),
    )
}

fn open_upper(bundle: &Bundle) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let upper = open(bundle.written().join("upper"), flags, Mode::empty())?;
    Ok((upper, open(bundle.written().join("work"), flags, Mode::empty())?))
}

/// Takes the mount away; none is no error.
pub(super) fn unmount(bundle: &Bundle) -> Result<(), Error> {
    let rootfs = bundle.rootfs();
    match rustix::mount::unmount(&rootfs, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(failed(format!("unmount {}", rootfs.display()))(error)),
    }
}

/// The root of a running container.
pub(super) fn open_of(init: i32) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{init}/root");
    open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed(format!("open {path}")))
}

/// Refuses roots in which a mount point is not a real directory, and makes what is missing:
/// the mount points and the working directory.
pub(super) fn check(root: &OwnedFd, spec: &ContainerSpec) -> Result<(), Error> {
    for name in MOUNT_POINTS {
        match openat2(
            root,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        ) {
            Ok(fd) if kind_of(fd.as_fd())? == FileType::Directory => {}
            Ok(_) | Err(rustix::io::Errno::LOOP) => {
                return Err(Error::Rootfs(format!("/{name} is not a directory")));
            }
            Err(rustix::io::Errno::NOENT) => {
                mkdirat(root, name, Mode::from_raw_mode(0o755))
                    .map_err(failed(format!("make /{name} in the root file system")))?;
            }
            Err(error) => return Err(failed(format!("look at /{name}"))(error)),
        }
    }
    make_working_directory(root, &spec.cwd)
}

fn kind_of(fd: BorrowedFd<'_>) -> Result<FileType, Error> {
    let stat = fstat(fd).map_err(failed("fstat"))?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// docker makes a working directory that the image doesn't have.
fn make_working_directory(root: &OwnedFd, cwd: &str) -> Result<(), Error> {
    let what = || format!("make the working directory {cwd}");
    let mut sofar = String::new();
    for component in cwd.split('/').filter(|component| !component.is_empty()) {
        let parent = open_in_root(root, if sofar.is_empty() { "/" } else { &sofar }, OFlags::PATH)
            .map_err(failed(what()))?;
        sofar.push('/');
        sofar.push_str(component);
        match open_in_root(root, &sofar, OFlags::PATH) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                mkdirat(&parent, component, Mode::from_raw_mode(0o755)).map_err(failed(what()))?;
            }
            Err(error) => return Err(failed(what())(error)),
        }
    }
    Ok(())
}

/// Opens a path as a process inside the root would, links included, never leaving it.
pub(super) fn open_in_root(root: &OwnedFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// Reads a regular file of at most `limit` bytes; `None` if there is none.
pub(super) fn read_in_root(
    root: &OwnedFd,
    path: &str,
    limit: u64,
) -> Result<Option<String>, Error> {
    let what = || format!("read {path} in the root file system");
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match open_in_root(root, path, flags) {
        Ok(fd) => fd,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(what())(error)),
    };
    if kind_of(fd.as_fd())? != FileType::RegularFile {
        return Err(Error::Rootfs(format!("{path} is not a file")));
    }
    let mut text = Vec::new();
    let mut file = io::Read::take(File::from(fd), limit + 1);
    io::Read::read_to_end(&mut file, &mut text).map_err(failed(what()))?;
    if text.len() as u64 > limit {
        return Err(Error::Rootfs(format!("{path} is larger than {limit} bytes")));
    }
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// Whether `path` is absolute and has no `..`.
pub(super) fn is_plain_absolute(path: &str) -> bool {
    path.starts_with('/') && !Path::new(path).components().any(|c| c.as_os_str() == "..")
}
