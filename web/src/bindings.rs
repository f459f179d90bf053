//! What the JavaScript package (`web/npm`) stands on: the client, and the session manager over a client
//! of JavaScript's, with nothing around them.
//!
//! Values cross as objects whose types are Rust's: serde-wasm-bindgen makes them, and tsify writes their
//! TypeScript, so neither side keeps the other's names by hand. Not for pages: `web/npm/src/index.ts` is
//! their face.

mod client;
mod client_event;
mod error;
mod session;
mod session_event;
mod value;

use std::cell::Cell;

use futures_util::future::LocalBoxFuture;
use js_sys::Promise;
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

pub use client::{CallRequest, Called, ClientOptions, RawClient};
pub use client_event::{ClientEvent, ConnectionState, Freshness};
pub use error::ErrorValue;
pub use session::{RawSession, RawSessionOptions};
pub use session_event::{Binding, EndReason, SessionEvent, SessionStatus, User};
pub use value::ResValue;

thread_local! {
    static ALIVE: Cell<u32> = const { Cell::new(0) };
}

/// How many clients and session managers are at work: for tests that look for leaks.
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

/// A promise of what `work` comes to. Boxed: the package would have a copy of what is around it for each kind.
fn promise(work: LocalBoxFuture<'static, Result<JsValue, JsValue>>) -> Promise {
    future_to_promise(work)
}

/// `value` as JavaScript has it: objects for maps, null for nothing.
fn to_js(value: &impl Serialize) -> JsValue {
    const SERIALIZER: Serializer = Serializer::json_compatible();
    // Fails for integers past 2^53 only, of which `value::Plain` makes floats.
    value.serialize(&SERIALIZER).unwrap_or(JsValue::UNDEFINED)
}
