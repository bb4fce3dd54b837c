//! What can go wrong between a transaction and the disk.

use std::path::PathBuf;

/// Why a journal didn't do what it was asked.
///
/// It is `Clone` because one failed sync answers every writer of its group.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A record of the read set is no longer at the revision that the transaction read.
    /// Nothing was written: read again and decide again.
    #[error("{key} is at revision {found}, the transaction read revision {expected}")]
    Conflict {
        /// The record's key.
        key: String,
        /// The revision that the transaction named; 0 means absent.
        expected: u64,
        /// The revision found; 0 means absent.
        found: u64,
    },
    /// The transaction exceeds one of the limits that every implementation enforces.
    #[error("the transaction has {found} {what}, the limit is {limit}")]
    TooLarge {
        /// What was counted, with its unit.
        what: &'static str,
        /// The largest number allowed.
        limit: usize,
        /// The number found.
        found: usize,
    },
    /// The transaction is malformed: an empty key, or one key written twice.
    #[error("the transaction is not valid: {0}")]
    Invalid(String),
    /// The disk is full. Nothing was written; the next write succeeds once there is room.
    #[error("no space left to write {}: free some space; writing resumes by itself", file.display())]
    NoSpace {
        /// The file that could not be extended.
        file: PathBuf,
    },
    /// A write or a sync failed, so what the disk holds is unknown. The journal writes no more;
    /// transactions that were waiting may or may not be found at the next open.
    #[error("the journal has stopped writing: {reason}; check the disk, then start wharf again")]
    Failed {
        /// The first failure, with its file.
        reason: String,
    },
    /// A file holds something other than what was written to it.
    #[error(
        "{} is damaged at byte {offset}: {detail}; restore a backup, or save what is readable \
         with `wharf journal export`", file.display()
    )]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Byte offset of the first damaged structure.
        offset: u64,
        /// What was expected and what was found.
        detail: String,
    },
    /// The files were written by a newer wharf.
    #[error(
        "{} has journal format {found}, this wharf reads formats up to {supported}: start the \
         newer wharf that wrote it", file.display()
    )]
    NewerFormat {
        /// The file that says so.
        file: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version that this binary reads.
        supported: u32,
    },
    /// Another process has this journal open.
    #[error("{} is in use by {holder}: stop it first, or choose another --data-dir", dir.display())]
    Locked {
        /// The journal's directory.
        dir: PathBuf,
        /// The process that holds it, as it described itself.
        holder: String,
    },
    /// A file operation outside the write path failed.
    #[error("could not {action} {}: {reason}", file.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        file: PathBuf,
        /// The operating system's reason.
        reason: String,
    },
    /// The watch asked for changes that are no longer kept: load again, then watch from there.
    #[error("changes up to revision {oldest} are compacted away")]
    Compacted {
        /// Changes after this revision are still available.
        oldest: u64,
    },
    /// The journal has been closed.
    #[error("the journal is closed")]
    Closed,
}
