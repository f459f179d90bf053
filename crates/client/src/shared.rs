//! The state that engine and handles share: the machine, the commands on their way to it, and who
//! waits for what. Nobody may be woken while it is locked.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use relogin_client_proto::{Answer, Client as Machine, Command, Event, Input, RequestError, ResourceChange, Token};
use relogin_res::{Map, ResourceId};

/// The result of a command.
pub(crate) type Outcome = Result<Answer, RequestError>;

/// How many events a stream may fall behind by; after that it has to read the resource again.
const MAX_EVENTS: usize = 1024;

/// The clock of [`Moment::now`](relogin_client_proto::Moment::now).
pub(crate) type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// Shared by all that belong to one client.
pub(crate) struct Shared {
    /// The session's resource, whose methods concern the session.
    pub(crate) session: ResourceId,
    state: Mutex<State>,
    clock: Clock,
}

/// The shared state itself.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) machine: Machine,
    /// Inputs from handles, for the engine.
    pub(crate) inputs: VecDeque<Input>,
    /// The engine, if it waits for the next input.
    pub(crate) engine: Option<Waker>,
    /// Whether the last client has been dropped, or stopped.
    pub(crate) abandoned: bool,
    /// Whether the engine has been dropped: no command will be settled any more.
    pub(crate) over: bool,
    slots: Map<Token, Box<Slot>>,
    next_token: u64,
    watches: Map<u64, Box<Watch>>,
    /// The watches of each resource.
    watched: Map<ResourceId, Vec<u64>>,
    next_watch: u64,
}

/// A command that was sent.
#[derive(Debug)]
enum Slot {
    Waiting(Option<Waker>),
    Settled(Outcome),
    /// Nobody waits for it any more. The subscription that it asked for has to be ended even if it
    /// was refused, because the machine would try again.
    Forgotten(Option<ResourceId>),
}

/// A stream that listens.
#[derive(Debug, Default)]
struct Watch {
    /// The resources that it watches, its own one first. Empty: it watches the client.
    rids: Vec<ResourceId>,
    /// Whether it wants each event, or only to know that there was a change.
    each: bool,
    news: VecDeque<Event>,
    changed: bool,
    deleted: bool,
    waker: Option<Waker>,
}

/// What a watch hands to its stream.
#[derive(Debug)]
pub(crate) enum News {
    Event(Event),
    Changed,
    Deleted,
    /// The client has ended.
    Over,
}

impl Shared {
    pub(crate) fn new(session: ResourceId, machine: Machine, clock: Clock) -> Arc<Self> {
        let state = Mutex::new(State {
            machine,
            inputs: VecDeque::new(),
            engine: None,
            abandoned: false,
            over: false,
            slots: Map::new(),
            next_token: 0,
            watches: Map::new(),
            watched: Map::new(),
            next_watch: 0,
        });
        Arc::new(Self { session, state, clock })
    }

    /// Locks the state. Ignores poisoning: a panic in a caller's `Deserialize` leaves nothing half
    /// done in here.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time until `due`.
    pub(crate) fn until(&self, due: Duration) -> Duration {
        due.saturating_sub((self.clock)())
    }

    /// Hands an input to the engine.
    pub(crate) fn send(&self, input: Input) {
        let mut state = self.lock();
        if state.over {
            return;
        }
        state.inputs.push_back(input);
        let waker = state.engine.take();
        drop(state);
        wake(waker);
    }

    /// Makes the engine stop: the last client was dropped, or stopped.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        let waker = state.engine.take();
        drop(state);
        wake(waker);
    }

    /// Hands a command to the engine whose outcome nobody waits for.
    pub(crate) fn send_command(&self, command: Command) {
        let token = self.lock().token();
        self.send(Input::Command(token, command));
    }

    /// Hands a command to the engine.
    pub(crate) fn command(&self, command: Command) -> Token {
        let mut state = self.lock();
        let token = state.token();
        let over = state.over;
        let slot = if over { Slot::Settled(Err(RequestError::ConnectionLost)) } else { Slot::Waiting(None) };
        state.slots.insert(token, Box::new(slot));
        drop(state);
        if !over {
            self.send(Input::Command(token, command));
        }
        token
    }
}

impl State {
    /// Takes the outcome of a command; while there is none, keeps `waker`.
    pub(crate) fn outcome(&mut self, token: Token, waker: &Waker) -> Option<Outcome> {
        match &mut **self.slots.get_mut(&token)? {
            Slot::Waiting(kept) => {
                *kept = Some(waker.clone());
                None
            }
            Slot::Settled(_) | Slot::Forgotten(_) => match *self.slots.remove(&token)? {
                Slot::Settled(outcome) => Some(outcome),
                Slot::Waiting(_) | Slot::Forgotten(_) => None,
            },
        }
    }

    /// Forgets a command, which subscribes to `subscribes`. Returns the resource to unsubscribe
    /// from.
    pub(crate) fn forget(&mut self, token: Token, subscribes: Option<ResourceId>) -> Option<ResourceId> {
        match *self.slots.remove(&token)? {
            Slot::Settled(outcome) => brought(outcome, subscribes),
            Slot::Waiting(_) | Slot::Forgotten(_) => {
                self.slots.insert(token, Box::new(Slot::Forgotten(subscribes)));
                self.inputs.push_back(Input::Forget(token));
                None
            }
        }
    }

    /// The machine has forgotten the command: it will not be settled.
    pub(crate) fn forgotten(&mut self, token: Token) {
        self.slots.remove(&token);
    }

    /// Stores the outcome of a command. Returns whom to wake.
    pub(crate) fn settle(&mut self, token: Token, outcome: Outcome) -> Option<Waker> {
        match &mut **self.slots.get_mut(&token)? {
            Slot::Waiting(waker) => {
                let waker = waker.take();
                self.slots.insert(token, Box::new(Slot::Settled(outcome)));
                waker
            }
            Slot::Settled(_) => None,
            Slot::Forgotten(subscribes) => {
                let subscribes = subscribes.take();
                self.slots.remove(&token);
                let rid = brought(outcome, subscribes)?;
                let token = self.token();
                self.inputs.push_back(Input::Command(token, Command::Unsubscribe(rid)));
                self.engine.take()
            }
        }
    }

    /// Begins to watch a resource, or the client if there is none.
    pub(crate) fn watch(&mut self, rid: Option<ResourceId>, each: bool) -> u64 {
        let id = self.next_watch;
        self.next_watch += 1;
        self.watches.insert(id, Box::new(Watch { each, ..Watch::default() }));
        self.look_at(id, rid.into_iter().collect());
        id
    }

    /// Makes the watch look at these resources from now on.
    pub(crate) fn look_at(&mut self, id: u64, rids: Vec<ResourceId>) {
        let Some(watch) = self.watches.get_mut(&id) else { return };
        if watch.rids == rids {
            return;
        }
        for rid in &rids {
            self.watched.or_insert_with(rid, Vec::new).push(id);
        }
        let before = std::mem::replace(&mut watch.rids, rids);
        self.look_away(id, &before);
    }

    /// Ends a watch.
    pub(crate) fn unwatch(&mut self, id: u64) {
        if let Some(watch) = self.watches.remove(&id) {
            self.look_away(id, &watch.rids);
        }
    }

    /// The next news of a watch; if there is none, keeps `waker`.
    pub(crate) fn news(&mut self, id: u64, waker: &Waker) -> Option<News> {
        let watch = self.watches.get_mut(&id)?;
        if let Some(event) = watch.news.pop_front() {
            return Some(News::Event(event));
        }
        if std::mem::take(&mut watch.deleted) {
            return Some(News::Deleted);
        }
        if std::mem::take(&mut watch.changed) {
            return Some(News::Changed);
        }
        if self.over {
            return Some(News::Over);
        }
        watch.waker = Some(waker.clone());
        None
    }

    /// Passes an event to the watches that want it. Adds to `wakers` whom to wake.
    pub(crate) fn dispatch(&mut self, event: &Event, wakers: &mut Vec<Waker>) {
        let rid = match event {
            Event::Changed(rid, _) | Event::Freshness(rid, _) | Event::Forgotten(rid) | Event::Custom { rid, .. } => {
                Some(rid)
            }
            _ => None,
        };
        let Some(rid) = rid else {
            for watch in self.watches.values_mut().filter(|watch| watch.rids.is_empty()) {
                watch.dispatch(event, wakers);
            }
            return;
        };
        for id in self.watched.get(rid).into_iter().flatten() {
            if let Some(watch) = self.watches.get_mut(id) {
                watch.dispatch(event, wakers);
            }
        }
    }

    /// The engine has been dropped: lets all that wait fail. Returns whom to wake.
    pub(crate) fn end(&mut self) -> Vec<Waker> {
        self.over = true;
        self.inputs.clear();
        let mut wakers: Vec<Waker> = self.watches.values_mut().filter_map(|watch| watch.waker.take()).collect();
        for slot in self.slots.values_mut() {
            if let Slot::Waiting(waker) = &mut **slot {
                wakers.extend(waker.take());
                **slot = Slot::Settled(Err(RequestError::ConnectionLost));
            }
        }
        wakers
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    fn look_away(&mut self, id: u64, rids: &[ResourceId]) {
        for rid in rids {
            if let Some(ids) = self.watched.get_mut(rid) {
                if let Some(at) = ids.iter().position(|found| *found == id) {
                    ids.remove(at);
                }
                if ids.is_empty() {
                    self.watched.remove(rid);
                }
            }
        }
    }
}

impl Watch {
    fn dispatch(&mut self, event: &Event, wakers: &mut Vec<Waker>) {
        if self.each {
            if self.news.len() >= MAX_EVENTS {
                self.news.clear();
                if let Some(rid) = self.rids.first() {
                    self.news.push_back(Event::Changed(rid.clone(), ResourceChange::Loaded));
                }
            }
            self.news.push_back(event.clone());
        } else if let Event::Changed(rid, change) = event {
            // The deletion of a resource that this one refers to changes no values.
            let deleted = *change == ResourceChange::Deleted;
            self.deleted |= deleted && self.rids.first() == Some(rid);
            self.changed |= !deleted;
            if deleted && self.rids.first() != Some(rid) {
                return;
            }
        } else {
            return;
        }
        wakers.extend(self.waker.take());
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("state", &self.state).finish_non_exhaustive()
    }
}

/// The subscription that a forgotten command has left behind.
fn brought(outcome: Outcome, subscribes: Option<ResourceId>) -> Option<ResourceId> {
    match outcome {
        Ok(Answer::Resource(rid)) => Some(rid),
        // The machine tries again until it is told to unsubscribe.
        Ok(_) | Err(_) => subscribes,
    }
}

pub(crate) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
