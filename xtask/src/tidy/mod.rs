//! `cargo xtask tidy`: the rules of the house that neither rustc nor clippy knows.
//!
//! Every finding is one line, `PATH[:LINE]: what is wrong and what to do`. The rules are few and
//! have no exceptions but generated files, so that a finding is always worth reading.

mod layers;
mod lockfile;
mod source;

use std::fmt;
use std::path::{Path, PathBuf};

/// Why the task failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The rules found something.
    #[error("tidy: {0} findings")]
    Findings(usize),
}

/// Something that isn't as the rules want it.
pub struct Finding {
    /// The file, relative to the workspace.
    pub path: PathBuf,
    /// The line from 1; 0 for the whole file.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path.display(), self.text),
            line => write!(f, "{}:{line}: {}", self.path.display(), self.text),
        }
    }
}

/// A source file or manifest, read.
pub struct File {
    /// Relative to the workspace.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// Runs all rules over the workspace and prints what they find.
///
/// # Errors
/// A file that can't be read, or findings.
pub fn run(root: &Path) -> Result<(), Error> {
    let sources = files(root, &["crates", "xtask", "fuzz", "tests", "examples"], "rs")?;
    let manifests = files(root, &["crates", "xtask", "fuzz", "tests", "examples"], "toml")?;
    let manifests: Vec<File> =
        manifests.into_iter().filter(|file| file.path.ends_with("Cargo.toml")).collect();
    let architecture = read(root, Path::new("ARCHITECTURE.md"))?;
    let mut findings = layers::check(&architecture, &manifests);
    for source in &sources {
        findings.extend(source::check(source));
    }
    findings.extend(licence(root, &manifests));
    let deny = read(root, Path::new("deny.toml"))?;
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        findings.extend(lockfile::check(&read(root, Path::new(lock))?, &deny));
    }
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} source files in order", sources.len());
        Ok(())
    } else {
        Err(Error::Findings(findings.len()))
    }
}

/// The licence text is there and every package names it.
fn licence(root: &Path, manifests: &[File]) -> Vec<Finding> {
    let whole =
        |path: &Path, text: &str| Finding { path: path.to_owned(), line: 0, text: text.to_owned() };
    let mut findings = Vec::new();
    let text = std::fs::read_to_string(root.join("LICENSE")).unwrap_or_default();
    if !text.contains("Apache License") {
        findings.push(whole(Path::new("LICENSE"), "the text of the Apache License belongs here"));
    }
    for manifest in manifests {
        let named = ["license.workspace = true", "license = \"Apache-2.0\""];
        if !named.iter().any(|line| manifest.text.contains(line)) {
            findings.push(whole(&manifest.path, "no licence: add `license.workspace = true`"));
        }
    }
    findings
}

fn read(root: &Path, path: &Path) -> Result<File, Error> {
    let full = root.join(path);
    let text = std::fs::read_to_string(&full).map_err(|source| Error::Io { path: full, source })?;
    Ok(File { path: path.to_owned(), text })
}

/// All files with an extension below some directories, build output left out.
fn files(root: &Path, directories: &[&str], extension: &str) -> Result<Vec<File>, Error> {
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> = directories.iter().map(PathBuf::from).collect();
    while let Some(directory) = pending.pop() {
        let full = root.join(&directory);
        let Ok(entries) = std::fs::read_dir(&full) else { continue };
        for entry in entries {
            let entry = entry.map_err(|source| Error::Io { path: full.clone(), source })?;
            let path = directory.join(entry.file_name());
            let kind =
                entry.file_type().map_err(|source| Error::Io { path: full.clone(), source })?;
            if kind.is_dir() && entry.file_name() != "target" {
                pending.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|found| found == extension) {
                found.push(read(root, &path)?);
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}
