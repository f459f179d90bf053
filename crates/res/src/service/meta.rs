//! Changes that a service asks for in an HTTP response, and which of them a gateway may make.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Headers;
use crate::{Error, null_is_default};

/// What a service asks of the HTTP response.
/// [Meta object](https://resgate.io/docs/specification/res-service-protocol/#meta-object).
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Another status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// More headers.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Headers::is_empty")]
    pub header: Headers,
}

/// Headers that say how the response itself is to be read, or who may: the gateway's, whatever a
/// service asks for.
const PROTECTED: [&str; 12] = [
    "Access-Control-Allow-Credentials",
    "Access-Control-Allow-Origin",
    "Connection",
    "Content-Length",
    "Content-Type",
    "Keep-Alive",
    "Sec-Websocket-Accept",
    "Sec-Websocket-Extensions",
    "Sec-Websocket-Protocol",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

impl Meta {
    /// The header whose values are added to those that are there; of all others, the values take
    /// their place.
    pub const SET_COOKIE: &str = "Set-Cookie";

    /// One more cookie to set.
    pub fn push_cookie(&mut self, cookie: impl Into<String>) {
        self.header.entry(Self::SET_COOKIE.to_owned()).or_default().push(cookie.into());
    }

    /// The status that the gateway is to answer with at once, whatever was asked for: a
    /// redirection, or an error. None if the request goes on, as it does with a status that the
    /// protocol has no meaning for.
    #[must_use]
    pub fn direct_status(&self) -> Option<u16> {
        self.status.filter(|status| (300..600).contains(status))
    }

    /// The headers that a service may set, by their canonical names.
    #[must_use]
    pub fn into_header(self) -> Headers {
        let mut allowed = Headers::new();
        for (name, values) in self.header {
            let name = canonical_header(&name);
            if !PROTECTED.contains(&name.as_str()) {
                allowed.entry(name).or_default().extend(values);
            }
        }
        allowed
    }

    /// The error that a response of this status has, where its service named none.
    #[must_use]
    pub fn error_of(status: u16) -> Error {
        let (code, message) = match status {
            401 | 402 | 407 => ("system.accessDenied", "Access denied"),
            403 | 451 => ("system.forbidden", "Forbidden"),
            404 | 410 => ("system.notFound", "Not found"),
            405 => ("system.methodNotAllowed", "Method not allowed"),
            408 | 504 => ("system.timeout", "Request timeout"),
            400..=499 => ("system.badRequest", "Bad request"),
            501 => ("system.notImplemented", "Not implemented"),
            503 => ("system.serviceUnavailable", "Service unavailable"),
            _ => ("system.internalError", "Internal error"),
        };
        Error::new(code, message)
    }
}

/// A header's name as auth requests and meta objects have it: `user-agent` as `User-Agent`.
#[must_use]
pub fn canonical_header(name: &str) -> String {
    let mut is_start = true;
    let letter = |letter: char| {
        let letter = if is_start { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
        is_start = letter == '-';
        letter
    };
    let mut canonical = String::with_capacity(name.len());
    canonical.extend(name.chars().map(letter));
    canonical
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may set cookies.
        f.debug_struct("Meta").field("status", &self.status).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(text: &str) -> Meta {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_service_sets_all_headers_but_those_that_are_the_gateways() {
        let asked = meta(
            r#"{"header":{"set-cookie":["a=1"],"Set-Cookie":["b=2"],"X-Mine":["1"],"sec-websocket-PROTOCOL":["x"],
            "Access-Control-Allow-Origin":["*"],"Access-Control-Allow-Credentials":["true"],"Content-Type":["x"],
            "upgrade":["h2c"],"connection":["close"],"Content-Length":["7"]}}"#,
        );
        let header = asked.into_header();
        assert_eq!(header.keys().collect::<Vec<_>>(), ["Set-Cookie", "X-Mine"]);
        assert_eq!(header["Set-Cookie"].len(), 2);
        assert!(meta(r#"{"header":null}"#).into_header().is_empty());
    }

    #[test]
    fn redirections_and_errors_are_answered_at_once_and_nothing_else() {
        let status = |status: u16| Meta { status: Some(status), ..Meta::default() }.direct_status();
        assert_eq!((status(300), status(401), status(599)), (Some(300), Some(401), Some(599)));
        assert_eq!((status(101), status(200), status(299), status(600), status(0)), (None, None, None, None, None));
        assert_eq!(Meta::default().direct_status(), None);
    }

    #[test]
    fn a_status_has_an_error() {
        let code = |status| Meta::error_of(status).code.into_owned();
        assert_eq!(code(401), "system.accessDenied");
        assert_eq!(code(403), "system.forbidden");
        assert_eq!(code(404), "system.notFound");
        assert_eq!(code(418), "system.badRequest");
        assert_eq!(code(503), "system.serviceUnavailable");
        assert_eq!(code(500), "system.internalError");
    }

    #[test]
    fn cookies_are_added_and_not_shown() {
        let mut meta = Meta::default();
        meta.push_cookie("a=hunter2");
        meta.push_cookie("b=2");
        assert_eq!(meta.header[Meta::SET_COOKIE], ["a=hunter2", "b=2"]);
        assert!(!format!("{meta:?}").contains("hunter2"));
    }
}
