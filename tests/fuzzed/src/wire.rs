//! RES messages: reading never panics, and what was read is written as it was.

use relogin_res::{
    Pattern, ResourceId, Verbatim, Version,
    client::{CallResult, EventKind, Message, Request, ResourceSet},
    json,
    service::{
        AccessRequest, AuthRequest, CallRequest, EventSubject, GetRequest, Payload, PreResponse, Resource, Response,
        Subject, TokenEvent, encode_change, parse_change,
    },
};
use serde_json::{Value as Json, value::RawValue};

/// What clients and gateways say to each other.
pub(crate) fn client_message(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(Message::Event(event)) = Message::parse(text) {
        let _ = EventKind::read(&event.name, event.data);
    }
    if let Ok(request) = Request::parse(text) {
        let again = Request::parse(&request.encode()).unwrap();
        assert_eq!((request.id, request.method.to_string()), (again.id, again.method.to_string()));
        assert_eq!(request.encode(), again.encode());
    }
    json_text(text);
    if let Ok(rid) = ResourceId::parse(text) {
        assert_eq!(rid.as_str(), text);
        let _ = rid.with_cid("c1");
    }
    if let Some(version) = Version::parse(text) {
        assert_eq!(Version::parse(&version.to_string()), Some(version));
    }
}

/// What gateways and services say to each other.
pub(crate) fn service_message(input: &[u8]) {
    let response = Response::parse(input);
    let _ = Response::parse(&response.encode());
    let _ = PreResponse::parse(input);
    if let Some(changes) = parse_change(input) {
        let again = encode_change(&changes);
        // Names can come out equal where they were not, with half a pair in them.
        if !again.contains(&0xef) {
            assert_eq!(parse_change(&again).as_ref(), Some(&changes));
        }
    }
    if let Ok(resource) = response.clone().into_result::<Resource<Verbatim>>() {
        let again = Response::parse(&Response::result(&resource).encode());
        assert_eq!(again.into_result().as_ref(), Ok(&resource));
    }
    let _ = TokenEvent::<Box<RawValue>>::parse(input);
    let _ = AccessRequest::parse(input);
    let _ = GetRequest::parse(input);
    let _ = CallRequest::parse(input);
    let _ = AuthRequest::parse(input);
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = EventSubject::parse(text);
    if let Some(subject) = Subject::parse(text) {
        assert_eq!(subject.to_string(), text);
    }
    if let Some(pattern) = Pattern::parse(text) {
        assert_eq!(pattern.as_str(), text);
        let _ = pattern.matches(text);
    }
}

/// Our JSON reader agrees with serde_json, and what it gives is safe to read.
fn json_text(text: &str) {
    let found = json::parse(text);
    match serde_json::from_str(text) {
        Ok(expected) => assert_eq!(found, Some(expected)),
        // JSON, but more than serde_json holds. Half a surrogate pair is an error to it.
        Err(error) if ["recursion limit", "number out of range"].iter().any(|it| error.to_string().starts_with(it)) => {
        }
        Err(_) => assert!(found.is_none() || text.contains("\\u")),
    }
    let Some(found) = found else { return };
    assert_eq!(serde_json::from_str::<Json>(&json::to_text(&found)).ok().as_ref(), Some(&found));
    for name in ["change", "add", "remove", "unsubscribe"] {
        let _ = EventKind::read(name, Some(found.clone()));
    }
    let _ = ResourceSet::read(found.clone());
    let _ = CallResult::read(found);
}
