//! The library in a real browser: its storage, locks and timers, and the client against a scripted gateway.
#![cfg(target_arch = "wasm32")]
#![forbid(unsafe_code)]

mod apis;
mod support;

use wasm_bindgen_test::wasm_bindgen_test_configure;

wasm_bindgen_test_configure!(run_in_browser);
