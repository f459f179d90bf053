//! Serves HTTP/1.1 on a listening socket: one task per connection, with a deadline for each wait.
//! Must not depend on what is served.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{
    accept::Acceptor,
    counts::HttpCounts,
    places::{ConnectionLimits, Place, Places},
    proxied,
    stream::ClientStream,
    tls::Tls,
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

/// Who gets in, and how.
pub(super) struct Doors {
    /// The proxies that may name their clients.
    pub(super) proxies: TrustedProxies,
    pub(super) limits: ConnectionLimits,
    pub(super) counts: Arc<HttpCounts>,
    /// TLS; none: plain.
    pub(super) tls: Option<Arc<Tls>>,
}

/// What all connections are served with.
#[derive(Clone)]
struct Server {
    http: http1::Builder,
    router: Router,
    proxies: TrustedProxies,
    tls: Option<Arc<Tls>>,
}

/// Serves `router` until `stop`, and then until the responses in flight are sent. Each request has
/// the address of its client and the place of its connection among its extensions.
pub(super) async fn run(listener: TcpListener, router: Router, doors: Doors, stop: impl Future<Output = ()>) {
    let Doors { proxies, limits, counts, tls } = doors;
    let places = Arc::new(Places::new(limits, proxies.clone(), counts));
    let acceptor = Acceptor::new(listener, places, tls.is_some());
    // Each connection holds a receiver as long as it lives.
    let stopping = watch::Sender::new(false);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(MAX_HEAD);
    let server = Server { http, router, proxies, tls };
    let mut stop = pin!(stop);
    loop {
        let (stream, remote, place) = tokio::select! {
            accepted = acceptor.next() => accepted,
            () = &mut stop => break,
        };
        tokio::spawn(server.clone().serve(stream, remote, place, stopping.subscribe()));
    }
    drop(acceptor);
    stopping.send_replace(true);
    stopping.closed().await;
}

impl Server {
    /// Serves a connection to its end.
    async fn serve(self, mut stream: TcpStream, remote: SocketAddr, place: Place, mut stopping: watch::Receiver<bool>) {
        let client = tokio::select! {
            client = proxied::client_of(&mut stream, remote, &self.proxies, HEAD_DEADLINE) => client,
            () = stopped(&mut stopping) => return,
        };
        let client = match client {
            Ok(client) => client,
            Err(error) => return tracing::debug!(%remote, %error, "a trusted proxy sent no valid PROXY header"),
        };
        let place = Arc::new(place);
        let stream = ClientStream::new(stream, WRITE_DEADLINE, Some(Arc::clone(&place)));
        let Some(tls) = &self.tls else { return self.serve_http(stream, client, place, stopping).await };
        let stream = tokio::select! {
            stream = tls.accept(stream) => stream,
            () = stopped(&mut stopping) => return,
        };
        match stream {
            Ok(stream) => self.serve_http(stream, client, place, stopping).await,
            Err(error) => tracing::debug!(%client, %error, "a TLS handshake failed"),
        }
    }

    async fn serve_http<S>(&self, stream: S, client: SocketAddr, place: Arc<Place>, mut stopping: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(client);
            request.extensions_mut().insert(Arc::clone(&place));
            hyper::service::Service::call(&TowerToHyperService::new(self.router.clone()), request)
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service).with_upgrades());
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = stopped(&mut stopping) => {
                connection.as_mut().graceful_shutdown();
                // What is not read or written by then never is.
                tokio::time::timeout(STOP_DEADLINE, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error = &error as &dyn std::error::Error, "an HTTP connection failed");
        }
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    stopping.changed().await.unwrap_or_default();
}
