//! A cache that is used no more, however large: thrown away a little at a time.

use std::{collections::BTreeMap, mem};

use super::{Cache, Config, fanout::Fanout, idle::Idle, names::Name};
use crate::{ids::ResourceKey, resource::Resource};

/// A cache that is used no more, to be thrown away a little at a time.
#[derive(Debug)]
pub(crate) struct Remains {
    names: BTreeMap<String, Name>,
    resources: BTreeMap<ResourceKey, Resource>,
    fanout: Fanout,
    idle: Idle,
}

impl Remains {
    /// Throws something away. False if nothing is left.
    pub(crate) fn pop(&mut self) -> bool {
        if let Some(mut resource) = self.resources.first_entry() {
            if resource.get_mut().subscribers.pop_first().is_none() {
                resource.remove();
            }
            return true;
        }
        self.names.pop_first().is_some() || self.idle.throw_away() || self.fanout.throw_away()
    }
}

impl Cache {
    /// Makes the cache an empty one. What was in it is left.
    pub(crate) fn renew(&mut self, config: &Config) -> Remains {
        let new = Self { last_key: self.last_key, ..Self::new(config) };
        let Self { names, resources, fanout, idle, .. } = mem::replace(self, new);
        Remains { names, resources, fanout, idle }
    }
}
