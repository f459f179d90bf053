//! The running gateway: opens WebSockets, and stops. Must not depend on the RES protocol beyond
//! what it is told of a request.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    body::Body,
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
};
use hyper_util::rt::TokioIo;
use rand::RngExt;
use relogin_bus::Bus;
use relogin_gateway_proto::ConnectionKey;
use relogin_res::service::Origin;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use crate::{
    driver,
    event::{Event, Verdict},
    http_auth,
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

    /// Answers an HTTP request, whose client is described by `origin`, as the header authentication
    /// says.
    pub async fn authenticate(&self, origin: Origin) -> Response {
        http_auth::authenticate(self.bus.as_ref(), self.header_auth.as_deref(), draw_cid(), origin).await
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
