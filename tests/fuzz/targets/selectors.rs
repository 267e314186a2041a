//! Any bytes into the `selectors` oracle.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| banyan_fuzz::oracle::selectors(input));
