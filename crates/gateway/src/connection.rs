//! A client as the driver sees it: how it is reached, and what is still to be done for it. Must not
//! know the state machine.

use relogin_gateway_proto::{ConnectionKey, http::Answer};
use tokio::sync::oneshot;

use crate::{
    event::Verdict,
    id_map::IdMap,
    line::{CloseReason, Line},
};

/// A client's connection, or its HTTP request.
pub(crate) struct Connection {
    pub(crate) way: Way,
    /// How many of its frames are unanswered; one, if it is a request.
    pub(crate) unanswered: usize,
    /// It is among those that take turns.
    pub(crate) has_turn: bool,
    /// Its WebSocket is closed, and it only waits for the last of its frames to be taken.
    pub(crate) is_closing: bool,
}

/// How a client is reached.
pub(crate) enum Way {
    /// Through the response to its request for a WebSocket.
    Verdict(oneshot::Sender<Verdict>),
    /// Through the response to its HTTP request.
    Answer(oneshot::Sender<Answer>),
    /// Not at all until its WebSocket is open: until the client has sent a frame, nothing is sent.
    Accepted,
    Line(Line),
}

impl Connection {
    pub(crate) fn new(way: Way) -> Self {
        Self { way, unanswered: 0, has_turn: false, is_closing: false }
    }

    /// Whether it is an open WebSocket, and nothing that its client has sent waits for an answer.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.way, Way::Line(_)) && self.unanswered == 0 && !self.has_turn
    }

    /// How many bytes are held for it.
    pub(crate) fn debt(&self) -> usize {
        if let Way::Line(line) = &self.way { line.debt().bytes() } else { 0 }
    }

    /// Closes it. One that is not open yet learns it by the missing verdict, a request by the
    /// missing answer.
    pub(crate) fn hang_up(self, close_reason: CloseReason) {
        if let Way::Line(line) = self.way {
            line.hang_up(close_reason);
        }
    }
}

/// The connections for which the most is held: as many as hold `excess` bytes.
pub(crate) fn largest(connections: &IdMap<ConnectionKey, Connection>, mut excess: usize) -> Vec<ConnectionKey> {
    let mut debts: Vec<_> = connections.iter().map(|(key, connection)| (connection.debt(), *key)).collect();
    debts.sort_unstable_by(|a, b| b.cmp(a));
    let mut largest = Vec::new();
    for (debt, key) in debts {
        if excess == 0 || debt == 0 {
            break;
        }
        excess = excess.saturating_sub(debt);
        largest.push(key);
    }
    largest
}
