//! Any bytes into the `rules` oracle.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| banyan_fuzz::oracle::rules(input));
