//! Resources that nobody is subscribed to, kept for a while in case somebody comes back: so many, of so many bytes, and the
//! oldest go first.

use std::{collections::BTreeSet, time::Duration};

use super::Cache;
use crate::{api::Config, bus::Bus, ids::ResourceKey, resource::Resource};

/// Resources without subscribers.
#[derive(Debug)]
pub(super) struct Idle {
    delay: Duration,
    max_resources: usize,
    max_bytes: usize,
    /// By when they are dropped.
    by_time: BTreeSet<(Duration, ResourceKey)>,
    bytes: usize,
}

/// How many resources are dropped at once because their time has come; the others follow.
const BATCH: usize = 256;

impl Idle {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            delay: config.unsubscribe_delay,
            max_resources: config.max_idle_resources,
            max_bytes: config.max_idle_bytes,
            by_time: BTreeSet::new(),
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

    /// The content of the resource is about to have so many bytes.
    pub(super) fn resize(&mut self, resource: &Resource, bytes: usize) {
        if resource.drop_at.is_some() {
            self.bytes = self.bytes - resource.bytes + bytes;
        }
    }

    fn is_over(&self) -> bool {
        self.by_time.len() > self.max_resources || self.bytes > self.max_bytes
    }
}

impl Cache {
    /// Drops the oldest of what nobody is subscribed to, as long as it is too much.
    pub(super) fn evict(&mut self, bus: &mut Bus) {
        while self.idle.is_over()
            && let Some((_, key)) = self.idle.by_time.first().copied()
        {
            self.drop_resource(key, bus);
        }
    }

    /// Drops what nobody has been subscribed to for long enough.
    pub(crate) fn drop_idle(&mut self, bus: &mut Bus) {
        for _ in 0..BATCH {
            let Some((time, key)) = self.idle.by_time.first().copied() else { return };
            if time > bus.now {
                return;
            }
            self.drop_resource(key, bus);
        }
    }

    /// When [`Cache::drop_idle`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.idle.by_time.first().map(|(time, _)| *time)
    }

    /// How many resources nobody is subscribed to, and how many bytes they cost; counted anew.
    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        let idle = self.resources.values().filter(|resource| resource.drop_at.is_some());
        assert_eq!(self.idle.by_time.len(), idle.clone().count());
        assert_eq!(self.idle.bytes, idle.map(Resource::cost).sum::<usize>());
        assert!(!self.idle.is_over());
        assert_eq!(self.content_bytes, self.resources.values().map(|resource| resource.bytes).sum::<usize>());
        for resource in self.resources.values() {
            assert!(resource.drop_at.is_none() || resource.subscribers.is_empty(), "{} is wanted", resource.rid);
        }
        self.check_names();
        self.check_reloads();
    }
}
