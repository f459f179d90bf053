//! The RES error object and the codes that RES defines.

use std::{borrow::Cow, fmt};

use relogin_json::{self as json, Lossy};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value as Json, value::RawValue};

use crate::{members, take, text};

/// What went wrong, as it stands in answers and in `unsubscribe` events.
/// [Error object](https://resgate.io/docs/specification/res-client-protocol/#error-object).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Error {
    /// Identifies the error: words divided by dots, the first one the service's name or `system`.
    #[serde(default, deserialize_with = "words")]
    pub code: Cow<'static, str>,
    /// One sentence for people.
    #[serde(default, deserialize_with = "words")]
    pub message: Cow<'static, str>,
    /// What the service adds, for instance values for place-holders in the message.
    #[serde(default, deserialize_with = "any_json", skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
}

fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'static, str>, D::Error> {
    let words = Option::<Lossy<'de>>::deserialize(deserializer)?;
    Ok(words.map_or(Cow::Borrowed(""), |words| words.into_owned().into()))
}

/// What no [`Json`] holds is read as the nearest that one does: the rest of the error is worth
/// more.
fn any_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    let text = Box::<RawValue>::deserialize(deserializer)?;
    Ok(json::parse(text.get()).filter(|json| !json.is_null()))
}

/// The codes of [pre-defined
/// errors](https://resgate.io/docs/specification/res-client-protocol/#pre-defined-errors), and
/// those that Resgate adds.
pub mod code {
    /// A resource or a method may not be used.
    pub const ACCESS_DENIED: &str = "system.accessDenied";
    /// The resource was deleted: the reason of an `unsubscribe` event. Resgate's.
    pub const DELETED: &str = "system.deleted";
    /// Something failed that is not the caller's fault.
    pub const INTERNAL_ERROR: &str = "system.internalError";
    /// The params are not what the method takes.
    pub const INVALID_PARAMS: &str = "system.invalidParams";
    /// The query is not one of the resource's.
    pub const INVALID_QUERY: &str = "system.invalidQuery";
    /// The gateway does not know the request.
    pub const INVALID_REQUEST: &str = "system.invalidRequest";
    /// The resource has no such method.
    pub const METHOD_NOT_FOUND: &str = "system.methodNotFound";
    /// There is no resource.
    pub const NOT_FOUND: &str = "system.notFound";
    /// The resource is not directly subscribed (that often).
    pub const NO_SUBSCRIPTION: &str = "system.noSubscription";
    /// The subject would be longer than the messaging system takes. Resgate's.
    pub const SUBJECT_TOO_LONG: &str = "system.subjectTooLong";
    /// The resource is directly subscribed as often as a connection may. Resgate's.
    pub const SUBSCRIPTION_LIMIT_EXCEEDED: &str = "system.subscriptionLimitExceeded";
    /// No answer in time.
    pub const TIMEOUT: &str = "system.timeout";
    /// Too much that was asked for is not answered yet. Ours.
    pub const TOO_MANY_REQUESTS: &str = "system.tooManyRequests";
    /// The protocol's major version is not ours.
    pub const UNSUPPORTED_PROTOCOL: &str = "system.unsupportedProtocol";
}

impl Error {
    /// An error without data.
    #[must_use]
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: code.into(), message: message.into(), data: None }
    }

    /// [`code::ACCESS_DENIED`].
    #[must_use]
    pub fn access_denied() -> Self {
        Self::new(code::ACCESS_DENIED, "Access denied")
    }

    /// [`code::DELETED`].
    #[must_use]
    pub fn deleted() -> Self {
        Self::new(code::DELETED, "Deleted")
    }

    /// [`code::INTERNAL_ERROR`], without telling strangers more.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(code::INTERNAL_ERROR, "Internal error")
    }

    /// [`code::INTERNAL_ERROR`] that says what a peer did wrong.
    #[must_use]
    pub fn internal_because(reason: impl fmt::Display) -> Self {
        Self::new(code::INTERNAL_ERROR, format!("Internal error: {reason}"))
    }

    /// [`code::INVALID_PARAMS`].
    #[must_use]
    pub fn invalid_params() -> Self {
        Self::new(code::INVALID_PARAMS, "Invalid parameters")
    }

    /// [`code::INVALID_QUERY`].
    #[must_use]
    pub fn invalid_query() -> Self {
        Self::new(code::INVALID_QUERY, "Invalid query")
    }

    /// [`code::INVALID_REQUEST`].
    #[must_use]
    pub fn invalid_request() -> Self {
        Self::new(code::INVALID_REQUEST, "Invalid request")
    }

    /// [`code::METHOD_NOT_FOUND`].
    #[must_use]
    pub fn method_not_found() -> Self {
        Self::new(code::METHOD_NOT_FOUND, "Method not found")
    }

    /// [`code::NOT_FOUND`].
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(code::NOT_FOUND, "Not found")
    }

    /// [`code::NO_SUBSCRIPTION`].
    #[must_use]
    pub fn no_subscription() -> Self {
        Self::new(code::NO_SUBSCRIPTION, "No subscription")
    }

    /// [`code::SUBJECT_TOO_LONG`].
    #[must_use]
    pub fn subject_too_long() -> Self {
        Self::new(code::SUBJECT_TOO_LONG, "Subject too long")
    }

    /// [`code::SUBSCRIPTION_LIMIT_EXCEEDED`].
    #[must_use]
    pub fn subscription_limit_exceeded() -> Self {
        Self::new(code::SUBSCRIPTION_LIMIT_EXCEEDED, "Subscription limit exceeded")
    }

    /// [`code::TIMEOUT`].
    #[must_use]
    pub fn timeout() -> Self {
        Self::new(code::TIMEOUT, "Request timeout")
    }

    /// [`code::TOO_MANY_REQUESTS`].
    #[must_use]
    pub fn too_many_requests() -> Self {
        Self::new(code::TOO_MANY_REQUESTS, "Too many requests")
    }

    /// [`code::UNSUPPORTED_PROTOCOL`].
    #[must_use]
    pub fn unsupported_protocol() -> Self {
        Self::new(code::UNSUPPORTED_PROTOCOL, "Unsupported protocol")
    }

    /// Reads an error, as serde does. `None` if it is not one.
    #[must_use]
    pub fn read(json: Json) -> Option<Self> {
        let mut members = members(json)?;
        let mut words =
            |name| take(&mut members, name).map_or(Some(Cow::Borrowed("")), |json| text(json).map(Cow::Owned));
        Some(Self { code: words("code")?, message: words("message")?, data: take(&mut members, "data") })
    }

    /// True if the error has this code.
    #[must_use]
    pub fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// True for errors that RES defines (`system.…`): they say nothing about what the service
    /// decided.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.code.starts_with("system.")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_as_serde_reads_them() {
        for text in [
            r#"{"code":"a.b","message":"c","data":{"d":1}}"#,
            "{}",
            r#"{"code":null,"message":null,"data":null}"#,
            r#"{"message":"c","more":[]}"#,
            r#"{"code":1}"#,
            r#"{"message":{}}"#,
            "null",
            "\"a\"",
            "7",
        ] {
            let json: Json = serde_json::from_str(text).unwrap();
            assert_eq!(Error::read(json), serde_json::from_str(text).ok(), "{text}");
        }
    }

    #[test]
    fn reads_what_is_there_and_writes_no_empty_data() {
        let error: Error = serde_json::from_str(r#"{"code":"a.b","message":null,"extra":1}"#).unwrap();
        assert_eq!(error, Error::new("a.b", ""));
        let text = serde_json::to_string(&Error::not_found()).unwrap();
        assert_eq!(text, r#"{"code":"system.notFound","message":"Not found"}"#);
        assert_eq!(Error::timeout().to_string(), "Request timeout (system.timeout)");
    }
}
