//! Events on their way from a service to gateways.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{Payload, encode};
use crate::{
    Change, Error, Value, Verbatim,
    delta::Changes,
    null_is_default,
    read::{self, RawMembers},
    rid::{is_name, is_part},
};

/// The subject of [`Reset`].
pub const SYSTEM_RESET: &str = "system.reset";

/// The subject of [`TokenReset`].
pub const SYSTEM_TOKEN_RESET: &str = "system.tokenReset";

/// Payload of `conn.<cid>.token`: the connection's access token from now on. `T` is how the token
/// is held. [Connection token
/// event](https://resgate.io/docs/specification/res-service-protocol/#connection-token-event).
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenEvent<T = Box<RawValue>> {
    /// The token; none takes it away.
    pub token: Option<T>,
    /// What a [`TokenReset`] names the token by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tid: Option<String>,
}

/// Payload of `system.reset`: what gateways can no longer trust their copy of. [System reset
/// event](https://resgate.io/docs/specification/res-service-protocol/#system-reset-event).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// Patterns of resources to be fetched again.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Patterns of resources whose access is to be asked again.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<String>,
}

/// Payload of `system.tokenReset`: every connection with such a token is to authenticate again.
/// [System token reset
/// event](https://resgate.io/docs/specification/res-service-protocol/#system-token-reset-event).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReset {
    /// Token ids.
    pub tids: Vec<String>,
    /// Where gateways send the auth requests.
    pub subject: String,
}

/// Payload of an add event. [Collection add
/// event](https://resgate.io/docs/specification/res-service-protocol/#collection-add-event).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Add<V = Value> {
    /// Where the value is put in; left out, as services do that leave out zeros, at the beginning.
    #[serde(default, deserialize_with = "null_is_default")]
    pub idx: usize,
    /// The value.
    pub value: V,
}

/// Payload of a remove event. [Collection remove
/// event](https://resgate.io/docs/specification/res-service-protocol/#collection-remove-event).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remove {
    /// Where the value was, as in [`Add::idx`].
    #[serde(default, deserialize_with = "null_is_default")]
    pub idx: usize,
}

/// The subject of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSubject<'a> {
    /// On a resource: its name, and the event's.
    Resource(&'a str, &'a str),
    /// A connection's token: its cid.
    Token(&'a str),
    /// [`SYSTEM_RESET`].
    Reset,
    /// [`SYSTEM_TOKEN_RESET`].
    TokenReset,
}

impl<'a> EventSubject<'a> {
    /// Reads a subject. `None` if it is not one of an event that RES knows.
    #[must_use]
    pub fn parse(subject: &'a str) -> Option<Self> {
        match subject {
            SYSTEM_RESET => return Some(Self::Reset),
            SYSTEM_TOKEN_RESET => return Some(Self::TokenReset),
            _ => {}
        }
        let (first, last) = subject.rsplit_once('.')?;
        match first.split_once('.')? {
            ("event", name) if is_name(name) && is_part(last) => Some(Self::Resource(name, last)),
            ("conn", cid) if is_part(cid) && last == "token" => Some(Self::Token(cid)),
            _ => None,
        }
    }
}

/// The subject of the event `event` on the resource `name`.
#[must_use]
pub fn event_subject(name: &str, event: &str) -> String {
    ["event.", name, ".", event].concat()
}

/// The subject of [`TokenEvent`] for the connection `cid`.
#[must_use]
pub fn token_subject(cid: &str) -> String {
    ["conn.", cid, ".token"].concat()
}

/// The payload of a change event: [`Changes`], or a model of primitive values all of which are to
/// be set. [Model change
/// event](https://resgate.io/docs/specification/res-service-protocol/#model-change-event).
#[must_use]
pub fn encode_change(values: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Wire<'a, T> {
        values: &'a T,
    }
    encode(&Wire { values })
}

/// Reads the payload of a change event, of RES 1.0 as well, where the members stand bare. `None` if
/// it is none.
#[must_use]
pub fn parse_change(payload: &[u8]) -> Option<Changes<Verbatim>> {
    let members = RawMembers::parse(std::str::from_utf8(payload).ok()?).ok()?;
    let is_change = |values: &RawValue| members.len() == 1 || Change::parse_text(values).is_err();
    let members = match members.get("values") {
        Some(values) if values.get().starts_with('{') && is_change(values) => RawMembers::parse(values.get()).ok()?,
        _ => members,
    };
    members.into_iter().map(|(name, text)| Some((name, Change::parse_text(text).ok()?))).collect()
}

impl<T: Serialize + DeserializeOwned> Payload for TokenEvent<T> {}
impl Payload for Reset {}
impl Payload for TokenReset {}
impl<V: Serialize + DeserializeOwned> Payload for Add<V> {}

impl Payload for Remove {
    /// No payload is no removal: every member may be left out, but not the object.
    fn parse(payload: &[u8]) -> Result<Self, Error> {
        read::object(payload).map_err(|_| Error::invalid_params())
    }
}

impl<T> fmt::Debug for TokenEvent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEvent").field("tid", &self.tid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    #[test]
    fn subjects_of_events_are_read() {
        for (subject, expected) in [
            ("event.a.b.change", Some(EventSubject::Resource("a.b", "change"))),
            ("event.a.b", Some(EventSubject::Resource("a", "b"))),
            ("conn.c1.token", Some(EventSubject::Token("c1"))),
            ("system.reset", Some(EventSubject::Reset)),
            ("system.tokenReset", Some(EventSubject::TokenReset)),
            ("event.a", None),
            ("event.a..b", None),
            ("conn.c1.other", None),
            ("conn.c1.x.token", None),
            ("system.other", None),
            ("", None),
        ] {
            assert_eq!(EventSubject::parse(subject), expected, "{subject}");
        }
        assert_eq!(event_subject("a.b", "change"), "event.a.b.change");
        assert_eq!(token_subject("c1"), "conn.c1.token");
    }

    #[test]
    fn changes_are_read_in_both_forms() {
        let read = |text: &str| parse_change(text.as_bytes()).map(|changes| serde_json::to_string(&changes).unwrap());
        for (text, expected) in [
            (r#"{"values":{"a":1,"b":{"action":"delete"}}}"#, Some(r#"{"a":1,"b":{"action":"delete"}}"#)),
            (r#"{"values":{"a":1},"of":"later"}"#, Some(r#"{"a":1}"#)),
            (r#"{"values":{}}"#, Some("{}")),
            (r#"{"a":1}"#, Some(r#"{"a":1}"#)),
            (r#"{"values":{"rid":"a"},"b":2}"#, Some(r#"{"b":2,"values":{"rid":"a"}}"#)),
            (r#"{"values":{"a":[]}}"#, None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(read(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn an_index_that_is_left_out_is_zero() {
        let removed = |text: &str| Remove::parse(text.as_bytes()).ok().map(|remove| remove.idx);
        for (text, expected) in [
            (r#"{"idx":2}"#, Some(2)),
            ("{}", Some(0)),
            (r#"{"idx":null}"#, Some(0)),
            (r#"{"idx":-1}"#, None),
            ("[]", None),
            ("[1]", None),
            ("", None),
        ] {
            assert_eq!(removed(text), expected, "{text}");
        }
        let added = |text: &str| Add::<Json>::parse(text.as_bytes()).ok().map(|add| add.idx);
        assert_eq!((added(r#"{"value":1}"#), added(r#"{"idx":1}"#), added("")), (Some(0), None, None));
    }

    #[test]
    fn a_reset_may_name_one_kind_of_pattern_only() {
        let reset = Reset::parse(br#"{"resources":null,"access":["a.>"]}"#).unwrap();
        assert_eq!(reset, Reset { resources: vec![], access: vec!["a.>".into()] });
        assert_eq!(reset.encode(), br#"{"access":["a.>"]}"#);
    }

    #[test]
    fn tokens_are_set_and_taken_away() {
        let read = |text: &str| TokenEvent::<Json>::parse(text.as_bytes()).unwrap();
        assert_eq!(read(r#"{"token":{"role":"x"},"tid":"7"}"#).tid.as_deref(), Some("7"));
        assert!(read(r#"{"token":null}"#).token.is_none());
        let event = TokenEvent::<()> { token: None, tid: None };
        assert_eq!(event.encode(), br#"{"token":null}"#);
    }
}
