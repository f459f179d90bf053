//! The running gateway: opens WebSockets, and stops. Must not depend on the RES protocol beyond
//! what it gets of a request.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    http::{Request, StatusCode, header::SEC_WEBSOCKET_EXTENSIONS},
    response::{IntoResponse, Response},
};
use hyper_util::rt::TokioIo;
use rand::RngExt;
use relogin_bus::Bus;
use relogin_gateway_proto::{Config, ConnectionKey};
use relogin_res::{Error, service::Origin};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use crate::{
    counts::{Counts, Refusal, Stats},
    deflate::Deflate,
    driver,
    event::{Event, Verdict},
    extensions,
    http_api::{self, HttpApi},
    limits::Limits,
    memory::Memory,
    responses::{merge, no_handshake, rejection},
    socket,
};

/// A running gateway.
pub struct Gateway {
    driver: mpsc::UnboundedSender<Event>,
    /// True once it is to stop. Every task of the gateway holds a receiver as long as it lives.
    stopping: watch::Sender<bool>,
    /// True once no WebSocket is opened any more.
    draining: AtomicBool,
    last_key: AtomicU64,
    api: HttpApi,
    limits: Arc<Limits>,
    memory: Arc<Memory>,
    /// What is held for HTTP requests.
    http_memory: Arc<Memory>,
    counts: Arc<Counts>,
    /// If messages may be compressed.
    deflate: Option<Arc<Deflate>>,
}

/// What a gateway does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The method, as `resource.method`, that is called before a WebSocket opens.
    pub ws_header_auth: Option<String>,
    /// Whether messages over WebSockets are compressed, with clients that can do so.
    pub ws_compression: bool,
    /// The method that is called before an HTTP request is carried out.
    pub header_auth: Option<String>,
    /// The HTTP API.
    pub api: HttpApi,
    /// How long a service has for an answer, unless it asks for more.
    pub request_timeout: Option<Duration>,
    /// How many resources are fetched again at a time after a system reset, and for how many access
    /// is asked for again.
    pub reset_throttle: Option<usize>,
    /// How many resources that others refer to one connection has loaded at a time.
    pub reference_throttle: Option<usize>,
}

impl Gateway {
    /// Starts a gateway on `bus`. Must be called in a Tokio runtime.
    #[must_use]
    pub fn start(bus: Arc<dyn Bus>, options: Options, limits: Limits) -> Self {
        let Options { ws_header_auth, ws_compression, header_auth, api, .. } = options;
        let (driver, events) = mpsc::unbounded_channel();
        let stopping = watch::Sender::new(false);
        let limits = Arc::new(limits);
        let memory = Arc::new(Memory::new(limits.memory));
        let http_memory = Arc::new(Memory::new(limits.http_memory));
        let outside = driver::Outside { bus, events, stopping: stopping.subscribe(), memory: Arc::clone(&memory) };
        let default = Config::default();
        let config = Config {
            ws_header_auth,
            header_auth,
            request_timeout: options.request_timeout.unwrap_or(default.request_timeout),
            max_reloads: options.reset_throttle.unwrap_or(default.max_reloads),
            max_reset_rechecks: options.reset_throttle.unwrap_or(default.max_reset_rechecks),
            max_reference_loads: options.reference_throttle.unwrap_or(default.max_reference_loads),
            ..default
        };
        tokio::spawn(driver::run(outside, config, limits.drain));
        let (draining, last_key) = (AtomicBool::new(false), AtomicU64::new(0));
        let counts = Arc::default();
        let deflate = ws_compression.then(|| Arc::new(Deflate::new(Arc::clone(&memory))));
        Self { driver, stopping, draining, last_key, api, limits, memory, http_memory, counts, deflate }
    }

    /// Answers an HTTP request for a WebSocket, whose client is described by `origin`.
    pub async fn upgrade(&self, mut request: Request<Body>, origin: Origin) -> Response {
        if self.draining.load(Ordering::Relaxed) || *self.stopping.borrow() {
            self.counts.refuse(Refusal::Stopping);
            return (StatusCode::SERVICE_UNAVAILABLE, "The server is being stopped.\n").into_response();
        }
        let mut response = match create_response_with_body(&request, Body::empty) {
            Ok(response) => response,
            Err(error) => {
                self.counts.refuse(Refusal::Handshake);
                return no_handshake(&error);
            }
        };
        let mut deflate = None;
        if let Some(offered) = &self.deflate {
            match extensions::agree(request.headers()) {
                Ok(Some(accepted)) => {
                    response.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, accepted);
                    deflate = Some(Arc::clone(offered));
                }
                Ok(None) => {}
                Err(extensions::Malformed) => {
                    self.counts.refuse(Refusal::Handshake);
                    return (StatusCode::BAD_REQUEST, "Malformed Sec-WebSocket-Extensions\n").into_response();
                }
            }
        }
        let upgrade = hyper::upgrade::on(&mut request);
        let key = self.next_key();
        let (verdict, judged) = oneshot::channel();
        self.driver.send(Event::Opening { key, cid: draw_cid(), origin, verdict }).ok();
        let opening = socket::Opening {
            closed: socket::Closed { key, driver: self.driver.clone() },
            stopping: self.stopping.subscribe(),
            limits: Arc::clone(&self.limits),
            memory: Arc::clone(&self.memory),
            counts: Arc::clone(&self.counts),
            deflate,
        };
        match judged.await {
            Ok(Verdict::Accept(header)) => merge(response.headers_mut(), header),
            Ok(Verdict::Reject { status, header, body }) => {
                self.counts.refuse(Refusal::HeaderAuth);
                return rejection(status, header, body);
            }
            Err(_) => {
                self.counts.refuse(Refusal::Unavailable);
                return (StatusCode::SERVICE_UNAVAILABLE, "No WebSocket can be opened now.\n").into_response();
            }
        }
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => socket::serve(TokioIo::new(upgraded), opening).await,
                Err(error) => tracing::debug!(%error, "a client disconnected before its WebSocket was open"),
            }
        });
        response
    }

    /// Answers an HTTP request of the HTTP API, whose client is described by `origin`.
    pub async fn respond(&self, request: Request<Body>, origin: Origin) -> Response {
        let Self { api, limits, http_memory: memory, .. } = self;
        if *self.stopping.borrow() {
            return http_api::unavailable(memory);
        }
        let http_method = request.method().to_string();
        self.counts.request(&http_method);
        let (operation, held) = match http_api::read(request, api, limits, memory).await {
            Ok(read) => read,
            Err(response) => return response,
        };
        let key = self.next_key();
        let (answer, answered) = oneshot::channel();
        self.driver.send(Event::Request { key, cid: draw_cid(), origin, operation, answer }).ok();
        // If the client does not wait for it, this is dropped.
        let _closed = socket::Closed { key, driver: self.driver.clone() };
        let answer = answered.await;
        drop(held);
        match answer {
            Ok(answer) => http_api::write(answer, http_method, api, limits, memory).await,
            Err(_) => http_api::unavailable(memory),
        }
    }

    /// The response to a request of the HTTP API by a page that may not make it.
    #[must_use]
    pub fn forbid(&self) -> Response {
        http_api::refuse(Error::new("system.forbidden", "Forbidden origin"), &self.http_memory)
    }

    /// How the HTTP API is served.
    #[must_use]
    pub fn api(&self) -> &HttpApi {
        &self.api
    }

    fn next_key(&self) -> ConnectionKey {
        ConnectionKey(self.last_key.fetch_add(1, Ordering::Relaxed))
    }

    /// What the gateway has counted so far, and what it has now; none if it has ended. Asks the
    /// task that knows, which may be busy.
    pub async fn stats(&self) -> Option<Stats> {
        let (answer, answered) = oneshot::channel();
        self.driver.send(Event::Stats { answer }).ok()?;
        let driver = answered.await.ok()?;
        let Stats { opened, ended, refused, http_requests, deflated_received, deflated_sent, .. } = self.counts.stats();
        let (client_bytes, http_bytes) = (self.memory.held(), self.http_memory.held());
        Some(Stats {
            opened,
            ended,
            refused,
            http_requests,
            deflated_received,
            deflated_sent,
            client_bytes,
            http_bytes,
            ..driver
        })
    }

    /// False once the gateway can serve nobody any more.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.driver.is_closed()
    }

    /// Opens no WebSockets any more, and closes those that are open with close code 1001: one after
    /// the other within this time, or sooner if they are few. Each client is told within which time
    /// to come back. Those that wait for answers stay open until [`Gateway::stop`].
    pub async fn drain(&self, within: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        let (done, is_done) = oneshot::channel();
        // Fails only if the driver has ended, and then there is nobody to wait for.
        self.driver.send(Event::Drain { within, done }).ok();
        is_done.await.ok();
    }

    /// Stops the gateway: reads nothing more from clients, sends the answers to their requests, and
    /// closes their connections with close code 1001. The bus and the services on it should work
    /// until this returns.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        // No task takes longer than this. One that hangs nevertheless must not keep the process
        // alive.
        let longest = self.limits.drain + 3 * self.limits.close;
        if tokio::time::timeout(longest, self.stopping.closed()).await.is_err() {
            tracing::warn!("some WebSockets did not close in time");
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A connection id: 100 random bits in the form of Resgate's ids, 20 characters of lower-case
/// base32hex. It is not a secret, but cannot be guessed either.
fn draw_cid() -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let random: [u8; 20] = rand::rng().random();
    random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn connection_ids_look_like_resgates_and_differ() {
        let cids: HashSet<_> = (0..1000).map(|_| draw_cid()).collect();
        assert_eq!(cids.len(), 1000);
        let characters: HashSet<_> = cids.iter().flat_map(|cid| cid.chars()).collect();
        assert_eq!(characters, ('0'..='9').chain('a'..='v').collect());
        assert!(cids.iter().all(|cid| cid.len() == 20));
    }
}
