//! The events that the page was sent last, so that only changes are reported.

use std::time::Duration;

use crate::{Binding, Event, SessionState};

/// What the page knows of the session.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastReported {
    state: Option<SessionState>,
    binding: Option<Option<Binding>>,
    refresh: Option<Option<Duration>>,
}

impl LastReported {
    /// One thing that has changed since it was reported last; it counts as reported then.
    pub(crate) fn next(
        &mut self,
        state: SessionState,
        binding: Option<Binding>,
        refresh: Option<Duration>,
    ) -> Option<Event> {
        if self.state.as_ref() != Some(&state) {
            self.state = Some(state.clone());
            return Some(Event::State(state));
        }
        if self.binding != Some(binding) {
            self.binding = Some(binding);
            return Some(Event::Binding(binding));
        }
        if self.refresh != Some(refresh) {
            self.refresh = Some(refresh);
            return Some(Event::Refresh(refresh));
        }
        None
    }
}
