//! The browser, as the drivers use it: one browser API a file, on web-sys and gloo.
//!
//! Carries out a machine's actions and queues what happens as its inputs. Knows nothing of RES or of
//! the session's rules, and decides nothing: which key is used when is crates/client-proto's.

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
    address::gateway,
    clock::now,
    io::BrowserIo,
    random::{moment, moment_at},
    session::StorageMode,
};

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
        Self(match thrown.dyn_into::<js_sys::Error>() {
            Ok(error) => error.to_string().into(),
            Err(other) => other.as_string().unwrap_or_default(),
        })
    }
}

/// An object that has these members.
fn object(members: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    for (name, value) in members {
        // Only objects that are frozen, or proxies, refuse.
        let _ = Reflect::set(&object, &(*name).into(), value);
    }
    object
}

/// What the member of this name is; undefined if there is none.
fn member(value: &JsValue, name: &str) -> Option<JsValue> {
    Reflect::get(value, &name.into()).ok()
}

/// The global scope. What is asked of it here, a worker's offers by the same names as a window's.
fn global() -> web_sys::Window {
    js_sys::global().unchecked_into()
}
