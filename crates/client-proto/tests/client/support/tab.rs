//! One tab: a client machine, driven as a browser would drive it, with the promises of its contract
//! checked all the way.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use relogin_client_proto::{
    Action, Answer, Client, Closing, Command, Config, ConnectionState, Diagnostic, Event, Input, Moment,
    PlatformAction, PlatformEvent, RequestError, Secret, SessionCommand, SessionState, SocketId, Token,
};
use relogin_res::client::Request;
use serde_json::{Value as Json, json};

use super::{Browser, Profile, Rng, rid};

/// A frame that the client sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) id: u64,
    pub(crate) method: String,
    pub(crate) params: Json,
}

/// A tab of a browser profile.
#[derive(Debug)]
pub(crate) struct Tab {
    pub(crate) number: usize,
    pub(crate) client: Client,
    pub(crate) profile: Profile,
    pub(crate) now: Duration,
    pub(crate) socket: Option<SocketId>,
    pub(crate) is_open: bool,
    pub(crate) sent: VecDeque<Sent>,
    pub(crate) settled: BTreeMap<u64, Result<Answer, RequestError>>,
    pub(crate) events: Vec<Event>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Sockets opened so far.
    pub(crate) sockets: usize,
    /// The addresses at which they were.
    pub(crate) gateways: Vec<usize>,
    rng: Rng,
    next_token: u64,
}

impl Tab {
    /// A tab that has not started yet.
    pub(crate) fn new(number: usize, profile: &Profile, now: Duration, seed: u64) -> Self {
        Self::with(Config::new(rid("session")), number, profile, now, seed)
    }

    /// A tab of a plain RES client, started.
    pub(crate) fn plain(seed: u64, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::plain(1);
        set(&mut config);
        let mut tab = Self::with(config, 0, &Browser::profile(), Duration::from_secs(1000), seed);
        tab.input(Input::Start);
        tab
    }

    fn with(config: Config, number: usize, profile: &Profile, now: Duration, seed: u64) -> Self {
        profile.borrow_mut().join(number);
        Self {
            number,
            client: Client::new(config),
            profile: profile.clone(),
            now,
            socket: None,
            is_open: false,
            sent: VecDeque::new(),
            settled: BTreeMap::new(),
            events: Vec::new(),
            diagnostics: Vec::new(),
            sockets: 0,
            gateways: Vec::new(),
            rng: Rng::new(seed),
            next_token: 0,
        }
    }

    /// A tab alone in its browser, started, with this in storage.
    pub(crate) fn start(storage: Option<&str>) -> Self {
        let profile = Browser::profile();
        profile.borrow_mut().storage = storage.map(str::to_owned);
        Self::start_in(&profile, 0)
    }

    /// A tab of `profile`, started.
    pub(crate) fn start_in(profile: &Profile, number: usize) -> Self {
        let mut tab = Self::new(number, profile, Duration::from_secs(1000), 7 + number as u64);
        tab.input(Input::Start);
        tab
    }

    /// Hands in an input and does all that follows from it in this turn of the event loop.
    pub(crate) fn input(&mut self, input: impl Into<Input>) {
        let moment = Moment { now: self.now, random: self.rng.bytes() };
        self.client.handle(input.into(), moment);
        while let Some(action) = self.client.poll_action() {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::OpenSocket(id, gateway) => {
                self.gateways.push(gateway);
                assert!(self.socket.is_none(), "two sockets at once");
                (self.socket, self.is_open) = (Some(id), false);
                self.sockets += 1;
            }
            Action::SendFrame(id, frame) => {
                assert!(self.socket == Some(id) && self.is_open, "a frame for no open socket");
                let request = Request::parse(frame.expose()).expect("frames are requests");
                let params = request.params.map_or(Json::Null, |params| serde_json::from_str(params.get()).unwrap());
                self.sent.push_back(Sent { id: request.id, method: request.method.to_string(), params });
            }
            Action::CloseSocket(id) => {
                assert_eq!(self.socket.take(), Some(id), "closes what is not open");
                self.is_open = false;
                self.sent.clear();
            }
            Action::Platform(action) => self.carry_out_platform(action),
            Action::Settle(Token(token), result) => {
                assert!(token < self.next_token, "settles a command that was never given");
                assert!(self.settled.insert(token, result).is_none(), "settles twice");
            }
            Action::Emit(event) => self.events.push(event),
            Action::Diagnose(diagnostic) => self.diagnostics.push(diagnostic),
        }
    }

    fn carry_out_platform(&mut self, action: PlatformAction) {
        match action {
            PlatformAction::ReadStorage => {
                let text = self.profile.borrow_mut().read();
                self.input(PlatformEvent::StorageRead(text.map(Secret::new)));
            }
            PlatformAction::SwapStorage { from, to } => {
                let (from, to) = (from.as_ref().map(Secret::expose), to.as_ref().map(Secret::expose));
                let text = self.profile.borrow_mut().swap(self.number, from, to);
                self.input(PlatformEvent::StorageRead(text.map(Secret::new)));
            }
            PlatformAction::MakeDevice => {
                let device = self.profile.borrow_mut().make_device();
                self.input(PlatformEvent::Device(device));
            }
            PlatformAction::Sign(message) => {
                let signature = self.profile.borrow_mut().sign(message.expose());
                self.input(PlatformEvent::Signed(signature));
            }
            PlatformAction::RequestLock(id) => self.profile.borrow_mut().request(self.number, id, false),
            PlatformAction::StealLock(id) => self.profile.borrow_mut().request(self.number, id, true),
            PlatformAction::ReleaseLock(id) => self.profile.borrow_mut().release(self.number, id),
        }
    }

    /// Delivers the browser's events.
    pub(crate) fn browse(&mut self) {
        loop {
            let news = self.profile.borrow_mut().news(self.number);
            let Some(input) = news else { return };
            self.input(input);
        }
    }

    /// Lets time pass, timers firing when they are due.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.browse();
        let until = self.now + time;
        while let Some(due) = self.client.poll_timeout().filter(|due| *due <= until) {
            self.ring(due);
            self.browse();
        }
        self.now = until;
    }

    /// Lets time pass on a connection that is alive: probes are answered.
    pub(crate) fn live(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.pass(Duration::from_millis(500).min(until - self.now));
            while let Some(found) = self.sent.iter().position(|sent| sent.method == "version") {
                let probe = self.sent.remove(found).unwrap();
                self.ok(probe.id, &json!({"protocol": "1.2.3"}));
            }
        }
    }

    /// The timer fires, which was due at `due`.
    pub(crate) fn ring(&mut self, due: Duration) {
        self.now = self.now.max(due);
        self.input(PlatformEvent::Timer);
        let next = self.client.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "a timer that is due after it has fired: {next:?}");
    }

    /// The socket opens.
    pub(crate) fn open(&mut self) {
        let socket = self.socket.expect("a socket to open");
        self.is_open = true;
        self.input(Input::SocketOpened(socket));
    }

    /// The socket opens, and the gateway answers the version request like this.
    pub(crate) fn connect_to(&mut self, answer: &Json) {
        self.open();
        let mut answer = answer.clone();
        answer["id"] = self.take("version").id.into();
        self.frame(&answer.to_string());
    }

    /// The socket opens, the handshake completes, and the browser's events are delivered.
    pub(crate) fn connect(&mut self) {
        self.open();
        let id = self.take("version").id;
        self.ok(id, &json!({"protocol": "1.2.3"}));
        self.browse();
    }

    /// The socket closes.
    pub(crate) fn drop_socket(&mut self) {
        self.close_socket(Closing::default());
    }

    /// The socket closes, and the gateway says this.
    pub(crate) fn close_socket(&mut self, closing: Closing) {
        let socket = self.socket.expect("a socket to close");
        self.input(Input::SocketClosed(socket, closing));
        self.browse();
    }

    /// Waits for the next try to connect, and connects.
    pub(crate) fn reconnect(&mut self) {
        self.await_socket();
        self.connect();
    }

    /// Waits until a socket is asked for.
    pub(crate) fn await_socket(&mut self) {
        while self.socket.is_none() {
            let due = self.client.poll_timeout().expect("a next try");
            self.ring(due);
        }
    }

    /// The next frame that the client has sent, which must be of this method.
    pub(crate) fn take(&mut self, method: &str) -> Sent {
        let sent = self.sent.pop_front().unwrap_or_else(|| panic!("{method} was not sent"));
        assert_eq!(sent.method, method);
        sent
    }

    /// The next frame of this method, whatever was sent before it.
    pub(crate) fn find(&mut self, method: &str) -> Sent {
        let found = self.sent.iter().position(|sent| sent.method == method);
        let found = found.unwrap_or_else(|| panic!("{method} was not sent, but {:?}", self.methods()));
        self.sent.remove(found).unwrap()
    }

    /// The methods of what was sent and not yet taken.
    pub(crate) fn methods(&self) -> Vec<&str> {
        self.sent.iter().map(|sent| sent.method.as_str()).collect()
    }

    /// A frame comes.
    pub(crate) fn frame(&mut self, frame: &str) {
        let socket = self.socket.expect("a socket for a frame");
        self.input(Input::Frame(socket, Secret::new(frame.to_owned())));
        self.browse();
    }

    /// A result comes.
    pub(crate) fn ok(&mut self, id: u64, result: &Json) {
        self.frame(&json!({"id": id, "result": result}).to_string());
    }

    /// The result of a method comes.
    pub(crate) fn payload(&mut self, id: u64, payload: &Json) {
        self.ok(id, &json!({"payload": payload}));
    }

    /// An error comes.
    pub(crate) fn error(&mut self, id: u64, code: &str) {
        self.frame(&json!({"id": id, "error": {"code": code, "message": code}}).to_string());
    }

    /// An event comes.
    pub(crate) fn event(&mut self, event: &str, data: &Json) {
        self.frame(&json!({"event": event, "data": data}).to_string());
    }

    /// The user model is asked for, and answered.
    pub(crate) fn answer_user(&mut self, user: Option<&relogin_client_proto::User>) {
        let id = self.find("subscribe.session.user.{cid}").id;
        self.ok(id, &json!({"models": {"session.user.{cid}": members(user)}}));
    }

    /// The user model changes.
    pub(crate) fn change_user(&mut self, user: Option<&relogin_client_proto::User>) {
        self.event("session.user.{cid}.change", &json!({"values": members(user)}));
    }

    /// The caller wants something.
    pub(crate) fn command(&mut self, command: Command) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.input(Input::Command(Token(token), command));
        self.browse();
        token
    }

    pub(crate) fn login(&mut self, username: &str) -> u64 {
        self.command(login(username))
    }

    pub(crate) fn logout(&mut self) -> u64 {
        self.command(Command::Session(SessionCommand::Logout))
    }

    pub(crate) fn state(&self) -> SessionState {
        self.client.session()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection() == ConnectionState::Connected
    }

    /// The key that storage has, and what stands beside it; but for pending logouts.
    pub(crate) fn stored(&self) -> Option<Json> {
        self.profile.borrow().record()
    }

    /// The keys of the pending logouts that storage has.
    pub(crate) fn pending(&self) -> Vec<String> {
        self.profile.borrow().pending()
    }

    /// The commands that have not been settled.
    pub(crate) fn unsettled(&self) -> Vec<u64> {
        (0..self.next_token).filter(|token| !self.settled.contains_key(token)).collect()
    }

    /// The session states that were reported to the page, in order.
    pub(crate) fn states(&self) -> Vec<SessionState> {
        let states = self.events.iter().filter_map(|event| match event {
            Event::Session(state) => Some(state.clone()),
            _ => None,
        });
        states.collect()
    }
}

/// The login of a user whose password is the user's name.
pub(crate) fn login(username: &str) -> Command {
    Command::Session(SessionCommand::Login { username: username.into(), password: Secret::new(username.into()) })
}

fn members(user: Option<&relogin_client_proto::User>) -> Json {
    match user {
        Some(user) => serde_json::to_value(user).unwrap(),
        None => json!({"id": null, "name": null, "role": null}),
    }
}
