//! Its body is in `tests/fuzzed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| relogin_fuzzed::run("compressed_message", input));
