//! `cargo xtask fetch-cases`: botocore's protocol cases and signature vectors for the tests.
//!
//! They are another project's text, so they are fetched from its source package instead of being
//! committed. The version is pinned: the lists of cases that don't apply are exact.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The source package whose cases the tests were written against.
const VERSION: &str = "1.43.11";

/// Why the cases could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be made.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program could not be run or failed.
    #[error("{program} failed: {text}")]
    Program {
        /// The program.
        program: &'static str,
        /// Its last words.
        text: String,
    },
}

/// Fetches the cases into `target/botocore-cases` unless this version is there already.
///
/// # Errors
/// No pip, no package registry, or a package of another form.
pub fn run(root: &Path) -> Result<(), Error> {
    let directory = root.join("target/botocore-cases");
    let mark = directory.join("VERSION");
    if std::fs::read_to_string(&mark).is_ok_and(|present| present == VERSION) {
        println!("the cases of botocore {VERSION} are in {}", directory.display());
        return Ok(());
    }
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    let download = root.join("target/botocore-sdist");
    for fresh in [&directory, &download] {
        if fresh.exists() {
            std::fs::remove_dir_all(fresh).map_err(io(fresh))?;
        }
        std::fs::create_dir_all(fresh).map_err(io(fresh))?;
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]);
    pip.arg("--dest").arg(&download).arg(format!("botocore=={VERSION}"));
    perform("pip", pip)?;
    let package = format!("botocore-{VERSION}");
    let archive = download.join(format!("{package}.tar.gz"));
    for (inside, outside, strip) in
        [("tests/unit/protocols", "", "4"), ("tests/unit/auth", "auth", "4")]
    {
        let outside = directory.join(outside);
        std::fs::create_dir_all(&outside).map_err(io(&outside))?;
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(&archive).arg("-C").arg(&outside);
        tar.arg(format!("--strip-components={strip}")).arg(format!("{package}/{inside}"));
        perform("tar", tar)?;
    }
    std::fs::remove_dir_all(&download).map_err(io(&download))?;
    std::fs::write(&mark, VERSION).map_err(io(&mark))?;
    println!("fetched the cases of botocore {VERSION} into {}", directory.display());
    Ok(())
}

fn perform(program: &'static str, mut command: Command) -> Result<(), Error> {
    let failed = |text: String| Error::Program { program, text };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
