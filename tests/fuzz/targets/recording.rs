//! Any bytes into the `recording` oracle.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| banyan_fuzz::recording::recording(input));
