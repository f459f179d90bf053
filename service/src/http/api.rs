//! The HTTP API as pages of other origins may use it (CORS). Must not depend on what it answers.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use relogin_gateway::{Gateway, origin_of};
use relogin_res::service::Origin;

use super::{Site, counts::Refused};
use crate::{client_address::ClientAddress, origins::Origins};

/// Answers a request below the path of the API.
pub(super) async fn respond(
    gateway: &Gateway,
    Site { origins, has_header_auth, counts, .. }: &Site,
    client: ClientAddress,
    request: Request,
) -> Response {
    let origin = origin_of(request.headers(), request.uri(), client.into());
    let mut response = match origins.check_page(&origin) {
        // Says what is allowed, to whoever asks.
        _ if request.method() == Method::OPTIONS => preflight(gateway, request.headers()),
        Ok(()) => gateway.respond(request, origin.clone()).await,
        Err(_) => {
            counts.refuse(Refused::Origin);
            gateway.forbid()
        }
    };
    if origins.check_page(&origin).is_ok() {
        allow(response.headers_mut(), origins, &origin, *has_header_auth);
    }
    response
}

/// The answer to a question that browsers ask before a request of another origin.
fn preflight(gateway: &Gateway, headers: &HeaderMap) -> Response {
    let mut response = StatusCode::OK.into_response();
    let methods = HeaderValue::from_str(&gateway.api().methods.allowed());
    if let Ok(methods) = methods {
        response.headers_mut().insert(header::ALLOW, methods.clone());
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    let asked: Vec<_> =
        headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|it| it.to_str().ok()).collect();
    if let Some(allowed) = (!asked.is_empty()).then(|| HeaderValue::from_str(&asked.join(", "))).and_then(Result::ok) {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    response
}

/// Lets the page that has sent the request read the response: any page, if all are allowed, and
/// with its visitor's cookies only a page that is allowed by name.
fn allow(headers: &mut HeaderMap, origins: &Origins, origin: &Origin, has_cookies: bool) {
    let page = origin.header.get("Origin").and_then(|page| HeaderValue::from_str(page.first()?).ok());
    let page = page.filter(|_| origins.may_use_cookies(origin));
    if let Some(page) = page {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if has_cookies {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    } else if origins.allow_all() {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
}
