//! Replays the committed fuzz corpus of filter patterns.

#[path = "../../../fuzz/src/corpus.rs"]
#[allow(clippy::expect_used, missing_docs)]
mod corpus;
#[path = "../../../fuzz/src/pattern.rs"]
#[allow(clippy::expect_used, missing_docs)]
mod pattern;

#[test]
fn filter_patterns() {
    corpus::replay("filter_pattern", 1, pattern::filter_pattern);
}
