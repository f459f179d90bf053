//! Browsers, tabs, a gateway and a service in virtual time. A seed decides how long each message
//! takes, and which gateway: a model of one, behind which messages of different resources overtake
//! each other, as RES allows; or the machine that is shipped, with a message bus behind it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    time::Duration,
};

use bytes::Bytes;
use relogin_client_proto::{
    Closing, Command, Input, PlatformEvent, Secret, SessionCommand, SessionState, SocketId, User,
};
use relogin_gateway_proto::{Action, Tag};
use relogin_session::{ConnectionId, Denied, Effect, Outcome, Timestamp, Token};
use serde_json::{Value as Json, json};

use super::{Profile, Rng, Sent, Service, Shipped, Tab, login, ms, rid, s, shipped::Delivery};

const USER: &str = "session.user.{cid}";
const TICKER: &str = "ticker.model";
/// How long a gateway waits for a service.
const TIMEOUT: Duration = s(3);
/// When the world began, on the service's clock.
const EPOCH: u64 = 1_700_000_000_000;

/// All there is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) rng: Rng,
    pub(crate) service: Service,
    pub(crate) tabs: Vec<Seat>,
    pub(crate) gateway_up: bool,
    pub(crate) service_up: bool,
    /// How many of a hundred requests never reach the service.
    pub(crate) lose_requests: u64,
    /// How many of a hundred replies never leave it.
    pub(crate) lose_replies: u64,
    /// How many of a hundred requests reach the service twice.
    pub(crate) double_requests: u64,
    /// How many of a hundred requests, and of their copies, take so long that others overtake them
    /// and nobody waits any more.
    pub(crate) delay_requests: u64,
    /// How many of a hundred requests the service does not survive: it has written, but not
    /// announced everybody, nor answered.
    pub(crate) crash: u64,
    /// How wrong the service's clock is.
    pub(crate) clock_error: i64,
    /// How many sockets were asked for in each 100 ms.
    pub(crate) arrivals: BTreeMap<u64, usize>,
    /// The shipped gateway; none: the model.
    shipped: Option<Shipped>,
    connections: BTreeMap<ConnectionId, Connection>,
    queue: BTreeMap<(Duration, u64), Happening>,
    ticket: u64,
    /// Whether to print what happens.
    trace: bool,
}

/// A tab, and what interferes with it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) tab: Tab,
    pub(crate) frozen: bool,
    /// Nothing comes through, in either direction, and nobody is notified.
    pub(crate) cut: bool,
    /// How far the tab's clock is ahead.
    skew: Duration,
    asked: Option<SocketId>,
    backlog: Vec<Input>,
}

#[derive(Debug)]
struct Connection {
    seat: usize,
    socket: SocketId,
    token: Option<Token>,
    subscribed: BTreeSet<String>,
    user: Option<User>,
    /// When the last message of each resource arrives.
    channels: BTreeMap<String, Duration>,
}

#[derive(Debug)]
enum Happening {
    Opened(usize, SocketId),
    Closed(usize, SocketId),
    AtGateway(ConnectionId, Sent),
    AtService(ConnectionId, Sent, Option<Token>),
    AtTab(ConnectionId, String),
    Error(ConnectionId, u64, &'static str, String),
    /// A request of the shipped gateway, and of which of its lives.
    Asked(u64, Tag, String, Bytes),
    /// Something from the bus for the shipped gateway.
    Delivered(u64, Delivery),
    /// The next process of the service.
    ServiceBack,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: s(1000),
            rng: Rng::new(seed),
            service: Service::new(seed),
            tabs: Vec::new(),
            gateway_up: true,
            service_up: true,
            lose_requests: 0,
            lose_replies: 0,
            double_requests: 0,
            delay_requests: 0,
            crash: 0,
            clock_error: 0,
            shipped: (seed % 2 == 1).then(Shipped::new),
            arrivals: BTreeMap::new(),
            connections: BTreeMap::new(),
            queue: BTreeMap::new(),
            ticket: 0,
            trace: std::env::var_os("RELOGIN_TRACE").is_some(),
        }
    }

    /// Opens a tab of `profile` that shows the ticker.
    pub(crate) fn open_tab(&mut self, profile: &Profile) -> usize {
        let number = self.tabs.len();
        let skew = ms(self.rng.range(0, 100_000_000));
        let mut tab = Tab::new(number, profile, self.now + skew, self.rng.next());
        tab.input(Input::Start);
        tab.command(Command::Subscribe(rid(TICKER)));
        self.tabs.push(Seat { tab, frozen: false, cut: false, skew, asked: None, backlog: Vec::new() });
        self.look_after(number);
        number
    }

    /// Closes a tab, whatever it was doing.
    pub(crate) fn close_tab(&mut self, number: usize) {
        let seat = &mut self.tabs[number];
        seat.tab.profile.borrow_mut().leave(number);
        (seat.frozen, seat.cut, seat.tab.socket) = (true, true, None);
        self.hung_up(number);
    }

    /// A tab is reloaded. Returns its new number.
    pub(crate) fn reload(&mut self, number: usize) -> usize {
        let profile = self.tabs[number].tab.profile.clone();
        self.close_tab(number);
        self.open_tab(&profile)
    }

    /// The browser freezes the tab.
    pub(crate) fn freeze(&mut self, number: usize) {
        self.tabs[number].frozen = true;
    }

    /// The tab goes on, first with what it has missed.
    pub(crate) fn thaw(&mut self, number: usize) {
        self.tabs[number].frozen = false;
        for input in std::mem::take(&mut self.tabs[number].backlog) {
            self.input(number, input);
        }
        self.input(number, PlatformEvent::Wake);
    }

    /// All connections end.
    pub(crate) fn stop_gateway(&mut self) {
        self.gateway_up = false;
        self.shipped = self.shipped.take().map(Shipped::restarted);
        for (_, connection) in std::mem::take(&mut self.connections) {
            if !self.tabs[connection.seat].cut {
                self.soon(20, Happening::Closed(connection.seat, connection.socket));
            }
        }
    }

    pub(crate) fn start_gateway(&mut self) {
        self.gateway_up = true;
    }

    /// One connection ends.
    pub(crate) fn drop_connection(&mut self, number: usize) {
        if let Some(socket) = self.hung_up(number) {
            self.soon(20, Happening::Closed(number, socket));
        }
    }

    /// The caller of a tab wants something.
    pub(crate) fn command(&mut self, number: usize, command: Command) -> u64 {
        self.set_clock(number);
        let token = self.tabs[number].tab.command(command);
        self.look_after(number);
        token
    }

    pub(crate) fn login(&mut self, number: usize, name: &str) -> u64 {
        self.command(number, login(name))
    }

    pub(crate) fn logout(&mut self, number: usize) -> u64 {
        self.command(number, Command::Session(SessionCommand::Logout))
    }

    pub(crate) fn input(&mut self, number: usize, input: impl Into<Input>) {
        let input = input.into();
        let seat = &mut self.tabs[number];
        if seat.frozen {
            seat.backlog.push(input);
            return;
        }
        seat.tab.now = self.now + seat.skew;
        let said = self.trace.then(|| format!("tab {number} takes in {input:?}"));
        seat.tab.input(input);
        if let Some(said) = said {
            let (connection, session) = (seat.tab.client.connection(), seat.tab.state());
            self.trace(&format_args!("{said}, is {connection:?}, {session:?}"));
        }
        self.look_after(number);
    }

    fn trace(&self, what: &dyn Debug) {
        if self.trace {
            eprintln!("{:?} {what:?}", self.now);
        }
    }

    pub(crate) fn state(&self, number: usize) -> SessionState {
        self.tabs[number].tab.state()
    }

    /// The cids of a tab's connection.
    pub(crate) fn cid(&self, number: usize) -> Option<ConnectionId> {
        let found = self.connections.iter().find(|(_, connection)| connection.seat == number);
        found.map(|(cid, _)| cid.clone())
    }

    /// What the service's clock shows.
    pub(crate) fn unix(&self) -> u64 {
        (u64::try_from(self.now.as_millis()).unwrap() + EPOCH).saturating_add_signed(self.clock_error)
    }

    /// When the service's clock will show that.
    fn at_unix(&self, unix: u64) -> Duration {
        ms(unix.saturating_sub(EPOCH.saturating_add_signed(self.clock_error)))
    }

    fn set_clock(&mut self, number: usize) {
        let seat = &mut self.tabs[number];
        seat.tab.now = self.now + seat.skew;
    }

    /// The service ends, and what it has not sent yet is lost. The next process starts after a
    /// while.
    pub(crate) fn crash_service(&mut self) {
        self.service_up = false;
        // A login waits in the service while its password is checked, so it is lost with the
        // process.
        self.queue.retain(|_, happening| match happening {
            Happening::Asked(_, _, subject, _) => !subject.ends_with(".login"),
            Happening::AtService(_, sent, _) => !sent.method.ends_with(".login"),
            _ => true,
        });
        self.soon(3000, Happening::ServiceBack);
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.browse();
            let happening = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timer = self.next_timer();
            let expiry = self.service.records.values().map(|record| self.at_unix(record.deadline().0)).min();
            let expiry = expiry.filter(|_| self.service_up);
            let gateway = self.shipped.as_ref().and_then(Shipped::poll_timeout);
            let next = [happening, timer.map(|(at, _)| at), expiry, gateway].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if expiry == Some(next) {
                let effects = self.service.expire(self.unix());
                self.effects(effects);
            } else if gateway.is_some_and(|gateway| gateway <= self.now) {
                self.feed_gateway(relogin_gateway_proto::Input::Timeout);
            } else if happening == Some(next) {
                let (_, happening) = self.queue.pop_first().expect("it was just looked at");
                self.happen(happening);
            } else if let Some((_, number)) = timer {
                self.set_clock(number);
                let due = self.tabs[number].tab.now;
                self.tabs[number].tab.ring(due);
                self.look_after(number);
            }
        }
        self.now = until;
    }

    /// Fails if the use of a key was taken for a theft, or for a sign that the store has lost
    /// writes.
    pub(crate) fn assert_nothing_stolen(&self) {
        let bad = [Outcome::ReuseDetected, Outcome::StoreRolledBack];
        let found = self.service.outcomes.iter().find(|outcome| bad.contains(outcome));
        assert_eq!(found, None, "{:?}", self.service.outcomes);
    }

    fn next_timer(&self) -> Option<(Duration, usize)> {
        let due =
            |(number, seat): (usize, &Seat)| Some((seat.tab.client.poll_timeout()?.saturating_sub(seat.skew), number));
        self.tabs.iter().enumerate().filter(|(_, seat)| !seat.frozen).filter_map(due).min()
    }

    /// The browsers notify their tabs of locks and of storage, in an order that the seed decides.
    fn browse(&mut self) {
        loop {
            let with_news: Vec<_> = (0..self.tabs.len())
                .filter(|number| {
                    let seat = &self.tabs[*number];
                    !seat.frozen && seat.tab.profile.borrow().has_news(*number)
                })
                .collect();
            if with_news.is_empty() {
                return;
            }
            let count = u64::try_from(with_news.len()).unwrap();
            let number = with_news[usize::try_from(self.rng.range(0, count)).unwrap()];
            let news = self.tabs[number].tab.profile.borrow_mut().news(number);
            if let Some(input) = news {
                self.input(number, input);
            }
        }
    }

    /// Takes what a tab has done to the network: a socket that it wants, frames that it sent.
    fn look_after(&mut self, number: usize) {
        let seat = &mut self.tabs[number];
        let wanted = seat.tab.socket;
        let sent = std::mem::take(&mut seat.tab.sent);
        let (cut, asked) = (seat.cut, std::mem::replace(&mut seat.asked, wanted));
        if let Some(socket) = wanted.filter(|_| asked != wanted) {
            self.hung_up(number);
            let slot = u64::try_from(self.now.as_millis()).unwrap() / 100;
            *self.arrivals.entry(slot).or_default() += 1;
            match (cut, self.gateway_up) {
                (true, _) => {}
                (false, true) => self.soon(40, Happening::Opened(number, socket)),
                (false, false) => self.soon(40, Happening::Closed(number, socket)),
            }
        }
        if let Some(cid) = self.cid(number).filter(|_| !cut) {
            for frame in sent {
                self.on_channel(&cid, "up", |cid| Happening::AtGateway(cid, frame));
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        self.trace(&happening);
        match happening {
            Happening::Opened(number, socket) if self.tabs[number].tab.socket == Some(socket) => {
                if !self.gateway_up {
                    return self.soon(5, Happening::Closed(number, socket));
                }
                let cid = ConnectionId::parse(&format!("c{}", self.ticket)).expect("a cid");
                let connection = Connection {
                    seat: number,
                    socket,
                    token: None,
                    subscribed: BTreeSet::new(),
                    user: None,
                    channels: BTreeMap::new(),
                };
                self.connections.insert(cid.clone(), connection);
                self.tabs[number].tab.is_open = true;
                if let Some(shipped) = &mut self.shipped {
                    shipped.open(&cid, self.now);
                    self.look_after_gateway();
                }
                self.input(number, Input::SocketOpened(socket));
            }
            Happening::Opened(..) => {}
            Happening::Closed(number, socket) => self.input(number, Input::SocketClosed(socket, Closing::default())),
            Happening::AtGateway(cid, sent) => self.at_gateway(&cid, &sent),
            Happening::AtService(cid, sent, token) => self.at_service(&cid, &sent, token.as_ref()),
            Happening::AtTab(cid, frame) => {
                if let Some(Connection { seat, socket, .. }) = self.connections.get(&cid) {
                    let (seat, socket) = (*seat, *socket);
                    if !self.tabs[seat].cut {
                        self.input(seat, Input::Frame(socket, Secret::new(frame)));
                    }
                }
            }
            Happening::ServiceBack => self.service_back(),
            Happening::Error(cid, id, code, channel) => self.error(&cid, id, code, &channel),
            Happening::Asked(life, tag, subject, payload) => self.asked(life, tag, &subject, &payload),
            Happening::Delivered(life, delivery) => {
                if let Some(shipped) = &mut self.shipped {
                    shipped.deliver(life, &delivery, self.now);
                    self.look_after_gateway();
                }
            }
        }
    }

    /// The gateway sees that a tab's connection has ended. Returns its socket.
    fn hung_up(&mut self, number: usize) -> Option<SocketId> {
        let cid = self.cid(number)?;
        let socket = self.connections.remove(&cid).map(|connection| connection.socket);
        if let Some(shipped) = &mut self.shipped {
            shipped.close(&cid, self.now);
            self.look_after_gateway();
        }
        socket
    }

    fn feed_gateway(&mut self, input: relogin_gateway_proto::Input<'_>) {
        if let Some(shipped) = &mut self.shipped {
            shipped.gateway.handle(input, self.now);
            self.look_after_gateway();
        }
    }

    /// Carries out what the shipped gateway wants done.
    fn look_after_gateway(&mut self) {
        let Some(shipped) = &mut self.shipped else { return };
        let (life, actions) = (shipped.life, shipped.poll());
        for action in actions {
            match action {
                Action::Send { connection, frame, .. } => {
                    let Some(cid) = self.shipped.as_ref().and_then(|shipped| shipped.cid(connection)) else { continue };
                    let frame = String::from_utf8(frame.to_vec()).expect("frames are text");
                    self.on_channel(&cid, "down", |cid| Happening::AtTab(cid, frame));
                }
                Action::Accept { .. } => {}
                Action::Reject { connection, .. } | Action::Respond { connection, .. } => {
                    panic!("rejects {connection:?}")
                }
                Action::Close { connection, reason, .. } => panic!("closes {connection:?}: {reason}"),
                Action::Ask { tag, subject, payload, .. } => {
                    let ways = if subject.starts_with("auth.") { self.ways() } else { vec![ms(self.rng.range(1, 31))] };
                    for way in ways {
                        let at = self.now + way;
                        self.at(at, Happening::Asked(life, tag, subject.clone(), payload.clone()));
                    }
                }
                Action::Done { .. }
                | Action::Listen { .. }
                | Action::Release { .. }
                | Action::Decode(_)
                | Action::Discard(_)
                | Action::Complain(_) => {}
            }
        }
    }

    /// A request of the shipped gateway has reached the service.
    fn asked(&mut self, life: u64, tag: Tag, subject: &str, payload: &[u8]) {
        if !self.service_up {
            if self.rng.chance(50) {
                self.deliver(life, Delivery::NoResponders(tag));
            }
            return;
        }
        let request: Json = serde_json::from_slice(payload).expect("requests are JSON");
        let answer = match subject.split_once('.') {
            Some(("access", TICKER)) => json!({"result": {"get": !request["token"].is_null()}}),
            Some(("access", name)) => {
                json!({"result": {"get": name == format!("session.user.{}", text(&request["cid"]))}})
            }
            Some(("get", TICKER)) => json!({"result": {"model": {"seconds": self.now.as_secs()}}}),
            Some(("get", name)) => {
                let cid = name.strip_prefix("session.user.").and_then(ConnectionId::parse).expect("a user model");
                json!({"result": {"model": members(self.service.user(&cid).as_ref())}})
            }
            Some(("auth", rest)) => {
                let method = rest.strip_prefix("session.").expect("the session's method");
                let cid = ConnectionId::parse(text(&request["cid"])).expect("a cid");
                let token: Option<Token> = serde_json::from_value(request["token"].clone()).expect("a token of ours");
                let (effects, reply) = self.service.auth(&cid, method, &request["params"], token.as_ref(), self.unix());
                if !self.deliver_all(effects) || self.rng.chance(self.lose_replies) {
                    return;
                }
                match reply {
                    Ok(result) => json!({"result": result}),
                    Err(denied) => json!({"error": {"code": denied.code(), "message": denied.to_string()}}),
                }
            }
            _ => panic!("{subject} was not expected"),
        };
        self.deliver(life, Delivery::Reply(tag, answer.to_string()));
    }

    /// The bus takes its time, but delivers in order.
    fn deliver(&mut self, life: u64, delivery: Delivery) {
        let delay = ms(self.rng.range(1, 30));
        let Some(shipped) = &mut self.shipped else { return };
        let at = shipped.next_delivery(self.now + delay);
        self.at(at, Happening::Delivered(life, delivery));
    }

    fn publish(&mut self, subject: String, payload: &Json) {
        if let Some(life) = self.shipped.as_ref().map(|shipped| shipped.life) {
            self.deliver(life, Delivery::Message(subject, payload.to_string()));
        }
    }

    fn at_gateway(&mut self, cid: &ConnectionId, sent: &Sent) {
        if let Some(shipped) = &mut self.shipped {
            let frame = json!({"id": sent.id, "method": sent.method, "params": sent.params}).to_string();
            shipped.frame(cid, &frame, self.now);
            return self.look_after_gateway();
        }
        let Some(connection) = self.connections.get_mut(cid) else { return };
        let (kind, rest) = sent.method.split_once('.').unwrap_or((&sent.method, ""));
        match (kind, rest) {
            ("version", _) => self.answer(cid, sent.id, &json!({"protocol": "1.2.3"}), "version"),
            ("subscribe", USER) if !self.service_up => self.fail(cid, sent.id, USER),
            ("subscribe", USER) => {
                connection.subscribed.insert(USER.to_owned());
                connection.user = self.service.user(cid);
                let model = members(connection.user.as_ref());
                self.answer(cid, sent.id, &json!({"models": {USER: model}}), USER);
            }
            ("subscribe", TICKER) if connection.token.is_some() => {
                connection.subscribed.insert(TICKER.to_owned());
                let seconds = self.now.as_secs();
                self.answer(cid, sent.id, &json!({"models": {TICKER: {"seconds": seconds}}}), TICKER);
            }
            ("subscribe", _) => self.error(cid, sent.id, "system.accessDenied", TICKER),
            ("unsubscribe", rest) => {
                connection.subscribed.remove(rest);
                self.answer(cid, sent.id, &Json::Null, rest);
            }
            ("auth", _) if !self.service_up => self.fail(cid, sent.id, "session"),
            ("auth", _) => {
                let token = connection.token.clone();
                let ways = self.ways();
                if ways.is_empty() {
                    return self.fail(cid, sent.id, "session");
                }
                if ways.iter().all(|way| *way > TIMEOUT) {
                    let error = Happening::Error(cid.clone(), sent.id, "system.timeout", "session".into());
                    self.at(self.now + TIMEOUT, error);
                }
                for way in ways {
                    let at = self.now + way;
                    self.at(at, Happening::AtService(cid.clone(), sent.clone(), token.clone()));
                }
            }
            _ => panic!("{} was not expected", sent.method),
        }
    }

    /// No service answers: the gateway says so at once, or after it has waited.
    fn fail(&mut self, cid: &ConnectionId, id: u64, channel: &str) {
        let (code, wait) =
            if self.rng.chance(50) { ("system.timeout", TIMEOUT) } else { ("system.notFound", Duration::ZERO) };
        self.at(self.now + wait, Happening::Error(cid.clone(), id, code, channel.to_owned()));
    }

    fn at_service(&mut self, cid: &ConnectionId, sent: &Sent, token: Option<&Token>) {
        if !self.service_up {
            return self.fail(cid, sent.id, "session");
        }
        let method = sent.method.rsplit('.').next().unwrap_or_default();
        let (effects, reply) = self.service.auth(cid, method, &sent.params, token, self.unix());
        if !self.deliver_all(effects) || self.rng.chance(self.lose_replies) {
            return self
                .at(self.now + TIMEOUT, Happening::Error(cid.clone(), sent.id, "system.timeout", "session".into()));
        }
        match reply {
            Ok(result) => self.answer(cid, sent.id, &json!({"payload": result}), "session"),
            Err(denied) => self.error(cid, sent.id, Denied::code(denied), "session"),
        }
    }

    /// How long a request and its copies take to the service; none: it never gets there.
    fn ways(&mut self) -> Vec<Duration> {
        let times = match (self.rng.chance(self.lose_requests), self.rng.chance(self.double_requests)) {
            (true, _) => 0,
            (false, true) => 2,
            (false, false) => 1,
        };
        let way = |_| {
            let longest = if self.rng.chance(self.delay_requests) { 9000 } else { 31 };
            ms(self.rng.range(1, longest))
        };
        (0..times).map(way).collect()
    }

    /// Tells everybody what has been written, unless the service ends before or meanwhile. True if
    /// it lives on.
    fn deliver_all(&mut self, effects: Vec<Effect>) -> bool {
        if !self.rng.chance(self.crash) {
            self.effects(effects);
            return true;
        }
        let told = usize::try_from(self.rng.range(0, 4)).unwrap();
        // Whom it forgets, it has notified before it wrote.
        let is_end = |effect: &Effect| matches!(effect, Effect::SetUser(_, None) | Effect::SetToken(_, None));
        let over = !self.service.unannounced.is_empty();
        let told = effects.into_iter().enumerate().filter(|(n, effect)| *n < told || is_end(effect) && !over);
        let told = told.map(|(_, effect)| effect).collect();
        self.effects(told);
        self.crash_service();
        false
    }

    /// The service has restarted: it announces what it cannot be sure to have announced, and
    /// gateways ask for all there is.
    fn service_back(&mut self) {
        self.service_up = true;
        self.service.began = Timestamp(self.unix());
        let unannounced = std::mem::take(&mut self.service.unannounced);
        self.effects(unannounced);
        if self.shipped.is_some() {
            return self
                .publish("system.reset".to_owned(), &json!({"resources": ["session.>"], "access": ["session.>"]}));
        }
        let cids: Vec<_> = self.connections.keys().cloned().collect();
        let found = cids.into_iter().map(|cid| Effect::SetUser(cid.clone(), self.service.user(&cid))).collect();
        self.effects(found);
    }

    pub(crate) fn effects(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::SetToken(cid, token) if self.shipped.is_some() => {
                    let tid = token.as_ref().map(|token| token.sid);
                    self.publish(format!("conn.{cid}.token"), &json!({"token": token, "tid": tid}));
                }
                Effect::SetUser(cid, user) if self.shipped.is_some() => {
                    let values = json!({"values": members(user.as_ref())});
                    self.publish(format!("event.session.user.{cid}.change"), &values);
                }
                Effect::Rotated(cid, generation) if self.shipped.is_some() => {
                    self.publish(format!("event.session.user.{cid}.rotated"), &json!({"generation": generation}));
                }
                Effect::SetToken(cid, token) => {
                    let Some(connection) = self.connections.get_mut(&cid) else { continue };
                    connection.token = token;
                    if connection.token.is_none() && connection.subscribed.remove(TICKER) {
                        let reason = json!({"code": "system.accessDenied", "message": "Access denied"});
                        self.send_event(&cid, TICKER, "unsubscribe", &json!({"reason": reason}));
                    }
                }
                Effect::SetUser(cid, user) => {
                    let Some(connection) = self.connections.get_mut(&cid) else { continue };
                    // A change that changes nothing is not sent on.
                    if connection.subscribed.contains(USER) && connection.user != user {
                        connection.user.clone_from(&user);
                        self.send_event(&cid, USER, "change", &json!({"values": members(user.as_ref())}));
                    }
                }
                Effect::Rotated(cid, generation) => {
                    self.send_event(&cid, USER, "rotated", &json!({"generation": generation}));
                }
            }
        }
    }

    fn send_event(&mut self, cid: &ConnectionId, resource: &str, event: &str, data: &Json) {
        let subscribed = self.connections.get(cid).is_some_and(|connection| connection.subscribed.contains(resource));
        if subscribed || event == "unsubscribe" {
            let frame = json!({"event": format!("{resource}.{event}"), "data": data}).to_string();
            self.on_channel(cid, resource, |cid| Happening::AtTab(cid, frame));
        }
    }

    fn answer(&mut self, cid: &ConnectionId, id: u64, result: &Json, channel: &str) {
        let frame = json!({"id": id, "result": result}).to_string();
        self.on_channel(cid, channel, |cid| Happening::AtTab(cid, frame));
    }

    fn error(&mut self, cid: &ConnectionId, id: u64, code: &str, channel: &str) {
        let frame = json!({"id": id, "error": {"code": code, "message": code}}).to_string();
        self.on_channel(cid, channel, |cid| Happening::AtTab(cid, frame));
    }

    /// First in, first out, on each channel alone.
    fn on_channel(&mut self, cid: &ConnectionId, channel: &str, happening: impl FnOnce(ConnectionId) -> Happening) {
        let delay = ms(self.rng.range(1, 60));
        let Some(connection) = self.connections.get_mut(cid) else { return };
        let last = connection.channels.entry(channel.to_owned()).or_default();
        *last = (*last).max(self.now + delay);
        let at = *last;
        self.at(at, happening(cid.clone()));
    }

    fn soon(&mut self, within_ms: u64, happening: Happening) {
        let delay = ms(self.rng.range(1, within_ms + 1));
        self.at(self.now + delay, happening);
    }

    fn at(&mut self, at: Duration, happening: Happening) {
        self.ticket += 1;
        self.queue.insert((at, self.ticket), happening);
    }
}

fn members(user: Option<&User>) -> Json {
    match user {
        Some(user) => serde_json::to_value(user).unwrap(),
        None => json!({"id": null, "name": null, "role": null}),
    }
}

fn text(json: &Json) -> &str {
    json.as_str().expect("a text")
}
