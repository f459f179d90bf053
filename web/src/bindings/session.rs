//! The session manager over a client that is in JavaScript, and its driver. Must not depend on
//! sockets.

use std::{future::poll_fn, task::Poll, time::Duration};

use futures_channel::{
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    oneshot,
};
use futures_util::StreamExt as _;
use js_sys::Promise;
use relogin_client_proto::Input as BrowserEvent;
use relogin_res::{ResourceId, json};
use relogin_session_manager::{
    Action, Clock, Event, Input, ObservedUser, Request, RequestError, RequestId, Secret, SessionCommand, SessionConfig,
    SessionManager, Token,
};
use serde::Deserialize;
use serde_json::Value as Json;
use tsify::{Ts, Tsify};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::{Alive, error::ErrorValue, promise, session_event::SessionEvent, to_js, value::FromJs};
use crate::browser::{self, BrowserIo, StorageMode, moment};

/// The session to keep.
#[derive(Debug, Deserialize, Tsify)]
pub struct RawSessionOptions {
    /// The name of the session resource, as the service's `--name`.
    pub name: String,
    /// The name in localStorage under which the page kept its relogin key before. The key is taken
    /// over once.
    #[serde(default)]
    #[tsify(optional)]
    pub adopt: Option<String>,
    /// How often the key is used, in milliseconds, if the service does not say so.
    #[serde(default)]
    #[tsify(optional)]
    pub refresh: Option<f64>,
}

#[wasm_bindgen]
extern "C" {
    /// A function of the package. It never throws: it catches what listeners throw.
    #[wasm_bindgen(typescript_type = "(event: SessionEvent) => void")]
    #[derive(Debug)]
    pub type SessionObserver;

    #[wasm_bindgen(method, js_name = call)]
    fn call(this: &SessionObserver, this_value: &JsValue, event: JsValue);
}

/// A session manager, which runs until it is freed. The session stays in storage.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawSession {
    messages: UnboundedSender<Message>,
}

/// A message from JavaScript to the driver.
enum Message {
    Input(Input),
    /// A command, and who waits for its outcome.
    Command(SessionCommand, oneshot::Sender<Result<(), RequestError>>),
}

#[wasm_bindgen]
impl RawSession {
    /// Keeps a session. Fulfilled once storage has been read.
    ///
    /// # Errors
    /// If the name is not a resource id.
    pub async fn start(options: Ts<RawSessionOptions>, observer: SessionObserver) -> Result<RawSession, JsValue> {
        let RawSessionOptions { name, adopt, refresh } = options.to_rust().map_err(ErrorValue::invalid)?;
        ResourceId::parse(&name).map_err(ErrorValue::invalid)?;
        let mut io = BrowserIo::new(vec![String::new()]).map_err(ErrorValue::invalid)?;
        io.keep_session(&name, &StorageMode::Bound, adopt.as_deref()).map_err(ErrorValue::invalid)?;
        let mut config = SessionConfig::default();
        if let Some(refresh) = refresh.filter(|refresh| *refresh > 0.0) {
            config.refresh = Duration::from_millis(refresh as u64);
        }
        let (messages, received) = mpsc::unbounded();
        let mut driver = ManagerDriver {
            manager: SessionManager::new(config),
            clock: Clock::default(),
            io,
            received,
            waiting: Vec::new(),
            next_token: 0,
            observer,
            _alive: Alive::new(),
        };
        driver.take_in(Input::Start).await;
        spawn_local(driver.run());
        Ok(Self { messages })
    }

    /// Says that the client has a new connection.
    pub fn connected(&self) {
        self.input(Input::Opening);
        self.input(Input::Connected);
    }

    /// Says that the client's connection is lost.
    pub fn disconnected(&self) {
        self.input(Input::Disconnected);
    }

    /// Passes on the client's answer to a request: the result of the method.
    pub fn answered(&self, id: f64, #[wasm_bindgen(unchecked_param_type = "unknown")] payload: JsValue) {
        // Ids are small integers.
        self.input(Input::Answered(RequestId(id as u32), Ok(to_json(payload).unwrap_or_default())));
    }

    /// Passes on the client's error for a request.
    ///
    /// # Errors
    /// If `error` is not an error object.
    pub fn failed(&self, id: f64, error: &Ts<ErrorValue>) -> Result<(), JsValue> {
        let error = error.to_rust().map_err(ErrorValue::invalid)?;
        self.input(Input::Answered(RequestId(id as u32), Err(error.into_request_error())));
        Ok(())
    }

    /// Passes on the values of the user model when it was loaded or has changed; undefined if they
    /// are no longer up to date.
    #[wasm_bindgen(js_name = userChanged)]
    pub fn user_changed(&self, #[wasm_bindgen(unchecked_param_type = "unknown")] user: JsValue) {
        let user = to_json(user).map(|user| ObservedUser::read(|name| user.get(name)));
        self.input(Input::User(user.unwrap_or_default()));
    }

    /// Passes on the user model's event `rotated`, with its generation.
    pub fn rotated(&self, generation: f64) {
        self.input(Input::Rotated(generation as u64));
    }

    /// Logs in. Fulfilled once the key is stored.
    #[wasm_bindgen(unchecked_return_type = "Promise<void>")]
    pub fn login(&self, username: String, password: String) -> Promise {
        self.command(SessionCommand::Login { username, password: Secret::new(password) })
    }

    /// Logs out.
    #[wasm_bindgen(unchecked_return_type = "Promise<void>")]
    pub fn logout(&self) -> Promise {
        self.command(SessionCommand::Logout)
    }

    fn command(&self, command: SessionCommand) -> Promise {
        let (settle, settled) = oneshot::channel();
        self.send(Message::Command(command, settle));
        promise(Box::pin(async move {
            match settled.await {
                Ok(outcome) => outcome.map_err(|error| ErrorValue::from(&error))?,
                // This was freed, and the package has rejected the promises that wait.
                Err(oneshot::Canceled) => Err(ErrorValue::from(&RequestError::Superseded))?,
            }
            Ok(JsValue::UNDEFINED)
        }))
    }

    fn input(&self, input: Input) {
        self.send(Message::Input(input));
    }

    fn send(&self, message: Message) {
        // It fails only if the driver has ended, which it does with us.
        let _ = self.messages.unbounded_send(message);
    }
}

/// The session manager, and its I/O.
struct ManagerDriver {
    manager: SessionManager,
    clock: Clock,
    io: BrowserIo,
    received: UnboundedReceiver<Message>,
    /// Who waits for which command. They are few.
    waiting: Vec<(u64, oneshot::Sender<Result<(), RequestError>>)>,
    next_token: u64,
    observer: SessionObserver,
    _alive: Alive,
}

impl ManagerDriver {
    /// Runs until the handle is dropped.
    async fn run(mut self) {
        while let Some(input) = self.next_input().await {
            self.take_in(input).await;
        }
        self.take_in(Input::Stop).await;
    }

    /// The next input; `None` once the handle is dropped.
    async fn next_input(&mut self) -> Option<Input> {
        let next = poll_fn(|context| {
            loop {
                match self.io.poll_event(context) {
                    Poll::Ready(BrowserEvent::Platform(event)) => {
                        return Poll::Ready(Some(Message::Input(event.into())));
                    }
                    // The other client has its own sockets.
                    Poll::Ready(_) => {}
                    Poll::Pending => return self.received.poll_next_unpin(context),
                }
            }
        });
        match next.await? {
            Message::Input(input) => Some(input),
            Message::Command(command, settle) => {
                self.next_token += 1;
                self.waiting.push((self.next_token, settle));
                Some(Input::Command(Token(self.next_token), command))
            }
        }
    }

    /// Hands `input` to the manager, and carries out its actions until there are no more.
    async fn take_in(&mut self, input: Input) {
        self.handle(input);
        while let Some(action) = self.manager.poll_action() {
            if let Some(answer) = self.carry_out(action).await {
                self.handle(answer);
            }
        }
        while let Some(event) = self.manager.poll_event() {
            self.emit(&match event {
                Event::Diagnostic(diagnostic) => SessionEvent::Diagnostic { line: diagnostic.to_string() },
                Event::State(state) => SessionEvent::Status { status: state.into() },
                Event::Binding(binding) => SessionEvent::Binding { binding: binding.map(Into::into) },
                Event::Refresh(due) => {
                    let wait = |due: Duration| due.saturating_sub(browser::now()).as_secs_f64() * 1000.0;
                    SessionEvent::Refresh { refresh_in: due.map(wait) }
                }
            });
        }
        self.io.wake_at(self.manager.poll_timeout());
    }

    fn handle(&mut self, input: Input) {
        let turn = &mut self.clock.turn(moment(), self.manager.poll_timeout());
        self.manager.handle(input, turn);
    }

    async fn carry_out(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Request(Request { id: RequestId(id), method, params }) => {
                let params = params.and_then(|params| json::parse(params.expose())).unwrap_or_default();
                self.emit(&SessionEvent::Request { id: id.into(), method: method.to_owned(), params });
            }
            Action::Ready => self.emit(&SessionEvent::Ready),
            Action::Replace => self.emit(&SessionEvent::Replace),
            Action::Settle(Token(token), outcome) => {
                if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == token) {
                    let (_, settle) = self.waiting.swap_remove(at);
                    // It fails only if nobody waits any more.
                    let _ = settle.send(outcome);
                }
            }
            // The other client looks after its connection and its resources itself.
            Action::CheckConnection | Action::Authenticated => {}
            Action::Platform(action) => return self.io.carry_out_platform(&action).await.map(Input::Platform),
        }
        None
    }

    fn emit(&self, event: &SessionEvent) {
        self.observer.call(&JsValue::UNDEFINED, to_js(event));
    }
}

/// Converts a JavaScript value to JSON; `None` for undefined.
fn to_json(value: JsValue) -> Option<Json> {
    if value.is_undefined() {
        return None;
    }
    let FromJs(json) = serde_wasm_bindgen::from_value(value).ok()?;
    Some(json)
}
