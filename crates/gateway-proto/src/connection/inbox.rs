//! Messages and events for a connection: processed at once, or queued while the connection has
//! pending jobs or lacks earlier events.

use std::{borrow::Cow, collections::VecDeque, fmt, mem};

use relogin_res::{ResourceId, service::Response};

use super::{Connection, Shared, subscription::AccessResult};
use crate::{api::close, cache::Notification, ids::TaskId, tag::Tag};

/// Something that has come.
pub(crate) enum Arrival<'a> {
    /// A frame of the client.
    Frame(Cow<'a, str>),
    /// A token event.
    Token(Cow<'a, [u8]>),
    /// The answer to an access request about a resource that is subscribed to.
    Access(Tag, ResourceId, AccessResult),
    /// The answer to an access request of a call.
    CallAccess(Tag, TaskId, AccessResult),
    /// The result of a method, which had so many bytes.
    Method(TaskId, Response, usize),
    /// News of a resource.
    News(Notification),
}

/// What has to wait, in this order.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    arrivals: VecDeque<Arrival<'static>>,
    /// While the connection lacks news: the number of the first notice that need not come before
    /// the rest.
    catching_up: Option<u64>,
    /// What comes after the news.
    later: VecDeque<Arrival<'static>>,
    bytes: usize,
}

impl Arrival<'_> {
    fn into_owned(self) -> Arrival<'static> {
        match self {
            Self::Frame(text) => Arrival::Frame(Cow::Owned(text.into_owned())),
            Self::Token(payload) => Arrival::Token(Cow::Owned(payload.into_owned())),
            Self::Access(tag, rid, result) => Arrival::Access(tag, rid, result),
            Self::CallAccess(tag, task, result) => Arrival::CallAccess(tag, task, result),
            Self::Method(task, response, bytes) => Arrival::Method(task, response, bytes),
            Self::News(news) => Arrival::News(news),
        }
    }

    fn bytes(&self) -> usize {
        let text = match self {
            Self::Frame(text) => text.len(),
            Self::Token(payload) => payload.len(),
            Self::Method(_, _, bytes) => *bytes,
            Self::News(notification) => notification.news.bytes(),
            Self::Access(..) | Self::CallAccess(..) => 0,
        };
        size_of::<Self>() + text
    }
}

impl fmt::Debug for Arrival<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may be a credential.
        f.debug_struct("Arrival").finish_non_exhaustive()
    }
}

impl Inbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.arrivals.is_empty() && self.catching_up.is_none()
    }

    fn push(&mut self, arrival: Arrival<'static>) {
        self.bytes += arrival.bytes();
        let comes_later = self.catching_up.is_some() && !matches!(arrival, Arrival::News(_));
        if comes_later { &mut self.later } else { &mut self.arrivals }.push_back(arrival);
    }

    fn pop(&mut self) -> Option<Arrival<'static>> {
        let arrival = self.arrivals.pop_front()?;
        self.bytes -= arrival.bytes();
        if self.arrivals.is_empty() && self.catching_up.is_none() {
            *self = Self::default();
        }
        Some(arrival)
    }

    fn is_over(&self, most: usize, most_bytes: usize) -> bool {
        self.arrivals.len() + self.later.len() > most || self.bytes > most_bytes
    }
}

impl Connection {
    /// True while what comes has to wait.
    pub(crate) fn is_busy(&self) -> bool {
        self.has_jobs() || !self.inbox.is_empty()
    }

    /// True while the connection lacks news that come before whatever comes now.
    pub(crate) fn is_catching_up(&self) -> bool {
        self.inbox.catching_up.is_some()
    }

    /// Lets whatever comes, and what waits for news already, wait until the connection has
    /// everything before the notice `until`.
    pub(crate) fn catch_up(&mut self, until: u64) {
        self.inbox.catching_up = Some(until);
    }

    /// Takes in what has come, or lets it wait. If too much waits, more of it is done now; if that
    /// is not enough, the connection fails.
    pub(crate) fn receive(&mut self, arrival: Arrival<'_>, shared: &mut Shared) {
        if self.is_busy() {
            self.inbox.push(arrival.into_owned());
            let (most, most_bytes) = (shared.config.max_held_events, shared.config.max_held_bytes);
            while self.inbox.is_over(most, most_bytes) && self.failure.is_none() && shared.jobs_left > 0 {
                self.do_jobs_now(shared);
                if !self.has_jobs() && !self.take_next_in(shared) {
                    break;
                }
                shared.jobs_left = shared.jobs_left.saturating_sub(1);
            }
            if self.inbox.is_over(2 * most, 2 * most_bytes) {
                self.failure = Some((close::TRY_AGAIN_LATER, "too many events are waiting"));
            }
        } else {
            self.take_in(arrival, shared);
            self.do_jobs_now(shared);
        }
    }

    fn do_jobs_now(&mut self, shared: &mut Shared) {
        shared.jobs_left -= self.do_jobs(shared.jobs_left, shared);
    }

    /// Takes in the next of what has waited. False if there is none.
    pub(crate) fn take_next_in(&mut self, shared: &mut Shared) -> bool {
        let next = self.inbox.pop().or_else(|| self.next_missed(shared));
        let has_some = next.is_some();
        if let Some(arrival) = next {
            self.take_in(arrival, shared);
        }
        has_some
    }

    /// The next of the news that the connection lacks. `None` if that is all: what waited for them
    /// is next.
    fn next_missed(&mut self, shared: &mut Shared) -> Option<Arrival<'static>> {
        let until = self.inbox.catching_up?;
        if let Some(news) = shared.cache.next_notification_for(self.key, &mut self.lacks, until) {
            return Some(Arrival::News(news));
        }
        self.inbox.catching_up = None;
        self.inbox.arrivals = mem::take(&mut self.inbox.later);
        self.inbox.pop()
    }

    fn take_in(&mut self, arrival: Arrival<'_>, shared: &mut Shared) {
        match arrival {
            Arrival::Frame(text) => self.on_frame(&text, shared),
            Arrival::Token(payload) => self.on_token(&payload, shared),
            Arrival::Access(tag, rid, result) => self.on_access_answer(tag, &rid, &result, shared),
            Arrival::CallAccess(tag, task, result) => self.on_call_access_answer(tag, task, &result, shared),
            Arrival::Method(task, response, _) => self.on_method_answer(task, response, shared),
            Arrival::News(news) => self.on_news(&news, shared),
        }
    }

    #[cfg(test)]
    pub(crate) fn check_inbox(&self) {
        let Inbox { arrivals, catching_up, later, bytes } = &self.inbox;
        assert_eq!(*bytes, arrivals.iter().chain(later).map(Arrival::bytes).sum::<usize>());
        assert!(catching_up.is_some() || later.is_empty());
    }
}
