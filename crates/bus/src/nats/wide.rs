//! Wide subscriptions, each of which serves many listeners: `event.user.>` for those to
//! `event.user.1.*`, `event.user.2.*` and so on. Must not depend on RES.
//!
//! async-nats allocates room for 32 messages, 8 KiB, for each subscription. How many names a
//! gateway listens to is for its clients to decide, so only some listeners get a subscription of
//! their own. For the rest, the server sends what nobody here listens to as well, and a router
//! finds the listeners. The order of messages stays as it was: each arrives by one wide
//! subscription.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::ordered_subscriber::OrderedSubscriber;
use crate::{
    Delivery, Mailbox, Message, Tag,
    router::{RouteId, Router},
};

/// How many subscriptions a process has before listeners share some: 16 MiB of them.
pub const OWN_SUBSCRIPTIONS: usize = 2_048;

/// How many narrow wide subscriptions there are: 4 MiB of them.
const NARROW: usize = 512;

/// The listeners behind a wide subscription.
pub(super) type Routes = Arc<Mutex<Router<(Mailbox, Tag)>>>;

/// No listeners.
pub(super) fn no_routes() -> Routes {
    Arc::new(Mutex::new(Router::new()))
}

/// Which wide subscriptions there may be, and those there are.
#[derive(Default)]
pub(super) struct WideSubscriptions {
    allowed: Option<Allowed>,
    open: HashMap<Box<str>, Wide>,
}

struct Allowed {
    patterns: Vec<String>,
    own: usize,
}

struct Wide {
    subscriber: Arc<OrderedSubscriber>,
    routes: Routes,
}

impl WideSubscriptions {
    /// Allows subscriptions to these patterns and to parts of them, from the time on when there
    /// are `own` others.
    pub(super) fn allow(&mut self, patterns: Vec<String>, own: usize) {
        self.allowed = Some(Allowed { patterns, own });
    }

    /// The wide subscription that a listener to `pattern` should share while there are `own`
    /// others; `None`: it should have its own.
    pub(super) fn choose(&self, pattern: &str, own: usize) -> Option<String> {
        let allowed = self.allowed.as_ref().filter(|allowed| own >= allowed.own)?;
        let widest = allowed.patterns.iter().find(|wide| covers(wide, pattern))?;
        let narrow = narrowed(widest, pattern)
            .filter(|narrow| self.open.len() < NARROW || self.open.contains_key(narrow.as_str()));
        Some(narrow.unwrap_or_else(|| widest.clone()))
    }

    /// Adds a listener to the wide subscription `wide`, if that is open.
    pub(super) fn join(&self, wide: &str, pattern: &str, mailbox: &Mailbox, tag: Tag) -> Option<RouteId> {
        Some(lock(&self.open.get(wide)?.routes).insert(pattern, (mailbox.clone(), tag)))
    }

    /// Adds a wide subscription. Returns the subscriber if there is already one.
    pub(super) fn add(
        &mut self,
        wide: &str,
        subscriber: Arc<OrderedSubscriber>,
        routes: Routes,
    ) -> Option<Arc<OrderedSubscriber>> {
        if self.open.contains_key(wide) {
            return Some(subscriber);
        }
        self.open.insert(wide.into(), Wide { subscriber, routes });
        None
    }

    /// Removes a listener. Returns the subscriber if that was the last one.
    pub(super) fn leave(&mut self, wide: &str, pattern: &str, id: RouteId) -> Option<Arc<OrderedSubscriber>> {
        let is_empty = {
            let mut routes = lock(&self.open.get(wide)?.routes);
            routes.remove(pattern, id);
            routes.is_empty()
        };
        is_empty.then(|| self.open.remove(wide)).flatten().map(|wide| wide.subscriber)
    }

    /// The subscribers.
    pub(super) fn subscribers(&self) -> impl Iterator<Item = &Arc<OrderedSubscriber>> {
        self.open.values().map(|wide| &wide.subscriber)
    }
}

/// Delivers a message to all who listen to its subject.
pub(super) fn deliver(routes: &Routes, message: &Message) {
    lock(routes).find(&message.subject, &mut |(mailbox, tag)| {
        mailbox.put(Delivery::Message { tag: *tag, message: message.clone() });
    });
}

/// True if each subject of `pattern` is one of `wide`.
fn covers(wide: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('.');
    for part in wide.split('.') {
        match (part, parts.next()) {
            (">", Some(_)) => return true,
            ("*", Some(other)) if other != ">" => {}
            (part, Some(other)) if part == other => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

/// The part of `wide`, which covers `pattern` and ends with `>`, in which the next part of the
/// pattern is fixed.
fn narrowed(wide: &str, pattern: &str) -> Option<String> {
    let fixed = wide.strip_suffix('>')?.split('.').count();
    let mut parts: Vec<_> = pattern.splitn(fixed + 1, '.').collect();
    if parts.len() <= fixed || matches!(parts[fixed - 1], "*" | ">") {
        return None;
    }
    parts[fixed] = ">";
    Some(parts.join("."))
}

/// Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
fn lock<T>(routes: &Mutex<Router<T>>) -> MutexGuard<'_, Router<T>> {
    routes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_what_all_its_subjects_are() {
        for (wide, pattern) in [
            (">", "a"),
            (">", "*"),
            (">", ">"),
            ("a.>", "a.b"),
            ("a.>", "a.*.c"),
            ("a.>", "a.>"),
            ("a.*.c", "a.b.c"),
            ("a.*.c", "a.*.c"),
        ] {
            assert!(covers(wide, pattern), "{wide} {pattern}");
        }
        for (wide, pattern) in [
            ("a.>", "a"),
            ("a.>", "b.c"),
            ("a.>", "*.b"),
            ("a.>", ">"),
            ("a.*.c", "a.b"),
            ("a.*.c", "a.b.c.d"),
            ("a.*", "a.>"),
        ] {
            assert!(!covers(wide, pattern), "{wide} {pattern}");
        }
    }

    #[test]
    fn a_wildcard_is_narrowed_by_one_part() {
        for (wide, pattern, expected) in [
            ("event.>", "event.user.42.*", Some("event.user.>")),
            ("event.>", "event.user.*", Some("event.user.>")),
            ("event.>", "event.user", None),
            ("event.>", "event.*.a", None),
            ("event.>", "event.>", None),
            (">", "a.b", Some("a.>")),
            (">", "a", None),
            (">", ">", None),
            ("conn.*.token", "conn.a.token", None),
        ] {
            assert_eq!(narrowed(wide, pattern).as_deref(), expected, "{wide} {pattern}");
            assert!(expected.is_none_or(|narrow| covers(wide, narrow) && covers(narrow, pattern)));
        }
    }
}
