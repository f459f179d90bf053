//! The page: shows what the client says, and tells it what the user wants. Knows neither RES nor keys.
#![forbid(unsafe_code)]

mod dom;
mod view;

use std::{panic, rc::Rc};

use futures_channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures_util::StreamExt;
use gloo_timers::callback::Interval;
use relogin_client::{Command, Config, Event, RequestError, Resource, SessionState};
use relogin_res::ResourceId;
use relogin_web::{
    Relogin,
    browser::{Exception, wake::WakeUps},
};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::spawn_local;
use web_sys::console;

use dom::{Dom, MissingElement};
use view::{Login, State, View};

/// The service's resource for who is logged in.
const SESSION: &str = "session";
/// The demo's counter, for users with a role.
const TICKER: &str = "ticker.model";

/// Everything that can happen to the page.
enum Happening {
    /// The client has news.
    Client(Event),
    /// The login form was submitted.
    Submitted,
    /// A login came to its end.
    LoginSettled(Result<(), RequestError>),
    /// The button to log out was pressed.
    LogoutPressed,
    /// A second went by: what counts down counts.
    Second,
}

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("The page is broken: {0}.")]
    Page(#[from] MissingElement),
    #[error("The page's gateway cannot be used: {0}.")]
    Gateway(#[from] Exception),
}

fn main() {
    panic::set_hook(Box::new(|panic| {
        console::error_1(&JsValue::from_str(&panic.to_string()));
        dom::fail("Something went wrong here. Please reload the page.");
    }));
    spawn_local(async {
        if let Err(error) = start().await {
            dom::fail(&error.to_string());
        }
    });
}

async fn start() -> Result<(), StartError> {
    let (happen, happenings) = mpsc::unbounded();
    let dom = Dom::find(&happen)?;
    let session = ResourceId::parse(SESSION).expect("the constant is a resource name");
    let (relogin, events) = Relogin::start(&dom::meta("res-gateway"), Config::new(session)).await?;
    let from_client = happen.clone();
    spawn_local(events.for_each(move |event| {
        send(&from_client, Happening::Client(event));
        std::future::ready(())
    }));
    spawn_local(Page { relogin: Rc::new(relogin), dom, happen, state: State::default(), ticker: None }.run(happenings));
    Ok(())
}

struct Page {
    relogin: Rc<Relogin>,
    dom: Dom,
    happen: UnboundedSender<Happening>,
    state: State,
    /// The counter, while somebody is logged in.
    ticker: Option<ResourceId>,
}

impl Page {
    async fn run(mut self, mut happenings: UnboundedReceiver<Happening>) {
        let seconds = self.happen.clone();
        let _seconds = Interval::new(1000, move || send(&seconds, Happening::Second));
        self.show();
        while let Some(happening) = happenings.next().await {
            match happening {
                Happening::Client(event) => self.take_in(event),
                Happening::Submitted => self.log_in(),
                Happening::LoginSettled(outcome) => self.login_settled(outcome),
                Happening::LogoutPressed => self.log_out(),
                Happening::Second => {}
            }
            self.show();
        }
    }

    fn take_in(&mut self, event: Event) {
        let Event::Session(session) = event else { return };
        match session {
            SessionState::LoggedIn(_) => {
                self.state.login = Login::Idle;
                self.dom.clear_credentials();
                self.subscribe();
            }
            SessionState::Ended(_) | SessionState::Anonymous => self.unsubscribe(),
            SessionState::Resuming | SessionState::Reconnecting(_) => {}
        }
    }

    fn log_in(&mut self) {
        if self.state.login == Login::Pending {
            return;
        }
        let (username, password) = self.dom.credentials();
        if username.is_empty() || password.is_empty() {
            self.state.login = Login::Incomplete;
            self.dom.focus_field(!username.is_empty());
            return;
        }
        self.state.login = Login::Pending;
        let (relogin, happen) = (Rc::clone(&self.relogin), self.happen.clone());
        spawn_local(async move {
            let outcome = relogin.login(username, password).await;
            send(&happen, Happening::LoginSettled(outcome));
        });
    }

    fn login_settled(&mut self, outcome: Result<(), RequestError>) {
        match outcome {
            // The session's new state says the rest.
            Ok(()) => self.state.login = Login::Idle,
            Err(error) => {
                self.state.login = Login::Failed(error);
                self.dom.focus_field(true);
            }
        }
    }

    fn log_out(&mut self) {
        let relogin = Rc::clone(&self.relogin);
        spawn_local(async move { relogin.logout().await });
    }

    fn subscribe(&mut self) {
        if self.ticker.is_none() {
            self.ticker = ResourceId::parse(TICKER).ok();
            self.command(Command::Subscribe);
        }
    }

    fn unsubscribe(&mut self) {
        self.command(Command::Unsubscribe);
        self.ticker = None;
    }

    /// Its outcome shows: the counter counts, or it does not.
    fn command(&self, command: impl FnOnce(ResourceId) -> Command) {
        if let Some(ticker) = self.ticker.clone() {
            let (relogin, command) = (Rc::clone(&self.relogin), command(ticker));
            spawn_local(async move { drop(relogin.command(command).await) });
        }
    }

    fn show(&mut self) {
        let state = &mut self.state;
        state.session = self.relogin.session();
        state.connection = self.relogin.connection();
        state.binding = self.relogin.binding();
        state.refresh_in = self.relogin.refresh_in();
        state.retry_in = self.relogin.retry_in();
        state.online = WakeUps::online();
        state.seconds = self.ticker.as_ref().and_then(|ticker| match self.relogin.resource(ticker)? {
            Resource::Model(model) => model.get("seconds")?.json()?.as_u64(),
            Resource::Collection(_) => None,
        });
        self.dom.show(&View::of(state));
        state.remember();
    }
}

fn send(happen: &UnboundedSender<Happening>, happening: Happening) {
    // Fails if the page's loop has ended, and it never does.
    let _ = happen.unbounded_send(happening);
}
