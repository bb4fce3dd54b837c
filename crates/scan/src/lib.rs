//! Known vulnerabilities of what is installed in an image.
//!
//! Layers come in as byte streams, in order; out come the packages that the finished root has
//! ([`Inventory`]): those of Debian, Ubuntu and Alpine, and what lock files of languages pin. A
//! [`Database`] is a directory of OSV records that the operator keeps up to date; [`scan`]
//! holds one against the other. Nothing found in an image is run, written to disk or followed; bytes,
//! packages and time have limits, and whoever calls can stop the work at any point.

mod database;
mod files;
mod finding;
mod inventory;
mod osv;
mod package;
mod version;

pub use database::Database;
pub use finding::{Finding, Findings, Severity, scan};
pub use inventory::{Inventory, Limits};
pub use package::{Ecosystem, Package};

/// Why a scan came to no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A layer isn't an archive that can be read.
    #[error("a layer can't be read: {0}")]
    Layer(#[from] wharf_image::unpack::TarError),
    /// Reading failed.
    #[error("reading a layer: {0}")]
    Io(#[from] std::io::Error),
    /// A file that lists packages is too large.
    #[error("{path} has {size} bytes, at most {limit} are read")]
    FileTooLarge {
        /// Where it lies.
        path: String,
        /// Its size.
        size: u64,
        /// What would have been read.
        limit: u64,
    },
    /// The layers have too much in them.
    #[error("the image's layers unpack to more than {0} bytes")]
    TooManyBytes(u64),
    /// More packages than any image has.
    #[error("the image lists more than {0} packages")]
    TooManyPackages(usize),
    /// Whoever called wanted it to end.
    #[error("the scan took longer than it may")]
    Stopped,
    /// A release whose packages aren't known to the database's format.
    #[error("The operating system and/or package manager are not supported.")]
    Unsupported,
    /// The database can't be read.
    #[error("the vulnerability database at {path} can't be read: {why}")]
    Database {
        /// The file or directory.
        path: String,
        /// Why.
        why: String,
    },
    /// The database has nothing in it.
    #[error("the vulnerability database at {0} has no OSV records: put files of osv.dev there")]
    EmptyDatabase(String),
}
