//! For the tests of storage and device key: a browser that lacks something, and waiting with a
//! deadline.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails by panicking")]

use std::{future::IntoFuture, pin::pin};

use futures_util::future;
use gloo_timers::future::TimeoutFuture;
use js_sys::{Function, Promise};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

#[wasm_bindgen(module = "/tests/browser/scripted.js")]
extern "C" {
    #[wasm_bindgen(js_name = sabotage)]
    fn break_browser(what: &str) -> Function;

    /// Deletes a database, as clearing the browser's data does.
    pub(super) fn forget(database: &str) -> Promise;

    /// The device key of this name in a database.
    pub(super) fn kept(database: &str, name: &str) -> Promise;

    /// Makes a database of version 1: its log, and a key pair.
    #[wasm_bindgen(js_name = makeOldDatabase)]
    pub(super) fn make_old_database(name: &str, entries: &str) -> Promise;

    /// The whole content of a database, as JSON.
    pub(super) fn everything(database: &str) -> Promise;

    /// Another document of this origin.
    #[wasm_bindgen(js_name = otherTab)]
    pub(super) fn other_tab() -> web_sys::Window;
}

/// Something that a browser can lack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sabotage {
    /// There is no IndexedDB.
    Missing,
    /// Databases cannot be opened.
    Refused,
    /// Databases that are open fail, and no other can be opened.
    Breaks,
    /// Databases neither open nor fail.
    Silent,
    /// There is no localStorage.
    Local,
    /// Nothing can be added to a database.
    Writes,
    /// WebCrypto knows no Ed25519.
    Ed25519,
    /// WebCrypto makes no key pairs.
    Algorithms,
}

/// Something that the browser lacks until this is dropped.
pub(super) struct Broken(Function);

impl Broken {
    /// Takes something from the browser.
    pub(super) fn new(what: Sabotage) -> Self {
        Self(break_browser(&format!("{what:?}")))
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.0.call0(&JsValue::NULL).unwrap();
    }
}

/// Waits for `wanted`, and panics if that takes too long.
pub(super) async fn within<T>(what: &str, wanted: impl IntoFuture<Output = T>) -> T {
    match future::select(pin!(wanted.into_future()), TimeoutFuture::new(15_000)).await {
        future::Either::Left((value, _)) => value,
        future::Either::Right(_) => panic!("waited for too long for {what}"),
    }
}
