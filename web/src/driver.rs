//! Drives the client in a browser: the only loop. What happens to the page comes in as an [`Input`], and what the machine wants
//! done is done.
//!
//! Decides nothing: which key is used when, what a refusal means, when to reconnect, all that is core/client's.

use std::{future::poll_fn, rc::Rc, task::Poll};

use futures_channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures_util::StreamExt as _;
use relogin_client::{Action, Config, Event, Input, Secret, SocketId};
use relogin_handle::{Client, Engine};
use relogin_res::{InvalidResourceId, ResourceId};

use crate::{
    browser::{
        Exception, address, clock, entropy,
        indexed_db::Database,
        socket::{Socket, SocketEvent},
        storage::Storage,
    },
    ends::{self, Ends, Keeping},
    in_place,
};

/// How to connect, and whether a session is kept.
#[derive(Clone, Debug)]
pub struct Options {
    gateway: String,
    config: Config,
    keeping: Keeping,
}

impl Options {
    /// A plain RES client of the gateway at `gateway`, which keeps no session. The address may be absolute or relative, `ws:`,
    /// `wss:`, `http:` or `https:`; empty, it is `/ws` on the origin that served the page.
    #[must_use]
    pub fn new(gateway: impl Into<String>) -> Self {
        let name = ResourceId::parse("session").expect("a name of one part is a resource id");
        let mut config = Config::new(name);
        config.keep_session = false;
        Self { gateway: gateway.into(), config, keeping: Keeping::Bound }
    }

    /// Keeps the session of the service that was started with `--name` `name`, with all tabs of this origin: its key lies in
    /// the browser's storage.
    ///
    /// # Errors
    /// [`InvalidResourceId`] if `name` is none.
    pub fn session(mut self, name: &str) -> Result<Self, InvalidResourceId> {
        self.config.name = ResourceId::parse(name)?;
        self.config.keep_session = true;
        Ok(self)
    }

    /// Makes no device key: the sessions are bearer ones, as in a browser that can keep none. They are kept beside those of clients
    /// that have one. For trying out what that means.
    #[must_use]
    pub fn bearer(mut self) -> Self {
        self.keeping = Keeping::Bearer;
        self
    }

    /// Becomes a thief: copies what the storage of this session has by now, keeps it in memory, and has no device key. For trying out
    /// what a stolen key is worth.
    pub async fn copied(mut self) -> Self {
        let name = self.keeping.name(&self.config.name.to_string());
        let database = Rc::new(Database::new(name.clone()));
        self.keeping = Keeping::Copy(Storage::open(name, database).await.read().await);
        self
    }

    /// Changes what else can be chosen: time-outs, whether new connections are greeted.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Begins to connect, and resumes the session in storage, if there is one: once this returns, storage has been looked at, and
    /// [`Client::session`] says what to show. Commands may be given at once: they wait for the connection.
    ///
    /// # Errors
    /// If the gateway's address is none, or the browser has no generator of random values.
    pub async fn connect(self) -> Result<Client, Exception> {
        self.connect_observed(None).await
    }

    /// As [`Options::connect`]. `observer`, if there is one, is told of all that happens, to all resources.
    pub(crate) async fn connect_observed(self, observer: Option<Observer>) -> Result<Client, Exception> {
        entropy::random::<1>()?;
        let gateway = address::gateway(&self.gateway)?;
        let (happens, happened) = mpsc::unbounded();
        let session = match self.config.name.to_string() {
            name if self.config.keep_session => {
                Some((name.clone(), address::calls(Some(&gateway), &name)?, self.keeping))
            }
            _ => None,
        };
        let ends = Ends::new(session, &happens).await;
        let (client, mut engine) = Engine::new(self.config, clock::now);
        if observer.is_some() {
            engine.tell_all();
        }
        let mut driver = Driver { engine, gateway, socket: None, ends, happens, observer };
        driver.take_in(Input::Start).await;
        in_place::spawn(driver.run(happened));
        Ok(client)
    }
}

/// Who is told of everything, in the moment in which it happens; and then, by `None`, that this was all that belongs together. The
/// engine has the values.
pub(crate) type Observer = Box<dyn Fn(Option<&Event>, &Engine)>;

/// The machine and the browser's ends that it is connected to.
struct Driver {
    engine: Engine,
    gateway: String,
    socket: Option<(SocketId, Socket)>,
    ends: Ends,
    happens: UnboundedSender<Input>,
    observer: Option<Observer>,
}

impl Driver {
    /// The loop. Ends with the last handle.
    async fn run(mut self, mut happened: UnboundedReceiver<Input>) {
        loop {
            let input = poll_fn(|context| match happened.poll_next_unpin(context) {
                Poll::Ready(Some(input)) => Poll::Ready(Some(input)),
                // The browser's events never end, as we could send some ourselves.
                Poll::Ready(None) | Poll::Pending => self.engine.poll_input(context),
            });
            let Some(input) = input.await else { return };
            self.take_in(input).await;
        }
    }

    /// Hands `input` to the machine and does what it wants done.
    async fn take_in(&mut self, input: Input) {
        self.engine.handle(input, ends::moment());
        while let Some(action) = self.engine.poll_action() {
            self.carry_out(action).await;
        }
        self.ends.wake_at(self.engine.poll_timeout());
        self.observe(None);
    }

    fn observe(&self, event: Option<&Event>) {
        if let Some(observer) = &self.observer {
            observer(event, &self.engine);
        }
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
            Action::Emit(event) => self.observe(Some(&event)),
            action => {
                if let Some(answer) = self.ends.carry_out(action).await {
                    self.engine.handle(answer, ends::moment());
                }
            }
        }
    }

    fn open_socket(&mut self, id: SocketId) {
        let call_back = ends::sender(&self.happens, move |event| match event {
            SocketEvent::Opened => Input::SocketOpened(id),
            SocketEvent::Frame(text) => Input::Frame(id, Secret::new(text)),
            SocketEvent::Closed => Input::SocketClosed(id),
        });
        let call_now = call_back.clone();
        match Socket::open(&self.gateway, move |event| in_place::now(|| call_now(event))) {
            Ok(socket) => self.socket = Some((id, socket)),
            // To the machine a refusal by the browser is a gateway that cannot be reached.
            Err(_) => call_back(SocketEvent::Closed),
        }
    }
}
