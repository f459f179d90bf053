//! The machine that a page drives: [`Client`]. Puts connection, requests, cache and session
//! manager together; must not decide anything itself.

use std::time::Duration;

use relogin_res::{
    Error, ResourceId, Value,
    client::{CallResult, Event as Wire, Message, Method, Response},
    rid::CID_TAG,
};
use relogin_session_manager::{self as manager, Clock, Request, SessionManager, rotated_generation};
use serde_json::Value as Json;

use crate::{
    Action, Answer, Binding, Command, Config, ConnectionState, Event, Freshness, Input, Moment, ObservedUser,
    PlatformEvent, RequestError, Resource, Secret, SessionCommand, SessionState, Token, Turn,
    answers::{Outcome, call_result, resource_set},
    cache::Cache,
    calls::Calls,
    connection::{Connection, Link},
    outbox::{Outbox, Purpose},
};

/// A RES client that keeps its user logged in.
///
/// The contract with its driver: call [`handle`](Self::handle) for each thing that happens, then
/// take all actions from [`poll_action`](Self::poll_action) and carry them out in their order, then
/// set one timer to [`poll_timeout`](Self::poll_timeout), replacing the one before. What storage
/// and the device key are asked for ([`PlatformAction`](crate::PlatformAction)) is answered as soon
/// as its action is polled, before any other input and before the actions behind it are carried
/// out, however long the browser takes; what that answer asks for in turn comes behind those.
/// Inputs never fail and never panic, whatever the gateway sends and however late; those for
/// sockets and locks that are over are ignored.
#[derive(Clone, Debug)]
pub struct Client {
    request_timeout: Duration,
    greet: bool,
    /// The session resource.
    session: ResourceId,
    /// The user model of this connection.
    user: ResourceId,
    out: Outbox,
    connection: Connection,
    cache: Cache,
    /// `None` if no session is kept.
    manager: Option<SessionManager>,
    calls: Calls,
    /// Until when the caller may greet a new connection, if it still does.
    greeting: Option<Duration>,
    /// Who was logged in on the connection when that was last looked at.
    observed_user: ObservedUser,
    clock: Clock,
    /// The connection's state, as it was reported last.
    last_reported: Option<ConnectionState>,
}

impl Client {
    /// A client that does nothing until [`Input::Start`].
    #[must_use]
    pub fn new(config: Config) -> Self {
        // Without `format!`, here and below: its machinery is a fiftieth of the page's download.
        let user = [config.name.name(), ".user.", CID_TAG].concat();
        Self {
            request_timeout: config.request_timeout,
            greet: config.greet,
            user: ResourceId::parse(&user).expect("a resource name with parts appended is a resource name"),
            out: Outbox::new(),
            connection: Connection::new(&config),
            cache: Cache::new(config.linger),
            calls: Calls::new(config.request_timeout),
            manager: config.keep_session.then(|| SessionManager::new(config.session)),
            session: config.name,
            greeting: None,
            observed_user: ObservedUser::Unknown,
            clock: Clock::default(),
            last_reported: None,
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, moment: Moment) {
        let due = self.poll_timeout();
        let turn = &mut self.clock.turn(moment, due);
        self.take_in(input, turn);
        self.tick(turn);
        self.report();
    }

    /// The next thing to do, until `None`.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.out.actions.pop_front()
    }

    /// When [`PlatformEvent::Timer`] is due, on the clock of [`Moment::now`], if at all.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let deadlines = [
            self.connection.next_deadline(),
            self.cache.next_deadline(),
            self.manager.as_ref().and_then(SessionManager::poll_timeout),
            self.out.requests.next_deadline(),
            self.calls.next_deadline(),
            self.greeting,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The connection's state.
    #[must_use]
    pub fn connection(&self) -> ConnectionState {
        self.connection.state()
    }

    /// The session's state.
    #[must_use]
    pub fn session(&self) -> SessionState {
        self.manager.as_ref().map_or(SessionState::Resuming, SessionManager::state)
    }

    /// Whether the relogin key works on this device only; `None` if no session is known.
    #[must_use]
    pub fn binding(&self) -> Option<Binding> {
        self.manager.as_ref()?.binding()
    }

    /// The generation of the session's relogin key, from 1 on; `None` while this connection does
    /// not hold the session.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.manager.as_ref()?.generation()
    }

    /// When the relogin key will be used next, on the clock of [`Moment::now`], if at all.
    #[must_use]
    pub fn refresh_due(&self) -> Option<Duration> {
        self.manager.as_ref()?.refresh_due()
    }

    /// The values of a subscribed resource, or of one that such a resource refers to, if known.
    #[must_use]
    pub fn resource(&self, rid: &ResourceId) -> Option<&Resource> {
        self.cache.resource(rid)
    }

    /// How far they can be trusted; `None` if the resource is not subscribed.
    #[must_use]
    pub fn freshness(&self, rid: &ResourceId) -> Option<&Freshness> {
        self.cache.freshness(rid)
    }

    fn take_in(&mut self, input: Input, turn: &mut Turn) {
        let out = &mut self.out;
        match input {
            Input::Start => {
                if self.connection.is_stopped() {
                    self.manage(manager::Input::Start, turn);
                    self.connection.start(turn, &mut self.out);
                    if self.manager.is_some() && self.cache.freshness(&self.user).is_none() {
                        self.cache.subscribe(&self.user, None, &mut self.out);
                    }
                }
            }
            Input::Stop => {
                let link = self.connection.stop(out);
                self.linked(link, turn);
                self.manage(manager::Input::Stop, turn);
                self.cache.give_up(&mut self.out);
                self.calls.give_up(Duration::MAX, &RequestError::ConnectionLost, &mut self.out);
            }
            Input::SocketOpened(socket) => {
                if self.connection.opened(socket, out) {
                    self.manage(manager::Input::Opening, turn);
                }
            }
            Input::Frame(socket, frame) => {
                let was_offline = self.connection.is_offline();
                if self.connection.accepts(socket, turn) {
                    if was_offline {
                        self.manage(manager::Input::Heard, turn);
                    }
                    match Message::parse(frame.expose()) {
                        Some(Message::Response(response)) => self.response(response, turn),
                        Some(Message::Event(event)) => self.event(event, turn),
                        // Not ours to judge: the next frame may be a good one.
                        None => {}
                    }
                }
            }
            Input::SocketClosed(socket, closing) => {
                let link = self.connection.closed(socket, closing, turn, out);
                self.linked(link, turn);
            }
            Input::ConnectNow => self.connection.connect_now(turn, out),
            Input::Command(token, command) => self.command(token, command, turn),
            Input::Forget(token) => self.forget(token, turn),
            Input::Greeted => self.greeted(),
            Input::Platform(event) => {
                match event {
                    // A sibling writes when it is connected.
                    PlatformEvent::StorageChanged if self.manager.is_some() => self.connection.hurry(turn),
                    PlatformEvent::Wake => self.connection.wake(turn, out),
                    PlatformEvent::Online => self.connection.online(turn, out),
                    PlatformEvent::Offline => self.connection.offline(turn, out),
                    _ => {}
                }
                self.manage(manager::Input::Platform(event), turn);
            }
        }
    }

    /// Hands `input` to the session manager, if there is one, and does what that wants done.
    fn manage(&mut self, input: manager::Input, turn: &mut Turn) {
        let Some(manager) = &mut self.manager else { return };
        manager.handle(input, turn);
        while let Some(action) = self.manager.as_mut().and_then(SessionManager::poll_action) {
            match action {
                manager::Action::Request(Request { id, method, params }) => {
                    let method = Method::Auth(self.session.clone(), method.to_owned());
                    let params = params.as_ref().map(Secret::expose);
                    self.out.send(Purpose::Session(id), &method, params, None);
                }
                manager::Action::CheckConnection => self.connection.probe(turn, &mut self.out),
                manager::Action::Ready => self.ready(turn),
                manager::Action::Authenticated => self.cache.ask_again(turn, &mut self.out),
                manager::Action::Replace => {
                    let link = self.connection.replace(turn, &mut self.out);
                    self.linked(link, turn);
                }
                manager::Action::Platform(action) => self.out.push(Action::Platform(action)),
                manager::Action::Settle(token, result) => self.out.settle(token, result.map(|()| Answer::Done)),
            }
        }
    }

    /// Reports to the page what has changed since it was reported last.
    fn report(&mut self) {
        let state = self.connection.state();
        if self.last_reported.replace(state) != Some(state) {
            self.out.emit(Event::Connection(state));
        }
        while let Some(event) = self.manager.as_mut().and_then(SessionManager::poll_event) {
            self.out.push(Action::of_event(event));
        }
    }

    fn command(&mut self, token: Token, command: Command, turn: &mut Turn) {
        let out = &mut self.out;
        let deadline = self.calls.deadline(turn);
        match command {
            Command::Session(SessionCommand::Login { .. }) if self.manager.is_none() => {
                out.settle(token, Err(RequestError::Refused(Error::method_not_found())));
            }
            Command::Session(SessionCommand::Logout) if self.manager.is_none() => out.settle(token, Ok(Answer::Done)),
            Command::Session(command) => {
                if matches!(command, SessionCommand::Login { .. }) {
                    self.connection.connect_now(turn, out);
                }
                self.manage(manager::Input::Command(token, command), turn);
            }
            Command::Call { rid, method, params } => {
                self.calls.call(token, method, params.as_ref(), |method| Method::Call(rid, method), turn, out);
            }
            Command::Auth { rid, method, params } => {
                self.calls.call(token, method, params.as_ref(), |method| Method::Auth(rid, method), turn, out);
            }
            Command::Subscribe(rid) => self.cache.subscribe(&rid, Some((token, deadline)), out),
            Command::Unsubscribe(rid) => {
                let result = self.cache.unsubscribe(&rid, turn, out);
                out.settle(token, result.map(|()| Answer::Done));
            }
            Command::Get(rid) => self.calls.get(token, rid, turn, out),
        }
    }

    fn forget(&mut self, token: Token, turn: &Turn) {
        let is_it = |purpose: &Purpose| purpose.caller() == Some(token);
        let _ = self.calls.forget(token)
            || self.out.requests.forget(is_it, Purpose::Abandoned)
            || self.cache.forget(token, turn, &mut self.out);
    }

    fn response(&mut self, response: Response, turn: &mut Turn) {
        let Some(purpose) = self.out.requests.answered(response.id) else { return };
        let result = response.outcome.map_err(RequestError::Refused);
        let bare = !self.out.protocol.has_call_result_object();
        let out = &mut self.out;
        match purpose {
            Purpose::Handshake => {
                let link = self.connection.handshake_answered(result, turn, out);
                self.linked(link, turn);
            }
            Purpose::Probe => {}
            Purpose::Unsubscribe(rid, count) => self.cache.given_back(&rid, count, result.is_ok(), turn, out),
            Purpose::Subscribe(rid) => self.cache.subscribed(&rid, result.and_then(resource_set), turn, out),
            Purpose::Get(token, rid) => {
                let result = result.and_then(resource_set).and_then(|set| self.cache.got(&rid, set));
                out.settle(token, result.map(Answer::Got));
            }
            Purpose::Call(token, kind) => Calls::answered(token, kind, result, &mut self.cache, turn, out),
            Purpose::Session(id) => {
                let result = self.payload(result, bare, turn);
                self.manage(manager::Input::Answered(id, result), turn);
            }
            // (Before 1.2.0 there is no telling a resource from a payload that looks like one.)
            Purpose::Abandoned => {
                if let Ok(CallResult::Resource(rid, set)) = result.and_then(|result| call_result(result, bare)) {
                    self.cache.decline(&rid, set, turn, out);
                }
            }
        }
    }

    /// Reads the result of a request that is answered with no resource.
    fn payload(&mut self, result: Outcome, bare: bool, turn: &mut Turn) -> Result<Json, RequestError> {
        match result.and_then(|result| call_result(result, bare))? {
            CallResult::Payload(payload) => Ok(payload),
            CallResult::Resource(rid, set) => {
                self.cache.decline(&rid, set, turn, &mut self.out);
                Err(RequestError::Garbled)
            }
        }
    }

    fn event(&mut self, event: Wire, turn: &mut Turn) {
        let rotated = (event.rid == self.user && event.name == "rotated")
            .then(|| event.data.as_ref().and_then(rotated_generation));
        if self.cache.event(event, turn, &mut self.out)
            && let Some(Some(generation)) = rotated
        {
            self.manage(manager::Input::Rotated(generation), turn);
        }
    }

    /// What became of the connection.
    fn linked(&mut self, link: Link, turn: &mut Turn) {
        match link {
            Link::Same => {}
            // With a session, requests of callers wait until that is resumed.
            Link::Up if self.manager.is_none() => self.ready(turn),
            Link::Up => self.manage(manager::Input::Connected, turn),
            Link::Lost => {
                (self.greeting, self.observed_user) = (None, ObservedUser::Unknown);
                self.calls.lost();
                self.manage(manager::Input::Disconnected, turn);
                for token in self.out.requests.lost().filter_map(|purpose| purpose.caller()) {
                    self.out.settle(token, Err(RequestError::ConnectionLost));
                }
                self.cache.lost(turn, &mut self.out);
            }
        }
    }

    /// The connection takes requests of callers.
    fn ready(&mut self, turn: &Turn) {
        self.cache.ready();
        self.cache.ask(&self.user, &mut self.out);
        self.greeting = self.greet.then(|| turn.after(self.request_timeout));
        if !self.greet {
            self.cache.ask_all(&mut self.out);
        }
        self.calls.ready(turn, &mut self.out);
    }

    /// The caller has nothing more to do before resources are subscribed again.
    fn greeted(&mut self) {
        if self.greeting.take().is_some() {
            self.cache.ask_all(&mut self.out);
        }
    }

    /// Does what follows from the last input, and what is due by now.
    fn tick(&mut self, turn: &mut Turn) {
        while let Some(purpose) = self.out.requests.timed_out(turn.now, Purpose::Abandoned) {
            if let Some(token) = purpose.caller() {
                self.out.settle(token, Err(RequestError::TimedOut));
            }
            // Is it the service that is slow, or is nobody there?
            self.connection.probe(turn, &mut self.out);
        }
        let link = self.connection.tick(turn, &mut self.out);
        self.linked(link, turn);
        if self.manager.is_some() {
            let user = match self.cache.live(&self.user) {
                Some(Resource::Model(model)) => ObservedUser::read(|name| model.get(name).and_then(Value::json)),
                _ => ObservedUser::Unknown,
            };
            let before = std::mem::replace(&mut self.observed_user, user.clone());
            self.manage(manager::Input::User(user), turn);
            if before != ObservedUser::Unknown && before != self.observed_user {
                self.cache.ask_again(turn, &mut self.out);
            }
        }
        if self.greeting.is_some_and(|deadline| deadline <= turn.now) {
            self.greeted();
        }
        self.cache.tick(turn, &mut self.out);
        self.calls.give_up(turn.now, &RequestError::TimedOut, &mut self.out);
    }
}
