//! Any bytes into the `html` oracle.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| banyan_fuzz::oracle::html(input));
