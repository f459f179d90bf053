//! Serves the public keys with which others verify JWT relogin keys. Must not know keys: it serves
//! a text.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::Site;

/// Where verifiers look for it by convention; no standard defines a path for JSON Web Key Sets.
pub(super) const PATH: &str = "/.well-known/jwks.json";

/// How long verifiers may cache it: a new secret becomes the first one at a restart or reload, and
/// whoever meets an unknown `kid` asks again.
const CACHING: &str = "public, max-age=300";

pub(super) async fn serve(State(site): State<Arc<Site>>) -> Response {
    let jwks = site.jwks.borrow().clone();
    match jwks {
        // Public keys are for everybody, including pages of other origins.
        Some(jwks) => (
            [
                (header::CONTENT_TYPE, "application/jwk-set+json"),
                (header::CACHE_CONTROL, CACHING),
                (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            ],
            jwks,
        )
            .into_response(),
        None => {
            (StatusCode::NOT_FOUND, "Relogin keys are not JSON Web Tokens here; see --key-format.\n").into_response()
        }
    }
}
