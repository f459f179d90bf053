//! Computes the words of the form to change the password. Must not know the DOM.

use std::borrow::Cow;

use relogin_client_proto::RequestError;
use relogin_res::{Error, code};

use super::{login, number};

/// How far the user is with another password.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Change {
    /// Nothing under way.
    #[default]
    Idle,
    /// A field was left empty: the current password, or else the new one.
    Incomplete { current: bool },
    /// Sent, not yet answered.
    Pending,
    /// It failed.
    Failed(RequestError),
    /// The password is the new one.
    Done,
}

/// The form.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Form {
    /// Why it did not work; empty if there is nothing to say.
    pub(crate) message: Cow<'static, str>,
    /// That it worked; likewise.
    pub(crate) done: &'static str,
    pub(crate) current_invalid: bool,
    pub(crate) new_invalid: bool,
    pub(crate) pending: bool,
}

impl Change {
    /// What is the matter with these passwords, if they are not worth sending.
    pub(crate) fn fault(current: &str, new: &str) -> Option<Self> {
        (current.is_empty() || new.is_empty()).then_some(Self::Incomplete { current: current.is_empty() })
    }
}

/// The form as it is now.
pub(super) fn form(change: &Change) -> Form {
    let is = |code| matches!(change, Change::Failed(RequestError::Refused(error)) if error.is(code));
    let current = matches!(change, Change::Incomplete { current: true }) || is("session.wrongPassword");
    let new = matches!(change, Change::Incomplete { current: false })
        || is("session.passwordTooShort")
        || is("session.passwordTooWeak");
    Form {
        message: match change {
            Change::Incomplete { current: true } => "Please enter your current password.".into(),
            Change::Incomplete { .. } => "Please enter a new password.".into(),
            Change::Failed(error) => words(error),
            Change::Idle | Change::Pending | Change::Done => "".into(),
        },
        done: match change {
            Change::Done => "Your password is changed. You are logged out everywhere else.",
            _ => "",
        },
        current_invalid: current,
        new_invalid: new,
        pending: *change == Change::Pending,
    }
}

fn words(error: &RequestError) -> Cow<'static, str> {
    let words = match error {
        RequestError::Refused(error) if error.is("session.tooManyAttempts") => {
            return ["Too many wrong passwords. Try again ", &login::retry(error), "."].concat().into();
        }
        RequestError::Refused(error) if error.is("session.passwordTooShort") => return too_short(error).into(),
        RequestError::Refused(error) if error.is("session.wrongPassword") => "The current password is wrong.",
        RequestError::Refused(error) if error.is("session.passwordTooWeak") => {
            "This password is too easy to guess. Please choose another."
        }
        RequestError::Refused(error)
            if error.is("session.passwordNotChangeable") || error.is(code::METHOD_NOT_FOUND) =>
        {
            "Your password cannot be changed here. Please ask whoever runs this site."
        }
        RequestError::Refused(_) => "The server has a problem and could not change your password. Please try again.",
        _ => "The server did not answer. If your old password no longer works, the new one does.",
    };
    words.into()
}

fn too_short(error: &Error) -> String {
    let least = error.data.as_ref().and_then(|data| data.get("minLength")?.as_u64());
    match least {
        Some(least) => ["A new password needs ", &number(least), " characters or more."].concat(),
        None => "This password is too short.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(code: &'static str) -> Form {
        form(&Change::Failed(RequestError::Refused(Error::new(code, ""))))
    }

    #[test]
    fn the_form_says_what_to_mend_and_where() {
        let invalid = |form: &Form| (form.current_invalid, form.new_invalid);
        for (current, new, expected) in [("", "", (true, false)), ("", "n", (true, false)), ("c", "", (false, true))] {
            let form = form(&Change::fault(current, new).unwrap());
            assert_eq!(invalid(&form), expected);
            assert!(form.message.starts_with("Please enter "), "{form:?}");
        }
        assert_eq!(Change::fault("c", "n"), None);
        assert_eq!(invalid(&refused("session.wrongPassword")), (true, false));
        assert_eq!(invalid(&refused("session.passwordTooWeak")), (false, true));
        let mut error = Error::new("session.passwordTooShort", "");
        error.data = Some(json!({"minLength": 8}));
        let short = form(&Change::Failed(RequestError::Refused(error)));
        assert_eq!((invalid(&short), &*short.message), ((false, true), "A new password needs 8 characters or more."));
        assert!(refused("session.passwordNotChangeable").message.contains("cannot be changed here"));
        let done = form(&Change::Done);
        assert!(done.done.contains("is changed") && done.message.is_empty() && !done.pending);
        assert!(form(&Change::Pending).pending);
        let lost = form(&Change::Failed(RequestError::TimedOut));
        assert!(lost.message.contains("the new one does"), "it may have been changed");
    }
}
