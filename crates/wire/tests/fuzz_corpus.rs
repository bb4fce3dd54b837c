//! Replays the committed fuzz corpora: every input that was ever interesting stays handled.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

#[path = "../../../fuzz/src/wire.rs"]
#[allow(clippy::expect_used, missing_docs)]
mod wire;

/// Runs a check on each file of a target's corpus, and on each cut off at every place.
fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&corpus).unwrap() {
        let data = std::fs::read(entry.unwrap().path()).unwrap();
        for end in 0..=data.len() {
            check(&data[..end]);
        }
        count += 1;
    }
    assert!(count > 3, "{}: only {count} inputs", corpus.display());
}

#[test]
fn json_requests() {
    replay("json_request", wire::json_request);
}

#[test]
fn form_requests() {
    replay("form_request", wire::form_request);
}

#[test]
fn acs_messages() {
    replay("acs_message", wire::acs_message);
}

#[test]
fn tcs_frames() {
    replay("tcs_frame", wire::tcs_frame);
}
