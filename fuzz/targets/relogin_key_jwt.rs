//! Its body is in `tests/fuzzed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| relogin_fuzzed::run("relogin_key_jwt", input));
