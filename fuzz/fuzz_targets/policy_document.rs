//! Fuzz target; what it checks stands in src/policy.rs.
#![no_main]

#[path = "../src/policy.rs"]
mod policy;

libfuzzer_sys::fuzz_target!(|data: &[u8]| policy::policy_document(data));
