//! The IndexedDB database of a session.

use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen(module = "/src/browser/database.js")]
extern "C" {
    /// Opened when it is first used, and again if the browser has taken it from us.
    #[derive(Debug)]
    #[wasm_bindgen(js_name = Database)]
    pub(super) type RawDatabase;

    #[wasm_bindgen(constructor, js_class = Database)]
    fn new_raw(name: &str) -> RawDatabase;

    #[wasm_bindgen(method, js_class = Database, js_name = close)]
    fn close_raw(this: &RawDatabase);
}

/// A database. Dropped, it is closed.
#[derive(Debug)]
pub(super) struct Database(RawDatabase);

impl Database {
    /// The database called `name`, which is opened when it is first used.
    pub(super) fn new(name: &str) -> Self {
        Self(RawDatabase::new_raw(name))
    }

    /// As scripts see it.
    pub(super) fn raw(&self) -> &RawDatabase {
        &self.0
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.0.close_raw();
    }
}
