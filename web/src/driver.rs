//! Drives the client in a browser: the only loop. What happens to the page comes in as an [`Input`], and what the machine wants
//! done is done.
//!
//! Decides nothing: which key is used when, what a refusal means, when to reconnect, all that is crates/client-proto's.

use std::{future::poll_fn, task::Poll, time::Duration};

use relogin_client::{Client, Engine};
use relogin_client_proto::{Action, Config, Event, Input};
use relogin_res::{InvalidResourceId, ResourceId};
use wasm_bindgen_futures::spawn_local;

use crate::browser::{self, BrowserIo, Exception, StorageMode, moment, moment_at};

/// How to connect, and whether a session is kept.
#[derive(Clone, Debug)]
pub struct Options {
    gateway: String,
    config: Config,
    adopt: Option<String>,
    storage_mode: StorageMode,
}

impl Options {
    /// A plain RES client of the gateway at `gateway`, which keeps no session. The address may be absolute or relative, `ws:`,
    /// `wss:`, `http:` or `https:`; empty, it is `/ws` on the origin that served the page.
    #[must_use]
    pub fn new(gateway: impl Into<String>) -> Self {
        let name = ResourceId::parse("session").expect("a name of one part is a resource id");
        let mut config = Config::new(name);
        config.keep_session = false;
        Self { gateway: gateway.into(), config, adopt: None, storage_mode: StorageMode::Bound }
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

    /// As `demo::bearer` says.
    #[cfg_attr(not(feature = "demo"), allow(dead_code, reason = "for demonstrations"))]
    pub(crate) fn bearer(mut self) -> Self {
        self.storage_mode = StorageMode::Bearer;
        self
    }

    /// As `demo::thief` says.
    #[cfg_attr(not(feature = "demo"), allow(dead_code, reason = "for demonstrations"))]
    pub(crate) fn copied(mut self) -> Self {
        self.storage_mode = StorageMode::Copy(self.storage_mode.name(self.config.name.as_str()));
        self
    }

    /// Takes over the relogin key that a page of the kind that Resgate's guide shows (a legacy client) has kept in this origin's
    /// localStorage under the name `key`: once, where this session's storage has never had anything. So nobody has to log in again.
    #[must_use]
    pub fn adopt(mut self, key: impl Into<String>) -> Self {
        self.adopt = Some(key.into());
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
        let mut io = BrowserIo::new(browser::gateway(&self.gateway)?)?;
        if self.config.keep_session {
            io.keep_session(self.config.name.as_str(), &self.storage_mode, self.adopt.as_deref())?;
        }
        let (client, mut engine) = Engine::new(self.config, browser::now);
        if observer.is_some() {
            engine.tell_all();
        }
        let mut driver = Driver { engine, io, observer };
        driver.take_in(Input::Start, browser::now()).await;
        spawn_local(driver.run());
        Ok(client)
    }
}

/// Who is told of everything, in the moment in which it happens; and then, by `None`, that this was all that belongs together. The
/// engine has the values.
pub(crate) type Observer = Box<dyn Fn(Option<&Event>, &Engine)>;

/// The machine, and the browser that it is connected to.
struct Driver {
    engine: Engine,
    io: BrowserIo,
    observer: Option<Observer>,
}

impl Driver {
    /// The loop. Ends with the last handle.
    async fn run(mut self) {
        while let Some(input) = self.next_input().await {
            // What has happened by now is taken in now: to read the clock takes as long as most frames.
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

    /// Hands `input` to the machine, and does what that wants done, until it wants nothing more.
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
