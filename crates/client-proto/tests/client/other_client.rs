//! The session manager over a RES client that is not ours.

use std::{collections::BTreeMap, time::Duration};

use relogin_res::Error;
use relogin_session::{ConnectionId, Effect, Outcome};
use relogin_session_manager::{
    Action, Clock, EndReason, Event, Input, Moment, ObservedUser, PlatformAction, PlatformEvent, RequestError,
    RequestId, Secret, SessionCommand, SessionConfig, SessionManager, SessionState, Signature, Token, User,
};
use serde_json::{Value as Json, json};

use crate::{
    login::answer,
    support::{Browser, Profile, Rng, Sent, Service, admin, ms, s},
};

const KEY: &str = r#"{"key":"k1","generation":1}"#;

/// A tab with another RES client.
struct Other {
    number: usize,
    manager: SessionManager,
    clock: Clock,
    profile: Profile,
    now: Duration,
    rng: Rng,
    sent: Vec<Sent>,
    settled: BTreeMap<u64, Result<(), RequestError>>,
    states: Vec<SessionState>,
    /// How often others were let through.
    ready: usize,
    /// How often another connection was asked for.
    replaced: usize,
    tokens: u64,
}

impl Other {
    fn start_in(profile: &Profile, number: usize) -> Self {
        profile.borrow_mut().join(number);
        let mut other = Self {
            number,
            manager: SessionManager::new(SessionConfig::default()),
            clock: Clock::default(),
            profile: profile.clone(),
            now: s(1000),
            rng: Rng::new(number as u64 + 3),
            sent: Vec::new(),
            settled: BTreeMap::new(),
            states: Vec::new(),
            ready: 0,
            replaced: 0,
            tokens: 0,
        };
        other.input(Input::Start);
        other
    }

    fn start(storage: Option<&str>) -> Self {
        let profile = Browser::profile();
        profile.borrow_mut().storage = storage.map(str::to_owned);
        Self::start_in(&profile, 0)
    }

    fn input(&mut self, input: impl Into<Input>) {
        let moment = Moment { now: self.now, random: self.rng.bytes() };
        let turn = &mut self.clock.turn(moment, self.manager.poll_timeout());
        self.manager.handle(input.into(), turn);
        while let Some(action) = self.manager.poll_action() {
            self.carry_out(action);
        }
        while let Some(event) = self.manager.poll_event() {
            if let Event::State(state) = event {
                self.states.push(state);
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Platform(action) => self.carry_out_platform(action),
            Action::Settle(Token(token), result) => {
                assert!(self.settled.insert(token, result).is_none(), "settles twice");
            }
            Action::Request(request) => {
                let params = request.params.map_or(Json::Null, |params| serde_json::from_str(params.expose()).unwrap());
                self.sent.push(Sent { id: request.id.0.into(), method: request.method.to_owned(), params });
            }
            Action::Ready => self.ready += 1,
            Action::Replace => {
                self.replaced += 1;
                self.sent.clear();
            }
            Action::CheckConnection | Action::Authenticated => {}
        }
    }

    fn carry_out_platform(&mut self, action: PlatformAction) {
        let profile = self.profile.clone();
        match action {
            PlatformAction::ReadStorage => {
                let text = profile.borrow_mut().read();
                self.input(PlatformEvent::StorageRead(text.map(Secret::new)));
            }
            PlatformAction::SwapStorage { from, to } => {
                let (from, to) = (from.as_ref().map(Secret::expose), to.as_ref().map(Secret::expose));
                let text = profile.borrow_mut().swap(self.number, from, to);
                self.input(PlatformEvent::StorageRead(text.map(Secret::new)));
            }
            PlatformAction::MakeDevice => {
                let device = profile.borrow_mut().make_device();
                self.input(PlatformEvent::Device(device));
            }
            PlatformAction::Sign(message) => {
                let device = profile.borrow().device.clone();
                let signed = device.map(|device| device.sign(message.expose().as_bytes()));
                self.input(PlatformEvent::Signed(signed.map_or(Signature::NoKey, Signature::Made)));
            }
            PlatformAction::RequestLock(id) => profile.borrow_mut().request(self.number, id, false),
            PlatformAction::StealLock(id) => profile.borrow_mut().request(self.number, id, true),
            PlatformAction::ReleaseLock(id) => profile.borrow_mut().release(self.number, id),
        }
    }

    fn browse(&mut self) {
        loop {
            let news = self.profile.borrow_mut().news(self.number);
            let Some(event) = news else { return };
            self.input(event);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.browse();
        let until = self.now + time;
        while let Some(due) = self.manager.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.input(PlatformEvent::Timer);
            self.browse();
        }
        self.now = until;
    }

    fn connect(&mut self) {
        self.input(Input::Opening);
        self.input(Input::Connected);
        self.browse();
    }

    fn take(&mut self, method: &str) -> Sent {
        assert!(!self.sent.is_empty(), "{method} was not sent");
        let sent = self.sent.remove(0);
        assert_eq!(sent.method, method);
        sent
    }

    fn answer(&mut self, id: u64, result: Result<Json, RequestError>) {
        self.input(Input::Answered(RequestId(u32::try_from(id).unwrap()), result));
        self.browse();
    }

    fn user(&mut self, user: Option<&User>) {
        self.input(Input::User(observed(user)));
        self.browse();
    }

    fn command(&mut self, command: SessionCommand) -> u64 {
        self.tokens += 1;
        self.input(Input::Command(Token(self.tokens), command));
        self.browse();
        self.tokens
    }

    fn login(&mut self) -> u64 {
        let (username, password) = ("admin".into(), Secret::new("admin".into()));
        self.command(SessionCommand::Login { username, password })
    }

    fn stored(&self) -> Option<Json> {
        self.profile.borrow().record()
    }

    /// One on which the administrator has been resumed: the key in storage is `k2`.
    fn resumed() -> Self {
        let mut other = Self::start(Some(KEY));
        other.connect();
        let sent = other.take("relogin");
        other.answer(sent.id, Ok(answer("k2", 2)));
        other.user(Some(&admin()));
        assert_eq!(other.manager.state(), SessionState::LoggedIn(admin()));
        other
    }
}

fn observed(user: Option<&User>) -> ObservedUser {
    user.map_or(ObservedUser::Nobody, |user| ObservedUser::Somebody(user.clone()))
}

fn refused(code: &'static str) -> RequestError {
    RequestError::Refused(Error::new(code, code))
}

#[test]
fn without_a_key_others_are_let_through_at_once() {
    let mut other = Other::start(None);
    assert_eq!(other.manager.state(), SessionState::Anonymous);
    other.connect();
    assert_eq!((other.sent.len(), other.ready), (0, 1));
    other.user(None);
    assert_eq!(other.states, [SessionState::Anonymous]);
}

#[test]
fn the_session_is_resumed_before_others_are_let_through() {
    let mut other = Other::start(Some(KEY));
    other.connect();
    let sent = other.take("relogin");
    assert_eq!((sent.params["reloginKey"].as_str(), other.ready), (Some("k1"), 0));
    assert_eq!(other.stored().unwrap()["attempt"], sent.params["attempt"], "written before it is sent");
    other.answer(sent.id, Ok(answer("k2", 2)));
    assert_eq!((other.stored(), other.ready), (Some(json!({"key": "k2", "generation": 2})), 1));
    other.user(Some(&admin()));
    assert_eq!(other.states, [SessionState::Resuming, SessionState::LoggedIn(admin())]);
}

#[test]
fn a_login_is_stored_and_a_refused_one_is_reported_to_its_caller() {
    let mut other = Other::start(None);
    let early = other.login();
    other.connect();
    let sent = other.take("login");
    other.answer(sent.id, Err(refused("session.wrongUsernamePassword")));
    assert_eq!(other.settled[&early], Err(refused("session.wrongUsernamePassword")));
    let token = other.login();
    let sent = other.take("login");
    other.user(Some(&admin()));
    other.answer(sent.id, Ok(answer("k1", 1)));
    assert_eq!(other.settled[&token], Ok(()));
    assert_eq!(other.manager.state(), SessionState::LoggedIn(admin()));
    assert_eq!(other.stored(), Some(json!({"key": "k1", "generation": 1})));
}

#[test]
fn across_a_disconnect_the_user_is_still_shown_and_a_lost_use_is_repeated() {
    let mut other = Other::resumed();
    other.input(Input::Disconnected);
    assert_eq!(other.manager.state(), SessionState::Reconnecting(admin()));
    other.connect();
    let first = other.take("relogin");
    // The other client need not say that a connection was lost before it has another one.
    other.connect();
    let again = other.take("relogin");
    assert_eq!((first.params, other.ready), (again.params, 1));
    other.answer(first.id, Ok(answer("stale", 9)));
    other.answer(again.id, Ok(answer("k3", 3)));
    other.user(Some(&admin()));
    assert_eq!((other.ready, other.manager.state()), (2, SessionState::LoggedIn(admin())));
    assert_eq!(other.stored().unwrap()["key"], "k3");
}

#[test]
fn a_service_that_never_answers_holds_up_nothing_and_the_key_stays() {
    let mut other = Other::start(Some(KEY));
    other.connect();
    let first = other.take("relogin");
    other.pass(ms(10_400));
    assert_eq!(other.ready, 1);
    let again = other.take("relogin");
    assert_eq!(first.params, again.params);
    other.answer(again.id, Err(RequestError::ConnectionLost));
    assert_eq!((other.manager.state(), other.stored().unwrap()["key"].as_str()), (SessionState::Resuming, Some("k1")));
}

#[test]
fn a_refused_key_is_forgotten() {
    let mut other = Other::start(Some(KEY));
    other.connect();
    let sent = other.take("relogin");
    other.answer(sent.id, Err(refused("session.invalidReloginKey")));
    assert_eq!((other.stored(), other.ready), (None, 1));
    assert!(matches!(other.manager.state(), SessionState::Ended(_)));
}

#[test]
fn the_key_is_refreshed_in_time_and_not_without_a_network() {
    let mut other = Other::resumed();
    other.input(PlatformEvent::Offline);
    other.pass(s(80));
    assert_eq!(other.sent.len(), 0);
    other.input(PlatformEvent::Online);
    other.pass(ms(1));
    let sent = other.take("relogin");
    assert_eq!(sent.params["reloginKey"], "k2");
}

#[test]
fn a_sibling_that_was_faster_is_followed() {
    let mut other = Other::resumed();
    other.profile.borrow_mut().write(9, Some(r#"{"key":"k3","generation":3}"#));
    other.input(Input::Rotated(3));
    other.browse();
    assert_eq!(other.sent.len(), 0, "storage has it");
    other.input(Input::Rotated(4));
    other.browse();
    assert_eq!(other.take("relogin").params["reloginKey"], "k3", "somebody else made it");
}

#[test]
fn a_logout_names_its_session_and_shows_at_once() {
    let mut other = Other::resumed();
    let token = other.command(SessionCommand::Logout);
    assert_eq!((other.stored(), other.manager.state()), (None, SessionState::Ended(EndReason::LoggedOut)));
    let sent = other.take("logout");
    other.answer(sent.id, Ok(Json::Null));
    other.user(None);
    assert_eq!(other.settled[&token], Ok(()));
    // The key named no session, so copies of that logout would end any: the next login gets a
    // connection of its own.
    other.login();
    assert_eq!((other.replaced, other.sent.len()), (1, 0));
    other.connect();
    other.take("login");
}

#[test]
fn once_stopped_it_settles_what_waits_and_asks_for_nothing_more() {
    let mut other = Other::resumed();
    let token = other.login();
    other.input(Input::Stop);
    assert!(other.settled.contains_key(&token));
    assert_eq!(other.manager.poll_timeout(), None);
}

/// Tabs with other RES clients, the service with the real rules, and connections that break at any
/// point: nobody honest is logged out, and no key is taken for a stolen one.
#[test]
fn whatever_breaks_nobody_is_logged_out() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut service = Service::new(seed);
        let profile = Browser::profile();
        profile.borrow_mut().can_keep_keys = seed % 2 == 0;
        let mut tabs = [0, 1].map(|number| Other::start_in(&profile, number));
        let mut cids = [0, 0];
        tabs[0].login();
        let mut drops = 0;
        // The login goes well, and so does a while after the troubles.
        for step in 0..160 {
            // (A bearer's tab whose use a sibling has repeated gets back in a moment later.)
            if step >= 120 && tabs.iter().all(|tab| tab.manager.state() == SessionState::LoggedIn(admin())) {
                break;
            }
            let calm = !(3..60).contains(&step);
            for number in 0..2 {
                if step == 0 || (!calm && rng.chance(20)) {
                    cids[number] += 1;
                    tabs[number].connect();
                    drops += 1;
                }
                let cid = |number: usize| ConnectionId::parse(&format!("c{number}n{}", cids[number])).unwrap();
                while !tabs[number].sent.is_empty() {
                    let sent = tabs[number].sent.remove(0);
                    if !calm && rng.chance(15) {
                        continue;
                    }
                    let now = 1_700_000_000_000 + tabs[number].now.as_millis() as u64;
                    let method = sent.method.as_str();
                    let token = service.session(&cid(number)).map(|sid| relogin_session::Token {
                        sid,
                        user_id: admin().id,
                        role: admin().role,
                    });
                    let (effects, reply) = service.auth(&cid(number), method, &sent.params, token.as_ref(), now);
                    for effect in effects {
                        if let Effect::Rotated(connection, generation) = &effect {
                            let whose = (0..2).find(|other| *connection == cid(*other));
                            if let Some(other) = whose {
                                tabs[other].input(Input::Rotated(*generation));
                            }
                        }
                    }
                    if calm || !rng.chance(15) {
                        let result = reply.map_err(|denied| refused(denied.code()));
                        tabs[number].answer(sent.id, result);
                    }
                }
                for (number, tab) in tabs.iter_mut().enumerate() {
                    let replaced = std::mem::take(&mut tab.replaced);
                    if replaced > 0 {
                        cids[number] += 1;
                        tab.connect();
                    }
                    let cid = ConnectionId::parse(&format!("c{number}n{}", cids[number])).unwrap();
                    tab.user(service.user(&cid).as_ref());
                }
                let wait = ms(rng.range(1, 4000));
                for tab in &mut tabs {
                    tab.pass(wait);
                }
            }
        }
        for tab in &tabs {
            let (state, outcomes) = (tab.manager.state(), &service.outcomes);
            assert_eq!(state, SessionState::LoggedIn(admin()), "seed {seed}, {drops} connections: {outcomes:?}");
        }
        assert_eq!(service.count(Outcome::ReuseDetected), 0, "seed {seed}");
    }
}
