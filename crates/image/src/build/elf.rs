//! What a dynamically linked binary needs, found as its dynamic linker would find it.
//!
//! Reads ELF headers only (PT_INTERP, DT_NEEDED, DT_RPATH, DT_RUNPATH) and the host's
//! `/etc/ld.so.cache`; nothing is run, unlike `ldd`, which lets the binary's own loader run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, FileKind};

use super::tree::Tree;
use super::{Error as BuildError, source_error};

const CACHE: &str = "/etc/ld.so.cache";
const CACHE_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const MAX_LIBRARIES: usize = 1000;
const MAX_FILE_BYTES: u64 = 2 << 30;

/// Why a binary can't be made into an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an ELF program (a script, for example).
    #[error("not an ELF binary; give a directory instead, with the interpreter in it")]
    NotElf,
    /// The ELF file is damaged.
    #[error("malformed ELF file: {0}")]
    Malformed(#[from] object::read::Error),
    /// A shared library isn't on this host.
    #[error("its shared library {0} was not found on this host")]
    LibraryNotFound(String),
    /// The file is too large.
    #[error("the file has more than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// Too many shared libraries.
    #[error("it needs more than {MAX_LIBRARIES} shared libraries")]
    TooMany,
}

/// What an ELF file says about its loading.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    interpreter: Option<PathBuf>,
    libraries: Vec<String>,
    search: Vec<String>,
    machine: u16,
}

/// Adds `binary` as `/<its name>`, its libraries and its loader, and what programs commonly look
/// for (`/etc/passwd`, `/tmp`). Returns the program's path in the image.
pub(super) fn collect(binary: &Path, tree: &mut Tree) -> Result<String, BuildError> {
    let error = |path: &Path, error| BuildError::Elf { path: path.to_owned(), error };
    let name = binary.file_name().ok_or_else(|| error(binary, Error::NotElf))?;
    let program = Path::new("/").join(name);
    tree.add_file(binary, &program)?;
    tree.add_empty_directory(Path::new("/tmp"), 0o1777)?;
    for dir in ["/dev", "/etc", "/proc", "/sys", "/run"] {
        tree.add_empty_directory(Path::new(dir), 0o755)?;
    }
    let own = needs(binary)?;
    let machine = own.machine;
    let cache = read_cache(Path::new(CACHE));
    if let Some(interpreter) = &own.interpreter {
        add_library(tree, interpreter)?;
    }
    let mut seen = BTreeSet::new();
    let mut queue: VecDeque<(PathBuf, Needs)> = VecDeque::from([(binary.to_owned(), own)]);
    while let Some((user, needs)) = queue.pop_front() {
        for library in needs.libraries {
            if !seen.insert(library.clone()) {
                continue;
            }
            if seen.len() > MAX_LIBRARIES {
                return Err(error(binary, Error::TooMany));
            }
            let found = find(&library, &user, &needs.search, machine, &cache)
                .ok_or_else(|| error(&user, Error::LibraryNotFound(library.clone())))?;
            add_library(tree, &found)?;
            let further = self::needs(&found)?;
            queue.push_back((found, further));
        }
    }
    Ok(program.to_string_lossy().into_owned())
}

/// Adds a library under the path that the loader will use, without the host's links: the file
/// stands at every place it was asked for.
fn add_library(tree: &mut Tree, path: &Path) -> Result<(), BuildError> {
    let real = fs::canonicalize(path).map_err(source_error("open", path))?;
    // Debian's /lib is a link to usr/lib: the image gets one directory, and the same link.
    for (link, target) in [("/lib", "usr/lib"), ("/lib64", "usr/lib64")] {
        if path.starts_with(link) && fs::read_link(link).is_ok_and(|t| t == Path::new(target)) {
            tree.add_symlink(Path::new(link), Path::new(target))?;
            let below = path.strip_prefix(link).unwrap_or(path);
            return tree.add_file(&real, &Path::new("/").join(target).join(below));
        }
    }
    tree.add_file(&real, path)
}

fn needs(path: &Path) -> Result<Needs, BuildError> {
    let error = |error| BuildError::Elf { path: path.to_owned(), error };
    let meta = fs::metadata(path).map_err(source_error("open", path))?;
    if meta.len() > MAX_FILE_BYTES {
        return Err(error(Error::TooLarge));
    }
    let bytes = fs::read(path).map_err(source_error("read", path))?;
    parse(&bytes).map_err(error)
}

fn parse(bytes: &[u8]) -> Result<Needs, Error> {
    match FileKind::parse(bytes) {
        Ok(FileKind::Elf64) => parse_class::<FileHeader64<Endianness>>(bytes),
        Ok(FileKind::Elf32) => parse_class::<FileHeader32<Endianness>>(bytes),
        _ => Err(Error::NotElf),
    }
}

fn parse_class<E: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Needs, Error> {
    let header = E::parse(bytes)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, bytes)?;
    let mut needs = Needs { machine: header.e_machine(endian), ..Needs::default() };
    for segment in segments {
        if let Some(name) = segment.interpreter(endian, bytes)? {
            needs.interpreter = Some(PathBuf::from(String::from_utf8_lossy(name).into_owned()));
        }
    }
    let Some(entries) = segments.iter().find_map(|s| s.dynamic(endian, bytes).transpose()) else {
        return Ok(needs);
    };
    let entries = entries?;
    let value = |tag: u32| {
        let found = entries.iter().find(|entry| entry.tag32(endian) == Some(tag));
        found.map(|entry| entry.d_val(endian).into())
    };
    let (Some(table), Some(size)) = (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) else {
        return Ok(needs);
    };
    let table: u64 = table;
    let size: u64 = size;
    let strings = segments
        .iter()
        .find_map(|s| s.data_range(endian, bytes, table, size).ok().flatten())
        .unwrap_or_default();
    let text = |offset: u64| -> Option<String> {
        let rest = strings.get(usize::try_from(offset).ok()?..)?;
        let end = rest.iter().position(|b| *b == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    };
    for entry in entries {
        let offset: u64 = entry.d_val(endian).into();
        match entry.tag32(endian) {
            Some(elf::DT_NEEDED) => needs.libraries.extend(text(offset)),
            Some(elf::DT_RPATH | elf::DT_RUNPATH) => {
                let dirs = text(offset).unwrap_or_default();
                needs.search.extend(dirs.split(':').map(str::to_owned));
            }
            _ => {}
        }
    }
    Ok(needs)
}

/// Looks where the loader looks: run path, ld.so.cache, the default directories.
fn find(
    library: &str,
    user: &Path,
    search: &[String],
    machine: u16,
    cache: &BTreeMap<String, Vec<PathBuf>>,
) -> Option<PathBuf> {
    let fits = |path: &PathBuf| {
        let bytes = fs::read(path).ok();
        bytes.is_some_and(|bytes| parse(&bytes).is_ok_and(|needs| needs.machine == machine))
    };
    if library.contains('/') {
        return Some(PathBuf::from(library)).filter(fits);
    }
    let origin = user.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
    let run_path = search
        .iter()
        .filter(|dir| !dir.is_empty())
        .map(|dir| dir.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin))
        .map(|dir| Path::new(&dir).join(library));
    let cached = cache.get(library).into_iter().flatten().cloned();
    let triplet = match std::env::consts::ARCH {
        "x86_64" => "x86_64-linux-gnu",
        "aarch64" => "aarch64-linux-gnu",
        _ => "",
    };
    let defaults = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"]
        .into_iter()
        .flat_map(|dir| [Path::new(dir).join(triplet).join(library), Path::new(dir).join(library)]);
    run_path.chain(cached).chain(defaults).find(fits)
}

/// Library names to paths, from the cache that `ldconfig` writes (glibc 2.2 and later); empty if
/// there is none, as on musl.
fn read_cache(path: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let bytes = fs::read(path).unwrap_or_default();
    parse_cache(&bytes).unwrap_or_default()
}

/// `struct cache_file_new`: 20 bytes of magic and version, the count, 24 bytes more, and entries
/// of 24 bytes: flags, key offset, value offset, OS version, hardware capabilities.
fn parse_cache(bytes: &[u8]) -> Option<BTreeMap<String, Vec<PathBuf>>> {
    let start = bytes.windows(CACHE_MAGIC.len()).position(|window| window == CACHE_MAGIC)?;
    let bytes = &bytes[start..];
    let word = |at: usize| -> Option<usize> {
        let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_ne_bytes(four)).ok()
    };
    let text = |at: usize| -> Option<String> {
        let rest = bytes.get(at..)?;
        let end = rest.iter().position(|b| *b == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    };
    let mut cache: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for index in 0..word(20)? {
        let entry = 48 + index * 24;
        let (key, value) = (text(word(entry + 4)?)?, text(word(entry + 8)?)?);
        cache.entry(key).or_default().push(PathBuf::from(value));
    }
    Some(cache)
}
