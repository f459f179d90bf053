//! What the browser's ends offer, as Rust sees it: the scripts in `browser`, one browser API each.
//!
//! They are scripts because the page downloads them: what asks a browser for something, waits for it and listens is a quarter of the size in its
//! own language. They know nothing of RES, sessions or keys, and decide nothing: what happens goes to a call-back, what is wanted comes as a call.

use std::time::Duration;

use wasm_bindgen::{JsValue, closure::Closure, prelude::wasm_bindgen};

/// Called with what happens: its number, the number of the socket or lock that it happens to, and a text.
pub(crate) type Tell = Closure<dyn Fn(u32, u32, Option<String>)>;

#[wasm_bindgen(module = "/src/browser/ends.js")]
extern "C" {
    #[derive(Debug)]
    pub(crate) type Ends;

    #[wasm_bindgen(constructor)]
    pub(crate) fn new(tell: &Tell) -> Ends;

    #[wasm_bindgen(method)]
    pub(crate) fn keep(this: &Ends, name: &str, bound: bool, calls: Option<&str>, copies: Option<&str>);

    #[wasm_bindgen(method)]
    pub(crate) fn read(this: &Ends);

    #[wasm_bindgen(method)]
    pub(crate) fn swap(this: &Ends, from: Option<&str>, to: Option<&str>, follow: bool, text: Option<&str>);

    #[wasm_bindgen(method, js_name = makeDevice)]
    pub(crate) fn make_device(this: &Ends);

    #[wasm_bindgen(method)]
    pub(crate) fn sign(this: &Ends, message: &str);

    #[wasm_bindgen(method)]
    pub(crate) fn lock(this: &Ends, id: u32, steal: bool);

    #[wasm_bindgen(method)]
    pub(crate) fn unlock(this: &Ends, id: u32);

    #[wasm_bindgen(method)]
    pub(crate) fn open(this: &Ends, id: u32, url: &str);

    #[wasm_bindgen(method)]
    pub(crate) fn send(this: &Ends, id: u32, frame: &str);

    #[wasm_bindgen(method, js_name = hangUp)]
    pub(crate) fn hang_up(this: &Ends, id: u32);

    #[wasm_bindgen(method, js_name = wakeIn)]
    pub(crate) fn wake_in(this: &Ends, milliseconds: f64);

    #[wasm_bindgen(method)]
    pub(crate) fn close(this: &Ends);
}

#[wasm_bindgen(module = "/src/browser/address.js")]
extern "C" {
    /// The WebSocket address that `address` means on this page.
    #[wasm_bindgen(catch)]
    pub(crate) fn gateway(address: &str) -> Result<String, Exception>;

    /// Where the gateway at `address`, which is a good one or empty, answers the HTTP requests of the session `name`.
    pub(crate) fn calls(address: &str, name: &str) -> String;
}

#[wasm_bindgen(module = "/src/browser/moment.js")]
extern "C" {
    #[wasm_bindgen(js_name = now)]
    fn milliseconds() -> f64;

    /// Fills `bytes` with random values.
    #[wasm_bindgen(catch)]
    pub(crate) fn random(bytes: &mut [u8]) -> Result<(), Exception>;
}

// What those import in turn: named here, they come along.

#[wasm_bindgen(module = "/src/browser/database.js")]
extern "C" {
    type Database;
}

#[wasm_bindgen(module = "/src/browser/storage.js")]
extern "C" {
    type Storage;
}

#[wasm_bindgen(module = "/src/browser/device_key.js")]
extern "C" {
    type DeviceKey;
}

#[wasm_bindgen(module = "/src/browser/lock.js")]
extern "C" {
    type Lock;
}

#[wasm_bindgen(module = "/src/browser/exchange.js")]
extern "C" {
    type Exchange;
}

/// The time since the page's start: it never runs backwards, and a sleep counts.
pub(crate) fn now() -> Duration {
    Duration::from_micros((milliseconds() * 1000.0) as u64)
}

/// An exception that a browser API threw, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Exception(String);

impl Exception {
    /// The words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0
    }
}

impl From<JsValue> for Exception {
    fn from(thrown: JsValue) -> Self {
        Self(thrown.as_string().unwrap_or_default())
    }
}
