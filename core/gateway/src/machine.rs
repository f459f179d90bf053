//! The machine's face: inputs in, actions out.

use std::{collections::VecDeque, time::Duration};

use crate::api::{Action, Config, Input};

/// A RES gateway.
///
/// # Contract
///
/// The driver calls [`handle`](Self::handle) with one input after the other, takes [`poll_action`](Self::poll_action) until
/// it is empty after each of them, and sees to it that [`Input::Timeout`] is handed in when the time of
/// [`poll_timeout`](Self::poll_timeout) has come.
///
/// - `now` is the time since any fixed moment. It never runs backwards.
/// - Messages and replies of the bus are handed in in the order in which they arrived, subscriptions and requests taken
///   together: the machine takes an event that is handed in before the answer to a get request as contained in that answer,
///   and a token event must come before the answer to the auth request that caused it.
/// - Actions are carried out in their order: a resource's events are subscribed to before the resource is asked for.
/// - Each [`Input::Frame`] of a connection is followed by exactly one [`Action::Done`], once it is answered or turned out to
///   need no answer, unless the connection ends before. A driver that hands in no more than so many frames ahead of their
///   `Done` has bounded what the machine holds for that connection.
/// - A tag is released exactly once ([`Action::Release`]), or was refused ([`Input::Refused`]). What arrives for it
///   afterwards is ignored. So is what is handed in for a connection that is closed.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    actions: VecDeque<Action>,
}

impl Gateway {
    /// A gateway without connections. Has actions to begin with.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, actions: VecDeque::new() }
    }

    /// Takes note of what happened at `now`.
    pub fn handle(&mut self, input: Input<'_>, now: Duration) {
        let _ = (&self.config, now);
        if let Input::Frame { connection, .. } = input {
            self.actions.push_back(Action::Done { connection });
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Input::Timeout`] is wanted; never, if `None`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        None
    }
}
