//! What is installed in a root, layer by layer: later layers replace and remove what earlier ones
//! brought, by names and whiteouts. Nothing is unpacked; what lists packages is read and forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use wharf_image::unpack::{Kind as MemberKind, TarReader, decompress};

use crate::Error;
use crate::files::{self, Kind, Listed};
use crate::package::{Ecosystem, Package};

const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
/// The longest path that the kernel takes.
const MAX_PATH_BYTES: usize = 4096;
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// What one scan may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes that all layers unpack to.
    pub bytes: u64,
    /// Bytes of a file that lists packages.
    pub file_bytes: u64,
    /// Packages.
    pub packages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, file_bytes: 32 << 20, packages: 100_000 }
    }
}

/// A file of the root that matters here.
#[derive(Debug)]
enum Found {
    Packages(Kind, Vec<Listed>),
    OsRelease(String, String),
}

/// What the layers so far have.
#[derive(Debug)]
pub struct Inventory {
    limits: Limits,
    bytes_left: u64,
    files: BTreeMap<String, Found>,
}

impl Inventory {
    /// An empty root.
    pub fn new(limits: Limits) -> Self {
        Self { limits, bytes_left: limits.bytes, files: BTreeMap::new() }
    }

    /// Puts a layer (a tar archive, plain or packed by gzip or zstd) on top. `stop` is asked all the
    /// time, and ends the work when it says so.
    ///
    /// # Errors
    /// If it is no such archive, something is too large, or `stop` said so.
    pub fn apply(&mut self, layer: impl Read, stop: &dyn Fn() -> bool) -> Result<(), Error> {
        let known = self.known();
        let mut cut = None;
        let stream = Bounded {
            inner: decompress(layer)?,
            left: &mut self.bytes_left,
            limit: self.limits.bytes,
            stop,
            cut: &mut cut,
        };
        let read = read_layer(TarReader::new(stream), &self.limits, &known);
        match (read, cut) {
            (_, Some(why)) => Err(why),
            (Err(error), None) => Err(error),
            (Ok(layer), None) => self.put(layer),
        }
    }

    /// The paths of what is known, and of the directories above it.
    fn known(&self) -> BTreeSet<String> {
        let mut known = BTreeSet::new();
        for path in self.files.keys() {
            known.extend(path.match_indices('/').map(|(at, _)| path[..at].to_owned()));
            known.insert(path.clone());
        }
        known
    }

    fn put(&mut self, layer: Layer) -> Result<(), Error> {
        for removed in &layer.removed {
            let below = |path: &str| {
                path.strip_prefix(removed.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            self.files.retain(|path, _| !below(path));
        }
        for directory in &layer.emptied {
            let below = |path: &str| {
                path.strip_prefix(directory.as_str()).is_some_and(|rest| rest.starts_with('/'))
            };
            self.files.retain(|path, _| !(directory.is_empty() || below(path)));
        }
        self.files.extend(layer.files);
        let lists = self.files.values().map(|found| match found {
            Found::Packages(_, list) => list.len(),
            Found::OsRelease(..) => 0,
        });
        match lists.sum::<usize>() > self.limits.packages {
            true => Err(Error::TooManyPackages(self.limits.packages)),
            false => Ok(()),
        }
    }

    /// The packages of the root, each once.
    ///
    /// # Errors
    /// If there are none, or those of a distribution that isn't known.
    pub fn packages(&self) -> Result<Vec<Package>, Error> {
        let release = OS_RELEASE.iter().find_map(|path| match self.files.get(*path) {
            Some(Found::OsRelease(id, version)) => Some((id.as_str(), version.as_str())),
            _ => None,
        });
        let distribution = match release {
            Some(("debian", version)) => Some(Ecosystem::Debian(version.to_owned())),
            Some(("ubuntu", version)) => Some(Ecosystem::Ubuntu(version.to_owned())),
            Some(("alpine", version)) => {
                let branch: Vec<&str> = version.split('.').take(2).collect();
                Some(Ecosystem::Alpine(format!("v{}", branch.join("."))))
            }
            _ => None,
        };
        let mut packages = Vec::new();
        for found in self.files.values() {
            let Found::Packages(kind, list) = found else { continue };
            let ecosystem = match kind {
                Kind::Dpkg | Kind::Apk => distribution.clone().ok_or(Error::Unsupported)?,
                Kind::Npm | Kind::Yarn => Ecosystem::Npm,
                Kind::Requirements | Kind::PythonMetadata | Kind::Poetry => Ecosystem::PyPi,
                Kind::Cargo => Ecosystem::CratesIo,
                Kind::GoMod => Ecosystem::Go,
                Kind::Gemfile => Ecosystem::RubyGems,
                Kind::Composer => Ecosystem::Packagist,
            };
            packages.extend(list.iter().map(|listed| Package {
                ecosystem: ecosystem.clone(),
                name: listed.name.clone(),
                version: listed.version.clone(),
            }));
        }
        packages.sort_unstable();
        packages.dedup();
        if packages.is_empty() && distribution.is_none() {
            return Err(Error::Unsupported);
        }
        Ok(packages)
    }
}

/// What one layer changes of what was known.
#[derive(Default)]
struct Layer {
    files: BTreeMap<String, Found>,
    removed: BTreeSet<String>,
    emptied: BTreeSet<String>,
}

/// Reads a layer. Names are remembered only where they lead to something known, so that a layer of a
/// million names takes no memory.
fn read_layer<R: Read>(
    mut archive: TarReader<R>,
    limits: &Limits,
    known: &BTreeSet<String>,
) -> Result<Layer, Error> {
    let mut layer = Layer::default();
    let mut packages = 0;
    while let Some(member) = archive.next_member()? {
        let Some(path) = normal(&member.path) else { continue };
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == OPAQUE {
            if parent.is_empty() || known.contains(parent) {
                layer.emptied.insert(parent.to_owned());
            }
            continue;
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            let hidden = join(parent, hidden);
            if known.contains(&hidden) {
                layer.removed.insert(hidden);
            }
            continue;
        }
        let (kind, is_os_release) = (Kind::of(&path), OS_RELEASE.contains(&path.as_str()));
        let is_list = kind.is_some() || is_os_release;
        // Whatever stood there is replaced, and with a directory what was below it.
        if known.contains(&path) && (is_list || member.kind != MemberKind::Directory) {
            layer.removed.insert(path.clone());
        }
        if is_list {
            layer.files.remove(&path);
        }
        if !is_list || member.kind != MemberKind::File {
            continue;
        }
        if member.size > limits.file_bytes {
            let (size, limit) = (member.size, limits.file_bytes);
            return Err(Error::FileTooLarge { path, size, limit });
        }
        let bytes = content(&mut archive)?;
        let found = match kind {
            Some(kind) => Found::Packages(kind, kind.parse(&bytes)),
            None => {
                let (id, version) = files::os_release(&bytes);
                Found::OsRelease(id, version)
            }
        };
        if let Found::Packages(_, list) = &found {
            if list.is_empty() {
                continue;
            }
            packages += list.len();
        }
        if packages > limits.packages {
            return Err(Error::TooManyPackages(limits.packages));
        }
        layer.files.insert(path, found);
    }
    Ok(layer)
}

fn content<R: Read>(archive: &mut TarReader<R>) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match archive.read(&mut buffer)? {
            0 => return Ok(bytes),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

/// A member's path from the root; none for the root itself, and for what would lead out of it.
fn normal(path: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(path);
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let good = !parts.is_empty() && !parts.contains(&"..") && text.len() <= MAX_PATH_BYTES;
    good.then(|| parts.join("/"))
}

/// A stream that ends with an error when it has been too long, or when it is told to.
struct Bounded<'a, R> {
    inner: R,
    left: &'a mut u64,
    limit: u64,
    stop: &'a dyn Fn() -> bool,
    cut: &'a mut Option<Error>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.stop)() {
            *self.cut = Some(Error::Stopped);
            return Err(io::ErrorKind::TimedOut.into());
        }
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => *self.left = left,
            None => {
                *self.cut = Some(Error::TooManyBytes(self.limit));
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(text.len() as u64);
            if path.ends_with('/') {
                header.set_entry_type(tar::EntryType::Directory);
            }
            archive.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn after(layers: &[&[(&str, &str)]]) -> Result<Vec<String>, Error> {
        let mut inventory = Inventory::new(Limits::default());
        for files in layers {
            inventory.apply(layer(files).as_slice(), &|| false)?;
        }
        let shown = |p: Package| format!("{} {}={}", p.ecosystem.base(), p.name, p.version);
        Ok(inventory.packages()?.into_iter().map(shown).collect())
    }

    const DEBIAN: (&str, &str) = ("./etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
    const STATUS: &str = "./var/lib/dpkg/status";

    #[test]
    fn later_layers_replace_and_remove() {
        let base: &[(&str, &str)] = &[
            DEBIAN,
            (STATUS, "Package: tar\nVersion: 1\n"),
            ("app/go.mod", "require a/b v1.0.0\n"),
            ("app/web/yarn.lock", "c@1:\n  version \"1.0.0\"\n"),
            ("application/go.mod", "require d/e v1.0.0\n"),
        ];
        let all = ["Debian tar=1", "npm c=1.0.0", "Go a/b=1.0.0", "Go d/e=1.0.0"];
        assert_eq!(after(&[base]).unwrap(), all);
        let upgraded = after(&[base, &[(STATUS, "Package: tar\nVersion: 2\n")]]).unwrap();
        assert_eq!(upgraded[0], "Debian tar=2");
        let hidden = after(&[base, &[(".wh.app", "")]]).unwrap();
        assert_eq!(hidden, ["Debian tar=1", "Go d/e=1.0.0"]);
        // A layer's own files stay, wherever in it the mark stands.
        let own: &[(&str, &str)] =
            &[("app/go.mod", "require f/g v2.0.0\n"), ("app/.wh..wh..opq", "")];
        assert_eq!(after(&[base, own]).unwrap(), ["Debian tar=1", "Go d/e=1.0.0", "Go f/g=2.0.0"]);
        let file = after(&[base, &[("app", "now a file")]]).unwrap();
        assert_eq!(file, ["Debian tar=1", "Go d/e=1.0.0"]);
    }

    #[test]
    fn what_is_hostile_or_unknown_is_an_error() {
        assert!(matches!(after(&[&[("bin/sh", "x")]]), Err(Error::Unsupported)));
        let fedora: &[(&str, &str)] =
            &[("etc/os-release", "ID=x\n"), (STATUS, "Package: a\nVersion: 1\n")];
        assert!(matches!(after(&[fedora]), Err(Error::Unsupported)));
        assert!(after(&[&[DEBIAN]]).unwrap().is_empty());
        let mut inventory = Inventory::new(Limits { bytes: 4096, ..Limits::default() });
        let long = "x".repeat(9000);
        let big = layer(&[("a", &long)]);
        let refused = inventory.apply(big.as_slice(), &|| false);
        assert!(matches!(refused, Err(Error::TooManyBytes(4096))), "{refused:?}");
        let mut inventory = Inventory::new(Limits { file_bytes: 10, ..Limits::default() });
        let refused = inventory.apply(layer(&[(STATUS, &long)]).as_slice(), &|| false);
        assert!(matches!(refused, Err(Error::FileTooLarge { size: 9000, .. })), "{refused:?}");
        let mut inventory = Inventory::new(Limits::default());
        let refused = inventory.apply(big.as_slice(), &|| true);
        assert!(matches!(refused, Err(Error::Stopped)), "{refused:?}");
        assert!(inventory.apply(&b"no archive at all"[..], &|| false).is_err());
    }
}
