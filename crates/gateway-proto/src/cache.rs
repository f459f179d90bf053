//! The resources that all connections share: loaded once, kept up to date by events, and delivered
//! to whoever is subscribed. Must not depend on access or on what a client has.

mod decoding;
mod events;
mod fanout;
mod idle;
mod merge;
mod names;
mod queries;
mod reload;
mod renew;
mod round;
mod sweep;

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
};

use relogin_res::{
    Error, ResourceId, Verbatim,
    service::{self, GetRequest, Payload, Subject},
};

use self::{decoding::Decoding, fanout::Fanout, idle::Idle, merge::Merge, names::Name, sweep::Sweep};
pub(crate) use self::{
    fanout::{Notification, Step},
    round::Waiting,
    sweep::Swept,
};
use crate::{
    api::Config,
    bus::{Asker, Bus, Listener, Purpose},
    content::Snapshot,
    counts::Stats,
    decoding::Fetched,
    event::Event,
    ids::{Delivered, ResourceKey, Subscriber},
    resource::{Loaded, Resource, ResourceState},
    tag::Tag,
};

/// Something that subscribers are to be notified of.
#[derive(Debug)]
pub(crate) struct Notice {
    /// The resource as its subscribers know it.
    pub(crate) resource: ResourceKey,
    pub(crate) message: Message,
}

/// What happened to a resource.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// What all subscribers get.
    News(News),
    /// It became one with another: subscribers are notified once they have been moved.
    Merged,
}

/// What subscribers get.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// The resource is there, under this key from now on: another one than before if its query
    /// turned out to mean the same as the query of another resource.
    Loaded(ResourceKey, Arc<Snapshot>),
    /// It could not be had, and is no longer in the cache.
    Failed(Error),
    /// Something happened to it.
    Event(Arc<Event>),
    /// Access answers about it hold no longer.
    Reaccess(Cause),
}

/// Why access must be requested again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// An event on the resource, or on the connection's token.
    Event,
    /// A system reset, which may be about many resources of many connections.
    Reset,
}

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
    /// Resources that became one with others, while not all subscribers have been moved.
    merges: BTreeMap<ResourceKey, Merge>,
    sweeps: VecDeque<Sweep>,
    /// Names that are no longer used.
    dropped: VecDeque<Name>,
    /// The number of the last event after which access must be requested again.
    last_reaccess: u64,
    decoding: Decoding,
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
            merges: BTreeMap::new(),
            sweeps: VecDeque::new(),
            dropped: VecDeque::new(),
            last_reaccess: 0,
            decoding: Decoding::default(),
            fanout: Fanout::new(config),
        }
    }

    /// How many bytes the contents of all resources have.
    pub(crate) fn content_bytes(&self) -> usize {
        self.content_bytes
    }

    /// What there is now.
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            names: self.names.len(),
            resources: self.resources.len(),
            content_bytes: self.content_bytes,
            undelivered: self.fanout.undelivered(),
            ..Stats::default()
        }
    }

    /// Subscribes to a resource as services name it. Its content, if it is there; if not, [`News`]
    /// of it will come.
    ///
    /// # Errors
    /// If the connection is subscribed to it by too many names already, or the bus has refused its
    /// events.
    pub(crate) fn subscribe(
        &mut self,
        rid: &ResourceId,
        subscriber: Subscriber,
        bus: &mut Bus,
    ) -> Result<(ResourceKey, Option<Arc<Snapshot>>), Error> {
        let name = self.names.entry(rid.name().to_owned()).or_insert_with(|| {
            let pattern = format!("event.{}.*", rid.name());
            Name::new(bus.listen(Listener::Resource(rid.name().to_owned()), pattern))
        });
        if name.is_refused {
            return Err(Error::internal());
        }
        self.idle.remove_name(rid.name(), name);
        let key = name.find(rid.query()).unwrap_or_else(|| {
            self.last_key += 1;
            let key = ResourceKey(self.last_key);
            name.link(rid.query(), key);
            key
        });
        let resource = self.resources.entry(key).or_insert_with(|| {
            let tag = ask(bus, Asker::Connection(subscriber.0), Purpose::Load(key), rid.name(), rid.query());
            Resource::new(rid.clone(), ResourceState::Loading(tag))
        });
        if resource.is_full_for(subscriber.0, self.max_subscribers) {
            return Err(Error::subscription_limit_exceeded());
        }
        let delivered = Delivered { lacks: self.fanout.next(), access: name.reaccess };
        if resource.subscribers.insert(subscriber, delivered).is_none() {
            name.count_in(rid.query());
        }
        self.idle.remove(key, resource);
        let snapshot = resource.loaded().map(|loaded| Arc::clone(&loaded.snapshot));
        Ok((key, snapshot))
    }

    /// Subscribes to a resource as services name it, if it is there, so that nothing is asked of
    /// them.
    pub(crate) fn subscribe_if_there(
        &mut self,
        rid: &ResourceId,
        subscriber: Subscriber,
    ) -> Option<(ResourceKey, Arc<Snapshot>)> {
        let name = self.names.get_mut(rid.name()).filter(|name| !name.is_refused)?;
        let key = name.find(rid.query())?;
        let resource = self.resources.get_mut(&key)?;
        let snapshot = Arc::clone(&resource.loaded()?.snapshot);
        if resource.is_full_for(subscriber.0, self.max_subscribers) {
            return None;
        }
        let delivered = Delivered { lacks: self.fanout.next(), access: name.reaccess };
        if resource.subscribers.insert(subscriber, delivered).is_none() {
            name.count_in(rid.query());
        }
        self.idle.remove(key, resource);
        Some((key, snapshot))
    }

    /// Ends a subscription to the resource `key`, which services name `rid`, if there is one.
    pub(crate) fn unsubscribe(&mut self, key: ResourceKey, rid: &ResourceId, subscriber: &Subscriber, bus: &mut Bus) {
        if self.fanout.forget_gone(key, subscriber) {
            self.forget_moving(key);
        }
        let Some(resource) = self.resources.get_mut(&key) else { return };
        if resource.subscribers.remove(subscriber).is_none() {
            return;
        }
        if let Some(name) = self.names.get_mut(rid.name()) {
            name.count_out(rid.query());
            name.tidy(rid.query(), resource);
        }
        self.drop_if_unwanted(key, bus);
    }

    fn drop_if_unwanted(&mut self, key: ResourceKey, bus: &mut Bus) {
        let Some(resource) = self.resources.get_mut(&key) else { return };
        if resource.subscribers.is_empty() && resource.merging == 0 && resource.drop_at.is_none() {
            // There may be any number of queries: none is kept for nobody, but often the next one
            // comes at once.
            if self.idle.keeps_nothing() {
                self.drop_resource(key, bus);
            } else if resource.query().is_some() {
                let Some(resource) = self.forget_resource(key, bus) else { return };
                let text = resource.rid.name();
                if let Some(name) = self.names.get_mut(text).filter(|name| name.is_empty()) {
                    name.clear_waiting();
                    self.idle.insert_name(text, name, bus.now);
                }
                bus.discard(resource);
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
    fn on_loaded(&mut self, key: ResourceKey, fetched: Fetched, bus: &mut Bus) -> Vec<Notice> {
        match fetched {
            Ok((resource, bytes)) => self.fill(key, resource, bytes, bus),
            Err(error) => self.drop_resource(key, bus).then(|| notice(key, News::Failed(error))).into_iter().collect(),
        }
    }

    /// Takes the content of a resource that was loading. If its query means the same as that of
    /// another resource, the two are one from now on.
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
            notices.extend(self.merge(key, same, bus));
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
        if let ResourceState::Loading(tag) = std::mem::replace(&mut resource.state, ResourceState::Loaded(loaded)) {
            // If it is not this answer's, its answer would say the same.
            self.release_get(tag, bus);
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

    fn set_bytes(&mut self, key: ResourceKey, bytes: usize) {
        let Some(resource) = self.resources.get_mut(&key) else { return };
        self.content_bytes = self.content_bytes - resource.bytes + bytes;
        self.idle.resize(resource, bytes);
        resource.bytes = bytes;
    }

    /// Drops a resource. False if there was none.
    fn drop_resource(&mut self, key: ResourceKey, bus: &mut Bus) -> bool {
        let Some(resource) = self.forget_resource(key, bus) else { return false };
        if self.names.get(resource.rid.name()).is_some_and(Name::is_empty) {
            self.drop_name(resource.rid.name(), bus);
        }
        bus.discard(resource);
        true
    }

    /// Drops a resource, but not the subscription to the events of its name.
    fn forget_resource(&mut self, key: ResourceKey, bus: &mut Bus) -> Option<Resource> {
        let mut resource = self.resources.remove(&key)?;
        self.fanout.keep(key, mem::take(&mut resource.subscribers));
        self.idle.remove_gone(key, &resource);
        self.content_bytes -= resource.bytes;
        match &resource.state {
            ResourceState::Loading(tag) => self.release_get(*tag, bus),
            ResourceState::Loaded(Loaded { reload: Some(tag), .. }) => {
                self.reloading -= 1;
                self.release_get(*tag, bus);
            }
            ResourceState::Loaded(_) => {}
        }
        self.leave_round(key, &resource, bus);
        if let Some(name) = self.names.get_mut(resource.rid.name()) {
            name.remove(key, &resource);
        }
        self.unlink(resource.rid.name(), key, mem::take(&mut resource.aliases));
        Some(resource)
    }
}

fn ask(bus: &mut Bus, asker: Asker, purpose: Purpose, name: &str, query: Option<&str>) -> Tag {
    let request = GetRequest { query: query.map(str::to_owned) };
    bus.ask(asker, purpose, Subject::Get(name.to_owned()).to_text(), request.encode())
}

fn notice(key: ResourceKey, news: News) -> Notice {
    Notice { resource: key, message: Message::News(news) }
}
