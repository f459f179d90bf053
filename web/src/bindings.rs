//! What the JavaScript package (`web/npm`) is made on: the client and the keeper with nothing around them, which tell all that
//! happens to one function each. Values cross as JSON texts, which the browser reads faster than anything that is built here.
//!
//! Not for pages: `web/npm/index.js` is their face.

mod client;
mod errors;
mod keeper;
mod values;

use std::cell::Cell;

use js_sys::{Array, Function};
use wasm_bindgen::prelude::*;

pub use client::RawClient;
pub use keeper::RawKeeper;

thread_local! {
    static ALIVE: Cell<u32> = const { Cell::new(0) };
}

/// How many clients and keepers are at work: for tests that look for leaks.
#[wasm_bindgen]
#[must_use]
pub fn alive() -> u32 {
    ALIVE.get()
}

/// Counted as long as it lives.
#[derive(Debug)]
struct Alive;

impl Alive {
    fn new() -> Self {
        ALIVE.set(ALIVE.get() + 1);
        Self
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.set(ALIVE.get() - 1);
    }
}

/// Tells JavaScript: what kind of thing has happened, and what belongs to it.
#[derive(Debug)]
struct Tell {
    function: Function,
    _alive: Alive,
}

impl Tell {
    fn new(function: Function) -> Self {
        Self { function, _alive: Alive::new() }
    }

    fn tell(&self, kind: &str, more: &[JsValue]) {
        let arguments = Array::of1(&kind.into());
        for argument in more {
            arguments.push(argument);
        }
        // The package's function catches what listeners throw.
        let _ = self.function.apply(&JsValue::UNDEFINED, &arguments);
    }
}
