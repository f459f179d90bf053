//! What is left to be done beside the input at hand: a little at a time, each kind in its turn, so that however much one client or
//! service has ordered, others come in between.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
};

use super::Gateway;
use crate::{api::ConnectionKey, connection::Shared};

/// A token reset on its way to all connections.
#[derive(Debug)]
pub(super) struct TokenReset {
    tids: BTreeSet<String>,
    subject: String,
    /// The last connection that has heard of it.
    last: Option<ConnectionKey>,
}

impl TokenReset {
    pub(super) fn new(tids: Vec<String>, subject: String) -> Self {
        Self { tids: tids.into_iter().collect(), subject, last: None }
    }
}

/// The kinds of work, in the order of their turns.
const KINDS: [fn(&mut Gateway) -> bool; 5] = [
    Gateway::tell_what_waited,
    Gateway::go_on_with_connections,
    Gateway::reload,
    Gateway::renew_tokens,
    Gateway::end_subscriptions,
];

impl Gateway {
    /// Does so much of what is left to be done.
    pub(super) fn work(&mut self, most: usize) {
        for _ in 0..most {
            if !self.work_on_one_kind() {
                break;
            }
        }
    }

    fn work_on_one_kind(&mut self) -> bool {
        (0..KINDS.len()).any(|_| {
            self.turn = (self.turn + 1) % KINDS.len();
            KINDS[self.turn](self)
        })
    }

    /// True if something is left to be done at once.
    pub(crate) fn has_work(&self) -> bool {
        let Shared { cache, ready, .. } = &self.shared;
        let of_connections = !ready.is_empty() || !self.closing.is_empty() || !self.token_resets.is_empty();
        of_connections || cache.has_unlocked() || cache.can_reload()
    }

    fn tell_what_waited(&mut self) -> bool {
        let Shared { cache, bus, .. } = &mut self.shared;
        let has_some = cache.has_unlocked();
        let notices = cache.next_waiting(bus);
        self.tell(notices);
        has_some
    }

    fn go_on_with_connections(&mut self) -> bool {
        let Some(key) = self.shared.ready.pop_front() else { return false };
        self.with(key, crate::connection::Connection::take_turn);
        true
    }

    fn reload(&mut self) -> bool {
        let Shared { cache, bus, .. } = &mut self.shared;
        let has_some = cache.can_reload();
        if has_some {
            cache.reload_next(bus);
        }
        has_some
    }

    fn renew_tokens(&mut self) -> bool {
        let Some(reset) = self.token_resets.front_mut() else { return false };
        let after = reset.last.map_or(Unbounded, Excluded);
        if let Some((key, connection)) = self.connections.range((after, Unbounded)).next() {
            reset.last = Some(*key);
            if connection.tid.as_ref().is_some_and(|tid| reset.tids.contains(tid)) {
                connection.renew_token(&reset.subject, &mut self.shared);
            }
        } else {
            self.token_resets.pop_front();
        }
        true
    }

    fn end_subscriptions(&mut self) -> bool {
        let Some(connection) = self.closing.front_mut() else { return false };
        if !connection.close_next(&mut self.shared) {
            self.closing.pop_front();
        }
        true
    }
}
