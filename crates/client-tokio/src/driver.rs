//! Drives the state machine in a tokio task: takes in what has happened ([`Wake`]), and carries out
//! the machine's actions. Must not decide anything.

use std::{future::pending, time::Duration};

use relogin_client::{Addresses, Client, Engine};
use relogin_client_proto::{
    Action, Config, Input, LockId, Moment, PlatformAction, PlatformEvent, Secret, Signature, SocketId,
};
use relogin_res::{InvalidResourceId, ResourceId};
use tokio::time::{Instant, sleep_until};

use crate::{
    MemoryStorage, Storage,
    socket::{Gateway, Socket, SocketEvent},
};

/// How to connect, and whether to keep a session.
#[derive(Debug)]
pub struct Options {
    gateways: Vec<String>,
    config: Config,
    storage: Box<dyn Storage>,
    #[cfg(feature = "tls")]
    trust: crate::tls::Trust,
}

/// Everything that wakes the loop.
#[derive(Debug)]
enum Wake {
    /// A handle has an input; `None`: there are no more handles.
    Handle(Option<Input>),
    Socket(SocketId, SocketEvent),
    Timer,
    /// The lock may be free by now.
    Lock(LockId),
}

impl Options {
    /// A plain RES client of the gateway at this address (`ws://…` or, with the feature `tls`,
    /// `wss://…`), without a session. Of several addresses it uses one that works:
    /// `Options::new(["ws://one", "ws://other"])`.
    #[must_use]
    pub fn new(gateways: impl Into<Addresses>) -> Self {
        let gateways = gateways.into().into_vec();
        Self {
            config: Config::plain(gateways.len()),
            gateways,
            storage: Box::new(MemoryStorage::default()),
            #[cfg(feature = "tls")]
            trust: crate::tls::Trust::default(),
        }
    }

    /// Keeps the session of the service that was started with `--name` `name`, and its relogin key
    /// in `storage`.
    ///
    /// # Errors
    /// [`InvalidResourceId`] if `name` is not a resource id.
    pub fn session(mut self, name: &str, storage: impl Storage) -> Result<Self, InvalidResourceId> {
        self.config.name = ResourceId::parse(name)?;
        self.config.keep_session = true;
        self.storage = Box::new(storage);
        Ok(self)
    }

    /// For `wss:`, trusts gateways for which one of the authorities in `pem` vouches, instead of
    /// those that the system trusts.
    ///
    /// # Errors
    /// [`NoCertificate`](crate::NoCertificate) if there is none in `pem`.
    #[cfg(feature = "tls")]
    pub fn trust(mut self, pem: &[u8]) -> Result<Self, crate::NoCertificate> {
        self.trust = crate::tls::Trust::only(pem)?;
        Ok(self)
    }

    /// Changes the rest of the configuration: time-outs, and whether new connections are greeted.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Begins to connect, and resumes the session in storage, if there is one. Commands may be
    /// given at once: they wait for the connection.
    ///
    /// # Panics
    /// If called outside a tokio runtime.
    #[must_use]
    pub fn connect(self) -> Client {
        let start = Instant::now();
        let (client, engine) = Engine::new(self.config, move || start.elapsed());
        let driver = Driver {
            engine,
            start,
            gateways: self.gateways,
            storage: Some(self.storage),
            #[cfg(feature = "tls")]
            trust: self.trust,
            refused: None,
            socket: None,
            lock: None,
        };
        tokio::spawn(driver.run());
        client
    }
}

/// The machine, and what it is connected to.
#[derive(Debug)]
struct Driver {
    engine: Engine,
    start: Instant,
    gateways: Vec<String>,
    /// `None` only while it is used on a blocking thread, or after it has panicked.
    storage: Option<Box<dyn Storage>>,
    #[cfg(feature = "tls")]
    trust: crate::tls::Trust,
    /// The text that the storage could not keep.
    refused: Option<Option<String>>,
    socket: Option<(SocketId, Socket)>,
    /// The lock that was asked for, and when to try again.
    lock: Option<(LockId, Instant)>,
}

/// How long until a lock that somebody else has is tried again.
const LOCK_EVERY: Duration = Duration::from_millis(20);

impl Driver {
    async fn run(mut self) {
        self.take_in(Input::Start).await;
        loop {
            let input = match self.wake().await {
                Wake::Handle(Some(input)) => input,
                Wake::Handle(None) => return,
                Wake::Socket(id, SocketEvent::Opened) => Input::SocketOpened(id),
                Wake::Socket(id, SocketEvent::Frame(text)) => Input::Frame(id, Secret::new(text.as_str().to_owned())),
                Wake::Socket(id, SocketEvent::Closed(closing)) => {
                    self.socket = None;
                    Input::SocketClosed(id, closing)
                }
                Wake::Timer => PlatformEvent::Timer.into(),
                Wake::Lock(id) => match self.try_lock(id).await {
                    Some(event) => event.into(),
                    None => continue,
                },
            };
            self.take_in(input).await;
        }
    }

    async fn wake(&mut self) -> Wake {
        let due = self.engine.poll_timeout().map(|due| self.start + due);
        let timer = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        let lock = async {
            match self.lock {
                Some((id, due)) => {
                    sleep_until(due).await;
                    id
                }
                None => pending().await,
            }
        };
        let socket = async {
            match &mut self.socket {
                Some((id, socket)) => (*id, socket.next().await),
                None => pending().await,
            }
        };
        tokio::select! {
            input = self.engine.next_input() => Wake::Handle(input),
            (id, event) = socket => Wake::Socket(id, event),
            () = timer => Wake::Timer,
            id = lock => Wake::Lock(id),
        }
    }

    /// Hands `input` to the machine, and carries out its actions.
    async fn take_in(&mut self, input: Input) {
        self.engine.handle(input, self.moment());
        while let Some(action) = self.engine.poll_action() {
            self.carry_out(action).await;
        }
    }

    async fn carry_out(&mut self, action: Action) {
        match action {
            Action::OpenSocket(id, gateway) => {
                // If the configuration counts more gateways than there are, those cannot be had.
                let url = self.gateways.get(gateway).cloned().unwrap_or_default();
                let gateway = Gateway {
                    url,
                    #[cfg(feature = "tls")]
                    trust: self.trust.clone(),
                };
                self.socket = Some((id, Socket::open(gateway)));
            }
            Action::SendFrame(id, frame) => {
                if let Some((_, socket)) = self.socket.as_ref().filter(|(open, _)| *open == id) {
                    socket.send(frame.expose());
                }
            }
            Action::CloseSocket(id) => drop(self.socket.take_if(|(open, _)| *open == id)),
            Action::Platform(action) => self.carry_out_platform(action).await,
            Action::Diagnose(diagnostic) => log::debug!(target: "relogin", "{diagnostic}"),
            // The engine handles these.
            Action::Settle(..) | Action::Emit(_) => {}
        }
    }

    async fn carry_out_platform(&mut self, action: PlatformAction) {
        match action {
            PlatformAction::ReadStorage => self.read_storage().await,
            PlatformAction::SwapStorage { from, to } => self.swap_storage(from, to).await,
            // Without a device key, all sessions are bearer sessions.
            PlatformAction::MakeDevice => self.answer(PlatformEvent::Device(None)),
            PlatformAction::Sign(_) => self.answer(PlatformEvent::Signed(Signature::NoKey)),
            PlatformAction::RequestLock(id) => self.lock = Some((id, Instant::now())),
            // The lock of a file cannot be stolen.
            PlatformAction::StealLock(id) => self.answer(PlatformEvent::LockRefused(id)),
            PlatformAction::ReleaseLock(_) => {
                self.lock = None;
                if let Some(storage) = &mut self.storage {
                    storage.unlock();
                }
            }
        }
    }

    /// Tries to take the lock; `None`: somebody else has it, and it is tried again.
    async fn try_lock(&mut self, id: LockId) -> Option<PlatformEvent> {
        let event = match self.with_storage(Storage::try_lock).await {
            Some(true) => PlatformEvent::LockGranted(id),
            Some(false) => {
                self.lock = Some((id, Instant::now() + LOCK_EVERY));
                return None;
            }
            None => PlatformEvent::LockRefused(id),
        };
        self.lock = None;
        Some(event)
    }

    async fn read_storage(&mut self) {
        let read = match self.refused.clone() {
            Some(kept) => kept,
            None => self.with_storage(Storage::read).await.unwrap_or_default(),
        };
        self.answer(PlatformEvent::StorageRead(read.map(Secret::new)));
    }

    async fn swap_storage(&mut self, from: Option<Secret>, to: Option<Secret>) {
        let text = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        let (from, to) = (text(&from), text(&to));
        let swapped = match &self.refused {
            Some(_) => None,
            None => {
                let (from, to) = (from.clone(), to.clone());
                self.with_storage(move |storage| storage.swap(from.as_deref(), to.as_deref())).await
            }
        };
        let now = match swapped {
            Some(now) => now,
            None => {
                let mut kept = MemoryStorage::holding(self.refused.take().unwrap_or_else(|| from.clone()));
                let now = kept.exchange(from.as_deref(), to.as_deref());
                self.refused = Some(now.clone());
                now
            }
        };
        self.answer(PlatformEvent::StorageRead(now.map(Secret::new)));
    }

    /// Uses the storage on a thread that may block. `None` if that fails.
    async fn with_storage<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut dyn Storage) -> std::io::Result<T> + Send + 'static,
    ) -> Option<T> {
        let mut storage = self.storage.take()?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work(storage.as_mut());
            (storage, result)
        });
        // If it has panicked it is lost, and memory takes its place.
        let (storage, result) = done.await.ok()?;
        self.storage = Some(storage);
        result.ok()
    }

    /// Hands in what the platform answers.
    fn answer(&mut self, event: PlatformEvent) {
        let moment = self.moment();
        self.engine.handle(event.into(), moment);
    }

    fn moment(&self) -> Moment {
        let mut random = [0; 24];
        getrandom::fill(&mut random).expect("the system has random values for a program that it has started");
        Moment { now: self.now(), random }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
