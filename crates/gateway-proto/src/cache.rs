//! The resources that all connections share: loaded once, kept up to date by events, told on to whoever is subscribed.
//! Must not depend on access or on what a client has.

mod fanout;
mod idle;
mod names;
mod queries;
mod reload;
mod remains;

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
};

use relogin_res::{
    Error, ResourceId, Verbatim,
    service::{self, GetRequest, Payload, Subject},
};

use self::{
    fanout::{Audience, Fanout},
    idle::Idle,
    names::Name,
};
pub(crate) use self::{
    fanout::{Step, Told},
    queries::{Queried, Waiting},
    remains::Remains,
};
use crate::{
    api::{Config, Tag},
    bus::{Asker, Bus, Listener, Purpose},
    content::{Content, Snapshot},
    event::Event,
    ids::{ResourceKey, Subscriber, Subscribers},
    resource::{Loaded, Resource, State},
};

/// Something to be told to subscribers.
#[derive(Debug)]
pub(crate) struct Notice {
    /// The resource as these subscribers know it.
    pub(crate) resource: ResourceKey,
    pub(crate) audience: Audience,
    pub(crate) news: News,
}

/// What subscribers are told.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// The resource is there, under this key from now on: another one than before if its query turned out to mean the same as
    /// the query of another resource.
    Loaded(ResourceKey, Arc<Snapshot>),
    /// It could not be had, and is no longer in the cache.
    Failed(Error),
    /// Something happened to it.
    Event(Arc<Event>),
    /// Access answers about it hold no longer.
    Reaccess,
}

/// What came of a get request: the resource, and how many bytes the answer had.
pub(crate) type Fetched = Result<(service::Resource<Verbatim>, usize), Error>;

/// The cache.
#[derive(Debug)]
pub(crate) struct Cache {
    max_reloads: usize,
    max_query_requests: usize,
    max_subscribers: usize,
    max_waiting_events: usize,
    max_waiting_bytes: usize,
    max_subject: usize,
    last_key: u64,
    names: BTreeMap<String, Name>,
    resources: BTreeMap<ResourceKey, Resource>,
    /// How many bytes the contents of all resources have.
    content_bytes: usize,
    idle: Idle,
    /// Resources to be fetched again, as soon as there is room for another request.
    stale: VecDeque<ResourceKey>,
    /// How many are being fetched again.
    reloading: usize,
    /// Names whose events have waited, and wait no longer.
    unlocked: VecDeque<String>,
    fanout: Fanout,
}

impl Cache {
    /// An empty cache.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            max_reloads: config.max_reloads.max(1),
            max_query_requests: config.max_query_requests.max(1),
            max_subscribers: config.max_direct_subscriptions.max(1) as usize,
            max_waiting_events: config.max_waiting_events,
            max_waiting_bytes: config.max_waiting_bytes,
            max_subject: config.max_subject,
            last_key: 0,
            names: BTreeMap::new(),
            resources: BTreeMap::new(),
            content_bytes: 0,
            idle: Idle::new(config),
            stale: VecDeque::new(),
            reloading: 0,
            unlocked: VecDeque::new(),
            fanout: Fanout::new(config),
        }
    }

    /// How many bytes the contents of all resources have.
    pub(crate) fn content_bytes(&self) -> usize {
        self.content_bytes
    }

    /// Subscribes to a resource as services name it. Its content, if it is there; if not, [`News`] of it will come. `None` if the
    /// connection is subscribed to it by too many names already.
    pub(crate) fn subscribe(
        &mut self,
        rid: &ResourceId,
        subscriber: Subscriber,
        bus: &mut Bus,
    ) -> Option<(ResourceKey, Option<Arc<Snapshot>>)> {
        let name = self.names.entry(rid.name().to_owned()).or_insert_with(|| {
            let pattern = format!("event.{}.*", rid.name());
            Name::new(bus.listen(Listener::Resource(rid.name().to_owned()), pattern))
        });
        self.idle.remove_name(rid.name(), name);
        let key = name.find(rid.query()).unwrap_or_else(|| {
            self.last_key += 1;
            let key = ResourceKey(self.last_key);
            name.link(rid.query(), key);
            key
        });
        let resource = self.resources.entry(key).or_insert_with(|| {
            let tag = ask(bus, Asker::Connection(subscriber.0), Purpose::Load(key), rid.name(), rid.query());
            Resource::new(rid.clone(), State::Loading(tag))
        });
        if resource.subscribers_of(subscriber.0) >= self.max_subscribers {
            return None;
        }
        if resource.subscribers.insert(subscriber, self.fanout.next()).is_none() {
            name.count_in(rid.query());
        }
        self.idle.remove(key, resource);
        let snapshot = resource.loaded().map(|loaded| Arc::clone(&loaded.snapshot));
        Some((key, snapshot))
    }

    /// Ends a subscription to a resource as services name it, if there is one.
    pub(crate) fn unsubscribe(&mut self, rid: &ResourceId, subscriber: &Subscriber, bus: &mut Bus) {
        let Some(name) = self.names.get_mut(rid.name()) else { return };
        let Some(key) = name.find(rid.query()) else { return };
        let Some(resource) = self.resources.get_mut(&key) else { return };
        if resource.subscribers.remove(subscriber).is_none() {
            return;
        }
        name.count_out(rid.query());
        name.tidy(rid.query(), resource);
        if resource.subscribers.is_empty() {
            // There may be any number of queries: none is kept for nobody, but often the next one comes at once.
            if self.idle.keeps_nothing() {
                self.drop_resource(key, bus);
            } else if resource.query().is_some() {
                self.forget_resource(key, bus);
                if let Some(name) = self.names.get_mut(rid.name()).filter(|name| name.is_empty()) {
                    name.clear_waiting();
                    self.idle.insert_name(rid.name(), name, bus.now);
                }
                self.evict(bus);
            } else {
                self.idle.insert(key, resource, bus.now);
                self.evict(bus);
            }
        }
    }

    /// The content, if the resource is in the cache and there.
    pub(crate) fn snapshot(&mut self, key: ResourceKey) -> Option<Arc<Snapshot>> {
        Some(Arc::clone(&self.resources.get_mut(&key)?.loaded()?.snapshot))
    }

    /// Takes note of the answer to a get request.
    pub(crate) fn on_loaded(&mut self, key: ResourceKey, fetched: Fetched, bus: &mut Bus) -> Vec<Notice> {
        match fetched {
            Ok((resource, bytes)) => self.fill(key, resource, bytes, bus),
            Err(error) => {
                let resource = self.drop_resource(key, bus);
                resource.map(|_| notice(key, News::Failed(error))).into_iter().collect()
            }
        }
    }

    /// Takes the content of a resource that was loading. If its query means the same as that of another resource, the two are one
    /// from now on.
    fn fill(&mut self, key: ResourceKey, got: service::Resource<Verbatim>, bytes: usize, bus: &mut Bus) -> Vec<Notice> {
        let Some(resource) = self.resources.get(&key) else { return Vec::new() };
        let Some(name) = self.names.get(resource.rid.name()) else { return Vec::new() };
        let same = name.find(got.query.as_deref()).unwrap_or(key);
        // What is cached is kept up to date, and may be newer.
        let is_there = self.resources.get(&same).is_some_and(Resource::is_loaded);
        let mut notices = Vec::new();
        if !is_there {
            notices.extend(self.set_content(same, got, bytes, bus));
        }
        if same != key {
            notices.extend(self.merge(key, same));
        }
        self.evict(bus);
        notices
    }

    fn set_content(
        &mut self,
        key: ResourceKey,
        got: service::Resource<Verbatim>,
        bytes: usize,
        bus: &mut Bus,
    ) -> Option<Notice> {
        let service::Resource { content, query } = got;
        let resource = self.resources.get_mut(&key)?;
        let snapshot = Arc::new(Snapshot::new(content));
        let loaded = Loaded { snapshot: Arc::clone(&snapshot), query, reload: None };
        if let State::Loading(tag) = std::mem::replace(&mut resource.state, State::Loaded(loaded)) {
            // If it is not this answer's, its answer would say the same.
            bus.release(tag);
        }
        let notice = notice(key, News::Loaded(key, snapshot));
        self.set_bytes(key, bytes);
        self.link_canonical(key);
        Some(notice)
    }

    /// Lets the normalised query of a resource lead to it.
    fn link_canonical(&mut self, key: ResourceKey) {
        let Some(resource) = self.resources.get_mut(&key) else { return };
        let Some(name) = self.names.get_mut(resource.rid.name()) else { return };
        let query = resource.query().map(str::to_owned);
        if let Some(alias) = name.link(query.as_deref(), key) {
            resource.aliases.insert(alias);
        }
        let asked = resource.rid.clone();
        name.tidy(asked.query(), resource);
    }

    /// Makes the resource `from`, which was loading, one with `to`, which is there.
    fn merge(&mut self, from: ResourceKey, to: ResourceKey) -> Vec<Notice> {
        let Some(gone) = self.resources.remove(&from) else { return Vec::new() };
        self.idle.remove_gone(from, &gone);
        let Some(name) = self.names.get_mut(gone.rid.name()) else { return Vec::new() };
        let Some(resource) = self.resources.get_mut(&to) else { return Vec::new() };
        if let Some(alias) = name.relink(gone.rid.query(), to) {
            resource.aliases.insert(alias);
        }
        if self.fanout.is_about(from) {
            self.fanout.keep(from, gone.subscribers.clone());
        }
        // Who is subscribed to it by too many names already does not get it by this one.
        let (mut moved, mut surplus) = (Subscribers::new(), Subscribers::new());
        for (subscriber, lacks) in gone.subscribers {
            if resource.subscribers_of(subscriber.0) < self.max_subscribers {
                resource.subscribers.insert(subscriber.clone(), self.fanout.next());
                moved.insert(subscriber, lacks);
            } else {
                name.count_out(gone.rid.query());
                surplus.insert(subscriber, lacks);
            }
        }
        name.tidy(gone.rid.query(), resource);
        if !resource.subscribers.is_empty() {
            self.idle.remove(to, resource);
        }
        let loaded = resource.loaded().map(|loaded| News::Loaded(to, Arc::clone(&loaded.snapshot)));
        let refused = News::Failed(Error::subscription_limit_exceeded());
        let told = loaded.map(|news| Notice { resource: from, audience: Audience::These(moved), news });
        told.into_iter().chain([Notice { resource: from, audience: Audience::These(surplus), news: refused }]).collect()
    }

    fn set_bytes(&mut self, key: ResourceKey, bytes: usize) {
        let Some(resource) = self.resources.get_mut(&key) else { return };
        self.content_bytes = self.content_bytes - resource.bytes + bytes;
        self.idle.resize(resource, bytes);
        resource.bytes = bytes;
    }

    /// Takes note of an event on the resource name `name`.
    pub(crate) fn on_event(&mut self, name: &str, event: &str, payload: &[u8], bus: &mut Bus) -> Vec<Notice> {
        let Some(queries) = self.names.get(name) else { return Vec::new() };
        if event == "reaccess" {
            // Waits for nothing: what comes after it must not be seen by who may not.
            return self.reaccess(queries.keys());
        }
        if queries.is_locked() {
            self.hold(name, event, payload, bus);
            return Vec::new();
        }
        if event == "query" {
            self.begin_round(name, payload, bus);
            return Vec::new();
        }
        self.apply_plain(name, event, payload, bus).into_iter().collect()
    }

    /// Lets an event happen to the resource of the name that has no query, however its subscribers call it.
    fn apply_plain(&mut self, name: &str, event: &str, payload: &[u8], bus: &mut Bus) -> Option<Notice> {
        let key = self.names.get(name)?.find(None)?;
        // What is asked for without a query may be a query resource all the same. Such have query events and no others.
        let is_plain = self.resources.get(&key)?.query().is_none();
        if is_plain { self.apply(key, event, payload, bus) } else { None }
    }

    /// Lets an event happen to a resource.
    fn apply(&mut self, key: ResourceKey, event: &str, payload: &[u8], bus: &mut Bus) -> Option<Notice> {
        let resource = self.resources.get_mut(&key)?;
        let event = resource.on_event(event, payload)?.in_bytes(payload.len());
        let is_delete = event.is_delete();
        let notice = notice(key, News::Event(Arc::new(event)));
        if is_delete {
            self.drop_resource(key, bus);
        }
        Some(notice)
    }

    /// Makes `content`, which had so many bytes, the content of a resource.
    fn replace(&mut self, key: ResourceKey, content: &Content, bytes: usize) -> Vec<Notice> {
        let Some(resource) = self.resources.get_mut(&key) else { return Vec::new() };
        let events = resource.replace(content).unwrap_or_default().into_iter();
        events.map(|event| notice(key, News::Event(Arc::new(event.in_bytes(bytes))))).collect()
    }

    /// Tells that a resource is no more.
    fn delete(&mut self, key: ResourceKey, bus: &mut Bus) -> Option<Notice> {
        let resource = self.resources.get_mut(&key)?;
        let event = resource.delete(None);
        let notice = notice(key, News::Event(Arc::new(event)));
        self.drop_resource(key, bus);
        Some(notice)
    }

    /// Fails all resources whose events cannot be listened to.
    pub(crate) fn on_listen_refused(&mut self, name: &str, error: &Error, bus: &mut Bus) -> Vec<Notice> {
        let keys: Vec<_> = self.names.get(name).into_iter().flat_map(Name::keys).collect();
        let notices = keys.into_iter().flat_map(|key| self.on_loaded(key, Err(error.clone()), bus)).collect();
        if self.names.get(name).is_some_and(Name::is_empty) {
            self.drop_name(name, bus);
        }
        notices
    }

    fn reaccess(&self, keys: impl IntoIterator<Item = ResourceKey>) -> Vec<Notice> {
        let there = keys.into_iter().filter(|key| self.resources.contains_key(key));
        there.map(|key| notice(key, News::Reaccess)).collect()
    }

    fn drop_resource(&mut self, key: ResourceKey, bus: &mut Bus) -> Option<Resource> {
        let resource = self.forget_resource(key, bus)?;
        if self.names.get(resource.rid.name()).is_some_and(Name::is_empty) {
            self.drop_name(resource.rid.name(), bus);
        }
        Some(resource)
    }

    /// Drops a resource, but not the subscription to the events of its name.
    fn forget_resource(&mut self, key: ResourceKey, bus: &mut Bus) -> Option<Resource> {
        let mut resource = self.resources.remove(&key)?;
        self.fanout.keep(key, mem::take(&mut resource.subscribers));
        self.idle.remove_gone(key, &resource);
        self.content_bytes -= resource.bytes;
        match &resource.state {
            State::Loading(tag) => bus.release(*tag),
            State::Loaded(Loaded { reload: Some(tag), .. }) => {
                self.reloading -= 1;
                bus.release(*tag);
            }
            State::Loaded(_) => {}
        }
        self.leave_round(&resource, bus);
        if let Some(name) = self.names.get_mut(resource.rid.name()) {
            name.unlink_all(key, &resource);
        }
        Some(resource)
    }
}

fn ask(bus: &mut Bus, asker: Asker, purpose: Purpose, name: &str, query: Option<&str>) -> Tag {
    let request = GetRequest { query: query.map(str::to_owned) };
    bus.ask(asker, purpose, Subject::Get(name.to_owned()).to_string(), request.encode())
}

fn notice(key: ResourceKey, news: News) -> Notice {
    Notice { resource: key, audience: Audience::Subscribers, news }
}
