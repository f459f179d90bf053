//! Drives the client in a browser: takes in what has happened as an [`Input`], and carries out the
//! machine's actions.
//!
//! Must not decide anything: which key is used when, what a refusal means, and when to reconnect is
//! up to crates/client-proto.

use std::{future::poll_fn, task::Poll, time::Duration};

use relogin_client::{Addresses, Client, Engine};
use relogin_client_proto::{Action, Config, Event, Input};
use relogin_res::{InvalidResourceId, ResourceId};
use wasm_bindgen_futures::spawn_local;

use crate::browser::{self, BrowserIo, Exception, StorageMode, moment, moment_at};

/// How to connect, and whether to keep a session.
#[derive(Clone, Debug)]
pub struct Options {
    gateways: Vec<String>,
    config: Config,
    adopt: Option<String>,
    storage_mode: StorageMode,
}

impl Options {
    /// A plain RES client of the gateway at this address, without a session. The address may be
    /// absolute or relative, with `ws:`, `wss:`, `http:` or `https:`; an empty one is `/ws` on the
    /// origin that served the page. Of several addresses it uses one that works:
    /// `Options::new(["wss://one.example", "wss://other.example"])`. They share what is stored: the
    /// session is kept under its name, whichever they are.
    #[must_use]
    pub fn new(gateways: impl Into<Addresses>) -> Self {
        let gateways = gateways.into().into_vec();
        Self { config: Config::plain(gateways.len()), gateways, adopt: None, storage_mode: StorageMode::Bound }
    }

    /// Keeps the session of the service that was started with `--name` `name`. All tabs of this
    /// origin share it: the relogin key is in the browser's storage (docs/protocol.md, section 4).
    ///
    /// # Errors
    /// [`InvalidResourceId`] if `name` is not a resource id.
    pub fn session(mut self, name: &str) -> Result<Self, InvalidResourceId> {
        self.config.name = ResourceId::parse(name)?;
        self.config.keep_session = true;
        Ok(self)
    }

    /// See `demo::bearer`.
    #[cfg_attr(not(feature = "demo"), allow(dead_code, reason = "for demonstrations"))]
    pub(crate) fn bearer(mut self) -> Self {
        self.storage_mode = StorageMode::Bearer;
        self
    }

    /// See `demo::thief`.
    #[cfg_attr(not(feature = "demo"), allow(dead_code, reason = "for demonstrations"))]
    pub(crate) fn copied(mut self) -> Self {
        self.storage_mode = StorageMode::Copy(self.storage_mode.name(self.config.name.as_str()));
        self
    }

    /// Takes over the relogin key that a legacy client (a page like the one in Resgate's guide on
    /// client sessions) has kept in this origin's localStorage under the name `key`, so that nobody
    /// has to log in again. This happens once, and only if this session's storage has never had a
    /// key.
    #[must_use]
    pub fn adopt(mut self, key: impl Into<String>) -> Self {
        self.adopt = Some(key.into());
        self
    }

    /// Changes the rest of the configuration: time-outs, and whether new connections are greeted.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Begins to connect, and resumes the session in storage, if there is one. Once this returns,
    /// storage has been read, and [`Client::session`] says what to show. Commands may be given at
    /// once: they wait for the connection.
    ///
    /// # Errors
    /// If an address is not a URL, or the browser has no generator of random values.
    pub async fn connect(self) -> Result<Client, Exception> {
        self.connect_observed(None).await
    }

    /// Does what [`Options::connect`] does. Tells `observer`, if there is one, of all events of all
    /// resources.
    pub(crate) async fn connect_observed(self, observer: Option<Observer>) -> Result<Client, Exception> {
        let mut io = BrowserIo::new(browser::gateways(&self.gateways)?)?;
        if self.config.keep_session {
            io.keep_session(self.config.name.as_str(), &self.storage_mode, self.adopt.as_deref())?;
        }
        let (client, mut engine) = Engine::new(self.config, browser::now);
        if observer.is_some() {
            engine.emit_all();
        }
        let mut driver = Driver { engine, io, observer };
        driver.take_in(Input::Start, browser::now()).await;
        spawn_local(driver.run());
        Ok(client)
    }
}

/// Called with each event at the moment in which it happens, and with `None` after the last event
/// of one input. The engine has the values.
pub(crate) type Observer = Box<dyn Fn(Option<&Event>, &Engine)>;

/// The machine, and the browser that it is connected to.
struct Driver {
    engine: Engine,
    io: BrowserIo,
    observer: Option<Observer>,
}

impl Driver {
    /// Runs until the last handle is dropped.
    async fn run(mut self) {
        while let Some(input) = self.next_input().await {
            // The clock is read once for all that has happened by now: reading it takes as long as
            // most frames do.
            let now = browser::now();
            self.take_in(input, now).await;
            while let Some(event) = self.io.next_queued() {
                self.take_in(event, now).await;
            }
        }
    }

    async fn next_input(&mut self) -> Option<Input> {
        poll_fn(|context| match self.io.poll_event(context) {
            Poll::Ready(event) => Poll::Ready(Some(event)),
            Poll::Pending => self.engine.poll_input(context),
        })
        .await
    }

    /// Hands `input` to the machine, and carries out its actions until there are no more.
    async fn take_in(&mut self, input: Input, now: Duration) {
        self.engine.handle(input, moment_at(now));
        while let Some(action) = self.engine.poll_action() {
            match (&action, &self.observer) {
                (Action::Emit(event), Some(observer)) => observer(Some(event), &self.engine),
                (Action::Diagnose(diagnostic), _) => log::debug!(target: "relogin", "{diagnostic}"),
                (action, _) => {
                    if let Some(answer) = self.io.carry_out(action).await {
                        self.engine.handle(answer, moment());
                    }
                }
            }
        }
        self.io.wake_at(self.engine.poll_timeout());
        if let Some(observer) = &self.observer {
            observer(None, &self.engine);
        }
    }
}
