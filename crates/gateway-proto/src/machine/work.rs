//! Work that is left over from earlier inputs: a little with each input, each kind in turn, so that
//! one client or service with much work does not delay the others.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
};

use relogin_res::{Pattern, rid::is_name};

use super::Gateway;
use crate::{
    api::ConnectionKey,
    cache::{Cache, Cause, Notice, Notification, Step, Swept},
    connection::{Connection, Shared, inbox::Arrival},
    ids::ResourceKey,
};

/// A system reset on its way to all names of the cache.
#[derive(Debug, Default)]
pub(super) struct SystemReset {
    resources: Patterns,
    access: Patterns,
    /// The last name that it has reached.
    last: Option<String>,
    /// Names after that one that it has reached already, because of an event.
    ahead: BTreeSet<String>,
}

/// The patterns of a system reset.
#[derive(Debug, Default)]
struct Patterns {
    /// Those without wildcards. They are looked up, because there may be a thousand.
    names: BTreeSet<String>,
    wildcards: Vec<Pattern>,
}

/// A token reset on its way to all connections.
#[derive(Debug)]
pub(super) struct TokenReset {
    tids: BTreeSet<String>,
    subject: String,
    /// The last connection that it has reached.
    last: Option<ConnectionKey>,
}

impl SystemReset {
    /// A reset of these patterns, and whether all of them are such. The others do not count.
    pub(super) fn new(resources: &[String], access: &[String]) -> (Self, bool) {
        let mut reset = Self::default();
        let mut is_whole = true;
        for text in resources {
            is_whole &= reset.resources.add(text);
        }
        for text in access {
            is_whole &= reset.access.add(text);
        }
        (reset, is_whole)
    }

    /// The name that it has to reach next. Without wildcards, it passes over no others.
    fn next_name(&self, cache: &Cache) -> Option<String> {
        let last = self.last.as_deref();
        let next = if self.resources.wildcards.is_empty() && self.access.wildcards.is_empty() {
            [&self.resources, &self.access].into_iter().filter_map(|patterns| patterns.next_name(last)).min()
        } else {
            cache.next_name(last)
        };
        next.map(str::to_owned)
    }

    /// True, once, if it concerns a name and has not reached it yet.
    fn is_news_to(&mut self, name: &str) -> bool {
        let is_left = self.last.as_deref().is_none_or(|last| last < name);
        is_left && self.access.matches(name) && self.ahead.insert(name.to_owned())
    }
}

impl Patterns {
    /// Adds a pattern. False if it is none.
    fn add(&mut self, text: &str) -> bool {
        if is_name(text) {
            self.names.insert(text.to_owned());
            return true;
        }
        let pattern = Pattern::parse(text);
        let is_pattern = pattern.is_some();
        self.wildcards.extend(pattern);
        is_pattern
    }

    fn matches(&self, name: &str) -> bool {
        self.names.contains(name) || self.wildcards.iter().any(|pattern| pattern.matches(name))
    }

    /// Of the names, the one after `last`; the first one if there is no last.
    fn next_name(&self, last: Option<&str>) -> Option<&str> {
        let after = last.map_or(Unbounded, Excluded);
        self.names.range::<str, _>((after, Unbounded)).next().map(String::as_str)
    }
}

impl TokenReset {
    pub(super) fn new(tids: Vec<String>, subject: String) -> Self {
        Self { tids: tids.into_iter().collect(), subject, last: None }
    }
}

/// The kinds of work, in the order of their turns.
const KINDS: [fn(&mut Gateway) -> bool; 12] = [
    Gateway::deliver_some,
    Gateway::reset,
    Gateway::sweep_some,
    Gateway::apply_what_waited,
    Gateway::go_on_with_connections,
    Gateway::recheck_after_reset,
    Gateway::let_next_one_write,
    Gateway::reload,
    Gateway::renew_tokens,
    Gateway::end_subscriptions,
    Gateway::evict,
    Gateway::clear_wrecks,
];

/// How many subscribers are notified of what happened to a resource for each step of other work:
/// that is less work than most steps are.
pub(super) const DELIVERIES_A_STEP: usize = 8;

impl Gateway {
    /// Does so much of what is left to be done.
    pub(super) fn work(&mut self, most: usize) {
        for _ in 0..most {
            if self.shared.texts_left == 0 || !self.work_on_one_kind() {
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
        let Shared { config, cache, ready, reset_line, writers, .. } = &self.shared;
        let of_services = !self.resets.is_empty() || cache.has_unlocked() || cache.can_reload() || cache.must_evict();
        let of_connections = !ready.is_empty() || !self.closing.is_empty() || !self.token_resets.is_empty();
        of_services
            || of_connections
            || writers.has_next()
            || reset_line.has_next(config)
            || cache.has_undelivered()
            || cache.has_sweeps()
            || !self.wrecks.is_empty()
    }

    /// Has subscribers notified of what happened to resources: some of them now.
    pub(super) fn notify(&mut self, notices: impl IntoIterator<Item = Notice>) {
        self.shared.cache.announce(notices);
        while self.deliveries_left > 0 {
            let cost = if self.deliver_next() {
                1
            } else if self.sweep_some() {
                DELIVERIES_A_STEP
            } else {
                return;
            };
            self.deliveries_left = self.deliveries_left.saturating_sub(cost);
        }
    }

    fn deliver_some(&mut self) -> bool {
        let has_some = self.deliver_next();
        for _ in 1..DELIVERIES_A_STEP.min(self.inline * DELIVERIES_A_STEP) {
            if !self.deliver_next() {
                break;
            }
        }
        has_some
    }

    /// Does a step of a sweep, or notifies some subscribers for it. False if there is none.
    fn sweep_some(&mut self) -> bool {
        let mut has_some = false;
        for _ in 0..DELIVERIES_A_STEP.min(self.inline * DELIVERIES_A_STEP).max(1) {
            let Shared { cache, bus, .. } = &mut self.shared;
            let Some(swept) = cache.sweep_next(bus) else { break };
            has_some = true;
            let is_notification = matches!(swept, Swept::Notification(_));
            self.take_swept(swept);
            if !is_notification {
                break;
            }
        }
        has_some
    }

    fn take_swept(&mut self, swept: Swept) {
        match swept {
            Swept::Notification(notification) => self.notify_one(notification),
            Swept::Notices(notices) => self.shared.cache.announce(notices),
        }
    }

    /// Notifies the next subscriber. False if there is nothing to deliver.
    fn deliver_next(&mut self) -> bool {
        let Shared { cache, bus, .. } = &mut self.shared;
        let step = cache.deliver_next(bus);
        let has_some = step.is_some();
        if let Some(Step::Notification(notification)) = step {
            self.notify_one(notification);
        }
        has_some
    }

    fn notify_one(&mut self, news: Notification) {
        self.with_as_it_is(news.connection, |connection, shared| connection.receive(Arrival::News(news), shared));
    }

    /// Delivers everything that a connection lacks, before anything else is done with it: a client
    /// must not see that others are ahead of it. If that is much, the rest follows in its turn.
    pub(super) fn catch_up_with_news(&mut self, key: ConnectionKey) {
        if !self.shared.cache.has_undelivered() {
            return;
        }
        while self.catch_up_left > 0 {
            let cache = &mut self.shared.cache;
            let until = cache.next_notice();
            let Some(connection) = self.connections.get_mut(&key).filter(|it| !it.is_catching_up()) else { break };
            let Some(news) = cache.next_notification_for(key, &mut connection.lacks, until) else { return };
            self.catch_up_left -= 1;
            self.notify_one(news);
        }
        let Shared { cache, .. } = &self.shared;
        if let Some(connection) = self.connections.get_mut(&key).filter(|it| it.lacks < cache.next_notice()) {
            connection.catch_up(cache.next_notice());
        }
    }

    fn reset(&mut self) -> bool {
        let Some(reset) = self.resets.front_mut() else { return false };
        let cache = &mut self.shared.cache;
        if cache.has_too_many_sweeps() {
            return false;
        }
        let Some(name) = reset.next_name(cache) else {
            self.resets.pop_front();
            return true;
        };
        if reset.resources.matches(&name) {
            cache.reset_resources(&name);
        }
        if reset.is_news_to(&name) {
            cache.reset_access(&name, Cause::Reset);
        }
        reset.ahead.remove(&name);
        reset.last = Some(name);
        true
    }

    /// Has resets reach a name before a later event on it: whoever has lost access must not see the
    /// event.
    pub(super) fn catch_up(&mut self, name: &str) {
        for reset in &mut self.resets {
            if reset.is_news_to(name) {
                self.shared.cache.reset_access(name, Cause::Reset);
            }
        }
    }

    pub(super) fn catch_up_with(&mut self, key: ResourceKey) {
        if !self.resets.is_empty()
            && let Some(name) = self.shared.cache.name_of(key).map(str::to_owned)
        {
            self.catch_up(&name);
        }
    }

    fn apply_what_waited(&mut self) -> bool {
        if self.shared.cache.has_too_much_undelivered() {
            return false;
        }
        if let Some(name) = self.shared.cache.next_unlocked().filter(|_| !self.resets.is_empty()) {
            let name = name.to_owned();
            self.catch_up(&name);
        }
        let Shared { cache, bus, .. } = &mut self.shared;
        let has_some = cache.has_unlocked();
        let notices = cache.next_waiting(bus);
        cache.announce(notices);
        has_some
    }

    fn go_on_with_connections(&mut self) -> bool {
        let Some(key) = self.shared.ready.pop_front() else { return false };
        self.with(key, Connection::take_turn);
        true
    }

    fn recheck_after_reset(&mut self) -> bool {
        let Shared { config, reset_line, .. } = &mut self.shared;
        let Some(key) = reset_line.next(config) else { return false };
        self.with(key, Connection::recheck_after_reset);
        true
    }

    fn let_next_one_write(&mut self) -> bool {
        let Some(key) = self.shared.writers.next() else { return false };
        match self.connections.get_mut(&key) {
            Some(connection) => {
                connection.unpark();
                connection.get_ready(&mut self.shared);
            }
            None => self.shared.writers.leave(key),
        }
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

    fn evict(&mut self) -> bool {
        let Shared { cache, bus, .. } = &mut self.shared;
        let has_some = cache.must_evict();
        if has_some {
            cache.evict(bus);
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
        if !connection.close_next(&mut self.shared)
            && let Some(connection) = self.closing.pop_front()
        {
            self.shared.bus.discard(connection);
        }
        true
    }
}
