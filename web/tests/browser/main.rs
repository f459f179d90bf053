//! Tests of the library in a real browser, against a scripted gateway.
#![cfg(target_arch = "wasm32")]
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails by panicking")]

#[cfg(feature = "bindings")]
mod bindings;
mod client;
mod support;

use wasm_bindgen_test::wasm_bindgen_test_configure;

wasm_bindgen_test_configure!(run_in_browser);
