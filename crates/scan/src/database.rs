//! A directory of OSV records: JSON files and zips of them, as osv.dev publishes one for each
//! ecosystem, in any arrangement of directories.
//!
//! The records of one ecosystem alone may be gigabytes, so they stay where they are: what is kept in
//! memory is which record speaks of which package, by the hash of the name. It is made anew when the
//! files have changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use zip::ZipArchive;

use crate::Error;
use crate::osv::{Name, Record};
use crate::package::Package;

/// How deep directories are looked into.
const MAX_DEPTH: usize = 4;
/// The largest record; the longest of osv.dev's are a tenth of it.
const MAX_RECORD_BYTES: u64 = 16 << 20;
/// A file that is a record itself, and no zip of them.
const ITSELF: u32 = u32::MAX;

/// The operator's vulnerability database.
#[derive(Debug)]
pub struct Database {
    directory: PathBuf,
    index: Mutex<Option<Arc<Index>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
}

#[derive(Debug)]
struct Index {
    files: Vec<Stamp>,
    /// File and entry of what speaks of a package, by the hash of its ecosystem and name.
    records: HashMap<u64, Vec<(u32, u32)>>,
}

/// As much of a record as the index needs.
#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    affected: Option<Vec<Affected>>,
}

#[derive(Deserialize)]
struct Affected {
    #[serde(default)]
    package: Option<Name>,
}

impl Database {
    /// A database in `directory`, which is read when it is first needed.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, index: Mutex::new(None) }
    }

    /// Shows each record that may speak of one of the packages; when the database's youngest file was
    /// written, in milliseconds since 1970.
    pub(crate) fn for_each(
        &self,
        packages: &[Package],
        stop: &dyn Fn() -> bool,
        show: &mut dyn FnMut(&Record),
    ) -> Result<i64, Error> {
        let index = self.index(stop)?;
        let mut wanted: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for package in packages {
            let found = index.records.get(&key(package.ecosystem.base(), &package.name));
            for (file, entry) in found.into_iter().flatten() {
                wanted.entry(*file).or_default().insert(*entry);
            }
        }
        for (file, entries) in wanted {
            let path = &index.files[file as usize].path;
            read(
                path,
                Some(&entries),
                stop,
                &mut |_, bytes| match serde_json::from_slice(bytes) {
                    Ok(record) => show(&record),
                    Err(error) => tracing::warn!(?path, %error, "unreadable OSV record"),
                },
            )?;
        }
        let youngest = index.files.iter().map(|stamp| stamp.modified).max();
        let since = youngest.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// The index of what is there now.
    fn index(&self, stop: &dyn Fn() -> bool) -> Result<Arc<Index>, Error> {
        let mut files = Vec::new();
        list(&self.directory, 0, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if files.is_empty() {
            return Err(Error::EmptyDatabase(self.directory.display().to_string()));
        }
        let mut kept = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = kept.as_ref().filter(|index| index.files == files) {
            return Ok(Arc::clone(index));
        }
        // The old one goes before the new one comes.
        *kept = None;
        let mut records: HashMap<u64, Vec<(u32, u32)>> = HashMap::new();
        for (number, stamp) in (0_u32..).zip(&files) {
            read(&stamp.path, None, stop, &mut |entry, bytes| {
                let Ok(names) = serde_json::from_slice::<Names>(bytes) else { return };
                for name in names.affected.into_iter().flatten().filter_map(|a| a.package) {
                    let base = name.ecosystem.split(':').next().unwrap_or_default();
                    let places = records.entry(key(base, &name.name)).or_default();
                    if places.last() != Some(&(number, entry)) {
                        places.push((number, entry));
                    }
                }
            })?;
        }
        if records.is_empty() {
            return Err(Error::EmptyDatabase(self.directory.display().to_string()));
        }
        tracing::info!(files = files.len(), names = records.len(), "vulnerability database read");
        let index = Arc::new(Index { files, records });
        *kept = Some(Arc::clone(&index));
        Ok(index)
    }
}

/// Equal for no other name, as good as always; a record that is shown in vain does no harm.
fn key(ecosystem: &str, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (ecosystem, name).hash(&mut hasher);
    hasher.finish()
}

fn failed(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::Database { path: path.display().to_string(), why: why.to_string() }
}

fn list(directory: &Path, depth: usize, files: &mut Vec<Stamp>) -> Result<(), Error> {
    let entries = std::fs::read_dir(directory).map_err(|error| failed(directory, &error))?;
    for entry in entries {
        let path = entry.map_err(|error| failed(directory, &error))?.path();
        let about = std::fs::metadata(&path).map_err(|error| failed(&path, &error))?;
        let extension = path.extension().and_then(|extension| extension.to_str());
        if about.is_dir() && depth < MAX_DEPTH {
            list(&path, depth + 1, files)?;
        } else if about.is_file() && matches!(extension, Some("json" | "zip")) {
            let modified = about.modified().map_err(|error| failed(&path, &error))?;
            files.push(Stamp { path, bytes: about.len(), modified });
        }
    }
    Ok(())
}

/// Shows the records of a file: all of them, or those of these numbers.
fn read(
    path: &Path,
    entries: Option<&BTreeSet<u32>>,
    stop: &dyn Fn() -> bool,
    show: &mut dyn FnMut(u32, &[u8]),
) -> Result<(), Error> {
    if stop() {
        return Err(Error::Stopped);
    }
    let file = File::open(path).map_err(|error| failed(path, &error))?;
    if path.extension().is_some_and(|extension| extension == "json") {
        let mut bytes = Vec::new();
        let read = file.take(MAX_RECORD_BYTES).read_to_end(&mut bytes);
        read.map_err(|error| failed(path, &error))?;
        show(ITSELF, &bytes);
        return Ok(());
    }
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| failed(path, &e))?;
    let count = u32::try_from(archive.len()).unwrap_or(ITSELF);
    let all = || Box::new(0..count) as Box<dyn Iterator<Item = u32>>;
    let numbers = entries.map_or_else(all, |entries| Box::new(entries.iter().copied()));
    for number in numbers {
        if stop() {
            return Err(Error::Stopped);
        }
        let entry = archive.by_index(number as usize).map_err(|error| failed(path, &error))?;
        if !entry.name().is_ok_and(|name| name.ends_with(".json")) {
            continue;
        }
        let mut bytes = Vec::new();
        let read = entry.take(MAX_RECORD_BYTES).read_to_end(&mut bytes);
        read.map_err(|error| failed(path, &error))?;
        show(number, &bytes);
    }
    Ok(())
}
