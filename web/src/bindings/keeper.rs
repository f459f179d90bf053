//! The keeper of a session over a client of JavaScript's, raw: its only loop.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
};

use futures_channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures_util::StreamExt as _;
use js_sys::Function;
use relogin_client::{
    Action, AloneAction, AloneInput, Binding, Command, Config, Ended, Event, Input, KeeperAlone, Secret, SessionState,
    Token, User,
};
use relogin_res::{ResourceId, json};
use relogin_session::UserId;
use serde_json::Value as Json;
use wasm_bindgen::prelude::*;

use super::{
    Tell,
    errors::{parts, read, request_error},
};
use crate::{
    browser,
    ends::{Ends, Keeping, moment},
    tasks,
};

/// A keeper at work, until it is freed. The session stays in storage.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawKeeper {
    asks: UnboundedSender<AloneInput>,
}

/// The machine, and what it is connected to.
struct Driver {
    keeper: KeeperAlone,
    ends: Ends,
    asked: UnboundedReceiver<AloneInput>,
    /// The handle is gone, and the keeper was stopped.
    over: bool,
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
        let ends = Ends::new(String::new()).map_err(|error| broken(&error.to_string()))?;
        ends.keep(&name, &Keeping::Bound);
        let (asks, asked) = mpsc::unbounded();
        let keeper = KeeperAlone::new(Config::new(rid));
        let mut driver = Driver { keeper, ends, asked, over: false, tell: Tell::new(tell) };
        driver.keeper.handle(AloneInput::Own(Input::Start), moment());
        poll_fn(|context| driver.poll_settled(context)).await;
        tasks::spawn(poll_fn(move |context| driver.poll(context)));
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
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.poll_settled(context));
            if self.over {
                return Poll::Ready(());
            }
            let input = match self.ends.poll_happened(context) {
                Poll::Ready(input) => AloneInput::Own(input),
                Poll::Pending => ready!(self.asked.poll_next_unpin(context)).unwrap_or_else(|| {
                    self.over = true;
                    AloneInput::Own(Input::Stop)
                }),
            };
            self.keeper.handle(input, moment());
        }
    }

    /// Does what the keeper wants done, until it wants nothing more.
    fn poll_settled(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.ends.is_asking() {
                let answer = ready!(self.ends.poll_happened(context));
                self.keeper.handle(AloneInput::Own(answer), moment());
            }
            match self.keeper.poll_action() {
                Some(action) => self.carry_out(action),
                None => {
                    self.ends.wake_at(self.keeper.poll_timeout());
                    return Poll::Ready(());
                }
            }
        }
    }

    fn carry_out(&mut self, action: AloneAction) {
        match action {
            AloneAction::Request(frame) => self.tell.tell("request", &[frame.expose().into()]),
            AloneAction::Ready => self.tell.tell("ready", &[]),
            AloneAction::Replace => self.tell.tell("replace", &[]),
            AloneAction::Own(Action::Settle(Token(token), outcome)) => {
                let error = outcome.err().map_or(JsValue::UNDEFINED, |error| request_error(&error));
                self.tell.tell("settled", &[JsValue::from(token as u32), error]);
            }
            AloneAction::Own(Action::Emit(event)) => self.tell_event(event),
            AloneAction::Own(action) => self.ends.carry_out(&action),
        }
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
fn reason(ended: Ended) -> &'static str {
    match ended {
        Ended::LoggedOut => "loggedOutHere",
        Ended::LoggedOutElsewhere => "loggedOutElsewhere",
        Ended::Expired => "expired",
        Ended::Stolen => "stolen",
        Ended::Refused => "refused",
    }
}
