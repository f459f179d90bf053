//! HTTP: the page, the health check, the HTTP API, and upgrades to WebSockets. Must not depend on
//! sessions or RES.

mod accept;
mod api;
mod counts;
mod encoding;
mod health;
mod jwks;
mod listen;
mod page;
mod places;
mod proxied;
mod scrape;
mod serve;
mod stream;
mod tls;

use std::{future::ready, net::SocketAddr, sync::Arc};

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use relogin_gateway::{Gateway, origin_of};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    client_address::{ClientAddress, FORWARDED_FOR, TrustedProxies},
    cookie::BrowserCookie,
    origins::{Origins, Refusal},
};
use page::PAGE;
use places::Place;

pub use counts::{HttpCounts, Refused};
pub use health::Health;
pub use listen::{ListenError, listen};
pub use places::ConnectionLimits;
pub use scrape::serve_metrics;
pub use tls::{Tls, TlsError, TlsFiles};

/// What is served.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where WebSockets go; none if there are no WebSockets.
    pub gateway: Option<Arc<Gateway>>,
    /// What `/healthz` checks.
    pub health: Health,
    /// The public keys of JWT relogin keys; none if keys are not JWTs.
    pub jwks: watch::Receiver<Option<String>>,
    /// Whether there is a page.
    pub has_page: bool,
    /// Whether the page names the demo's users.
    pub demo: bool,
    /// The cookie for a browser that asks for the page and has none yet; none if cookies are off.
    pub cookie: Option<BrowserCookie>,
    /// The paths of WebSockets.
    pub ws_paths: Vec<String>,
    /// Whether a header authentication may act by the cookies of HTTP requests.
    pub has_header_auth: bool,
    /// The proxies that may name their clients.
    pub proxies: TrustedProxies,
    /// Which hosts are the server's own, and whose pages may connect.
    pub origins: Arc<Origins>,
    /// TLS on the listening socket; none: plain.
    pub tls: Option<Arc<Tls>>,
    /// What is counted.
    pub counts: Arc<HttpCounts>,
}

const HEALTH: &str = "/healthz";

/// The methods of all that is served, WebSockets included.
const READ_ONLY: &str = "GET, HEAD";

/// Headers of every response.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    // Other pages get neither a handle on the page's window nor its files.
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "accelerometer=(), autoplay=(), browsing-topics=(), camera=(), clipboard-read=(), display-capture=(), \
         encrypted-media=(), fullscreen=(), geolocation=(), gyroscope=(), hid=(), idle-detection=(), magnetometer=(), \
         microphone=(), midi=(), payment=(), publickey-credentials-get=(), screen-wake-lock=(), serial=(), usb=(), \
         xr-spatial-tracking=()",
    ),
    // Except the page's files, which set their own.
    (header::CACHE_CONTROL, "no-store"),
];

/// Serves `site` until `stop`, and then until the responses in flight are sent. The gateway stops
/// its WebSockets. Connections are accepted within `limits`.
pub async fn run(listener: TcpListener, site: Site, limits: ConnectionLimits, stop: impl Future<Output = ()>) {
    let (proxies, counts, tls) = (site.proxies.clone(), Arc::clone(&site.counts), site.tls.clone());
    serve::run(listener, router(Arc::new(site)), serve::Doors { proxies, limits, counts, tls }, stop).await;
}

fn router(site: Arc<Site>) -> Router {
    let policy = PAGE.policy();
    // One layer for all headers, and one for all that comes before a resource: axum clones each
    // layer for each request.
    Router::new()
        .route(HEALTH, get(check_health))
        .route(jwks::PATH, get(jwks::serve))
        .fallback(serve)
        .layer(middleware::map_response(move |response| ready(add_headers(response, policy.clone()))))
        .layer(middleware::from_fn_with_state(Arc::clone(&site), admit))
        .with_state(site)
}

fn add_headers(mut response: Response, policy: HeaderValue) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// Determines who sends a request, for all handlers: they find a [`ClientAddress`] among its
/// extensions. Refuses what goes no further, and hands WebSockets to the gateway.
async fn admit(
    State(site): State<Arc<Site>>,
    Extension(peer): Extension<SocketAddr>,
    Extension(place): Extension<Arc<Place>>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = identify(&site, peer.into(), request.headers_mut());
    if place.name(client).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "Too many connections from this address. Try later.\n")
            .into_response();
    }
    request.extensions_mut().insert(client);
    if let Some(refusal) = refuse_host(&site, &request) {
        return refusal;
    }
    if request.uri().path() == "*" {
        return about_the_server(request.method());
    }
    // Elsewhere it is a request like others.
    let is_place = site.ws_paths.iter().any(|path| path == request.uri().path());
    let upgrade = request.headers().get(header::UPGRADE);
    let is_websocket = upgrade.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && request.version() >= Version::HTTP_11;
    match site.gateway.as_ref().filter(|_| is_place) {
        Some(gateway) if is_websocket => {
            let origin = origin_of(request.headers(), request.uri(), client.into());
            match site.origins.check_page(&origin) {
                Ok(()) => gateway.upgrade(request, origin).await,
                Err(refusal) => refused(&site.counts, refusal),
            }
        }
        // A proxy has passed on everything except what makes it a WebSocket request.
        Some(_) if request.headers().contains_key(header::SEC_WEBSOCKET_KEY) => {
            site.origins.note_lost_upgrade();
            site.counts.refuse(Refused::Upgrade);
            let headers = [(header::UPGRADE, "websocket"), (header::CONNECTION, "Upgrade")];
            (StatusCode::UPGRADE_REQUIRED, headers, LOST_UPGRADE).into_response()
        }
        _ => next.run(request).await,
    }
}

/// Who sends a request with these headers.
fn identify(site: &Site, peer: ClientAddress, headers: &mut HeaderMap) -> ClientAddress {
    if !site.proxies.is_empty() && !site.proxies.contain(peer.ip()) {
        // So that every handler can trust the one it finds.
        FORWARDED.iter().for_each(|name| drop(headers.remove(*name)));
    }
    // What is not text is not an address either.
    let forwarded = headers.get_all(FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or_default());
    site.proxies.client(peer, forwarded)
}

/// The headers in which proxies name their clients.
const FORWARDED: [&str; 6] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip"];

const LOST_UPGRADE: &str = "A WebSocket needs the header Upgrade, over HTTP/1.1. Proxies must pass it on.\n";

/// Requests for unknown hosts go no further, except for what everybody may read.
fn refuse_host(site: &Site, request: &Request) -> Option<Response> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().map(|host| String::from_utf8_lossy(host.as_bytes()));
    if hosts.next().is_some() {
        return Some((StatusCode::BAD_REQUEST, "The request has more than one Host.\n").into_response());
    }
    // Health checks and key verifiers come from inside, under any name.
    if matches!(request.uri().path(), HEALTH | jwks::PATH) {
        return None;
    }
    site.origins.check_host(host.as_deref()).err().map(|refusal| refused(&site.counts, refusal))
}

fn refused(counts: &HttpCounts, refusal: Refusal) -> Response {
    counts.refuse(match refusal {
        Refusal::Host => Refused::Host,
        Refusal::Page => Refused::Origin,
    });
    (refusal.status(), format!("{refusal}\n")).into_response()
}

/// Answers a request that names no resource but the server as a whole: only OPTIONS is supported
/// (RFC 9110, section 7.1).
fn about_the_server(method: &Method) -> Response {
    if *method == Method::OPTIONS {
        [(header::ALLOW, READ_ONLY)].into_response()
    } else {
        (StatusCode::BAD_REQUEST, "Only OPTIONS can be asked of the server as a whole.\n").into_response()
    }
}

async fn check_health(State(site): State<Arc<Site>>) -> Response {
    let (status, text) = match site.health.check().await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(unhealthy) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unhealthy}\n")),
    };
    (status, text).into_response()
}

/// Serves the HTTP API, and the page everywhere else.
async fn serve(
    State(site): State<Arc<Site>>,
    Extension(client): Extension<ClientAddress>,
    request: Request,
) -> Response {
    match &site.gateway {
        Some(gateway) if request.uri().path().starts_with(&gateway.api().path) => {
            api::respond(gateway, &site, client, request).await
        }
        _ if site.has_page => serve_page(&site, client, request),
        _ => (StatusCode::NOT_FOUND, "There is nothing here.\n").into_response(),
    }
}

fn serve_page(site: &Site, client: ClientAddress, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        let allow = [(header::ALLOW, READ_ONLY)];
        return (StatusCode::METHOD_NOT_ALLOWED, allow, "Only GET and HEAD are allowed here.\n").into_response();
    }
    let path = path(&parts.uri);
    let mut response = PAGE.serve(path, &parts.headers, site.demo);
    if let Some(cookie) = site.cookie.as_ref().filter(|_| shows_cookies(path, &parts.headers)) {
        // So that it exists when the page logs somebody in on its first connection.
        let origin = origin_of(&parts.headers, &parts.uri, client.into());
        if !cookie.is_there(&origin) {
            set_cookie(&mut response, cookie.offer(&origin));
            // It is for one browser only.
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
    response
}

/// Whether the browser would have sent its cookie with this request for the page or its first
/// script. It does not if a link on another site leads to the page, and then a new cookie would
/// replace the existing one. That page asks for its script with all its cookies.
fn shows_cookies(path: &str, headers: &HeaderMap) -> bool {
    let from = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    match from {
        Some(b"same-origin") => path == page::INDEX || page::is_start(path),
        Some(b"none" | b"same-site") => path == page::INDEX,
        _ => false,
    }
}

fn set_cookie(response: &mut Response, offer: Result<String, impl std::error::Error>) {
    match offer.map(|cookie| HeaderValue::from_str(&cookie)) {
        Ok(Ok(cookie)) => drop(response.headers_mut().append(header::SET_COOKIE, cookie)),
        Ok(Err(_)) => {}
        Err(error) => tracing::warn!(%error, "the system returned no random bits for a cookie"),
    }
}

fn path(uri: &Uri) -> &str {
    match uri.path().trim_start_matches('/') {
        "" => page::INDEX,
        path => path,
    }
}
