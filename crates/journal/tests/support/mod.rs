//! What several of the journal's tests share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod contract;
pub mod ledger;
pub mod sim_disk;

use wharf_journal::{Append, Key, Value};

/// A write of text.
pub fn put(key: &str, value: &str) -> (Key, Option<Value>) {
    (key.into(), Some(Value::copy_from_slice(value.as_bytes())))
}

/// A transaction without a read set.
pub fn append(writes: &[(&str, &str)]) -> Append {
    Append {
        writes: writes.iter().map(|(key, value)| put(key, value)).collect(),
        ..Append::default()
    }
}

/// A transaction that holds if the key is at the revision.
pub fn append_if(key: &str, revision: u64, value: &str) -> Append {
    Append { reads: vec![(key.into(), revision)], writes: vec![put(key, value)], attachment: None }
}

/// Whether the full counts are asked for (`WHARF_SOAK=1`) and not those that fit into a short run.
pub fn soak() -> bool {
    std::env::var_os("WHARF_SOAK").is_some_and(|value| value == "1")
}
