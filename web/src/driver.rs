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
    Action, Answer, Binding, Client, Command, Config, ConnectionState, Event, Input, LockId, Moment, RequestError,
    Resource, Secret, SessionState, SocketId, Token,
};
use relogin_res::ResourceId;
use wasm_bindgen_futures::spawn_local;

use crate::browser::{
    Exception, address,
    clock::Clock,
    device_key::DeviceKey,
    entropy,
    indexed_db::Database,
    lock::{Lock, LockEvent},
    socket::{Socket, SocketEvent},
    storage::{Storage, Watch},
    timer::Timer,
    wake::{WakeUp, WakeUps},
};

/// A RES client that keeps its user logged in, at work in this page. Dropped, it stops; the session stays in storage.
#[derive(Debug)]
pub struct Relogin {
    core: Rc<Core>,
    wakes: UnboundedSender<Wake>,
    next_token: Cell<u64>,
}

/// The machine and its time: what the page asks, while the loop waits for the browser.
#[derive(Debug)]
struct Core {
    client: RefCell<Client>,
    clock: Clock,
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
    /// one; once this returns, storage has been looked at. What happens from now on comes out of the receiver.
    ///
    /// # Errors
    /// If `gateway` is no address, or the browser has no generator of random values.
    pub async fn start(gateway: &str, config: Config) -> Result<(Self, UnboundedReceiver<Event>), Exception> {
        let (wakes, woken) = mpsc::unbounded();
        let (events, emitted) = mpsc::unbounded();
        entropy::random::<1>()?;
        let gateway = address::gateway(gateway)?;
        let name = format!("relogin:{}", config.name);
        let core = Rc::new(Core { client: RefCell::new(Client::new(config)), clock: Clock::start() });
        let mut driver = Driver::new(Rc::clone(&core), gateway, name, wakes.clone(), events).await;
        driver.take_in(Input::Start).await;
        spawn_local(driver.run(woken));
        Ok((Self { core, wakes, next_token: Cell::new(0) }, emitted))
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
        self.core.client.borrow().session()
    }

    /// The connection's state.
    #[must_use]
    pub fn connection(&self) -> ConnectionState {
        self.core.client.borrow().connection()
    }

    /// What the session's key is worth by itself; `None` while there is none.
    #[must_use]
    pub fn binding(&self) -> Option<Binding> {
        self.core.client.borrow().binding()
    }

    /// How long until the relogin key is used next; `None` if it need not be.
    #[must_use]
    pub fn refresh_in(&self) -> Option<Duration> {
        self.core.until(self.core.client.borrow().refresh_due())
    }

    /// How long until the next try to connect; `None` while connected.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        match self.connection() {
            ConnectionState::Reconnecting { next_try } => self.core.until(Some(next_try)),
            _ => None,
        }
    }

    /// The values of a subscribed resource, or of one that such a resource refers to, as far as they are known.
    #[must_use]
    pub fn resource(&self, rid: &ResourceId) -> Option<Resource> {
        self.core.client.borrow().resource(rid).cloned()
    }
}

impl Drop for Relogin {
    fn drop(&mut self) {
        // Fails if the loop has ended already.
        let _ = self.wakes.unbounded_send(Wake::Stop);
    }
}

impl Core {
    fn handle(&self, input: Input) {
        // The generator answered when we started, and a browser does not lose it.
        let random = entropy::random().expect("the generator answered when the driver started");
        self.client.borrow_mut().handle(input, Moment { now: self.clock.now(), random });
    }

    fn next_action(&self) -> Option<Action> {
        self.client.borrow_mut().poll_action()
    }

    fn until(&self, due: Option<Duration>) -> Option<Duration> {
        due.map(|due| due.saturating_sub(self.clock.now()))
    }
}

/// The machine and the browser's ends that it is connected to.
#[derive(Debug)]
struct Driver {
    core: Rc<Core>,
    gateway: String,
    storage: Storage,
    device_key: DeviceKey,
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
    /// `name` names the storage record, the database that it lies in, and the lock.
    async fn new(
        core: Rc<Core>,
        gateway: String,
        name: String,
        wakes: UnboundedSender<Wake>,
        events: UnboundedSender<Event>,
    ) -> Self {
        let database = Rc::new(Database::new(name.clone()));
        let storage = Storage::open(name.clone(), Rc::clone(&database)).await;
        let storage_changed = waker(&wakes, |()| Wake::StorageChanged);
        Self {
            core,
            gateway,
            device_key: DeviceKey::new(database),
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

    /// The loop.
    async fn run(mut self, mut woken: UnboundedReceiver<Wake>) {
        while let Some(wake) = woken.next().await {
            let input = match wake {
                Wake::Command(token, command, settle) => {
                    self.unsettled.insert(token, settle);
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
                Wake::Stop => return self.take_in(Input::Stop).await,
            };
            self.take_in(input).await;
        }
    }

    /// Hands `input` to the machine and does what it wants done.
    async fn take_in(&mut self, input: Input) {
        self.core.handle(input);
        while let Some(action) = self.core.next_action() {
            self.carry_out(action).await;
        }
        let delay = self.core.until(self.core.client.borrow().poll_timeout());
        let ring = waker(&self.wakes, |()| Wake::Timer);
        self.timer.set(delay, move || ring(()));
    }

    async fn carry_out(&mut self, action: Action) {
        match action {
            Action::OpenSocket(id) => self.open_socket(id),
            Action::SendFrame(id, frame) => {
                if let Some((_, socket)) = self.socket.as_ref().filter(|(open, _)| *open == id) {
                    // Fails if it is not open; then "closed" follows, and that is what the machine acts on.
                    let _ = socket.send(frame.expose());
                }
            }
            Action::CloseSocket(id) => drop(self.socket.take_if(|(open, _)| *open == id)),
            Action::ReadStorage => {
                let text = self.storage.read().await;
                self.core.handle(Input::StorageRead(text));
            }
            Action::SwapStorage { from, to } => {
                let text = self.storage.swap(from.as_ref(), to.as_ref()).await;
                self.core.handle(Input::StorageRead(text));
            }
            Action::MakeDevice => {
                let public_key = self.device_key.make().await;
                self.core.handle(Input::Device(public_key));
            }
            Action::Sign(message) => {
                let signature = self.device_key.sign(message.expose().as_bytes()).await;
                self.core.handle(Input::Signed(signature));
            }
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
}

/// A call-back that sends a wake into the loop.
fn waker<T>(wakes: &UnboundedSender<Wake>, wake: impl Fn(T) -> Wake + Clone + 'static) -> impl Fn(T) + Clone + 'static {
    let wakes = wakes.clone();
    // Fails if the loop has ended, and then nobody wants to know.
    move |event| drop(wakes.unbounded_send(wake(event)))
}
