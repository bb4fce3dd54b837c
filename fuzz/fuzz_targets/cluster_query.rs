//! Fuzz target; what it checks stands in src/query.rs.
#![no_main]

#[path = "../src/query.rs"]
#[allow(dead_code, reason = "each target runs one of the checks")]
mod query;

libfuzzer_sys::fuzz_target!(|data: &[u8]| query::cluster_query(data));
