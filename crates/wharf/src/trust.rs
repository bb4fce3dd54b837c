//! Who else on this host is told to trust the authority: docker, podman, buildah and skopeo, for the
//! registry's name alone.
//!
//! Their `certs.d` has a directory for each registry. A file of ours says so in its first line; one that
//! says nothing of the kind is somebody else's, and stays as it is.

use crate::data_dir::{self, DataDir};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Below /etc: where docker, and where podman and its like look.
const CERTS_D: [&str; 2] = ["docker/certs.d", "containers/certs.d"];
const FILE: &str = "ca.crt";
/// What the first line of a file of a wharf begins with.
const MARK: &str = "# The authority of the wharf of ";

/// Why clients weren't told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// A file or directory.
    #[error("can't write {0}")]
    Io(PathBuf, #[source] io::Error),
    /// Somebody else's file is there.
    #[error("{0} is not wharf's and stays as it is: remove it if clients shall trust wharf")]
    Foreign(PathBuf),
}

/// Writes the certificate for `registry` where clients look for it, below `etc`.
///
/// # Errors
/// If one of the files can't be written; the others are.
pub fn publish(
    data_dir: &DataDir,
    etc: &Path,
    registry: &str,
    certificate: &str,
) -> Result<(), Error> {
    let mut made: Vec<PathBuf> = data_dir::read_json(&data_dir.trust())?.unwrap_or_default();
    let text = format!("{MARK}{}\n{certificate}", data_dir.path().display());
    let mut result = Ok(());
    for certs_d in CERTS_D {
        let directory = etc.join(certs_d).join(registry);
        for parent in missing(&directory) {
            // Written down first: whoever is killed in between still finds it.
            if !made.contains(&parent) {
                made.push(parent);
                data_dir::write_json(&data_dir.trust(), &made)?;
            }
        }
        let file = directory.join(FILE);
        let written = match fs::read_to_string(&file) {
            Ok(there) if there == text => Ok(()),
            Ok(there) if !there.starts_with(MARK) => Err(Error::Foreign(file)),
            _ => write(&directory, &text).map_err(|source| Error::Io(file, source)),
        };
        result = result.and(written);
    }
    result
}

/// The directories that aren't there yet, the outermost first.
fn missing(directory: &Path) -> Vec<PathBuf> {
    let all = directory.ancestors().take_while(|path| !path.exists());
    let mut missing: Vec<PathBuf> = all.map(Path::to_owned).collect();
    missing.reverse();
    missing
}

fn write(directory: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let next = tempfile::Builder::new().prefix(".wharf-").tempfile_in(directory)?;
    fs::write(next.path(), text)?;
    next.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    next.persist(directory.join(FILE)).map(drop).map_err(|error| error.error)
}

/// Takes away what [`publish`] wrote, and the directories that it made, unless something else came to
/// lie in them.
///
/// # Errors
/// If what was made can't be read.
pub fn withdraw(data_dir: &DataDir, etc: &Path) -> Result<(), Error> {
    let first_line = format!("{MARK}{}\n", data_dir.path().display());
    for certs_d in CERTS_D {
        let directories = fs::read_dir(etc.join(certs_d)).into_iter().flatten().flatten();
        for directory in directories {
            let file = directory.path().join(FILE);
            if fs::read_to_string(&file).is_ok_and(|text| text.starts_with(&first_line)) {
                fs::remove_file(&file).map_err(|source| Error::Io(file, source))?;
            }
        }
    }
    let made: Vec<PathBuf> = data_dir::read_json(&data_dir.trust())?.unwrap_or_default();
    for directory in made.iter().rev() {
        // One that isn't empty has become somebody else's.
        let _ = fs::remove_dir(directory);
    }
    match fs::remove_file(data_dir.trust()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Io(data_dir.trust(), source))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_there_stays() {
        let root = tempfile::tempdir().unwrap();
        let (etc, name) = (root.path().join("etc"), "registry.example");
        let wharf = |name: &str| DataDir::open(Some(&root.path().join(name))).unwrap();
        let (one, two) = (wharf("one"), wharf("two"));
        let others = etc.join("docker/certs.d/other.example/ca.crt");
        fs::create_dir_all(others.parent().unwrap()).unwrap();
        fs::write(&others, "theirs").unwrap();
        publish(&one, &etc, name, "certificate").unwrap();
        publish(&one, &etc, name, "certificate").unwrap();
        let files = CERTS_D.map(|certs_d| etc.join(certs_d).join(name).join(FILE));
        for file in &files {
            assert!(fs::read_to_string(file).unwrap().ends_with("\ncertificate"));
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o644);
        }
        // One that has the name now writes over what one left that hasn't.
        publish(&two, &etc, name, "other").unwrap();
        withdraw(&one, &etc).unwrap();
        assert!(files.iter().all(|file| file.exists()));
        withdraw(&two, &etc).unwrap();
        assert!(files.iter().all(|file| !file.exists()));
        assert!(!etc.join("containers/certs.d").join(name).join(FILE).exists());
        assert_eq!(fs::read_to_string(&others).unwrap(), "theirs");
        fs::create_dir_all(files[0].parent().unwrap()).unwrap();
        fs::write(&files[0], "mine").unwrap();
        assert!(matches!(publish(&one, &etc, name, "x"), Err(Error::Foreign(_))));
        assert!(files[1].exists(), "the other client is told all the same");
        withdraw(&one, &etc).unwrap();
        assert_eq!(fs::read_to_string(&files[0]).unwrap(), "mine");
    }

    #[test]
    fn nothing_is_left() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let data_dir = DataDir::open(Some(&root.path().join("data"))).unwrap();
        publish(&data_dir, &etc, "a.example", "certificate").unwrap();
        withdraw(&data_dir, &etc).unwrap();
        assert_eq!(fs::read_dir(&etc).unwrap().count(), 0);
        withdraw(&data_dir, &etc).unwrap();
    }
}
