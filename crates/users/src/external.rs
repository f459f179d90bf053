//! External users: the requests to another program, and how its answers are parsed (docs/users.md).
//! Must not know how the two communicate.
//!
//! An invalid answer is never taken for a wrong password. It is an internal error, so that clients
//! keep what they have and try again. No error here contains any text of an answer, because nobody
//! knows what is in it.

use bytes::Bytes;
use relogin_res::read;
use relogin_session::{Secret, SessionId, User, UserId};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{Credentials, DirectoryError, PasswordChange, PasswordChanged, PasswordCheck, UserChange};

/// Why the other program's answer is unusable.
#[derive(Debug, Error)]
pub enum ExternalError {
    /// It is not JSON, or does not have the expected form.
    #[error("its answer cannot be read, at byte {0}: expected an object with \"user\" or \"error\"")]
    Malformed(usize),
    /// It is about a different user.
    #[error("its answer is about a different user")]
    AnotherUser,
    /// It reports an error.
    #[error("it cannot answer: {0}")]
    Refused(Code),
}

/// The code of an error, as far as it can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code(Option<String>);

/// A login to be checked.
pub(crate) fn ask_login(credentials: Credentials<'_>) -> Bytes {
    let Credentials { username, password, remote_addr } = credentials;
    encode(&Question::Login { username, password, remote_addr })
}

/// A user to be looked up.
pub(crate) fn ask_user(id: &UserId) -> Bytes {
    encode(&Question::User { id })
}

/// A password to be changed.
pub(crate) fn ask_change(change: PasswordChange<'_>) -> Bytes {
    let PasswordChange { id, session: sid, current, new, remote_addr } = change;
    encode(&Question::Change { id, current, new, sid, remote_addr })
}

/// The answer to [`ask_change`]. A directory that knows of no such request takes it for
/// [`ask_user`]'s, and answers with a user: then it offers no changes.
pub(crate) fn read_changed(answer: &[u8]) -> Result<PasswordChanged, ExternalError> {
    let form: ChangedForm = read::credentials(answer).map_err(|error| ExternalError::Malformed(error.column()))?;
    match form {
        ChangedForm { changed: Some(true), error: None, .. } => Ok(PasswordChanged::Changed),
        ChangedForm { changed: Some(false), error: None, weak: true, .. } => Ok(PasswordChanged::Weak),
        ChangedForm { changed: Some(false), error: None, .. } => Ok(PasswordChanged::Wrong),
        ChangedForm { changed: None, .. } => Answer::read(answer).map(|_| PasswordChanged::NotOffered),
        ChangedForm { error: Some(error), .. } => Err(ExternalError::Refused(Code::of(error.code.as_ref()))),
    }
}

/// The answer to [`ask_login`].
pub(crate) fn read_login(answer: &[u8]) -> Result<PasswordCheck, ExternalError> {
    let Answer { user, id } = Answer::read(answer)?;
    Ok(user.map_or(PasswordCheck::Wrong(id), PasswordCheck::Right))
}

/// The answer to [`ask_user`].
pub(crate) fn read_user(answer: &[u8], asked: &UserId) -> Result<Option<User>, ExternalError> {
    match Answer::read(answer)?.user {
        Some(user) if user.id != *asked => Err(ExternalError::AnotherUser),
        user => Ok(user),
    }
}

/// An announced change of a user. `None` if it is something else.
pub(crate) fn read_change(text: &[u8]) -> Option<UserChange> {
    let ChangeForm { id, password, keep } = read::credentials(text).ok()?;
    Some(UserChange { id, is_password_new: password, keep })
}

/// The same, to be parsed by [`read_change`].
pub(crate) fn write_change(change: &UserChange) -> Vec<u8> {
    let UserChange { id, is_password_new, keep } = change.clone();
    let form = ChangeForm { id, password: is_password_new, keep };
    serde_json::to_vec(&form).expect("texts and numbers are written without fail")
}

pub(crate) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> DirectoryError {
    DirectoryError::Failed(Box::new(error))
}

#[derive(Serialize)]
#[serde(untagged)]
enum Question<'a> {
    #[serde(rename_all = "camelCase")]
    Login {
        username: &'a str,
        password: &'a Secret,
        remote_addr: Option<&'a str>,
    },
    #[serde(rename_all = "camelCase")]
    Change {
        id: &'a UserId,
        current: &'a Secret,
        new: &'a Secret,
        sid: SessionId,
        remote_addr: Option<&'a str>,
    },
    User {
        id: &'a UserId,
    },
}

fn encode(question: &Question<'_>) -> Bytes {
    let json = serde_json::to_vec(question).expect("texts and numbers are written without fail");
    // Wiped when the last handle is dropped, because it may contain a password.
    Bytes::from_owner(Zeroizing::new(json))
}

#[derive(Serialize, Deserialize)]
struct ChangeForm {
    id: UserId,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    password: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep: Option<SessionId>,
}

/// A valid answer.
struct Answer {
    user: Option<User>,
    id: Option<UserId>,
}

#[derive(Deserialize)]
struct AnswerForm {
    /// Null says that there is no such user; a missing member says nothing.
    #[serde(default, deserialize_with = "present")]
    user: Option<Option<User>>,
    #[serde(default)]
    id: Option<UserId>,
    #[serde(default)]
    error: Option<ErrorForm>,
}

#[derive(Deserialize)]
struct ChangedForm {
    #[serde(default)]
    changed: Option<bool>,
    #[serde(default)]
    weak: bool,
    #[serde(default)]
    error: Option<ErrorForm>,
}

#[derive(Deserialize)]
struct ErrorForm {
    #[serde(default)]
    code: Option<serde_json::Value>,
}

impl Answer {
    fn read(text: &[u8]) -> Result<Self, ExternalError> {
        // Not the parser's own error, because that quotes the text.
        let form: AnswerForm = read::credentials(text).map_err(|error| ExternalError::Malformed(error.column()))?;
        match form {
            AnswerForm { error: Some(error), .. } => Err(ExternalError::Refused(Code::of(error.code.as_ref()))),
            AnswerForm { user: Some(user), id, .. } => Ok(Self { user, id }),
            AnswerForm { user: None, .. } => Err(ExternalError::Malformed(text.len())),
        }
    }
}

impl Code {
    fn of(code: Option<&serde_json::Value>) -> Self {
        let is_code = |code: &str| {
            !code.is_empty() && code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
        };
        Self(code.and_then(serde_json::Value::as_str).filter(|code| is_code(code)).map(str::to_owned))
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("an error without a code"))
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<User>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use relogin_host::errors::Chain;

    use super::*;

    #[test]
    fn requests_are_as_documented() {
        let password = Secret::new("sesame".to_owned());
        let ask = |remote_addr| ask_login(Credentials { username: "Jane", password: &password, remote_addr });
        assert_eq!(ask(Some("1.2.3.4:5")), r#"{"username":"Jane","password":"sesame","remoteAddr":"1.2.3.4:5"}"#);
        assert_eq!(ask(None), r#"{"username":"Jane","password":"sesame","remoteAddr":null}"#);
        assert_eq!(ask_user(&UserId::Number(3)), r#"{"id":3}"#);
        assert_eq!(ask_user(&UserId::Text("j-4".into())), r#"{"id":"j-4"}"#);
        let (id, new) = (UserId::Number(3), Secret::new("horse".to_owned()));
        let session = SessionId([0; 16]);
        let change = PasswordChange { id: &id, session, current: &password, new: &new, remote_addr: Some("1.2.3.4:5") };
        let expected =
            r#"{"id":3,"current":"sesame","new":"horse","sid":"AAAAAAAAAAAAAAAAAAAAAA","remoteAddr":"1.2.3.4:5"}"#;
        assert_eq!(ask_change(change), expected);
    }

    #[test]
    fn a_change_is_made_refused_or_not_offered_and_nothing_else_is_taken_for_one() {
        let read = |text: &str| read_changed(text.as_bytes());
        assert_eq!(read(r#"{"changed":true,"more":1}"#).unwrap(), PasswordChanged::Changed);
        assert_eq!(read(r#"{"changed":false}"#).unwrap(), PasswordChanged::Wrong);
        assert_eq!(read(r#"{"changed":false,"weak":true}"#).unwrap(), PasswordChanged::Weak);
        for text in [r#"{"user":{"id":3,"name":"Jane","role":"user"}}"#, r#"{"user":null}"#] {
            assert_eq!(read(text).unwrap(), PasswordChanged::NotOffered);
        }
        for text in [
            "hunter2",
            "{}",
            r#"{"changed":"hunter2"}"#,
            r#"{"changed":true,"error":{"code":"db.down"}}"#,
            r#"{"error":{"code":"db.down"}}"#,
            r#"{"weak":true}"#,
        ] {
            let error = read(text).unwrap_err();
            assert!(!Chain(&error).to_string().contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn answers_are_a_user_nobody_or_no_answer() {
        let jane = User { id: UserId::Number(3), name: "Jane".into(), role: "user".into() };
        let text = r#"{"user":{"id":3,"name":"Jane","role":"user","email":"x"},"more":1}"#;
        assert_eq!(read_login(text.as_bytes()).unwrap(), PasswordCheck::Right(jane.clone()));
        assert_eq!(read_user(text.as_bytes(), &UserId::Number(3)).unwrap(), Some(jane));
        for id in [UserId::Number(4), UserId::Text("3".into())] {
            assert!(matches!(read_user(text.as_bytes(), &id), Err(ExternalError::AnotherUser)));
        }
        let wrong = |text: &str| read_login(text.as_bytes()).unwrap();
        assert_eq!(wrong(r#"{"user":null}"#), PasswordCheck::Wrong(None));
        assert_eq!(wrong(r#"{"user":null,"id":3,"error":null}"#), PasswordCheck::Wrong(Some(UserId::Number(3))));
        assert_eq!(read_user(br#"{"user":null}"#, &UserId::Number(3)).unwrap(), None);
    }

    #[test]
    fn an_unusable_answer_is_no_wrong_password_and_is_not_quoted() {
        for text in [
            "",
            "hunter2",
            "null",
            "[]",
            "{}",
            r#"{"result":{"user":null}}"#,
            r#"{"user":"hunter2"}"#,
            r#"{"user":{"id":3,"name":"hunter2"}}"#,
            r#"{"user":{"id":1.5,"name":"hunter2","role":"user"}}"#,
            r#"{"user":{"id":3,"name":"J","role":["hunter2"]}}"#,
            r#"[{"id":3,"name":"hunter2","role":"user"}]"#,
            r#"{"user":[3,"hunter2","admin"]}"#,
            r#"{"error":["hunter2"]}"#,
            r#"{"user":null,"error":{"code":"system.internalError","message":"hunter2"}}"#,
            r#"{"error":{"code":"the password was hunter2"}}"#,
            r#"{"error":{"message":"hunter2"}}"#,
            r#"{"error":{"code":{"hunter2":1}}}"#,
            r#"{"user":null} hunter2"#,
            "\u{feff}{\"user\":null}",
        ] {
            let error = read_login(text.as_bytes()).unwrap_err();
            assert!(!Chain(&error).to_string().contains("hunter2"), "{text}: {error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{text}: {error:?}");
        }
        let refused = read_login(br#"{"error":{"code":"db.down"}}"#).unwrap_err();
        assert_eq!(refused.to_string(), "it cannot answer: db.down");
    }
}
