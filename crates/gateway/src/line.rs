//! The driver's end of a connection: frames to its client, and its end. Must not know the socket or
//! the state machine.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::{
    flow::{Debt, Flow},
    memory::SharedBuffer,
};

/// The driver's end of a connection. Dropping it ends the connection.
pub(crate) struct Line {
    outbound: mpsc::UnboundedSender<Outbound>,
    cut: oneshot::Sender<CloseReason>,
    /// What is held for the client.
    pub(crate) flow: Arc<Flow>,
}

/// Why a connection is closed, in words for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CloseReason {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

/// More waits for the client than allowed.
#[derive(Debug)]
pub(crate) struct Behind;

/// What is sent on a line.
pub(crate) enum Outbound {
    /// And its count, if it also waits for others.
    Frame(Bytes, Option<Arc<SharedBuffer>>),
    Close(CloseReason),
}

impl CloseReason {
    pub(crate) const STOPPED: Self = Self { code: 1001, reason: "the server is being stopped" };
    pub(crate) const BEHIND: Self = Self { code: 1008, reason: "too much waits to be read" };
    pub(crate) const CROWDED: Self = Self { code: 1013, reason: "the server is short of memory" };
    pub(crate) const RESTART: Self = Self { code: 1012, reason: "the message bus was lost" };
    pub(crate) const TOO_LARGE: Self = Self { code: 1009, reason: "frame too large" };
    pub(crate) const UNFINISHED: Self = Self { code: 1008, reason: "message not finished in time" };
    pub(crate) const NO_TEXT: Self = Self { code: 1007, reason: "text that is no UTF-8" };
    pub(crate) const NO_WEBSOCKET: Self = Self { code: 1002, reason: "not as the WebSocket protocol has it" };
}

impl Line {
    /// A line, what is sent on it, and why it is cut.
    pub(crate) fn new(flow: Arc<Flow>) -> (Self, mpsc::UnboundedReceiver<Outbound>, oneshot::Receiver<CloseReason>) {
        let (outbound, queue) = mpsc::unbounded_channel();
        let (cut, being_cut) = oneshot::channel();
        (Self { outbound, cut, flow }, queue, being_cut)
    }

    /// Sends a frame, after those that wait. Never waits itself. `shared` is its count if it goes
    /// to others, too.
    pub(crate) fn send(&self, frame: Bytes, shared: Option<Arc<SharedBuffer>>) -> Result<(), Behind> {
        if !self.flow.queue(frame.len(), shared.is_some()) {
            return Err(Behind);
        }
        // If the connection has ended, its last event is in flight.
        self.outbound.send(Outbound::Frame(frame, shared)).ok();
        Ok(())
    }

    /// How much is held for the client.
    pub(crate) fn debt(&self) -> Debt {
        Debt::of(&self.flow)
    }

    /// The next frame of the client. If there is none, an event tells of the one after.
    pub(crate) fn take(&self) -> Option<Utf8Bytes> {
        self.flow.take()
    }

    /// A frame of the client was answered.
    pub(crate) fn give_back(&self) {
        self.flow.backpressure.give_back();
    }

    /// Closes the connection after the frames that wait.
    pub(crate) fn hang_up(self, close_reason: CloseReason) {
        self.outbound.send(Outbound::Close(close_reason)).ok();
    }

    /// Closes the connection now. Waiting frames are dropped. Returns what is held until that is
    /// done.
    pub(crate) fn cut(self, close_reason: CloseReason) -> Debt {
        self.cut.send(close_reason).ok();
        Debt::of(&self.flow)
    }
}
