//! Drives the client machine in a browser: the only loop. What happens to the page comes in as a [`Wake`], goes to
//! [`Client`] as an input, and what that wants done is done.
//!
//! Decides nothing: which key is used when, what a refusal means, when to reconnect, all that is core/client's.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use futures_channel::{
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    oneshot,
};
use futures_util::StreamExt;
use relogin_client::{
    Action, Answer, Client, Command, Config, ConnectionState, Event, Input, LockId, Moment, RequestError, Resource,
    Secret, SessionState, SocketId, Token,
};
use relogin_res::ResourceId;
use wasm_bindgen_futures::spawn_local;

use crate::browser::{
    Exception, address,
    clock::Clock,
    entropy,
    lock::{Lock, LockEvent},
    socket::{Socket, SocketEvent},
    storage::{Storage, Watch},
    timer::Timer,
    wake::{WakeUp, WakeUps},
};

/// A RES client that keeps its user logged in, at work in this page. Dropped, it stops; the session stays in storage.
#[derive(Debug)]
pub struct Relogin {
    driver: Rc<RefCell<Driver>>,
    wakes: UnboundedSender<Wake>,
    next_token: Cell<u64>,
}

/// Everything that wakes the loop.
#[derive(Debug)]
enum Wake {
    /// The page wants something.
    Command(Token, Command, oneshot::Sender<Outcome>),
    /// A socket opened, closed, or got a frame.
    Socket(SocketId, SocketEvent),
    /// The storage lock was granted or refused.
    Lock(LockId, LockEvent),
    /// Another tab wrote the storage record.
    StorageChanged,
    /// The page came into view, or the network came or went.
    WakeUp(WakeUp),
    /// The timer rang.
    Timer,
    /// The page has no more use for us.
    Stop,
}

type Outcome = Result<Answer, RequestError>;

impl Relogin {
    /// Connects to the gateway at `gateway` (see [`address::gateway`]) and resumes the session in storage, if there is
    /// one. What happens from now on comes out of the receiver.
    ///
    /// # Errors
    /// If `gateway` is no address, or the browser has no generator of random values.
    pub fn start(gateway: &str, config: Config) -> Result<(Self, UnboundedReceiver<Event>), Exception> {
        let (wakes, woken) = mpsc::unbounded();
        let (events, emitted) = mpsc::unbounded();
        entropy::random::<1>()?;
        let driver = Driver::new(address::gateway(gateway)?, config, wakes.clone(), events);
        let driver = Rc::new(RefCell::new(driver));
        driver.borrow_mut().take_in(Input::Start);
        spawn_local(run(Rc::clone(&driver), woken));
        Ok((Self { driver, wakes, next_token: Cell::new(0) }, emitted))
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// What the gateway or the service answers, or that they do not.
    pub async fn command(&self, command: Command) -> Outcome {
        let token = Token(self.next_token.replace(self.next_token.get() + 1));
        let (settle, settled) = oneshot::channel();
        // A loop that has ended drops both senders, and the next line says so.
        let _ = self.wakes.unbounded_send(Wake::Command(token, command, settle));
        settled.await.unwrap_or(Err(RequestError::ConnectionLost))
    }

    /// Logs in. The session's new state comes as an event.
    ///
    /// # Errors
    /// What the gateway or the service answers, or that they do not.
    pub async fn login(&self, username: String, password: String) -> Result<(), RequestError> {
        self.command(Command::Login { username, password: Secret::new(password) }).await.map(drop)
    }

    /// Logs out, here and in all tabs.
    pub async fn logout(&self) {
        // Never fails: what the service does not hear of now, it is told later.
        let _ = self.command(Command::Logout).await;
    }

    /// The session's state.
    #[must_use]
    pub fn session(&self) -> SessionState {
        self.driver.borrow().client.session()
    }

    /// The connection's state.
    #[must_use]
    pub fn connection(&self) -> ConnectionState {
        self.driver.borrow().client.connection()
    }

    /// How long until the relogin key is used next; `None` if it need not be.
    #[must_use]
    pub fn refresh_in(&self) -> Option<Duration> {
        self.driver.borrow().until(self.driver.borrow().client.refresh_due())
    }

    /// How long until the next try to connect; `None` while connected.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        match self.connection() {
            ConnectionState::Reconnecting { next_try } => self.driver.borrow().until(Some(next_try)),
            _ => None,
        }
    }

    /// The values of a subscribed resource, or of one that such a resource refers to, as far as they are known.
    #[must_use]
    pub fn resource(&self, rid: &ResourceId) -> Option<Resource> {
        self.driver.borrow().client.resource(rid).cloned()
    }
}

impl Drop for Relogin {
    fn drop(&mut self) {
        // Fails if the loop has ended already.
        let _ = self.wakes.unbounded_send(Wake::Stop);
    }
}

/// The loop.
async fn run(driver: Rc<RefCell<Driver>>, mut woken: UnboundedReceiver<Wake>) {
    while let Some(wake) = woken.next().await {
        let mut driver = driver.borrow_mut();
        let input = match wake {
            Wake::Command(token, command, settle) => {
                driver.unsettled.insert(token, settle);
                Input::Command(token, command)
            }
            Wake::Socket(id, SocketEvent::Opened) => Input::SocketOpened(id),
            Wake::Socket(id, SocketEvent::Frame(text)) => Input::Frame(id, Secret::new(text)),
            Wake::Socket(id, SocketEvent::Closed) => Input::SocketClosed(id),
            Wake::Lock(id, LockEvent::Granted) => Input::LockGranted(id),
            Wake::Lock(id, LockEvent::Refused) => Input::LockRefused(id),
            Wake::StorageChanged => Input::StorageChanged,
            Wake::WakeUp(WakeUp::Visible | WakeUp::Shown) => Input::Wake,
            Wake::WakeUp(WakeUp::Online) => Input::Online,
            Wake::WakeUp(WakeUp::Offline) => Input::Offline,
            Wake::Timer => Input::Timer,
            Wake::Stop => {
                driver.take_in(Input::Stop);
                return;
            }
        };
        driver.take_in(input);
    }
}

/// The machine and the browser's ends that it is connected to.
#[derive(Debug)]
struct Driver {
    client: Client,
    clock: Clock,
    gateway: String,
    storage: Storage,
    lock_name: String,
    socket: Option<(SocketId, Socket)>,
    lock: Option<(LockId, Lock)>,
    timer: Timer,
    unsettled: HashMap<Token, oneshot::Sender<Outcome>>,
    wakes: UnboundedSender<Wake>,
    events: UnboundedSender<Event>,
    _watch: Watch,
    _wake_ups: WakeUps,
}

impl Driver {
    fn new(gateway: String, config: Config, wakes: UnboundedSender<Wake>, events: UnboundedSender<Event>) -> Self {
        let name = format!("relogin:{}", config.name);
        let storage = Storage::new(name.clone());
        let storage_changed = waker(&wakes, |()| Wake::StorageChanged);
        Self {
            client: Client::new(config),
            clock: Clock::start(),
            gateway,
            lock_name: name,
            socket: None,
            lock: None,
            timer: Timer::default(),
            unsettled: HashMap::new(),
            _watch: storage.watch(move || storage_changed(())),
            _wake_ups: WakeUps::listen(waker(&wakes, Wake::WakeUp)),
            storage,
            wakes,
            events,
        }
    }

    /// Hands `input` to the machine and does what it wants done.
    fn take_in(&mut self, input: Input) {
        self.client.handle(input, self.moment());
        while let Some(action) = self.client.poll_action() {
            self.carry_out(action);
        }
        let delay = self.until(self.client.poll_timeout());
        let ring = waker(&self.wakes, |()| Wake::Timer);
        self.timer.set(delay, move || ring(()));
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::OpenSocket(id) => self.open_socket(id),
            Action::SendFrame(id, frame) => {
                if let Some((_, socket)) = self.socket.as_ref().filter(|(open, _)| *open == id) {
                    // Fails if it is not open; then "closed" follows, and that is what the machine acts on.
                    let _ = socket.send(frame.expose());
                }
            }
            Action::CloseSocket(id) => drop(self.socket.take_if(|(open, _)| *open == id)),
            Action::ReadStorage => self.client.handle(Input::StorageRead(self.read_storage()), self.moment()),
            Action::SwapStorage { from, to } => {
                self.storage.swap(from.as_ref().map(Secret::expose), to.as_ref().map(Secret::expose));
                self.client.handle(Input::StorageRead(self.read_storage()), self.moment());
            }
            // No key pair is kept yet: all sessions are bearer ones.
            Action::MakeDevice => self.client.handle(Input::Device(None), self.moment()),
            Action::Sign(_) => self.client.handle(Input::Signed(None), self.moment()),
            Action::RequestLock(id) => self.request_lock(id, false),
            Action::StealLock(id) => self.request_lock(id, true),
            Action::ReleaseLock(id) => drop(self.lock.take_if(|(held, _)| *held == id)),
            Action::Settle(token, outcome) => {
                if let Some(settle) = self.unsettled.remove(&token) {
                    // Fails if the caller has stopped waiting.
                    let _ = settle.send(outcome);
                }
            }
            // Fails if nobody listens.
            Action::Emit(event) => drop(self.events.unbounded_send(event)),
        }
    }

    fn open_socket(&mut self, id: SocketId) {
        let call_back = waker(&self.wakes, move |event| Wake::Socket(id, event));
        match Socket::open(&self.gateway, call_back.clone()) {
            Ok(socket) => self.socket = Some((id, socket)),
            // To the machine a refusal by the browser is a gateway that cannot be reached.
            Err(_) => call_back(SocketEvent::Closed),
        }
    }

    fn request_lock(&mut self, id: LockId, steal: bool) {
        let call_back = waker(&self.wakes, move |event| Wake::Lock(id, event));
        self.lock = Some((id, Lock::request(&self.lock_name, steal, call_back)));
    }

    fn read_storage(&self) -> Option<Secret> {
        self.storage.read().map(Secret::new)
    }

    fn moment(&self) -> Moment {
        // The generator answered when we started, and a browser does not lose it.
        let random = entropy::random().expect("the generator answered when the driver started");
        Moment { now: self.clock.now(), random }
    }

    fn until(&self, due: Option<Duration>) -> Option<Duration> {
        due.map(|due| due.saturating_sub(self.clock.now()))
    }
}

/// A call-back that sends a wake into the loop.
fn waker<T>(wakes: &UnboundedSender<Wake>, wake: impl Fn(T) -> Wake + Clone + 'static) -> impl Fn(T) + Clone + 'static {
    let wakes = wakes.clone();
    // Fails if the loop has ended, and then nobody wants to know.
    move |event| drop(wakes.unbounded_send(wake(event)))
}
