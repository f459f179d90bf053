//! HTTP responses to requests for a WebSocket. Must not know the state machine.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use relogin_res::service::Headers;
use tokio_tungstenite::tungstenite::{self, error::ProtocolError};

/// The response to a request for a WebSocket that is not a valid handshake. Always states the
/// supported version.
pub(crate) fn no_handshake(error: &tungstenite::Error) -> Response {
    let mut response = format!("{error}\n").into_response();
    let (status, more): (_, &[_]) = match error {
        tungstenite::Error::Protocol(ProtocolError::WrongHttpMethod) => {
            (StatusCode::METHOD_NOT_ALLOWED, &[(header::ALLOW, "GET")])
        }
        // RFC 6455, section 4.2.2.
        tungstenite::Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => {
            (StatusCode::UPGRADE_REQUIRED, &[(header::UPGRADE, "websocket"), (header::CONNECTION, "Upgrade")])
        }
        _ => (StatusCode::BAD_REQUEST, &[]),
    };
    *response.status_mut() = status;
    for (name, value) in [(header::SEC_WEBSOCKET_VERSION, "13")].iter().chain(more) {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The response to a request for a WebSocket that is refused.
pub(crate) fn rejection(status: u16, header: Headers, body: Bytes) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    let mut response = if body.is_empty() { status.into_response() } else { (status, json, body).into_response() };
    merge(response.headers_mut(), header);
    response
}

/// Adds the headers that a service sets to a response: cookies are added to those that are there,
/// everything else replaces what is there. Invalid headers are left out.
pub(crate) fn merge(into: &mut HeaderMap, header: Headers) {
    for (name, values) in header {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        if name != header::SET_COOKIE {
            into.remove(&name);
        }
        for value in values.iter().filter_map(|value| HeaderValue::from_str(value).ok()) {
            into.append(&name, value);
        }
    }
}
