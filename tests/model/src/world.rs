//! The state of a world, and how each step changes it.

mod browser;
mod steps;
mod view;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use relogin_client_proto::{
    Closing, Command, Input, LockId, PlatformEvent, Secret, SessionCommand, SessionState, Token as CommandToken,
};
use relogin_session::{Attempt, ConnectionId, Outcome, SessionId};

use crate::{
    budget::{Budget, Config},
    gateway::{Connection, Gateway},
    places::Places,
    service::{Ask, Fate, Report, Request, Service},
    tab::{LOGIN, Tab},
    thief::{Thief, Use},
};

/// The whole world at one moment.
#[derive(Clone)]
pub struct State {
    /// The browser's tabs.
    pub tabs: Vec<Arc<Tab>>,
    /// What storage has.
    pub storage: Option<String>,
    /// Where it is two places, both of them.
    pub places: Option<Places>,
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
    /// A tab is notified that storage has changed.
    Hint(usize),
    /// A frame of a lane reaches a tab.
    Deliver(usize, usize),
    /// A tab's timer fires.
    Timer(usize),
    /// A tab loses its connection.
    Drop(usize),
    /// A tab is reloaded.
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
    /// localStorage is cleared.
    LoseLocal,
    /// The database is deleted.
    LoseLog,
    /// localStorage goes back by one write.
    Revert,
    /// The database stops answering, or begins to.
    Silence(bool),
    /// The thief uses what it has.
    Use(Use, Fate),
}

impl State {
    /// The browser is logged in, in all tabs, and nothing is on its way.
    pub(crate) fn logged_in(config: &Config) -> Self {
        let many = config.budget.logins > 0;
        let mut state = Self {
            tabs: (0..config.tabs).map(|number| Arc::new(Tab::new(number, many))).collect(),
            storage: None,
            places: config.places.then(Places::default),
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
            && self.tabs.iter().all(|tab| !tab.is_waiting() && !tab.hint && tab.news.is_empty())
    }

    pub(crate) fn happen(&mut self, step: Step, config: &Config) {
        match step {
            Step::Storage(tab) => {
                if let Some(action) = self.tab(tab).waiting.take() {
                    self.storage_answers(tab, action, config);
                    self.work(tab, false, config);
                } else if self.operate(tab, config) {
                    self.work(tab, false, config);
                }
            }
            Step::Hint(tab) => {
                self.tab(tab).hint = false;
                self.input(tab, PlatformEvent::StorageChanged, config);
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
                    self.input(tab, PlatformEvent::Timer, config);
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
                    self.input(tab, Input::SocketClosed(socket, Closing::default()), config);
                }
            }
            Step::Reload(tab) => {
                self.budget.reloads -= 1;
                // It had not taken effect yet.
                if self.left == Left::Out && self.is_logged_in(tab) {
                    self.left = Left::Back;
                }
                self.hang_up(tab);
                self.unlock(tab, None);
                *self.tab(tab) = self.tabs[tab].reloaded();
                self.input(tab, Input::Start, config);
            }
            Step::Logout(tab) => {
                self.budget.logouts -= 1;
                self.left = Left::Out;
                self.input(tab, Input::Command(CommandToken(8), Command::Session(SessionCommand::Logout)), config);
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
            Step::LoseLocal | Step::LoseLog | Step::Revert | Step::Silence(_) => self.happen_to_places(step),
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
        let (username, password) = ("jane".to_owned(), Secret::new("sesame".to_owned()));
        let command = Command::Session(SessionCommand::Login { username, password });
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
        // On the connection that made the newest generation, using its predecessor once more is no
        // second use.
        let is_own = before.as_ref().is_some_and(|record| record.made_by.connection == request.cid);
        let report = self.service.serve(request, fate, &mut self.gateway, config.mutant);
        if request.cid == Thief::cid() {
            let answer = report.reply.as_ref().and_then(|reply| reply.as_ref().ok()).and_then(Option::as_ref);
            self.thief.take_answer(answer);
        }
        // What a crash has cut off before it was written, was not done.
        let is_done =
            !report.crashed || before.is_some_and(|before| self.service.records.get(&before.sid) != Some(&before));
        if is_done && !(is_own && report.outcome == Outcome::Retried) {
            self.note(request, &report, config);
        }
    }

    /// What a request came to, where that matters later.
    fn note(&mut self, request: &Request, report: &Report, config: &Config) {
        // A key that the service did not take for one, or that came too late for anything, was not
        // used.
        let is_use = !matches!(report.outcome, Outcome::Refused | Outcome::StaleRetry | Outcome::ProofMissing);
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

    /// Makes the numbers of tabs afresh, where something has happened.
    pub(crate) fn seal(&mut self) {
        for tab in self.tabs.iter_mut().filter(|tab| tab.is_changed) {
            Arc::make_mut(tab).seal();
        }
    }

    /// Lets all that is under way arrive, and nothing go wrong. `frozen` tabs do nothing.
    pub(crate) fn drain(&mut self, config: &Config, frozen: Option<usize>) {
        self.settle(config);
        for _ in 0..1000 {
            let Some(step) = self.under_way(frozen) else { return };
            self.happen(step, config);
        }
        panic!("what is under way never comes to its end: {self:#?}");
    }
}
