//! Fuzz target; what it checks stands in src/wire.rs.
#![no_main]

#[path = "../src/wire.rs"]
#[allow(dead_code, reason = "each target runs one of the checks")]
mod wire;

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::json_request(data));
