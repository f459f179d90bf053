//! Events from WebSockets to the driver, and the answer to a request to open one. Must not know the
//! state machine's rules.

use bytes::Bytes;
use relogin_gateway_proto::ConnectionKey;
use relogin_res::service::{Headers, Origin};
use tokio::sync::oneshot;

use crate::line::Line;

/// What WebSockets tell.
pub(crate) enum Event {
    /// A WebSocket is requested. The verdict says whether it opens; without one, it does not.
    Opening { key: ConnectionKey, cid: String, origin: Origin, verdict: oneshot::Sender<Verdict> },
    /// One is open.
    Opened { key: ConnectionKey, line: Line },
    /// A client has sent frames, the first since all were taken.
    Frames { key: ConnectionKey },
    /// One is closed.
    Closed { key: ConnectionKey },
}

/// The answer to a request for a WebSocket.
pub(crate) enum Verdict {
    /// It opens, with these headers in the response.
    Accept(Headers),
    /// It does not, and this is the response.
    Reject { status: u16, header: Headers, body: Bytes },
}
