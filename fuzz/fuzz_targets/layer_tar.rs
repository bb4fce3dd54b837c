//! Fuzz target; what it checks stands in src/layer.rs.
#![no_main]

#[path = "../src/layer.rs"]
#[allow(dead_code, reason = "each target runs one of the checks")]
mod layer;

libfuzzer_sys::fuzz_target!(|data: &[u8]| layer::layer_tar(data));
