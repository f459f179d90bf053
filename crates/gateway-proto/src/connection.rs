//! One client: its token, its subscriptions and its pending tasks. Each file of the folder beside
//! is one thing that it does.

mod access;
mod call;
mod delivery;
mod exchange;
mod fetch;
mod gathering;
mod graph;
pub(crate) mod inbox;
mod jobs;
pub(crate) mod limits;
mod opening;
pub(crate) mod pace;
pub(crate) mod reset_line;
pub(crate) mod send;
pub(crate) mod subscription;
pub(crate) mod task;
pub(crate) mod trial;
mod walk;
mod writing;

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use bytes::Bytes;
use relogin_res::{
    Error, ResourceId, Version,
    client::{
        BadRequest, Method, Request, UnsubscribeEvent, UnsubscribeParams, VersionParams, encode_error, encode_event,
        encode_result, version_result,
    },
    rid,
    service::{EncodedOrigin, Origin, Payload, TokenEvent, token_subject},
};
use serde_json::value::RawValue;

use self::{
    exchange::Exchange,
    inbox::Inbox,
    jobs::{Job, Jobs},
    pace::Pace,
    reset_line::ResetLine,
    send::Writers,
    subscription::{AccessState, Subscriptions},
    task::{Call, FetchKind, Task},
};
use crate::{
    api::{Action, Config, ConnectionKey, close},
    bus::{Bus, Listener},
    cache::{Cache, News, Notification},
    content::Dialect,
    counts::{ClientMethod, MessageKind},
    discard::Bulk,
    http::Operation,
    ids::TaskId,
    tag::Tag,
};

/// What connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) bus: Bus,
    pub(crate) cache: Cache,
    /// Requests over WebSockets so far.
    pub(crate) client_requests: [u64; ClientMethod::ALL.len()],
    /// How many subscriptions there are.
    pub(crate) subscriptions: usize,
    /// How many bytes they cost.
    pub(crate) subscription_bytes: usize,
    /// Connections that have something to do in their turn, each of them once.
    pub(crate) ready: VecDeque<ConnectionKey>,
    /// Connections that have to ask for access again because of system resets.
    pub(crate) reset_line: ResetLine,
    /// How many steps of their jobs connections do at once when they come up, and how many one does
    /// in a turn.
    pub(crate) jobs_at_once: usize,
    pub(crate) jobs_a_turn: usize,
    /// How many of those at once are left for the input at hand.
    pub(crate) jobs_left: usize,
    /// How many bytes of resources may still be written into messages with the input at hand.
    pub(crate) texts_left: usize,
    /// Connections that have a large message to write.
    pub(crate) writers: Writers,
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) key: ConnectionKey,
    pub(crate) cid: String,
    pub(crate) origin: EncodedOrigin,
    pub(crate) token: Option<Box<RawValue>>,
    pub(crate) tid: Option<String>,
    pub(crate) version: Version,
    pub(crate) subscriptions: Subscriptions,
    /// How many bytes they cost.
    pub(crate) subscription_bytes: usize,
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    last_task: u64,
    /// How many token events there were.
    pub(crate) epoch: u64,
    pub(crate) pace: Pace,
    jobs: Jobs,
    inbox: Inbox,
    /// The number of the first notice of resources that it may lack.
    pub(crate) lacks: u64,
    token_listener: Tag,
    /// Under way while the WebSocket is not open yet.
    header_auth: Option<Tag>,
    /// The HTTP request that the connection is; none if it is a WebSocket.
    exchange: Option<Box<Exchange>>,
    /// True once the driver knows that there is nothing more to come.
    pub(crate) is_over: bool,
    /// Why the connection must end, once the input at hand is dealt with.
    pub(crate) failure: Option<(u16, &'static str)>,
}

impl Connection {
    /// A connection that is about to open: a WebSocket, or an HTTP request for `operation`. `None`
    /// if its cid cannot be one.
    pub(crate) fn open(
        key: ConnectionKey,
        cid: String,
        origin: &Origin,
        operation: Option<Operation>,
        shared: &mut Shared,
    ) -> Option<Self> {
        if !rid::is_part(&cid) {
            return None;
        }
        let token_listener = shared.bus.listen(Listener::Token(key), token_subject(&cid));
        Some(Self {
            key,
            cid,
            origin: EncodedOrigin::new(origin),
            token: None,
            tid: None,
            version: if operation.is_some() { Version::CURRENT } else { Version::UNSTATED },
            subscriptions: Subscriptions::new(),
            subscription_bytes: 0,
            tasks: BTreeMap::new(),
            last_task: 0,
            epoch: 0,
            pace: Pace::default(),
            jobs: Jobs::default(),
            inbox: Inbox::default(),
            lacks: shared.cache.next_notice(),
            token_listener,
            header_auth: None,
            exchange: operation.map(|operation| Box::new(Exchange::new(operation))),
            is_over: false,
            failure: None,
        })
    }

    /// Ends all that the connection has asked for, but for its subscriptions and tasks, which
    /// [`Connection::close_next`] ends.
    pub(crate) fn close(&mut self, shared: &mut Shared) {
        shared.writers.leave(self.key);
        self.leave_reset_turns(shared);
        shared.bus.release(self.token_listener);
        if let Some(tag) = self.header_auth {
            shared.bus.release(tag);
        }
        for task in self.tasks.values() {
            if let Some(tag) = task.tag() {
                shared.bus.release(tag);
            }
        }
    }

    /// Ends the next subscription or task of a connection that is closed. False if there is none
    /// left.
    pub(crate) fn close_next(&mut self, shared: &mut Shared) -> bool {
        let Some((rid, subscription)) = self.subscriptions.pop_first() else {
            let mut next = self.tasks.pop_first();
            let wait = next.as_mut().and_then(|(_, task)| task.wait());
            shared.bus.discard(wait.map(|wait| mem::take(&mut wait.seen)).unwrap_or_default());
            return next.is_some();
        };
        self.count_out(&rid, &subscription.target, shared);
        if let AccessState::Asked(tag, _) = subscription.access {
            shared.bus.release(tag);
        }
        if let Some(key) = subscription.resource {
            shared.cache.unsubscribe(key, &subscription.target, &(self.key, rid), &mut shared.bus);
        }
        shared.bus.discard(subscription);
        true
    }

    /// Takes a frame of the client.
    pub(crate) fn on_frame(&mut self, text: &str, shared: &mut Shared) {
        match Request::parse(text) {
            Ok(request) => self.on_request(request, shared),
            Err(BadRequest::Refused { id, error }) => self.refuse(id, &error, shared),
            Err(BadRequest::Malformed) => shared.bus.act(Action::Done { connection: self.key }),
        }
    }

    fn on_request(&mut self, request: Request, shared: &mut Shared) {
        let id = request.id;
        if let Some(method) = ClientMethod::of(&request.method).filter(|_| !self.is_http()) {
            shared.client_requests[method as usize] += 1;
        }
        if let Err(error) = self.admit(&request, shared) {
            return self.refuse(id, &error, shared);
        }
        match request.method {
            Method::Version => {
                let frame = match self.set_version(&request) {
                    Ok(()) => encode_result(id, Some(&version_result())),
                    Err(error) => encode_error(id, &error),
                };
                self.answer(frame, shared);
            }
            Method::Subscribe(rid) => self.fetch(id, &rid, FetchKind::Subscribe, shared),
            Method::Get(rid) => self.fetch(id, &rid, FetchKind::Get, shared),
            Method::Unsubscribe(ref rid) => {
                let result = request.parse_params().and_then(|params| self.unsubscribe(rid, params, shared));
                match result {
                    Ok(()) => self.then(Job::Answer(encode_result(id, None::<&()>).into())),
                    Err(error) => self.refuse(id, &error, shared),
                }
            }
            Method::Call(rid, method) => self.call(id, &rid, method, request.params, false, shared),
            Method::New(rid) => self.call(id, &rid, Call::NEW.to_owned(), request.params, true, shared),
            Method::Auth(rid, method) => self.auth(id, &rid, &method, request.params, shared),
        }
    }

    fn set_version(&mut self, request: &Request) -> Result<(), Error> {
        let params: VersionParams = request.parse_params()?;
        if let Some(text) = params.protocol.filter(|text| !text.is_empty()) {
            let version = Version::parse(&text).ok_or_else(Error::invalid_params)?;
            if !version.is_supported() {
                return Err(Error::unsupported_protocol());
            }
            self.version = version;
        }
        Ok(())
    }

    fn unsubscribe(&mut self, rid: &ResourceId, params: UnsubscribeParams, shared: &mut Shared) -> Result<(), Error> {
        let count = params.count.unwrap_or(1);
        if count == 0 {
            return Err(Error::invalid_params());
        }
        let pending = self.pending_subscriptions(rid);
        let subscription = self.subscriptions.get_mut(rid).ok_or_else(Error::no_subscription)?;
        let direct = u64::from(subscription.direct);
        if count > direct + pending.len() as u64 {
            return Err(Error::no_subscription());
        }
        let remaining = direct.saturating_sub(count);
        subscription.direct = u32::try_from(remaining).unwrap_or(subscription.direct);
        // Those that are not answered yet end with an error: the client must not take them for
        // subscriptions.
        let cancelled = usize::try_from(count.saturating_sub(direct)).unwrap_or(usize::MAX);
        for task in pending.into_iter().rev().take(cancelled) {
            self.fail_fetch(task, &Error::no_subscription(), shared);
        }
        self.release(rid.clone());
        // What is left of it needs no access of its own.
        self.then(Job::Pump(rid.clone()));
        Ok(())
    }

    /// Ends the direct subscriptions, and tells the client why.
    pub(crate) fn unsubscribe_because(&mut self, rid: &ResourceId, reason: Error, shared: &mut Shared) {
        let Some(subscription) = self.subscriptions.get_mut(rid) else { return };
        if mem::take(&mut subscription.direct) > 0 {
            self.send(encode_event(rid, "unsubscribe", Some(&UnsubscribeEvent { reason })), shared);
            self.release(rid.clone());
        }
    }

    /// Takes news of a resource.
    fn on_news(&mut self, Notification { rid, resource, number, news, .. }: &Notification, shared: &mut Shared) {
        let Some(subscription) = self.subscriptions.get_mut(rid) else { return };
        if subscription.resource != Some(*resource) {
            return;
        }
        // It may have waited, and the client have taken the resource as new.
        if *number < subscription.since && !matches!(news, News::Reaccess(_)) {
            return;
        }
        match news {
            News::Loaded(key, snapshot) => {
                subscription.resource = Some(*key);
                self.on_loaded(rid, Ok(snapshot), shared);
            }
            News::Failed(error) => self.on_loaded(rid, Err(error), shared),
            News::Event(event) => self.on_event(rid, event, shared),
            News::Reaccess(cause) => self.set_outdated(rid, *cause, shared),
        }
    }

    /// Takes a token event. What cannot be read is no event, and neither is nothing; a null is read
    /// as an object without a token.
    pub(crate) fn on_token(&mut self, payload: &[u8], shared: &mut Shared) {
        let event = match payload.trim_ascii() {
            b"" => None,
            b"null" => TokenEvent::parse(b"{}").ok(),
            payload => TokenEvent::<Box<RawValue>>::parse(payload).ok(),
        };
        let Some(TokenEvent { token, tid }) = event else {
            let problem = "no JSON object with a token";
            return shared.bus.complain(MessageKind::Token, token_subject(&self.cid), problem);
        };
        let was_anonymous = self.token.is_none();
        (self.token, self.tid) = (token, tid);
        if was_anonymous && self.token.is_none() {
            return;
        }
        self.set_all_outdated(shared);
        self.reaccess_calls(shared);
    }

    /// Fails the connection if what was refused was the subscription to its token events.
    pub(crate) fn on_listen_refused(&mut self) {
        self.failure = Some((close::INTERNAL_ERROR, "the message bus refused a subscription"));
    }

    pub(crate) fn dialect(&self) -> Dialect {
        Dialect::of(self.version)
    }

    pub(crate) fn send(&self, frame: impl Into<Bytes>, shared: &mut Shared) {
        shared.bus.act(Action::Send { connection: self.key, frame: frame.into(), is_secret: false });
    }

    /// Sends the answer to a request.
    pub(crate) fn answer(&self, frame: impl Into<Bytes>, shared: &mut Shared) {
        self.send(frame, shared);
        shared.bus.act(Action::Done { connection: self.key });
    }

    /// Sends the answer to a request for authentication.
    fn answer_in_secret(&self, frame: impl Into<Bytes>, shared: &mut Shared) {
        shared.bus.act(Action::Send { connection: self.key, frame: frame.into(), is_secret: true });
        shared.bus.act(Action::Done { connection: self.key });
    }

    /// Frees what it needs only while it does something: an emptied map keeps a node, which has
    /// room for eleven, and most connections are at rest.
    pub(crate) fn give_back(&mut self) {
        if self.tasks.is_empty() {
            self.tasks = BTreeMap::new();
        }
        self.jobs.give_back();
        self.pace.give_back();
    }

    pub(crate) fn add_task(&mut self, task: Task) -> TaskId {
        self.last_task += 1;
        let id = TaskId(self.last_task);
        self.tasks.insert(id, task);
        id
    }
}

impl Bulk for Connection {
    /// Most connections are at rest when they close, and leave little to free.
    fn bulk(&self) -> usize {
        if self.is_busy() || self.pace.has_more() { usize::MAX } else { 0 }
    }
}
