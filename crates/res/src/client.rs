//! Messages between a client and a gateway: requests, responses, events.
//!
//! Both directions, both ways: a client writes what a gateway reads, and reads what a gateway
//! writes. [RES-Client protocol](https://resgate.io/docs/specification/res-client-protocol/).

use std::fmt;

mod events;
mod messages;
mod open_frame;

use relogin_json::{Lossy, Object};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, value::RawValue};
use thiserror::Error as ThisError;

pub use self::{
    events::{AddEvent, ChangeEvent, Event, EventKind, RemoveEvent, UnsubscribeEvent, encode_event},
    messages::{CallResult, Message, Response},
    open_frame::OpenFrame,
};
use crate::{Collection, Error, Map, Members, Model, Present, ResourceId, Value, Version, members, read, rid::is_part};

/// A request of a client.
/// [Requests](https://resgate.io/docs/specification/res-client-protocol/#requests). Its `Debug`
/// hides the params: they may be credentials.
#[derive(Clone)]
pub struct Request {
    /// Chosen by the client; comes back with the response.
    pub id: u64,
    /// What is asked, and of what.
    pub method: Method,
    /// JSON text, as the client wrote it; none if it wrote none.
    pub params: Option<Box<RawValue>>,
}

/// What a client asks for. [Request
/// types](https://resgate.io/docs/specification/res-client-protocol/#request-types).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Which protocol is spoken. Params: [`VersionParams`]; result: [`VersionResult`].
    Version,
    /// A direct subscription. Result: [`ResourceSet`].
    Subscribe(ResourceId),
    /// An end to direct subscriptions. Params: [`UnsubscribeParams`]; no result.
    Unsubscribe(ResourceId),
    /// The resource as it is now. Result: [`ResourceSet`].
    Get(ResourceId),
    /// A method of a resource. Result: [`CallResult`].
    Call(ResourceId, String),
    /// An authentication method of a resource: needs no access. Result: [`CallResult`].
    Auth(ResourceId, String),
    /// Deprecated form of a call of the method `new`. Result: [`CallResult::Resource`].
    New(ResourceId),
}

/// A frame of a client that is no request.
#[derive(Clone, Debug, PartialEq, ThisError)]
pub enum BadRequest {
    /// No JSON object, or no id to answer to.
    #[error("not a request")]
    Malformed,
    /// To be answered with this error.
    #[error("request {id}: {error}")]
    Refused {
        /// The request's id.
        id: u64,
        /// What is wrong with it.
        error: Error,
    },
}

/// Params of a version request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct VersionParams {
    /// What the client speaks.
    #[serde(default)]
    pub protocol: Option<String>,
}

/// Result of a version request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionResult {
    /// What the gateway speaks.
    pub protocol: String,
}

/// Params of an unsubscribe request. [Unsubscribe
/// request](https://resgate.io/docs/specification/res-client-protocol/#unsubscribe-request).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct UnsubscribeParams {
    /// How many direct subscriptions end; none means one.
    #[serde(default)]
    pub count: Option<u64>,
}

/// Resources that the client did not have yet. `M` and `C` are how models and collections are held;
/// a gateway holds them as JSON text. [Resource
/// set](https://resgate.io/docs/specification/res-client-protocol/#resource-set).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResourceSet<M = Model, C = Collection> {
    /// Models.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub models: Map<ResourceId, M>,
    /// Collections.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub collections: Map<ResourceId, C>,
    /// Resources that could not be had, and why.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub errors: Map<ResourceId, Error>,
}

impl Request {
    /// The frame that carries the request.
    #[must_use]
    pub fn encode(&self) -> String {
        encode_request(self.id, &self.method, self.params.as_ref().map(|params| params.get()))
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`BadRequest::Malformed`] for what gateways ignore, [`BadRequest::Refused`] for what they
    /// answer with an error.
    pub fn parse(frame: &str) -> Result<Self, BadRequest> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            id: u64,
            #[serde(borrow)]
            method: Option<Lossy<'a>>,
            #[serde(borrow, default)]
            params: Present<'a>,
        }
        let Wire { id, method, params } = read::object(frame.as_bytes()).map_err(|_| BadRequest::Malformed)?;
        match method.and_then(|method| Method::parse(&method.into_owned())) {
            Some(method) => Ok(Self { id, method, params: params.0.map(ToOwned::to_owned) }),
            None => Err(BadRequest::Refused { id, error: Error::invalid_request() }),
        }
    }

    /// Reads the params. No params, and `null`, are read as an empty object.
    ///
    /// # Errors
    /// `system.invalidParams` if they are not what the method takes.
    pub fn parse_params<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        let text = self.params.as_ref().map_or("null", |params| params.get());
        read::object(if text == "null" { b"{}" } else { text.as_bytes() }).map_err(|_| Error::invalid_params())
    }
}

impl Method {
    /// Reads a request method. `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some((kind, rest)) = text.split_once('.') else {
            return (text == "version").then_some(Self::Version);
        };
        let rid = |text| ResourceId::parse(text).ok();
        let with_method = || {
            let (resource, method) = rest.rsplit_once('.')?;
            is_part(method).then_some((rid(resource)?, method.to_owned()))
        };
        match kind {
            "subscribe" => rid(rest).map(Self::Subscribe),
            "unsubscribe" => rid(rest).map(Self::Unsubscribe),
            "get" => rid(rest).map(Self::Get),
            "call" => with_method().map(|(rid, method)| Self::Call(rid, method)),
            "auth" => with_method().map(|(rid, method)| Self::Auth(rid, method)),
            "new" => rid(rest).map(Self::New),
            _ => None,
        }
    }

    /// The resource that the request is about.
    #[must_use]
    pub fn resource(&self) -> Option<&ResourceId> {
        match self {
            Self::Version => None,
            Self::Subscribe(rid) | Self::Unsubscribe(rid) | Self::Get(rid) | Self::New(rid) => Some(rid),
            Self::Call(rid, _) | Self::Auth(rid, _) => Some(rid),
        }
    }

    /// The method as it stands in a request.
    #[must_use]
    pub fn text(&self) -> String {
        let (kind, method) = match self {
            Self::Version => ("version", None),
            Self::Subscribe(_) => ("subscribe", None),
            Self::Unsubscribe(_) => ("unsubscribe", None),
            Self::Get(_) => ("get", None),
            Self::Call(_, method) => ("call", Some(method.as_str())),
            Self::Auth(_, method) => ("auth", Some(method.as_str())),
            Self::New(_) => ("new", None),
        };
        let mut text = kind.to_owned();
        for part in self.resource().map(ResourceId::as_str).into_iter().chain(method) {
            text.push('.');
            text.push_str(part);
        }
        text
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("id", &self.id).field("method", &self.method).finish_non_exhaustive()
    }
}

impl VersionParams {
    /// The params of a client that speaks [`Version::CURRENT`].
    #[must_use]
    pub fn encode_current() -> String {
        let mut params = String::new();
        let mut object = Object::behind(&mut params);
        object.text("protocol", &Version::CURRENT.to_text());
        object.end();
        params
    }
}

impl VersionResult {
    /// Reads the result. `None` if it is not one.
    #[must_use]
    pub fn read(json: &Json) -> Option<Self> {
        json.get("protocol")?.as_str().map(|protocol| Self { protocol: protocol.to_owned() })
    }
}

impl UnsubscribeParams {
    /// The params as they are sent.
    #[must_use]
    pub fn encode(self) -> String {
        let mut params = String::new();
        let mut object = Object::behind(&mut params);
        if let Some(count) = self.count {
            object.number("count", count);
        }
        object.end();
        params
    }
}

impl<M, C> ResourceSet<M, C> {
    /// True if nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.models.is_empty() && self.collections.is_empty() && self.errors.is_empty()
    }
}

// By hand: a derived one would ask for `M: Default`.
impl<M, C> Default for ResourceSet<M, C> {
    fn default() -> Self {
        Self { models: Map::new(), collections: Map::new(), errors: Map::new() }
    }
}

impl ResourceSet {
    /// Reads a resource set. `None` if it is not one.
    #[must_use]
    pub fn read(json: Json) -> Option<Self> {
        Self::take_from(&mut members(json)?)
    }

    /// Reads the resource set that is among these members.
    fn take_from(members: &mut Members) -> Option<Self> {
        let mut named = |name| match members.get_mut(name).map(Json::take) {
            None => Some(Members::new()),
            Some(json) => crate::members(json),
        };
        Some(Self {
            models: resources(named("models")?, |json| {
                let values = crate::members(json)?.into_iter();
                values.map(|(name, json)| Some((name, Value::parse(json).ok()?))).collect()
            })?,
            collections: resources(named("collections")?, |json| {
                let Json::Array(values) = json else { return None };
                values.into_iter().map(|json| Value::parse(json).ok()).collect()
            })?,
            errors: resources(named("errors")?, Error::read)?,
        })
    }
}

fn resources<T>(members: Members, read: impl Fn(Json) -> Option<T>) -> Option<Map<ResourceId, T>> {
    members.into_iter().map(|(rid, json)| Some((ResourceId::parse(&rid).ok()?, read(json)?))).collect()
}

/// The frame of a request. `params`: JSON text.
#[must_use]
pub fn encode_request(id: u64, method: &Method, params: Option<&str>) -> String {
    let mut frame = String::new();
    let mut object = Object::behind(&mut frame);
    object.number("id", id);
    object.text("method", &method.text());
    if let Some(params) = params {
        object.member("params").push_str(params);
    }
    object.end();
    frame
}

/// The frame of a response that carries `result`; none leaves it out.
#[must_use]
pub fn encode_result(id: u64, result: Option<&impl Serialize>) -> String {
    #[derive(Serialize)]
    struct Wire<'a, T> {
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a T>,
        id: u64,
    }
    encode(&Wire { result, id })
}

/// The frame of a response that carries the result of a call, as since 1.2.0.
#[must_use]
pub fn encode_payload(id: u64, payload: &RawValue) -> String {
    #[derive(Serialize)]
    struct Wire<'a> {
        payload: &'a RawValue,
    }
    encode_result(id, Some(&Wire { payload }))
}

/// The frame of a response that carries a resource, as since 1.2.0.
#[must_use]
pub fn encode_resource<M: Serialize, C: Serialize>(id: u64, rid: &ResourceId, resources: &ResourceSet<M, C>) -> String {
    #[derive(Serialize)]
    struct Wire<'a, M, C> {
        rid: &'a ResourceId,
        #[serde(flatten)]
        resources: &'a ResourceSet<M, C>,
    }
    encode_result(id, Some(&Wire { rid, resources }))
}

/// The frame of a response that carries an error.
#[must_use]
pub fn encode_error(id: u64, error: &Error) -> String {
    #[derive(Serialize)]
    struct Wire<'a> {
        error: &'a Error,
        id: u64,
    }
    encode(&Wire { error, id })
}

/// The result of a version request of a gateway that speaks [`Version::CURRENT`].
#[must_use]
pub fn version_result() -> VersionResult {
    VersionResult { protocol: Version::CURRENT.to_string() }
}

fn encode(wire: &impl Serialize) -> String {
    serde_json::to_string(wire).expect("wire types have string keys and no serializer that fails")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn check(frame: &str, expected: &Expect) {
        let found = match Request::parse(frame) {
            Ok(request) => {
                assert_eq!(Request::parse(&request.encode()).unwrap().encode(), request.encode());
                request.encode()
            }
            Err(bad) => bad.to_string(),
        };
        expected.assert_eq(&found);
    }

    #[test]
    fn requests_are_read_and_written() {
        check(r#"{"id":1,"method":"version","x":1}"#, &expect![[r#"{"id":1,"method":"version"}"#]]);
        check(
            r#"{"method":"call.a.b?q=1.2.set","params": {"a" : 1},"id":18446744073709551615}"#,
            &expect![[r#"{"id":18446744073709551615,"method":"call.a.b?q=1.2.set","params":{"a" : 1}}"#]],
        );
        check(
            r#"{"id":3,"method":"auth.a.login","params":null}"#,
            &expect![[r#"{"id":3,"method":"auth.a.login","params":null}"#]],
        );
        check(r#"{"id":4,"method":"new.a\u002eb"}"#, &expect![[r#"{"id":4,"method":"new.a.b"}"#]]);
    }

    #[test]
    fn of_members_with_one_name_the_last_counts() {
        check(
            r#"{"id":1,"method":"x","params":1,"id":2,"method":"call.a.b","params":[2]}"#,
            &expect![[r#"{"id":2,"method":"call.a.b","params":[2]}"#]],
        );
    }

    #[test]
    fn frames_without_a_usable_id_are_malformed() {
        for id in ["\"1\"", "-1", "1.0", "1.5", "null", "[]", "18446744073709551616", "1e3"] {
            let frame = format!(r#"{{"id":{id},"method":"version"}}"#);
            assert_eq!(Request::parse(&frame).unwrap_err(), BadRequest::Malformed, "{frame}");
        }
        for frame in ["", "x", "[]", "{}", r#"{"method":"version"}"#, r#"{"id":1,"method":7}"#, r#"{"id":1"#] {
            assert_eq!(Request::parse(frame).unwrap_err(), BadRequest::Malformed, "{frame}");
        }
    }

    #[test]
    fn unknown_methods_are_refused() {
        for method in [
            "",
            "x",
            "version.",
            "version.a",
            "get",
            "get.",
            "get..a",
            "call.a",
            "call.a.",
            "call.a.b*",
            "a.b",
            "get.ä",
        ] {
            let frame = json!({"id": 7, "method": method}).to_string();
            let refused = BadRequest::Refused { id: 7, error: Error::invalid_request() };
            assert_eq!(Request::parse(&frame).unwrap_err(), refused, "{frame}");
        }
        for frame in [r#"{"id":7}"#, r#"{"id":7,"method":null}"#] {
            assert!(matches!(Request::parse(frame), Err(BadRequest::Refused { id: 7, .. })), "{frame}");
        }
    }

    #[test]
    fn params_may_be_left_out() {
        let params = |text: &str| Request::parse(text).unwrap().parse_params::<UnsubscribeParams>();
        let frame = |params: &str| format!(r#"{{"id":1,"method":"unsubscribe.a"{params}}}"#);
        for text in ["", r#","params":null"#, r#","params":{}"#, r#","params":{"count":null}"#] {
            assert_eq!(params(&frame(text)), Ok(UnsubscribeParams { count: None }), "{text}");
        }
        assert_eq!(params(&frame(r#","params":{"count":2}"#)), Ok(UnsubscribeParams { count: Some(2) }));
        for text in [r#","params":7"#, r#","params":[2]"#, r#","params":{"count":-1}"#, r#","params":{"count":"1"}"#] {
            assert_eq!(params(&frame(text)), Err(Error::invalid_params()), "{text}");
        }
    }

    #[test]
    fn responses_survive_the_wire() {
        let rid = ResourceId::parse("a.b").unwrap();
        let set = || ResourceSet::<_, Collection> {
            models: Map::from([(rid.clone(), Model::from([("x".into(), crate::Value::NULL)]))]),
            ..ResourceSet::default()
        };
        let outcome = |frame: &str| match Message::parse(frame) {
            Some(Message::Response(response)) => response.outcome,
            other => panic!("{other:?}"),
        };
        let frame = encode_result(1, Some(&set()));
        expect![[r#"{"result":{"models":{"a.b":{"x":null}}},"id":1}"#]].assert_eq(&frame);
        assert_eq!(ResourceSet::read(outcome(&frame).unwrap().unwrap()).unwrap(), set());

        let frame = encode_result(2, None::<&()>);
        expect![[r#"{"id":2}"#]].assert_eq(&frame);
        assert!(outcome(&frame).unwrap().is_none());

        let frame = encode_error(3, &Error::timeout());
        expect![[r#"{"error":{"code":"system.timeout","message":"Request timeout"},"id":3}"#]].assert_eq(&frame);
        assert_eq!(outcome(&frame).unwrap_err(), Error::timeout());

        let frame = encode_payload(4, &serde_json::value::to_raw_value(&()).unwrap());
        expect![[r#"{"result":{"payload":null},"id":4}"#]].assert_eq(&frame);
        let payload = CallResult::read(outcome(&frame).unwrap().unwrap()).unwrap();
        assert!(matches!(payload, CallResult::Payload(payload) if payload.is_null()));

        let frame = encode_resource(5, &rid, &set());
        expect![[r#"{"result":{"rid":"a.b","models":{"a.b":{"x":null}}},"id":5}"#]].assert_eq(&frame);
        let resource = CallResult::read(outcome(&frame).unwrap().unwrap()).unwrap();
        assert!(matches!(resource, CallResult::Resource(found, resources) if found == rid && resources == set()));
    }

    #[test]
    fn one_odd_value_loses_nothing_of_a_frame_but_itself() {
        let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
        let frame = format!(
            r#"{{"id":1,"result":{{"models":{{"a":{{"half":"\ud83d","huge":1e400,"deep":{{"data":{deep}}},"x":1}}}}}}}}"#
        );
        let Some(Message::Response(response)) = Message::parse(&frame) else { panic!("no response") };
        let set = ResourceSet::read(response.outcome.unwrap().unwrap()).unwrap();
        let model = set.models.get(&ResourceId::parse("a").unwrap()).unwrap();
        let value = |name: &str| model.get(name).and_then(Value::json).unwrap();
        assert_eq!((value("half"), value("huge"), value("x")), (&json!("\u{fffd}"), &json!(f64::MAX), &json!(1)));
        assert!(value("deep").is_array());
    }

    #[test]
    fn other_frames_are_no_messages() {
        for frame in ["", "{}", "[]", r#"{"event":"a"}"#, r#"{"event":".change"}"#, r#"{"id":"1"}"#] {
            assert!(Message::parse(frame).is_none(), "{frame}");
        }
    }

    #[test]
    fn debug_shows_no_credentials() {
        let request = Request::parse(r#"{"id":1,"method":"auth.a.b","params":"hunter2"}"#).unwrap();
        let response = Message::parse(r#"{"id":1,"result":"hunter2"}"#).unwrap();
        assert!(!format!("{request:?} {response:?}").contains("hunter2"));
    }
}
