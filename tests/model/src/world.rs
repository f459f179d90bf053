//! All there is, and what can happen next.

use std::{
    collections::{BTreeSet, hash_map::DefaultHasher},
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use relogin_client::{Command, Input, LockId, Secret, SessionState, Token as CommandToken};
use relogin_res::client::{Method, Request as Frame, encode_result};
use relogin_session::{
    Attempt, ConnectionId, Outcome, SessionId,
    api::{Challenge, LoginParams, LogoutParams, PublicKey, ReloginParams, proof_message},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use stateright::{Model, Property};

use crate::{
    budget::{Budget, Config},
    canon::DAWN,
    gateway::{ANSWERS, Connection, Gateway, USER},
    mutant::Mutant,
    properties,
    service::{Ask, Fate, Report, Request, Service},
    tab::{Deed, LOGIN, News, StorageAction, Tab, short},
    thief::{Thief, Use},
};

/// A world to be checked.
#[derive(Clone, Debug)]
pub struct World(pub Config);

/// All there is at one moment.
#[derive(Clone)]
pub struct State {
    /// The browser's tabs.
    pub tabs: Vec<Arc<Tab>>,
    /// What storage has.
    pub storage: Option<String>,
    locks: Locks,
    /// The service.
    pub service: Service,
    /// The gateway.
    pub gateway: Gateway,
    /// Requests on their way to the service, in any order.
    pub up: Vec<Request>,
    /// The thief.
    pub thief: Thief,
    /// What may still go wrong.
    pub budget: Budget,
    /// What has been used, as the service has seen it; kept where there is a thief.
    pub uses: Uses,
    /// Whether the user has logged out at some time, and not logged in since.
    pub left: Left,
}

/// Uses of keys: session, generation, attempt.
type Used = BTreeSet<(SessionId, u64, Option<Attempt>)>;

/// Who has used what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// The browser.
    pub owner: Used,
    /// The thief.
    pub thief: Used,
}

/// What the user has done about being logged in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Left {
    /// Nothing.
    #[default]
    Never,
    /// Logged out.
    Out,
    /// Logged out, and asked to be logged in again.
    Back,
}

/// The storage lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Locks {
    holder: Option<(usize, LockId)>,
    queue: Vec<(usize, LockId)>,
}

/// Something that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Storage answers a tab.
    Storage(usize),
    /// A tab hears that storage has changed.
    Hint(usize),
    /// A frame of a lane reaches a tab.
    Deliver(usize, usize),
    /// A tab's timer fires.
    Timer(usize),
    /// A tab loses its connection.
    Drop(usize),
    /// A tab is loaded anew.
    Reload(usize),
    /// The user logs out in a tab.
    Logout(usize),
    /// The user logs in in a tab.
    Login(usize),
    /// A request reaches the service.
    Serve(usize, Fate),
    /// A request is lost.
    Lose(usize),
    /// The thief reads storage.
    Copy,
    /// The thief uses what it has.
    Use(Use, Fate),
}

impl Model for World {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::logged_in(&self.0)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        state.possible(&self.0, actions);
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut next = last.clone();
        next.happen(step, &self.0);
        next.seal();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }

    fn format_action(&self, step: &Step) -> String {
        format!("{step:?}")
    }
}

impl State {
    /// The browser is logged in, in all tabs, and nothing is on its way.
    fn logged_in(config: &Config) -> Self {
        let many = config.budget.logins > 0;
        let mut state = Self {
            tabs: (0..config.tabs).map(|number| Arc::new(Tab::new(number, many))).collect(),
            storage: None,
            locks: Locks::default(),
            service: Service::default(),
            gateway: Gateway::default(),
            up: Vec::new(),
            thief: Thief::default(),
            budget: config.budget,
            uses: Uses::default(),
            left: Left::Never,
        };
        // Nothing is broken until then.
        let sound = Config { mutant: None, ..config.clone() };
        state.input(0, Input::Start, &sound);
        state.drain(&sound, None);
        state.login(0, &sound);
        state.drain(&sound, None);
        for tab in 1..config.tabs {
            state.input(tab, Input::Start, &sound);
            state.drain(&sound, None);
        }
        assert!((0..config.tabs).all(|tab| state.is_logged_in(tab)), "{state:#?}");
        state.uses = Uses::default();
        for tab in 0..config.tabs {
            state.tab(tab).is_login_confirmed = false;
            // Nothing is left to be tidied up.
            let rest = state.tabs[tab].now + Duration::from_secs(30);
            while state.tabs[tab].client.poll_timeout().is_some_and(|due| due < rest) {
                state.happen(Step::Timer(tab), config);
            }
        }
        assert!(state.is_quiet(), "{state:#?}");
        state.budget = config.budget;
        state.seal();
        state
    }

    /// Whether the page of a tab shows its user.
    #[must_use]
    pub fn is_logged_in(&self, tab: usize) -> bool {
        matches!(self.tabs[tab].client.session(), SessionState::LoggedIn(_))
    }

    /// Nothing is under way but timers.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.up.is_empty()
            && self.gateway.is_silent()
            && self.tabs.iter().all(|tab| tab.waiting.is_none() && !tab.hint && tab.news.is_empty())
    }

    fn possible(&self, config: &Config, steps: &mut Vec<Step>) {
        let budget = &self.budget;
        for (number, tab) in self.tabs.iter().enumerate() {
            if tab.waiting.is_some() {
                steps.push(Step::Storage(number));
                continue;
            }
            if tab.hint {
                steps.push(Step::Hint(number));
            }
            for lane in [ANSWERS, USER] {
                if self.connection(number).is_some_and(|connection| !connection.lanes[lane].is_empty()) {
                    steps.push(Step::Deliver(number, lane));
                }
            }
            if budget.timers > 0 && tab.client.poll_timeout().is_some() {
                steps.push(Step::Timer(number));
            }
            if budget.drops > 0 && tab.socket.is_some() {
                steps.push(Step::Drop(number));
            }
            if budget.reloads > 0 {
                steps.push(Step::Reload(number));
            }
            if budget.logouts > 0 && self.is_logged_in(number) {
                steps.push(Step::Logout(number));
            }
            if budget.logins > 0 && matches!(tab.client.session(), SessionState::Ended(_)) {
                steps.push(Step::Login(number));
            }
        }
        for (at, request) in self.up.iter().enumerate() {
            if at > 0 && self.up[at - 1] == *request {
                continue;
            }
            steps.push(Step::Serve(at, Fate::Whole));
            if budget.doubled > 0 {
                steps.push(Step::Serve(at, Fate::Doubled));
            }
            if budget.mute > 0 && self.gateway.0.contains_key(&request.cid) {
                steps.push(Step::Serve(at, Fate::Mute));
            }
            if budget.crashes > 0 {
                let count = self.service.steps(request, config.mutant);
                steps.extend((1..count).map(|upto| Step::Serve(at, Fate::Crash(upto))));
            }
            if budget.lost > 0 {
                steps.push(Step::Lose(at));
            }
        }
        if budget.copies > 0 && self.storage.is_some() {
            steps.push(Step::Copy);
        }
        if budget.uses > 0 && self.thief.loot.is_some() {
            for how in Use::ALL {
                let Some(request) = self.thieves_request(how).1 else { continue };
                steps.push(Step::Use(how, Fate::Whole));
                if budget.crashes > 0 {
                    let count = self.service.steps(&request, config.mutant);
                    steps.extend((1..count).map(|upto| Step::Use(how, Fate::Crash(upto))));
                }
            }
        }
    }

    pub(crate) fn happen(&mut self, step: Step, config: &Config) {
        match step {
            Step::Storage(tab) => {
                if let Some(action) = self.tab(tab).waiting.take() {
                    self.storage_answers(tab, action, config);
                    self.work(tab, false, config);
                }
            }
            Step::Hint(tab) => {
                self.tab(tab).hint = false;
                self.input(tab, Input::StorageChanged, config);
            }
            Step::Deliver(tab, lane) => {
                if let Some(frame) = self.connection_mut(tab).and_then(|connection| connection.lanes[lane].pop_front())
                {
                    self.frame(tab, frame, config);
                }
            }
            Step::Timer(tab) => {
                if let Some(due) = self.tabs[tab].client.poll_timeout() {
                    let ringing = self.tab(tab);
                    ringing.now = ringing.now.max(due);
                    let deeds = ringing.deeds;
                    self.input(tab, Input::Timer, config);
                    // Tidying up is free.
                    if self.tabs[tab].deeds != deeds {
                        self.budget.timers = self.budget.timers.saturating_sub(1);
                    }
                }
            }
            Step::Drop(tab) => {
                self.budget.drops -= 1;
                self.hang_up(tab);
                if let Some((socket, _)) = self.tab(tab).socket.take() {
                    self.input(tab, Input::SocketClosed(socket), config);
                }
            }
            Step::Reload(tab) => {
                self.budget.reloads -= 1;
                self.hang_up(tab);
                self.unlock(tab, None);
                *self.tab(tab) = self.tabs[tab].reloaded();
                self.input(tab, Input::Start, config);
            }
            Step::Logout(tab) => {
                self.budget.logouts -= 1;
                self.left = Left::Out;
                self.input(tab, Input::Command(CommandToken(8), Command::Logout), config);
            }
            Step::Login(tab) => {
                self.budget.logins -= 1;
                self.left = Left::Back;
                self.login(tab, config);
            }
            Step::Serve(at, fate) => {
                let request = match fate {
                    Fate::Doubled => self.up[at].clone(),
                    _ => self.up.remove(at),
                };
                self.pay(fate);
                self.serve(&request, fate, config);
            }
            Step::Lose(at) => {
                self.budget.lost -= 1;
                self.up.remove(at);
            }
            Step::Copy => {
                self.budget.copies -= 1;
                self.thief.loot = self.storage.as_deref().and_then(Thief::copies);
            }
            Step::Use(how, fate) => {
                self.budget.uses -= 1;
                self.pay(fate);
                let (thief, request) = self.thieves_request(how);
                self.thief = thief;
                if let Some(request) = request {
                    self.gateway.0.entry(Thief::cid()).or_default();
                    self.serve(&request, fate, config);
                }
            }
        }
        self.settle(config);
    }

    fn pay(&mut self, fate: Fate) {
        match fate {
            Fate::Whole => {}
            Fate::Doubled => self.budget.doubled -= 1,
            Fate::Mute => self.budget.mute -= 1,
            Fate::Crash(_) => self.budget.crashes -= 1,
        }
    }

    fn login(&mut self, tab: usize, config: &Config) {
        let command = Command::Login { username: "jane".to_owned(), password: Secret::new("sesame".to_owned()) };
        self.input(tab, Input::Command(LOGIN, command), config);
    }

    /// The thief after it has drawn what it uses, and the request.
    fn thieves_request(&self, how: Use) -> (Thief, Option<Request>) {
        let mut thief = self.thief.clone();
        let cid = Thief::cid();
        let token = self.gateway.0.get(&cid).and_then(|connection| connection.token.clone());
        let drawn = thief.draw(how);
        let request = drawn.map(|(key, attempt)| {
            let id = u64::from(thief.draws);
            Request { cid, id, token, ask: Ask::Relogin { key, attempt, proven: false } }
        });
        (thief, request)
    }

    fn serve(&mut self, request: &Request, fate: Fate, config: &Config) {
        let before = match &request.ask {
            Ask::Relogin { key, .. } => key.parse().and_then(|key| self.service.records.get(&key.sid)).cloned(),
            _ => None,
        };
        // On the connection that made the newest generation, using its predecessor once more is no second use.
        let is_own = before.as_ref().is_some_and(|record| record.made_by.connection == request.cid);
        let report = self.service.serve(request, fate, &mut self.gateway, config.mutant);
        if request.cid == Thief::cid() {
            let answer = report.reply.as_ref().and_then(|reply| reply.as_ref().ok()).and_then(Option::as_ref);
            self.thief.hears(answer);
        }
        // What a crash has cut off before it was written, was not done.
        let is_done =
            !report.crashed || before.is_some_and(|before| self.service.records.get(&before.sid) != Some(&before));
        if is_done && !(is_own && report.outcome == Outcome::Replayed) {
            self.note(request, &report, config);
        }
    }

    /// What a request came to, where that matters later.
    fn note(&mut self, request: &Request, report: &Report, config: &Config) {
        // A key that the service did not take for one, or that came too late for anything, was not used.
        let is_use = !matches!(report.outcome, Outcome::Refused | Outcome::Late | Outcome::ProofMissing);
        if let Ask::Relogin { key, attempt, .. } = &request.ask
            && config.budget.copies > 0
            && is_use
            && let Some(key) = key.parse()
        {
            let side = if request.cid == Thief::cid() { &mut self.uses.thief } else { &mut self.uses.owner };
            side.insert((key.sid, key.generation, *attempt));
        }
    }

    fn tab(&mut self, tab: usize) -> &mut Tab {
        let tab = Arc::make_mut(&mut self.tabs[tab]);
        tab.is_changed = true;
        tab
    }

    pub(crate) fn cid(&self, tab: usize) -> Option<ConnectionId> {
        ConnectionId::parse(&self.tabs[tab].cid()?)
    }

    pub(crate) fn connection(&self, tab: usize) -> Option<&Connection> {
        self.gateway.0.get(&self.cid(tab)?)
    }

    fn connection_mut(&mut self, tab: usize) -> Option<&mut Connection> {
        let cid = self.cid(tab)?;
        self.gateway.0.get_mut(&cid)
    }

    fn hang_up(&mut self, tab: usize) {
        if let Some(cid) = self.cid(tab) {
            self.gateway.0.remove(&cid);
        }
    }

    fn frame(&mut self, tab: usize, frame: String, config: &Config) {
        if let Some((socket, _)) = self.tabs[tab].socket {
            if config.mutant == Some(Mutant::NoSecondLook) && frame.contains("invalidReloginKey") {
                self.storage = None;
                self.hint_others(tab);
            }
            self.input(tab, Input::Frame(socket, Secret::new(frame)), config);
        }
    }

    /// Hands an input to a tab, and does what it does.
    fn input(&mut self, tab: usize, input: Input, config: &Config) {
        self.tab(tab).take(input);
        self.work(tab, true, config);
    }

    /// Does what a tab does, until it waits at storage. Where it would wait before it has looked there (`is_fresh`), it need
    /// not: that is as if what it has just heard had come later. Nor where it only looks: the others can come in between
    /// before it writes.
    fn work(&mut self, tab: usize, mut is_fresh: bool, config: &Config) {
        while let Some(deed) = self.tab(tab).deed() {
            match deed {
                Deed::Storage(StorageAction::Swap(from, to)) if from != to && !is_fresh => {
                    self.tab(tab).waiting = Some(StorageAction::Swap(from, to));
                    return;
                }
                Deed::Storage(action) => {
                    self.storage_answers(tab, action, config);
                    is_fresh = false;
                }
                Deed::Send(frame) => self.send(tab, &frame, config),
                Deed::Close => {
                    self.hang_up(tab);
                    self.tab(tab).socket = None;
                }
                Deed::Lock(id, steal) => self.lock(tab, id, steal, config),
                Deed::Unlock(id) => self.unlock(tab, Some(id)),
                Deed::MakeDevice => {
                    let public_key = || PublicKey {
                        kty: "OKP".to_owned(),
                        crv: "Ed25519".to_owned(),
                        x: "device".to_owned(),
                        y: None,
                    };
                    self.tab(tab).take(Input::Device(config.bound.then(public_key)));
                }
                Deed::Sign(message) => {
                    let signature = config.bound.then(|| signature(message.as_bytes()));
                    self.tab(tab).take(Input::Signed(signature));
                }
            }
        }
    }

    /// Lets everything happen that takes no time.
    fn settle(&mut self, config: &Config) {
        loop {
            let ready = |tab: &&Arc<Tab>| tab.waiting.is_none() && (tab.wanted.is_some() || !tab.news.is_empty());
            let Some(tab) = self.tabs.iter().find(ready).map(|tab| tab.number) else { break };
            if let Some(news) = self.tab(tab).news.pop_front() {
                match news {
                    News::Granted(id) => self.input(tab, Input::LockGranted(id), config),
                    News::Refused(id) => self.input(tab, Input::LockRefused(id), config),
                    News::Frame(frame) => self.frame(tab, frame, config),
                }
            } else {
                let Some(socket) = self.tabs[tab].wanted else { continue };
                self.tab(tab).open();
                if let Some(cid) = self.cid(tab) {
                    self.gateway.0.insert(cid, Connection { tab: Some(tab), ..Connection::default() });
                }
                self.input(tab, Input::SocketOpened(socket), config);
            }
        }
        self.up.sort_by(|a, b| (a.cid.as_str(), a.id).cmp(&(b.cid.as_str(), b.id)));
    }

    /// Makes the numbers of tabs afresh, where something has happened.
    fn seal(&mut self) {
        for tab in self.tabs.iter_mut().filter(|tab| tab.is_changed) {
            Arc::make_mut(tab).seal();
        }
    }

    fn send(&mut self, tab: usize, frame: &Frame, config: &Config) {
        let (Some(cid), id) = (self.cid(tab), frame.id) else { return };
        let at_once = |result: &serde_json::Value| News::Frame(encode_result(id, Some(result)));
        let ask = match &frame.method {
            Method::Version => {
                let news = at_once(&json!({"protocol": "1.2.3"}));
                return self.tab(tab).news.push_back(news);
            }
            Method::Subscribe(_) => {
                let user = self.service.user_on(&cid);
                return self.gateway.subscribed(&cid, id, user);
            }
            Method::Auth(_, method) => match method.as_str() {
                "challenge" => {
                    let challenge = Challenge { challenge: format!("for {}", cid.as_str()), expires_in: 60_000 };
                    let news = at_once(&json!({ "payload": challenge }));
                    return self.tab(tab).news.push_back(news);
                }
                "relogin" => {
                    let params: ReloginParams = params(frame);
                    let proven = params.proof.as_ref().is_some_and(|proof| {
                        let message = proof_message(&proof.challenge, &params.relogin_key);
                        proof.challenge == format!("for {}", cid.as_str()) && proof.signature == signature(&message)
                    });
                    let mut attempt = params.attempt;
                    if config.mutant == Some(Mutant::AttemptDrawnAnew) {
                        let mut bits = [0xee; 16];
                        bits[..8].copy_from_slice(&id.to_be_bytes());
                        attempt = Some(Attempt(bits));
                    }
                    Ask::Relogin { key: params.relogin_key, attempt, proven }
                }
                "login" => {
                    let params: LoginParams = params(frame);
                    Ask::Login { attempt: params.attempt, bound: params.device.is_some() }
                }
                "logout" => Ask::Logout { sid: params::<LogoutParams>(frame).sid },
                method => panic!("{method} is not modelled"),
            },
            method => panic!("{method} is not modelled"),
        };
        let token = self.gateway.0.get(&cid).and_then(|connection| connection.token.clone());
        self.up.push(Request { cid, id, token, ask });
    }

    fn storage_answers(&mut self, tab: usize, action: StorageAction, config: &Config) {
        let answer = match action {
            StorageAction::Read => self.storage.clone(),
            StorageAction::Swap(from, to) => self.swap(tab, from.as_ref(), to.as_ref(), config),
        };
        self.tab(tab).take(Input::StorageRead(answer.map(Secret::new)));
    }

    /// A swap, and what the tab is told that storage has.
    fn swap(&mut self, tab: usize, from: Option<&String>, to: Option<&String>, config: &Config) -> Option<String> {
        let has_attempt = |text: Option<&String>| text.is_some_and(|text| text.contains("\"attempt\""));
        let is_claim = from != to && has_attempt(to);
        let is_successor = has_attempt(from) && to.is_some() && !has_attempt(to);
        match config.mutant {
            // The tab believes that it did.
            Some(Mutant::AttemptNotWritten) if is_claim => return to.cloned(),
            Some(Mutant::SuccessorNotWritten) if is_successor => return to.cloned(),
            // Whatever is there.
            Some(Mutant::SuccessorOverAnything) if is_successor => self.write(tab, to.cloned()),
            _ if self.storage.as_ref() == from && from != to => self.write(tab, to.cloned()),
            _ => {}
        }
        self.storage.clone()
    }

    fn write(&mut self, tab: usize, to: Option<String>) {
        self.storage = to;
        self.hint_others(tab);
    }

    fn hint_others(&mut self, tab: usize) {
        for other in (0..self.tabs.len()).filter(|other| *other != tab) {
            self.tab(other).hint = true;
        }
    }

    fn lock(&mut self, tab: usize, id: LockId, steal: bool, config: &Config) {
        if !config.locks {
            self.tab(tab).news.push_back(News::Refused(id));
        } else if steal {
            if let Some((robbed, id)) = self.locks.holder.take() {
                self.tab(robbed).news.push_back(News::Refused(id));
            }
            self.grant(tab, id);
        } else {
            self.locks.queue.push((tab, id));
            self.grant_next();
        }
    }

    fn unlock(&mut self, tab: usize, id: Option<LockId>) {
        let is_it = |(holder, held): (usize, LockId)| holder == tab && id.is_none_or(|id| id == held);
        self.locks.queue.retain(|waiting| !is_it(*waiting));
        self.locks.holder = self.locks.holder.filter(|holder| !is_it(*holder));
        self.grant_next();
    }

    fn grant_next(&mut self) {
        if self.locks.holder.is_none() && !self.locks.queue.is_empty() {
            let (tab, id) = self.locks.queue.remove(0);
            self.grant(tab, id);
        }
    }

    fn grant(&mut self, tab: usize, id: LockId) {
        self.locks.holder = Some((tab, id));
        self.tab(tab).news.push_back(News::Granted(id));
    }

    /// Lets all that is under way arrive, and nothing go wrong. Of `frozen` tabs nothing is heard.
    pub(crate) fn drain(&mut self, config: &Config, frozen: Option<usize>) {
        self.settle(config);
        for _ in 0..1000 {
            let Some(step) = self.under_way(frozen) else { return };
            self.happen(step, config);
        }
        panic!("what is under way never comes to its end: {self:#?}");
    }
}

impl State {
    /// Something that is under way already.
    fn under_way(&self, frozen: Option<usize>) -> Option<Step> {
        for tab in self.tabs.iter().filter(|tab| Some(tab.number) != frozen) {
            let number = tab.number;
            if tab.waiting.is_some() {
                return Some(Step::Storage(number));
            }
            if tab.hint {
                return Some(Step::Hint(number));
            }
            let lanes = self.connection(number).map(|connection| &connection.lanes);
            let filled = |lane: &usize| lanes.is_some_and(|lanes| !lanes[*lane].is_empty());
            if let Some(lane) = [ANSWERS, USER].into_iter().find(filled) {
                return Some(Step::Deliver(number, lane));
            }
        }
        (!self.up.is_empty()).then_some(Step::Serve(0, Fate::Whole))
    }
}

fn params<T: DeserializeOwned>(frame: &Frame) -> T {
    let text = frame.params.as_ref().map_or("{}", |params| params.get());
    serde_json::from_str(text).expect("the client writes what the service reads")
}

/// What stands for a signature.
fn signature(message: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(message);
    format!("signed {:016x}", hasher.finish())
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for tab in &self.tabs {
            tab.canon.hash(hasher);
        }
        (&self.storage, &self.locks, &self.budget, self.left, self.service.made).hash(hasher);
        for record in self.service.records.values() {
            record.encode().expect("records can be written").hash(hasher);
        }
        for (cid, Connection { tab, token, model, lanes }) in &self.gateway.0 {
            (cid.as_str(), tab, token.as_ref().map(|token| token.sid), model.as_ref().map(Option::is_some), lanes)
                .hash(hasher);
        }
        for Request { cid, id, token, ask } in &self.up {
            (cid.as_str(), id, token.as_ref().map(|token| token.sid)).hash(hasher);
            match ask {
                Ask::Relogin { key, attempt, proven } => (0, key.expose(), attempt, proven).hash(hasher),
                Ask::Login { attempt, bound } => (1, attempt, bound).hash(hasher),
                Ask::Logout { sid } => (2, sid).hash(hasher),
            }
        }
        let Thief { loot, given, draws, has_acted } = &self.thief;
        (
            loot.as_ref().map(|loot| (loot.key.expose(), loot.attempt)),
            given.as_ref().map(|key| key.expose().to_owned()),
        )
            .hash(hasher);
        (draws, has_acted, &self.uses.owner, &self.uses.thief).hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let number = |state: &Self| {
            let mut hasher = DefaultHasher::new();
            state.hash(&mut hasher);
            hasher.finish()
        };
        number(self) == number(other)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records: Vec<_> = self
            .service
            .records
            .values()
            .map(|record| {
                let connections: Vec<_> = record.connections.iter().map(ConnectionId::as_str).collect();
                format!("generation {} made by {:?} on {connections:?}", record.generation, record.made_by)
            })
            .collect();
        let connections: Vec<_> = self
            .gateway
            .0
            .iter()
            .map(|(cid, connection)| {
                let Connection { tab: _, token, model, lanes } = connection;
                format!(
                    "{}: token {}, model {:?}, lanes {lanes:?}",
                    cid.as_str(),
                    token.is_some(),
                    model.as_ref().map(Option::is_some)
                )
            })
            .collect();
        f.debug_struct("State")
            .field("tabs", &self.tabs)
            .field("storage", &short(self.storage.as_deref()))
            .field("locks", &self.locks)
            .field("records", &records)
            .field("connections", &connections)
            .field("up", &self.up)
            .field("thief", &self.thief)
            .field("uses", &self.uses)
            .field("dawn", &DAWN)
            .finish_non_exhaustive()
    }
}
