//! Inputs, actions and configuration of the machine. Must not decide anything.

use std::{fmt, time::Duration};

use bytes::Bytes;
use relogin_res::service::{Headers, Origin};

use crate::{
    decoding::{Decoded, Encoded},
    discard::Discarded,
    http::{Answer, Operation},
    malformed::Malformed,
    tag::Tag,
};

/// Names a connection between driver and machine. Chosen by the driver, never used twice, never on
/// the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey(pub u64);

/// What happened outside.
pub enum Input<'a> {
    /// A client asks for a WebSocket. It is answered by [`Action::Accept`], [`Action::Reject`] or
    /// [`Action::Close`].
    Opening {
        /// How the driver will call it.
        connection: ConnectionKey,
        /// Its connection id: one part of a subject, unlike any other in the whole system.
        cid: String,
        /// What it is opened with. Goes out with its auth requests.
        origin: Origin,
    },
    /// An HTTP request of the HTTP API. It is answered by [`Action::Respond`] or [`Action::Close`].
    Request {
        /// How the driver will call it. It is a connection that makes one request.
        connection: ConnectionKey,
        /// As that of a WebSocket.
        cid: String,
        /// What the request says about its client. Goes out with its auth requests.
        origin: Origin,
        /// What is asked for.
        operation: Operation,
    },
    /// A client sent a frame. It counts as unanswered until [`Action::Done`].
    Frame {
        /// Whose.
        connection: ConnectionKey,
        /// What it says.
        text: &'a str,
    },
    /// A client's WebSocket is closed, by whichever side, or not wanted any more, or the client
    /// does not wait for the response any more. After [`Action::Close`], [`Action::Reject`] and
    /// [`Action::Respond`] it may be left out.
    Closed {
        /// Whose.
        connection: ConnectionKey,
    },
    /// A message arrived on a subscription.
    Message {
        /// The subscription.
        tag: Tag,
        /// What the message was published to.
        subject: &'a str,
        /// What it says.
        payload: &'a [u8],
    },
    /// An answer to a request arrived.
    Reply {
        /// The request.
        tag: Tag,
        /// What it says.
        payload: &'a [u8],
    },
    /// A large answer was decoded ([`Action::Decode`]).
    Decoded(Decoded),
    /// Nobody listens on the request's subject.
    NoResponders {
        /// The request.
        tag: Tag,
    },
    /// The bus did not take a request or subscription.
    Refused {
        /// Which.
        tag: Tag,
    },
    /// The bus is gone, or has lost messages: all connections are closed, and new ones too until it
    /// is back.
    LinkDown,
    /// The bus is back.
    LinkUp,
    /// The time of [`Gateway::poll_timeout`](crate::Gateway::poll_timeout) has come.
    Timeout,
}

/// What is to be done outside, in this order.
pub enum Action {
    /// Send a text frame. Frames that say the same to many connections share one buffer.
    Send {
        /// To whom.
        connection: ConnectionKey,
        /// UTF-8.
        frame: Bytes,
        /// True for what a service answers to an auth request, which may be a credential: not to be
        /// compressed, because its length would depend on what it says.
        is_secret: bool,
    },
    /// A frame that was handed in is dealt with: the connection may send one more.
    Done {
        /// Whose frame it was.
        connection: ConnectionKey,
    },
    /// Open the WebSocket, with these headers in the response. Its frames may be handed in from now
    /// on.
    Accept {
        /// Whose.
        connection: ConnectionKey,
        /// By their canonical names. Whether they are headers at all is for the driver to look at.
        header: Headers,
    },
    /// Open no WebSocket, and answer this by HTTP instead. The machine has forgotten the connection
    /// already.
    Reject {
        /// Whose.
        connection: ConnectionKey,
        /// The HTTP status: a redirection or an error.
        status: u16,
        /// As those of [`Action::Accept`].
        header: Headers,
        /// A RES error as JSON; none with a redirection.
        body: Bytes,
    },
    /// Send the response to an HTTP request. The machine has forgotten the connection already.
    Respond {
        /// Whose.
        connection: ConnectionKey,
        /// What it says.
        answer: Box<Answer>,
    },
    /// Close the WebSocket, or open none and answer no request (HTTP status 503). The machine has
    /// forgotten the connection already.
    Close {
        /// Whose.
        connection: ConnectionKey,
        /// The WebSocket close code.
        code: u16,
        /// The WebSocket close reason.
        reason: &'static str,
    },
    /// Subscribe on the bus, before any action that follows is carried out.
    Listen {
        /// How the machine will call it.
        tag: Tag,
        /// What to listen to.
        pattern: String,
    },
    /// Send a request on the bus.
    Ask {
        /// How the machine will call it.
        tag: Tag,
        /// The connection that made it necessary; none: all that share what is cached.
        asker: Option<ConnectionKey>,
        /// Where to.
        subject: String,
        /// What it says.
        payload: Bytes,
    },
    /// Tell the operator of a message of a service that makes no sense.
    Complain(Malformed),
    /// Decode a large answer where that holds nobody up, and hand it in by [`Input::Decoded`].
    Decode(Encoded),
    /// Drop something large where that holds nobody up.
    Discard(Discarded),
    /// End a subscription; or forget a request, which is answered or given up.
    Release {
        /// Which.
        tag: Tag,
    },
}

/// What can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The method that is asked before a WebSocket opens, as `resource.method`: it may set headers,
    /// a token, or reject. What fails about it rejects nothing. None: nobody is asked.
    pub ws_header_auth: Option<String>,
    /// The method that is asked before an HTTP request of the HTTP API is carried out, likewise.
    pub header_auth: Option<String>,
    /// How long a service has for an answer, unless it asks for more.
    pub request_timeout: Duration,
    /// How long a resource stays cached that nobody is subscribed to any more.
    pub unsubscribe_delay: Duration,
    /// How often one connection may directly subscribe to one resource, and by how many names it
    /// may have it: queries may mean the same.
    pub max_direct_subscriptions: u32,
    /// How many resources one connection may be subscribed to, referred ones included.
    pub max_resources: usize,
    /// How many bytes a resource id may have, query included, both as the client writes it and with
    /// the connection's id filled in.
    pub max_rid: usize,
    /// How many bytes one connection's subscriptions may cost, referred ones included. Beyond it,
    /// more are refused.
    pub max_subscription_bytes: usize,
    /// How many bytes the subscriptions of all connections and the contents of all cached resources
    /// may have together. Beyond it, more are refused to connections that have more than
    /// [`Config::assured_bytes`].
    pub max_subscription_bytes_in_all: usize,
    /// How many bytes of requests one connection may have under way. Beyond it, its requests are
    /// refused.
    pub max_request_bytes: usize,
    /// How many bytes of requests may be under way in all. Beyond it, requests are refused to
    /// connections that have more than [`Config::assured_bytes`] of them.
    pub max_request_bytes_in_all: usize,
    /// How many bytes of subscriptions, and of requests, each connection may have whatever the
    /// others have.
    pub assured_bytes: usize,
    /// How many resources that nobody is subscribed to stay cached during
    /// [`Config::unsubscribe_delay`]. The oldest go first.
    pub max_idle_resources: usize,
    /// How many bytes they may cost.
    pub max_idle_bytes: usize,
    /// How many events of one resource may wait for one connection: for an access answer, or for
    /// resources that another event refers to. Beyond it, the connection is closed. Of all that
    /// waits for work of the connection, twice as many may wait.
    pub max_held_events: usize,
    /// How many bytes they may have.
    pub max_held_bytes: usize,
    /// How many events of one name, and answers to get requests, may wait for the answers to query
    /// requests. Beyond it, the query resources are fetched again.
    pub max_waiting_events: usize,
    /// How many bytes they may have.
    pub max_waiting_bytes: usize,
    /// How many bytes of an answer to a get or query request are decoded at once. Larger ones are
    /// handed out ([`Action::Decode`]).
    pub max_decoded_at_once: usize,
    /// How many notices of resources may wait until all subscribers have them. Beyond it, the
    /// machine is behind: see [`Gateway::is_behind`](crate::Gateway::is_behind).
    pub max_undelivered_notices: usize,
    /// How many bytes they may have.
    pub max_undelivered_bytes: usize,
    /// For how many resources one connection asks for access at a time after a token event or
    /// because others have said that access may have changed. The others wait for their turn, and
    /// their events with them.
    pub max_rechecks: usize,
    /// For how many resources access is asked for again at a time after system resets, all
    /// connections together.
    pub max_reset_rechecks: usize,
    /// How many resources that others refer to one connection has loaded at a time, beside those
    /// that are cached.
    pub max_reference_loads: usize,
    /// How many resources are fetched again at a time after a system reset.
    pub max_reloads: usize,
    /// How many query requests are under way at a time because of one query event.
    pub max_query_requests: usize,
    /// How long a subject may be, in bytes.
    pub max_subject: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ws_header_auth: None,
            header_auth: None,
            request_timeout: Duration::from_secs(3),
            unsubscribe_delay: Duration::from_secs(5),
            max_direct_subscriptions: 256,
            max_resources: 65_536,
            max_rid: 4096,
            max_subscription_bytes: 32 << 20,
            max_subscription_bytes_in_all: 256 << 20,
            max_request_bytes: 4 << 20,
            max_request_bytes_in_all: 64 << 20,
            assured_bytes: 64 << 10,
            max_idle_resources: 8192,
            max_idle_bytes: 16 << 20,
            max_held_events: 4096,
            max_held_bytes: 8 << 20,
            max_waiting_events: 4096,
            max_waiting_bytes: 8 << 20,
            max_decoded_at_once: 16 << 10,
            max_undelivered_notices: 4096,
            max_undelivered_bytes: 8 << 20,
            max_rechecks: 32,
            max_reset_rechecks: usize::MAX,
            max_reference_loads: 64,
            max_reloads: 64,
            max_query_requests: 64,
            // What a NATS server takes in one control line (4096), less what it and an inbox need
            // of it.
            max_subject: 3968,
        }
    }
}

/// Close codes: <https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number>.
pub(crate) mod close {
    pub(crate) const INTERNAL_ERROR: u16 = 1011;
    pub(crate) const SERVICE_RESTART: u16 = 1012;
    pub(crate) const TRY_AGAIN_LATER: u16 = 1013;
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Frames and payloads may be credentials.
        match self {
            Self::Opening { connection, cid, .. } => write!(f, "Opening({}, {cid})", connection.0),
            Self::Request { connection, cid, .. } => write!(f, "Request({}, {cid})", connection.0),
            Self::Frame { connection, .. } => write!(f, "Frame({})", connection.0),
            Self::Closed { connection } => write!(f, "Closed({})", connection.0),
            Self::Message { tag, subject, .. } => write!(f, "Message({}, {subject})", tag.0),
            Self::Reply { tag, .. } => write!(f, "Reply({})", tag.0),
            Self::Decoded(decoded) => decoded.fmt(f),
            Self::NoResponders { tag } => write!(f, "NoResponders({})", tag.0),
            Self::Refused { tag } => write!(f, "Refused({})", tag.0),
            Self::LinkDown => f.write_str("LinkDown"),
            Self::LinkUp => f.write_str("LinkUp"),
            Self::Timeout => f.write_str("Timeout"),
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Frames and payloads may be credentials.
        match self {
            Self::Send { connection, frame, .. } => write!(f, "Send({}, {} bytes)", connection.0, frame.len()),
            Self::Done { connection } => write!(f, "Done({})", connection.0),
            Self::Accept { connection, .. } => write!(f, "Accept({})", connection.0),
            Self::Reject { connection, status, .. } => write!(f, "Reject({}, {status})", connection.0),
            Self::Respond { connection, .. } => write!(f, "Respond({})", connection.0),
            Self::Close { connection, code, reason } => write!(f, "Close({}, {code} {reason})", connection.0),
            Self::Listen { tag, pattern } => write!(f, "Listen({}, {pattern})", tag.0),
            Self::Ask { tag, subject, .. } => write!(f, "Ask({}, {subject})", tag.0),
            Self::Complain(malformed) => write!(f, "Complain({}, {})", malformed.subject, malformed.problem),
            Self::Decode(encoded) => encoded.fmt(f),
            Self::Discard(_) => f.write_str("Discard"),
            Self::Release { tag } => write!(f, "Release({})", tag.0),
        }
    }
}
