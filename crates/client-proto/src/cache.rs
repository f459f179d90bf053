//! Subscriptions and the values of resources: kept, stale, over a disconnect, and then brought up
//! to date by the smallest change. Must not depend on sessions or sockets.
//!
//! A resource is subscribed directly by callers, who are counted here, so that the gateway sees one
//! subscription; and indirectly by being referred to. A refused or revoked subscription that
//! callers still want is tried again with back-off. What nobody wants any more is let go a while
//! later (`sweep`).

mod entry;
mod sweep;

use std::time::Duration;

use relogin_res::{
    Change, Error, Map, ResourceId, Value,
    client::{Event as Wire, EventKind, ResourceSet},
    delta::{self, Changes, Step},
};

use self::entry::Entry;
use crate::{Answer, Event, Freshness, RequestError, Resource, ResourceChange, Token, Turn, outbox::Outbox};

/// A resource that is refused this soon after the connection's token has changed may have been
/// refused for the old one.
const AFTERMATH: Duration = Duration::from_secs(5);

/// All resources that the client has or wants.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    /// Boxed: what lies behind a new one is moved.
    entries: Map<ResourceId, Box<Entry>>,
    linger: Duration,
    /// Whether the connection takes subscriptions now.
    ready: bool,
    /// Nothing is to be done before this. Looking through all entries at each input would make many
    /// of them slow.
    due: Option<Duration>,
    /// When to look for what nobody wants any more; none if there is no such thing.
    sweep: Option<Duration>,
    /// Whether an entry that is in step, but not live, may be so again.
    doubted: bool,
    /// Until when refusals may be for an old token.
    aftermath: Duration,
}

impl Cache {
    /// An empty one. What nobody wants lasts for `linger`, twice.
    pub(crate) fn new(linger: Duration) -> Self {
        Self {
            entries: Map::new(),
            linger,
            ready: false,
            due: None,
            sweep: None,
            doubted: false,
            aftermath: Duration::ZERO,
        }
    }

    /// The values of a resource, as far as they are known.
    pub(crate) fn resource(&self, rid: &ResourceId) -> Option<&Resource> {
        self.entries.get(rid)?.value.as_ref()
    }

    /// How far they can be trusted.
    pub(crate) fn freshness(&self, rid: &ResourceId) -> Option<&Freshness> {
        Some(&self.entries.get(rid)?.freshness)
    }

    /// One subscription more. `token` settles when the resource is there or refused, or at
    /// `deadline`.
    pub(crate) fn subscribe(&mut self, rid: &ResourceId, token: Option<(Token, Duration)>, out: &mut Outbox) {
        let entry = self.entries.or_insert_with(rid, Entry::boxed);
        entry.callers = entry.callers.saturating_add(1);
        if entry.held > 0 && entry.freshness == Freshness::Live {
            if let Some((token, _)) = token {
                out.settle(token, Ok(Answer::Resource(rid.clone())));
            }
            return;
        }
        entry.waiting.extend(token);
        if self.ready {
            entry.ask(rid, out);
        }
        let due = entry.next_deadline();
        self.note(due);
    }

    /// One subscription less.
    ///
    /// # Errors
    /// [`RequestError::Refused`] if there is none, as a gateway would say.
    pub(crate) fn unsubscribe(&mut self, rid: &ResourceId, turn: &Turn, out: &mut Outbox) -> Result<(), RequestError> {
        let none = || RequestError::Refused(Error::no_subscription());
        let entry = self.entries.get_mut(rid).filter(|entry| entry.callers > 0).ok_or_else(none)?;
        entry.callers -= 1;
        if entry.callers == 0 {
            (entry.retry, entry.idle) = (None, Some(turn.now));
            entry.settle(&Err(RequestError::Superseded), out);
            self.sweep_later(turn);
        }
        Ok(())
    }

    /// The caller of this no longer waits: takes the subscription back that was to settle it.
    /// `false` if there is none.
    pub(crate) fn forget(&mut self, token: Token, turn: &Turn, out: &mut Outbox) -> bool {
        let waits = |entry: &Entry| entry.waiting.iter().any(|(waiting, _)| *waiting == token);
        let Some((rid, entry)) = self.entries.iter_mut().find(|(_, entry)| waits(entry)) else { return false };
        entry.waiting.retain(|(waiting, _)| *waiting != token);
        let rid = rid.clone();
        // It was counted when it began to wait.
        self.unsubscribe(&rid, turn, out).is_ok()
    }

    /// The connection takes subscriptions: new ones are sent from now on.
    pub(crate) fn ready(&mut self) {
        self.ready = true;
    }

    /// The values of `rid`, if they are what the gateway has.
    pub(crate) fn live(&self, rid: &ResourceId) -> Option<&Resource> {
        self.resource(rid).filter(|_| self.freshness(rid) == Some(&Freshness::Live))
    }

    /// Asks for `rid`, if callers want it.
    pub(crate) fn ask(&mut self, rid: &ResourceId, out: &mut Outbox) {
        if let Some(entry) = self.entries.get_mut(rid) {
            entry.ask(rid, out);
        }
    }

    /// Asks for all that callers want.
    pub(crate) fn ask_all(&mut self, out: &mut Outbox) {
        for (rid, entry) in self.entries.iter_mut() {
            entry.ask(rid, out);
        }
    }

    /// The connection has another token: what was refused may be granted now.
    pub(crate) fn ask_again(&mut self, turn: &Turn, out: &mut Outbox) {
        self.aftermath = turn.after(AFTERMATH);
        for (rid, entry) in self.entries.iter_mut() {
            entry.ask_again = entry.asking;
            if entry.retry.is_some() && self.ready {
                entry.backoff.reset();
                entry.ask(rid, out);
            }
        }
    }

    /// The connection is lost, and every subscription with it.
    pub(crate) fn lost(&mut self, turn: &Turn, out: &mut Outbox) {
        (self.ready, self.due, self.doubted, self.aftermath) = (false, None, false, Duration::ZERO);
        let mut due = None;
        for (rid, entry) in self.entries.iter_mut() {
            // Who was never sent still waits for the next connection.
            if std::mem::take(&mut entry.asking) {
                entry.settle(&Err(RequestError::ConnectionLost), out);
            }
            (entry.held, entry.leaving, entry.retry, entry.in_step) = (0, false, None, false);
            let freshness = if entry.value.is_some() { Freshness::Stale } else { Freshness::Loading };
            entry.set_freshness(freshness, rid, out);
            due = earliest(due, entry.next_deadline());
        }
        self.due = earliest(due, self.sweep);
        if self.entries.values().any(|entry| entry.callers == 0) {
            self.sweep_later(turn);
        }
    }

    /// There will be no next connection for now: nobody waits for one.
    pub(crate) fn give_up(&mut self, out: &mut Outbox) {
        for entry in self.entries.values_mut() {
            entry.settle(&Err(RequestError::ConnectionLost), out);
        }
        self.due = None;
    }

    /// The answer to a subscribe request.
    pub(crate) fn subscribed(
        &mut self,
        rid: &ResourceId,
        result: Result<ResourceSet, RequestError>,
        turn: &mut Turn,
        out: &mut Outbox,
    ) {
        // Whatever the gateway answered other than an error, it has us as a subscriber now.
        let held = !matches!(result, Err(RequestError::Refused(_)));
        let merged = result.map(|set| self.merge(set, turn, out));
        let patient = self.aftermath <= turn.now;
        let Some(entry) = self.entries.get_mut(rid) else { return };
        entry.asking = false;
        entry.held += u64::from(held);
        match merged {
            Ok(()) if entry.in_step => {
                entry.backoff.reset();
                entry.set_freshness(Freshness::Live, rid, out);
                entry.settle(&Ok(Answer::Resource(rid.clone())), out);
            }
            Err(RequestError::Refused(_)) if entry.ask_again && entry.callers > 0 => entry.ask(rid, out),
            other => {
                entry.give_back(rid, out);
                entry.failed(rid, other.err().unwrap_or(RequestError::Garbled), patient, turn, out);
                // Others may still refer to it.
                self.doubted |= entry.in_step;
            }
        }
        let due = entry.next_deadline();
        if entry.callers == 0 {
            entry.idle = Some(turn.now);
            self.sweep_later(turn);
        }
        self.note(due);
        self.doubt(rid);
        self.trust(out);
    }

    /// A method answered with a resource: it is directly subscribed now, on behalf of whoever
    /// called the method.
    pub(crate) fn adopt(&mut self, rid: &ResourceId, mut set: ResourceSet, turn: &mut Turn, out: &mut Outbox) {
        // The method has succeeded, but its resource cannot be had: the gateway keeps no
        // subscription, but its caller does.
        let refused = set.errors.remove(rid);
        self.merge(set, turn, out);
        let patient = self.aftermath <= turn.now;
        let entry = self.entries.or_insert_with(rid, Entry::boxed);
        entry.callers = entry.callers.saturating_add(1);
        match refused {
            None => {
                (entry.held, entry.retry) = (entry.held + 1, None);
                if entry.in_step {
                    entry.set_freshness(Freshness::Live, rid, out);
                }
            }
            Some(error) if entry.held == 0 && !entry.asking => {
                entry.failed(rid, RequestError::Refused(error), patient, turn, out);
                // Others may still refer to it.
                self.doubted |= entry.in_step;
            }
            Some(_) => {}
        }
        let due = entry.next_deadline();
        self.note(due);
        self.doubt(rid);
        self.trust(out);
    }

    /// A method answered with a resource that nobody waits for any more. The gateway counts on us
    /// to have it all the same.
    pub(crate) fn decline(&mut self, rid: &ResourceId, set: ResourceSet, turn: &mut Turn, out: &mut Outbox) {
        self.adopt(rid, set, turn, out);
        // There is one to take back: the one just made.
        let _ = self.unsubscribe(rid, turn, out);
    }

    /// A resource that was read once: from the answer, or, as gateways leave out what we have, from
    /// here.
    pub(crate) fn got(&self, rid: &ResourceId, mut set: ResourceSet) -> Result<Resource, RequestError> {
        if let Some(model) = set.models.remove(rid) {
            return Ok(Resource::Model(model));
        }
        if let Some(collection) = set.collections.remove(rid) {
            return Ok(Resource::Collection(collection.into()));
        }
        if let Some(error) = set.errors.remove(rid) {
            return Err(RequestError::Refused(error));
        }
        self.resource(rid).cloned().ok_or(RequestError::Garbled)
    }

    /// Something happened on a resource. `false` if it was nothing, or on none of ours.
    pub(crate) fn event(&mut self, wire: Wire, turn: &mut Turn, out: &mut Outbox) -> bool {
        let Wire { rid, name, data } = wire;
        let rid = &rid;
        // Of an old subscription, or of one that is only being made: nothing that our values could
        // be changed by.
        if !self.entries.get(rid).is_some_and(|entry| entry.in_step || entry.held > 0) {
            return false;
        }
        let Some(kind) = EventKind::read(&name, data) else { return false };
        match kind {
            EventKind::Change(event) => {
                self.merge(event.resources, turn, out);
                self.change(rid, event.values, turn, out);
            }
            EventKind::Add(event) => {
                self.merge(event.resources, turn, out);
                self.step(rid, Step::Add(event.idx, event.value), turn, out);
            }
            EventKind::Remove(event) => self.step(rid, Step::Remove(event.idx), turn, out),
            EventKind::Unsubscribe(event) => self.revoked(rid, event.reason, turn, out),
            EventKind::Delete => {
                if let Some(entry) = self.entries.get_mut(rid) {
                    entry.in_step = false;
                    out.emit(Event::Changed(rid.clone(), ResourceChange::Deleted));
                    entry.set_freshness(Freshness::Stale, rid, out);
                }
            }
            EventKind::Custom(data) => out.emit(Event::Custom { rid: rid.clone(), name, data }),
        }
        true
    }

    fn change(&mut self, rid: &ResourceId, changes: Changes, turn: &Turn, out: &mut Outbox) {
        self.doubted |= changes
            .values()
            .filter_map(Change::value)
            .any(|value| value.reference().is_some_and(|rid| self.is_dormant(rid)));
        let Some(entry) = self.entries.get_mut(rid).filter(|entry| entry.in_step) else { return };
        let Some(Resource::Model(model)) = &mut entry.value else { return };
        let drops = changes.keys().any(|name| model.get(name).is_some_and(|value| value.reference().is_some()));
        let changes = delta::apply(model, changes);
        if !changes.is_empty() {
            out.emit(Event::Changed(rid.clone(), ResourceChange::Model(changes.into_iter().collect())));
        }
        if drops {
            self.sweep_later(turn);
        }
        self.trust(out);
    }

    fn step(&mut self, rid: &ResourceId, step: Step, turn: &Turn, out: &mut Outbox) {
        if let Step::Add(_, value) = &step {
            self.doubted |= value.reference().is_some_and(|rid| self.is_dormant(rid));
        }
        let Some(entry) = self.entries.get_mut(rid).filter(|entry| entry.in_step) else { return };
        let Some(Resource::Collection(values)) = &mut entry.value else { return };
        let done = match &step {
            Step::Add(index, value) => values.insert(*index, value.clone()).then_some(None),
            Step::Remove(index) => values.remove(*index).map(Some),
        };
        let Some(removed) = done else { return };
        out.emit(Event::Changed(rid.clone(), ResourceChange::Collection(step)));
        if removed.is_some_and(|value| value.reference().is_some()) {
            self.sweep_later(turn);
        }
        self.trust(out);
    }

    fn revoked(&mut self, rid: &ResourceId, reason: Error, turn: &mut Turn, out: &mut Outbox) {
        let patient = self.aftermath <= turn.now;
        let Some(entry) = self.entries.get_mut(rid) else { return };
        (entry.held, entry.crossed) = (0, entry.leaving);
        if !entry.asking {
            entry.failed(rid, RequestError::Refused(reason), patient, turn, out);
        }
        let due = entry.next_deadline();
        self.note(due);
        // Referred to, it is still subscribed; and what it refers to may not be any more.
        self.trust_all(out);
        self.sweep_later(turn);
    }

    /// The entry of `rid`, which is made if there is none.
    fn entry(&mut self, rid: &ResourceId) -> &mut Entry {
        self.entries.or_insert_with(rid, Entry::boxed)
    }

    /// Takes in resources that the gateway sent along.
    fn merge(&mut self, set: ResourceSet, turn: &Turn, out: &mut Outbox) {
        if set.is_empty() {
            return;
        }
        let models = set.models.into_iter().map(|(rid, model)| (rid, Resource::Model(model)));
        let collections = set.collections.into_iter().map(|(rid, values)| (rid, Resource::Collection(values.into())));
        for (rid, value) in models.chain(collections) {
            self.doubted |= self.refers_to_dormant(&value);
            self.entry(&rid).replace(value, &rid, out);
        }
        for (rid, error) in set.errors {
            let entry = self.entry(&rid);
            entry.in_step = false;
            entry.set_freshness(Freshness::Failed(RequestError::Refused(error)), &rid, out);
        }
        // Something may have come along that nothing refers to.
        self.sweep_later(turn);
    }
}

/// The earlier of two points in time.
fn earliest(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.into_iter().chain(b).min()
}

/// Tells `found` each of the resources that come along with these values.
fn references<'r>(resource: &'r Resource, found: &mut dyn FnMut(&'r ResourceId)) {
    let look = |value: &'r Value| value.reference().into_iter().for_each(&mut *found);
    match resource {
        Resource::Model(model) => model.values().for_each(look),
        Resource::Collection(values) => values.iter().for_each(look),
    }
}
