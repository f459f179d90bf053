//! Logins that wait for their turn. Must not send anything.

use std::time::Duration;

use crate::{RequestError, operation::login::LoginRequest, outbox::Outbox};

/// The logins that wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct WaitingLogins {
    queue: Vec<LoginRequest>,
    /// Whether a connection was given up so that they need not wait for the key that could not be
    /// used on it.
    are_first: bool,
}

impl WaitingLogins {
    pub(crate) fn push(&mut self, login: LoginRequest) {
        self.queue.push(login);
    }

    /// A login that has begun has to begin once more.
    pub(crate) fn push_front(&mut self, login: LoginRequest) {
        self.queue.insert(0, login);
    }

    /// The next one, which begins.
    pub(crate) fn pop(&mut self) -> Option<LoginRequest> {
        let is_empty = self.queue.is_empty();
        let login = (!is_empty).then(|| self.queue.remove(0));
        self.are_first &= is_empty;
        login
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether they come before the key and before pending logouts.
    pub(crate) fn are_first(&self) -> bool {
        self.are_first
    }

    /// On the next connection, they come first.
    pub(crate) fn come_first(&mut self) {
        self.are_first = true;
    }

    /// Tells all who wait that their login will not be.
    pub(crate) fn refuse(&mut self, error: &RequestError, out: &mut Outbox) {
        self.are_first = false;
        for login in std::mem::take(&mut self.queue) {
            out.settle(login.token, Err(error.clone()));
        }
    }

    /// Tells those who have waited for too long.
    pub(crate) fn refuse_late(&mut self, now: Duration, out: &mut Outbox) {
        for login in self.queue.extract_if(.., |login| login.deadline <= now) {
            out.settle(login.token, Err(RequestError::TimedOut));
        }
        self.are_first &= !self.queue.is_empty();
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.queue.iter().map(|login| login.deadline).min()
    }
}
