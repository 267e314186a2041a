//! Any bytes into the `gor` oracle.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| banyan_fuzz::recording::gor(input));
