//! Browsers, tabs, a gateway and a service in virtual time. A seed decides how long each message takes; messages of one
//! resource never overtake each other, all others may, as behind a real gateway.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use relogin_client::{Command, Input, Secret, SessionState, SocketId, User};
use relogin_session::{ConnectionId, Denied, Effect, Outcome, Token};
use serde_json::{Value as Json, json};

use super::{Profile, Rng, Sent, Service, Tab, ms, rid, s};

const USER: &str = "session.user.{cid}";
const TICKER: &str = "ticker.model";

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
    /// How many sockets were asked for in each 100 ms.
    pub(crate) arrivals: BTreeMap<u64, usize>,
    connections: BTreeMap<ConnectionId, Connection>,
    queue: BTreeMap<(Duration, u64), Happening>,
    ticket: u64,
}

/// A tab, and what keeps it from being one.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) tab: Tab,
    pub(crate) frozen: bool,
    /// Nothing comes through, in either direction, and nobody is told.
    pub(crate) cut: bool,
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
            arrivals: BTreeMap::new(),
            connections: BTreeMap::new(),
            queue: BTreeMap::new(),
            ticket: 0,
        }
    }

    /// Opens a tab of `profile` that shows the ticker.
    pub(crate) fn open_tab(&mut self, profile: &Profile) -> usize {
        let number = self.tabs.len();
        let mut tab = Tab::new(number, profile, self.now, self.rng.next());
        tab.input(Input::Start);
        tab.command(Command::Subscribe(rid(TICKER)));
        self.tabs.push(Seat { tab, frozen: false, cut: false, asked: None, backlog: Vec::new() });
        self.look_after(number);
        number
    }

    /// Closes a tab, mid-sentence.
    pub(crate) fn close_tab(&mut self, number: usize) {
        let seat = &mut self.tabs[number];
        seat.tab.profile.borrow_mut().leave(number);
        (seat.frozen, seat.cut, seat.tab.socket) = (true, true, None);
        self.connections.retain(|_, connection| connection.seat != number);
    }

    /// A tab is loaded anew. Returns its new number.
    pub(crate) fn reload(&mut self, number: usize) -> usize {
        let profile = self.tabs[number].tab.profile.clone();
        self.close_tab(number);
        self.open_tab(&profile)
    }

    /// The browser stops the tab in its tracks.
    pub(crate) fn freeze(&mut self, number: usize) {
        self.tabs[number].frozen = true;
    }

    /// The tab goes on, first with what it has missed.
    pub(crate) fn thaw(&mut self, number: usize) {
        self.tabs[number].frozen = false;
        for input in std::mem::take(&mut self.tabs[number].backlog) {
            self.input(number, input);
        }
        self.input(number, Input::Wake);
    }

    /// All connections end.
    pub(crate) fn stop_gateway(&mut self) {
        self.gateway_up = false;
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
        let found = self.connections.iter().find(|(_, connection)| connection.seat == number);
        if let Some((cid, connection)) = found {
            let (cid, socket) = (cid.clone(), connection.socket);
            self.connections.remove(&cid);
            self.soon(20, Happening::Closed(number, socket));
        }
    }

    /// The caller of a tab wants something.
    pub(crate) fn command(&mut self, number: usize, command: Command) -> u64 {
        self.tabs[number].tab.now = self.now;
        let token = self.tabs[number].tab.command(command);
        self.look_after(number);
        token
    }

    pub(crate) fn login(&mut self, number: usize, name: &str) -> u64 {
        self.command(number, Command::Login { username: name.into(), password: Secret::new(name.into()) })
    }

    pub(crate) fn input(&mut self, number: usize, input: Input) {
        let seat = &mut self.tabs[number];
        if seat.frozen {
            seat.backlog.push(input);
            return;
        }
        seat.tab.now = self.now;
        seat.tab.input(input);
        self.look_after(number);
    }

    pub(crate) fn state(&self, number: usize) -> SessionState {
        self.tabs[number].tab.state()
    }

    /// The cids of a tab's connection.
    pub(crate) fn cid(&self, number: usize) -> Option<ConnectionId> {
        let found = self.connections.iter().find(|(_, connection)| connection.seat == number);
        found.map(|(cid, _)| cid.clone())
    }

    pub(crate) fn unix(&self) -> u64 {
        u64::try_from(self.now.as_millis()).unwrap()
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.browse();
            let happening = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timer = self.next_timer();
            let expiry = self.service.records.values().map(|record| ms(record.deadline().0)).min();
            let next = [happening, timer.map(|(at, _)| at), expiry].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if expiry == Some(next) && self.service_up {
                let effects = self.service.expire(self.unix());
                self.effects(effects);
            } else if happening == Some(next) {
                let (_, happening) = self.queue.pop_first().expect("it was just looked at");
                self.happen(happening);
            } else if let Some((_, number)) = timer {
                self.tabs[number].tab.now = self.now;
                self.tabs[number].tab.ring(next);
                self.look_after(number);
            }
        }
        self.now = until;
    }

    /// What nobody honest ever does to anybody.
    pub(crate) fn assert_nothing_stolen(&self) {
        let bad = [Outcome::Stolen, Outcome::FromTheFuture];
        let found = self.service.outcomes.iter().find(|outcome| bad.contains(outcome));
        assert_eq!(found, None, "{:?}", self.service.outcomes);
    }

    fn next_timer(&self) -> Option<(Duration, usize)> {
        let due = |(number, seat): (usize, &Seat)| Some((seat.tab.client.poll_timeout()?, number));
        self.tabs.iter().enumerate().filter(|(_, seat)| !seat.frozen).filter_map(due).min()
    }

    /// The browsers tell their tabs of locks and of storage, in an order that the seed decides.
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
            self.connections.retain(|_, connection| connection.seat != number);
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
                self.connections.insert(cid, connection);
                self.tabs[number].tab.is_open = true;
                self.input(number, Input::SocketOpened(socket));
            }
            Happening::Opened(..) => {}
            Happening::Closed(number, socket) => self.input(number, Input::SocketClosed(socket)),
            Happening::AtGateway(cid, sent) => self.at_gateway(cid, sent),
            Happening::AtService(cid, sent, token) => self.at_service(&cid, &sent, token.as_ref()),
            Happening::AtTab(cid, frame) => {
                if let Some(Connection { seat, socket, .. }) = self.connections.get(&cid) {
                    let (seat, socket) = (*seat, *socket);
                    if !self.tabs[seat].cut {
                        self.input(seat, Input::Frame(socket, Secret::new(frame)));
                    }
                }
            }
            Happening::Error(cid, id, code, channel) => self.error(&cid, id, code, &channel),
        }
    }

    fn at_gateway(&mut self, cid: ConnectionId, sent: Sent) {
        let Some(connection) = self.connections.get_mut(&cid) else { return };
        let (kind, rest) = sent.method.split_once('.').unwrap_or((&sent.method, ""));
        match (kind, rest) {
            ("version", _) => self.answer(&cid, sent.id, &json!({"protocol": "1.2.3"}), "version"),
            ("subscribe", USER) if !self.service_up => self.fail(&cid, sent.id, USER),
            ("subscribe", USER) => {
                connection.subscribed.insert(USER.to_owned());
                connection.user = self.service.user(&cid);
                let model = members(connection.user.as_ref());
                self.answer(&cid, sent.id, &json!({"models": {USER: model}}), USER);
            }
            ("subscribe", TICKER) if connection.token.is_some() => {
                connection.subscribed.insert(TICKER.to_owned());
                let seconds = self.now.as_secs();
                self.answer(&cid, sent.id, &json!({"models": {TICKER: {"seconds": seconds}}}), TICKER);
            }
            ("subscribe", _) => self.error(&cid, sent.id, "system.accessDenied", TICKER),
            ("unsubscribe", rest) => {
                connection.subscribed.remove(rest);
                self.answer(&cid, sent.id, &Json::Null, rest);
            }
            ("auth", _) if !self.service_up || self.rng.chance(self.lose_requests) => {
                self.fail(&cid, sent.id, "session");
            }
            ("auth", _) => {
                let token = connection.token.clone();
                self.soon(30, Happening::AtService(cid, sent, token));
            }
            _ => panic!("{} was not to be expected", sent.method),
        }
    }

    /// No service answers: the gateway says so at once, or after it has waited.
    fn fail(&mut self, cid: &ConnectionId, id: u64, channel: &str) {
        let (code, wait) =
            if self.rng.chance(50) { ("system.timeout", s(3)) } else { ("system.notFound", Duration::ZERO) };
        self.at(self.now + wait, Happening::Error(cid.clone(), id, code, channel.to_owned()));
    }

    fn at_service(&mut self, cid: &ConnectionId, sent: &Sent, token: Option<&Token>) {
        if !self.service_up {
            return self.fail(cid, sent.id, "session");
        }
        let method = sent.method.rsplit('.').next().unwrap_or_default();
        let (effects, reply) = self.service.auth(cid, method, &sent.params, token, self.unix());
        self.effects(effects);
        if self.rng.chance(self.lose_replies) {
            return self
                .at(self.now + s(3), Happening::Error(cid.clone(), sent.id, "system.timeout", "session".into()));
        }
        match reply {
            Ok(result) => self.answer(cid, sent.id, &json!({"payload": result}), "session"),
            Err(denied) => self.error(cid, sent.id, Denied::code(denied), "session"),
        }
    }

    pub(crate) fn effects(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::SetToken(cid, token) => {
                    let Some(connection) = self.connections.get_mut(&cid) else { continue };
                    connection.token = token;
                    if connection.token.is_none() && connection.subscribed.remove(TICKER) {
                        let reason = json!({"code": "system.accessDenied", "message": "Access denied"});
                        self.tell(&cid, TICKER, "unsubscribe", &json!({"reason": reason}));
                    }
                }
                Effect::SetUser(cid, user) => {
                    let Some(connection) = self.connections.get_mut(&cid) else { continue };
                    // A change that changes nothing is not sent on.
                    if connection.subscribed.contains(USER) && connection.user != user {
                        connection.user.clone_from(&user);
                        self.tell(&cid, USER, "change", &json!({"values": members(user.as_ref())}));
                    }
                }
                Effect::Rotated(cid, generation) => {
                    self.tell(&cid, USER, "rotated", &json!({"generation": generation}));
                }
            }
        }
    }

    fn tell(&mut self, cid: &ConnectionId, resource: &str, event: &str, data: &Json) {
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
