//! Paths of URLs, and the resources and methods that they name. Must not depend on what is done
//! with these.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use relogin_res::{Error, ResourceId, rid::is_part};
use serde_json::value::RawValue;

use super::Operation;

/// The methods of resources that PUT, PATCH and DELETE call. Without one, the HTTP method is not
/// allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    /// What PUT calls.
    pub put: Option<String>,
    /// What PATCH calls.
    pub patch: Option<String>,
    /// What DELETE calls.
    pub delete: Option<String>,
}

/// What is written as it is in a part of a path: RFC 3986, section 3.3, but for what RES gives a
/// meaning.
const IN_PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// What cannot be written as it is in a query.
const NOT_IN_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

impl Methods {
    /// The HTTP methods that are allowed, as the header `Access-Control-Allow-Methods` lists them.
    #[must_use]
    pub fn allowed(&self) -> String {
        let mapped = [("PUT", &self.put), ("PATCH", &self.patch), ("DELETE", &self.delete)];
        let mapped = mapped.iter().filter(|(_, method)| method.is_some()).map(|(name, _)| *name);
        ["GET", "HEAD", "OPTIONS", "POST"].into_iter().chain(mapped).collect::<Vec<_>>().join(", ")
    }

    fn of(&self, http_method: &str) -> Option<&str> {
        match http_method {
            "PUT" => self.put.as_deref(),
            "PATCH" => self.patch.as_deref(),
            "DELETE" => self.delete.as_deref(),
            _ => None,
        }
    }
}

/// What a request asks for. `path` is the path below that of the API, as it stands in the URL.
///
/// # Errors
/// The error that it is answered with, if it asks for nothing that could exist.
pub fn operation(
    http_method: &str,
    path: &str,
    query: Option<&str>,
    body: &[u8],
    methods: &Methods,
) -> Result<Operation, Error> {
    let parts = || parts(path).ok_or_else(Error::not_found);
    match http_method {
        "GET" | "HEAD" => Ok(Operation::Get(resource(&parts()?, query)?)),
        "POST" => {
            let mut parts = parts()?;
            let method = parts.pop().ok_or_else(Error::not_found)?.into_owned();
            let rid = resource(&parts, query)?;
            Ok(Operation::Call { rid, method, params: params(body)? })
        }
        _ => {
            let method = methods.of(http_method).ok_or_else(method_not_allowed)?.to_owned();
            let rid = resource(&parts()?, query)?;
            Ok(Operation::Call { rid, method, params: params(body)? })
        }
    }
}

/// The path and query of a resource, below `api_path`, which ends with a slash.
pub(super) fn path_of(rid: &ResourceId, api_path: &str) -> String {
    let parts: Vec<_> = rid.name().split('.').map(|part| utf8_percent_encode(part, IN_PART).to_string()).collect();
    let query = rid.query().map(|query| format!("?{}", utf8_percent_encode(query, NOT_IN_QUERY)));
    format!("{api_path}{}{}", parts.join("/"), query.unwrap_or_default())
}

pub(super) fn method_not_allowed() -> Error {
    Error::new("system.methodNotAllowed", "Method not allowed")
}

/// The parts of a name. `None` if one of them cannot be one.
fn parts(path: &str) -> Option<Vec<Cow<'_, str>>> {
    let decoded = |text| percent_decode_str(text).decode_utf8().ok();
    path.split('/').map(|text| decoded(text).filter(|part| is_encoded(text) && is_part(part))).collect()
}

/// True if each percent sign begins an encoded byte; one that does not would be a second path to
/// the same resource.
fn is_encoded(text: &str) -> bool {
    let mut after = text.split('%').skip(1);
    after.all(|rest| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

fn resource(parts: &[Cow<'_, str>], query: Option<&str>) -> Result<ResourceId, Error> {
    let mut text = parts.join(".");
    if let Some(query) = query {
        text = text + "?" + query;
    }
    ResourceId::parse(&text).map_err(|_| Error::not_found())
}

fn params(body: &[u8]) -> Result<Option<Box<RawValue>>, Error> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(body)
        .map(Some)
        .map_err(|error| Error::new("system.badRequest", format!("Error decoding request body: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn methods() -> Methods {
        Methods { put: Some("set".to_owned()), ..Methods::default() }
    }

    /// What a request asks for, as a text.
    fn asked(http_method: &str, path: &str, body: &str) -> String {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        match operation(http_method, path, query, body.as_bytes(), &methods()) {
            Ok(Operation::Get(rid)) => format!("get {}", rid.as_str()),
            Ok(Operation::Call { rid, method, params }) => {
                format!("call {} {method} {}", rid.as_str(), params.map_or_else(String::new, |it| it.get().to_owned()))
            }
            Err(error) => error.code.into_owned(),
        }
    }

    #[test]
    fn a_path_names_a_resource_and_with_post_a_method_too() {
        assert_eq!(asked("GET", "test/model", ""), "get test.model");
        assert_eq!(asked("HEAD", "a?q=1.5&b=/", ""), "get a?q=1.5&b=/");
        assert_eq!(asked("GET", "a/b%3Dc%2Fd", ""), "get a.b=c/d");
        assert_eq!(asked("POST", "test/model/set?q=1", " \r\n"), "call test.model?q=1 set ");
        assert_eq!(asked("POST", "test/model/set", " {\"a\": 1} "), r#"call test.model set {"a": 1}"#);
        assert_eq!(asked("PUT", "test/model", "[1]"), "call test.model set [1]");
    }

    #[test]
    fn paths_that_name_no_resource_are_not_found() {
        for path in [
            "",
            "/",
            "test.model",
            "test/model/",
            "test//model",
            "test/m\u{e5}del",
            "a/%2E",
            "a/b%2Ec",
            "a/%FF",
            "a/b%",
            "a/b%4",
            "a/b%zz",
        ] {
            assert_eq!(asked("GET", path, ""), "system.notFound", "{path}");
            assert_eq!(asked("POST", &format!("{path}/m"), ""), "system.notFound", "{path}");
        }
        assert_eq!(asked("POST", "action", ""), "system.notFound");
        assert_eq!(asked("POST", "a/b.c", ""), "system.notFound");
    }

    #[test]
    fn methods_that_are_not_allowed_and_bad_bodies_are_refused() {
        assert_eq!(asked("PATCH", "a", ""), "system.methodNotAllowed");
        assert_eq!(asked("TRACE", "a", ""), "system.methodNotAllowed");
        assert_eq!(asked("POST", "a/b", "{"), "system.badRequest");
        assert_eq!(methods().allowed(), "GET, HEAD, OPTIONS, POST, PUT");
        assert_eq!(Methods::default().allowed(), "GET, HEAD, OPTIONS, POST");
    }

    #[test]
    fn the_path_of_a_resource_leads_back_to_it() {
        for (rid, path) in [
            ("test.model", "/api/test/model"),
            ("a.b/c%d#e.f=g?q=1.5/6&r", "/api/a/b%2Fc%25d%23e/f=g?q=1.5/6&r"),
            ("a?b c#d", "/api/a?b%20c%23d"),
        ] {
            let rid = ResourceId::parse(rid).unwrap();
            assert_eq!(path_of(&rid, "/api/"), path);
        }
        let rid = ResourceId::parse("a.b/c%d#e.f=g?q=1.5/6&r").unwrap();
        let path = path_of(&rid, "");
        assert_eq!(asked("GET", &path, ""), format!("get {}", rid.as_str()));
    }
}
