//! Serves the metrics, on a listening socket of their own. Must not know what they are.

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, time::timeout};
use tower_http::set_header::SetResponseHeaderLayer;

use super::{counts::HttpCounts, places::ConnectionLimits, serve};
use crate::client_address::TrustedProxies;

/// How many connections may ask for metrics at a time: more than anybody needs.
const LIMITS: ConnectionLimits = ConnectionLimits { total: 16, per_address: None };

/// How long the metrics may take to be put together.
const DEADLINE: Duration = Duration::from_secs(2);

/// Serves at `/metrics` what `metrics` writes, which is of this type, until `stop`.
pub async fn serve_metrics<F, W>(
    listener: TcpListener,
    content_type: &'static str,
    metrics: F,
    stop: impl Future<Output = ()>,
) where
    F: Fn() -> W + Clone + Send + Sync + 'static,
    W: Future<Output = Result<String, fmt::Error>> + Send,
{
    let no_store = SetResponseHeaderLayer::overriding(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let scrape = move || async move {
        match timeout(DEADLINE, metrics()).await {
            Ok(Ok(text)) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
            Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "The gateway is busy.\n").into_response(),
        }
    };
    let router = Router::new().route("/metrics", get(scrape)).layer(no_store);
    let (proxies, counts) = (TrustedProxies::default(), Arc::new(HttpCounts::default()));
    serve::run(listener, router, serve::Doors { proxies, limits: LIMITS, counts, tls: None }, stop).await;
}
