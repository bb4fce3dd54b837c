//! Replays the committed fuzz corpus of the cluster query language.

#[path = "../../../fuzz/src/corpus.rs"]
#[allow(clippy::expect_used, missing_docs)]
mod corpus;
#[path = "../../../fuzz/src/query.rs"]
#[allow(clippy::expect_used, missing_docs)]
mod query;

#[test]
fn cluster_queries() {
    corpus::replay("cluster_query", 1, query::cluster_query);
}
