//! Resources that nobody is subscribed to, kept for a while in case somebody comes back: so many,
//! of so many bytes, and the oldest go first. Of query resources, whose queries are any number,
//! only the subscription to their name's events is kept: as in Resgate, they are fetched again.

use std::{collections::BTreeSet, time::Duration};

use super::{Cache, names::Name};
use crate::{api::Config, bus::Bus, ids::ResourceKey, resource::Resource};

/// Resources without subscribers, and names without resources.
#[derive(Debug)]
pub(super) struct Idle {
    delay: Duration,
    max_resources: usize,
    max_bytes: usize,
    /// By when they are dropped.
    by_time: BTreeSet<(Duration, ResourceKey)>,
    /// Names without resources, and by when their subscriptions end.
    names: BTreeSet<(Duration, String)>,
    bytes: usize,
}

/// How many resources are dropped at once because their time has come; the others follow.
const BATCH: usize = 64;

/// How many are dropped in a step because there are too many.
const EVICTED: usize = 4;

impl Idle {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            delay: config.unsubscribe_delay,
            max_resources: config.max_idle_resources,
            max_bytes: config.max_idle_bytes,
            by_time: BTreeSet::new(),
            names: BTreeSet::new(),
            bytes: 0,
        }
    }

    pub(super) fn keeps_nothing(&self) -> bool {
        self.delay.is_zero()
    }

    pub(super) fn insert(&mut self, key: ResourceKey, resource: &mut Resource, now: Duration) {
        let time = now.saturating_add(self.delay);
        resource.drop_at = Some(time);
        self.by_time.insert((time, key));
        self.bytes += resource.cost();
    }

    /// Somebody has come for the resource.
    pub(super) fn remove(&mut self, key: ResourceKey, resource: &mut Resource) {
        self.remove_gone(key, resource);
        resource.drop_at = None;
    }

    /// The resource is no longer in the cache.
    pub(super) fn remove_gone(&mut self, key: ResourceKey, resource: &Resource) {
        if let Some(time) = resource.drop_at {
            self.by_time.remove(&(time, key));
            self.bytes -= resource.cost();
        }
    }

    /// Keeps the subscription to the events of a name whose last resource is gone.
    pub(super) fn insert_name(&mut self, text: &str, name: &mut Name, now: Duration) {
        let time = now.saturating_add(self.delay);
        name.release_at = Some(time);
        self.names.insert((time, text.to_owned()));
        self.bytes += Resource::cost_of_name(text);
    }

    /// The name has a resource again, or is no more.
    pub(super) fn remove_name(&mut self, text: &str, name: &mut Name) {
        if let Some(time) = name.release_at.take() {
            self.names.remove(&(time, text.to_owned()));
            self.bytes -= Resource::cost_of_name(text);
        }
    }

    /// When the next of them goes.
    fn next(&self) -> Option<Duration> {
        let resource = self.by_time.first().map(|(time, _)| *time);
        let name = self.names.first().map(|(time, _)| *time);
        resource.into_iter().chain(name).min()
    }

    /// The content of the resource is about to have so many bytes.
    pub(super) fn resize(&mut self, resource: &Resource, bytes: usize) {
        if resource.drop_at.is_some() {
            self.bytes = self.bytes - resource.bytes + bytes;
        }
    }

    fn is_over(&self) -> bool {
        self.by_time.len() + self.names.len() > self.max_resources || self.bytes > self.max_bytes
    }
}

impl Cache {
    /// Drops the oldest of what nobody is subscribed to, if it is too much: some now, the others in
    /// their turn.
    pub(crate) fn evict(&mut self, bus: &mut Bus) {
        for _ in 0..EVICTED {
            match self.idle.next() {
                Some(time) if self.idle.is_over() => self.drop_one(time, bus),
                _ => return,
            }
        }
    }

    /// True if [`Cache::evict`] has something to do.
    pub(crate) fn must_evict(&self) -> bool {
        self.idle.is_over()
    }

    /// Drops one of those whose time is `time`, the next.
    fn drop_one(&mut self, time: Duration, bus: &mut Bus) {
        match self.idle.names.first().cloned() {
            Some((at, name)) if at == time => self.drop_name(&name, bus),
            _ => {
                if let Some((_, key)) = self.idle.by_time.first().copied() {
                    self.drop_resource(key, bus);
                }
            }
        }
    }

    /// Ends the subscription to the events of a name that has no resource.
    pub(super) fn drop_name(&mut self, text: &str, bus: &mut Bus) {
        if let Some(mut name) = self.names.remove(text) {
            self.idle.remove_name(text, &mut name);
            bus.release(name.listener);
            self.drop_later(name);
        }
    }

    /// Drops what nobody has been subscribed to for long enough.
    pub(crate) fn drop_idle(&mut self, bus: &mut Bus) {
        for _ in 0..BATCH {
            match self.idle.next() {
                Some(time) if time <= bus.now => self.drop_one(time, bus),
                _ => return,
            }
        }
    }

    /// When [`Cache::drop_idle`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.idle.next()
    }

    /// How many subscribers the resource has that has the most.
    #[cfg(test)]
    pub(crate) fn most_subscribers(&self) -> usize {
        self.resources.values().map(|resource| resource.subscribers.len()).max().unwrap_or(0)
    }

    /// How much there is of what may be thousands.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> Vec<usize> {
        let links = self.names.values().chain(&self.dropped).map(Name::links).sum();
        let notices = usize::try_from(self.next_notice()).unwrap_or(0);
        vec![self.resources.len(), self.stale.len(), links, notices]
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        let idle = self.resources.values().filter(|resource| resource.drop_at.is_some());
        assert_eq!(self.idle.by_time.len(), idle.clone().count());
        let names = self.names.iter().filter(|(_, name)| name.release_at.is_some());
        assert_eq!(self.idle.names.len(), names.clone().count());
        let names = names.map(|(text, _)| Resource::cost_of_name(text));
        assert_eq!(self.idle.bytes, idle.map(Resource::cost).chain(names).sum::<usize>());
        assert_eq!(self.content_bytes, self.resources.values().map(|resource| resource.bytes).sum::<usize>());
        for resource in self.resources.values() {
            assert!(resource.drop_at.is_none() || resource.subscribers.is_empty(), "{} is wanted", resource.rid);
        }
        self.check_names();
        self.check_decoding();
        self.check_reloads();
        self.check_fanout();
    }
}
