//! What the page shows, worked out from what is known: words and nothing else. Knows no DOM.

use std::{borrow::Cow, time::Duration};

use relogin_client::{Binding, ConnectionState, EndReason, Event, RequestError, SessionState, User};
use relogin_res::{Error, json};
use relogin_session::UserId;

/// What the page knows.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) session: SessionState,
    pub(crate) connection: ConnectionState,
    pub(crate) binding: Option<Binding>,
    pub(crate) login: Login,
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
    /// How a stolen key's thief stands, once there is one.
    pub(crate) thief: Option<Thief>,
    /// There was a connection before.
    pub(crate) was_connected: bool,
}

/// How far the user is with logging in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Login {
    /// Nothing under way.
    Idle,
    /// A field was left empty.
    Incomplete,
    /// Sent, not yet answered.
    Pending,
    /// It failed.
    Failed(RequestError),
}

/// A client that works with a copy of the key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Thief {
    pub(crate) session: SessionState,
    /// It was logged in once.
    pub(crate) got_in: bool,
}

/// What the page shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) screen: Screen,
    /// The connection, as style sheets and tests name it.
    pub(crate) connection: &'static str,
    /// The connection, in words.
    pub(crate) connection_text: &'static str,
    /// When it is tried again; empty if that is soon.
    pub(crate) retry_text: String,
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
pub(crate) enum Screen {
    Resuming {
        text: &'static str,
    },
    Login {
        /// Why there is a login form.
        reason: &'static str,
        /// Why it did not work; empty if there is nothing to say.
        message: Cow<'static, str>,
        /// The credentials were no good.
        invalid: bool,
        pending: bool,
    },
    Session {
        user: User,
        id: String,
        /// What is to be known of a session that is not bound to the browser; empty for one that is.
        binding: &'static str,
        refresh: String,
        seconds: String,
    },
}

/// Shown where there is nothing else to say.
const INVITATION: &str = "Use your username and password.";
/// Shown for what is not known.
const NOTHING: &str = "–";

impl Default for State {
    fn default() -> Self {
        Self {
            session: SessionState::Anonymous,
            connection: ConnectionState::Connecting,
            binding: None,
            login: Login::Idle,
            online: true,
            refresh_in: None,
            retry_in: None,
            seconds: None,
            bearer: false,
            thief: None,
            was_connected: false,
        }
    }
}

impl State {
    /// Keeps what the next view depends on.
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
            Some(seconds) if seconds >= 2 && state.online => ["in ", &number(seconds), " s"].concat(),
            _ => String::new(),
        };
        Self {
            screen: screen(state),
            connection,
            connection_text,
            retry_text,
            session: session(&state.session),
            key: if state.bearer || state.binding == Some(Binding::Bearer) { "bearer" } else { "bound" },
            can_steal: matches!(state.session, SessionState::LoggedIn(_)),
            thief: thief(state),
            owner: owner(state),
        }
    }
}

/// What of `event` there is to tell. `connection`: its state before; `resumes`: the user has not just logged in; `key`: its
/// generation by now, and how long until it is used.
pub(crate) fn news(
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
        Event::Session(SessionState::Resuming) if resumes => "There is a key: using it".into(),
        Event::Session(SessionState::Reconnecting(_)) => "The session is believed in".into(),
        Event::Session(SessionState::Ended(EndReason::LoggedOut)) => "Logged out".into(),
        Event::Session(SessionState::Ended(why)) => reason(*why).into(),
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

fn thief(state: &State) -> &'static str {
    match &state.thief {
        None => "Has nothing yet.",
        Some(Thief { session: SessionState::LoggedIn(_), .. }) => "Is in, until the owner uses the key.",
        Some(Thief { session: SessionState::Anonymous | SessionState::Ended(_), got_in: true }) => {
            "Was in, and is out again: the key was used twice."
        }
        Some(Thief { session: SessionState::Anonymous | SessionState::Ended(_), .. }) => {
            "Refused. The key opens nothing without its device."
        }
        Some(_) => "Has the key, and uses it…",
    }
}

fn owner(state: &State) -> &'static str {
    match (&state.session, &state.thief) {
        (SessionState::LoggedIn(_) | SessionState::Reconnecting(_), None) => "Logged in.",
        (SessionState::LoggedIn(_) | SessionState::Reconnecting(_), Some(_)) => "Logged in, and noticed nothing.",
        (SessionState::Resuming, _) => "Looks whether the key is still good…",
        (SessionState::Ended(EndReason::Stolen), _) => "Logged out, and told why.",
        (SessionState::Anonymous | SessionState::Ended(_), _) => "Nobody is logged in.",
    }
}

fn trouble(state: &State) -> &'static str {
    match (state.online, state.was_connected) {
        (false, _) => "Offline. Waiting for the network…",
        (true, true) => "Connection lost. Reconnecting…",
        (true, false) => "Cannot reach the server. Retrying…",
    }
}

fn screen(state: &State) -> Screen {
    match &state.session {
        SessionState::Resuming => Screen::Resuming {
            text: match state.connection {
                ConnectionState::Reconnecting { .. } => "Your session is picked up as soon as the server answers.",
                _ => "Picking up your session…",
            },
        },
        SessionState::LoggedIn(user) | SessionState::Reconnecting(user) => Screen::Session {
            user: user.clone(),
            id: match &user.id {
                UserId::Number(id) => json::to_text(&(*id).into()),
                UserId::Text(text) => text.clone(),
            },
            binding: match state.binding {
                Some(Binding::Bearer) => {
                    "This session is not bound to this browser: device keys need HTTPS and a browser that stores them. \
                     If somebody copies its key and uses it, the session ends for both of you."
                }
                Some(Binding::Bound) | None => "",
            },
            refresh: refresh(state.refresh_in),
            seconds: state.seconds.map_or_else(|| NOTHING.to_owned(), number),
        },
        SessionState::Anonymous => login(state, INVITATION),
        SessionState::Ended(why) => login(state, reason(*why)),
    }
}

/// Why there is nobody logged in, as far as can be known.
fn reason(why: EndReason) -> &'static str {
    match why {
        // The user knows.
        EndReason::LoggedOut => INVITATION,
        EndReason::LoggedOutElsewhere => "You were logged out, in another tab or by an administrator.",
        EndReason::Expired => "Your session has expired. Please log in again.",
        EndReason::Stolen => "Somebody else has used your key, so your session was ended. Change your password.",
        EndReason::Refused => "Your session has expired or was ended. Please log in again.",
    }
}

fn login(state: &State, reason: &'static str) -> Screen {
    let connected = state.connection == ConnectionState::Connected;
    let message = match &state.login {
        Login::Idle => "".into(),
        Login::Incomplete => "Please enter your username and your password.".into(),
        Login::Pending if connected => "".into(),
        Login::Pending => "The server cannot be reached yet. You are logged in as soon as it answers.".into(),
        Login::Failed(error) => words(error),
    };
    Screen::Login { reason, message, invalid: wrong(&state.login), pending: state.login == Login::Pending }
}

fn wrong(login: &Login) -> bool {
    matches!(login, Login::Incomplete)
        || matches!(login, Login::Failed(RequestError::Refused(error)) if error.is("session.wrongUsernamePassword"))
}

fn words(error: &RequestError) -> Cow<'static, str> {
    let words = match error {
        RequestError::Refused(error) if error.is("session.tooManyAttempts") => {
            return ["Too many failed logins. Try again ", &retry(error), "."].concat().into();
        }
        RequestError::Refused(error) if error.is("session.wrongUsernamePassword") => "Wrong username or password.",
        RequestError::Refused(error) if error.is("session.alreadyLoggedIn") => {
            "Somebody is logged in here already. Please reload the page."
        }
        RequestError::Refused(error) if error.is_system() => {
            "The server has a problem and could not log you in. Please try again."
        }
        RequestError::Refused(_) => "The server does not let you log in.",
        RequestError::TimedOut => "The server cannot be reached. Check your connection and try again.",
        RequestError::ConnectionLost => "The connection was lost. Please try again.",
        RequestError::Garbled | RequestError::Superseded | RequestError::NotSubscribed => {
            "The server's answer makes no sense. Please try again later."
        }
    };
    words.into()
}

/// When a login that came too soon may be tried again: "in 1 second", "in 5 minutes".
fn retry(error: &Error) -> String {
    let wait = error.data.as_ref().and_then(|data| data.get("retryAfter")?.as_f64());
    let (count, unit) = match wait.map(|wait| (wait / 1000.0).ceil().max(1.0) as u64) {
        None => return "later".to_owned(),
        Some(seconds @ ..60) => (seconds, "second"),
        Some(seconds) => (seconds.div_ceil(60), "minute"),
    };
    ["in ", &number(count), " ", unit, if count == 1 { "" } else { "s" }].concat()
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

/// (Not by `to_string`: that is the machinery which the client does without.)
fn number(number: u64) -> String {
    let mut text = String::new();
    json::write_number(number, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use relogin_client::{Binding, ConnectionState, EndReason, Event, RequestError, SessionState, User};
    use relogin_res::Error;
    use serde_json::json;

    use super::{Cow, Duration, Login, Screen, State, UserId, View};

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
    fn why_a_session_is_over_is_told_in_words() {
        let told = |why| match View::of(&connected(SessionState::Ended(why))).screen {
            Screen::Login { reason, .. } => reason,
            other => panic!("not the login form: {other:?}"),
        };
        assert!(told(EndReason::LoggedOut).contains("username and password"), "the user knows");
        assert!(told(EndReason::LoggedOutElsewhere).contains("another tab"));
        assert!(told(EndReason::Expired).contains("has expired."));
        assert!(told(EndReason::Stolen).contains("Change your password"));
        assert!(told(EndReason::Refused).contains("expired or was ended"));
    }

    #[test]
    fn a_failed_login_is_told_in_words() {
        let mut state = connected(SessionState::Anonymous);
        let refused = Error::new("session.wrongUsernamePassword", "Wrong username or password");
        state.login = Login::Failed(RequestError::Refused(refused));
        let (reason, wrong) = ("Use your username and password.", "Wrong username or password.".into());
        let expected = Screen::Login { reason, message: wrong, invalid: true, pending: false };
        assert_eq!(View::of(&state).screen, expected);
        state.login = Login::Failed(RequestError::TimedOut);
        assert!(message(&state).contains("cannot be reached"));
        state.login = Login::Failed(RequestError::Refused(Error::timeout()));
        assert!(message(&state).contains("has a problem"));
    }

    #[test]
    fn a_login_that_came_too_soon_is_told_when_to_come_again() {
        let told = |data: Option<serde_json::Value>| {
            let mut error = Error::new("session.tooManyAttempts", "Too many failed logins; try again later");
            error.data = data;
            let mut state = connected(SessionState::Anonymous);
            state.login = Login::Failed(RequestError::Refused(error));
            message(&state).strip_prefix("Too many failed logins. Try again ").unwrap().to_owned()
        };
        assert_eq!(told(Some(json!({ "retryAfter": 200 }))), "in 1 second.");
        assert_eq!(told(Some(json!({ "retryAfter": 30_000 }))), "in 30 seconds.");
        assert_eq!(told(Some(json!({ "retryAfter": 60_000 }))), "in 1 minute.");
        assert_eq!(told(Some(json!({ "retryAfter": 899_000 }))), "in 15 minutes.");
        assert_eq!(told(Some(json!({ "retryAfter": "soon" }))), "later.");
        assert_eq!(told(None), "later.");
    }

    #[test]
    fn what_becomes_of_thief_and_owner_is_told_in_words() {
        let told = |owner: &SessionState, thief: Option<(SessionState, bool)>| {
            let thief = thief.map(|(session, got_in)| super::Thief { session, got_in });
            let view = View::of(&State { thief, ..connected(owner.clone()) });
            (view.thief, view.owner)
        };
        let (owner, refused) = (SessionState::LoggedIn(jane()), SessionState::Ended(EndReason::Refused));
        assert_eq!(told(&owner, None), ("Has nothing yet.", "Logged in."));
        let (thief, still) = told(&owner, Some((refused.clone(), false)));
        assert!(thief.starts_with("Refused") && still.contains("noticed nothing"));
        let (thief, out) = told(&SessionState::Ended(EndReason::Stolen), Some((refused, true)));
        assert!(thief.contains("out again") && out.contains("told why"));
    }

    #[test]
    fn what_happens_is_told_a_line_each() {
        let told = |event, resumes| {
            let key = (Some(3), Some(Duration::from_secs(54)));
            super::news(&event, ConnectionState::Connected, resumes, key).unwrap_or_default().into_owned()
        };
        let logged_in = Event::Session(SessionState::LoggedIn(jane()));
        assert_eq!(told(logged_in.clone(), true), "Resumed: Jane Doe");
        assert_eq!(told(logged_in, false), "Logged in: Jane Doe");
        assert_eq!(told(Event::Refresh(Some(Duration::ZERO)), false), "Rotated to generation 3, refresh in 0:54");
        assert_eq!(told(Event::Refresh(None), false), "");
        let retry = Event::Connection(ConnectionState::Reconnecting { next_try: Duration::ZERO });
        assert_eq!(told(retry, true), "Connection lost");
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
        assert_eq!((view.connection, view.connection_text), ("reconnecting", "Connection lost. Reconnecting…"));
        assert_eq!(view.retry_text, "in 3 s");
    }

    #[test]
    fn an_unreachable_server_and_a_missing_network_are_told_apart() {
        let connection = ConnectionState::Reconnecting { next_try: Duration::ZERO };
        let mut state = State { connection, ..State::default() };
        assert_eq!(View::of(&state).connection_text, "Cannot reach the server. Retrying…");
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
