//! Events from WebSockets, HTTP requests and the gateway to the driver, and its answers. Must not
//! know the state machine's rules.

use std::time::Duration;

use bytes::Bytes;
use relogin_gateway_proto::{
    ConnectionKey,
    http::{Answer, Operation},
};
use relogin_res::service::{Headers, Origin};
use tokio::sync::oneshot;

use crate::{counts::Stats, line::Line};

/// What WebSockets, HTTP requests and the gateway report.
pub(crate) enum Event {
    /// A WebSocket is requested. The verdict says whether it opens; without one, it does not.
    Opening { key: ConnectionKey, cid: String, origin: Origin, verdict: oneshot::Sender<Verdict> },
    /// An HTTP request of the HTTP API. Without an answer, there is none.
    Request { key: ConnectionKey, cid: String, origin: Origin, operation: Operation, answer: oneshot::Sender<Answer> },
    /// One is open.
    Opened { key: ConnectionKey, line: Line },
    /// A client has sent frames, the first since all were taken.
    Frames { key: ConnectionKey },
    /// One is closed, or nobody waits for the answer to the request any more.
    Closed { key: ConnectionKey },
    /// What was counted is wanted.
    Stats { answer: oneshot::Sender<Stats> },
    /// The gateway is to close all within this time. `done` is dropped when it has.
    Drain { within: Duration, done: oneshot::Sender<()> },
}

/// The answer to a request for a WebSocket.
pub(crate) enum Verdict {
    /// It opens, with these headers in the response.
    Accept(Headers),
    /// It does not, and this is the response.
    Reject { status: u16, header: Headers, body: Bytes },
}
