//! What the engine and the handles share: the machine, the commands on their way to it, and who waits for what. Wakes nobody
//! while it is locked.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use relogin_client_proto::{Answer, Client as Machine, Command, Event, Input, RequestError, ResourceChange, Token};
use relogin_res::{Map, ResourceId};

/// What a command came to.
pub(crate) type Outcome = Result<Answer, RequestError>;

/// More events than this nobody has fallen behind with: who has is told to read anew.
const MOST_EVENTS: usize = 1024;

/// Says what time it is.
pub(crate) type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// Shared by all that belong to one client.
pub(crate) struct Shared {
    state: Mutex<State>,
    clock: Clock,
}

/// What they share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) machine: Machine,
    /// For the engine.
    pub(crate) inputs: VecDeque<Input>,
    /// Waits for the next of them.
    pub(crate) engine: Option<Waker>,
    /// Whether the last client was dropped.
    pub(crate) abandoned: bool,
    /// Whether the engine is gone: nothing will be settled any more.
    pub(crate) over: bool,
    slots: Map<Token, Box<Slot>>,
    next_token: u64,
    watches: Map<u64, Box<Watch>>,
    /// Which watches look at a resource.
    watched: Map<ResourceId, Vec<u64>>,
    next_watch: u64,
}

/// A command on its way.
#[derive(Debug)]
enum Slot {
    Waiting(Option<Waker>),
    Settled(Outcome),
    /// Nobody waits for it any more. A subscription that it asked for is given back even if it was refused: it stays.
    Forgotten(Option<ResourceId>),
}

/// Somebody who listens.
#[derive(Debug, Default)]
struct Watch {
    /// The resources looked at; the first one is the one listened to. None: the client itself.
    rids: Vec<ResourceId>,
    /// Whether each event is wanted, or only that there was one.
    each: bool,
    news: VecDeque<Event>,
    changed: bool,
    deleted: bool,
    waker: Option<Waker>,
}

/// What a watch has for its stream.
#[derive(Debug)]
pub(crate) enum News {
    Event(Event),
    Changed,
    Deleted,
    /// The client is over.
    Over,
}

impl Shared {
    pub(crate) fn new(machine: Machine, clock: Clock) -> Arc<Self> {
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
        Arc::new(Self { state, clock })
    }

    /// A panic of somebody's `Deserialize` leaves nothing half done in here.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it is until `due`.
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

    /// Nobody wants anything any more.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        let waker = state.engine.take();
        drop(state);
        wake(waker);
    }

    /// Hands a command to the engine, whose end nobody waits for.
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
    /// The outcome of a command, once; until then `waker` is kept.
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

    /// Nobody waits for the command any more; `subscribes`: to what it subscribes. Returns what to give back.
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

    /// A command came to its end. Returns whom to wake.
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

    /// Somebody listens to a resource, or, if none, to the client itself.
    pub(crate) fn watch(&mut self, rid: Option<ResourceId>, each: bool) -> u64 {
        let id = self.next_watch;
        self.next_watch += 1;
        self.watches.insert(id, Box::new(Watch { each, ..Watch::default() }));
        self.look_at(id, rid.into_iter().collect());
        id
    }

    /// From now on the watch looks at these.
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

    /// The watch is over.
    pub(crate) fn unwatch(&mut self, id: u64) {
        if let Some(watch) = self.watches.remove(&id) {
            self.look_away(id, &watch.rids);
        }
    }

    /// What there is for a watch, until `None`; then `waker` is kept.
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

    /// Something happened. Whom to wake is added to `wakers`.
    pub(crate) fn tell(&mut self, event: &Event, wakers: &mut Vec<Waker>) {
        let rid = match event {
            Event::Changed(rid, _) | Event::Freshness(rid, _) | Event::Forgotten(rid) | Event::Custom { rid, .. } => {
                Some(rid)
            }
            _ => None,
        };
        let Some(rid) = rid else {
            for watch in self.watches.values_mut().filter(|watch| watch.rids.is_empty()) {
                watch.tell(event, wakers);
            }
            return;
        };
        for id in self.watched.get(rid).into_iter().flatten() {
            if let Some(watch) = self.watches.get_mut(id) {
                watch.tell(event, wakers);
            }
        }
    }

    /// The engine is gone: what waits has waited enough. Returns whom to wake.
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
    fn tell(&mut self, event: &Event, wakers: &mut Vec<Waker>) {
        if self.each {
            if self.news.len() >= MOST_EVENTS {
                self.news.clear();
                if let Some(rid) = self.rids.first() {
                    self.news.push_back(Event::Changed(rid.clone(), ResourceChange::Loaded));
                }
            }
            self.news.push_back(event.clone());
        } else if let Event::Changed(rid, change) = event {
            // Of what it refers to, the deletion changes no values.
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

/// The subscription that a command left behind.
fn brought(outcome: Outcome, subscribes: Option<ResourceId>) -> Option<ResourceId> {
    match outcome {
        Ok(Answer::Resource(rid)) => Some(rid),
        // It is tried again until it is taken back.
        Ok(_) | Err(_) => subscribes,
    }
}

pub(crate) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
