//! Any bytes into the `json` oracle.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| banyan_fuzz::oracle::json(input));
