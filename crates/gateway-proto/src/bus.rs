//! The machine's side of the bus: tags, deadlines, and the purpose of each request. Must not depend
//! on connections or resources.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use relogin_res::{ResourceId, service::PreResponse};

use crate::{
    api::{Action, ConnectionKey},
    counts::{MessageKind, RequestCounts, RequestKind, RequestOutcome},
    discard::{Bulk, Discarded},
    ids::{ResourceKey, TaskId},
    malformed::Malformed,
    tag::Tag,
};

/// What a request was sent for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A resource that is not cached yet.
    Load(ResourceKey),
    /// A resource whose cached content may be out of date.
    Reload(ResourceKey),
    /// What a connection may do with a resource that it is subscribed to.
    Access(ConnectionKey, ResourceId),
    /// What a connection may do with a resource that it wants to call.
    CallAccess(ConnectionKey, TaskId),
    /// Whether and how a connection's WebSocket opens.
    HeaderAuth(ConnectionKey),
    /// What a query event did to a resource.
    Query(ResourceKey),
    /// The result of a method.
    Method(ConnectionKey, TaskId),
    /// Nothing: the answer is not looked at.
    TokenReset,
}

impl Purpose {
    /// What kind of request it is, to this subject.
    fn kind(&self, subject: &str) -> RequestKind {
        match self {
            Self::Load(_) | Self::Reload(_) => RequestKind::Get,
            Self::Query(_) => RequestKind::Query,
            Self::Access(..) | Self::CallAccess(..) => RequestKind::Access,
            Self::Method(..) if subject.starts_with("call.") => RequestKind::Call,
            Self::Method(..) | Self::HeaderAuth(_) | Self::TokenReset => RequestKind::Auth,
        }
    }
}

/// Whom a request is to be put down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The connection that made it necessary.
    Connection(ConnectionKey),
    /// All who share what is cached.
    Cache,
}

/// What a subscription is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    /// Events for all gateways.
    System,
    /// A connection's token.
    Token(ConnectionKey),
    /// A resource name's events.
    Resource(String),
}

/// Requests under way and subscriptions in force, and the actions that the machine has not handed
/// out yet.
#[derive(Debug)]
pub(crate) struct Bus {
    /// The time of the input at hand.
    pub(crate) now: Duration,
    actions: VecDeque<Action>,
    timeout: Duration,
    last_tag: u64,
    requests: BTreeMap<Tag, Request>,
    /// How many bytes the requests under way have, in all and of each connection that has any.
    asked_bytes: usize,
    asked_by: BTreeMap<ConnectionKey, usize>,
    /// By kind.
    counts: [RequestCounts; RequestKind::ALL.len()],
    deadlines: BTreeSet<(Duration, Tag)>,
    listeners: BTreeMap<Tag, Listener>,
    /// Messages of services that made no sense, by kind.
    malformed: [u64; MessageKind::ALL.len()],
}

#[derive(Debug)]
struct Request {
    purpose: Purpose,
    kind: RequestKind,
    asked: Duration,
    deadline: Duration,
    asker: Asker,
    bytes: usize,
}

/// Requests and subscriptions that nobody wants any more, and that the bus does not know of.
#[derive(Debug)]
pub(crate) struct Abandoned {
    requests: BTreeMap<Tag, Request>,
    deadlines: BTreeSet<(Duration, Tag)>,
    listeners: BTreeMap<Tag, Listener>,
}

/// What a request under way costs beside its texts, in bytes.
pub(crate) const REQUEST_COST: usize = 512;

impl Bus {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            now: Duration::ZERO,
            actions: VecDeque::new(),
            timeout,
            last_tag: 0,
            requests: BTreeMap::new(),
            asked_bytes: 0,
            asked_by: BTreeMap::new(),
            counts: Default::default(),
            deadlines: BTreeSet::new(),
            listeners: BTreeMap::new(),
            malformed: Default::default(),
        }
    }

    /// Reports a message of a service that makes no sense.
    pub(crate) fn complain(&mut self, kind: MessageKind, subject: String, problem: &'static str) {
        self.malformed[kind.index()] += 1;
        self.act(Action::Complain(Malformed { kind, subject, problem }));
    }

    /// How many of those there were, by kind.
    pub(crate) fn malformed(&self) -> [u64; MessageKind::ALL.len()] {
        self.malformed
    }

    /// The kind of a pending request. `None` if the tag belongs to something else.
    pub(crate) fn kind_of(&self, tag: Tag) -> Option<RequestKind> {
        self.requests.get(&tag).map(|request| request.kind)
    }

    /// The purpose of a pending request. `None` if the tag belongs to something else.
    pub(crate) fn purpose_of(&self, tag: Tag) -> Option<&Purpose> {
        self.requests.get(&tag).map(|request| &request.purpose)
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Gets rid of something that may be large.
    pub(crate) fn discard(&mut self, thing: impl Bulk) {
        if let Some(discarded) = Discarded::new(thing) {
            self.act(Action::Discard(discarded));
        }
    }

    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(crate) fn listen(&mut self, listener: Listener, pattern: String) -> Tag {
        let tag = self.next_tag();
        self.listeners.insert(tag, listener);
        self.act(Action::Listen { tag, pattern });
        tag
    }

    pub(crate) fn listener(&self, tag: Tag) -> Option<&Listener> {
        self.listeners.get(&tag)
    }

    pub(crate) fn ask(&mut self, asker: Asker, purpose: Purpose, subject: String, payload: impl Into<Bytes>) -> Tag {
        let tag = self.next_tag();
        let payload = payload.into();
        let deadline = self.now.saturating_add(self.timeout);
        let bytes = REQUEST_COST + subject.len() + payload.len();
        self.asked_bytes += bytes;
        let by = match asker {
            Asker::Connection(key) => Some(key),
            Asker::Cache => None,
        };
        if let Some(key) = by {
            *self.asked_by.entry(key).or_default() += bytes;
        }
        let (kind, asked) = (purpose.kind(&subject), self.now);
        self.counts[kind as usize].begin();
        self.requests.insert(tag, Request { purpose, kind, asked, deadline, asker, bytes });
        self.deadlines.insert((deadline, tag));
        self.act(Action::Ask { tag, asker: by, subject, payload });
        tag
    }

    /// What came of requests so far, by kind, and how many bytes those under way have.
    pub(crate) fn counts(&self) -> ([RequestCounts; RequestKind::ALL.len()], usize) {
        (self.counts, self.asked_bytes)
    }

    /// How many bytes the requests under way have, of all and of one connection.
    pub(crate) fn asked_bytes(&self, by: ConnectionKey) -> (usize, usize) {
        (self.asked_bytes, self.asked_by.get(&by).copied().unwrap_or(0))
    }

    /// Gives a request more time, if it is still under way and its service asked for that.
    pub(crate) fn extend(&mut self, tag: Tag, pre_response: PreResponse) {
        if let (Some(request), Some(timeout)) = (self.requests.get_mut(&tag), pre_response.timeout) {
            self.deadlines.remove(&(request.deadline, tag));
            request.deadline = self.now.saturating_add(timeout);
            self.deadlines.insert((request.deadline, tag));
        }
    }

    /// Ends a request, if it is still under way.
    pub(crate) fn finish(&mut self, tag: Tag, outcome: RequestOutcome) -> Option<Purpose> {
        let purpose = self.forget(tag, outcome)?;
        self.act(Action::Release { tag });
        Some(purpose)
    }

    /// Ends a request or subscription, if there is one.
    pub(crate) fn release(&mut self, tag: Tag) {
        if self.listeners.remove(&tag).is_some() {
            self.act(Action::Release { tag });
        } else {
            self.finish(tag, RequestOutcome::GivenUp);
        }
    }

    /// Forgets a request without a word to the bus.
    pub(crate) fn forget(&mut self, tag: Tag, outcome: RequestOutcome) -> Option<Purpose> {
        let request = self.requests.remove(&tag)?;
        self.counts[request.kind as usize].end(outcome, self.now.saturating_sub(request.asked));
        self.deadlines.remove(&(request.deadline, tag));
        self.asked_bytes -= request.bytes;
        if let Asker::Connection(key) = request.asker
            && let Some(bytes) = self.asked_by.get_mut(&key)
        {
            *bytes -= request.bytes;
            if *bytes == 0 {
                self.asked_by.remove(&key);
            }
        }
        Some(request.purpose)
    }

    /// Forgets a subscription without a word to the bus.
    pub(crate) fn forget_listener(&mut self, tag: Tag) -> Option<Listener> {
        self.listeners.remove(&tag)
    }

    /// Forgets everything but the subscriptions to events for all gateways, without a word to the
    /// bus: what is to be released.
    pub(crate) fn abandon(&mut self) -> Abandoned {
        let mut listeners = std::mem::take(&mut self.listeners);
        // The first that there were.
        while let Some(entry) = listeners.first_entry().filter(|entry| *entry.get() == Listener::System) {
            let (tag, listener) = entry.remove_entry();
            self.listeners.insert(tag, listener);
        }
        self.asked_bytes = 0;
        self.asked_by.clear();
        self.counts.iter_mut().for_each(RequestCounts::give_up_all);
        Abandoned {
            requests: std::mem::take(&mut self.requests),
            deadlines: std::mem::take(&mut self.deadlines),
            listeners,
        }
    }

    /// The next request whose time has come, ended.
    pub(crate) fn next_overdue(&mut self) -> Option<(Tag, Purpose)> {
        let (deadline, tag) = *self.deadlines.first()?;
        if deadline > self.now { None } else { Some((tag, self.finish(tag, RequestOutcome::Timeout)?)) }
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// True if the books are right.
    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        let mut by = BTreeMap::new();
        for request in self.requests.values() {
            if let Asker::Connection(key) = request.asker {
                *by.entry(key).or_insert(0) += request.bytes;
            }
        }
        assert_eq!(self.asked_by, by);
        assert_eq!(self.asked_bytes, self.requests.values().map(|request| request.bytes).sum::<usize>());
        assert_eq!(self.requests.len(), self.deadlines.len());
        assert_eq!(self.requests.len() as u64, self.counts.iter().map(|counts| counts.pending).sum::<u64>());
    }

    fn next_tag(&mut self) -> Tag {
        self.last_tag += 1;
        Tag(self.last_tag)
    }
}

impl Abandoned {
    /// The next of them, to be released.
    pub(crate) fn pop(&mut self) -> Option<Tag> {
        self.deadlines.pop_first();
        let request = self.requests.pop_first().map(|(tag, _)| tag);
        request.or_else(|| self.listeners.pop_first().map(|(tag, _)| tag))
    }

    /// Takes one out. False if it is not one of them.
    pub(crate) fn remove(&mut self, tag: Tag) -> bool {
        self.requests.remove(&tag).is_some() || self.listeners.remove(&tag).is_some()
    }
}
