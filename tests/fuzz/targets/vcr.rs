//! Any bytes into the `vcr` oracle.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| banyan_fuzz::recording::vcr(input));
