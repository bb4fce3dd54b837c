//! The balancer on real sockets: real clients on one side, real targets on the other.

#![allow(clippy::unwrap_used)]

#[path = "../../../../fuzz/src/balancer.rs"]
#[allow(missing_docs)]
mod checks;
#[path = "../../../../fuzz/src/corpus.rs"]
#[allow(clippy::expect_used, missing_docs)]
mod corpus;
mod encrypted;
mod flows;
mod hostile;
mod http;
mod lifecycle;
mod lost;
mod support;
mod tls;

#[test]
fn heads_that_fuzzing_found() {
    corpus::replay("request_head", 1, checks::request_head);
}

#[test]
fn rules_that_fuzzing_found() {
    corpus::replay("listener_rules", 1, checks::listener_rules);
}
