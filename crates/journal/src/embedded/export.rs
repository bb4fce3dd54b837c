//! What can still be read of a journal, as JSON lines: the way out of a damaged data directory.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::format::{FILE_HEADER, FileHeader, FileKind, seed};
use super::recovery::Files;
use super::scan::{Scan, Step};
use super::snapshot::{self, header_problem};
use super::{io_error, segment_name, snapshot_name};
use crate::disk::Disk;
use crate::error::Error;

/// What [`export`] wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportReport {
    /// Lines with a record's after-image or its deletion.
    pub lines: u64,
    /// Every place that could not be read, as it stands in the output too.
    pub problems: Vec<String>,
}

/// One line of the output. A later line for a key replaces an earlier one.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Text { revision: u64, key: &'a str, value: &'a str },
    Binary { revision: u64, key: &'a str, value_base64: String },
    Deleted { revision: u64, key: &'a str, deleted: bool },
    Problem { problem: &'a str },
}

struct Export<'a> {
    out: &'a mut dyn Write,
    report: ExportReport,
}

/// Writes everything readable in a journal's directory as JSON lines, oldest first: records of the
/// newest snapshot, then every after-image of the log. Damage is reported by a line of its own
/// and skipped. It neither locks nor changes anything; run it while no wharf uses the directory.
///
/// # Errors
/// [`Error::Io`] if the directory or the output can't be used; damage is no error.
pub fn export(disk: &dyn Disk, dir: &Path, out: &mut dyn Write) -> Result<ExportReport, Error> {
    let files = Files::list(disk, dir)?;
    let mut export = Export { out, report: ExportReport::default() };
    for revision in &files.snapshots {
        let path = dir.join(snapshot_name(*revision));
        export.snapshot(disk, &path)?;
    }
    for first in &files.segments {
        let path = dir.join(segment_name(*first));
        export.segment(disk, &path, *first)?;
    }
    Ok(export.report)
}

impl Export<'_> {
    fn snapshot(&mut self, disk: &dyn Disk, path: &Path) -> Result<(), Error> {
        let file = disk.open(path).map_err(io_error("open", path.into()))?;
        let read = snapshot::read(file.as_ref(), path)?;
        for (key, record) in &read.records {
            self.record(record.revision, key, Some(&record.value))?;
        }
        read.problem.map_or(Ok(()), |problem| self.problem(problem.to_string()))
    }

    fn segment(&mut self, disk: &dyn Disk, path: &Path, first: u64) -> Result<(), Error> {
        let file = disk.open(path).map_err(io_error("open", path.into()))?;
        let bytes = file.read_to_end().map_err(io_error("read", path.into()))?;
        let header = match FileHeader::decode(FileKind::Log, &bytes) {
            Ok(header) => header,
            // Without the id in it the checksums of the groups can't be told.
            Err(problem) => return self.problem(header_problem(path, problem).to_string()),
        };
        let mut scan = Scan::new(&bytes, FILE_HEADER, seed(header.id), header.chain, first);
        loop {
            let offset = scan.position;
            let detail = match scan.step() {
                Step::Group { first_revision, transactions } => {
                    for (revision, writes) in (first_revision..).zip(&transactions) {
                        for (key, value) in writes {
                            self.record(revision, key, value.as_deref())?;
                        }
                    }
                    continue;
                }
                Step::End => return Ok(()),
                Step::Torn { detail } => detail.to_owned(),
                Step::Damaged { detail } => detail,
            };
            self.problem(format!("{} at byte {offset}: {detail}", path.display()))?;
            if !scan.resynchronize() {
                return Ok(());
            }
        }
    }

    fn record(&mut self, revision: u64, key: &str, value: Option<&[u8]>) -> Result<(), Error> {
        self.report.lines += 1;
        self.line(&match value.map(|value| (std::str::from_utf8(value), value)) {
            None => Line::Deleted { revision, key, deleted: true },
            Some((Ok(value), _)) => Line::Text { revision, key, value },
            Some((Err(_), value)) => {
                Line::Binary { revision, key, value_base64: STANDARD.encode(value) }
            }
        })
    }

    fn problem(&mut self, problem: String) -> Result<(), Error> {
        self.line(&Line::Problem { problem: &problem })?;
        self.report.problems.push(problem);
        Ok(())
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), Error> {
        serde_json::to_writer(&mut *self.out, line)
            .map_err(io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"))
            .map_err(io_error("write", PathBuf::from("the export")))
    }
}
