//! Fuzz target; what it checks stands in src/registry.rs.
#![no_main]

#[path = "../src/registry.rs"]
#[allow(dead_code, reason = "each target runs one of the checks")]
mod registry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| registry::registry_document(data));
