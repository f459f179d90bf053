//! Resources that nobody uses any more, and those whose events the gateway no longer sends. Sends
//! no requests.
//!
//! Both follow from who refers to whom, circles and all, and so from a look at all entries: that is
//! taken a while after something may have become unwanted, once for all that did by then.

use std::time::Duration;

use relogin_res::{Map, ResourceId};

use super::{Cache, earliest, entry::Entry, references};
use crate::{Answer, Event, Freshness, RequestError, Resource, Turn, outbox::Outbox};

impl Cache {
    /// Does what is due: retries, lets go of callers who waited long enough, and of what nobody
    /// wants.
    pub(crate) fn tick(&mut self, turn: &Turn, out: &mut Outbox) {
        let now = turn.now;
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let mut due = None;
        for (rid, entry) in self.entries.iter_mut() {
            if self.ready && entry.retry.is_some_and(|retry| retry <= now) {
                entry.ask(rid, out);
            }
            for (token, _) in entry.waiting.extract_if(.., |(_, deadline)| *deadline <= now) {
                out.settle(token, Err::<Answer, _>(RequestError::TimedOut));
            }
            due = earliest(due, entry.next_deadline());
        }
        if self.sweep.is_some_and(|sweep| sweep <= now) {
            self.sweep(now, out);
        }
        self.due = earliest(due, self.sweep);
    }

    /// When [`Cache::tick`] may have something to do.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.due
    }

    /// Something is to be done at `due`.
    pub(super) fn note(&mut self, due: Option<Duration>) {
        self.due = earliest(self.due, due);
    }

    /// There may be something that nobody wants.
    pub(super) fn sweep_later(&mut self, turn: &Turn) {
        let sweep = *self.sweep.get_or_insert(turn.after(self.linger));
        self.note(Some(sweep));
    }

    /// Gives back what nobody has wanted for long enough, and forgets it once nobody has for as
    /// long again. Only then, as the gateway can have left it out of what it is about to send.
    fn sweep(&mut self, now: Duration, out: &mut Outbox) {
        let wanted =
            self.reachable(|entry| entry.callers > 0 || entry.asking || entry.held > 0 || entry.leaving, |_| true);
        let (linger, mut next) = (self.linger, None);
        self.entries.retain(|rid, entry| {
            let wanted = wanted.contains_key(rid);
            if entry.callers > 0 || entry.asking || (wanted && entry.held == 0) {
                entry.idle = None;
                return true;
            }
            let mut since = *entry.idle.get_or_insert(now);
            if since.saturating_add(linger) <= now {
                if entry.held == 0 {
                    out.emit(Event::Forgotten(rid.clone()));
                    return false;
                }
                entry.give_back(rid, out);
                since = now;
                entry.idle = Some(now);
            }
            next = earliest(next, Some(since));
            true
        });
        // Not for each of many that became unwanted one by one.
        let soonest = now + (linger / 8).max(Duration::from_millis(1));
        self.sweep = next.map(|since| since.saturating_add(linger).max(soonest));
        self.trust_all(out);
    }

    /// The gateway has answered that we gave `rid` back, so many times.
    pub(crate) fn given_back(&mut self, rid: &ResourceId, count: u64, done: bool, turn: &Turn, out: &mut Outbox) {
        let Some(entry) = self.entries.get_mut(rid) else { return };
        if done && entry.crossed {
            // It was taken away before: what we gave back is what has been made of it since.
            entry.held = entry.held.saturating_sub(count);
            if self.ready {
                entry.ask(rid, out);
            }
        } else if !done && count > 1 && !entry.crossed {
            // It takes all or nothing, and we had some less than we thought. (Taken away before,
            // there was nothing to give back, and what is there since is not to be given back.)
            return out.give_back(rid, count - 1);
        }
        (entry.leaving, entry.crossed) = (false, false);
        if entry.callers == 0 {
            entry.idle = Some(turn.now);
        }
        self.sweep_later(turn);
    }

    /// Whether `rid` is up to date, but the gateway sends no events of it, as far as we know.
    pub(super) fn is_dormant(&self, rid: &ResourceId) -> bool {
        self.entries.get(rid).is_some_and(|entry| entry.in_step && entry.freshness != Freshness::Live)
    }

    /// The gateway sends events of `rid` now, and so it may of what that refers to.
    pub(super) fn doubt(&mut self, rid: &ResourceId) {
        self.doubted |= self.resource(rid).is_some_and(|value| self.refers_to_dormant(value));
    }

    /// Whether `resource` refers to such a one.
    pub(super) fn refers_to_dormant(&self, resource: &Resource) -> bool {
        let mut found = false;
        references(resource, &mut |rid| found |= self.is_dormant(rid));
        found
    }

    /// As [`Cache::trust_all`], if it can change anything.
    pub(super) fn trust(&mut self, out: &mut Outbox) {
        if self.doubted {
            self.trust_all(out);
        }
    }

    /// No longer trusts values whose events the gateway does not send, and trusts the others again.
    pub(super) fn trust_all(&mut self, out: &mut Outbox) {
        // What was deleted leads nowhere any more.
        let told = self.reachable(|entry| entry.held > 0, |entry| entry.in_step);
        self.doubted = false;
        for (rid, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.in_step) {
            if told.contains_key(rid) {
                entry.set_freshness(Freshness::Live, rid, out);
            } else if entry.freshness == Freshness::Live {
                entry.set_freshness(Freshness::Stale, rid, out);
            }
        }
    }

    /// The resources that satisfy `root`, and all that they refer to, as far as `leads` lets pass.
    fn reachable(&self, root: fn(&Entry) -> bool, leads: fn(&Entry) -> bool) -> Map<ResourceId, ()> {
        let roots = self.entries.iter().filter(|(_, entry)| root(entry));
        let mut open: Vec<&ResourceId> = roots.map(|(rid, _)| rid).collect();
        let mut found = Map::new();
        while let Some(rid) = open.pop() {
            if found.insert(rid.clone(), ()).is_none() {
                let entry = self.entries.get(rid).filter(|entry| leads(entry));
                if let Some(value) = entry.and_then(|entry| entry.value.as_ref()) {
                    references(value, &mut |rid| open.push(rid));
                }
            }
        }
        found
    }
}
