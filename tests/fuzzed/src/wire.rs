//! RES messages: reading never panics, and what was read is written as it was.

use relogin_res::{
    Pattern, ResourceId, Version,
    client::{CallResult, Message, Request},
    service::{
        AccessRequest, AuthRequest, CallRequest, EventSubject, GetRequest, Payload, PreResponse, Response, Subject,
        TokenEvent, parse_change,
    },
};
use serde_json::value::RawValue;

/// What clients and gateways say to each other.
pub(crate) fn client_message(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = Message::parse(text);
    if let Ok(request) = Request::parse(text) {
        let again = Request::parse(&request.encode()).unwrap();
        assert_eq!((request.id, request.method.to_string()), (again.id, again.method.to_string()));
        assert_eq!(request.encode(), again.encode());
    }
    if let Ok(result) = RawValue::from_string(text.to_owned()) {
        let _ = CallResult::parse(&result);
    }
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
    let _ = parse_change(input);
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
