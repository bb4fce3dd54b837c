//! The committed corpus of the fuzz target `policy_document`, replayed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/src/policy.rs"]
mod policy;

#[test]
fn policy_documents() {
    corpus::replay("policy_document", 1, policy::policy_document);
}
