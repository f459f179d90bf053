//! Serves HTTP/1.1 on a listening socket: one task per connection, with a deadline for each wait.
//! Must not depend on what is served.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::watch};

use super::{
    accept::Acceptor,
    counts::HttpCounts,
    places::{ConnectionLimits, Places},
    proxied,
    stream::ClientStream,
};
use crate::client_address::TrustedProxies;

/// How long a client may take to send the header of a request.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// How large the header of a request may be, in bytes; a larger one is answered 431. Each auth
/// request of a WebSocket carries it.
const MAX_HEAD: usize = 16 << 10;

/// How long a client may take to read some of what is written to it.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// How long responses in flight may take when the server is stopped.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// Serves `router` until `stop`, and then until the responses in flight are sent. Each request has
/// the address of its client and the place of its connection among its extensions.
pub(super) async fn run(
    listener: TcpListener,
    router: Router,
    proxies: TrustedProxies,
    limits: ConnectionLimits,
    counts: Arc<HttpCounts>,
    stop: impl Future<Output = ()>,
) {
    let acceptor = Acceptor::new(listener, Arc::new(Places::new(limits, proxies.clone(), counts)));
    let proxies = Arc::new(proxies);
    // Each connection holds a receiver as long as it lives.
    let stopping = watch::Sender::new(false);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(MAX_HEAD);
    let mut stop = pin!(stop);
    loop {
        let (mut stream, remote, place) = tokio::select! {
            accepted = acceptor.next() => accepted,
            () = &mut stop => break,
        };
        let (http, router, proxies) = (http.clone(), router.clone(), Arc::clone(&proxies));
        let mut stopping = stopping.subscribe();
        tokio::spawn(async move {
            let client = tokio::select! {
                client = proxied::client_of(&mut stream, remote, &proxies, HEAD_DEADLINE) => client,
                () = async { stopping.changed().await.unwrap_or_default() } => return,
            };
            let client = match client {
                Ok(client) => client,
                Err(error) => return tracing::debug!(%remote, %error, "a trusted proxy sent no valid PROXY header"),
            };
            let place = Arc::new(place);
            let stream = ClientStream::new(stream, WRITE_DEADLINE, Some(Arc::clone(&place)));
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(client);
                request.extensions_mut().insert(Arc::clone(&place));
                hyper::service::Service::call(&TowerToHyperService::new(router.clone()), request)
            });
            let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = async { stopping.changed().await.unwrap_or_default() } => {
                    connection.as_mut().graceful_shutdown();
                    // What is not read or written by then never is.
                    tokio::time::timeout(STOP_DEADLINE, connection).await.unwrap_or(Ok(()))
                }
            };
            if let Err(error) = ended {
                tracing::debug!(error = &error as &dyn std::error::Error, "an HTTP connection failed");
            }
        });
    }
    drop(acceptor);
    stopping.send_replace(true);
    stopping.closed().await;
}
