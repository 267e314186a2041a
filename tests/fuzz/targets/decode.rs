//! Any bytes into the `decode` oracle.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| banyan_fuzz::oracle::decode(input));
