//! Replays the committed fuzz corpora of what the registry reads.

#[path = "../../../fuzz/src/corpus.rs"]
#[allow(clippy::expect_used, missing_docs)]
mod corpus;
#[path = "../../../fuzz/src/registry.rs"]
#[allow(clippy::expect_used, missing_docs)]
mod registry;

use corpus::replay;

#[test]
fn paths_ranges_and_tokens() {
    replay("registry_request", 1, registry::registry_request);
}

#[test]
fn manifests_and_policies() {
    replay("registry_document", 7, registry::registry_document);
}
