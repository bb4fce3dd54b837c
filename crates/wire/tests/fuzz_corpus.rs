//! Replays the committed fuzz corpora: every input that was ever interesting stays handled.

#[path = "../../../fuzz/src/corpus.rs"]
#[allow(clippy::expect_used, missing_docs)]
mod corpus;
#[path = "../../../fuzz/src/wire.rs"]
#[allow(clippy::expect_used, missing_docs)]
mod wire;

use corpus::replay;

#[test]
fn json_requests() {
    replay("json_request", 1, wire::json_request);
}

#[test]
fn form_requests() {
    replay("form_request", 1, wire::form_request);
}

#[test]
fn acs_messages() {
    replay("acs_message", 1, wire::acs_message);
}

#[test]
fn tcs_frames() {
    replay("tcs_frame", 1, wire::tcs_frame);
}
