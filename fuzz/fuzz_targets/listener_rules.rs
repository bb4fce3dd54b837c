//! Fuzz target; what it checks stands in src/balancer.rs.
#![no_main]

#[path = "../src/balancer.rs"]
#[allow(dead_code, reason = "each target runs one of the checks")]
mod balancer;

libfuzzer_sys::fuzz_target!(|data: &[u8]| balancer::listener_rules(data));
