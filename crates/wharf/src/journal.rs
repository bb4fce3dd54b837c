//! `wharf journal`: gets out of a journal what is readable.

use crate::cli::Journal;
use crate::data_dir::DataDir;
use std::io::BufWriter;

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be written.
    #[error("can't write {0}")]
    File(std::path::PathBuf, #[source] std::io::Error),
    /// The journal can't be read at all.
    #[error(transparent)]
    Journal(#[from] wharf_journal::Error),
}

/// Carries the command out.
///
/// # Errors
/// If the journal can't be read or the file can't be written.
pub fn run(data_dir: &DataDir, command: Journal) -> Result<(), Error> {
    let Journal::Export { file } = command;
    let directory = data_dir.journal();
    let disk = wharf_journal::RealDisk;
    let report = match file {
        Some(path) => {
            let out = std::fs::File::create(&path).map_err(|e| Error::File(path, e))?;
            wharf_journal::export(&disk, &directory, &mut BufWriter::new(out))?
        }
        None => wharf_journal::export(&disk, &directory, &mut std::io::stdout().lock())?,
    };
    eprintln!("wharf: {report:?}");
    Ok(())
}
