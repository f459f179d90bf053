//! The interface for the npm package (`web/npm`): the client, and the session manager over another
//! client, which is in JavaScript.
//!
//! Values cross as objects whose types are defined in Rust: serde-wasm-bindgen makes the objects,
//! and tsify writes their TypeScript, so no name is kept by hand on both sides. Pages use the
//! package's own API, `web/npm/src/index.ts`, and must not depend on this one.

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

/// The number of running clients and session managers: for tests that look for leaks.
#[wasm_bindgen]
#[must_use]
pub fn alive() -> u32 {
    ALIVE.get()
}

/// Counts itself in [`alive`] until it is dropped.
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

/// A promise of the result of `work`. Boxed, because the package would otherwise have a copy of the
/// code around it for each type of future.
fn promise(work: LocalBoxFuture<'static, Result<JsValue, JsValue>>) -> Promise {
    future_to_promise(work)
}

/// Converts `value` to JavaScript: maps to objects, `None` to null.
fn to_js(value: &impl Serialize) -> JsValue {
    const SERIALIZER: Serializer = Serializer::json_compatible();
    // It fails only for integers beyond 2^53, which `value::Plain` converts to floats.
    value.serialize(&SERIALIZER).unwrap_or(JsValue::UNDEFINED)
}
