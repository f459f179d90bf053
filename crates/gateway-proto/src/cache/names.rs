//! A resource name and the queries that lead to its resources. Different queries may mean the same,
//! which the answer to a get request tells: then they lead to one resource.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
    time::Duration,
};

use super::{
    Cause,
    round::{Round, Waiting},
};
use crate::{ids::ResourceKey, resource::Resource, tag::Tag};

/// All resources of one name: they share a subscription to its events.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) listener: Tag,
    /// All resources, once each.
    pub(super) resources: BTreeSet<ResourceKey>,
    /// By query; by an empty text where there is none. Some may lead to a resource that is gone.
    links: BTreeMap<Arc<str>, Link>,
    /// The number of the last event after which access must be requested again.
    pub(super) reaccess: u64,
    /// What that was.
    pub(super) cause: Cause,
    /// True while subscribers are notified of it, and true if they must be once more after that.
    pub(super) is_notifying_of_access: bool,
    pub(super) must_notify_of_access_again: bool,
    /// True once the bus has refused the subscription to its events.
    pub(super) is_refused: bool,
    /// What the services are being asked because of a query event.
    pub(super) round: Option<Round>,
    /// Events and answers that arrived during the query event, or after an answer that is being
    /// decoded, in order.
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) waiting_bytes: usize,
    /// When the subscription ends, if no resource comes before: set while there is none.
    pub(super) release_at: Option<Duration>,
}

/// Where a query leads.
#[derive(Debug)]
struct Link {
    key: ResourceKey,
    /// How many subscribers use this query.
    subscribers: usize,
}

impl Name {
    pub(super) fn new(listener: Tag) -> Self {
        Self {
            listener,
            resources: BTreeSet::new(),
            links: BTreeMap::new(),
            reaccess: 0,
            cause: Cause::Event,
            is_notifying_of_access: false,
            must_notify_of_access_again: false,
            is_refused: false,
            round: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            release_at: None,
        }
    }

    /// The resource that a query leads to.
    pub(super) fn find(&self, query: Option<&str>) -> Option<ResourceKey> {
        let key = self.links.get(query.unwrap_or_default())?.key;
        self.resources.contains(&key).then_some(key)
    }

    /// The resources that come after one, the first one after none.
    pub(super) fn resources_after(&self, last: Option<ResourceKey>) -> impl Iterator<Item = ResourceKey> {
        self.resources.range((last.map_or(Unbounded, Excluded), Unbounded)).copied()
    }

    /// The last resource: all that come later are new.
    pub(super) fn last_resource(&self) -> Option<ResourceKey> {
        self.resources.last().copied()
    }

    /// Drops what has waited for answers about resources that are gone.
    pub(super) fn clear_waiting(&mut self) {
        self.round = None;
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    /// True if what comes for the name has to wait.
    pub(super) fn is_locked(&self) -> bool {
        self.round.is_some() || !self.waiting.is_empty()
    }

    /// True if the next of what waits need not wait any more.
    pub(super) fn can_go_on(&self) -> bool {
        self.round.is_none() && !matches!(self.waiting.front(), None | Some(Waiting::Decoding(..)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// Lets a query lead to a resource, if it leads nowhere yet. Returns it if so.
    pub(super) fn link(&mut self, query: Option<&str>, key: ResourceKey) -> Option<Arc<str>> {
        if self.find(query).is_some() {
            return None;
        }
        self.resources.insert(key);
        let query: Arc<str> = query.unwrap_or_default().into();
        self.links.insert(Arc::clone(&query), Link { key, subscribers: 0 });
        Some(query)
    }

    /// Lets a query lead to another resource than before, which is gone.
    pub(super) fn relink(&mut self, query: Option<&str>, from: ResourceKey, key: ResourceKey) -> Option<Arc<str>> {
        self.resources.remove(&from);
        let (query, link) = self.links.remove_entry(query.unwrap_or_default())?;
        self.links.insert(Arc::clone(&query), Link { key, ..link });
        Some(query)
    }

    pub(super) fn count_in(&mut self, query: Option<&str>) {
        if let Some(link) = self.links.get_mut(query.unwrap_or_default()) {
            link.subscribers += 1;
        }
    }

    pub(super) fn count_out(&mut self, query: Option<&str>) {
        if let Some(link) = self.links.get_mut(query.unwrap_or_default()) {
            link.subscribers = link.subscribers.saturating_sub(1);
        }
    }

    /// Forgets a query of the resource if nobody uses it, unless it is the normalised one.
    pub(super) fn tidy(&mut self, query: Option<&str>, resource: &mut Resource) {
        let text = query.unwrap_or_default();
        if query != resource.query() && self.links.get(text).is_some_and(|link| link.subscribers == 0) {
            self.links.remove(text);
            resource.aliases.remove(text);
        }
    }

    /// Forgets a resource. Queries that lead to it are to be forgotten by [`Name::unlink`].
    pub(super) fn remove(&mut self, key: ResourceKey, resource: &Resource) {
        self.resources.remove(&key);
        self.unlink(key, resource.rid.query().unwrap_or_default());
    }

    /// Forgets a query if it leads to a resource that is gone.
    pub(super) fn unlink(&mut self, key: ResourceKey, query: &str) {
        if self.links.get(query).is_some_and(|link| link.key == key) {
            self.links.remove(query);
        }
    }

    /// Drops a part of a name that is no longer used. False if nothing is left.
    pub(super) fn drop_some(&mut self) -> bool {
        self.links.pop_first().is_some() || self.resources.pop_first().is_some() || self.waiting.pop_front().is_some()
    }
}

#[cfg(test)]
impl Name {
    pub(super) fn links(&self) -> usize {
        self.links.len()
    }

    pub(super) fn check_links(
        &self,
        resources: &BTreeMap<ResourceKey, Resource>,
        moving_to: impl Fn(ResourceKey) -> usize,
    ) {
        assert_eq!(self.release_at.is_some(), self.is_empty(), "a subscription for no resource");
        for (query, link) in self.links.iter().filter(|(_, link)| self.resources.contains(&link.key)) {
            let resource = &resources[&link.key];
            let is_own = resource.rid.query().unwrap_or_default() == &**query;
            assert!(is_own || resource.aliases.contains(query), "{query} leads to {}", resource.rid);
            let is_canonical = resource.query().unwrap_or_default() == &**query;
            assert!(is_canonical || link.subscribers > 0, "nobody uses {query} of {}", resource.rid);
        }
        for key in self.resources_after(None) {
            let resource = &resources[&key];
            let links = self.links.values().filter(|link| link.key == key);
            assert_eq!(links.map(|link| link.subscribers).sum::<usize>(), resource.subscribers.len() + moving_to(key));
            assert_eq!(self.find(resource.query()), Some(key), "the normalised query of {}", resource.rid);
        }
    }
}
