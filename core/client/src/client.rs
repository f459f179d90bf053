//! The machine that a page drives: [`Client`]. Puts connection, requests, cache and keeper together; decides nothing itself.

use std::time::Duration;

use relogin_res::{
    Error, ResourceId,
    client::{CallResult, Event as Wire, Message, Method, Response},
    rid::{CID_TAG, is_part},
};
use relogin_session::api::Rotated;
use serde_json::{Value as Json, value::RawValue};

use crate::{
    Action, Answer, Binding, Command, Config, ConnectionState, Freshness, Input, Moment, RequestError, Resource,
    SessionState, Token,
    answers::{call_result, give_back, payload, resource_set},
    cache::Cache,
    connection::{Connection, Link},
    input::Turn,
    keeper::{Keeper, Login, Seen},
    outbox::{Outbox, Purpose, params},
    told::Told,
};

/// A timer that is later than this was not just slow: the tab was frozen, or the machine slept.
const LATE: Duration = Duration::from_secs(1);

/// A RES client that keeps its user logged in.
///
/// The contract with its driver: call [`handle`](Self::handle) for each thing that happens, then take all actions from
/// [`poll_action`](Self::poll_action) and carry them out in their order, then set one timer to
/// [`poll_timeout`](Self::poll_timeout), replacing the one before. What storage and the device are asked for
/// ([`ReadStorage`](Action::ReadStorage), [`SwapStorage`](Action::SwapStorage), [`MakeDevice`](Action::MakeDevice),
/// [`Sign`](Action::Sign)) is answered as soon as its action is polled, before any other input and before the actions behind
/// it are carried out, however long the browser takes; what that answer asks for in turn comes behind those. Inputs never fail and never panic, whatever the gateway
/// sends and however late they come; inputs for sockets and locks that are no more are ignored.
#[derive(Clone, Debug)]
pub struct Client {
    request_timeout: Duration,
    /// The user model of this connection.
    user: ResourceId,
    out: Outbox,
    connection: Connection,
    cache: Cache,
    keeper: Keeper,
    /// Requests of callers that wait for a connection, and for how long.
    queue: Vec<(Waiting, Duration)>,
    /// Whether requests of callers go out.
    ready: bool,
    now: Duration,
    /// When we fell asleep last, and until when what comes in may be as old as that.
    asleep: (Duration, Duration),
    /// What the page was told last.
    told: Told,
}

/// A request of a caller.
#[derive(Clone, Debug)]
struct Waiting {
    purpose: Purpose,
    method: Method,
    params: Option<Box<RawValue>>,
}

impl Client {
    /// A client that does nothing until [`Input::Start`].
    #[must_use]
    pub fn new(config: Config) -> Self {
        let user = format!("{}.user.{CID_TAG}", config.name.name());
        Self {
            request_timeout: config.request_timeout,
            user: ResourceId::parse(&user).expect("a resource name with parts appended is a resource name"),
            out: Outbox::new(),
            connection: Connection::new(&config),
            cache: Cache::default(),
            keeper: Keeper::new(config),
            queue: Vec::new(),
            ready: false,
            now: Duration::ZERO,
            asleep: (Duration::ZERO, Duration::ZERO),
            told: Told::default(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, moment: Moment) {
        let turn = &mut self.turn(moment);
        self.take_in(input, turn);
        self.tick(turn);
        self.told.tell(&self.connection, &self.keeper, &mut self.out);
    }

    /// The next thing to do, until `None`.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.out.actions.pop_front()
    }

    /// When [`Input::Timer`] is wanted, on the clock of [`Moment::now`]; `None`: never, as things are.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let deadlines = [
            self.connection.next_deadline(),
            self.cache.next_deadline(),
            self.keeper.next_deadline(self.connection.is_promising()),
            self.out.requests.next_deadline(),
            self.queue.iter().map(|(_, deadline)| *deadline).min(),
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
        self.keeper.state()
    }

    /// What somebody needs beside the session's relogin key to use it; `None` if there is no session, as far as is known.
    #[must_use]
    pub fn binding(&self) -> Option<Binding> {
        self.keeper.binding()
    }

    /// When the relogin key will be used next, on the clock of [`Moment::now`]; `None` if it need not be.
    #[must_use]
    pub fn refresh_due(&self) -> Option<Duration> {
        self.keeper.refresh_due()
    }

    /// The values of a subscribed resource, or of one that such a resource refers to, as far as they are known.
    #[must_use]
    pub fn resource(&self, rid: &ResourceId) -> Option<&Resource> {
        self.cache.resource(rid)
    }

    /// How far they can be trusted; `None` if the resource is not subscribed.
    #[must_use]
    pub fn freshness(&self, rid: &ResourceId) -> Option<&Freshness> {
        self.cache.freshness(rid)
    }

    /// The time of an input, and since when it may have waited for us: frozen tabs get everything at once, late.
    fn turn(&mut self, moment: Moment) -> Turn {
        let now = moment.now.max(self.now);
        if self.poll_timeout().is_some_and(|due| due + LATE < now) {
            self.asleep = (self.now, now + LATE);
        }
        let (since, until) = self.asleep;
        self.now = now;
        Turn::new(moment.random, now, if now <= until { since } else { now })
    }

    fn take_in(&mut self, input: Input, turn: &mut Turn) {
        let out = &mut self.out;
        match input {
            Input::Start => {
                if self.connection.is_stopped() {
                    self.keeper.start(out);
                    self.connection.start(turn, out);
                    if self.cache.freshness(&self.user).is_none() {
                        self.cache.subscribe(&self.user, None, out);
                    }
                }
            }
            Input::Stop => {
                let link = self.connection.stop(out);
                self.linked(link);
                self.give_up();
            }
            Input::SocketOpened(socket) => {
                if self.connection.opened(socket, out) {
                    self.keeper.opened(out);
                }
            }
            Input::Frame(socket, frame) => {
                if self.connection.hears(socket, turn) {
                    match Message::parse(frame.expose()) {
                        Some(Message::Response(response)) => self.response(response, turn),
                        Some(Message::Event(event)) => self.event(&event, turn),
                        // Not ours to judge: the next frame may be a good one.
                        None => {}
                    }
                }
            }
            Input::SocketClosed(socket) => {
                let link = self.connection.closed(socket, turn, out);
                self.linked(link);
            }
            Input::StorageRead(text) => self.keeper.storage_read(text, turn, out),
            Input::Device(device) => self.keeper.device(device, turn, out),
            Input::Signed(signature) => self.keeper.signed(signature, turn, out),
            Input::StorageChanged => {
                // A sibling writes when it is connected.
                self.connection.hurry(turn);
                self.keeper.storage_changed(turn, out);
            }
            Input::LockGranted(id) => self.keeper.lock_granted(id, out),
            Input::LockRefused(id) => self.keeper.lock_refused(id, out),
            Input::Wake => {
                self.connection.wake(turn, out);
                self.keeper.wake(out);
            }
            Input::Online => {
                self.connection.online(turn, out);
                self.keeper.wake(out);
            }
            Input::Offline => self.connection.offline(turn, out),
            Input::Timer => {}
            Input::Command(token, command) => self.command(token, command, turn),
        }
    }

    fn command(&mut self, token: Token, command: Command, turn: &mut Turn) {
        let out = &mut self.out;
        let deadline = turn.after(self.request_timeout);
        match command {
            Command::Login { username, password } => {
                let timeout = self.request_timeout;
                self.keeper.login(Login::new(token, username, password, deadline, timeout), turn, out);
            }
            Command::Logout => self.keeper.logout(token, out),
            Command::Call { rid, method, params } => {
                self.method(token, &method, params.as_ref(), turn, |method| Method::Call(rid, method));
            }
            Command::Auth { rid, method, params } => {
                self.method(token, &method, params.as_ref(), turn, |method| Method::Auth(rid, method));
            }
            Command::Subscribe(rid) => self.cache.subscribe(&rid, Some((token, deadline)), out),
            Command::Unsubscribe(rid) => {
                let result = self.cache.unsubscribe(&rid, out);
                out.settle(token, result.map(|()| Answer::Done));
            }
            Command::Get(rid) => {
                let purpose = Purpose::Get(token, rid.clone());
                self.request(Waiting { purpose, method: Method::Get(rid), params: None }, turn);
            }
        }
    }

    fn method(
        &mut self,
        token: Token,
        name: &str,
        json: Option<&Json>,
        turn: &Turn,
        method: impl FnOnce(String) -> Method,
    ) {
        // A dot in it would make it a method of another resource.
        if !is_part(name) {
            return self.out.settle(token, Err(RequestError::Refused(Error::invalid_request())));
        }
        let params = json.and_then(params);
        self.request(Waiting { purpose: Purpose::Call(token), method: method(name.to_owned()), params }, turn);
    }

    fn request(&mut self, waiting: Waiting, turn: &Turn) {
        let deadline = turn.after(self.request_timeout);
        if self.ready {
            self.out.send(waiting.purpose, waiting.method, waiting.params, Some(deadline));
        } else {
            self.queue.push((waiting, deadline));
        }
    }

    fn response(&mut self, response: Response, turn: &mut Turn) {
        let Some(purpose) = self.out.requests.answered(response.id) else { return };
        let result = response.outcome.map_err(RequestError::Refused);
        let out = &mut self.out;
        match purpose {
            Purpose::Handshake => {
                let link = self.connection.shaken(result, turn, out);
                self.linked(link);
            }
            Purpose::Probe | Purpose::Unsubscribe => {}
            Purpose::Subscribe(rid) => self.cache.subscribed(&rid, result.and_then(resource_set), turn, out),
            Purpose::Get(token, rid) => {
                let result = result.and_then(resource_set).and_then(|set| self.cache.got(&rid, set));
                out.settle(token, result.map(Answer::Got));
            }
            Purpose::Call(token) => {
                let result = match result.and_then(call_result) {
                    Ok(CallResult::Payload(payload)) => {
                        serde_json::from_str(payload.get()).map(Answer::Payload).map_err(|_| RequestError::Garbled)
                    }
                    Ok(CallResult::Resource(rid, set)) => {
                        self.cache.adopt(&rid, set, out);
                        Ok(Answer::Resource(rid))
                    }
                    Err(error) => Err(error),
                };
                out.settle(token, result);
            }
            Purpose::Session => self.keeper.answered(result.and_then(|result| payload(result, out)), turn, out),
            Purpose::Challenge => self.keeper.challenged(result.and_then(|result| payload(result, out)), turn, out),
            Purpose::Abandoned => {
                if let Ok(CallResult::Resource(rid, _)) = result.and_then(call_result) {
                    give_back(rid, out);
                }
            }
        }
    }

    fn event(&mut self, event: &Wire, turn: &mut Turn) {
        let Some(data) = self.cache.event(event, turn, &mut self.out) else { return };
        if event.rid == self.user
            && event.name == "rotated"
            && let Ok(Rotated { generation }) = serde_json::from_value(data)
        {
            self.keeper.rotated(generation, turn, &mut self.out);
        }
    }

    /// What became of the connection.
    fn linked(&mut self, link: Link) {
        match link {
            Link::Same => {}
            Link::Up => self.keeper.linked(&mut self.out),
            Link::Lost => {
                self.ready = false;
                self.keeper.unlinked(&mut self.out);
                for purpose in self.out.requests.lost() {
                    if let Purpose::Call(token) | Purpose::Get(token, _) = purpose {
                        self.out.settle(token, Err(RequestError::ConnectionLost));
                    }
                }
                self.cache.lost(&mut self.out);
            }
        }
    }

    fn give_up(&mut self) {
        self.keeper.stop(&mut self.out);
        self.cache.give_up(&mut self.out);
        for (waiting, _) in std::mem::take(&mut self.queue) {
            if let Purpose::Call(token) | Purpose::Get(token, _) = waiting.purpose {
                self.out.settle(token, Err(RequestError::ConnectionLost));
            }
        }
    }

    /// Does what follows from the last input, and what is due by now.
    fn tick(&mut self, turn: &mut Turn) {
        while let Some(purpose) = self.out.requests.timed_out(turn.now, Purpose::Abandoned) {
            match purpose {
                Purpose::Call(token) | Purpose::Get(token, _) => self.out.settle(token, Err(RequestError::TimedOut)),
                Purpose::Session => self.keeper.answered(Err(RequestError::TimedOut), turn, &mut self.out),
                Purpose::Challenge => self.keeper.challenged(Err(RequestError::TimedOut), turn, &mut self.out),
                _ => {}
            }
            // Is it the service that is slow, or is nobody there?
            self.connection.probe(turn, &mut self.out);
        }
        let link = self.connection.tick(turn, &mut self.out);
        self.linked(link);
        let seen = Seen::of(self.cache.freshness(&self.user), self.cache.resource(&self.user));
        self.keeper.user(seen, turn, &mut self.out);
        self.keeper.tick(self.connection.is_promising(), turn, &mut self.out);
        if self.keeper.take_hang_up() {
            let link = self.connection.replace(turn, &mut self.out);
            self.linked(link);
        }
        if self.keeper.is_settled() && !self.ready {
            self.ready = true;
            self.cache.ready(&mut self.out);
            for (waiting, _) in std::mem::take(&mut self.queue) {
                self.request(waiting, turn);
            }
        }
        if self.keeper.take_gained() {
            self.cache.ask_again(&mut self.out);
        }
        self.cache.tick(turn.now, &mut self.out);
        for (waiting, _) in self.queue.extract_if(.., |(_, deadline)| *deadline <= turn.now) {
            if let Purpose::Call(token) | Purpose::Get(token, _) = waiting.purpose {
                self.out.settle(token, Err(RequestError::TimedOut));
            }
        }
    }
}
