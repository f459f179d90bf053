//! Delivers what happened to resources to their subscribers, one subscriber after the other, in the
//! order in which it happened. Whoever subscribes in between gets the current content, and nothing
//! of what came before. Must not depend on connections.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound::{Excluded, Unbounded},
};

use relogin_res::ResourceId;

use super::{Cache, Config, Message, News, Notice};
use crate::{
    api::ConnectionKey,
    bus::Bus,
    ids::{Delivered, ResourceKey, Subscriber, Subscribers, subscribers_from},
    resource::Resource,
};

/// What one subscriber gets.
#[derive(Debug)]
pub(crate) struct Notification {
    pub(crate) connection: ConnectionKey,
    /// What the connection calls the resource.
    pub(crate) rid: ResourceId,
    pub(crate) resource: ResourceKey,
    /// The number of the notice.
    pub(crate) number: u64,
    pub(crate) news: News,
}

/// A step of delivery.
#[derive(Debug)]
pub(crate) enum Step {
    /// This is to be delivered.
    Notification(Notification),
    /// A subscriber had it already, or a notice has reached everybody.
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
    /// Who was subscribed to resources that are gone, until they have been notified.
    gone: BTreeMap<ResourceKey, Subscribers>,
}

#[derive(Debug)]
struct Queued {
    notice: Notice,
    /// Who was notified last.
    last: Option<Subscriber>,
}

impl Fanout {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            max_notices: config.max_undelivered_notices,
            max_bytes: config.max_undelivered_bytes,
            queue: VecDeque::new(),
            bytes: 0,
            next: 0,
            gone: BTreeMap::new(),
        }
    }

    /// How many notices have not reached everybody.
    pub(super) fn undelivered(&self) -> usize {
        self.queue.len()
    }

    /// The number of the first notice that is for whoever subscribes now.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Keeps the subscribers of a resource that is gone until they are notified.
    pub(super) fn keep(&mut self, key: ResourceKey, subscribers: Subscribers) {
        if !subscribers.is_empty() {
            self.gone.insert(key, subscribers);
        }
    }

    /// Forgets a subscriber of a resource that is gone. False if it was not one.
    pub(super) fn forget_gone(&mut self, key: ResourceKey, subscriber: &Subscriber) -> bool {
        self.gone.get_mut(&key).is_some_and(|subscribers| subscribers.remove(subscriber).is_some())
    }

    /// How many subscribers a resource has that is gone.
    #[cfg(test)]
    pub(super) fn subscribers_of_gone(&self, key: ResourceKey) -> usize {
        self.gone.get(&key).map_or(0, BTreeMap::len)
    }

    /// True if a notice of a resource has not reached all subscribers.
    #[cfg(test)]
    pub(super) fn is_about(&self, key: ResourceKey) -> bool {
        self.queue.iter().any(|queued| queued.notice.resource == key)
    }

    fn first(&self) -> u64 {
        self.next - self.queue.len() as u64
    }
}

impl News {
    /// How many bytes it takes to keep it.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => event.bytes(),
            Self::Loaded(..) | Self::Failed(_) | Self::Reaccess(_) => 0,
        }
    }
}

impl Message {
    fn bytes(&self) -> usize {
        match self {
            Self::News(news) => news.bytes(),
            Self::Merged => 0,
        }
    }

    /// True if it is the last one of the resource, which is no longer in the cache.
    fn is_last(&self) -> bool {
        match self {
            Self::News(News::Event(event)) => event.is_delete(),
            Self::News(News::Failed(_)) | Self::Merged => true,
            Self::News(News::Loaded(..) | News::Reaccess(_)) => false,
        }
    }
}

impl Cache {
    /// Has notices delivered, after all that came before.
    pub(crate) fn announce(&mut self, notices: impl IntoIterator<Item = Notice>) {
        for notice in notices {
            self.fanout.bytes += notice.message.bytes();
            self.fanout.queue.push_back(Queued { notice, last: None });
            self.fanout.next += 1;
        }
    }

    /// The number of the next notice.
    pub(crate) fn next_notice(&self) -> u64 {
        self.fanout.next
    }

    /// True if there is something to deliver.
    pub(crate) fn has_undelivered(&self) -> bool {
        !self.fanout.queue.is_empty()
    }

    /// True if more is to be delivered than may wait.
    pub(crate) fn has_too_much_undelivered(&self) -> bool {
        self.fanout.queue.len() > self.fanout.max_notices || self.fanout.bytes > self.fanout.max_bytes
    }

    /// True if so much is to be delivered that what can wait should not add to it.
    pub(super) fn has_much_undelivered(&self) -> bool {
        self.fanout.queue.len() > self.fanout.max_notices / 2 || self.fanout.bytes > self.fanout.max_bytes / 2
    }

    /// The next step. `None` if there is nothing to deliver.
    pub(crate) fn deliver_next(&mut self, bus: &mut Bus) -> Option<Step> {
        let Self { resources, fanout, .. } = self;
        let number = fanout.first();
        let Fanout { queue, gone, .. } = &mut *fanout;
        let Queued { notice, last } = queue.front_mut()?;
        let resource = notice.resource;
        let next = if notice.message.is_last() {
            gone.get_mut(&resource).and_then(BTreeMap::pop_first)
        } else {
            let after = last.as_ref().map_or(Unbounded, Excluded);
            let next = audience(resource, resources, gone).and_then(|it| it.range_mut((after, Unbounded)).next());
            next.map(|(subscriber, delivered)| {
                *last = Some(subscriber.clone());
                let before = *delivered;
                delivered.lacks = delivered.lacks.max(number + 1);
                (subscriber.clone(), before)
            })
        };
        let Some((subscriber, delivered)) = next else {
            self.finish_notice(bus);
            return Some(Step::Nobody);
        };
        if delivered.lacks > number {
            return Some(Step::Nobody);
        }
        let message = notice.message.clone();
        Some(Step::Notification(self.notification(resource, number, message, subscriber, delivered)))
    }

    /// What a connection gets next, before its turn. `lacks` is the number of the first notice that
    /// it may lack, and is advanced. `None` if it has everything before the notice `until`.
    pub(crate) fn next_notification_for(
        &mut self,
        connection: ConnectionKey,
        lacks: &mut u64,
        until: u64,
    ) -> Option<Notification> {
        let first = self.fanout.first();
        *lacks = (*lacks).max(first);
        while *lacks < until {
            let number = *lacks;
            let at = usize::try_from(number - first).ok()?;
            let Self { resources, fanout: Fanout { queue, gone, .. }, .. } = &mut *self;
            let notice = &queue.get(at)?.notice;
            let audience = audience(notice.resource, resources, gone);
            let own = audience.into_iter().flat_map(|it| it.range_mut(subscribers_from(connection)));
            let mut own = own.take_while(|(subscriber, _)| subscriber.0 == connection);
            if let Some((subscriber, delivered)) = own.find(|(_, delivered)| delivered.lacks <= number) {
                let (subscriber, before) = (subscriber.clone(), *delivered);
                delivered.lacks = number + 1;
                let (resource, message) = (notice.resource, notice.message.clone());
                if message.is_last() {
                    self.fanout.forget_gone(resource, &subscriber);
                }
                return Some(self.notification(resource, number, message, subscriber, before));
            }
            *lacks += 1;
        }
        None
    }

    fn notification(
        &mut self,
        resource: ResourceKey,
        number: u64,
        message: Message,
        subscriber: Subscriber,
        delivered: Delivered,
    ) -> Notification {
        let news = match message {
            Message::News(news) => news,
            Message::Merged => self.move_subscriber(resource, &subscriber, &delivered),
        };
        let (connection, rid) = subscriber;
        Notification { connection, rid, resource, number, news }
    }

    fn finish_notice(&mut self, bus: &mut Bus) {
        let Some(Queued { notice: Notice { resource, message }, .. }) = self.fanout.queue.pop_front() else { return };
        self.fanout.bytes -= message.bytes();
        if message.is_last() {
            self.fanout.gone.remove(&resource);
        }
        if matches!(message, Message::Merged) {
            self.finish_merge(resource, bus);
        }
    }

    #[cfg(test)]
    pub(super) fn check_fanout(&self) {
        let bytes = self.fanout.queue.iter().map(|queued| queued.notice.message.bytes());
        assert_eq!(self.fanout.bytes, bytes.sum::<usize>());
        for key in self.fanout.gone.keys() {
            assert!(self.fanout.is_about(*key), "nobody is notified that a resource is gone");
            assert!(!self.resources.contains_key(key), "a resource that is gone is there");
        }
    }
}

fn audience<'a>(
    key: ResourceKey,
    resources: &'a mut BTreeMap<ResourceKey, Resource>,
    gone: &'a mut BTreeMap<ResourceKey, Subscribers>,
) -> Option<&'a mut Subscribers> {
    let there = resources.get_mut(&key).map(|resource| &mut resource.subscribers);
    there.or_else(|| gone.get_mut(&key))
}
