//! The login form: what is sent, and what the page says of the outcome. Must not know the DOM.

use std::borrow::Cow;

use relogin_client_proto::{ConnectionState, RequestError};
use relogin_res::{Error, code};

use super::{Screen, State, number};

/// The longest username that is sent: services take no longer one.
const MAX_USERNAME: usize = 512;
/// The longest password that is sent, in characters: however they are written, they fit into what
/// services read.
const MAX_PASSWORD: usize = 8192;

/// How far the user is with logging in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Login {
    /// Nothing under way.
    Idle,
    /// Fields were left empty.
    Incomplete(Fields),
    /// There is too much in fields.
    TooLong(Fields),
    /// Sent, not yet answered.
    Pending,
    /// It failed.
    Failed(RequestError),
}

/// Some of the login form's fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) username: bool,
    pub(crate) password: bool,
}

impl Login {
    /// What is the matter with these credentials, if they are not worth sending.
    pub(crate) fn fault(username: &str, password: &str) -> Option<Self> {
        let empty = Fields { username: username.is_empty(), password: password.is_empty() };
        let long = |text: &str, most| text.chars().nth(most).is_some();
        let too_long = Fields { username: long(username, MAX_USERNAME), password: long(password, MAX_PASSWORD) };
        match (empty != Fields::default(), too_long != Fields::default()) {
            (true, _) => Some(Self::Incomplete(empty)),
            (_, true) => Some(Self::TooLong(too_long)),
            _ => None,
        }
    }

    /// The fields that the user is to mend.
    pub(crate) fn invalid(&self) -> Fields {
        match self {
            Self::Incomplete(fields) | Self::TooLong(fields) => *fields,
            Self::Failed(RequestError::Refused(error))
                if error.is("session.wrongUsernamePassword") || error.is(code::INVALID_PARAMS) =>
            {
                Fields { username: true, password: true }
            }
            _ => Fields::default(),
        }
    }
}

/// The login form, and why it is shown.
pub(super) fn screen(state: &State, reason: &'static str) -> Screen {
    let connected = state.connection == ConnectionState::Connected;
    let message = match &state.login {
        Login::Idle => "".into(),
        Login::Incomplete(Fields { username: true, password: true }) => {
            "Please enter your username and your password.".into()
        }
        Login::Incomplete(Fields { username: true, .. }) => "Please enter your username.".into(),
        Login::Incomplete(_) => "Please enter your password.".into(),
        Login::TooLong(Fields { username: true, .. }) => {
            ["This username is too long: it has more than ", &number(MAX_USERNAME as u64), " characters."]
                .concat()
                .into()
        }
        Login::TooLong(_) => {
            ["This password is too long: it has more than ", &number(MAX_PASSWORD as u64), " characters."]
                .concat()
                .into()
        }
        Login::Pending if connected => "".into(),
        Login::Pending => "The server cannot be reached yet. You will be logged in as soon as it answers.".into(),
        Login::Failed(error) => words(error),
    };
    Screen::Login { reason, message, invalid: state.login.invalid(), pending: state.login == Login::Pending }
}

fn words(error: &RequestError) -> Cow<'static, str> {
    let words = match error {
        RequestError::Refused(error) if error.is("session.tooManyAttempts") => {
            return ["Too many failed logins. Try again ", &retry(error), "."].concat().into();
        }
        RequestError::Refused(error) if error.is("session.wrongUsernamePassword") => "Wrong username or password.",
        RequestError::Refused(error) if error.is("session.alreadyLoggedIn") => {
            "Somebody is already logged in here. Please reload the page."
        }
        RequestError::Refused(error) if error.is(code::INVALID_PARAMS) => {
            "The server cannot read this username or password. It may be too long."
        }
        RequestError::Refused(error) if error.is_system() => {
            "The server has a problem and could not log you in. Please try again."
        }
        RequestError::Refused(_) => "The server refused the login.",
        RequestError::TimedOut => "The server cannot be reached. Check your connection and try again.",
        RequestError::ConnectionLost => "The connection was lost. Please try again.",
        RequestError::Garbled | RequestError::Superseded => {
            "This page does not understand the server's answer. Please try again later."
        }
    };
    words.into()
}

/// When a login that came too soon may be tried again: "in 1 second", "in 5 minutes".
pub(super) fn retry(error: &Error) -> String {
    let wait = error.data.as_ref().and_then(|data| data.get("retryAfter")?.as_f64());
    let (count, unit) = match wait.map(|wait| (wait / 1000.0).ceil().max(1.0) as u64) {
        None => return "later".to_owned(),
        Some(seconds @ ..60) => (seconds, "second"),
        Some(seconds) => (seconds.div_ceil(60), "minute"),
    };
    ["in ", &number(count), " ", unit, if count == 1 { "" } else { "s" }].concat()
}
