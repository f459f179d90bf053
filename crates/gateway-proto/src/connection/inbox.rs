//! What has come for a connection: taken in at once, or, while work of the connection is under way, in its turn.

use std::{borrow::Cow, collections::VecDeque, fmt};

use relogin_res::{ResourceId, service::Response};

use super::{Connection, Shared, subscription::AccessResult};
use crate::{api::Tag, cache::Told, ids::TaskId};

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
    News(Told),
}

/// What has to wait, in this order.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    arrivals: VecDeque<Arrival<'static>>,
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
            Self::News(told) => Arrival::News(told),
        }
    }

    fn bytes(&self) -> usize {
        let text = match self {
            Self::Frame(text) => text.len(),
            Self::Token(payload) => payload.len(),
            Self::Method(_, _, bytes) => *bytes,
            Self::News(told) => told.news.bytes(),
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
        self.arrivals.is_empty()
    }

    fn push(&mut self, arrival: Arrival<'static>) {
        self.bytes += arrival.bytes();
        self.arrivals.push_back(arrival);
    }

    fn pop(&mut self) -> Option<Arrival<'static>> {
        let arrival = self.arrivals.pop_front()?;
        self.bytes -= arrival.bytes();
        if self.arrivals.is_empty() {
            *self = Self::default();
        }
        Some(arrival)
    }
}

impl Connection {
    /// True while what comes has to wait.
    pub(crate) fn is_busy(&self) -> bool {
        self.has_jobs() || !self.inbox.is_empty()
    }

    /// Takes in what has come, or lets it wait. If too much waits, all of it is done now.
    pub(crate) fn receive(&mut self, arrival: Arrival<'_>, shared: &mut Shared) {
        if !self.is_busy() {
            self.take_in(arrival, shared);
            return self.do_jobs(shared.jobs_at_once, shared);
        }
        self.inbox.push(arrival.into_owned());
        let (most, most_bytes) = (shared.config.max_held_events, shared.config.max_held_bytes);
        if self.inbox.arrivals.len() > most || self.inbox.bytes > most_bytes {
            while self.is_busy() && self.failure.is_none() {
                self.do_jobs(usize::MAX, shared);
                self.take_next_in(shared);
            }
        }
    }

    /// Takes in the next of what has waited. False if there is none.
    pub(crate) fn take_next_in(&mut self, shared: &mut Shared) -> bool {
        let next = self.inbox.pop();
        let has_some = next.is_some();
        if let Some(arrival) = next {
            self.take_in(arrival, shared);
        }
        has_some
    }

    fn take_in(&mut self, arrival: Arrival<'_>, shared: &mut Shared) {
        match arrival {
            Arrival::Frame(text) => self.on_frame(&text, shared),
            Arrival::Token(payload) => self.on_token(&payload, shared),
            Arrival::Access(tag, rid, result) => self.on_access_answer(tag, &rid, &result, shared),
            Arrival::CallAccess(tag, task, result) => self.on_call_access_answer(tag, task, &result, shared),
            Arrival::Method(task, response, _) => self.on_method_answer(task, response, shared),
            Arrival::News(told) => self.on_news(&told, shared),
        }
    }

    #[cfg(test)]
    pub(crate) fn check_inbox(&self) {
        assert_eq!(self.inbox.bytes, self.inbox.arrivals.iter().map(Arrival::bytes).sum::<usize>());
    }
}
