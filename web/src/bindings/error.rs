//! Converts errors to objects with code, message and data, which the package turns into JavaScript
//! errors. Must not depend on clients.

use relogin_client_proto::RequestError;
use relogin_res::Error as ResError;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tsify::Tsify;
use wasm_bindgen::JsValue;

use super::{to_js, value};
use crate::Error;

/// Why something failed.
#[derive(Clone, Debug, Serialize, Deserialize, Tsify)]
pub struct ErrorValue {
    /// A RES error code, or one of the client.
    pub code: String,
    /// The message for people.
    pub message: String,
    /// Data that the service adds.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "value::some_plain",
        deserialize_with = "value::from_js"
    )]
    #[tsify(optional, type = "unknown")]
    pub data: Option<Json>,
}

impl ErrorValue {
    /// An argument is unusable.
    pub(super) fn invalid(error: impl std::fmt::Display) -> Self {
        Self { code: "client.invalid".to_owned(), message: error.to_string(), data: None }
    }

    /// Converts the error of a RES client in JavaScript.
    pub(super) fn into_request_error(self) -> RequestError {
        match self.code.as_str() {
            // The codes by which RES clients report a lost connection.
            "system.connectionError" | "system.disconnect" => RequestError::ConnectionLost,
            _ => {
                let mut error = ResError::new(self.code, self.message);
                error.data = self.data;
                RequestError::Refused(error)
            }
        }
    }
}

impl From<&RequestError> for ErrorValue {
    fn from(error: &RequestError) -> Self {
        match error {
            RequestError::Refused(error) => Self {
                code: error.code.clone().into_owned(),
                message: error.message.clone().into_owned(),
                data: error.data.clone(),
            },
            other => Self { code: other.code().to_owned(), message: other.to_string(), data: None },
        }
    }
}

impl From<&Error> for ErrorValue {
    fn from(error: &Error) -> Self {
        match error {
            Error::Request(error) => error.into(),
            other => {
                let code = other.code().unwrap_or("client.invalid").to_owned();
                Self { code, message: other.to_string(), data: None }
            }
        }
    }
}

/// For exceptions, and for promises that are rejected.
impl From<ErrorValue> for JsValue {
    fn from(error: ErrorValue) -> Self {
        to_js(&error)
    }
}
