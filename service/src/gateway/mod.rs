//! The embedded gateway: carries frames between WebSockets and the state machine of
//! `relogin-gateway-proto`, and messages between the state machine and a bus. Limits what one
//! client can make it hold. Must not depend on the RES protocol or sessions.
//!
//! One task owns the state machine (`driver`), one carries out its bus commands (`errands`), and
//! each WebSocket has its own (`socket`), so that a slow client or a slow bus delays nobody else.

mod backpressure;
mod driver;
mod errands;
mod event;
mod flow;
mod http_auth;
mod inbound;
mod memory;
mod origin;
mod requests;
mod socket;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use rand::RngExt;
use relogin_gateway_proto::ConnectionKey;
use relogin_res::service::{Headers, Origin};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::{self, error::ProtocolError, handshake::server::create_response_with_body};

use crate::bus::Bus;
use event::{Event, Verdict};
use memory::Memory;

pub(crate) use origin::origin_of;

/// Limits on what one client can make the gateway hold, and on how long the gateway waits for it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest frame of a client, in bytes. A larger one ends the connection with close code 1009.
    pub frame: usize,
    /// How many of a client's frames may be unanswered. Its socket is not read until some are
    /// answered.
    pub frames: usize,
    /// How many bytes these frames may have together.
    pub frame_bytes: usize,
    /// How many bytes may wait to be sent to a client. More of them close the connection with close
    /// code 1008.
    pub backlog: usize,
    /// How many bytes may be held for all clients together: what waits to be sent, unfinished
    /// messages, unanswered frames. Beyond it, the clients that hold the most are closed with close
    /// code 1013.
    pub memory: usize,
    /// How long a message may take once it has begun. After that, the connection is closed with
    /// close code 1008.
    pub message: Duration,
    /// For each this many of its bytes, a message has a second more.
    pub message_rate: usize,
    /// How often a client is pinged.
    pub ping: Duration,
    /// How long a connection may be silent before it is dropped.
    pub silence: Duration,
    /// How long a client may take for one write.
    pub write: Duration,
    /// How long a client may take to answer that its connection is closed; and when the gateway is
    /// stopped, to read what waits for it.
    pub close: Duration,
    /// How long to wait for answers to clients' requests when the gateway is stopped.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: 1 << 20,
            frames: 256,
            frame_bytes: 4 << 20,
            backlog: 8 << 20,
            memory: 256 << 20,
            message: Duration::from_secs(10),
            message_rate: 16 << 10,
            ping: Duration::from_secs(30),
            silence: Duration::from_secs(75),
            write: Duration::from_secs(30),
            close: Duration::from_secs(1),
            drain: Duration::from_secs(2),
        }
    }
}

/// A running gateway.
pub struct Gateway {
    driver: mpsc::UnboundedSender<Event>,
    /// True once it is to stop. Every task of the gateway holds a receiver as long as it lives.
    stopping: watch::Sender<bool>,
    last_key: AtomicU64,
    bus: Arc<dyn Bus>,
    header_auth: Option<String>,
    limits: Arc<Limits>,
    memory: Arc<Memory>,
}

impl Gateway {
    /// Starts a gateway on `bus`. Before each WebSocket opens, it calls the method `header_auth`
    /// (`resource.method`), if there is one. Must be called in a Tokio runtime.
    #[must_use]
    pub fn start(bus: Arc<dyn Bus>, header_auth: Option<String>, limits: Limits) -> Self {
        let (driver, events) = mpsc::unbounded_channel();
        let stopping = watch::Sender::new(false);
        let limits = Arc::new(limits);
        let memory = Arc::new(Memory::new(limits.memory));
        let outside = driver::Outside {
            bus: Arc::clone(&bus),
            events,
            stopping: stopping.subscribe(),
            memory: Arc::clone(&memory),
        };
        tokio::spawn(driver::run(outside, header_auth.clone(), limits.drain));
        Self { driver, stopping, last_key: AtomicU64::new(0), bus, header_auth, limits, memory }
    }

    /// Answers an HTTP request for a WebSocket, whose client is described by `origin`.
    pub async fn upgrade(&self, mut request: Request<Body>, origin: Origin) -> Response {
        if *self.stopping.borrow() {
            return (StatusCode::SERVICE_UNAVAILABLE, "The server is being stopped.\n").into_response();
        }
        let mut response = match create_response_with_body(&request, Body::empty) {
            Ok(response) => response,
            Err(error) => return no_handshake(&error),
        };
        let upgrade = hyper::upgrade::on(&mut request);
        let key = ConnectionKey(self.last_key.fetch_add(1, Ordering::Relaxed));
        let (verdict, judged) = oneshot::channel();
        self.driver.send(Event::Opening { key, cid: draw_cid(), origin, verdict }).ok();
        let opening = socket::Opening {
            closed: socket::Closed { key, driver: self.driver.clone() },
            stopping: self.stopping.subscribe(),
            limits: Arc::clone(&self.limits),
            memory: Arc::clone(&self.memory),
        };
        match judged.await {
            Ok(Verdict::Accept(header)) => merge(response.headers_mut(), header),
            Ok(Verdict::Reject { status, header, body }) => return rejection(status, header, body),
            Err(_) => return (StatusCode::SERVICE_UNAVAILABLE, "No WebSocket can be opened now.\n").into_response(),
        }
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => socket::serve(TokioIo::new(upgraded), opening).await,
                Err(error) => tracing::debug!(%error, "a client disconnected before its WebSocket was open"),
            }
        });
        response
    }

    /// False once the gateway can serve nobody any more.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.driver.is_closed()
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

/// The response to a request for a WebSocket that is not a valid handshake. Always states the
/// supported version.
fn no_handshake(error: &tungstenite::Error) -> Response {
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
fn rejection(status: u16, header: Headers, body: Bytes) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    let mut response = if body.is_empty() { status.into_response() } else { (status, json, body).into_response() };
    merge(response.headers_mut(), header);
    response
}

/// Adds the headers that a service sets to a response: cookies are added to those that are there,
/// everything else replaces what is there. Invalid headers are left out.
fn merge(into: &mut HeaderMap, header: Headers) {
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

/// Returns once the gateway is to stop.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // Fails when nobody is left who could say so.
    stopping.wait_for(|stopping| *stopping).await.ok();
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
