//! Messages between gateways and services over the messaging system: requests, responses, events.
//!
//! Both directions: a gateway writes requests and reads responses, a service reads requests and
//! writes responses. [RES-Service
//! protocol](https://resgate.io/docs/specification/res-service-protocol/).

use std::{collections::BTreeMap, fmt};

mod events;
mod meta;
mod query;
mod response;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::{
    events::{
        Add, EventSubject, Remove, Reset, SYSTEM_RESET, SYSTEM_TOKEN_RESET, TokenEvent, TokenReset, encode_change,
        event_subject, parse_change, token_subject,
    },
    meta::{Meta, canonical_header},
    query::{QueriedEvent, QueryEvent, QueryRequest, QueryResult},
    response::{Access, Content, InvalidResponse, Outcome, PreResponse, Resource, Response, encode_pre_response},
};
use crate::{
    Error, read,
    rid::{is_name, is_part},
};

/// What a request is sent to.
/// [Request subject](https://resgate.io/docs/specification/res-service-protocol/#request-subject).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// May a connection use the resource? Payload: [`AccessRequest`]; result: [`Access`].
    Access(String),
    /// The resource. Payload: [`GetRequest`]; result: [`Resource`].
    Get(String),
    /// A method of the resource. Payload: [`CallRequest`].
    Call(String, String),
    /// An authentication method of the resource. Payload: [`AuthRequest`].
    Auth(String, String),
}

/// Payload of an access request.
/// [Access request](https://resgate.io/docs/specification/res-service-protocol/#access-request).
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessRequest {
    /// The connection that asks.
    pub cid: String,
    /// JSON text of its token; `null` goes out for none.
    #[serde(default)]
    pub token: Option<Box<RawValue>>,
    /// The query part of the resource id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// True if the answer's meta may carry status and headers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_http: bool,
}

/// Payload of a get request.
/// [Get request](https://resgate.io/docs/specification/res-service-protocol/#get-request).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRequest {
    /// The query part of the resource id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// Payload of a call request.
/// [Call request](https://resgate.io/docs/specification/res-service-protocol/#call-request).
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallRequest {
    /// The connection that calls.
    pub cid: String,
    /// JSON text of its token; `null` goes out for none.
    #[serde(default)]
    pub token: Option<Box<RawValue>>,
    /// JSON text of the method's params.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Box<RawValue>>,
    /// The query part of the resource id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// True if the answer's meta may carry status and headers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_http: bool,
}

/// Payload of an auth request.
/// [Auth request](https://resgate.io/docs/specification/res-service-protocol/#auth-request).
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "AuthMembers")]
pub struct AuthRequest {
    /// The connection that authenticates.
    pub cid: String,
    /// JSON text of its token; `null` goes out for none.
    pub token: Option<Box<RawValue>>,
    /// JSON text of the method's params.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Box<RawValue>>,
    /// The query part of the resource id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// What the connection was opened with.
    #[serde(flatten)]
    pub origin: Origin,
    /// True if the answer's meta may carry status and headers.
    #[serde(skip_serializing_if = "is_false")]
    pub is_http: bool,
}

/// The members of an auth request, side by side: serde would keep all that it flattens until it has
/// read the rest, which takes twice as long.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthMembers {
    cid: String,
    token: Option<Box<RawValue>>,
    params: Option<Box<RawValue>>,
    query: Option<String>,
    #[serde(default)]
    header: Headers,
    host: Option<String>,
    remote_addr: Option<String>,
    uri: Option<String>,
    #[serde(default)]
    is_http: bool,
}

impl From<AuthMembers> for AuthRequest {
    fn from(members: AuthMembers) -> Self {
        let AuthMembers { cid, token, params, query, header, host, remote_addr, uri, is_http } = members;
        Self { cid, token, params, query, origin: Origin { header, host, remote_addr, uri }, is_http }
    }
}

/// Headers by their canonical names (`User-Agent`).
pub type Headers = BTreeMap<String, Vec<String>>;

/// What a connection to a gateway was opened with; goes out with each of its auth requests.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The HTTP request's headers.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub header: Headers,
    /// The host that the client asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The client's address, `ip:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_addr: Option<String>,
    /// The HTTP request's target, unmodified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

impl Subject {
    /// Reads a subject. `None` if it is not one of a request.
    #[must_use]
    pub fn parse(subject: &str) -> Option<Self> {
        let (kind, rest) = subject.split_once('.')?;
        let name = || is_name(rest).then(|| rest.to_owned());
        let with_method = || {
            let (name, method) = rest.rsplit_once('.')?;
            (is_name(name) && is_part(method)).then(|| (name.to_owned(), method.to_owned()))
        };
        match kind {
            "access" => name().map(Self::Access),
            "get" => name().map(Self::Get),
            "call" => with_method().map(|(name, method)| Self::Call(name, method)),
            "auth" => with_method().map(|(name, method)| Self::Auth(name, method)),
            _ => None,
        }
    }

    /// The subject as it is on the bus.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Access(name) => ["access.", name].concat(),
            Self::Get(name) => ["get.", name].concat(),
            Self::Call(name, method) => ["call.", name, ".", method].concat(),
            Self::Auth(name, method) => ["auth.", name, ".", method].concat(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

/// A payload of a request or an event: JSON bytes on the bus. An empty payload is read as an empty
/// object.
pub trait Payload: Serialize + for<'a> Deserialize<'a> {
    /// The bytes to send.
    #[must_use]
    fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// `system.invalidParams` if it is not such a payload.
    fn parse(payload: &[u8]) -> Result<Self, Error> {
        let payload = if payload.is_empty() { b"{}" } else { payload };
        read::object(payload).map_err(|_| Error::invalid_params())
    }
}

impl Origin {
    /// Adds a header of the HTTP request, whatever the case its name is written in. `Host` is none
    /// of them.
    pub fn push_header(&mut self, name: &str, value: impl Into<String>) {
        let canonical = canonical_header(name);
        if canonical == "Host" {
            self.host = Some(value.into());
        } else {
            self.header.entry(canonical).or_default().push(value.into());
        }
    }
}

impl Payload for AccessRequest {}
impl Payload for GetRequest {}
impl Payload for CallRequest {}
impl Payload for AuthRequest {}

/// [`Origin`] as it goes out with each auth request of a connection: encoded once.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedOrigin(
    /// The members of the JSON object, a comma before each.
    Box<str>,
);

impl EncodedOrigin {
    /// Encodes it.
    #[must_use]
    pub fn new(origin: &Origin) -> Self {
        let object = String::from_utf8(encode(origin)).expect("JSON is UTF-8");
        let members = &object[1..object.len() - 1];
        Self(if members.is_empty() { "".into() } else { [",", members].concat().into() })
    }

    /// How many bytes it adds to a payload.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether it is empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The payload of an [`AuthRequest`] that is `request` for the rest.
    #[must_use]
    pub fn encode(&self, mut request: CallRequest) -> Vec<u8> {
        // The last member of both.
        let tail = if std::mem::take(&mut request.is_http) { r#","isHttp":true}"# } else { "}" };
        let mut payload = Vec::with_capacity(256 + self.0.len());
        serde_json::to_writer(&mut payload, &request).expect("wire types have no serializer that fails");
        payload.pop();
        payload.extend_from_slice(self.0.as_bytes());
        payload.extend_from_slice(tail.as_bytes());
        payload
    }
}

impl fmt::Debug for EncodedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may be credentials.
        write!(f, "EncodedOrigin({} bytes)", self.0.len())
    }
}

/// Reads the params of a method that takes an object. No params, and `null`, are read as an empty
/// one; one that has a member twice is refused, because the params may be credentials.
///
/// # Errors
/// `system.invalidParams` if they are not what the method takes.
pub fn parse_params<'a, T: Deserialize<'a>>(params: Option<&'a RawValue>) -> Result<T, Error> {
    let text = params.map_or("null", RawValue::get);
    read::credentials(if text == "null" { b"{}" } else { text.as_bytes() }).map_err(|_| Error::invalid_params())
}

macro_rules! opaque_debug {
    ($name:ident: $($field:ident),*) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Token, params and headers may be credentials.
                f.debug_struct(stringify!($name))$(.field(stringify!($field), &self.$field))*.finish_non_exhaustive()
            }
        }
    };
}

opaque_debug!(AccessRequest: cid, query, is_http);
opaque_debug!(CallRequest: cid, query, is_http);
opaque_debug!(AuthRequest: cid, query, is_http, origin);
opaque_debug!(Origin: host, remote_addr, uri);

fn is_false(value: &bool) -> bool {
    !value
}

pub(crate) fn encode(wire: &impl Serialize) -> Vec<u8> {
    // Most messages fit in, so that none of them is moved while it grows.
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, wire).expect("wire types have string keys and no serializer that fails");
    bytes
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Params {
        count: u8,
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn check(payload: &impl Payload, expected: &Expect) {
        expected.assert_eq(std::str::from_utf8(&payload.encode()).unwrap());
    }

    #[test]
    fn subjects_are_read_and_written() {
        for subject in ["access.a.b", "get.a", "call.a.b.set", "auth.session.login"] {
            assert_eq!(Subject::parse(subject).unwrap().to_string(), subject);
        }
        assert_eq!(Subject::parse("call.a.b.set"), Some(Subject::Call("a.b".into(), "set".into())));
        for subject in ["", "get", "get.", "call.a", "call..a", "auth.a.", "event.a.b", "get.a..b"] {
            assert_eq!(Subject::parse(subject), None, "{subject}");
        }
    }

    #[test]
    fn requests_carry_a_token_always_and_the_rest_if_there_is_any() {
        let (cid, query) = (String::from("c1"), None);
        let access = AccessRequest { cid: cid.clone(), token: None, query: query.clone(), is_http: false };
        check(&access, &expect![[r#"{"cid":"c1","token":null}"#]]);
        check(
            &AccessRequest { token: Some(raw(r#"{"sid": "s"}"#)), query: Some("a=b".into()), is_http: true, ..access },
            &expect![[r#"{"cid":"c1","token":{"sid": "s"},"query":"a=b","isHttp":true}"#]],
        );
        check(&GetRequest::default(), &expect!["{}"]);
        check(
            &CallRequest { cid: cid.clone(), token: None, params: Some(raw("null")), query, is_http: false },
            &expect![[r#"{"cid":"c1","token":null,"params":null}"#]],
        );
        let mut origin = Origin { uri: Some("/ws".into()), remote_addr: Some("[::1]:7".into()), ..Origin::default() };
        origin.push_header("user-agent", "x");
        origin.push_header("host", "example.org");
        let auth =
            AuthRequest { cid, token: None, params: Some(raw(r#"{ "count":1}"#)), query: None, origin, is_http: false };
        check(
            &auth,
            &expect![[
                r#"{"cid":"c1","token":null,"params":{ "count":1},"header":{"User-Agent":["x"]},"host":"example.org","remoteAddr":"[::1]:7","uri":"/ws"}"#
            ]],
        );
        for origin in [Origin::default(), auth.origin.clone()] {
            for is_http in [false, true] {
                let auth = AuthRequest { origin: origin.clone(), is_http, query: Some("a=b".into()), ..auth.clone() };
                let AuthRequest { cid, token, params, query, .. } = auth.clone();
                let call = CallRequest { cid, token, params, query, is_http };
                assert_eq!(EncodedOrigin::new(&origin).encode(call), auth.encode());
            }
        }
        let read = AuthRequest::parse(&auth.encode()).unwrap();
        assert_eq!(read.origin, auth.origin);
        assert_eq!(parse_params(read.params.as_deref()), Ok(Params { count: 1 }));
    }

    #[test]
    fn requests_are_read_leniently_but_never_guessed() {
        let read = AuthRequest::parse(br#"{"cid":"c","token":null,"more":[1],"header":{}}"#).unwrap();
        assert!(read.token.is_none() && read.params.is_none());
        assert_eq!(GetRequest::parse(b""), Ok(GetRequest::default()));
        for payload in ["", "{}", r#"["c"]"#, "x", r#"{"cid":7}"#, r#"{"cid":"c","query":7}"#, "\u{0}"] {
            assert_eq!(AccessRequest::parse(payload.as_bytes()).unwrap_err(), Error::invalid_params(), "{payload}");
        }
        for params in
            [None, Some("null"), Some("[1]"), Some("1"), Some(r#"{"count":-1}"#), Some(r#"{"count":1,"count":2}"#)]
        {
            let params = params.map(raw);
            assert_eq!(parse_params::<Params>(params.as_deref()), Err(Error::invalid_params()), "{params:?}");
        }
    }

    #[test]
    fn debug_shows_no_credentials() {
        let secret = || Some(raw(r#""hunter2""#));
        let mut origin = Origin::default();
        origin.push_header("cookie", "hunter2");
        let auth =
            AuthRequest { cid: "c".into(), token: secret(), params: secret(), query: None, origin, is_http: false };
        assert!(!format!("{auth:?}").contains("hunter2"));
    }
}
