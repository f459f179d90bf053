//! The page: shows what the client says, and passes on what the user wants. Must not depend on RES
//! or keys.
#![forbid(unsafe_code)]

mod diagnostics;
mod dom;
mod folds;
mod view;

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use futures_channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures_util::Stream;
use relogin_client_proto::{EndReason, RequestError};
use relogin_res::json;
use relogin_web::{Client, Error, Event, Events, Options, Resource, SessionState, demo};
use wasm_bindgen_futures::spawn_local;

use view::{Change, Ending, Login, Row, Sessions, State, Thief, View};

/// The service's resource for who is logged in.
const SESSION: &str = "session";
/// The demo's counter, for users with a role.
const TICKER: &str = "ticker.model";
/// The user's sessions.
const SESSIONS: &str = "session.sessions.{cid}";

/// Everything that can sender to the page.
enum PageEvent {
    /// The client, or the counter, has an event.
    Client(Event),
    /// The login form was submitted.
    Submitted,
    /// A login came to its end.
    LoginSettled(Result<(), Error>),
    /// The form with a new password was submitted.
    ChangeSubmitted,
    /// A change of the password came to its end.
    ChangeSettled(Result<(), Error>),
    /// The button to log out was pressed.
    LogoutPressed,
    /// The button to steal the key was pressed.
    StealPressed,
    /// The button to connect at once was pressed.
    RetryPressed,
    /// The list of sessions was folded or unfolded.
    SessionsToggled,
    /// The button to log out the session of this id was pressed.
    RevokePressed(String),
    /// The button to log out all others was pressed.
    RevokeOthersPressed,
    /// Sessions were ended, or not.
    RevokeSettled(Ending),
    /// Somebody has a copy of the key, and uses it.
    Stolen(Client),
    /// The thief's client has an event.
    Thief(Event),
    /// A second went by: what counts down counts.
    Second,
}

fn main() {
    // For developers. Users see what start.js shows after any trap: a panic's text is not shipped.
    #[cfg(debug_assertions)]
    std::panic::set_hook(Box::new(|panic| {
        web_sys::console::error_1(&panic.to_string().into());
    }));
    spawn_local(start());
}

async fn start() {
    let debug = dom::is_asked_for("debug");
    if debug {
        diagnostics::show();
    }
    let bearer = dom::is_asked_for("bearer");
    let options = Options::new(dom::meta("res-gateway"));
    let options = options.session(SESSION).expect("a name of one part is a resource id");
    let options = if bearer { demo::bearer(options) } else { options };
    let adopted = dom::meta("relogin-adopt");
    let options = if adopted.is_empty() { options } else { options.adopt(adopted) };
    // First, so that the gateway can answer while the page is made ready for its user.
    match options.clone().connect().await {
        Ok(client) => {
            let events = client.events();
            let (sender, received) = mpsc::unbounded();
            folds::keep();
            let user = sender.clone();
            dom::listen(move |event| send(&user, event));
            let state = State { bearer, ..State::default() };
            let (ticker, sessions, thief) = (None, None, None);
            let (fresh, was_stolen) = (false, false);
            let page = Page {
                options,
                client,
                events,
                sender,
                received,
                state,
                debug,
                fresh,
                was_stolen,
                ticker,
                sessions,
                thief,
            };
            page.run().await;
        }
        Err(error) => dom::fail(&["The page's gateway cannot be used: ", error.message(), "."].concat()),
    }
}

/// Tells the page what has happened.
fn send(sender: &UnboundedSender<PageEvent>, event: PageEvent) {
    // Fails if the page is not there any more.
    let _ = sender.unbounded_send(event);
}

struct Page {
    options: Options,
    client: Client,
    events: Events,
    sender: UnboundedSender<PageEvent>,
    received: UnboundedReceiver<PageEvent>,
    state: State,
    /// Whether diagnostics are shown.
    debug: bool,
    /// The user has just sent the login form.
    fresh: bool,
    /// The last session ended because somebody else has used its key: who logs in next is to change
    /// the password.
    was_stolen: bool,
    /// The counter, while somebody is logged in.
    ticker: Option<(Resource, Events)>,
    /// The user's sessions, while they are shown.
    sessions: Option<(Resource, Events)>,
    thief: Option<(Client, Events)>,
}

impl Page {
    async fn run(mut self) {
        self.take_in(&Event::Session(self.client.session()));
        self.show();
        while let Some(event) = poll_fn(|context| self.poll_next(context)).await {
            match event {
                PageEvent::Client(event) => self.take_in(&event),
                PageEvent::Submitted => self.log_in(),
                PageEvent::LoginSettled(outcome) => self.login_settled(outcome),
                PageEvent::ChangeSubmitted => self.change_password(),
                PageEvent::ChangeSettled(outcome) => self.change_settled(outcome),
                PageEvent::LogoutPressed => self.log_out(),
                PageEvent::StealPressed => self.steal(),
                PageEvent::RetryPressed => self.client.connect_now(),
                PageEvent::Stolen(thief) => {
                    let events = thief.events();
                    dom::add_event("The thief has the key");
                    self.state.thief = Some(Thief { session: thief.session(), got_in: false });
                    self.thief = Some((thief, events));
                    dom::bring_into_view("parties");
                }
                PageEvent::Thief(event) => self.take_in_of_thief(&event),
                PageEvent::RevokePressed(id) => self.revoke(Some(id)),
                PageEvent::RevokeOthersPressed => self.revoke(None),
                PageEvent::RevokeSettled(ending) => self.state.sessions.ending = ending,
                PageEvent::SessionsToggled | PageEvent::Second => {}
            }
            self.show();
        }
    }

    /// What the user does comes first; then what the client says.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<PageEvent>> {
        if let Poll::Ready(event) = Pin::new(&mut self.received).poll_next(context) {
            return Poll::Ready(event);
        }
        if let Poll::Ready(event) = Pin::new(&mut self.events).poll_next(context) {
            return Poll::Ready(event.map(PageEvent::Client));
        }
        for followed in [&mut self.ticker, &mut self.sessions] {
            let event = poll_followed(followed, context);
            if event.is_ready() {
                return event;
            }
        }
        let Some((_, events)) = &mut self.thief else { return Poll::Pending };
        Pin::new(events).poll_next(context).map(|event| event.map(PageEvent::Thief))
    }

    fn take_in(&mut self, event: &Event) {
        let key = (self.client.generation(), self.client.refresh_in());
        if let Some(line) = view::diagnosis(event, key).filter(|_| self.debug) {
            dom::diagnostic(&line);
        }
        if let Some(line) = view::event_line(event, self.state.connection, !self.fresh, key) {
            dom::add_event(&line);
        }
        let Event::Session(session) = event else { return };
        match session {
            SessionState::LoggedIn(_) => {
                if std::mem::take(&mut self.was_stolen) {
                    dom::unfold_password(true);
                }
                (self.state.login, self.fresh) = (Login::Idle, false);
                dom::clear_credentials();
                self.subscribe();
            }
            SessionState::Ended(_) | SessionState::Anonymous => {
                self.ticker = None;
                self.was_stolen = *session == SessionState::Ended(EndReason::Stolen);
                self.state.change = Change::Idle;
                dom::clear_passwords();
                dom::unfold_password(false);
            }
            SessionState::Resuming | SessionState::Reconnecting(_) => {}
        }
    }

    fn log_in(&mut self) {
        if self.state.login == Login::Pending {
            return;
        }
        let (username, password) = dom::credentials();
        // What a phone's keyboard adds behind a word, and what comes along when a name is copied.
        let username = username.trim().to_owned();
        if let Some(fault) = Login::fault(&username, &password) {
            dom::focus_field(!fault.invalid().username);
            self.state.login = fault;
            return;
        }
        (self.state.login, self.fresh) = (Login::Pending, true);
        let (client, sender) = (self.client.clone(), self.sender.clone());
        spawn_local(async move {
            let outcome = client.login(&username, &password).await;
            send(&sender, PageEvent::LoginSettled(outcome));
        });
    }

    fn login_settled(&mut self, outcome: Result<(), Error>) {
        match outcome {
            // The session's new state says the rest.
            Ok(()) => self.state.login = Login::Idle,
            Err(error) => {
                self.state.login = Login::Failed(match error {
                    Error::Request(error) => error,
                    _ => RequestError::Garbled,
                });
                self.fresh = false;
                dom::focus_field(true);
            }
        }
    }

    fn change_password(&mut self) {
        if self.state.change == Change::Pending {
            return;
        }
        let (current, new) = dom::passwords();
        if let Some(fault) = Change::fault(&current, &new) {
            dom::focus_password(current.is_empty());
            self.state.change = fault;
            return;
        }
        self.state.change = Change::Pending;
        let (client, sender) = (self.client.clone(), self.sender.clone());
        spawn_local(async move {
            let outcome = client.change_password(&current, &new).await;
            send(&sender, PageEvent::ChangeSettled(outcome));
        });
    }

    fn change_settled(&mut self, outcome: Result<(), Error>) {
        self.state.change = match outcome {
            Ok(()) => {
                dom::clear_passwords();
                dom::add_event("Your password is changed");
                Change::Done
            }
            Err(Error::Request(error)) => Change::Failed(error),
            Err(_) => Change::Failed(RequestError::Garbled),
        };
    }

    fn log_out(&mut self) {
        let client = self.client.clone();
        spawn_local(async move { client.logout().await });
    }

    /// Ends a session on the list; none: all but this one.
    fn revoke(&mut self, session: Option<String>) {
        self.state.sessions.ending = Ending::Done;
        let (client, sender) = (self.client.clone(), self.sender.clone());
        spawn_local(async move {
            let method = if session.is_some() { "revoke" } else { "revokeOthers" };
            // Untyped, because that is less to download. What is no id is no JSON either.
            let params = session.and_then(|id| json::parse(&["{\"id\":\"", &id, "\"}"].concat()));
            let outcome = client.request(true, SESSION, method, params).await;
            let ending = match outcome.as_ref().map_err(Error::code) {
                // What is over needs no end.
                Ok(_) | Err(Some("session.noSuchSession")) => Ending::Done,
                Err(Some("session.loginTooOld")) => Ending::LoginTooOld,
                Err(_) => Ending::Failed,
            };
            send(&sender, PageEvent::RevokeSettled(ending));
        });
    }

    /// Subscribes to the list of sessions while it is unfolded and somebody is logged in.
    fn follow_sessions(&mut self) {
        let is_in = matches!(self.state.session, SessionState::LoggedIn(_) | SessionState::Reconnecting(_));
        if !(is_in && dom::are_sessions_open()) {
            (self.sessions, self.state.sessions) = (None, Sessions::default());
        } else if self.sessions.is_none() {
            self.sessions = followed(&self.client, SESSIONS);
        }
    }

    /// Starts a second client, with a copy of the key.
    fn steal(&mut self) {
        if !matches!(self.client.session(), SessionState::LoggedIn(_)) {
            return;
        }
        (self.thief, self.state.thief) = (None, None);
        let (options, sender) = (self.options.clone(), self.sender.clone());
        spawn_local(async move {
            // Our own has started, by the same options.
            if let Ok(thief) = demo::thief(options).connect().await {
                send(&sender, PageEvent::Stolen(thief));
            }
        });
    }

    fn take_in_of_thief(&mut self, event: &Event) {
        let Some(thief) = &mut self.state.thief else { return };
        match event {
            Event::Refresh(Some(_)) => thief.got_in = true,
            Event::Session(session) => {
                thief.got_in |= matches!(session, SessionState::LoggedIn(_));
                thief.session = session.clone();
                dom::add_event(match session {
                    SessionState::LoggedIn(_) => "The thief is in",
                    SessionState::Ended(_) if thief.got_in => "The thief is out",
                    SessionState::Ended(_) => "The thief is refused",
                    _ => return,
                });
            }
            _ => {}
        }
    }

    fn subscribe(&mut self) {
        if self.ticker.is_none() {
            // Its outcome shows: the counter counts, or it does not.
            self.ticker = followed(&self.client, TICKER);
        }
    }

    fn show(&mut self) {
        let state = &mut self.state;
        state.session = self.client.session();
        state.connection = self.client.connection();
        state.binding = self.client.binding();
        state.refresh_in = self.client.refresh_in();
        state.retry_in = self.client.retry_in();
        state.online = dom::is_online();
        state.sessions.rows = self.sessions.as_ref().map(|(list, _)| rows(list)).unwrap_or_default();
        state.seconds = self.ticker.as_ref().and_then(|(ticker, _)| ticker.member("seconds")?.json()?.as_u64());
        dom::show(&View::of(state));
        state.remember();
        self.follow_sessions();
    }
}

/// Subscribes to a resource.
fn followed(client: &Client, rid: &str) -> Option<(Resource, Events)> {
    let resource = client.follow(rid).ok()?;
    let events = resource.events();
    Some((resource, events))
}

/// The sessions on a list. (Not by `Client::sessions`: types are more to download.)
fn rows(list: &Resource) -> Vec<Row> {
    let now = js_sys::Date::now() as u64;
    let mut rows = Vec::new();
    for rid in list.references() {
        rows.extend(view::row(&|name| list.member_of(&rid, name)?.json().cloned(), now));
    }
    rows
}

/// The next event of what is followed.
fn poll_followed(followed: &mut Option<(Resource, Events)>, context: &mut Context<'_>) -> Poll<Option<PageEvent>> {
    match followed {
        Some((_, events)) => Pin::new(events).poll_next(context).map(|event| event.map(PageEvent::Client)),
        None => Poll::Pending,
    }
}
