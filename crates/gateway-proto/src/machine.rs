//! The machine's interface: inputs in, actions out.

mod answers;
mod work;
mod wreck;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use relogin_res::{
    Error,
    rid::is_name,
    service::{self, Payload, PreResponse, Reset, Response, SYSTEM_RESET, SYSTEM_TOKEN_RESET, TokenReset},
};

use crate::{
    api::{Action, Config, ConnectionKey, Input, close},
    bus::{Bus, Listener},
    cache::Cache,
    connection::{Connection, Shared, inbox::Arrival, reset_line::ResetLine, send::Writers},
    content::TEXTS_AT_ONCE,
    counts::{MessageKind, RequestOutcome, Stats},
    http::Operation,
    tag::Tag,
};

/// A RES gateway.
///
/// # Contract
///
/// The driver calls [`handle`](Self::handle) with one input after the other, takes
/// [`poll_action`](Self::poll_action) until it is empty after each of them, and sees to it that
/// [`Input::Timeout`] is handed in when the time of [`poll_timeout`](Self::poll_timeout) has come.
///
/// - `now` is the time since any fixed moment. It never runs backwards.
/// - Messages and replies of the bus are handed in in the order in which they arrived,
///   subscriptions and requests taken together: the machine takes an event that is handed in before
///   the answer to a get request as contained in that answer, and a token event must come before
///   the answer to the auth request that caused it.
/// - A connection's frames are handed in once it is accepted ([`Action::Accept`]).
/// - Each input costs a bounded amount of work. What is left to be done is wanted at once
///   ([`poll_timeout`](Self::poll_timeout) has come already), a little with each
///   [`Input::Timeout`]: a driver hands in what else there is in between.
/// - While the machine [is behind](Self::is_behind), no messages and replies of the bus are handed
///   in, so that they wait where they are bounded.
/// - Actions are carried out in their order: a resource's events are subscribed to before the
///   resource is asked for.
/// - Each [`Input::Frame`] of a connection is followed by exactly one [`Action::Done`], once it is
///   answered or turned out to need no answer, unless the connection ends before. A driver that
///   hands in no more than so many frames ahead of their `Done` has bounded what the machine holds
///   for that connection.
/// - What is to be decoded ([`Action::Decode`]) may be handed in at any time later, in any order.
/// - A tag is released exactly once ([`Action::Release`]), or was refused ([`Input::Refused`]).
///   What arrives for it afterwards is ignored. So is what is handed in for a connection that is
///   closed.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) shared: Shared,
    /// Boxed, because half of the places in a map's nodes are empty.
    pub(crate) connections: BTreeMap<ConnectionKey, Box<Connection>>,
    /// Connections that are closed, and whose subscriptions are being ended.
    pub(crate) closing: VecDeque<Box<Connection>>,
    /// System resets that have not reached all names.
    resets: VecDeque<work::SystemReset>,
    /// Token resets that have not reached all connections.
    token_resets: VecDeque<work::TokenReset>,
    /// What is left of the time before the bus was lost.
    wrecks: VecDeque<wreck::Wreck>,
    /// Which kind of work has its turn.
    turn: usize,
    /// How much of it is done with each input.
    pub(crate) inline: usize,
    /// How many subscribers may still be notified at once, with the current input.
    deliveries_left: usize,
    /// How many notifications connections are sent at once before something else is done with them,
    /// with one input. If there are more, something else has to wait.
    pub(crate) catch_up: usize,
    catch_up_left: usize,
    is_up: bool,
}

/// The answer to a request: what the service sent, and in how many bytes, or why there is nothing.
type Answered = Result<(Response, usize), Error>;

/// How much of what is left to be done is done when it is due.
const SLICE: usize = 16;

/// How much of it is done with each other input: little, so that it holds nobody up, but all of
/// what there is most of the time.
const INLINE: usize = 8;

/// How many steps of their jobs connections do at once when they come up, all of them with one
/// input: most of the time, that is all.
const JOBS_AT_ONCE: usize = 256;

/// How many one does in a turn, if that was not all.
const JOBS_A_TURN: usize = 8;

/// How many notifications connections are sent at once before something else is done with them,
/// with one input.
const CATCH_UP: usize = 64;

impl Gateway {
    /// A gateway without connections. Has actions to begin with.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut bus = Bus::new(config.request_timeout);
        bus.listen(Listener::System, SYSTEM_RESET.to_owned());
        bus.listen(Listener::System, SYSTEM_TOKEN_RESET.to_owned());
        let cache = Cache::new(&config);
        Self {
            shared: Shared {
                config,
                bus,
                cache,
                client_requests: Default::default(),
                subscriptions: 0,
                subscription_bytes: 0,
                ready: VecDeque::new(),
                reset_line: ResetLine::default(),
                jobs_at_once: JOBS_AT_ONCE,
                jobs_a_turn: JOBS_A_TURN,
                jobs_left: 0,
                texts_left: 0,
                writers: Writers::default(),
            },
            connections: BTreeMap::new(),
            closing: VecDeque::new(),
            resets: VecDeque::new(),
            token_resets: VecDeque::new(),
            wrecks: VecDeque::new(),
            turn: 0,
            inline: INLINE,
            deliveries_left: 0,
            catch_up: CATCH_UP,
            catch_up_left: 0,
            is_up: true,
        }
    }

    /// Takes note of what happened at `now`.
    pub fn handle(&mut self, input: Input<'_>, now: Duration) {
        self.shared.bus.now = now;
        self.shared.jobs_left = self.shared.jobs_at_once;
        self.shared.texts_left = TEXTS_AT_ONCE;
        self.catch_up_left = self.catch_up;
        self.deliveries_left = self.inline * work::DELIVERIES_A_STEP;
        let is_due = matches!(input, Input::Timeout);
        match input {
            Input::Opening { connection, cid, origin } => self.open(connection, cid, &origin, None),
            Input::Request { connection, cid, origin, operation } => {
                self.open(connection, cid, &origin, Some(operation));
            }
            Input::Frame { connection, text } => self.receive(connection, Arrival::Frame(text.into())),
            Input::Closed { connection } => {
                self.close(connection);
            }
            Input::Message { tag, subject, payload } => self.on_message(tag, subject, payload),
            Input::Reply { tag, payload } => match PreResponse::parse(payload) {
                Some(pre_response) => self.shared.bus.extend(tag, pre_response),
                None => self.on_reply(tag, payload),
            },
            Input::Decoded(decoded) => self.on_decoded(decoded),
            Input::NoResponders { tag } => {
                if let Some(purpose) = self.shared.bus.finish(tag, RequestOutcome::NoResponders) {
                    self.on_answer(tag, &purpose, Err(Error::not_found()));
                }
            }
            Input::Refused { tag } => self.on_refused(tag),
            Input::LinkDown => self.on_link_down(),
            Input::LinkUp => self.is_up = true,
            Input::Timeout => {
                for _ in 0..SLICE {
                    let Some((tag, purpose)) = self.shared.bus.next_overdue() else { break };
                    self.on_answer(tag, &purpose, Err(Error::timeout()));
                }
                self.shared.cache.drop_idle(&mut self.shared.bus);
            }
        }
        self.work(if is_due { SLICE } else { self.inline });
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.shared.bus.next_action()
    }

    /// True while more is to be delivered to subscribers, or decoded, than may wait, so that
    /// nothing may be added.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        let cache = &self.shared.cache;
        cache.has_too_much_undelivered() || cache.has_too_much_to_decode()
    }

    /// When [`Input::Timeout`] is wanted; never, if `None`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let Shared { bus, cache, .. } = &self.shared;
        let at_once = self.has_work().then_some(bus.now);
        [at_once, bus.next_deadline(), cache.next_deadline()].into_iter().flatten().min()
    }

    /// What was counted so far, and what there is now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Shared { bus, cache, client_requests, subscriptions, subscription_bytes, .. } = &self.shared;
        let (requests, request_bytes) = bus.counts();
        Stats {
            client_requests: *client_requests,
            requests,
            request_bytes,
            malformed: bus.malformed(),
            subscriptions: *subscriptions,
            subscription_bytes: *subscription_bytes,
            ..cache.stats()
        }
    }

    fn open(&mut self, key: ConnectionKey, cid: String, origin: &service::Origin, operation: Option<Operation>) {
        if self.connections.contains_key(&key) {
            return;
        }
        if !self.is_up {
            return self.act_close(key, close::TRY_AGAIN_LATER, "the message bus is not connected");
        }
        match Connection::open(key, cid, origin, operation, &mut self.shared) {
            Some(connection) => {
                self.connections.insert(key, Box::new(connection));
                self.with(key, Connection::ask_whether_it_opens);
            }
            None => self.act_close(key, close::INTERNAL_ERROR, "no connection id"),
        }
    }

    fn on_message(&mut self, tag: Tag, subject: &str, payload: &[u8]) {
        match self.shared.bus.listener(tag) {
            Some(Listener::System) => match subject {
                SYSTEM_RESET => self.on_reset(payload),
                SYSTEM_TOKEN_RESET => self.on_token_reset(payload),
                _ => {}
            },
            Some(Listener::Token(key)) => {
                self.receive(*key, Arrival::Token(payload.into()));
            }
            Some(Listener::Resource(name)) => {
                let name = name.clone();
                if let Some((_, event)) = subject.rsplit_once('.') {
                    self.catch_up(&name);
                    let notices = self.shared.cache.on_event(&name, event, payload, &mut self.shared.bus);
                    self.notify(notices);
                }
            }
            None => {}
        }
    }

    fn on_reset(&mut self, payload: &[u8]) {
        let Ok(Reset { resources, access }) = Reset::parse(payload) else {
            let problem = "no JSON object of lists of patterns";
            return self.shared.bus.complain(MessageKind::System, SYSTEM_RESET.to_owned(), problem);
        };
        let (reset, is_whole) = work::SystemReset::new(&resources, &access);
        if !is_whole {
            let problem = "not each text of its lists is a pattern";
            self.shared.bus.complain(MessageKind::System, SYSTEM_RESET.to_owned(), problem);
        }
        self.resets.push_back(reset);
    }

    fn on_token_reset(&mut self, payload: &[u8]) {
        let mut complain =
            |problem| self.shared.bus.complain(MessageKind::System, SYSTEM_TOKEN_RESET.to_owned(), problem);
        let Ok(TokenReset { tids, subject }) = TokenReset::parse(payload) else {
            return complain("no JSON object with tids, a list of texts, and a subject");
        };
        if !is_name(&subject) || subject.len() > self.shared.config.max_subject {
            return complain("its subject cannot be published to");
        }
        self.token_resets.push_back(work::TokenReset::new(tids, subject));
    }

    fn on_refused(&mut self, tag: Tag) {
        if let Some(purpose) = self.shared.bus.forget(tag, RequestOutcome::Refused) {
            return self.on_answer(tag, &purpose, Err(Error::internal()));
        }
        self.wrecks.iter_mut().any(|wreck| wreck.forget(tag));
        match self.shared.bus.forget_listener(tag) {
            Some(Listener::Token(key)) => self.with(key, |connection, _| connection.on_listen_refused()),
            Some(Listener::Resource(name)) => {
                self.shared.cache.on_listen_refused(&name, Error::internal(), &mut self.shared.bus);
                self.notify([]);
            }
            Some(Listener::System) | None => {}
        }
    }

    /// What was missed cannot be known, tokens included: clients start over, as the protocol asks
    /// of them.
    fn on_link_down(&mut self) {
        self.is_up = false;
        let wreck = wreck::Wreck::new(self);
        self.wrecks.push_back(wreck);
    }

    /// Hands something to a connection, after what is to be delivered to it.
    fn receive(&mut self, key: ConnectionKey, arrival: Arrival<'_>) {
        self.with(key, |connection, shared| connection.receive(arrival, shared));
    }

    /// Does something with a connection, if it is still there, and closes it if that went wrong.
    /// What is still to be delivered to it comes before that.
    fn with(&mut self, key: ConnectionKey, work: impl FnOnce(&mut Connection, &mut Shared)) {
        self.catch_up_with_news(key);
        self.with_as_it_is(key, work);
    }

    fn with_as_it_is(&mut self, key: ConnectionKey, work: impl FnOnce(&mut Connection, &mut Shared)) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        work(connection, &mut self.shared);
        connection.give_back();
        connection.get_ready(&mut self.shared);
        if connection.is_over {
            self.close(key);
        } else if let Some((code, reason)) = connection.failure {
            self.close(key);
            self.act_close(key, code, reason);
        }
    }

    /// Forgets a connection.
    fn close(&mut self, key: ConnectionKey) {
        if let Some(mut connection) = self.connections.remove(&key) {
            connection.close(&mut self.shared);
            self.closing.push_back(connection);
        }
    }

    fn act_close(&mut self, connection: ConnectionKey, code: u16, reason: &'static str) {
        self.shared.bus.act(Action::Close { connection, code, reason });
    }
}
