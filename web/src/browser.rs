//! Browser I/O for the drivers: one browser API per file, on web-sys and gloo.
//!
//! Carries out a machine's actions, and queues what happens as its inputs. Must not depend on RES
//! or on the rules of sessions, and decides nothing: which key is used when is up to
//! crates/client-proto.

mod address;
mod adoption;
mod burst;
mod clock;
mod cookie_refresh;
mod database;
mod database_format;
mod device_key;
mod event_queue;
mod io;
mod local_storage;
mod lock;
mod random;
mod record_log;
mod session;
mod socket;
mod storage;
#[cfg(all(test, target_arch = "wasm32"))]
mod testing;
mod timer;
mod wake_ups;

use js_sys::{Object, Reflect};
use wasm_bindgen::{JsCast as _, JsValue};

use self::event_queue::EventQueue;
pub(crate) use self::{
    address::gateways,
    clock::now,
    io::BrowserIo,
    random::{moment, moment_at},
    session::StorageMode,
};

/// An exception that a browser API has thrown.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Exception(String);

impl Exception {
    /// The exception's text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0
    }
}

impl From<JsValue> for Exception {
    fn from(thrown: JsValue) -> Self {
        Self(match thrown.dyn_into::<js_sys::Error>() {
            Ok(error) => error.to_string().into(),
            Err(other) => other.as_string().unwrap_or_default(),
        })
    }
}

/// A JavaScript object with these members.
fn object(members: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    for (name, value) in members {
        // It fails only for frozen objects and proxies.
        let _ = Reflect::set(&object, &(*name).into(), value);
    }
    object
}

/// The member `name` of `value`: undefined if there is none, `None` if reading it throws.
fn member(value: &JsValue, name: &str) -> Option<JsValue> {
    Reflect::get(value, &name.into()).ok()
}

/// The global scope. A worker has the same names as a window for all that is used of it here.
fn global() -> web_sys::Window {
    js_sys::global().unchecked_into()
}
