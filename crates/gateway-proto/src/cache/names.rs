//! A resource name and the queries that lead to its resources. Different queries may mean the same, which the answer to a get
//! request tells: then they lead to one resource.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::queries::{Round, Waiting};
use crate::{api::Tag, ids::ResourceKey, resource::Resource};

/// All resources of one name: they share a subscription to its events.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) listener: Tag,
    /// By query; by an empty text where there is none.
    links: BTreeMap<Arc<str>, Link>,
    /// What the services are being asked because of a query event.
    pub(super) round: Option<Round>,
    /// What came during it, in this order.
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
            links: BTreeMap::new(),
            round: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            release_at: None,
        }
    }

    /// The resource that a query leads to.
    pub(super) fn find(&self, query: Option<&str>) -> Option<ResourceKey> {
        self.links.get(query.unwrap_or_default()).map(|link| link.key)
    }

    /// All resources, once each.
    pub(super) fn keys(&self) -> BTreeSet<ResourceKey> {
        self.links.values().map(|link| link.key).collect()
    }

    /// Drops what has waited for answers about resources that are gone.
    pub(super) fn clear_waiting(&mut self) {
        self.round = None;
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Lets a query lead to a resource, if it leads nowhere yet. Returns it if so.
    pub(super) fn link(&mut self, query: Option<&str>, key: ResourceKey) -> Option<Arc<str>> {
        if self.find(query).is_some() {
            return None;
        }
        let query: Arc<str> = query.unwrap_or_default().into();
        self.links.insert(Arc::clone(&query), Link { key, subscribers: 0 });
        Some(query)
    }

    /// Lets a query lead to another resource than before.
    pub(super) fn relink(&mut self, query: Option<&str>, key: ResourceKey) -> Option<Arc<str>> {
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

    /// Forgets all queries that lead to a resource.
    pub(super) fn unlink_all(&mut self, key: ResourceKey, resource: &Resource) {
        let asked = resource.rid.query().unwrap_or_default();
        if self.links.get(asked).is_some_and(|link| link.key == key) {
            self.links.remove(asked);
        }
        for query in &resource.aliases {
            self.links.remove(query);
        }
    }
}

#[cfg(test)]
impl Name {
    pub(super) fn check_links(&self, resources: &BTreeMap<ResourceKey, Resource>) {
        assert_eq!(self.release_at.is_some(), self.is_empty(), "a subscription for no resource");
        for (query, link) in &self.links {
            let resource = &resources[&link.key];
            let is_own = resource.rid.query().unwrap_or_default() == &**query;
            assert!(is_own || resource.aliases.contains(query), "{query} leads to {}", resource.rid);
            let is_canonical = resource.query().unwrap_or_default() == &**query;
            assert!(is_canonical || link.subscribers > 0, "nobody uses {query} of {}", resource.rid);
        }
        for key in self.keys() {
            let resource = &resources[&key];
            let links = self.links.values().filter(|link| link.key == key);
            assert_eq!(links.map(|link| link.subscribers).sum::<usize>(), resource.subscribers.len());
            assert_eq!(self.find(resource.query()), Some(key), "the normalised query of {}", resource.rid);
        }
    }
}
