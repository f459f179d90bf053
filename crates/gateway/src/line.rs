//! The driver's end of a connection: frames to its client, and its end. Must not know the socket or
//! the state machine.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use relogin_gateway_proto::time_to_come_back;
use serde_json::json;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::{Utf8Bytes, protocol::CloseFrame};

use crate::{
    flow::{Debt, Flow},
    memory::SharedBuffer,
    outbox::{self, outbox},
};

/// The driver's end of a connection. Dropping it ends the connection.
pub(crate) struct Line {
    outbox: outbox::Sender<Outbound>,
    cut: oneshot::Sender<CloseReason>,
    /// What is held for the client.
    pub(crate) flow: Arc<Flow>,
}

/// Why a connection is closed, in words for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CloseReason {
    code: u16,
    reason: &'static str,
    /// Within which time the client is to come back, at random.
    retry_after: Option<Duration>,
}

/// More waits for the client than allowed.
#[derive(Debug)]
pub(crate) struct Behind;

/// What is sent on a line.
pub(crate) enum Outbound {
    /// And its count, if it also waits for others.
    Frame(Bytes, Option<Arc<SharedBuffer>>),
    /// One that may be a credential, and must not be compressed.
    Secret(Bytes),
    Close(CloseReason),
}

impl CloseReason {
    pub(crate) const STOPPED: Self = Self::new(1001, "the server is being stopped");
    pub(crate) const BEHIND: Self = Self::new(1008, "too much waits to be read");
    pub(crate) const CROWDED: Self = Self::new(1013, "the server is short of memory");
    pub(crate) const RESTART: Self = Self::new(1012, "the message bus was lost");
    pub(crate) const TOO_LARGE: Self = Self::new(1009, "frame too large");
    pub(crate) const UNFINISHED: Self = Self::new(1008, "message not finished in time");
    pub(crate) const NO_TEXT: Self = Self::new(1007, "text that is no UTF-8");
    pub(crate) const NO_DEFLATE: Self = Self::new(1007, "compressed data that cannot be read");
    pub(crate) const NO_WEBSOCKET: Self = Self::new(1002, "not as the WebSocket protocol has it");

    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason, retry_after: None }
    }

    /// Why the state machine closes it.
    pub(crate) fn of_the_machine(code: u16, reason: &'static str) -> Self {
        Self::new(code, reason)
    }

    /// The same, to as many clients as `crowd`: if the service restarts, or cannot be had now, they
    /// are told to come back one after the other.
    pub(crate) fn to_a_crowd_of(self, crowd: usize) -> Self {
        let comes_back = matches!(self.code, 1001 | 1012 | 1013);
        Self { retry_after: comes_back.then(|| time_to_come_back(crowd)), ..self }
    }

    /// The close code.
    pub(crate) fn code(self) -> u16 {
        self.code
    }

    /// True if it is the same reason, whenever the client is to come back.
    pub(crate) fn is(self, other: Self) -> bool {
        (self.code, self.reason) == (other.code, other.reason)
    }

    /// The close frame that says it. Its reason is JSON if it has a member for the client.
    pub(crate) fn frame(self) -> CloseFrame {
        let reason = match self.retry_after {
            Some(time) => {
                let retry_after = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                json!({ "message": self.reason, "retryAfter": retry_after }).to_string().into()
            }
            None => self.reason.into(),
        };
        CloseFrame { code: self.code.into(), reason }
    }
}

impl Line {
    /// A line, what is sent on it, and why it is cut.
    pub(crate) fn new(flow: Arc<Flow>) -> (Self, outbox::Receiver<Outbound>, oneshot::Receiver<CloseReason>) {
        let (sender, queue) = outbox();
        let (cut, being_cut) = oneshot::channel();
        (Self { outbox: sender, cut, flow }, queue, being_cut)
    }

    /// Sends a frame, after those that wait. Never waits itself. `shared` is its count if it goes
    /// to others, too.
    pub(crate) fn send(&self, frame: Bytes, shared: Option<Arc<SharedBuffer>>) -> Result<(), Behind> {
        if !self.flow.queue(frame.len(), shared.is_some()) {
            return Err(Behind);
        }
        // If the connection has ended, its last event is in flight.
        self.outbox.send(Outbound::Frame(frame, shared));
        Ok(())
    }

    /// The same with a frame that may be a credential.
    pub(crate) fn send_secret(&self, frame: Bytes) -> Result<(), Behind> {
        if !self.flow.queue(frame.len(), false) {
            return Err(Behind);
        }
        self.outbox.send(Outbound::Secret(frame));
        Ok(())
    }

    /// How much is held for the client.
    pub(crate) fn debt(&self) -> Debt {
        Debt::of(&self.flow)
    }

    /// The next frame of the client. If there is none, an event announces the next one.
    pub(crate) fn take(&self) -> Option<Utf8Bytes> {
        self.flow.take()
    }

    /// A frame of the client was answered.
    pub(crate) fn give_back(&self) {
        self.flow.backpressure.give_back();
    }

    /// Closes the connection after the frames that wait.
    pub(crate) fn hang_up(self, close_reason: CloseReason) {
        self.outbox.send(Outbound::Close(close_reason));
    }

    /// Closes the connection now. Waiting frames are dropped. Returns what is held until that is
    /// done.
    pub(crate) fn cut(self, close_reason: CloseReason) -> Debt {
        self.cut.send(close_reason).ok();
        Debt::of(&self.flow)
    }
}
