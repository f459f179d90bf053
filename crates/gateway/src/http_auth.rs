//! HTTP requests that are answered by the header authentication alone. Must not know what that
//! does.

use std::time::Duration;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use relogin_bus::{Bus, Delivery, Mailbox, Tag};
use relogin_gateway_proto::Config;
use relogin_res::service::{self, AuthRequest, Origin, Payload, PreResponse, Subject};
use tokio::time::timeout;

use crate::responses::{merge, rejection};

/// Answers an HTTP request of the connection id `cid`, whose client is described by `origin`, as
/// the method `header_auth` (`resource.method`) says.
pub(crate) async fn authenticate(bus: &dyn Bus, header_auth: Option<&str>, cid: String, origin: Origin) -> Response {
    let unavailable = (StatusCode::SERVICE_UNAVAILABLE, "Nobody answers now.\n");
    let Some((name, method)) = header_auth.and_then(|method| method.rsplit_once('.')) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let request = AuthRequest { cid, token: None, params: None, query: None, origin, is_http: true };
    let subject = Subject::Auth(name.to_owned(), method.to_owned()).to_string();
    let Some(answer) = ask(bus, &subject, &request).await else { return unavailable.into_response() };
    match answer.meta {
        Some(meta) => match meta.direct_status() {
            Some(status) => {
                let error = answer.outcome.err().unwrap_or_else(|| service::Meta::error_of(status));
                let body = serde_json::to_vec(&error).unwrap_or_default();
                rejection(status, meta.into_header(), body.into())
            }
            None => {
                let mut response = StatusCode::NO_CONTENT.into_response();
                merge(response.headers_mut(), meta.into_header());
                response
            }
        },
        None if answer.outcome.is_ok() => StatusCode::NOT_FOUND.into_response(),
        None => unavailable.into_response(),
    }
}

/// The answer to a request; none if none arrives in time.
async fn ask(bus: &dyn Bus, subject: &str, request: &AuthRequest) -> Option<service::Response> {
    let (mailbox, mut deliveries) = Mailbox::new();
    let _guard = bus.ask(subject, request.encode().into(), &mailbox, Tag(0)).await.ok()?;
    let mut patience = Config::default().request_timeout;
    loop {
        match timeout(patience, deliveries.next()).await.ok()?? {
            Delivery::Reply { payload, .. } => match PreResponse::parse(&payload) {
                Some(more) => patience = more.timeout.unwrap_or(Duration::ZERO).max(patience),
                None => return Some(service::Response::parse(&payload)),
            },
            _ => return None,
        }
    }
}
