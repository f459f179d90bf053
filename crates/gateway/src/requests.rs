//! Queues requests on their way to the bus: connections take turns, and each service has only as
//! many requests in flight as it can handle. Must not depend on the state machine.
//!
//! The bus has a queue for each service from which nothing can be withdrawn. So only a few requests
//! are put there at a time, and the rest wait here: a client that asks for more than a service can
//! do waits behind its own requests, and requests that it has given up are never sent.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use relogin_bus::Tag;
use relogin_gateway_proto::ConnectionKey;
use relogin_host::log_throttle::LogThrottle;
use tokio::sync::Notify;
use tracing::{Span, warn};

use crate::{id_map::IdMap, trace};

/// The queue of bus commands.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    queue: Mutex<Queue>,
    changed: Notify,
    given_up: LogThrottle,
}

/// A bus command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BusCommand {
    /// Subscribe to a pattern.
    Listen(Tag, String),
    /// Send a request.
    Ask(Tag, String, Bytes),
    /// Unsubscribe, or stop waiting for answers.
    Release(Tag),
}

/// How many requests to one service may be in flight without any word from it: neither an answer,
/// nor a request for more time.
#[derive(Clone, Copy, Debug)]
struct Window {
    requests: usize,
    bytes: usize,
}

/// For `auth` requests, which may carry the header of the connection's request. The session service
/// works on as many at a time.
const AUTH: Window = Window { requests: 1024, bytes: 512 << 10 };

/// For all others.
const OTHERS: Window = Window { requests: 8192, bytes: 16 << 20 };

#[derive(Debug, Default)]
struct Queue {
    /// Subscriptions and releases, in order. They go before requests: an event of a resource must
    /// not be missed after the answer to a request.
    orders: VecDeque<BusCommand>,
    /// Requests that wait or are in flight.
    asks: IdMap<Tag, Ask>,
    /// How many of them wait.
    waiting: usize,
    /// By kind and first part of the name, as `auth.session`.
    services: HashMap<Arc<str>, Service>,
    /// Services that have waiting requests, and room for one.
    turns: VecDeque<Arc<str>>,
    is_closed: bool,
}

#[derive(Debug)]
struct Ask {
    service: Arc<str>,
    bytes: usize,
    state: State,
    /// From here on until it is answered or given up.
    _span: Span,
}

#[derive(Debug)]
enum State {
    Waiting(String, Bytes),
    UnderWay,
    /// The service has received it.
    Heard,
}

#[derive(Debug, Default)]
struct Service {
    /// What waits, by who has asked: a connection, or everybody that shares cached resources.
    /// Requests that were given up are still among them.
    waiting: IdMap<Option<ConnectionKey>, VecDeque<Tag>>,
    /// Whose turn is next.
    turns: VecDeque<Option<ConnectionKey>>,
    under_way: usize,
    bytes: usize,
    has_turn: bool,
}

/// Closes the queue, however its owner ends.
pub(crate) struct CloseOnDrop(pub(crate) Arc<Requests>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Requests {
    /// Subscribes to a pattern, before any request that is not sent yet.
    pub(crate) fn listen(&self, tag: Tag, pattern: String) {
        self.queue().orders.push_back(BusCommand::Listen(tag, pattern));
        self.changed.notify_one();
    }

    /// Sends a request of `asker` when it is its turn.
    pub(crate) fn ask(&self, tag: Tag, asker: Option<ConnectionKey>, subject: String, payload: Bytes) {
        self.queue().ask(tag, asker, subject, payload);
        self.changed.notify_one();
    }

    /// Unsubscribes, or stops waiting for answers. A request that was not sent is never sent.
    pub(crate) fn release(&self, tag: Tag) {
        let was_sent = self.queue().release(tag);
        if was_sent {
            self.changed.notify_one();
        } else if let Some(counts) = self.given_up.count() {
            let (since_last, total) = (counts.since_last, counts.total);
            warn!(since_last, total, "requests timed out while they were queued: services are slower than clients");
        }
    }

    /// The service has asked for more time: others need not wait for it.
    pub(crate) fn extended(&self, tag: Tag) {
        let mut queue = self.queue();
        if let Some(ask) = queue.asks.get_mut(&tag)
            && matches!(ask.state, State::UnderWay)
        {
            ask.state = State::Heard;
            let (service, bytes) = (Arc::clone(&ask.service), ask.bytes);
            queue.arrive(&service, bytes);
            self.changed.notify_one();
        }
    }

    /// The bus did not accept a request or a subscription.
    pub(crate) fn refused(&self, tag: Tag) {
        let mut queue = self.queue();
        if let Some(ask) = queue.asks.remove(&tag) {
            queue.arrive(&ask.service, ask.bytes);
        }
    }

    /// How many requests wait to be sent.
    pub(crate) fn queued(&self) -> usize {
        self.queue().waiting
    }

    /// Nothing more is added. What waits is dropped.
    pub(crate) fn close(&self) {
        self.queue().is_closed = true;
        self.changed.notify_one();
    }

    /// The next command; none once the queue is closed. For one task.
    pub(crate) async fn next(&self) -> Option<BusCommand> {
        loop {
            {
                let mut queue = self.queue();
                if queue.is_closed {
                    return None;
                }
                if let Some(command) = queue.next() {
                    return Some(command);
                }
            }
            self.changed.notified().await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn ask(&mut self, tag: Tag, asker: Option<ConnectionKey>, subject: String, payload: Bytes) {
        let name = service_of(&subject);
        let name = self.services.get_key_value(name).map_or_else(|| name.into(), |(name, _)| Arc::clone(name));
        let service = self.services.entry(Arc::clone(&name)).or_default();
        let waiting = service.waiting.entry(asker).or_default();
        if waiting.is_empty() {
            service.turns.push_back(asker);
        }
        waiting.push_back(tag);
        let bytes = subject.len() + payload.len();
        self.waiting += 1;
        let span = trace::request(&subject);
        let state = State::Waiting(subject, payload);
        self.asks.insert(tag, Ask { service: Arc::clone(&name), bytes, state, _span: span });
        self.give_turn(&name);
    }

    /// False if it is a request that was not sent.
    fn release(&mut self, tag: Tag) -> bool {
        match self.asks.remove(&tag) {
            Some(Ask { state: State::Waiting(..), .. }) => {
                self.waiting -= 1;
                return false;
            }
            Some(Ask { service, bytes, state: State::UnderWay, .. }) => self.arrive(&service, bytes),
            Some(Ask { state: State::Heard, .. }) | None => {}
        }
        self.orders.push_back(BusCommand::Release(tag));
        true
    }

    /// A request is no longer in flight.
    fn arrive(&mut self, name: &Arc<str>, bytes: usize) {
        let Some(service) = self.services.get_mut(name) else { return };
        service.under_way -= 1;
        service.bytes -= bytes;
        if service.under_way == 0 && service.turns.is_empty() {
            self.services.remove(name);
        } else {
            self.give_turn(name);
        }
    }

    /// Puts a service in the row, if it has something to send and room for it.
    fn give_turn(&mut self, name: &Arc<str>) {
        if let Some(service) = self.services.get_mut(name)
            && !service.has_turn
            && !service.turns.is_empty()
            && service.has_room(name)
        {
            service.has_turn = true;
            self.turns.push_back(Arc::clone(name));
        }
    }

    fn next(&mut self) -> Option<BusCommand> {
        if let Some(order) = self.orders.pop_front() {
            return Some(order);
        }
        while let Some(name) = self.turns.pop_front() {
            let Some(service) = self.services.get_mut(&name) else { continue };
            service.has_turn = false;
            let Some((tag, subject, payload)) = service.next(&mut self.asks) else {
                if service.under_way == 0 {
                    self.services.remove(&name);
                }
                continue;
            };
            self.waiting -= 1;
            self.give_turn(&name);
            return Some(BusCommand::Ask(tag, subject, payload));
        }
        None
    }
}

impl Service {
    fn has_room(&self, name: &str) -> bool {
        let window = if name.starts_with("auth.") { AUTH } else { OTHERS };
        self.under_way < window.requests && self.bytes < window.bytes
    }

    /// The next request, of whoever has waited longest for a turn. It is in flight from now on.
    fn next(&mut self, asks: &mut IdMap<Tag, Ask>) -> Option<(Tag, String, Bytes)> {
        while let Some(asker) = self.turns.pop_front() {
            let Some(waiting) = self.waiting.get_mut(&asker) else { continue };
            let next = std::iter::from_fn(|| waiting.pop_front()).find(|tag| asks.contains_key(tag));
            if waiting.is_empty() {
                self.waiting.remove(&asker);
            } else {
                self.turns.push_back(asker);
            }
            if let Some(tag) = next
                && let Some(ask) = asks.get_mut(&tag)
                && let State::Waiting(subject, payload) = std::mem::replace(&mut ask.state, State::UnderWay)
            {
                self.under_way += 1;
                self.bytes += ask.bytes;
                return Some((tag, subject, payload));
            }
        }
        None
    }
}

/// Kind and first part of the name: what is a service of its own, as far as can be known here.
fn service_of(subject: &str) -> &str {
    let mut dots = subject.match_indices('.').map(|(at, _)| at);
    dots.nth(1).map_or(subject, |at| &subject[..at])
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn ask(requests: &Requests, tag: u64, asker: u64, subject: &str, size: usize) {
        requests.ask(Tag(tag), Some(ConnectionKey(asker)), subject.to_owned(), vec![0; size].into());
    }

    /// What is sent now, by tag.
    fn sent(requests: &Requests) -> Vec<u64> {
        let next = || requests.next().now_or_never().flatten();
        std::iter::from_fn(next)
            .filter_map(|command| if let BusCommand::Ask(Tag(tag), ..) = command { Some(tag) } else { None })
            .collect()
    }

    #[test]
    fn connections_take_turns_and_each_keeps_its_order() {
        let requests = Requests::default();
        for tag in 0..5 {
            ask(&requests, tag, 1, "auth.session.challenge", 1);
        }
        ask(&requests, 10, 2, "auth.session.relogin", 1);
        ask(&requests, 20, 3, "auth.session.relogin", 1);
        ask(&requests, 11, 2, "auth.session.relogin", 1);
        assert_eq!(sent(&requests), [0, 10, 20, 1, 11, 2, 3, 4]);
    }

    #[test]
    fn a_service_has_a_limited_number_of_requests_under_way() {
        let requests = Requests::default();
        let many = AUTH.requests as u64;
        for tag in 0..many + 10 {
            ask(&requests, tag, 1, "auth.session.challenge", 1);
        }
        assert_eq!(sent(&requests).len(), AUTH.requests);
        // Another service does not wait for this one, and another client has the next turn.
        ask(&requests, 5000, 2, "auth.other.login", 1);
        assert_eq!(sent(&requests), [5000]);
        ask(&requests, 6000, 2, "auth.session.relogin", 1);
        assert!(sent(&requests).is_empty());
        requests.release(Tag(0));
        requests.extended(Tag(1));
        // Once each.
        requests.extended(Tag(1));
        requests.release(Tag(1));
        requests.refused(Tag(2));
        let next = sent(&requests);
        assert_eq!(next.len(), 3);
        assert!(next.contains(&6000), "{next:?}");
    }

    #[test]
    fn fewer_large_requests_are_under_way_but_always_one() {
        let requests = Requests::default();
        for tag in 0..10 {
            ask(&requests, tag, 1, "auth.session.challenge", AUTH.bytes / 2);
        }
        assert_eq!(sent(&requests), [0, 1]);
        requests.release(Tag(0));
        assert_eq!(sent(&requests), [2]);
        ask(&requests, 100, 1, "auth.other.login", 2 * AUTH.bytes);
        assert_eq!(sent(&requests), [100]);
    }

    #[test]
    fn requests_that_were_given_up_are_not_sent_and_leave_nothing_behind() {
        let requests = Requests::default();
        for tag in 0..3000 {
            ask(&requests, tag, tag % 7, "auth.session.challenge", 1000);
        }
        let under_way = sent(&requests);
        assert_eq!(requests.queued(), 3000 - under_way.len());
        (0..3000).filter(|tag| !under_way.contains(tag)).for_each(|tag| requests.release(Tag(tag)));
        assert_eq!(requests.queue().asks.len(), under_way.len());
        under_way.iter().for_each(|tag| requests.release(Tag(*tag)));
        assert!(sent(&requests).is_empty());
        let queue = requests.queue();
        assert_eq!(queue.waiting, 0);
        assert!(queue.asks.is_empty() && queue.services.is_empty() && queue.turns.is_empty(), "{queue:?}");
    }

    #[test]
    fn listening_comes_before_requests_and_releases_in_their_order() {
        let requests = Requests::default();
        ask(&requests, 1, 1, "get.test.model", 1);
        requests.listen(Tag(2), "event.test.model.*".to_owned());
        requests.release(Tag(2));
        requests.listen(Tag(3), "event.test.model.*".to_owned());
        let next = || requests.next().now_or_never().flatten().unwrap();
        assert!(matches!(next(), BusCommand::Listen(Tag(2), _)));
        assert_eq!(next(), BusCommand::Release(Tag(2)));
        assert!(matches!(next(), BusCommand::Listen(Tag(3), _)));
        assert!(matches!(next(), BusCommand::Ask(Tag(1), ..)));
        requests.close();
        assert_eq!(requests.next().now_or_never(), Some(None));
    }

    #[test]
    fn services_are_told_apart_by_kind_and_name() {
        for (subject, service) in
            [("auth.session.login", "auth.session"), ("get.a.b.c", "get.a"), ("get.a", "get.a"), ("x", "x")]
        {
            assert_eq!(service_of(subject), service);
        }
    }
}
