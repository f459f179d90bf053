//! Drives the client in a browser: the only loop. What happens to the page comes in as an [`Input`], and what the machine wants
//! done is done.
//!
//! Decides nothing: which key is used when, what a refusal means, when to reconnect, all that is core/client's.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use relogin_client::{Action, Config, Event, Input};
use relogin_handle::{Client, Engine};
use relogin_res::{InvalidResourceId, ResourceId};

use crate::{
    browser::{self, Exception},
    ends::{Ends, Keeping, moment, moment_at},
    tasks,
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

    /// Becomes a thief: when it connects, it copies what the storage of this session has by then, keeps it in memory, and has no device key.
    /// For trying out what a stolen key is worth.
    #[must_use]
    pub fn copied(mut self) -> Self {
        self.keeping = Keeping::Copy(self.keeping.name(self.config.name.as_str()));
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
        let ends = Ends::new(browser::gateway(&self.gateway)?)?;
        if self.config.keep_session {
            ends.keep(self.config.name.as_str(), &self.keeping);
        }
        let (client, mut engine) = Engine::new(self.config, browser::now);
        if observer.is_some() {
            engine.tell_all();
        }
        engine.handle(Input::Start, moment());
        let mut driver = Driver { engine, ends, observer };
        poll_fn(|context| driver.poll_settled(browser::now(), context)).await;
        tasks::spawn(poll_fn(move |context| driver.poll(context)));
        Ok(client)
    }
}

/// Who is told of everything, in the moment in which it happens; and then, by `None`, that this was all that belongs together. The
/// engine has the values.
pub(crate) type Observer = Box<dyn Fn(Option<&Event>, &Engine)>;

/// The machine and the browser's ends that it is connected to.
struct Driver {
    engine: Engine,
    ends: Ends,
    observer: Option<Observer>,
}

impl Driver {
    /// The loop. Ends with the last handle.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // What has happened by now is taken in now: the browser takes longer for the time than most frames take.
        let now = browser::now();
        loop {
            ready!(self.poll_settled(now, context));
            let input = match self.ends.poll_happened(context) {
                Poll::Ready(input) => input,
                Poll::Pending => match ready!(self.engine.poll_input(context)) {
                    Some(input) => input,
                    None => return Poll::Ready(()),
                },
            };
            self.engine.handle(input, moment_at(now));
        }
    }

    /// Does what the machine wants done, until it wants nothing more.
    fn poll_settled(&mut self, now: Duration, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.ends.is_asking() {
                let answer = ready!(self.ends.poll_happened(context));
                self.engine.handle(answer, moment_at(now));
            }
            match self.engine.poll_action() {
                Some(action) => self.carry_out(&action),
                None => {
                    self.ends.wake_at(self.engine.poll_timeout());
                    if let Some(observer) = &self.observer {
                        observer(None, &self.engine);
                    }
                    return Poll::Ready(());
                }
            }
        }
    }

    fn carry_out(&mut self, action: &Action) {
        match (action, &self.observer) {
            (Action::Emit(event), Some(observer)) => observer(Some(event), &self.engine),
            (action, _) => self.ends.carry_out(action),
        }
    }
}
