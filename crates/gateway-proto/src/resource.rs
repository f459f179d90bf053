//! One cached resource: its content, and what events do to it. Knows neither bus nor connections.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use relogin_res::{
    ResourceId, Verbatim,
    delta::{self, Changes, Step},
    service::{Add, Payload, Remove, parse_change},
};
use serde_json::value::RawValue;

use crate::{
    api::ConnectionKey,
    content::{Content, Snapshot},
    discard::Bulk,
    event::{Event, Kind},
    ids::{Subscribers, subscribers_from},
    tag::Tag,
};

/// A resource in the cache.
#[derive(Debug)]
pub(crate) struct Resource {
    /// As it was asked for the first time.
    pub(crate) rid: ResourceId,
    pub(crate) subscribers: Subscribers,
    pub(crate) state: ResourceState,
    /// The queries that lead to it, beside that of `rid`.
    pub(crate) aliases: BTreeSet<Arc<str>>,
    /// How many bytes its content had when it was fetched.
    pub(crate) bytes: usize,
    /// True while it waits to be fetched again.
    pub(crate) is_stale: bool,
    /// The query request under way about it.
    pub(crate) querying: Option<Tag>,
    /// How many resources are becoming one with this one.
    pub(crate) merging: usize,
    /// When it is dropped from the cache, if nobody subscribes before.
    pub(crate) drop_at: Option<Duration>,
}

/// How far the cache is with a resource.
#[derive(Debug)]
pub(crate) enum ResourceState {
    /// A get request is under way.
    Loading(Tag),
    /// It is there.
    Loaded(Loaded),
}

/// A resource that is there.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) snapshot: Arc<Snapshot>,
    /// The normalised query, if the resource is a query resource: such get query events and no
    /// others.
    pub(crate) query: Option<String>,
    /// A get request under way because the content may be out of date. Events are applied all the
    /// same: they make nothing worse, the answer will set all right, and if none comes they were
    /// not lost.
    pub(crate) reload: Option<Tag>,
}

/// What a resource costs beside its texts, in bytes: here, in the maps of the cache, and in the
/// bus's subscription to its events.
const COST: usize = 1024;

/// What is wrong with events on a value that is not there.
const BEYOND: &str = "its idx is beyond the end of the collection";

impl Resource {
    pub(crate) fn new(rid: ResourceId, state: ResourceState) -> Self {
        Self {
            rid,
            subscribers: Subscribers::new(),
            state,
            aliases: BTreeSet::new(),
            bytes: 0,
            is_stale: false,
            querying: None,
            merging: 0,
            drop_at: None,
        }
    }

    /// What it costs to keep it, in bytes: its name stands in the cache and in the subscription to
    /// its events, there twice.
    pub(crate) fn cost(&self) -> usize {
        Self::cost_of_name(self.rid.as_str()) + self.bytes
    }

    /// What it costs to keep the subscription to the events of a name, in bytes, and at most one
    /// resource without content.
    pub(crate) fn cost_of_name(name: &str) -> usize {
        COST + 4 * name.len()
    }

    /// The normalised query, if the resource is a query resource; while that is not known, the
    /// query that was asked for.
    pub(crate) fn query(&self) -> Option<&str> {
        match &self.state {
            ResourceState::Loading(_) => self.rid.query(),
            ResourceState::Loaded(loaded) => loaded.query.as_deref(),
        }
    }

    /// True if a connection is subscribed to it by so many names.
    pub(crate) fn is_full_for(&self, connection: ConnectionKey, most: usize) -> bool {
        let own = || self.subscribers.range(subscribers_from(connection)).take_while(|(it, _)| it.0 == connection);
        self.subscribers.len() >= most && own().count() >= most
    }

    pub(crate) fn is_loaded(&self) -> bool {
        matches!(self.state, ResourceState::Loaded(_))
    }

    pub(crate) fn loaded(&mut self) -> Option<&mut Loaded> {
        match &mut self.state {
            ResourceState::Loading(_) => None,
            ResourceState::Loaded(loaded) => Some(loaded),
        }
    }

    /// Takes note of an event, but for those that concern the cache as a whole. Returns what
    /// subscribers get.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn on_event(&mut self, name: &str, payload: &[u8]) -> Result<Option<Event>, &'static str> {
        let Some(loaded) = self.loaded() else { return Ok(None) };
        let is_model = matches!(loaded.snapshot.content, Content::Model(_));
        match name {
            "change" if !is_model => Err("the resource is a collection"),
            "add" | "remove" if is_model => Err("the resource is a model"),
            "change" => {
                let changes = parse_change(payload).ok_or("no JSON object of valid values")?;
                Ok(self.change(changes))
            }
            "add" => {
                let add = Add::parse(payload).map_err(|_| "no JSON object with an idx and a valid value")?;
                self.add(add).map(Some).ok_or(BEYOND)
            }
            "remove" => {
                let Remove { idx } = Remove::parse(payload).map_err(|_| "no JSON object with an idx")?;
                self.remove(idx).map(Some).ok_or(BEYOND)
            }
            // The resource is gone, whatever stands there.
            "delete" => Ok(Some(self.delete(serde_json::from_slice(payload).ok()))),
            "patch" | "reset" | "unsubscribe" => Err("services must not send such an event"),
            _ => self.custom(name, payload).map(Some).ok_or("no JSON"),
        }
    }

    /// Makes `content` the content. Returns what subscribers get, in this order; `None` if a model
    /// has become a collection, or the other way around.
    pub(crate) fn replace(&mut self, content: &Content) -> Option<Vec<Event>> {
        match (&self.loaded()?.snapshot.content, content) {
            (Content::Model(old), Content::Model(new)) => {
                let changes = delta::between_models(old, new);
                Some(self.change(changes).into_iter().collect())
            }
            (Content::Collection(old), Content::Collection(new)) => {
                let steps = delta::between_collections(old, new).into_iter();
                Some(
                    steps
                        .filter_map(|step| match step {
                            Step::Add(idx, value) => self.add(Add { idx, value }),
                            Step::Remove(idx) => self.remove(idx),
                        })
                        .collect(),
                )
            }
            _ => None,
        }
    }

    /// What subscribers get when the resource is gone; `data`: what the service adds to that.
    pub(crate) fn delete(&mut self, data: Option<Box<RawValue>>) -> Event {
        self.event(Kind::Delete(data))
    }

    fn change(&mut self, changes: Changes<Verbatim>) -> Option<Event> {
        let Content::Model(model) = Snapshot::edit(&mut self.loaded()?.snapshot) else { return None };
        let reference = |name: &String| Some((name.clone(), model.get(name)?.reference()?.clone()));
        let mut dropped: BTreeMap<_, _> = changes.keys().filter_map(reference).collect();
        let changes = delta::apply(model, changes);
        dropped.retain(|name, _| changes.contains_key(name));
        let dropped = dropped.into_values().collect();
        (!changes.is_empty()).then(|| self.event(Kind::Change { changes, dropped }))
    }

    fn add(&mut self, Add { idx, value }: Add<Verbatim>) -> Option<Event> {
        let Content::Collection(collection) = Snapshot::edit(&mut self.loaded()?.snapshot) else { return None };
        delta::add(collection, idx, value.clone()).then(|| self.event(Kind::Add(idx, value)))
    }

    fn remove(&mut self, idx: usize) -> Option<Event> {
        let Content::Collection(collection) = Snapshot::edit(&mut self.loaded()?.snapshot) else { return None };
        let value = delta::remove(collection, idx)?;
        Some(self.event(Kind::Remove(idx, value)))
    }

    fn custom(&mut self, name: &str, payload: &[u8]) -> Option<Event> {
        let data: Option<Box<RawValue>> =
            if payload.is_empty() { None } else { Some(serde_json::from_slice(payload).ok()?) };
        Some(self.event(Kind::Custom(name.to_owned(), data)))
    }

    fn event(&mut self, kind: Kind) -> Event {
        let version = self.loaded().map_or(0, |loaded| loaded.snapshot.version);
        Event::new(self.rid.clone(), kind, version)
    }
}

impl Bulk for Resource {
    fn bulk(&self) -> usize {
        if let ResourceState::Loaded(loaded) = &self.state { loaded.snapshot.bulk() } else { 0 }
    }
}
