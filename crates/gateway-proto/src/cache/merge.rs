//! Making two resources one, once it turns out that their queries mean the same. The subscribers
//! are moved when they are notified of it, one after the other. Must not depend on connections.

use std::sync::Arc;

use relogin_res::{Error, ResourceId};

use super::{Cache, Message, News, Notice};
use crate::{
    bus::Bus,
    ids::{Delivered, ResourceKey, Subscriber},
};

/// A resource that became one with another.
#[derive(Debug)]
pub(super) struct Merge {
    /// As it was asked for.
    rid: ResourceId,
    /// The other one.
    into: ResourceKey,
    /// The number of the last event after which access had to be requested again.
    reaccess: u64,
}

impl Cache {
    /// Makes the resource `from`, which was loading, one with `into`, which is there.
    pub(super) fn merge(&mut self, from: ResourceKey, into: ResourceKey, bus: &mut Bus) -> Option<Notice> {
        let gone = self.resources.remove(&from)?;
        self.idle.remove_gone(from, &gone);
        let name = self.names.get_mut(gone.rid.name())?;
        let resource = self.resources.get_mut(&into)?;
        if let Some(alias) = name.relink(gone.rid.query(), from, into) {
            resource.aliases.insert(alias);
        }
        name.tidy(gone.rid.query(), resource);
        if gone.subscribers.is_empty() {
            self.drop_if_unwanted(into, bus);
            return None;
        }
        self.idle.remove(into, resource);
        resource.merging += 1;
        self.merges.insert(from, Merge { rid: gone.rid, into, reaccess: name.reaccess });
        self.fanout.keep(from, gone.subscribers);
        Some(Notice { resource: from, message: Message::Merged })
    }

    /// Moves a subscriber to the resource that its own became one with. Returns what it gets.
    pub(super) fn move_subscriber(
        &mut self,
        from: ResourceKey,
        subscriber: &Subscriber,
        delivered: &Delivered,
    ) -> News {
        let Some(Merge { rid, into, .. }) = self.merges.get(&from) else { return News::Failed(Error::not_found()) };
        let (rid, into) = (rid.clone(), *into);
        let Some(resource) = self.resources.get_mut(&into) else { return News::Failed(Error::not_found()) };
        // Who is subscribed to it by too many names already does not get it by this one.
        if resource.is_full_for(subscriber.0, self.max_subscribers) {
            self.forget_link(&rid, into);
            return News::Failed(Error::subscription_limit_exceeded());
        }
        let delivered = Delivered { lacks: self.fanout.next(), access: delivered.access };
        resource.subscribers.insert(subscriber.clone(), delivered);
        match resource.loaded() {
            Some(loaded) => News::Loaded(into, Arc::clone(&loaded.snapshot)),
            None => News::Failed(Error::internal()),
        }
    }

    /// Forgets a subscriber that was to be moved.
    pub(super) fn forget_moving(&mut self, from: ResourceKey) {
        if let Some(Merge { rid, into, .. }) = self.merges.get(&from) {
            let (rid, into) = (rid.clone(), *into);
            self.forget_link(&rid, into);
        }
    }

    /// Ends a merge, all subscribers having been moved.
    pub(super) fn finish_merge(&mut self, from: ResourceKey, bus: &mut Bus) {
        let Some(Merge { rid, into, reaccess }) = self.merges.remove(&from) else { return };
        if self.names.get(rid.name()).is_some_and(|name| name.reaccess > reaccess) {
            self.notify_of_access(rid.name());
        }
        if let Some(resource) = self.resources.get_mut(&into) {
            resource.merging -= 1;
            self.drop_if_unwanted(into, bus);
        }
    }

    fn forget_link(&mut self, rid: &ResourceId, key: ResourceKey) {
        if let Some(name) = self.names.get_mut(rid.name())
            && let Some(resource) = self.resources.get_mut(&key)
        {
            name.count_out(rid.query());
            name.tidy(rid.query(), resource);
        }
    }

    /// How many subscribers are to be moved to a resource.
    #[cfg(test)]
    pub(super) fn moving_to(&self, key: ResourceKey) -> usize {
        let merges = self.merges.iter().filter(|(_, merge)| merge.into == key);
        merges.map(|(from, _)| self.fanout.subscribers_of_gone(*from)).sum()
    }
}
