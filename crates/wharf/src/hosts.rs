//! Names in /etc/hosts: one marked block for each part of a wharf that has some to publish.
//!
//! Every line of a block carries the mark of its owner, so that taking it out again needs no memory
//! and leaves what others wrote as it was, byte for byte. A name that anybody else has there is never
//! taken, unless its owner is a wharf that doesn't run any more. The file is replaced as a whole; two
//! wharfs that change it at the same time take turns.

use crate::data_dir::DataDir;
use crate::process::ProcessFile;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// What every mark begins with.
const MARK: &str = "# wharf ";
/// How often the file is opened again because somebody replaced it meanwhile.
const ATTEMPTS: usize = 100;

/// Why the file can't be changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing.
    #[error("can't {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Somebody else changes it all the time.
    #[error("{0} is being replaced again and again: try again later")]
    Restless(PathBuf),
    /// The data directory's name doesn't fit into a line.
    #[error("the data directory's name isn't plain text, which a line of {0} can't hold")]
    Name(PathBuf),
}

/// A name that somebody else has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The name.
    pub name: String,
    /// Who has it, for people.
    pub by: String,
}

/// One part's block: a process of a wharf publishes its names under a part of its own.
#[derive(Debug, Clone)]
pub struct Block {
    /// The file, commonly /etc/hosts.
    path: PathBuf,
    data_dir: PathBuf,
    instance: String,
    part: &'static str,
}

impl Block {
    /// The block of `part` of the wharf with this data directory, in the file `path`.
    pub fn new(path: PathBuf, data_dir: &DataDir, part: &'static str) -> Self {
        let (directory, instance) = (data_dir.path().to_owned(), data_dir.instance());
        Self { path, data_dir: directory, instance, part }
    }

    /// Makes the block hold `entries`, in place of what it held before; none leaves no block. Names
    /// that others have are left out, and returned.
    ///
    /// # Errors
    /// If the file can't be changed; it is then as it was.
    pub fn publish(&self, entries: &[(IpAddr, String)]) -> Result<Vec<Taken>, Error> {
        let directory = self.data_dir.to_str().filter(|text| !text.contains(char::is_control));
        let directory = directory.ok_or_else(|| Error::Name(self.path.clone()))?;
        let mark = Mark { instance: &self.instance, part: self.part, data_dir: directory };
        self.change(|text| with_block(text, mark, entries, &is_alive))
    }

    /// Takes the blocks of all of this wharf's parts out.
    ///
    /// # Errors
    /// If the file can't be changed; it is then as it was.
    pub fn withdraw_all(&self) -> Result<(), Error> {
        let owner = format!("{MARK}{}/", self.instance);
        // Where there is nothing to take out the file may be one that can't be written.
        let text = fs::read(&self.path).unwrap_or_default();
        if !lines(&text).any(|line| marks(line, &owner)) {
            return Ok(());
        }
        self.change(|text| (without(text, &owner), ()))
    }

    /// True while there is such a block.
    pub fn exists(&self) -> bool {
        let text = fs::read(&self.path).unwrap_or_default();
        let owner = format!("{MARK}{}/{}", self.instance, self.part);
        lines(&text).any(|line| marks(line, &owner))
    }

    /// True while this block has `name`.
    pub fn has(&self, name: &str) -> bool {
        let text = fs::read(&self.path).unwrap_or_default();
        let owner = format!("{MARK}{}/{}", self.instance, self.part);
        lines(&text).any(|line| marks(line, &owner) && names(line).any(|found| found == name))
    }

    /// Replaces the file with what `change` makes of it.
    fn change<T>(&self, change: impl Fn(&[u8]) -> (Vec<u8>, T)) -> Result<T, Error> {
        let failed = |action| move |source| Error::Io { action, path: self.path.clone(), source };
        // Not the link is to be replaced, but what it names.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        for _ in 0..ATTEMPTS {
            let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
                Ok(file) => file,
                Err(source) if source.kind() == io::ErrorKind::NotFound => {
                    let (text, result) = change(&[]);
                    if text.is_empty() {
                        return Ok(result);
                    }
                    create(&path).map_err(failed("create"))?;
                    continue;
                }
                Err(source) => return Err(failed("open")(source)),
            };
            flock(&file, FlockOperation::LockExclusive)
                .map_err(|errno| failed("lock")(errno.into()))?;
            if !is_at(&file, &path) {
                // Replaced while the lock was waited for.
                continue;
            }
            let mut text = Vec::new();
            file.read_to_end(&mut text).map_err(failed("read"))?;
            let (changed, result) = change(&text);
            if changed != text {
                replace(&mut file, &path, &changed).map_err(failed("write"))?;
            }
            return Ok(result);
        }
        Err(Error::Restless(self.path.clone()))
    }
}

/// An empty file that everybody may read, unless there is one now.
fn create(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let (held, there) = (file.metadata(), fs::metadata(path));
    matches!((held, there), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
}

/// Writes a whole new file beside the old one, with its owner and mode, and renames it over.
fn replace(old: &mut File, path: &Path, text: &[u8]) -> io::Result<()> {
    let before = old.metadata()?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let mut next = tempfile::Builder::new().prefix(".hosts-wharf-").tempfile_in(parent)?;
    next.write_all(text)?;
    fchown(next.as_file(), Some(before.uid()), Some(before.gid()))?;
    next.as_file().set_permissions(before.permissions())?;
    copy_label(old, next.as_file());
    next.as_file().sync_all()?;
    match next.persist(path) {
        Ok(_) => File::open(parent)?.sync_all(),
        // A file that is mounted itself, as it is in containers, can only be written in place.
        Err(error) if error.error.raw_os_error() == Some(nix::libc::EBUSY) => {
            old.rewind()?;
            old.write_all(text)?;
            old.set_len(text.len() as u64)?;
            old.sync_all()
        }
        Err(error) => Err(error.error),
    }
}

/// SELinux's label: without it, hosts that enforce it refuse the new file to whoever resolves names.
fn copy_label(from: &File, to: &File) {
    let mut label = [0_u8; 256];
    if let Ok(length) = rustix::fs::fgetxattr(from, c"security.selinux", &mut label) {
        let flags = rustix::fs::XattrFlags::empty();
        if let Err(error) = rustix::fs::fsetxattr(to, c"security.selinux", &label[..length], flags)
        {
            tracing::debug!(%error, "the hosts file's label can't be copied");
        }
    }
}

/// True if a process of the wharf with this data directory lives.
fn is_alive(data_dir: &str) -> bool {
    let Some(directory) = DataDir::existing(Path::new(data_dir)) else { return false };
    ["supervisor", "server"].iter().any(|name| ProcessFile::read_live(&directory, name).is_some())
}

/// Whose block it is.
#[derive(Clone, Copy)]
struct Mark<'a> {
    instance: &'a str,
    part: &'a str,
    data_dir: &'a str,
}

impl Mark<'_> {
    fn text(&self) -> String {
        format!("{MARK}{}/{}", self.instance, self.part)
    }

    fn block(&self, entries: &[(IpAddr, &String)]) -> String {
        let mark = self.text();
        let mut text = format!("{mark} begin {}\n", self.data_dir);
        for (address, name) in entries {
            text.push_str(&format!("{address}\t{name}\t{mark}\n"));
        }
        text + &format!("{mark} end (made by wharf; `wharf down` removes it)\n")
    }
}

/// `text` with the block of `mark` holding those of the entries that nobody else has. The block comes
/// first, so that a last line without its end stays one.
fn with_block(
    text: &[u8],
    mark: Mark<'_>,
    entries: &[(IpAddr, String)],
    alive: &dyn Fn(&str) -> bool,
) -> (Vec<u8>, Vec<Taken>) {
    let mut rest = without(text, &mark.text());
    let (mut kept, mut taken) = (Vec::new(), Vec::new());
    for (address, name) in entries {
        loop {
            match holder(&rest, name) {
                None => kept.push((*address, name)),
                Some(Holder::Line(line)) => {
                    taken.push(Taken { name: name.clone(), by: format!("the line `{line}`") });
                }
                Some(Holder::Wharf { owner, data_dir })
                    if alive(&data_dir) || owner == mark.text() =>
                {
                    let by = format!("the wharf that runs on {data_dir}");
                    taken.push(Taken { name: name.clone(), by });
                }
                // It was killed, and nobody took its block out.
                Some(Holder::Wharf { owner, .. }) => {
                    rest = without(&rest, &owner);
                    continue;
                }
            }
            break;
        }
    }
    if kept.is_empty() {
        return (rest, taken);
    }
    let mut result = mark.block(&kept).into_bytes();
    result.extend_from_slice(&rest);
    (result, taken)
}

/// `text` without the lines that `owner` marks: a whole mark, or the beginning of one up to its `/`.
fn without(text: &[u8], owner: &str) -> Vec<u8> {
    let kept: Vec<&[u8]> = lines(text).filter(|line| !marks(line, owner)).collect();
    kept.concat()
}

/// The lines with their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

/// True if a line carries the mark.
fn marks(line: &[u8], owner: &str) -> bool {
    let Ok(line) = std::str::from_utf8(line) else { return false };
    line.match_indices(owner).any(|(at, _)| {
        let rest = &line[at + owner.len()..];
        owner.ends_with('/') || rest.is_empty() || rest.starts_with(char::is_whitespace)
    })
}

/// The names that a line gives.
fn names(line: &[u8]) -> impl Iterator<Item = &str> {
    let line = std::str::from_utf8(line).unwrap_or_default();
    line.split('#').next().unwrap_or_default().split_whitespace().skip(1)
}

/// Who has a name.
enum Holder {
    /// A line that no wharf wrote.
    Line(String),
    /// A wharf, by its mark.
    Wharf { owner: String, data_dir: String },
}

fn holder(text: &[u8], name: &str) -> Option<Holder> {
    let found = lines(text).find(|line| names(line).any(|n| n.eq_ignore_ascii_case(name)))?;
    let line = String::from_utf8_lossy(found).trim().to_owned();
    let mark = line.split_once(MARK).and_then(|(_, mark)| mark.split_whitespace().next());
    let Some(owner) = mark.map(|mark| format!("{MARK}{mark}")) else {
        return Some(Holder::Line(line));
    };
    let directories: BTreeMap<String, String> = lines(text).filter_map(begin).collect();
    let data_dir = directories.get(&owner).cloned().unwrap_or_default();
    Some(Holder::Wharf { owner, data_dir })
}

/// Mark and data directory, of a block's first line.
fn begin(line: &[u8]) -> Option<(String, String)> {
    let line = std::str::from_utf8(line).ok()?.trim_end();
    let (mark, data_dir) = line.strip_prefix(MARK)?.split_once(" begin ")?;
    Some((format!("{MARK}{mark}"), data_dir.to_owned()))
}

#[cfg(test)]
mod tests;
