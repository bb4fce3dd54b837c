//! The durable log of all state, and the stores beside it.
//!
//! - [`Journal`] is the narrow trait: load, append-if, watch from a revision, lease, all over opaque
//!   keys and values. Acknowledged means durable. It never knows what a transaction means.
//! - [`EmbeddedJournal`] keeps it in files of its own; [`MemoryJournal`] keeps nothing and serves tests.
//! - [`Store`] is the typed head over any journal: lock-free snapshots, transactions, changes.
//! - [`History`] keeps events beside the state, capped and droppable.
//! - [`Disk`] is the file system as the embedded journal sees it, so that a test can cut the power.

pub mod disk;
pub mod embedded;
mod error;
mod head;
mod history;
mod journal;
mod lease;
mod memory;
mod recent;
mod store;

pub use disk::{Disk, DiskFile, RealDisk};
pub use embedded::{EmbeddedJournal, ExportReport, OpenReport, Options, TornTail, export};
pub use error::Error;
pub use history::{Error as HistoryError, Event, History, HistoryOptions};
pub use journal::{
    Append, Entry, Journal, Key, Loaded, MAX_KEY_BYTES, MAX_RECORD_BYTES, MAX_RECORDS,
    MAX_TRANSACTION_BYTES, Value, Versioned, Watch,
};
pub use lease::Lease;
pub use memory::MemoryJournal;
pub use store::{Change, Changes, CommitError, Error as StoreError, Next, Store};
