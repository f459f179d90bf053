//! A cache that is used no more, however large: thrown away a little at a time.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use super::{
    Cache, Config,
    fanout::Fanout,
    idle::Idle,
    names::Name,
    sweep::{self, Sweep},
};
use crate::{ids::ResourceKey, resource::Resource};

/// A cache that is used no more, to be thrown away a little at a time.
#[derive(Debug)]
pub(crate) struct Remains {
    names: BTreeMap<String, Name>,
    resources: BTreeMap<ResourceKey, Resource>,
    fanout: Fanout,
    idle: Idle,
    sweeps: VecDeque<Sweep>,
    dropped: VecDeque<Name>,
}

impl Remains {
    /// Throws something away. False if nothing is left.
    pub(crate) fn pop(&mut self) -> bool {
        if let Some(mut resource) = self.resources.first_entry() {
            let Resource { subscribers, aliases, .. } = resource.get_mut();
            if subscribers.pop_first().is_none() && aliases.pop_first().is_none() {
                resource.remove();
            }
            return true;
        }
        if let Some(name) = self.dropped.front_mut() {
            if !name.drop_some() {
                self.dropped.pop_front();
            }
            return true;
        }
        if let Some((_, name)) = self.names.pop_first() {
            self.dropped.push_back(name);
            return true;
        }
        self.idle.throw_away() || self.fanout.throw_away() || sweep::drop_some(&mut self.sweeps)
    }
}

impl Cache {
    /// Makes the cache an empty one. What was in it is left.
    pub(crate) fn renew(&mut self, config: &Config) -> Remains {
        let new = Self { last_key: self.last_key, ..Self::new(config) };
        let Self { names, resources, fanout, idle, sweeps, dropped, .. } = mem::replace(self, new);
        Remains { names, resources, fanout, idle, sweeps, dropped }
    }
}
