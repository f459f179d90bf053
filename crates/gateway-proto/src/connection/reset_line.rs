//! Access requests after system resets. A reset may be about all resources of all connections, so
//! the connections stand in line, and only so many requests are under way at a time. Must not
//! depend on why else access is requested again.

use std::collections::VecDeque;

use super::{Connection, Shared};
use crate::{
    api::{Config, ConnectionKey},
    cache::Cause,
};

/// Connections that have to ask for access again because of system resets.
#[derive(Debug, Default)]
pub(crate) struct ResetLine {
    /// Each of them once. Some may be gone.
    queue: VecDeque<ConnectionKey>,
    /// How many of their requests are under way.
    under_way: usize,
}

impl ResetLine {
    /// True if the first one may ask.
    pub(crate) fn has_next(&self, config: &Config) -> bool {
        !self.queue.is_empty() && self.under_way < config.max_reset_rechecks.max(1)
    }

    /// The first one, if it may ask.
    pub(crate) fn next(&mut self, config: &Config) -> Option<ConnectionKey> {
        if self.has_next(config) { self.queue.pop_front() } else { None }
    }
}

impl Connection {
    /// Stands in line, if there is access to ask for again, and nothing else must come first.
    pub(super) fn stand_in_reset_line(&mut self, shared: &mut Shared) {
        if !self.pace.is_in_reset_line && self.can_recheck_after_reset(shared) {
            self.pace.is_in_reset_line = true;
            shared.reset_line.queue.push_back(self.key);
        }
    }

    fn can_recheck_after_reset(&self, shared: &Shared) -> bool {
        !self.pace.reset.is_empty() && !self.is_parked() && !self.is_busy() && self.has_room_to_recheck(shared)
    }

    /// Asks for access to the next resource, now that it is the connection's turn.
    pub(crate) fn recheck_after_reset(&mut self, shared: &mut Shared) {
        self.pace.is_in_reset_line = false;
        if self.can_recheck_after_reset(shared)
            && let Some(rid) = self.pace.reset.pop_first()
        {
            self.recheck_in_turn(&rid, Cause::Reset, shared);
        }
    }

    /// Notes that one more request is under way.
    pub(super) fn begin_reset_turn(&mut self, shared: &mut Shared) {
        self.pace.reset_turns += 1;
        shared.reset_line.under_way += 1;
    }

    /// Notes that one of them is answered or given up.
    pub(super) fn end_reset_turn(&mut self, shared: &mut Shared) {
        self.pace.reset_turns -= 1;
        shared.reset_line.under_way -= 1;
    }

    /// Notes that all of them are given up.
    pub(super) fn leave_reset_turns(&mut self, shared: &mut Shared) {
        shared.reset_line.under_way -= std::mem::take(&mut self.pace.reset_turns);
    }

    #[cfg(test)]
    pub(super) fn check_reset_line(&self, shared: &Shared) {
        let ResetLine { queue, under_way } = &shared.reset_line;
        assert_eq!(self.pace.is_in_reset_line, queue.contains(&self.key));
        assert!(self.pace.is_in_reset_line || !self.can_recheck_after_reset(shared), "nobody will ask for access");
        assert!(self.pace.reset_turns <= *under_way && *under_way <= shared.config.max_reset_rechecks.max(1));
    }
}
