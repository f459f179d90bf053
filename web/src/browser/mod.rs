//! The browser's APIs, one file each, as small as the driver needs them.
//!
//! Knows nothing of RES, sessions or keys: what happens goes to a callback, what is wanted comes as a call.

pub mod address;
pub mod clock;
pub mod device_key;
pub mod entropy;
pub mod exchange;
pub mod indexed_db;
pub mod listener;
pub mod lock;
pub mod socket;
pub mod storage;
pub mod timer;
pub mod wake;

use wasm_bindgen::{JsCast, JsValue};

/// An exception that a browser API threw, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {message}")]
pub struct Exception {
    name: String,
    message: String,
}

impl Exception {
    fn new(name: &str, message: &str) -> Self {
        Self { name: name.to_owned(), message: message.to_owned() }
    }

    /// True for the kind of exception that browsers call `name`.
    fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

impl From<JsValue> for Exception {
    fn from(thrown: JsValue) -> Self {
        match thrown.dyn_into::<js_sys::Error>() {
            Ok(error) => Self { name: error.name().into(), message: error.message().into() },
            Err(other) => Self { name: "exception".to_owned(), message: other.as_string().unwrap_or_default() },
        }
    }
}
