//! Fuzz target; what it checks stands in src/pattern.rs.
#![no_main]

#[path = "../src/pattern.rs"]
#[allow(dead_code, reason = "each target runs one of the checks")]
mod pattern;

libfuzzer_sys::fuzz_target!(|data: &[u8]| pattern::filter_pattern(data));
