//! Responses of services.

use std::{fmt, time::Duration};

use relogin_json::Lossy;
use serde::{Deserialize, Serialize, de};
use serde_json::value::RawValue;

use super::{Meta, encode, is_false};
use crate::{Error, Map, Present, ResourceId, Value, Verbatim, null_is_default, read};

/// An answer to a request.
/// [Response](https://resgate.io/docs/specification/res-service-protocol/#response).
#[derive(Clone, Debug)]
pub struct Response {
    /// What came of the request.
    pub outcome: Result<Outcome, Error>,
    /// What is to be done to the HTTP response, if there is one.
    pub meta: Option<Meta>,
}

/// What came of a request that did not fail. Its `Debug` hides the result: it may be a credential.
#[derive(Clone)]
pub enum Outcome {
    /// JSON text, of what the request's kind says.
    Result(Box<RawValue>),
    /// A resource; to call and auth only.
    Resource(ResourceId),
}

/// Why a payload is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidResponse {
    /// It is no JSON object, or a member is not what it is to be.
    Unreadable,
    /// It has neither a result nor a resource nor an error.
    NoResult,
}

/// Result of an access request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// True if the connection may have the resource, with all that it refers to.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    pub get: bool,
    /// The methods it may call, divided by commas; `*` for all of them.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub call: String,
}

/// Result of a get request. `query` is the normalised query of a query resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource<V = Value> {
    /// What the resource holds.
    pub content: Content<V>,
    /// The normalised query, if the resource is a query resource.
    pub query: Option<String>,
}

/// What a resource holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content<V = Value> {
    /// A model.
    Model(Map<String, V>),
    /// A collection.
    Collection(Vec<V>),
}

impl Response {
    /// A success.
    #[must_use]
    pub fn result(result: &impl Serialize) -> Self {
        let outcome = serde_json::value::to_raw_value(result).map(Outcome::Result).map_err(Error::internal_because);
        Self { outcome, meta: None }
    }

    /// A success without a result: `null`.
    #[must_use]
    pub fn null() -> Self {
        Self::result(&())
    }

    /// A success that is a resource.
    #[must_use]
    pub fn resource(rid: ResourceId) -> Self {
        Self { outcome: Ok(Outcome::Resource(rid)), meta: None }
    }

    /// A failure.
    #[must_use]
    pub fn error(error: Error) -> Self {
        Self { outcome: Err(error), meta: None }
    }

    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Reference<'a> {
            rid: &'a ResourceId,
        }
        #[derive(Default, Serialize)]
        struct Wire<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            result: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            resource: Option<Reference<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<&'a Error>,
            #[serde(skip_serializing_if = "Option::is_none")]
            meta: Option<&'a Meta>,
        }
        let mut wire = Wire { meta: self.meta.as_ref(), ..Wire::default() };
        match &self.outcome {
            Ok(Outcome::Result(result)) => wire.result = Some(result),
            Ok(Outcome::Resource(rid)) => wire.resource = Some(Reference { rid }),
            Err(error) => wire.error = Some(error),
        }
        encode(&wire)
    }

    /// Reads an answer. One that makes no sense is read as `system.internalError`.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Self {
        Self::read(payload).0
    }

    /// The same, and why it makes no sense, if so.
    #[must_use]
    pub fn read(payload: &[u8]) -> (Self, Option<InvalidResponse>) {
        #[derive(Deserialize)]
        struct Reference {
            rid: ResourceId,
        }
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow, default)]
            result: Present<'a>,
            resource: Option<Reference>,
            error: Option<Error>,
            meta: Option<Meta>,
        }
        let Ok(wire) = read::object::<Wire<'_>>(payload) else {
            return (Self::error(invalid_response()), Some(InvalidResponse::Unreadable));
        };
        let is_complete = wire.error.is_some() || wire.resource.is_some() || wire.result.0.is_some();
        let outcome = match (wire.error, wire.resource, wire.result) {
            (Some(error), _, _) => Err(error),
            (None, Some(Reference { rid }), _) => Ok(Outcome::Resource(rid)),
            (None, None, Present(Some(result))) => Ok(Outcome::Result(result.to_owned())),
            (None, None, Present(None)) => Err(Error::internal_because("response missing result")),
        };
        (Self { outcome, meta: wire.meta }, (!is_complete).then_some(InvalidResponse::NoResult))
    }

    /// Reads the result of an answer to an access or get request.
    ///
    /// # Errors
    /// The answer's error, or `system.internalError` if its result is not of this kind.
    pub fn into_result<T: for<'a> Deserialize<'a>>(self) -> Result<T, Error> {
        match self.outcome? {
            Outcome::Result(result) => read::object(result.get().as_bytes()).map_err(|_| invalid_response()),
            Outcome::Resource(_) => Err(invalid_response()),
        }
    }
}

fn invalid_response() -> Error {
    Error::internal_because("invalid service response")
}

impl Access {
    /// True if the method may be called.
    #[must_use]
    pub fn may_call(&self, method: &str) -> bool {
        self.call == "*" || self.call.split(',').any(|allowed| allowed == method)
    }
}

impl<V: Serialize> Serialize for Resource<V> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a, V> {
            #[serde(skip_serializing_if = "Option::is_none")]
            model: Option<&'a Map<String, V>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            collection: Option<&'a Vec<V>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            query: Option<&'a str>,
        }
        let (model, collection) = match &self.content {
            Content::Model(model) => (Some(model), None),
            Content::Collection(collection) => (None, Some(collection)),
        };
        Wire { model, collection, query: self.query.as_deref() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Resource<Verbatim> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            model: Option<&'a RawValue>,
            #[serde(borrow)]
            collection: Option<&'a RawValue>,
            #[serde(borrow)]
            query: Option<Lossy<'a>>,
        }
        let Wire { model, collection, query } = Wire::deserialize(deserializer)?;
        let content = Content::read(model, collection).map_err(de::Error::custom)?;
        Ok(Self { content, query: query.map(Lossy::into_owned).filter(|query| !query.is_empty()) })
    }
}

impl Content<Verbatim> {
    /// Reads the content from the text of either a model or a collection.
    pub(super) fn read(model: Option<&RawValue>, collection: Option<&RawValue>) -> Result<Self, serde_json::Error> {
        match (model, collection) {
            (Some(model), None) => {
                let values: Map<Lossy<'_>, _> = serde_json::from_str(model.get())?;
                Ok(Self::Model(values.into_iter().map(|(name, value)| (name.into_owned(), value)).collect()))
            }
            (None, Some(collection)) => Ok(Self::Collection(serde_json::from_str(collection.get())?)),
            _ => Err(de::Error::custom("either a model or a collection is needed")),
        }
    }
}

/// A pre-response that gives the service `timeout` from its receipt on.
/// [Pre-response](https://resgate.io/docs/specification/res-service-protocol/#pre-response).
#[must_use]
pub fn encode_pre_response(timeout: Duration) -> Vec<u8> {
    format!("timeout:\"{}\"", timeout.as_millis()).into_bytes()
}

/// A pre-response, which starts with a letter as no JSON object does: the time it asks for, none if
/// it asks for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreResponse {
    /// From the receipt of the pre-response on.
    pub timeout: Option<Duration>,
}

impl PreResponse {
    /// Reads a pre-response. `None` if the payload is an answer instead.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        payload.first().filter(|byte| byte.is_ascii_alphabetic())?;
        let timeout = std::str::from_utf8(payload).ok().and_then(|text| {
            text.split_whitespace().find_map(|pair| pair.strip_prefix("timeout:\"")?.strip_suffix('"')?.parse().ok())
        });
        Some(Self { timeout: timeout.map(Duration::from_millis) })
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Result(_) => f.write_str("Result(…)"),
            Self::Resource(rid) => f.debug_tuple("Resource").field(rid).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::service::Headers;

    fn check(response: &Response, expected: &Expect) {
        expected.assert_eq(std::str::from_utf8(&response.encode()).unwrap());
    }

    fn read(text: &str) -> String {
        let response = Response::parse(text.as_bytes());
        match response.outcome {
            Ok(Outcome::Result(result)) => format!("result {result}"),
            Ok(Outcome::Resource(rid)) => format!("resource {rid}"),
            Err(error) => error.code.into_owned(),
        }
    }

    #[test]
    fn responses_are_written() {
        check(&Response::null(), &expect![[r#"{"result":null}"#]]);
        check(&Response::result(&json!({"a": 1})), &expect![[r#"{"result":{"a":1}}"#]]);
        check(&Response::resource(ResourceId::parse("a.b").unwrap()), &expect![[r#"{"resource":{"rid":"a.b"}}"#]]);
        let mut response = Response::error(Error::not_found());
        check(&response, &expect![[r#"{"error":{"code":"system.notFound","message":"Not found"}}"#]]);
        response.meta = Some(Meta { status: Some(404), header: Headers::new() });
        check(
            &response,
            &expect![[r#"{"error":{"code":"system.notFound","message":"Not found"},"meta":{"status":404}}"#]],
        );
    }

    #[test]
    fn responses_are_read() {
        for (text, expected) in [
            (r#"{"result":null}"#, "result null"),
            (r#"{"result": [1, 2] ,"x":1}"#, "result [1, 2]"),
            (r#"{"resource":{"rid":"a"},"result":1}"#, "resource a"),
            (r#"{"error":{"code":"a.b"},"result":1}"#, "a.b"),
            (r#"{"resource":{"rid":""}}"#, "system.internalError"),
            ("{}", "system.internalError"),
            (r#"[1,null,null,null]"#, "system.internalError"),
            ("", "system.internalError"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn an_array_is_no_object_anywhere() {
        for text in [
            r#"{"error":["a.b","no"]}"#,
            r#"{"resource":["a"]}"#,
            r#"{"result":null,"meta":[404,{}]}"#,
            r#"[null,{"rid":"a"}]"#,
        ] {
            assert_eq!(read(text), "system.internalError", "{text}");
        }
        let access = |text: &str| Response::parse(text.as_bytes()).into_result::<Access>();
        assert!(access(r#"{"result":{"get":true}}"#).is_ok());
        for text in [r#"{"result":[true,"*"]}"#, r#"{"result":[]}"#, r#"{"result":null}"#, r#"{"result":true}"#] {
            assert!(access(text).unwrap_err().is(crate::code::INTERNAL_ERROR), "{text}");
        }
        let resource = |text: &str| Response::parse(text.as_bytes()).into_result::<Resource<Verbatim>>();
        assert!(resource(r#"{"result":[{"a":1},null,null]}"#).is_err());
    }

    #[test]
    fn of_members_with_one_name_the_last_counts() {
        assert_eq!(read(r#"{"result":1,"result":2}"#), "result 2");
    }

    #[test]
    fn access_names_methods() {
        let access = |call: &str| Access { get: false, call: call.into() };
        assert!(access("*").may_call("x") && access("x").may_call("x") && access("a,x").may_call("x"));
        assert!(!access("").may_call("x") && !access("xy,ax").may_call("x"));
        let read: Access = Response::parse(br#"{"result":{"get":true,"call":null}}"#).into_result().unwrap();
        assert_eq!(read, Access { get: true, call: String::new() });
    }

    #[test]
    fn a_resource_is_a_model_or_a_collection() {
        let read = |text: &str| {
            Response::parse(format!("{{\"result\":{text}}}").as_bytes()).into_result::<Resource<Verbatim>>()
        };
        let model = read(r#"{"model":{"a":1},"query":""}"#).unwrap();
        assert_eq!((serde_json::to_string(&model).unwrap().as_str(), model.query), (r#"{"model":{"a":1}}"#, None));
        let collection = read(r#"{"collection":[1],"query":"q"}"#).unwrap();
        assert_eq!(serde_json::to_string(&collection).unwrap(), r#"{"collection":[1],"query":"q"}"#);
        for text in [
            "{}",
            "null",
            r#"{"model":{},"collection":[]}"#,
            r#"{"model":[]}"#,
            r#"{"model":{"a":{"action":"delete"}}}"#,
        ] {
            assert!(read(text).unwrap_err().is(crate::code::INTERNAL_ERROR), "{text}");
        }
    }

    #[test]
    fn pre_responses_are_no_json() {
        let ms = |timeout| Some(PreResponse { timeout: Some(Duration::from_millis(timeout)) });
        assert_eq!(PreResponse::parse(&encode_pre_response(Duration::from_secs(15))), ms(15_000));
        assert_eq!(PreResponse::parse(br#"other:"x" timeout:"7""#), ms(7));
        for text in [r#"timeout:"x""#, r#"timeout:"-1""#, "timeout:7", "x", "timeout:\""] {
            assert_eq!(PreResponse::parse(text.as_bytes()), Some(PreResponse { timeout: None }), "{text}");
        }
        assert_eq!(PreResponse::parse(b"{}"), None);
        assert_eq!(PreResponse::parse(b""), None);
    }
}
