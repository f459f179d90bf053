//! One resource as one connection sees it. Knows neither bus nor cache.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use relogin_res::{Error, ResourceId, service::Access};

use crate::{
    cache::Cause,
    content::{References, Snapshot},
    discard::Bulk,
    event::Event,
    ids::{ResourceKey, TaskId},
    tag::Tag,
};

/// A connection's subscriptions, by the resource ids that its client uses. Boxed, because a map's
/// node has room for eleven values, and most connections have few subscriptions.
pub(crate) type Subscriptions = BTreeMap<ResourceId, Box<Subscription>>;

/// A resource that a connection is subscribed to: directly, by a task under way, or because another
/// one refers to it.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The resource as services name it.
    pub(crate) target: ResourceId,
    /// The resource in the cache; none if it could not be subscribed to.
    pub(crate) resource: Option<ResourceKey>,
    /// The number of the first notice that is for it: what came before is in its content.
    pub(crate) since: u64,
    pub(crate) state: State,
    /// Direct subscriptions that the client knows of.
    pub(crate) direct: u32,
    /// Tasks under way that need it.
    pub(crate) pins: u32,
    /// Subscriptions of this connection that refer to it.
    pub(crate) parents: u32,
    /// Those of them that the client has.
    pub(crate) visible_parents: u32,
    /// What it refers to: in its snapshot, or, once the client has it, in what the client has.
    pub(crate) references: References,
    /// The version of the content that the client has, or will have first.
    pub(crate) version: u64,
    pub(crate) access: AccessState,
    /// Events that wait: until the client has the resource, until access is settled, until an
    /// event's references are there.
    pub(crate) held: Held,
    /// True while events wait for an access answer.
    pub(crate) rechecking: bool,
    /// The event whose references are being loaded.
    pub(crate) delivering: Option<TaskId>,
    /// Tasks that wait until it is there.
    pub(crate) waiting: Vec<TaskId>,
    /// Tasks that fetch it.
    pub(crate) fetches: Vec<TaskId>,
    /// After how many token events it was last seen to that access answers hold.
    pub(crate) epoch: u64,
    /// True while it waits for its turn to be asked for access again.
    pub(crate) is_stale: bool,
    /// While it is being asked for access in its turn: why.
    pub(crate) turn: Option<Cause>,
    /// True while it is loaded in its turn.
    pub(crate) loads_in_turn: bool,
}

/// Events that wait, in their order. Boxed, because most subscriptions have none.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<Box<HeldEvents>>);

#[derive(Debug, Default)]
struct HeldEvents {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |held| held.events.len())
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    pub(crate) fn push(&mut self, event: Arc<Event>) {
        let held = self.0.get_or_insert_default();
        held.bytes += event.bytes();
        held.events.push_back(event);
    }

    pub(crate) fn pop(&mut self) -> Option<Arc<Event>> {
        let held = self.0.as_mut()?;
        let event = held.events.pop_front()?;
        held.bytes -= event.bytes();
        if held.events.is_empty() {
            self.0 = None;
        }
        Some(event)
    }

    /// True if `event` would be one too many, or of too many bytes. One alone never is.
    pub(crate) fn is_full_for(&self, event: &Event, most: usize, most_bytes: usize) -> bool {
        let is_full = |held: &HeldEvents| held.events.len() >= most || held.bytes + event.bytes() > most_bytes;
        self.0.as_deref().is_some_and(is_full)
    }
}

/// How far a subscription is.
#[derive(Debug)]
pub(crate) enum State {
    /// It waits for its turn to be loaded, which has this number.
    Waiting(u64),
    /// The cache will deliver it.
    Loading,
    /// The resource could not be had. Boxed, because it is rare and large.
    Failed(Box<Error>),
    /// It is there, but the client has not got it.
    Loaded(Arc<Snapshot>),
    /// The client has it.
    Visible,
    /// The client has it, but it is no more.
    Deleted,
}

/// What is known of access.
#[derive(Debug)]
pub(crate) enum AccessState {
    /// Nothing.
    Unknown,
    /// It was asked for, and these tasks wait for the answer.
    Asked(Tag, Vec<TaskId>),
    /// The answer. An error is rare and large.
    Known(Result<Access, Box<Error>>),
}

/// An answer to an access request.
pub(crate) type AccessResult = Result<Access, Error>;

impl Subscription {
    pub(crate) fn new(target: ResourceId, epoch: u64) -> Self {
        Self {
            target,
            resource: None,
            since: 0,
            state: State::Loading,
            direct: 0,
            pins: 0,
            parents: 0,
            visible_parents: 0,
            references: References::new(),
            version: 0,
            access: AccessState::Unknown,
            held: Held::default(),
            rechecking: false,
            delivering: None,
            waiting: Vec::new(),
            fetches: Vec::new(),
            epoch,
            is_stale: false,
            turn: None,
            loads_in_turn: false,
        }
    }

    /// True if the cache delivers events of the resource: if it does not, no access answer can be
    /// kept.
    pub(crate) fn gets_events(&self) -> bool {
        matches!(self.state, State::Loading | State::Loaded(_) | State::Visible)
    }

    /// Sets the content. True if something of it may refer to other resources.
    pub(crate) fn fill(&mut self, snapshot: &Arc<Snapshot>) -> bool {
        self.references = References::new();
        self.version = snapshot.version;
        self.state = State::Loaded(Arc::clone(snapshot));
        !snapshot.is_small_and_refers_to_nothing()
    }

    /// Sets a state in which no more events of the resource come.
    pub(crate) fn set_deaf(&mut self, state: State) {
        self.state = state;
        self.resource = None;
        self.held.clear();
        if let AccessState::Known(_) = self.access {
            self.access = AccessState::Unknown;
        }
    }

    /// True if it is not there yet.
    pub(crate) fn is_loading(&self) -> bool {
        matches!(self.state, State::Waiting(_) | State::Loading)
    }

    /// True if what is known of access holds no longer after `epoch` token events, and nobody was
    /// asked since.
    pub(crate) fn is_outdated(&self, epoch: u64) -> bool {
        self.is_stale || self.epoch != epoch
    }

    /// True if the client has the resource.
    pub(crate) fn is_visible(&self) -> bool {
        matches!(self.state, State::Visible | State::Deleted)
    }
}

impl Bulk for Subscription {
    fn bulk(&self) -> usize {
        self.references.len() + self.held.len() + self.state.bulk()
    }
}

impl Bulk for State {
    fn bulk(&self) -> usize {
        if let Self::Loaded(snapshot) = self { snapshot.bulk() } else { 0 }
    }
}
