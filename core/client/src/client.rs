//! The machine that a page drives: [`Client`]. Puts connection, requests, cache and keeper together; decides nothing itself.

use std::{collections::VecDeque, time::Duration};

use relogin_res::ResourceId;

use crate::{Action, Config, ConnectionState, Freshness, Input, Moment, Resource, SessionState};

/// A RES client that keeps its user logged in.
///
/// The contract with its driver: call [`handle`](Self::handle) for each thing that happens, then take all actions from
/// [`poll_action`](Self::poll_action) and carry them out in their order, then set one timer to
/// [`poll_timeout`](Self::poll_timeout), replacing the one before. Inputs never fail and never panic, whatever the gateway
/// sends and however late they come; inputs for sockets and locks that are no more are ignored.
#[derive(Debug)]
pub struct Client {
    config: Config,
    actions: VecDeque<Action>,
}

impl Client {
    /// A client that does nothing until [`Input::Start`].
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, actions: VecDeque::new() }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, moment: Moment) {
        let _ = (input, moment, &self.config);
    }

    /// The next thing to do, until `None`.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Input::Timer`] is wanted, on the clock of [`Moment::now`]; `None`: never, as things are.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        None
    }

    /// The connection's state.
    #[must_use]
    pub fn connection(&self) -> ConnectionState {
        ConnectionState::Stopped
    }

    /// The session's state.
    #[must_use]
    pub fn session(&self) -> SessionState {
        SessionState::Resuming
    }

    /// When the relogin key will be used next, on the clock of [`Moment::now`]; `None` if it need not be.
    #[must_use]
    pub fn refresh_due(&self) -> Option<Duration> {
        None
    }

    /// The values of a subscribed resource, or of one that such a resource refers to, as far as they are known.
    #[must_use]
    pub fn resource(&self, rid: &ResourceId) -> Option<&Resource> {
        let _ = rid;
        None
    }

    /// How far they can be trusted; `None` if the resource is not subscribed.
    #[must_use]
    pub fn freshness(&self, rid: &ResourceId) -> Option<&Freshness> {
        let _ = rid;
        None
    }
}
