//! The keeper of a session over a client of JavaScript's, raw: its only loop.

use std::{future::poll_fn, task::Poll};

use futures_channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures_util::StreamExt as _;
use js_sys::Function;
use relogin_client::{
    Action, AloneAction, AloneInput, Binding, Command, Config, EndReason, Event, Input, KeeperAlone, Secret,
    SessionState, Token, User,
};
use relogin_res::{ResourceId, json};
use relogin_session::UserId;
use serde_json::Value as Json;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::{
    Tell,
    errors::{parts, read, request_error},
};
use crate::browser::{self, BrowserIo, StorageMode, moment};

/// A keeper at work, until it is freed. The session stays in storage.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawKeeper {
    asks: UnboundedSender<AloneInput>,
}

/// The machine, and what it is connected to.
struct Driver {
    keeper: KeeperAlone,
    io: BrowserIo,
    asked: UnboundedReceiver<AloneInput>,
    tell: Tell,
}

#[wasm_bindgen]
impl RawKeeper {
    /// Keeps the session of the service that was started with `--name` `name`. Storage has been looked at when this is
    /// fulfilled.
    ///
    /// # Errors
    /// If the name is none.
    pub async fn start(name: String, tell: Function) -> Result<RawKeeper, JsValue> {
        let broken = |message: &str| parts("client.invalid", message, None);
        let rid = ResourceId::parse(&name).map_err(|error| broken(&error.to_string()))?;
        let mut io = BrowserIo::new(String::new()).map_err(|error| broken(error.message()))?;
        io.keep_session(&name, &StorageMode::Bound, None).map_err(|error| broken(error.message()))?;
        let (asks, asked) = mpsc::unbounded();
        let mut driver = Driver { keeper: KeeperAlone::new(Config::new(rid)), io, asked, tell: Tell::new(tell) };
        driver.take_in(AloneInput::Own(Input::Start)).await;
        spawn_local(driver.run());
        Ok(Self { asks })
    }

    /// The client has a new connection.
    pub fn connected(&self) {
        self.ask(AloneInput::Connected);
    }

    /// The client's connection is lost.
    pub fn disconnected(&self) {
        self.ask(AloneInput::Disconnected);
    }

    /// The client's answer to a request: JSON.
    pub fn answered(&self, id: f64, payload: Option<String>) {
        let payload = payload.and_then(|payload| json::parse(&payload));
        // Ids count up from one.
        self.ask(AloneInput::Answered(id as u64, Ok(payload.unwrap_or(Json::Null))));
    }

    /// The client's error for a request; `data`: JSON.
    pub fn failed(&self, id: f64, code: &str, message: String, data: Option<String>) {
        self.ask(AloneInput::Answered(id as u64, Err(read(code, message, data))));
    }

    /// The user model's values, as JSON; nothing if they cannot be trusted.
    pub fn user(&self, user: Option<String>) {
        self.ask(AloneInput::User(user.and_then(|user| json::parse(&user))));
    }

    /// The user model's event `rotated`.
    pub fn rotated(&self, generation: f64) {
        self.ask(AloneInput::Rotated(generation as u64));
    }

    /// Logs in; `settled` is told with this token.
    pub fn login(&self, token: u32, username: String, password: String) {
        let login = Command::Login { username, password: Secret::new(password) };
        self.ask(AloneInput::Own(Input::Command(Token(token.into()), login)));
    }

    /// Logs out; `settled` is told with this token.
    pub fn logout(&self, token: u32) {
        self.ask(AloneInput::Own(Input::Command(Token(token.into()), Command::Logout)));
    }

    fn ask(&self, input: AloneInput) {
        // Fails if the loop has ended, which it does with us.
        let _ = self.asks.unbounded_send(input);
    }
}

impl Driver {
    /// The loop. Ends with the handle.
    async fn run(mut self) {
        while let Some(input) = self.next_input().await {
            self.take_in(input).await;
        }
        self.take_in(AloneInput::Own(Input::Stop)).await;
    }

    async fn next_input(&mut self) -> Option<AloneInput> {
        poll_fn(|context| match self.io.poll_event(context) {
            Poll::Ready(event) => Poll::Ready(Some(AloneInput::Own(event))),
            Poll::Pending => self.asked.poll_next_unpin(context),
        })
        .await
    }

    /// Hands `input` to the keeper, and does what that wants done, until it wants nothing more.
    async fn take_in(&mut self, input: AloneInput) {
        self.keeper.handle(input, moment());
        while let Some(action) = self.keeper.poll_action() {
            if let Some(answer) = self.carry_out(action).await {
                self.keeper.handle(AloneInput::Own(answer), moment());
            }
        }
        self.io.wake_at(self.keeper.poll_timeout());
    }

    async fn carry_out(&mut self, action: AloneAction) -> Option<Input> {
        match action {
            AloneAction::Request(frame) => self.tell.tell("request", &[frame.expose().into()]),
            AloneAction::Ready => self.tell.tell("ready", &[]),
            AloneAction::Replace => self.tell.tell("replace", &[]),
            AloneAction::Own(Action::Settle(Token(token), outcome)) => {
                let error = outcome.err().map_or(JsValue::UNDEFINED, |error| request_error(&error));
                self.tell.tell("settled", &[JsValue::from(token as u32), error]);
            }
            AloneAction::Own(Action::Emit(event)) => self.tell_event(event),
            AloneAction::Own(action) => return self.io.carry_out(&action).await,
        }
        None
    }

    fn tell_event(&self, event: Event) {
        match event {
            Event::Session(state) => {
                let (word, user, reason) = match state {
                    SessionState::Anonymous => ("anonymous", None, None),
                    SessionState::Resuming => ("resuming", None, None),
                    SessionState::LoggedIn(user) => ("loggedIn", Some(user), None),
                    SessionState::Reconnecting(user) => ("reconnecting", Some(user), None),
                    SessionState::Ended(ended) => ("ended", None, Some(reason(ended))),
                };
                let user = user.map(|user| user_text(&user));
                self.tell.tell("session", &[word.into(), reason.into(), user.into()]);
            }
            Event::Binding(binding) => {
                let word = binding.map(|binding| match binding {
                    Binding::Bound => "bound",
                    Binding::Bearer => "bearer",
                });
                self.tell.tell("binding", &[word.into()]);
            }
            Event::Refresh(due) => {
                let wait = due.map(|due| due.saturating_sub(browser::now()).as_secs_f64() * 1000.0);
                self.tell.tell("refresh", &[wait.into()]);
            }
            // Resources and connections are the other client's.
            _ => {}
        }
    }
}

fn user_text(user: &User) -> String {
    let mut out = String::new();
    let mut members = json::Object::behind(&mut out);
    match &user.id {
        UserId::Number(number) => members.member("id").push_str(&number.to_string()),
        UserId::Text(text) => members.text("id", text),
    }
    members.text("name", &user.name);
    members.text("role", &user.role);
    members.end();
    out
}

/// Why a session is over, as `web/npm/index.d.ts` has it.
fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::LoggedOut => "loggedOut",
        EndReason::LoggedOutElsewhere => "loggedOutElsewhere",
        EndReason::Expired => "expired",
        EndReason::Stolen => "stolen",
        EndReason::Refused => "refused",
    }
}
