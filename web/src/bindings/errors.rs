//! Errors as JavaScript has them: plain objects with code, message and data, of which the package makes errors.

use js_sys::{JSON, Object, Reflect};
use relogin_client::RequestError;
use relogin_res::{Error as ResError, json};
use serde_json::Value as Json;
use wasm_bindgen::JsValue;

use crate::Error;

/// What a command came to nothing by.
pub(super) fn error(error: &Error) -> JsValue {
    match error {
        Error::Request(error) => request_error(error),
        other => parts(other.code().unwrap_or("client.invalid"), &other.to_string(), None),
    }
}

/// What a request came to nothing by.
pub(super) fn request_error(error: &RequestError) -> JsValue {
    match error {
        RequestError::Refused(error) => parts(&error.code, &error.message, error.data.as_ref()),
        other => parts(other.code(), &other.to_string(), None),
    }
}

/// An error that JavaScript brings: the code, message and data (JSON) of what another client said.
pub(super) fn read(code: &str, message: String, data: Option<String>) -> RequestError {
    match code {
        // A connection that is gone, in the words of RES clients.
        "system.connectionError" | "system.disconnect" => RequestError::ConnectionLost,
        code => {
            let mut error = ResError::new(code.to_owned(), message);
            error.data = data.and_then(|data| json::parse(&data));
            RequestError::Refused(error)
        }
    }
}

/// An error of these parts.
pub(super) fn parts(code: &str, message: &str, data: Option<&Json>) -> JsValue {
    let object = Object::new();
    // Setting a property of an ordinary object cannot fail.
    let set = |name: &str, value: &JsValue| drop(Reflect::set(&object, &name.into(), value));
    set("code", &code.into());
    set("message", &message.into());
    if let Some(data) = data.and_then(|data| JSON::parse(&json::to_text(data)).ok()) {
        set("data", &data);
    }
    object.into()
}
