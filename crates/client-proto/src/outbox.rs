//! Collects the actions of the client's parts, and their requests to the gateway. Must not decide
//! anything.

use std::{collections::VecDeque, time::Duration};

use relogin_res::{
    ResourceId, Version,
    client::{Method, UnsubscribeParams, encode_request},
};

use crate::{Action, Answer, Event, RequestError, RequestId, Secret, SocketId, Token, requests::Requests};

/// What a request is for, so that its answer finds its way.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// The handshake on a new connection.
    Handshake,
    /// Asking a silent connection for a sign of life.
    Probe,
    /// A direct subscription of the cache's.
    Subscribe(ResourceId),
    /// The end of so many.
    Unsubscribe(ResourceId, u64),
    /// The session manager's, under its own id.
    Session(RequestId),
    /// A caller's call of a method.
    Call(Token, CallKind),
    /// A caller's get.
    Get(Token, ResourceId),
    /// Nobody's any more: the caller was answered that it timed out. The answer may still bring a
    /// subscription, to be given back.
    Abandoned,
}

impl Purpose {
    /// Who gets the answer, if it is not one of the client's own parts.
    pub(crate) fn caller(&self) -> Option<Token> {
        match self {
            Self::Call(token, _) | Self::Get(token, _) => Some(*token),
            _ => None,
        }
    }
}

/// How a method is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    Call,
    Auth,
    /// A call of the method `new`, as gateways before 1.2.0 have it.
    New,
}

/// Collects actions; turns requests into frames for the current socket.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    /// For the driver.
    pub(crate) actions: VecDeque<Action>,
    /// Sent, and not answered.
    pub(crate) requests: Requests<Purpose>,
    /// Where frames go; `None`: nothing is sent now.
    pub(crate) socket: Option<SocketId>,
    /// What the gateway there speaks.
    pub(crate) protocol: Version,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { actions: VecDeque::new(), requests: Requests::new(), socket: None, protocol: Version::CURRENT }
    }

    pub(crate) fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.push(Action::Emit(event));
    }

    pub(crate) fn settle(&mut self, token: Token, result: Result<Answer, RequestError>) {
        self.push(Action::Settle(token, result));
    }

    /// Sends a request, with params in JSON text, that is waited for until `deadline`. Without a
    /// socket the request times out: whoever sends is notified of the socket's end at the same
    /// time.
    pub(crate) fn send(&mut self, purpose: Purpose, method: &Method, params: Option<&str>, deadline: Option<Duration>) {
        let id = self.requests.add(purpose, deadline.unwrap_or(Duration::MAX));
        if let Some(socket) = self.socket {
            let frame = encode_request(id, method, params);
            self.push(Action::SendFrame(socket, Secret::new(frame)));
        }
    }

    /// Gives `count` direct subscriptions back to the gateway.
    pub(crate) fn give_back(&mut self, rid: &ResourceId, count: u64) {
        // Not all gateways know a count; they all take one at a time.
        let (requests, count) = if self.protocol < Version::CURRENT { (count, 1) } else { (count.min(1), count) };
        for _ in 0..requests {
            let params = (count > 1).then(|| UnsubscribeParams { count: Some(count) }.encode());
            let method = Method::Unsubscribe(rid.clone());
            self.send(Purpose::Unsubscribe(rid.clone(), count), &method, params.as_deref(), None);
        }
    }
}
