//! Collects the actions and requests of the session manager, each request with its deadline. Must
//! not decide anything.

use std::time::Duration;

use crate::{Action, Request, RequestError, RequestId, Secret, Token};

/// What a request is for, so that its answer finds its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The operation.
    Operation,
    /// A challenge.
    Challenge,
}

/// Collects actions, and remembers which requests are under way: two at most.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    /// For the driver. A few at most: a queue of another kind would be more code in a page.
    actions: Vec<Action>,
    pending: Vec<(RequestId, Purpose, Duration)>,
    last_id: u32,
}

impl Outbox {
    pub(crate) fn push(&mut self, action: impl Into<Action>) {
        self.actions.push(action.into());
    }

    /// The next action.
    pub(crate) fn next(&mut self) -> Option<Action> {
        (!self.actions.is_empty()).then(|| self.actions.remove(0))
    }

    pub(crate) fn settle(&mut self, token: Token, result: Result<(), RequestError>) {
        self.push(Action::Settle(token, result));
    }

    /// Sends a request, with params in JSON text, that is waited for until `deadline`.
    pub(crate) fn send(&mut self, purpose: Purpose, method: &'static str, params: Option<String>, deadline: Duration) {
        self.last_id = self.last_id.wrapping_add(1);
        let id = RequestId(self.last_id);
        self.pending.push((id, purpose, deadline));
        self.push(Action::Request(Request { id, method, params: params.map(Secret::new) }));
    }

    /// The request of this id was answered. `None` if nobody waits for that (any more).
    pub(crate) fn answered(&mut self, id: RequestId) -> Option<Purpose> {
        self.take(|(pending, ..)| *pending == id)
    }

    /// Takes out one request whose time is over; call until `None`.
    pub(crate) fn timed_out(&mut self, now: Duration) -> Option<Purpose> {
        self.take(|(.., deadline)| *deadline <= now)
    }

    /// The connection is lost: nothing is answered any more.
    pub(crate) fn disconnected(&mut self) {
        self.pending.clear();
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.pending.iter().map(|(.., deadline)| *deadline).min()
    }

    fn take(&mut self, is_it: impl Fn(&(RequestId, Purpose, Duration)) -> bool) -> Option<Purpose> {
        let at = self.pending.iter().position(is_it)?;
        Some(self.pending.remove(at).1)
    }
}
