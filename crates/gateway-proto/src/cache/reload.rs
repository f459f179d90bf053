//! Fetches resources again that may be out of date, as after a system reset: a limited number at a
//! time, each as soon as one before it is there.

use std::{
    mem,
    ops::Bound::{Excluded, Unbounded},
};

use relogin_res::code;

use super::{Cache, Notice, ask};
use crate::{
    bus::{Asker, Bus, Purpose},
    decoding::Fetched,
    ids::ResourceKey,
    resource::{Loaded, ResourceState},
};

impl Cache {
    /// The name of a resource.
    pub(crate) fn name_of(&self, key: ResourceKey) -> Option<&str> {
        self.resources.get(&key).map(|resource| resource.rid.name())
    }

    /// The name that comes after `last`, the first one after none.
    pub(crate) fn next_name(&self, last: Option<&str>) -> Option<&str> {
        let after = last.map_or(Unbounded, Excluded);
        self.names.range::<str, _>((after, Unbounded)).next().map(|(name, _)| name.as_str())
    }

    /// Has a resource fetched again, in its turn.
    pub(super) fn set_stale(&mut self, key: ResourceKey) {
        if let Some(resource) = self.resources.get_mut(&key)
            && !mem::replace(&mut resource.is_stale, true)
        {
            self.stale.push_back(key);
        }
    }

    /// True if [`Cache::reload_next`] has something to do.
    pub(crate) fn can_reload(&self) -> bool {
        !self.stale.is_empty() && self.reloading < self.max_reloads
    }

    /// Fetches the next resource again that may be out of date. An answer that is under way may
    /// have been given before there was reason to ask again.
    pub(crate) fn reload_next(&mut self, bus: &mut Bus) {
        let Some(key) = self.stale.pop_front() else { return };
        let Some(resource) = self.resources.get_mut(&key) else { return };
        resource.is_stale = false;
        let rid = resource.rid.clone();
        let given_up = match &resource.state {
            ResourceState::Loading(tag) => Some(*tag),
            ResourceState::Loaded(Loaded { reload, .. }) => *reload,
        };
        if let Some(tag) = given_up {
            self.release_get(tag, bus);
        }
        let Some(resource) = self.resources.get_mut(&key) else { return };
        match &mut resource.state {
            ResourceState::Loading(tag) => {
                // Asked for by the same connection as before, if it is still there.
                let asker =
                    resource.subscribers.first_key_value().map_or(Asker::Cache, |(it, _)| Asker::Connection(it.0));
                *tag = ask(bus, asker, Purpose::Load(key), rid.name(), rid.query());
                self.forget_waiting(rid.name(), key);
            }
            ResourceState::Loaded(Loaded { query, reload, .. }) => {
                *reload = Some(ask(bus, Asker::Cache, Purpose::Reload(key), rid.name(), query.as_deref()));
                if given_up.is_none() {
                    self.reloading += 1;
                }
            }
        }
    }

    /// Takes note of the answer to a get request for a resource that was cached already.
    pub(super) fn on_reloaded(&mut self, key: ResourceKey, fetched: Fetched, bus: &mut Bus) -> Vec<Notice> {
        match fetched {
            Ok((resource, bytes)) => {
                let notices = self.replace(key, &resource.content, bytes);
                bus.discard(resource.content);
                self.set_bytes(key, bytes);
                self.evict(bus);
                notices
            }
            Err(error) if error.is(code::NOT_FOUND) => self.delete(key, bus).into_iter().collect(),
            // Nothing better is known than what is cached.
            Err(_) => Vec::new(),
        }
    }

    /// Notes that a resource is no longer being fetched again.
    pub(crate) fn end_reload(&mut self, key: ResourceKey) {
        if let Some(loaded) = self.resources.get_mut(&key).and_then(|resource| resource.loaded())
            && loaded.reload.take().is_some()
        {
            self.reloading -= 1;
        }
    }

    #[cfg(test)]
    pub(super) fn check_reloads(&self) {
        let is_reloading =
            |state: &ResourceState| matches!(state, ResourceState::Loaded(Loaded { reload: Some(_), .. }));
        let reloading = self.resources.values().filter(|resource| is_reloading(&resource.state)).count();
        assert_eq!(self.reloading, reloading);
        assert!(self.reloading <= self.max_reloads);
        for (key, resource) in &self.resources {
            assert_eq!(resource.is_stale, self.stale.contains(key), "{} is stale", resource.rid);
        }
    }
}
