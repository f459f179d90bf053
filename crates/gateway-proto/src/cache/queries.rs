//! Query events: each query of the name is asked about once, and what comes in the meantime waits,
//! so that everything is delivered in the services' order.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Included, Unbounded},
};

use relogin_res::{
    code,
    rid::is_name,
    service::{Payload, QueryEvent, QueryRequest, QueryResult, event_subject},
};

use super::{
    Cache, Cause, News, Notice,
    names::Name,
    notice,
    round::{Round, Waiting},
};
use crate::{
    bus::{Asker, Bus, Purpose},
    counts::MessageKind,
    decoding::Queried,
    ids::ResourceKey,
    resource::Resource,
    tag::Tag,
};

/// How many resources are looked at in a step, to find those that a query event concerns.
const LOOKS: usize = 64;

impl Cache {
    /// Asks about every query of the name, a limited number at a time.
    pub(super) fn begin_round(&mut self, name: &str, payload: &[u8], bus: &mut Bus) {
        let mut complain = |problem| bus.complain(MessageKind::Event, event_subject(name, "query"), problem);
        let Ok(QueryEvent { subject }) = QueryEvent::parse(payload) else {
            return complain("no JSON object with a subject");
        };
        if !is_name(&subject) || subject.len() > self.max_subject {
            return complain("its subject cannot be published to");
        }
        let Some(queries) = self.names.get_mut(name) else { return };
        if let Some(until) = queries.last_resource() {
            queries.round = Some(Round { subject, last: None, until, asked: BTreeSet::new() });
            self.continue_round(name, bus);
        }
    }

    /// Where a resource's query request was sent.
    pub(crate) fn query_subject(&self, key: ResourceKey) -> Option<&str> {
        let name = self.names.get(self.resources.get(&key)?.rid.name())?;
        Some(&name.round.as_ref()?.subject)
    }

    /// Sends the next query requests, as many as there may be.
    pub(super) fn continue_round(&mut self, name: &str, bus: &mut Bus) {
        let Some(queries) = self.names.get_mut(name) else { return };
        let Some(round) = &mut queries.round else { return };
        let after = round.last.map_or(Unbounded, Excluded);
        let mut left = queries.resources.range((after, Included(round.until)));
        for looks in 0.. {
            if round.asked.len() >= self.max_query_requests {
                return;
            }
            let Some(key) = left.next().copied() else { break };
            if looks == LOOKS {
                return self.query_later(name);
            }
            round.last = Some(key);
            let Some(resource) = self.resources.get_mut(&key).filter(|resource| resource.is_loaded()) else { continue };
            let Some(query) = resource.query().map(str::to_owned) else { continue };
            let request = QueryRequest { query };
            resource.querying =
                Some(bus.ask(Asker::Cache, Purpose::Query(key), round.subject.clone(), request.encode()));
            round.asked.insert(key);
        }
        if round.asked.is_empty() {
            queries.round = None;
            if queries.can_go_on() {
                self.unlocked.push_back(name.to_owned());
            }
        }
    }

    /// Takes note of what came of a query request.
    pub(crate) fn on_queried(&mut self, key: ResourceKey, queried: Queried, bus: &mut Bus) -> Vec<Notice> {
        let Some(resource) = self.resources.get_mut(&key) else { return Vec::new() };
        resource.querying = None;
        let name = resource.rid.name().to_owned();
        let mut notices = Vec::new();
        match queried {
            Queried::Answer(Ok(QueryResult::Events(events)), _) => {
                // Once it is deleted, there is nothing left to happen to it.
                for event in events {
                    match event.event.as_str() {
                        "reaccess" => notices.push(notice(key, News::Reaccess(Cause::Event))),
                        name => notices.extend(self.apply(key, name, event.payload(), bus)),
                    }
                }
            }
            Queried::Answer(Ok(QueryResult::Content(content)), bytes) => {
                notices.extend(self.replace(key, &content, bytes));
            }
            Queried::Answer(Err(error), _) if error.is(code::NOT_FOUND) => notices.extend(self.delete(key, bus)),
            // The service has said that it cannot tell.
            Queried::Answer(Err(_), _) => {}
            // The events will not come any more, but the current content can be fetched.
            Queried::Silence => self.set_stale(key),
        }
        self.end_query(&name, key, bus);
        notices
    }

    fn end_query(&mut self, name: &str, key: ResourceKey, bus: &mut Bus) {
        if let Some(round) = self.names.get_mut(name).and_then(|queries| queries.round.as_mut())
            && round.asked.remove(&key)
        {
            self.continue_round(name, bus);
        }
    }

    /// Ends the query request about a resource that is being dropped.
    pub(super) fn leave_round(&mut self, key: ResourceKey, resource: &Resource, bus: &mut Bus) {
        if let Some(tag) = resource.querying {
            bus.release(tag);
            self.end_query(resource.rid.name(), key, bus);
        }
    }

    /// Keeps an event until the query requests under way are answered.
    pub(super) fn hold(&mut self, name: &str, event: &str, payload: &[u8], bus: &mut Bus) {
        self.keep_waiting(name, Waiting::Event(event.to_owned(), payload.to_owned()), bus);
    }

    /// Takes in the answer to a get request, after the events that wait, or where it came if it had
    /// to be decoded.
    pub(crate) fn on_fetched(&mut self, tag: Tag, key: ResourceKey, fetched: Waiting, bus: &mut Bus) -> Vec<Notice> {
        if self.is_decoding(tag) {
            self.end_decoding(tag, Some(fetched));
            return Vec::new();
        }
        let Some(name) = self.name_of(key).map(str::to_owned) else { return Vec::new() };
        if self.names.get(&name).is_some_and(Name::is_locked) {
            self.keep_waiting(&name, fetched, bus);
            return Vec::new();
        }
        self.take_in(&name, fetched, bus)
    }

    pub(super) fn keep_waiting(&mut self, name: &str, waiting: Waiting, bus: &mut Bus) {
        let Some(queries) = self.names.get_mut(name) else { return };
        queries.waiting_bytes += waiting.bytes();
        queries.waiting.push_back(waiting);
        if queries.waiting.len() > self.max_waiting_events || queries.waiting_bytes > self.max_waiting_bytes {
            self.abandon_round(name, bus);
        }
    }

    /// Waits no longer for answers to query requests: the resources are fetched again instead.
    fn abandon_round(&mut self, name: &str, bus: &mut Bus) {
        let Some(queries) = self.names.get_mut(name) else { return };
        let Some(Round { last, until, asked, .. }) = queries.round.take() else { return self.wait_for_decoding() };
        for key in asked {
            if let Some(tag) = self.resources.get_mut(&key).and_then(|resource| resource.querying.take()) {
                bus.release(tag);
                self.set_stale(key);
            }
        }
        self.fetch_again(name, last, Some(until), true);
        self.unlocked.push_back(name.to_owned());
    }

    /// Forgets an answer that waits, there being reason to ask again.
    pub(super) fn forget_waiting(&mut self, name: &str, key: ResourceKey) {
        let Some(queries) = self.names.get_mut(name) else { return };
        let is_it = |it: &Waiting| matches!(it, Waiting::Loaded(of, _) if *of == key);
        if let Some(at) = queries.waiting.iter().position(is_it)
            && let Some(waiting) = queries.waiting.remove(at)
        {
            queries.waiting_bytes -= waiting.bytes();
        }
    }

    /// The name that [`Cache::next_waiting`] deals with next.
    pub(crate) fn next_unlocked(&self) -> Option<&str> {
        self.unlocked.front().map(String::as_str)
    }

    /// True if [`Cache::next_waiting`] has something to do.
    pub(crate) fn has_unlocked(&self) -> bool {
        !self.unlocked.is_empty()
    }

    /// Deals with the next of what had to wait.
    pub(crate) fn next_waiting(&mut self, bus: &mut Bus) -> Vec<Notice> {
        let Some(name) = self.unlocked.pop_front() else { return Vec::new() };
        let Some(queries) = self.names.get_mut(&name).filter(|queries| queries.can_go_on()) else {
            return Vec::new();
        };
        let Some(waiting) = queries.waiting.pop_front() else { return Vec::new() };
        queries.waiting_bytes -= waiting.bytes();
        let notices = self.take_in(&name, waiting, bus);
        if self.names.get(&name).is_some_and(Name::can_go_on) {
            self.unlocked.push_front(name);
        }
        notices
    }

    fn take_in(&mut self, name: &str, waiting: Waiting, bus: &mut Bus) -> Vec<Notice> {
        match waiting {
            Waiting::Event(event, payload) => self.apply_to_name(name, &event, &payload, bus),
            Waiting::Loaded(key, fetched) => self.on_loaded(key, fetched, bus),
            Waiting::Reloaded(key, fetched) => self.on_reloaded(key, fetched, bus),
            // It waits until it is decoded.
            Waiting::Decoding(..) => Vec::new(),
        }
    }
}

impl Cache {
    #[cfg(test)]
    pub(super) fn check_names(&self) {
        for (text, name) in &self.names {
            assert_eq!(name.waiting_bytes, name.waiting.iter().map(Waiting::bytes).sum::<usize>(), "{text}");
            assert!(!name.can_go_on() || self.unlocked.contains(text), "{text} is stuck");
            let asked = name.resources_after(None).filter(|key| self.resources[key].querying.is_some());
            let expected = name.round.as_ref().map(|round| round.asked.clone()).unwrap_or_default();
            assert_eq!(expected, asked.collect(), "{text}");
            name.check_links(&self.resources, |key| self.moving_to(key));
        }
        let keys: BTreeSet<_> = self.names.values().flat_map(|name| name.resources_after(None)).collect();
        assert!(keys.iter().eq(self.resources.keys()), "a resource without a name");
    }
}
