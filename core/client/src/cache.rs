//! Subscriptions and the values of resources: kept, stale, over a disconnect, and then brought up to date by the smallest
//! change. Knows neither sessions nor sockets.
//!
//! A resource is subscribed directly by callers, who are counted here, so that the gateway sees one subscription; and
//! indirectly by being referred to. A refused or revoked subscription that callers still want is tried again with back-off.

mod entry;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use relogin_res::{
    Error, ResourceId, Value,
    client::{Event as Wire, EventKind, ResourceSet},
    delta::{self, Changes, Step},
};
use serde_json::Value as Json;

use self::entry::Entry;
use crate::{Answer, Event, Freshness, RequestError, Resource, ResourceChange, Token, input::Turn, outbox::Outbox};

/// All resources that the client has or wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    entries: BTreeMap<ResourceId, Entry>,
    /// Whether the connection takes subscriptions now.
    ready: bool,
}

impl Cache {
    /// The values of a resource, as far as they are known.
    pub(crate) fn resource(&self, rid: &ResourceId) -> Option<&Resource> {
        self.entries.get(rid)?.value.as_ref()
    }

    /// How far they can be trusted.
    pub(crate) fn freshness(&self, rid: &ResourceId) -> Option<&Freshness> {
        Some(&self.entries.get(rid)?.freshness)
    }

    /// One subscription more. `token` settles when the resource is there or refused, or at `deadline`.
    pub(crate) fn subscribe(&mut self, rid: &ResourceId, token: Option<(Token, Duration)>, out: &mut Outbox) {
        let entry = self.entries.entry(rid.clone()).or_insert_with(Entry::new);
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
    }

    /// One subscription less.
    ///
    /// # Errors
    /// [`RequestError::NotSubscribed`] if there is none.
    pub(crate) fn unsubscribe(&mut self, rid: &ResourceId, out: &mut Outbox) -> Result<(), RequestError> {
        let entry = self.entries.get_mut(rid).filter(|entry| entry.callers > 0).ok_or(RequestError::NotSubscribed)?;
        entry.callers -= 1;
        if entry.callers == 0 {
            entry.retry = None;
            entry.settle(&Err(RequestError::Superseded), out);
            entry.give_back(rid, out);
            self.sweep(out);
        }
        Ok(())
    }

    /// The connection takes subscriptions: ask for all that callers want.
    pub(crate) fn ready(&mut self, out: &mut Outbox) {
        self.ready = true;
        for (rid, entry) in &mut self.entries {
            entry.ask(rid, out);
        }
    }

    /// Somebody logged in: what was refused may be granted now.
    pub(crate) fn ask_again(&mut self, out: &mut Outbox) {
        for (rid, entry) in &mut self.entries {
            entry.ask_again = entry.asking;
            if entry.retry.is_some() && self.ready {
                entry.backoff.reset();
                entry.ask(rid, out);
            }
        }
    }

    /// The connection is lost, and every subscription with it.
    pub(crate) fn lost(&mut self, out: &mut Outbox) {
        self.ready = false;
        for (rid, entry) in &mut self.entries {
            // Who was never sent still waits for the next connection.
            if std::mem::take(&mut entry.asking) {
                entry.settle(&Err(RequestError::ConnectionLost), out);
            }
            (entry.held, entry.retry) = (0, None);
            let freshness = if entry.value.is_some() { Freshness::Stale } else { Freshness::Loading };
            entry.become_(freshness, rid, out);
        }
        self.sweep(out);
    }

    /// There will be no next connection for now: nobody waits for one.
    pub(crate) fn give_up(&mut self, out: &mut Outbox) {
        for entry in self.entries.values_mut() {
            entry.settle(&Err(RequestError::ConnectionLost), out);
        }
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
        let answered = !matches!(result, Err(RequestError::Refused(_)));
        let merged = result.map(|set| self.merge(set, out));
        let Some(entry) = self.entries.get_mut(rid) else { return };
        entry.asking = false;
        entry.held += u64::from(answered);
        let error = match merged {
            Ok(()) if entry.value.is_some() => None,
            Ok(()) => Some(RequestError::Garbled),
            Err(error) => Some(error),
        };
        match error {
            None => {
                entry.backoff.reset();
                entry.become_(Freshness::Live, rid, out);
                entry.settle(&Ok(Answer::Resource(rid.clone())), out);
            }
            Some(RequestError::Refused(_)) if entry.ask_again && entry.callers > 0 => entry.ask(rid, out),
            Some(error) => {
                entry.give_back(rid, out);
                entry.failed(rid, error, turn, out);
            }
        }
        if entry.callers == 0 {
            entry.give_back(rid, out);
        }
        self.sweep(out);
    }

    /// A method answered with a resource: it is directly subscribed now, on behalf of whoever called the method.
    pub(crate) fn adopt(&mut self, rid: &ResourceId, set: ResourceSet, out: &mut Outbox) {
        let entry = self.entries.entry(rid.clone()).or_insert_with(Entry::new);
        entry.callers = entry.callers.saturating_add(1);
        entry.held += 1;
        entry.retry = None;
        self.merge(set, out);
        if let Some(entry) = self.entries.get_mut(rid).filter(|entry| entry.value.is_some()) {
            entry.become_(Freshness::Live, rid, out);
        }
        self.sweep(out);
    }

    /// A resource that was read once: from the answer, or, as gateways leave out what we have, from here.
    pub(crate) fn got(&self, rid: &ResourceId, mut set: ResourceSet) -> Result<Resource, RequestError> {
        if let Some(model) = set.models.remove(rid) {
            return Ok(Resource::Model(model));
        }
        if let Some(collection) = set.collections.remove(rid) {
            return Ok(Resource::Collection(collection));
        }
        if let Some(error) = set.errors.remove(rid) {
            return Err(RequestError::Refused(error));
        }
        self.resource(rid).cloned().ok_or(RequestError::Garbled)
    }

    /// Something happened on a resource. Returns the name and data of a custom event.
    pub(crate) fn event(&mut self, wire: &Wire, turn: &mut Turn, out: &mut Outbox) -> Option<Json> {
        let rid = &wire.rid;
        let entry = self.entries.get(rid)?;
        // Of an old subscription, or of one that is only being made: nothing that our values could be changed by.
        if entry.freshness != Freshness::Live && entry.held == 0 {
            return None;
        }
        let kind = wire.kind()?;
        match kind {
            EventKind::Change(event) => {
                self.merge(event.resources, out);
                self.change(rid, event.values, out);
            }
            EventKind::Add(event) => {
                self.merge(event.resources, out);
                self.step(rid, Step::Add(event.idx, event.value), out);
            }
            EventKind::Remove(event) => self.step(rid, Step::Remove(event.idx), out),
            EventKind::Unsubscribe(event) => self.revoked(rid, event.reason, turn, out),
            EventKind::Delete => {
                if let Some(entry) = self.entries.get_mut(rid) {
                    out.emit(Event::Changed(rid.clone(), ResourceChange::Deleted));
                    entry.become_(Freshness::Stale, rid, out);
                }
            }
            EventKind::Custom => {
                let data = wire.data.as_ref().and_then(|data| serde_json::from_str(data.get()).ok());
                let data: Json = data.unwrap_or(Json::Null);
                out.emit(Event::Custom { rid: rid.clone(), name: wire.name.clone(), data: data.clone() });
                return Some(data);
            }
        }
        None
    }

    /// Retries what is due, and lets go of callers who waited long enough.
    pub(crate) fn tick(&mut self, now: Duration, out: &mut Outbox) {
        for (rid, entry) in &mut self.entries {
            if self.ready && entry.retry.is_some_and(|retry| retry <= now) {
                entry.ask(rid, out);
            }
            for (token, _) in entry.waiting.extract_if(.., |(_, deadline)| *deadline <= now) {
                out.settle(token, Err(RequestError::TimedOut));
            }
        }
    }

    /// When [`Cache::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let waits = |entry: &Entry| entry.waiting.iter().map(|(_, deadline)| *deadline).chain(entry.retry).min();
        self.entries.values().filter_map(waits).min()
    }

    fn change(&mut self, rid: &ResourceId, changes: Changes, out: &mut Outbox) {
        let Some(Entry { value: Some(Resource::Model(model)), .. }) = self.entries.get_mut(rid) else { return };
        let drops = changes.keys().any(|name| model.get(name).is_some_and(|value| value.reference().is_some()));
        let changes = delta::apply(model, changes);
        if !changes.is_empty() {
            out.emit(Event::Changed(rid.clone(), ResourceChange::Model(changes)));
        }
        if drops {
            self.sweep(out);
        }
    }

    fn step(&mut self, rid: &ResourceId, step: Step, out: &mut Outbox) {
        let Some(Entry { value: Some(Resource::Collection(values)), .. }) = self.entries.get_mut(rid) else { return };
        let done = match &step {
            Step::Add(index, value) => delta::add(values, *index, value.clone()).then_some(None),
            Step::Remove(index) => delta::remove(values, *index).map(Some),
        };
        let Some(removed) = done else { return };
        out.emit(Event::Changed(rid.clone(), ResourceChange::Collection(step)));
        if removed.is_some_and(|value| value.reference().is_some()) {
            self.sweep(out);
        }
    }

    fn revoked(&mut self, rid: &ResourceId, reason: Error, turn: &mut Turn, out: &mut Outbox) {
        let Some(entry) = self.entries.get_mut(rid) else { return };
        entry.held = 0;
        if !entry.asking {
            entry.failed(rid, RequestError::Refused(reason), turn, out);
        }
        // Referred to, it is still subscribed.
        let told = self.reachable(|entry| entry.held > 0).contains(rid);
        if let Some(entry) = self.entries.get_mut(rid).filter(|entry| told && entry.value.is_some()) {
            entry.become_(Freshness::Live, rid, out);
        }
        self.sweep(out);
    }

    /// Takes in resources that the gateway sent along.
    fn merge(&mut self, set: ResourceSet, out: &mut Outbox) {
        let models = set.models.into_iter().map(|(rid, model)| (rid, Resource::Model(model)));
        let collections = set.collections.into_iter().map(|(rid, values)| (rid, Resource::Collection(values)));
        for (rid, value) in models.chain(collections) {
            let entry = self.entries.entry(rid.clone()).or_insert_with(Entry::new);
            entry.replace(value, &rid, out);
            entry.become_(Freshness::Live, &rid, out);
        }
        for (rid, error) in set.errors {
            let entry = self.entries.entry(rid.clone()).or_insert_with(Entry::new);
            entry.become_(Freshness::Failed(RequestError::Refused(error)), &rid, out);
        }
    }

    /// Forgets what nobody wants any more, and no longer trusts what the gateway no longer tells us about.
    fn sweep(&mut self, out: &mut Outbox) {
        let wanted = self.reachable(|entry| entry.callers > 0 || entry.asking);
        self.entries.retain(|rid, _| wanted.contains(rid));
        let told = self.reachable(|entry| entry.held > 0);
        for (rid, entry) in &mut self.entries {
            if entry.freshness == Freshness::Live && !told.contains(rid) {
                entry.become_(Freshness::Stale, rid, out);
            }
        }
    }

    /// The resources that satisfy `root`, and all that they refer to.
    fn reachable(&self, root: impl Fn(&Entry) -> bool) -> BTreeSet<ResourceId> {
        let roots = self.entries.iter().filter(|(_, entry)| root(entry));
        let mut open: Vec<&ResourceId> = roots.map(|(rid, _)| rid).collect();
        let mut found = BTreeSet::new();
        while let Some(rid) = open.pop() {
            if found.insert(rid.clone()) {
                open.extend(self.resource(rid).into_iter().flat_map(references));
            }
        }
        found
    }
}

/// The resources that come along with one of these values.
fn references(resource: &Resource) -> impl Iterator<Item = &ResourceId> {
    let (model, collection) = match resource {
        Resource::Model(model) => (Some(model), None),
        Resource::Collection(values) => (None, Some(values)),
    };
    let members = model.into_iter().flat_map(|model| model.values());
    members.chain(collection.into_iter().flatten()).filter_map(Value::reference)
}
