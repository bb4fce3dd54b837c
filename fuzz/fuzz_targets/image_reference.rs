//! Fuzz target; what it checks stands in src/image.rs.
#![no_main]

#[path = "../src/image.rs"]
#[allow(dead_code, reason = "each target runs one of the checks")]
mod image;

libfuzzer_sys::fuzz_target!(|data: &[u8]| image::image_reference(data));
