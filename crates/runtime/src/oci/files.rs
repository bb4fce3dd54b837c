//! Files that a task's volumes in memory have before a container is made.
//!
//! Other containers of the task may have the volume by then: every step is by descriptor, follows no
//! link and makes what wasn't there; a file that was there is replaced as a whole.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, openat, renameat, unlinkat,
};

use super::{Error, failed};
use crate::spec::VolumeFile;

/// Writes the container's files.
pub(super) fn write(files: &[VolumeFile]) -> Result<(), Error> {
    files.iter().try_for_each(write_one)
}

fn write_one(file: &VolumeFile) -> Result<(), Error> {
    let what = || format!("write {} in volume {}", file.name, file.volume.display());
    if file.name.is_empty() || file.name.contains('/') || file.name.starts_with('.') {
        let invalid = std::io::Error::from(std::io::ErrorKind::InvalidInput);
        return Err(failed(what())(invalid));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let volume = openat(CWD, &file.volume, flags, Mode::empty()).map_err(failed(what()))?;
    // Containers of a task are made at the same time.
    rustix::fs::flock(&volume, rustix::fs::FlockOperation::LockExclusive)
        .map_err(failed(what()))?;
    let next = format!(".{}", file.name);
    let _ = unlinkat(&volume, &next, AtFlags::empty());
    replace(&volume, &next, file).map_err(failed(what()))
}

fn replace(volume: &OwnedFd, next: &str, file: &VolumeFile) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(volume, next, flags, Mode::RUSR | Mode::WUSR)?;
    // Before there is anything in it that not everybody may read.
    fchown(&made, Some(Uid::from_raw(file.uid)), Some(Gid::from_raw(file.gid)))?;
    fchmod(&made, Mode::from_raw_mode(file.mode & 0o777))?;
    File::from(made).write_all(file.content.expose().as_bytes())?;
    Ok(renameat(volume, next, volume, &file.name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::SecretText;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (volume, canary) = (directory.path().join("volume"), directory.path().join("canary"));
        std::fs::create_dir(&volume).unwrap();
        std::fs::write(&canary, "host").unwrap();
        symlink(&canary, volume.join("password")).unwrap();
        symlink(&canary, volume.join(".password")).unwrap();
        let mut file = VolumeFile {
            volume: volume.clone(),
            name: "password".to_owned(),
            content: SecretText::new("hunter2"),
            mode: 0o440,
            uid: 1000,
            gid: 1001,
        };
        write(std::slice::from_ref(&file)).unwrap();
        write(std::slice::from_ref(&file)).unwrap();
        let path = volume.join("password");
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert!(metadata.is_file() && metadata.permissions().mode() & 0o7777 == 0o440);
        assert_eq!((metadata.uid(), metadata.gid()), (1000, 1001));
        assert_eq!(std::fs::read_to_string(path).unwrap(), "hunter2");
        assert_eq!(std::fs::read_to_string(&canary).unwrap(), "host");
        assert_eq!(std::fs::read_dir(&volume).unwrap().count(), 1);
        for name in ["", "../x", "a/b", ".x"] {
            file.name = name.to_owned();
            let error = write(std::slice::from_ref(&file)).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
