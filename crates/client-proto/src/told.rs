//! What the page was told last, so that it is told only of what is otherwise.

use std::time::Duration;

use crate::{Binding, ConnectionState, Event, SessionState, connection::Connection, keeper::Keeper, outbox::Outbox};

/// What the page knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    connection: Option<ConnectionState>,
    session: Option<SessionState>,
    binding: Option<Option<Binding>>,
    refresh: Option<Option<Duration>>,
}

impl Told {
    /// Tells the page what is otherwise than it was told last.
    pub(crate) fn tell(&mut self, connection: &Connection, keeper: &Keeper, out: &mut Outbox) {
        if let Some(state) = changed(&mut self.connection, connection.state()) {
            out.emit(Event::Connection(state));
        }
        self.tell_session(keeper, out);
    }

    /// As [`Told::tell`], where the connection is not ours to tell of.
    pub(crate) fn tell_session(&mut self, keeper: &Keeper, out: &mut Outbox) {
        // Before storage was looked at, there is nothing to say of a session.
        if !keeper.has_started() {
            return;
        }
        if let Some(state) = changed(&mut self.session, keeper.state()) {
            out.emit(Event::Session(state));
        }
        if let Some(binding) = changed(&mut self.binding, keeper.binding()) {
            out.emit(Event::Binding(binding));
        }
        if let Some(due) = changed(&mut self.refresh, keeper.refresh_due()) {
            out.emit(Event::Refresh(due));
        }
    }
}

/// The new state, if the page was not told of it.
fn changed<T: Clone + PartialEq>(told: &mut Option<T>, state: T) -> Option<T> {
    let news = told.as_ref() != Some(&state);
    *told = Some(state.clone());
    news.then_some(state)
}
