//! News on their way to subscribers: one subscriber after the other, in the order in which they came
//! about. Whoever subscribes in between has the news in what it gets, and is not told of them.
//! Must not depend on connections.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound::{Excluded, Unbounded},
};

use relogin_res::ResourceId;

use super::{Cache, Config, News, Notice};
use crate::{
    api::ConnectionKey,
    ids::{ResourceKey, Subscriber, Subscribers, subscribers_from},
    resource::Resource,
};

/// Whom a notice is for.
#[derive(Debug)]
pub(crate) enum Audience {
    /// Whoever is subscribed to the resource when it is announced.
    Subscribers,
    /// These, of the subscribers.
    These(Subscribers),
}

/// What one subscriber is to be told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) connection: ConnectionKey,
    /// What the connection calls the resource.
    pub(crate) rid: ResourceId,
    pub(crate) resource: ResourceKey,
    /// The number of the notice.
    pub(crate) number: u64,
    pub(crate) news: News,
}

/// A step of telling.
#[derive(Debug)]
pub(crate) enum Step {
    /// To be told.
    Told(Told),
    /// Somebody knew already, or a notice has reached everybody.
    Nobody,
}

/// Notices that have not reached everybody.
#[derive(Debug)]
pub(super) struct Fanout {
    max_notices: usize,
    max_bytes: usize,
    queue: VecDeque<Queued>,
    bytes: usize,
    /// The number of the next notice: those in the queue have the numbers before it.
    next: u64,
    /// Who was subscribed to resources that are gone, until they have been told so.
    gone: BTreeMap<ResourceKey, Subscribers>,
}

#[derive(Debug)]
struct Queued {
    notice: Notice,
    /// Who was told last.
    last: Option<Subscriber>,
}

impl Fanout {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            max_notices: config.max_untold_notices,
            max_bytes: config.max_untold_bytes,
            queue: VecDeque::new(),
            bytes: 0,
            next: 0,
            gone: BTreeMap::new(),
        }
    }

    /// The number of the first notice that is for whoever subscribes now.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Keeps the subscribers of a resource that is gone until they are told so.
    pub(super) fn keep(&mut self, key: ResourceKey, subscribers: Subscribers) {
        if !subscribers.is_empty() {
            self.gone.insert(key, subscribers);
        }
    }

    /// True if there is something that not all subscribers of a resource have been told.
    pub(super) fn is_about(&self, key: ResourceKey) -> bool {
        self.queue.iter().any(|queued| queued.notice.resource == key)
    }

    /// Throws something away, nobody being there any more. False if nothing is left.
    pub(super) fn throw_away(&mut self) -> bool {
        if let Some(mut subscribers) = self.gone.first_entry() {
            if subscribers.get_mut().pop_first().is_none() {
                subscribers.remove();
            }
            return true;
        }
        self.queue.pop_front().is_some()
    }

    fn first(&self) -> u64 {
        self.next - self.queue.len() as u64
    }

    fn finish(&mut self) {
        let Some(Queued { notice, .. }) = self.queue.pop_front() else { return };
        self.bytes -= notice.news.bytes();
        if notice.news.is_last() {
            self.gone.remove(&notice.resource);
        }
    }
}

impl News {
    /// How many bytes it takes to keep it.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => event.bytes(),
            Self::Loaded(..) | Self::Failed(_) | Self::Reaccess => 0,
        }
    }

    /// True if nothing can be told of the resource after it.
    fn is_last(&self) -> bool {
        match self {
            Self::Event(event) => event.is_delete(),
            Self::Failed(_) => true,
            Self::Loaded(..) | Self::Reaccess => false,
        }
    }
}

impl Cache {
    /// Lets subscribers be told, once all that came before has been told.
    pub(crate) fn announce(&mut self, notices: impl IntoIterator<Item = Notice>) {
        for notice in notices {
            self.fanout.bytes += notice.news.bytes();
            self.fanout.queue.push_back(Queued { notice, last: None });
            self.fanout.next += 1;
        }
    }

    /// The number of the next notice.
    pub(crate) fn next_notice(&self) -> u64 {
        self.fanout.next
    }

    /// True if somebody is still to be told something.
    pub(crate) fn has_untold(&self) -> bool {
        !self.fanout.queue.is_empty()
    }

    /// True if more is to be told than may wait.
    pub(crate) fn has_too_much_untold(&self) -> bool {
        self.fanout.queue.len() > self.fanout.max_notices || self.fanout.bytes > self.fanout.max_bytes
    }

    /// Whom to tell what next. `None` if everybody has been told everything.
    pub(crate) fn tell_next(&mut self) -> Option<Step> {
        let Self { resources, fanout, .. } = self;
        let number = fanout.first();
        let Fanout { queue, gone, .. } = &mut *fanout;
        let Queued { notice, last } = queue.front_mut()?;
        let after = last.as_ref().map_or(Unbounded, Excluded);
        let next = audience(notice, resources, gone).and_then(|it| it.range_mut((after, Unbounded)).next());
        let Some((subscriber, lacks)) = next else {
            fanout.finish();
            return Some(Step::Nobody);
        };
        *last = Some(subscriber.clone());
        if *lacks > number {
            return Some(Step::Nobody);
        }
        *lacks = number + 1;
        let (connection, rid) = subscriber.clone();
        Some(Step::Told(Told { connection, rid, resource: notice.resource, number, news: notice.news.clone() }))
    }

    /// What a connection is to be told next, before its turn. `lacks` is the number of the first notice
    /// that it may lack, and goes on. `None` if it has been told everything.
    pub(crate) fn tell_next_of(&mut self, connection: ConnectionKey, lacks: &mut u64) -> Option<Told> {
        let Self { resources, fanout, .. } = self;
        let first = fanout.first();
        *lacks = (*lacks).max(first);
        while *lacks < fanout.next {
            let number = *lacks;
            let at = usize::try_from(number - first).ok()?;
            let Fanout { queue, gone, .. } = &mut *fanout;
            let notice = &mut queue.get_mut(at)?.notice;
            let audience = audience(notice, resources, gone);
            let mut own = audience.into_iter().flat_map(|it| it.range_mut(subscribers_from(connection)));
            let own = own.by_ref().take_while(|(subscriber, _)| subscriber.0 == connection);
            if let Some((subscriber, told)) = own.into_iter().find(|(_, lacks)| **lacks <= number) {
                *told = number + 1;
                let rid = subscriber.1.clone();
                return Some(Told { connection, rid, resource: notice.resource, number, news: notice.news.clone() });
            }
            *lacks += 1;
        }
        None
    }

    #[cfg(test)]
    pub(super) fn check_fanout(&self) {
        let bytes = self.fanout.queue.iter().map(|queued| queued.notice.news.bytes());
        assert_eq!(self.fanout.bytes, bytes.sum::<usize>());
        for key in self.fanout.gone.keys() {
            assert!(self.fanout.is_about(*key), "nobody is told that a resource is gone");
            assert!(!self.resources.contains_key(key), "a resource that is gone is there");
        }
    }
}

fn audience<'a>(
    notice: &'a mut Notice,
    resources: &'a mut BTreeMap<ResourceKey, Resource>,
    gone: &'a mut BTreeMap<ResourceKey, Subscribers>,
) -> Option<&'a mut Subscribers> {
    match &mut notice.audience {
        Audience::These(these) => Some(these),
        Audience::Subscribers => {
            let there = resources.get_mut(&notice.resource).map(|resource| &mut resource.subscribers);
            there.or_else(|| gone.get_mut(&notice.resource))
        }
    }
}
