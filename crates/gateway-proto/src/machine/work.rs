//! What is left to be done beside the input at hand: a little at a time, each kind in its turn, so that however much one client or
//! service has ordered, others come in between.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
};

use relogin_res::Pattern;

use super::Gateway;
use crate::{
    api::ConnectionKey,
    cache::{Notice, Step, Told},
    connection::{Connection, Shared, inbox::Arrival},
    ids::ResourceKey,
};

/// A system reset on its way to all names of the cache.
#[derive(Debug)]
pub(super) struct SystemReset {
    resources: Vec<Pattern>,
    access: Vec<Pattern>,
    /// The last name that has heard of it.
    last: Option<String>,
}

/// A token reset on its way to all connections.
#[derive(Debug)]
pub(super) struct TokenReset {
    tids: BTreeSet<String>,
    subject: String,
    /// The last connection that has heard of it.
    last: Option<ConnectionKey>,
}

impl SystemReset {
    pub(super) fn new(resources: &[String], access: &[String]) -> Self {
        let patterns = |texts: &[String]| texts.iter().filter_map(|text| Pattern::parse(text)).collect();
        Self { resources: patterns(resources), access: patterns(access), last: None }
    }

    fn is_to_hear_of_access(&self, name: &str) -> bool {
        self.last.as_deref().is_none_or(|last| last < name) && matches(&self.access, name)
    }
}

fn matches(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

impl TokenReset {
    pub(super) fn new(tids: Vec<String>, subject: String) -> Self {
        Self { tids: tids.into_iter().collect(), subject, last: None }
    }
}

/// The kinds of work, in the order of their turns.
const KINDS: [fn(&mut Gateway) -> bool; 8] = [
    Gateway::tell_some,
    Gateway::reset,
    Gateway::tell_what_waited,
    Gateway::go_on_with_connections,
    Gateway::reload,
    Gateway::renew_tokens,
    Gateway::end_subscriptions,
    Gateway::clear_wrecks,
];

/// How many subscribers are told of what happened to a resource, for each step of other work: that is less
/// work than most steps are.
const TOLD_A_STEP: usize = 8;

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
        let of_services = !self.resets.is_empty() || cache.has_unlocked() || cache.can_reload();
        let of_connections = !ready.is_empty() || !self.closing.is_empty() || !self.token_resets.is_empty();
        of_services || of_connections || cache.has_untold() || !self.wrecks.is_empty()
    }

    /// Lets subscribers be told of what happened to resources: some of them now.
    pub(super) fn tell(&mut self, notices: impl IntoIterator<Item = Notice>) {
        self.announce(notices);
        for _ in 0..self.inline * TOLD_A_STEP {
            if !self.tell_next() {
                return;
            }
        }
    }

    /// Lets subscribers be told of what happened to resources, in their turn; or now, if too much is
    /// waiting to be told.
    fn announce(&mut self, notices: impl IntoIterator<Item = Notice>) {
        self.shared.cache.announce(notices);
        while self.shared.cache.has_too_much_untold() {
            self.tell_next();
        }
    }

    fn tell_some(&mut self) -> bool {
        let has_some = self.tell_next();
        for _ in 1..TOLD_A_STEP.min(self.inline * TOLD_A_STEP) {
            if !self.tell_next() {
                break;
            }
        }
        has_some
    }

    /// Tells the next subscriber. False if all have been told everything.
    fn tell_next(&mut self) -> bool {
        let step = self.shared.cache.tell_next();
        let has_some = step.is_some();
        if let Some(Step::Told(told)) = step {
            self.tell_one(told);
        }
        has_some
    }

    fn tell_one(&mut self, told: Told) {
        self.with_as_it_is(told.connection, |connection, shared| connection.receive(Arrival::News(told), shared));
    }

    /// Tells a connection all that it lacks, before anything else is done with it: it must not be seen from
    /// what it is told that others have been told before.
    pub(super) fn catch_up_with_news(&mut self, key: ConnectionKey) {
        while self.shared.cache.has_untold()
            && let Some(connection) = self.connections.get_mut(&key)
            && let Some(told) = self.shared.cache.tell_next_of(key, &mut connection.lacks)
        {
            self.tell_one(told);
        }
    }

    fn reset(&mut self) -> bool {
        let Some(reset) = self.resets.front_mut() else { return false };
        let cache = &mut self.shared.cache;
        let Some(name) = cache.next_name(reset.last.as_deref()).map(str::to_owned) else {
            self.resets.pop_front();
            return true;
        };
        if matches(&reset.resources, &name) {
            cache.reset_resources(&name);
        }
        let has_access = matches(&reset.access, &name);
        let notices = if has_access { cache.reset_access(&name) } else { Vec::new() };
        reset.last = Some(name);
        self.announce(notices);
        true
    }

    /// Lets a name hear of what came before an event on it: the event must not be seen by who may no longer.
    pub(super) fn catch_up(&mut self, name: &str) {
        if self.resets.iter().any(|reset| reset.is_to_hear_of_access(name)) {
            let notices = self.shared.cache.reset_access(name);
            self.announce(notices);
        }
    }

    pub(super) fn catch_up_with(&mut self, key: ResourceKey) {
        if !self.resets.is_empty()
            && let Some(name) = self.shared.cache.name_of(key).map(str::to_owned)
        {
            self.catch_up(&name);
        }
    }

    fn tell_what_waited(&mut self) -> bool {
        if let Some(name) = self.shared.cache.next_unlocked().filter(|_| !self.resets.is_empty()) {
            let name = name.to_owned();
            self.catch_up(&name);
        }
        let Shared { cache, bus, .. } = &mut self.shared;
        let has_some = cache.has_unlocked();
        let notices = cache.next_waiting(bus);
        self.announce(notices);
        has_some
    }

    fn go_on_with_connections(&mut self) -> bool {
        let Some(key) = self.shared.ready.pop_front() else { return false };
        self.with(key, Connection::take_turn);
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
            if connection.is_busy() {
                // A token may have come, and wait.
                return false;
            }
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
