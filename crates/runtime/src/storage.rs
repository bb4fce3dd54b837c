//! A file system of a task's own: a sparse file with ext4, on a loop device, mounted for the task
//! alone.
//!
//! The mount lives in the shim's mount namespace, and the loop device goes with its last mount: when
//! the task's processes have ended, however that came, nothing holds the file any more, which goes
//! with the sandbox's directory. So there is nothing for a clean-up to know.

// The kernel is asked for a loop device by ioctl alone.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::MsFlags;

use crate::error::{Error, io};
use crate::spec::Storage;

const FILE: &str = "storage.ext4";
const MOUNT_POINT: &str = "storage";
const CONTROL: &str = "/dev/loop-control";
const MKFS: &str = "mkfs.ext4";
/// Nothing in it outlives the task: no journal; what is written late is never written.
const MKFS_OPTIONS: [&str; 8] = [
    "-q",
    "-F",
    "-m",
    "0",
    "-O",
    "^has_journal,^resize_inode",
    "-E",
    "lazy_itable_init=1,nodiscard",
];
/// Blocks that are freed go back to the host; tables that nobody reads aren't written.
const MOUNT_OPTIONS: &str = "discard,noinit_itable";
/// How often another one may take the free device first.
const MAX_TRIES: u32 = 64;

/// Whether this host has what it takes.
pub fn is_available() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Path::new(CONTROL).exists() && std::env::split_paths(&path).any(|p| p.join(MKFS).exists())
}

/// Makes the file in the sandbox's directory.
pub(crate) fn make(directory: &Path, storage: &Storage) -> Result<(), Error> {
    let path = directory.join(FILE);
    let what = || format!("make {}", path.display());
    let file = File::create_new(&path).map_err(io(what()))?;
    file.set_len(storage.bytes).map_err(io(what()))?;
    drop(file);
    let output = Command::new(MKFS).args(MKFS_OPTIONS).arg(&path).output();
    let output = output.map_err(io(format!("run {MKFS}")))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Error::Failed(format!("{MKFS} {}: {}", path.display(), said.trim())))
        }
    }
}

/// Mounts it for this process and its children, and the volumes in it where they are looked for.
pub(crate) fn mount(directory: &Path, storage: &Storage) -> io::Result<()> {
    let target = directory.join(MOUNT_POINT);
    std::fs::create_dir_all(&target)?;
    let (_device, path) = attach(&directory.join(FILE))?;
    // Mounted, the device is held by the mount.
    let plain = MsFlags::empty();
    nix::mount::mount(Some(&path), &target, Some("ext4"), plain, Some(MOUNT_OPTIONS))?;
    let volumes = target.join("volumes");
    for directory in [&containers(directory), &volumes, &storage.volumes] {
        std::fs::create_dir_all(directory)?;
    }
    let none = None::<&str>;
    nix::mount::mount(Some(&volumes), &storage.volumes, none, MsFlags::MS_BIND, none)?;
    Ok(())
}

/// Where what containers write lies in it.
pub(crate) fn containers(directory: &Path) -> PathBuf {
    directory.join(MOUNT_POINT).join("containers")
}

/// The kernel's `loop_info64`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// The kernel's `loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// Goes once nothing uses it any more.
const LO_FLAGS_AUTOCLEAR: u32 = 4;

nix::ioctl_none_bad!(loop_ctl_get_free, 0x4C82);
nix::ioctl_write_ptr_bad!(loop_configure, 0x4C0A, LoopConfig);

/// A loop device with the file behind it. It is gone when neither the descriptor nor a mount is left.
fn attach(file: &Path) -> io::Result<(File, PathBuf)> {
    let read_write = |path: &Path| File::options().read(true).write(true).open(path);
    let file = read_write(file)?;
    let control = read_write(Path::new(CONTROL))?;
    let mut tries = 0;
    loop {
        // SAFETY: the call takes no argument.
        let number = unsafe { loop_ctl_get_free(control.as_raw_fd()) }?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = read_write(&path)?;
        let config = LoopConfig {
            fd: u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?,
            block_size: 0,
            info: LoopInfo {
                device: 0,
                inode: 0,
                rdevice: 0,
                offset: 0,
                size_limit: 0,
                number: 0,
                encrypt_type: 0,
                encrypt_key_size: 0,
                flags: LO_FLAGS_AUTOCLEAR,
                file_name: [0; 64],
                crypt_name: [0; 64],
                encrypt_key: [0; 32],
                init: [0; 2],
            },
            reserved: [0; 8],
        };
        // SAFETY: the structure is the one that the kernel reads, and lives as long as the call.
        match unsafe { loop_configure(device.as_raw_fd(), &raw const config) } {
            Ok(_) => return Ok((device, path)),
            // Somebody else was faster.
            Err(nix::errno::Errno::EBUSY) if tries < MAX_TRIES => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_the_kernels() {
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }
}
