//! Computes the words of the page from its state. Must not know the DOM.

mod login;
mod password;
mod sessions;

use std::{borrow::Cow, time::Duration};

use relogin_client_proto::{Binding, ConnectionState, EndReason, Event, SessionState, User};
use relogin_res::json;
use relogin_session::UserId;

pub(crate) use login::Login;
pub(crate) use password::Change;
pub(crate) use sessions::{Ending, Row, Sessions, row};

/// What the page knows.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) session: SessionState,
    pub(crate) connection: ConnectionState,
    pub(crate) binding: Option<Binding>,
    pub(crate) login: Login,
    pub(crate) change: Change,
    /// False if the browser knows that it has no network.
    pub(crate) online: bool,
    /// Until the relogin key is used next.
    pub(crate) refresh_in: Option<Duration>,
    /// Until the next try to connect.
    pub(crate) retry_in: Option<Duration>,
    /// The demo's counter.
    pub(crate) seconds: Option<u64>,
    /// Whether this page makes bearer sessions, to show what they are.
    pub(crate) bearer: bool,
    /// The state of the client with a stolen key, once there is one.
    pub(crate) thief: Option<Thief>,
    /// There was a connection before.
    pub(crate) was_connected: bool,
    /// The user's sessions.
    pub(crate) sessions: Sessions,
}

/// A client that works with a copy of the key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Thief {
    pub(crate) session: SessionState,
    /// It has been logged in.
    pub(crate) got_in: bool,
}

/// What the page shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) screen: Screen,
    /// The document's title: the state in a word or two, first, for tabs are narrow.
    pub(crate) title: String,
    /// The connection, as style sheets and tests name it.
    pub(crate) connection: &'static str,
    /// The connection, in words.
    pub(crate) connection_text: &'static str,
    /// When it is tried again; empty if it need not be, or if there is no network to try it on.
    pub(crate) retry_text: String,
    /// Whether it can be tried again at once.
    pub(crate) can_retry: bool,
    /// The session, as style sheets and tests name it.
    pub(crate) session: &'static str,
    /// What the session's key is worth, likewise.
    pub(crate) key: &'static str,
    /// Whether there is a key to be copied.
    pub(crate) can_steal: bool,
    /// What became of the thief.
    pub(crate) thief: &'static str,
    /// What became of the owner.
    pub(crate) owner: &'static str,
}

/// Which of the views is shown, and what is in it.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one of them at a time")]
pub(crate) enum Screen {
    Resuming {
        text: &'static str,
    },
    Login {
        /// Why there is a login form.
        reason: &'static str,
        /// Why it did not work; empty if there is nothing to say.
        message: Cow<'static, str>,
        /// What the user has to correct.
        invalid: login::Fields,
        pending: bool,
    },
    Session {
        user: User,
        id: String,
        /// A note about a session that is not bound to the browser; empty for one that is.
        binding: &'static str,
        refresh: String,
        seconds: String,
        change: password::Form,
        /// The user's sessions.
        sessions: Vec<Row>,
        /// Why one could not be ended; empty if there is nothing to say.
        sessions_message: &'static str,
    },
}

/// Shown where there is nothing else to say.
const INVITATION: &str = "Use your username and password.";
/// The title of a page that could not start.
pub(crate) const FAILED_TITLE: &str = "Could not start – Relogin";
/// Shown for what is not known.
const NOTHING: &str = "–";

impl Default for State {
    fn default() -> Self {
        Self {
            session: SessionState::Anonymous,
            connection: ConnectionState::Connecting,
            binding: None,
            login: Login::Idle,
            change: Change::Idle,
            online: true,
            refresh_in: None,
            retry_in: None,
            seconds: None,
            bearer: false,
            thief: None,
            was_connected: false,
            sessions: Sessions::default(),
        }
    }
}

impl State {
    /// Updates what the next view depends on.
    pub(crate) fn remember(&mut self) {
        self.was_connected |= self.connection == ConnectionState::Connected;
    }
}

impl View {
    /// The view of `state`.
    pub(crate) fn of(state: &State) -> Self {
        let (connection, connection_text) = match state.connection {
            ConnectionState::Connecting | ConnectionState::Stopped => ("connecting", "Connecting…"),
            ConnectionState::Connected => ("connected", "Connected"),
            ConnectionState::Reconnecting { .. } => ("reconnecting", trouble(state)),
        };
        let retry_text = match state.retry_in.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0)) {
            Some(seconds) if seconds >= 2 && state.online => ["Next try in ", &number(seconds), " s"].concat(),
            Some(_) if state.online => "Reconnecting…".to_owned(),
            _ => String::new(),
        };
        Self {
            screen: screen(state),
            title: title(state),
            connection,
            connection_text,
            retry_text,
            can_retry: matches!(state.connection, ConnectionState::Reconnecting { .. }),
            session: session(&state.session),
            key: if is_bearer(state) { "bearer" } else { "bound" },
            can_steal: matches!(state.session, SessionState::LoggedIn(_)),
            thief: thief(state),
            owner: owner(state),
        }
    }
}

/// The line for `event` in the list of events, if it is worth one. `connection`: its state before;
/// `resumes`: the user has not just logged in; `key`: its generation by now, and how long until it
/// is used.
pub(crate) fn event_line(
    event: &Event,
    connection: ConnectionState,
    resumes: bool,
    key: (Option<u64>, Option<Duration>),
) -> Option<Cow<'static, str>> {
    Some(match event {
        Event::Connection(ConnectionState::Connected) => "Connected".into(),
        Event::Connection(ConnectionState::Connecting) => "Connecting".into(),
        Event::Connection(ConnectionState::Reconnecting { .. }) if connection == ConnectionState::Connected => {
            "Connection lost".into()
        }
        Event::Refresh(Some(_)) => {
            let generation = key.0?;
            let what = if generation == 1 { "Key of generation " } else { "Rotated to generation " };
            [what, &number(generation), ", refresh in ", &refresh(key.1)].concat().into()
        }
        Event::Session(SessionState::LoggedIn(user)) => {
            let how = if resumes { "Resumed: " } else { "Logged in: " };
            [how, &user.name].concat().into()
        }
        Event::Session(SessionState::Anonymous) => "Nobody is logged in".into(),
        Event::Session(SessionState::Resuming) if resumes => "Found a key, using it".into(),
        Event::Session(SessionState::Reconnecting(_)) => "Offline, still logged in".into(),
        Event::Session(SessionState::Ended(EndReason::LoggedOut)) => "Logged out".into(),
        Event::Session(SessionState::Ended(why)) => reason(*why).into(),
        _ => return None,
    })
}

/// The line of diagnostics for `event`; none for what happens to resources. `key`: as for
/// [`event_line`].
pub(crate) fn diagnosis(event: &Event, (generation, due): (Option<u64>, Option<Duration>)) -> Option<String> {
    let generation = generation.map_or_else(|| NOTHING.to_owned(), number);
    Some(match event {
        Event::Connection(ConnectionState::Stopped) => "connection: stopped".to_owned(),
        Event::Connection(ConnectionState::Connecting) => "connection: connecting".to_owned(),
        Event::Connection(ConnectionState::Connected) => "connection: connected".to_owned(),
        Event::Connection(ConnectionState::Reconnecting { .. }) => "connection: reconnecting".to_owned(),
        Event::Session(state) => ["session: ", session(state)].concat(),
        Event::Binding(Some(Binding::Bound)) => "key: bound to this browser".to_owned(),
        Event::Binding(Some(Binding::Bearer)) => "key: not bound to this browser".to_owned(),
        Event::Binding(None) => "key: none".to_owned(),
        Event::Refresh(_) => ["key: generation ", &generation, ", next use in ", &refresh(due)].concat(),
        _ => return None,
    })
}

/// The session's state, in one word.
fn session(session: &SessionState) -> &'static str {
    match session {
        SessionState::Anonymous => "anonymous",
        SessionState::Resuming => "resuming",
        SessionState::LoggedIn(_) => "in",
        SessionState::Reconnecting(_) => "reconnecting",
        SessionState::Ended(EndReason::LoggedOut) => "out",
        SessionState::Ended(EndReason::LoggedOutElsewhere) => "elsewhere",
        SessionState::Ended(EndReason::Expired) => "expired",
        SessionState::Ended(EndReason::Stolen) => "stolen",
        SessionState::Ended(EndReason::Refused) => "refused",
    }
}

/// The title of the page: first the state, then the name.
fn title(state: &State) -> String {
    let what = match (&state.session, &state.login) {
        (SessionState::LoggedIn(user), _) => &user.name,
        (SessionState::Reconnecting(_), _) => "Offline, still logged in",
        (SessionState::Resuming, _) => "Resuming…",
        (_, Login::Pending) => "Logging in…",
        (SessionState::Ended(EndReason::LoggedOut), _) => "Logged out",
        (SessionState::Ended(_), _) => "Session ended",
        (SessionState::Anonymous, _) => "Log in",
    };
    [what, " – Relogin"].concat()
}

fn is_bearer(state: &State) -> bool {
    state.bearer || state.binding == Some(Binding::Bearer)
}

fn thief(state: &State) -> &'static str {
    match &state.thief {
        None => "Has nothing yet.",
        Some(Thief { session: SessionState::LoggedIn(_), .. }) => "Logged in, until the owner uses the key.",
        Some(Thief { session: SessionState::Anonymous | SessionState::Ended(_), got_in: true }) => {
            "Got in, and is out again: the key was used twice."
        }
        Some(Thief { session: SessionState::Anonymous | SessionState::Ended(_), .. }) if is_bearer(state) => {
            "Refused. The owner was faster: the key has already been used."
        }
        Some(Thief { session: SessionState::Anonymous | SessionState::Ended(_), .. }) => {
            "Refused. The key opens nothing without its device."
        }
        Some(_) => "Has the key and is using it…",
    }
}

fn owner(state: &State) -> &'static str {
    match (&state.session, &state.thief) {
        (SessionState::LoggedIn(_) | SessionState::Reconnecting(_), None) => "Logged in.",
        (SessionState::LoggedIn(_) | SessionState::Reconnecting(_), Some(_)) => "Logged in, and noticed nothing.",
        (SessionState::Resuming, _) => "Checking whether the key is still valid…",
        (SessionState::Ended(EndReason::Stolen), _) => "Logged out, and told why.",
        (SessionState::Anonymous | SessionState::Ended(_), _) => "Nobody is logged in.",
    }
}

fn trouble(state: &State) -> &'static str {
    match (state.online, state.was_connected) {
        (false, _) => "Offline. Waiting for the network…",
        (true, true) => "Connection lost.",
        (true, false) => "No connection.",
    }
}

fn screen(state: &State) -> Screen {
    match &state.session {
        SessionState::Resuming => Screen::Resuming {
            text: match state.connection {
                ConnectionState::Reconnecting { .. } => "Your session will resume as soon as the server answers.",
                _ => "Resuming your session…",
            },
        },
        SessionState::LoggedIn(user) | SessionState::Reconnecting(user) => Screen::Session {
            user: user.clone(),
            id: match &user.id {
                UserId::Number(id) => json::to_text(&(*id).into()),
                UserId::Text(text) => text.clone(),
            },
            binding: match state.binding {
                Some(Binding::Bearer) if state.bearer => {
                    "This session is not bound to this browser, as you requested. If somebody copies its key and \
                     uses it, the session ends for both of you."
                }
                Some(Binding::Bearer) => {
                    "This session is not bound to this browser: device keys need HTTPS and a browser that stores them. \
                     If somebody copies its key and uses it, the session ends for both of you."
                }
                Some(Binding::Bound) | None => "",
            },
            refresh: refresh(state.refresh_in),
            seconds: state.seconds.map_or_else(|| NOTHING.to_owned(), number),
            change: password::form(&state.change),
            sessions: state.sessions.rows.clone(),
            sessions_message: state.sessions.ending.message(),
        },
        SessionState::Anonymous => login::screen(state, INVITATION),
        SessionState::Ended(why) => login::screen(state, reason(*why)),
    }
}

/// Why there is nobody logged in, as far as can be known: on the login form, and in the list of
/// events.
fn reason(why: EndReason) -> &'static str {
    match why {
        EndReason::LoggedOut => "You are logged out.",
        EndReason::LoggedOutElsewhere => {
            "You were logged out, in another tab, on another device or by an administrator."
        }
        EndReason::Expired => "Your session has expired. Please log in again.",
        EndReason::Stolen => {
            "Somebody else has used your key, so your session was ended. Log in to change your password."
        }
        EndReason::Refused => "Your session has expired or was ended. Please log in again.",
    }
}

/// Until the next refresh: "now", "0:42", "3 h 20 min".
fn refresh(wait: Option<Duration>) -> String {
    let Some(wait) = wait else { return NOTHING.to_owned() };
    match wait.as_secs_f64().ceil() as u64 {
        0 => "now".to_owned(),
        seconds @ 1..3600 => {
            let (minutes, seconds) = (seconds / 60, seconds % 60);
            let colon = if seconds < 10 { ":0" } else { ":" };
            [&number(minutes), colon, &number(seconds)].concat()
        }
        seconds => [&number(seconds / 3600), " h ", &number(seconds / 60 % 60), " min"].concat(),
    }
}

/// The digits of a number. (Not by `to_string`: that is the machinery which the client does
/// without.)
pub(crate) fn number(number: u64) -> String {
    let mut text = String::new();
    json::write_number(number, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use relogin_client_proto::{Binding, ConnectionState, EndReason, Event, RequestError, SessionState, User};
    use relogin_res::Error;
    use serde_json::json;

    use super::{Cow, Duration, Login, Screen, State, UserId, View, login::Fields};

    fn jane() -> User {
        User { id: UserId::Number(3), name: "Jane Doe".to_owned(), role: "user".to_owned() }
    }

    fn connected(session: SessionState) -> State {
        State { session, connection: ConnectionState::Connected, ..State::default() }
    }

    fn message(state: &State) -> Cow<'static, str> {
        match View::of(state).screen {
            Screen::Login { message, .. } => message,
            other => panic!("not the login form: {other:?}"),
        }
    }

    #[test]
    fn the_reason_why_a_session_ended_is_explained() {
        let shown = |why| match View::of(&connected(SessionState::Ended(why))).screen {
            Screen::Login { reason, .. } => reason,
            other => panic!("not the login form: {other:?}"),
        };
        assert_eq!(shown(EndReason::LoggedOut), "You are logged out.");
        assert!(shown(EndReason::LoggedOutElsewhere).contains("another tab"));
        assert!(shown(EndReason::Expired).contains("has expired."));
        assert!(shown(EndReason::Stolen).contains("change your password"));
        assert!(shown(EndReason::Refused).contains("expired or was ended"));
    }

    #[test]
    fn a_failed_login_is_explained() {
        let mut state = connected(SessionState::Anonymous);
        let refused = Error::new("session.wrongUsernamePassword", "Wrong username or password");
        state.login = Login::Failed(RequestError::Refused(refused));
        let (reason, wrong) = ("Use your username and password.", "Wrong username or password.".into());
        let invalid = Fields { username: true, password: true };
        let expected = Screen::Login { reason, message: wrong, invalid, pending: false };
        assert_eq!(View::of(&state).screen, expected);
        state.login = Login::Failed(RequestError::TimedOut);
        assert!(message(&state).contains("cannot be reached"));
        state.login = Login::Failed(RequestError::Refused(Error::timeout()));
        assert!(message(&state).contains("has a problem"));
        state.login = Login::Failed(RequestError::Refused(Error::invalid_params()));
        assert!(message(&state).contains("may be too long"), "it is not the server that has the problem");
    }

    #[test]
    fn credentials_that_cannot_be_right_are_reported_field_by_field() {
        let shown = |username: usize, password: usize| {
            let login = Login::fault(&"ü".repeat(username), &"ü".repeat(password))?;
            let state = State { login, ..connected(SessionState::Anonymous) };
            match View::of(&state).screen {
                Screen::Login { message, invalid, .. } => Some((message, invalid.username, invalid.password)),
                other => panic!("not the login form: {other:?}"),
            }
        };
        assert_eq!(shown(512, 8192), None);
        assert_eq!(shown(0, 0), Some(("Please enter your username and your password.".into(), true, true)));
        assert_eq!(shown(0, 9), Some(("Please enter your username.".into(), true, false)));
        assert_eq!(shown(9, 0), Some(("Please enter your password.".into(), false, true)));
        let (message, username, password) = shown(513, 9).unwrap();
        assert!(message.contains("username is too long") && message.contains("512") && username && !password);
        let (message, username, password) = shown(9, 8193).unwrap();
        assert!(message.contains("password is too long") && message.contains("8192") && !username && password);
    }

    #[test]
    fn the_title_says_the_state_first() {
        let title = |session, login| View::of(&State { login, ..connected(session) }).title;
        for (session, says) in [
            (SessionState::Anonymous, "Log in – Relogin"),
            (SessionState::Resuming, "Resuming… – Relogin"),
            (SessionState::LoggedIn(jane()), "Jane Doe – Relogin"),
            (SessionState::Reconnecting(jane()), "Offline, still logged in – Relogin"),
            (SessionState::Ended(EndReason::LoggedOut), "Logged out – Relogin"),
            (SessionState::Ended(EndReason::Stolen), "Session ended – Relogin"),
        ] {
            assert_eq!(title(session, Login::Idle), says);
        }
        assert_eq!(title(SessionState::Anonymous, Login::Pending), "Logging in… – Relogin");
    }

    #[test]
    fn during_back_off_it_can_be_tried_again_at_once() {
        let can_retry = |connection| View::of(&State { connection, ..State::default() }).can_retry;
        assert!(can_retry(ConnectionState::Reconnecting { next_try: Duration::from_secs(9) }));
        assert!(!can_retry(ConnectionState::Connected) && !can_retry(ConnectionState::Connecting));
    }

    #[test]
    fn a_throttled_login_says_when_to_try_again() {
        let shown = |data: Option<serde_json::Value>| {
            let mut error = Error::new("session.tooManyAttempts", "Too many failed logins; try again later");
            error.data = data;
            let mut state = connected(SessionState::Anonymous);
            state.login = Login::Failed(RequestError::Refused(error));
            message(&state).strip_prefix("Too many failed logins. Try again ").unwrap().to_owned()
        };
        assert_eq!(shown(Some(json!({ "retryAfter": 200 }))), "in 1 second.");
        assert_eq!(shown(Some(json!({ "retryAfter": 30_000 }))), "in 30 seconds.");
        assert_eq!(shown(Some(json!({ "retryAfter": 60_000 }))), "in 1 minute.");
        assert_eq!(shown(Some(json!({ "retryAfter": 899_000 }))), "in 15 minutes.");
        assert_eq!(shown(Some(json!({ "retryAfter": "soon" }))), "later.");
        assert_eq!(shown(None), "later.");
    }

    #[test]
    fn what_becomes_of_thief_and_owner_is_explained() {
        let shown = |owner: &SessionState, thief: Option<(SessionState, bool)>| {
            let thief = thief.map(|(session, got_in)| super::Thief { session, got_in });
            let view = View::of(&State { thief, ..connected(owner.clone()) });
            (view.thief, view.owner)
        };
        let (owner, refused) = (SessionState::LoggedIn(jane()), SessionState::Ended(EndReason::Refused));
        assert_eq!(shown(&owner, None), ("Has nothing yet.", "Logged in."));
        let (thief, still) = shown(&owner, Some((refused.clone(), false)));
        assert!(thief.starts_with("Refused") && still.contains("noticed nothing"));
        let (thief, out) = shown(&SessionState::Ended(EndReason::Stolen), Some((refused, true)));
        assert!(thief.contains("out again") && out.contains("told why"));
    }

    #[test]
    fn a_bearer_session_is_shown_without_a_word_of_device_keys() {
        let thief = Some(super::Thief { session: SessionState::Ended(EndReason::Refused), got_in: false });
        let binding = Some(Binding::Bearer);
        let state = State { bearer: true, binding, thief, ..connected(SessionState::LoggedIn(jane())) };
        let view = View::of(&state);
        let Screen::Session { binding, .. } = view.screen else { panic!("nobody is logged in") };
        assert!(binding.contains("not bound"));
        assert!(!binding.contains("device") && !view.thief.contains("device"), "{binding} {}", view.thief);
    }

    #[test]
    fn each_event_has_a_line() {
        let shown = |event, resumes| {
            let key = (Some(3), Some(Duration::from_secs(54)));
            super::event_line(&event, ConnectionState::Connected, resumes, key).unwrap_or_default().into_owned()
        };
        let logged_in = Event::Session(SessionState::LoggedIn(jane()));
        assert_eq!(shown(logged_in.clone(), true), "Resumed: Jane Doe");
        assert_eq!(shown(logged_in, false), "Logged in: Jane Doe");
        assert_eq!(shown(Event::Refresh(Some(Duration::ZERO)), false), "Rotated to generation 3, refresh in 0:54");
        assert_eq!(shown(Event::Refresh(None), false), "");
        let retry = Event::Connection(ConnectionState::Reconnecting { next_try: Duration::ZERO });
        assert_eq!(shown(retry, true), "Connection lost");
    }

    #[test]
    fn diagnostics_describe_connection_session_and_key() {
        let shown = |event| super::diagnosis(&event, (Some(3), Some(Duration::from_secs(54))));
        assert_eq!(shown(Event::Session(SessionState::Ended(EndReason::Stolen))).as_deref(), Some("session: stolen"));
        assert_eq!(shown(Event::Refresh(None)).as_deref(), Some("key: generation 3, next use in 0:54"));
        assert_eq!(shown(Event::Binding(Some(Binding::Bound))).as_deref(), Some("key: bound to this browser"));
    }

    #[test]
    fn a_session_that_is_not_bound_says_so() {
        let said = |binding| match View::of(&State { binding, ..connected(SessionState::LoggedIn(jane())) }).screen {
            Screen::Session { binding, .. } => binding,
            other => panic!("nobody is logged in: {other:?}"),
        };
        assert!(said(Some(Binding::Bearer)).contains("not bound"));
        assert_eq!((said(Some(Binding::Bound)), said(None)), ("", ""));
    }

    #[test]
    fn the_user_stays_on_show_while_reconnecting() {
        let mut state = connected(SessionState::LoggedIn(jane()));
        state.remember();
        state.session = SessionState::Reconnecting(jane());
        state.connection = ConnectionState::Reconnecting { next_try: Duration::from_secs(9) };
        state.retry_in = Some(Duration::from_millis(2500));
        state.seconds = Some(12);
        let view = View::of(&state);
        assert!(matches!(view.screen, Screen::Session { user, seconds, .. } if user == jane() && seconds == "12"));
        assert_eq!((view.connection, view.connection_text), ("reconnecting", "Connection lost."));
        assert_eq!(view.retry_text, "Next try in 3 s");
        state.retry_in = Some(Duration::ZERO);
        assert_eq!(View::of(&state).retry_text, "Reconnecting…");
    }

    #[test]
    fn an_unreachable_server_and_a_missing_network_are_told_apart() {
        let connection = ConnectionState::Reconnecting { next_try: Duration::ZERO };
        let mut state = State { connection, ..State::default() };
        assert_eq!(View::of(&state).connection_text, "No connection.");
        state.online = false;
        assert_eq!(View::of(&state).connection_text, "Offline. Waiting for the network…");
    }

    #[test]
    fn the_time_to_the_next_refresh() {
        let shown = |milliseconds: u64| {
            let mut state = connected(SessionState::LoggedIn(jane()));
            state.refresh_in = Some(Duration::from_millis(milliseconds));
            match View::of(&state).screen {
                Screen::Session { refresh, .. } => refresh,
                other => panic!("nobody is logged in: {other:?}"),
            }
        };
        assert_eq!(shown(0), "now");
        assert_eq!(shown(1), "0:01");
        assert_eq!(shown(59_001), "1:00");
        assert_eq!(shown(42_000), "0:42");
        assert_eq!(shown(12_000_000), "3 h 20 min");
    }
}
