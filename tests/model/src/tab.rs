//! A browser tab: the shipped client, and a driver that does what it is told, but waits at storage.

use std::{collections::VecDeque, fmt, time::Duration};

use relogin_client_proto::{
    Action, Client, Config, Input, LockId, Moment, PlatformAction, Secret, SocketId, Token, storage::RecordStorage,
};
use relogin_res::{
    ResourceId,
    client::{Method, Request},
};
use relogin_session::Attempt;

use crate::{
    canon::{self, Canon, DAWN},
    places::Operation,
    trace::short,
};

/// Names the command of each login.
pub const LOGIN: Token = Token(7);

/// A tab.
#[derive(Clone)]
pub struct Tab {
    /// Which one.
    pub number: usize,
    /// The shipped code.
    pub client: Client,
    /// Its clock.
    pub now: Duration,
    /// The socket that it wants opened.
    pub wanted: Option<SocketId>,
    /// The socket that is open, and how many there have been.
    pub socket: Option<(SocketId, u8)>,
    sockets: u8,
    /// Attempts drawn.
    draws: u8,
    /// What it waits for from storage.
    pub waiting: Option<StorageAction>,
    /// What keeps storage in two places, and what that is in the middle of.
    pub storage: RecordStorage,
    /// Likewise.
    pub operation: Option<Operation>,
    /// Events of other tabs, or of the browser.
    pub news: VecDeque<News>,
    /// Whether another tab has changed storage since it was notified.
    pub hint: bool,
    /// Whether a login that was asked for here was confirmed.
    pub is_login_confirmed: bool,
    /// Whether keys of more than one session can be about, so that a generation does not say which
    /// key it is.
    many_sessions: bool,
    /// The last frames that had keys, of which the client's `Debug` form shows the generation only.
    secrets: [Option<String>; 2],
    /// How much it has done; no part of its number.
    pub deeds: u32,
    /// Whether anything has happened since its number was made.
    pub is_changed: bool,
    /// All of the above.
    pub canon: Canon,
}

/// What a tab asks of storage.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum StorageAction {
    /// What is there?
    Read,
    /// Put the second in the place of the first.
    Swap(Option<String>, Option<String>),
}

/// What comes to a tab from its browser, or at once from the gateway.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum News {
    /// The lock was granted.
    Granted(LockId),
    /// The lock was refused, or taken.
    Refused(LockId),
    /// A frame.
    Frame(String),
}

/// What a tab does to the world.
#[derive(Debug)]
pub enum Deed {
    /// It sends this request.
    Send(Request),
    /// It closes its socket.
    Close,
    /// It asks for the lock; true: it takes the lock from the tab that has it.
    Lock(LockId, bool),
    /// It gives the lock back.
    Unlock(LockId),
    /// It has its device key sign this.
    Sign(String),
    /// It asks for a device key.
    MakeDevice,
    /// It asks something of storage.
    Storage(StorageAction),
}

impl Tab {
    /// A tab that has not started.
    #[must_use]
    pub fn new(number: usize, many_sessions: bool) -> Self {
        let mut config = Config::new(ResourceId::parse("session").unwrap());
        // A quiet connection is no matter here.
        config.idle_timeout = Duration::from_secs(100_000);
        Self {
            number,
            client: Client::new(config),
            now: DAWN,
            wanted: None,
            socket: None,
            sockets: 0,
            draws: 0,
            waiting: None,
            storage: RecordStorage::default(),
            operation: None,
            news: VecDeque::new(),
            hint: false,
            is_login_confirmed: false,
            many_sessions,
            secrets: [None, None],
            deeds: 0,
            is_changed: true,
            canon: Canon(0),
        }
    }

    /// The tab that is there once it is reloaded.
    #[must_use]
    pub fn reloaded(&self) -> Self {
        Self { draws: self.draws, sockets: self.sockets, ..Self::new(self.number, self.many_sessions) }
    }

    /// Whether it waits for storage, and does nothing else until then.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some() || self.operation.is_some()
    }

    /// The name of its connection.
    #[must_use]
    pub fn cid(&self) -> Option<String> {
        self.socket.map(|(_, count)| format!("t{}s{count}", self.number))
    }

    /// Hands in what happened.
    pub fn take(&mut self, input: impl Into<Input>) {
        let input = input.into();
        if let Input::Frame(_, text) = &input {
            self.secrets[0] = Some(text.expose().to_owned());
        }
        let random = self.random();
        self.client.handle(input, Moment { now: self.now, random });
    }

    /// The next thing that it does to the world.
    pub fn deed(&mut self) -> Option<Deed> {
        loop {
            let action = self.client.poll_action()?;
            if !matches!(action, Action::Settle(..) | Action::Emit(_) | Action::Diagnose(_)) {
                self.deeds += 1;
            }
            match action {
                Action::OpenSocket(id, _) => self.wanted = Some(id),
                Action::CloseSocket(_) => {
                    self.wanted = None;
                    if self.socket.is_some() {
                        return Some(Deed::Close);
                    }
                }
                Action::SendFrame(_, frame) => {
                    self.drawn(frame.expose());
                    let request = Request::parse(frame.expose()).expect("frames are requests");
                    if let Method::Auth(..) = request.method {
                        self.secrets[1] = Some(frame.expose().to_owned());
                    }
                    return Some(Deed::Send(request));
                }
                Action::Platform(PlatformAction::ReadStorage) => return Some(Deed::Storage(StorageAction::Read)),
                Action::Platform(PlatformAction::SwapStorage { from, to }) => {
                    let text = |secret: Option<Secret>| secret.map(|secret| secret.expose().to_owned());
                    let (from, to) = (text(from), text(to));
                    self.drawn(to.as_deref().unwrap_or_default());
                    return Some(Deed::Storage(StorageAction::Swap(from, to)));
                }
                Action::Platform(PlatformAction::RequestLock(id)) => return Some(Deed::Lock(id, false)),
                Action::Platform(PlatformAction::StealLock(id)) => return Some(Deed::Lock(id, true)),
                Action::Platform(PlatformAction::ReleaseLock(id)) => return Some(Deed::Unlock(id)),
                Action::Platform(PlatformAction::MakeDevice) => return Some(Deed::MakeDevice),
                Action::Platform(PlatformAction::Sign(text)) => return Some(Deed::Sign(text.expose().to_owned())),
                Action::Settle(token, result) => self.is_login_confirmed |= token == LOGIN && result.is_ok(),
                Action::Emit(_) | Action::Diagnose(_) => {}
            }
        }
    }

    /// The wanted socket opens.
    pub fn open(&mut self) {
        if let Some(id) = self.wanted.take() {
            self.sockets += 1;
            self.socket = Some((id, self.sockets));
        }
    }

    /// Makes its number afresh, after it has changed.
    pub fn seal(&mut self) {
        self.is_changed = false;
        let mut rest = Vec::new();
        if self.is_waiting() {
            let mut copy = self.client.clone();
            while let Some(action) = copy.poll_action() {
                rest.push(match action {
                    Action::SendFrame(_, frame) => frame.expose().to_owned(),
                    Action::Platform(PlatformAction::SwapStorage { from, to }) => {
                        [from, to].into_iter().flatten().map(|text| text.expose().to_owned()).collect()
                    }
                    action => format!("{action:?}"),
                });
            }
        }
        let secrets = self.many_sessions.then_some(&self.secrets);
        let shown = (
            &self.client,
            self.wanted,
            self.socket,
            self.sockets,
            self.draws,
            (&self.waiting, &self.storage, &self.operation),
            &self.news,
            self.hint,
            self.is_login_confirmed,
        );
        self.canon = Canon(canon::of(&(shown, rest, secrets, self.now)));
    }

    /// The attempt that the next input can begin.
    fn attempt(&self) -> Attempt {
        let mut bits = [0; 16];
        (bits[0], bits[1]) = (0xa0 + u8::try_from(self.number).unwrap(), self.draws + 1);
        Attempt(bits)
    }

    fn random(&self) -> [u8; 24] {
        let mut random = [0; 24];
        random[..16].copy_from_slice(&self.attempt().0);
        random
    }

    /// Notes if the attempt was used: the next one is another.
    fn drawn(&mut self, text: &str) {
        if text.contains(&self.attempt().to_string()) {
            self.draws += 1;
        }
    }
}

impl fmt::Debug for Tab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tab")
            .field("session", &self.client.session())
            .field("socket", &self.cid())
            .field("waiting", &self.waiting)
            .field("operation", &self.operation)
            .field("hint", &self.hint)
            .field("now", &(self.now - DAWN))
            .field("due", &self.client.poll_timeout().map(|due| due.saturating_sub(self.now)))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StorageAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("Read"),
            Self::Swap(from, to) => write!(f, "Swap({} → {})", short(from.as_deref()), short(to.as_deref())),
        }
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted(id) => write!(f, "Granted({})", id.0),
            Self::Refused(id) => write!(f, "Refused({})", id.0),
            Self::Frame(text) => f.write_str(text),
        }
    }
}
