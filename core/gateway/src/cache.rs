//! The resources that all connections share: loaded once, kept up to date by events, told on to whoever is subscribed.
//! Knows no access and no client's view.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use relogin_res::{
    Error, Pattern, ResourceId, Verbatim, code,
    service::{self, GetRequest, Payload, Subject},
};

use crate::{
    api::Tag,
    bus::{Bus, Listener, Purpose},
    content::Snapshot,
    event::Event,
    ids::{ResourceKey, Subscriber},
    resource::{Loaded, Resource, State},
};

/// Something to be told to subscribers.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) resource: ResourceKey,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) news: News,
}

/// What subscribers are told.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// The resource is there.
    Loaded(Arc<Snapshot>),
    /// It could not be had, and is no longer in the cache.
    Failed(Error),
    /// Something happened to it.
    Event(Arc<Event>),
    /// Access answers about it hold no longer.
    Reaccess,
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Cache {
    delay: Duration,
    last_key: u64,
    names: BTreeMap<String, Name>,
    resources: BTreeMap<ResourceKey, Resource>,
    /// Resources without subscribers.
    idle: BTreeSet<(Duration, ResourceKey)>,
}

/// All queries of one resource name: they share a subscription to its events.
#[derive(Debug)]
struct Name {
    listener: Tag,
    resources: BTreeMap<Option<String>, ResourceKey>,
}

impl Cache {
    /// An empty cache that keeps a resource for `delay` after its last subscriber has gone.
    pub(crate) fn new(delay: Duration) -> Self {
        Self { delay, last_key: 0, names: BTreeMap::new(), resources: BTreeMap::new(), idle: BTreeSet::new() }
    }

    /// Subscribes to a resource as services name it. Its content, if it is there; if not, [`News`] of it will come.
    pub(crate) fn subscribe(
        &mut self,
        rid: &ResourceId,
        subscriber: Subscriber,
        bus: &mut Bus,
    ) -> (ResourceKey, Option<Arc<Snapshot>>) {
        let name = self.names.entry(rid.name().to_owned()).or_insert_with(|| Name {
            listener: bus.listen(Listener::Resource(rid.name().to_owned()), format!("event.{}.*", rid.name())),
            resources: BTreeMap::new(),
        });
        let key = *name.resources.entry(rid.query().map(str::to_owned)).or_insert_with(|| {
            self.last_key += 1;
            ResourceKey(self.last_key)
        });
        let resource = self.resources.entry(key).or_insert_with(|| Resource {
            rid: rid.clone(),
            subscribers: BTreeSet::new(),
            state: State::Loading(ask(bus, Purpose::Load(key), rid.name(), rid.query())),
            drop_at: None,
        });
        resource.subscribers.insert(subscriber);
        if let Some(time) = resource.drop_at.take() {
            self.idle.remove(&(time, key));
        }
        let snapshot = resource.loaded().map(|loaded| Arc::clone(&loaded.snapshot));
        (key, snapshot)
    }

    /// Ends a subscription, if there is one.
    pub(crate) fn unsubscribe(&mut self, key: ResourceKey, subscriber: &Subscriber, bus: &mut Bus) {
        let Some(resource) = self.resources.get_mut(&key) else { return };
        if resource.subscribers.remove(subscriber) && resource.subscribers.is_empty() {
            // There may be any number of queries: none is kept for nobody.
            if self.delay.is_zero() || resource.rid.query().is_some() {
                self.drop_resource(key, bus);
            } else {
                let time = bus.now.saturating_add(self.delay);
                resource.drop_at = Some(time);
                self.idle.insert((time, key));
            }
        }
    }

    /// The content, if the resource is in the cache and there.
    pub(crate) fn snapshot(&mut self, key: ResourceKey) -> Option<Arc<Snapshot>> {
        Some(Arc::clone(&self.resources.get_mut(&key)?.loaded()?.snapshot))
    }

    /// Takes note of the answer to a get request.
    pub(crate) fn on_loaded(
        &mut self,
        key: ResourceKey,
        result: Result<service::Resource<Verbatim>, Error>,
        bus: &mut Bus,
    ) -> Option<Notice> {
        match result {
            Ok(service::Resource { content, query }) => {
                let resource = self.resources.get_mut(&key)?;
                let snapshot = Arc::new(Snapshot::new(content));
                resource.state = State::Loaded(Loaded { snapshot: Arc::clone(&snapshot), query, reload: None });
                Some(notice(key, resource, News::Loaded(snapshot)))
            }
            Err(error) => {
                let resource = self.drop_resource(key, bus)?;
                Some(notice(key, &resource, News::Failed(error)))
            }
        }
    }

    /// Takes note of the answer to a get request for a resource that was cached already.
    pub(crate) fn on_reloaded(
        &mut self,
        key: ResourceKey,
        result: Result<service::Resource<Verbatim>, Error>,
        bus: &mut Bus,
    ) -> Vec<Notice> {
        let Some(resource) = self.resources.get_mut(&key) else { return Vec::new() };
        if let Some(loaded) = resource.loaded() {
            loaded.reload = None;
        }
        match result {
            Ok(service::Resource { content, .. }) => {
                let events = resource.replace(&content).unwrap_or_default().into_iter();
                events.map(|event| notice(key, resource, News::Event(Arc::new(event)))).collect()
            }
            Err(error) if error.is(code::NOT_FOUND) => {
                let event = resource.delete(None);
                let notice = notice(key, resource, News::Event(Arc::new(event)));
                self.drop_resource(key, bus);
                vec![notice]
            }
            // Nothing better is known than what is cached.
            Err(_) => Vec::new(),
        }
    }

    /// Takes note of an event on the resource name `name`.
    pub(crate) fn on_event(&mut self, name: &str, event: &str, payload: &[u8], bus: &mut Bus) -> Vec<Notice> {
        let Some(queries) = self.names.get(name) else { return Vec::new() };
        let keys: Vec<_> = queries.resources.values().copied().collect();
        let without_query = queries.resources.get(&None).copied();
        match event {
            "reaccess" => self.reaccess(&keys),
            "query" => {
                for key in keys {
                    if let Some(resource) = self.resources.get_mut(&key)
                        && resource.loaded().is_some_and(|loaded| loaded.query.is_some())
                    {
                        reload(key, resource, bus);
                    }
                }
                Vec::new()
            }
            _ => without_query.and_then(|key| self.on_resource_event(key, event, payload, bus)).into_iter().collect(),
        }
    }

    fn on_resource_event(&mut self, key: ResourceKey, event: &str, payload: &[u8], bus: &mut Bus) -> Option<Notice> {
        let resource = self.resources.get_mut(&key)?;
        let event = resource.on_event(event, payload)?;
        let is_delete = event.is_delete();
        let notice = notice(key, resource, News::Event(Arc::new(event)));
        if is_delete {
            self.drop_resource(key, bus);
        }
        Some(notice)
    }

    /// Asks for all matching resources again.
    pub(crate) fn reset_resources(&mut self, patterns: &[Pattern], bus: &mut Bus) {
        for key in self.matching(patterns) {
            if let Some(resource) = self.resources.get_mut(&key) {
                reload(key, resource, bus);
            }
        }
    }

    /// Tells subscribers of all matching resources that access answers hold no longer.
    pub(crate) fn reset_access(&self, patterns: &[Pattern]) -> Vec<Notice> {
        self.reaccess(&self.matching(patterns))
    }

    /// Fails all resources whose events cannot be listened to.
    pub(crate) fn on_listen_refused(&mut self, name: &str, error: &Error, bus: &mut Bus) -> Vec<Notice> {
        let keys: Vec<_> = self.names.get(name).into_iter().flat_map(|name| name.resources.values().copied()).collect();
        keys.into_iter().filter_map(|key| self.on_loaded(key, Err(error.clone()), bus)).collect()
    }

    /// Drops what nobody has been subscribed to for long enough.
    pub(crate) fn drop_idle(&mut self, bus: &mut Bus) {
        while let Some((time, key)) = self.idle.first().copied()
            && time <= bus.now
        {
            self.drop_resource(key, bus);
        }
    }

    /// When [`Cache::drop_idle`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.idle.first().map(|(time, _)| *time)
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self, bus: &mut Bus) {
        for key in self.resources.keys().copied().collect::<Vec<_>>() {
            self.drop_resource(key, bus);
        }
    }

    fn reaccess(&self, keys: &[ResourceKey]) -> Vec<Notice> {
        let resources = keys.iter().filter_map(|key| Some((*key, self.resources.get(key)?)));
        resources.map(|(key, resource)| notice(key, resource, News::Reaccess)).collect()
    }

    fn matching(&self, patterns: &[Pattern]) -> Vec<ResourceKey> {
        let names = self.names.iter().filter(|(name, _)| patterns.iter().any(|pattern| pattern.matches(name)));
        names.flat_map(|(_, name)| name.resources.values().copied()).collect()
    }

    fn drop_resource(&mut self, key: ResourceKey, bus: &mut Bus) -> Option<Resource> {
        let resource = self.resources.remove(&key)?;
        if let Some(time) = resource.drop_at {
            self.idle.remove(&(time, key));
        }
        match &resource.state {
            State::Loading(tag) | State::Loaded(Loaded { reload: Some(tag), .. }) => bus.release(*tag),
            State::Loaded(_) => {}
        }
        if let Some(name) = self.names.get_mut(resource.rid.name()) {
            name.resources.remove(&resource.rid.query().map(str::to_owned));
            if name.resources.is_empty() {
                bus.release(name.listener);
                self.names.remove(resource.rid.name());
            }
        }
        Some(resource)
    }
}

/// Asks for a resource again. An answer that is under way may have been given before there was reason to ask again.
fn reload(key: ResourceKey, resource: &mut Resource, bus: &mut Bus) {
    let name = resource.rid.name();
    match &mut resource.state {
        State::Loading(tag) => {
            bus.release(*tag);
            *tag = ask(bus, Purpose::Load(key), name, resource.rid.query());
        }
        State::Loaded(Loaded { query, reload, .. }) => {
            if let Some(tag) = reload.take() {
                bus.release(tag);
            }
            *reload = Some(ask(bus, Purpose::Reload(key), name, query.as_deref().or(resource.rid.query())));
        }
    }
}

fn ask(bus: &mut Bus, purpose: Purpose, name: &str, query: Option<&str>) -> Tag {
    let request = GetRequest { query: query.map(str::to_owned) };
    bus.ask(purpose, Subject::Get(name.to_owned()).to_string(), request.encode())
}

fn notice(key: ResourceKey, resource: &Resource, news: News) -> Notice {
    Notice { resource: key, subscribers: resource.subscribers.iter().cloned().collect(), news }
}
