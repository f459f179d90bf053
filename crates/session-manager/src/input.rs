//! What goes into the [`SessionManager`](crate::SessionManager): everything that can happen to it.

use std::time::Duration;

use relogin_res::json;
use relogin_session::{User, UserId};
use serde_json::Value as Json;

use crate::{PlatformEvent, RequestError, RequestId, Secret, Token};

/// Lengths of time that do not change from input to input.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// How long a login may wait for its turn, and then for its answer: longer than the 15 s that
    /// it may queue at the service.
    pub login_timeout: Duration,
    /// How long one use of the relogin key waits for its answer before it is sent again.
    pub relogin_timeout: Duration,
    /// How long the storage lock is waited for before it is stolen; up to half as long again, so
    /// that two tabs do not steal it from each other.
    pub lock_timeout: Duration,
    /// How often the key of a legacy service is used, as such a service does not say how often:
    /// well within the life of its keys.
    pub refresh: Duration,
}

impl Default for SessionConfig {
    /// The lengths of time that suit a page.
    fn default() -> Self {
        Self {
            login_timeout: Duration::from_secs(20),
            relogin_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(3),
            refresh: Duration::from_secs(60),
        }
    }
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// Begin: look at the storage.
    Start,
    /// End: settle what is open as lost. The session stays in storage.
    Stop,
    /// A connection is being opened, and takes `auth` requests already, though their answers may be
    /// long in coming. Need not be told.
    Opening,
    /// There is a new connection, on which requests can be answered. If there was one before, it is
    /// lost.
    Connected,
    /// The connection is lost.
    Disconnected,
    /// Something came over the connection: it works, whatever was said of the network. An answer
    /// says so, too.
    Heard,
    /// The answer to the request of this id: what the method gave back.
    Answered(RequestId, Result<Json, RequestError>),
    /// The user model, `NAME.user.{cid}`, of this connection: it was loaded, has changed, or cannot
    /// be trusted any more.
    User(ObservedUser),
    /// The custom event `rotated` of the user model, with its generation.
    Rotated(u64),
    /// Something happened on the platform.
    Platform(PlatformEvent),
    /// The caller wants something.
    Command(Token, SessionCommand),
}

impl From<PlatformEvent> for Input {
    fn from(event: PlatformEvent) -> Self {
        Self::Platform(event)
    }
}

/// What a caller can want of a session.
#[derive(Clone, Debug)]
pub enum SessionCommand {
    /// Log in. Settles once the relogin key is stored.
    Login {
        /// Compared without regard to case.
        username: String,
        /// Wiped once sent.
        password: Secret,
    },
    /// Log out, here and in all tabs. Takes effect on the page at once; settles when the service
    /// has answered or cannot be reached (the session is then ended as soon as it can be), and
    /// never fails.
    Logout,
}

/// Who is logged in on the connection, as the user model says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ObservedUser {
    /// The user model is not there, or stale.
    #[default]
    Unknown,
    /// Nobody.
    Nobody,
    /// This user.
    Somebody(User),
}

/// What user models call the user's id, the best first.
const IDS: [&str; 4] = ["id", "userId", "username", "name"];

impl ObservedUser {
    /// Reads the user model by its members. A legacy service's may have others: without `id`, the
    /// first of `userId`, `username` and `name` is the id.
    pub fn read<'a>(member: impl Fn(&str) -> Option<&'a Json>) -> Self {
        let text = |name| member(name).and_then(Json::as_str);
        let id = match IDS.into_iter().find_map(&member) {
            None | Some(Json::Null) => return Self::Nobody,
            Some(Json::String(id)) => UserId::Text(id.clone()),
            Some(id) => id.as_i64().map_or_else(|| UserId::Text(json::to_text(id)), UserId::Number),
        };
        let name = text("name").or_else(|| text("username")).unwrap_or_default().to_owned();
        Self::Somebody(User { id, name, role: text("role").unwrap_or_default().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn user_models_of_other_members_name_a_user_too() {
        let read = |model: Json| ObservedUser::read(|name| model.get(name));
        let jane = |id: UserId| ObservedUser::Somebody(User { id, name: "Jane".to_owned(), role: String::new() });
        for nobody in [json!({}), json!({"id": null, "name": "Guest"}), json!({"username": null}), json!({"more": 1})] {
            assert_eq!(read(nobody.clone()), ObservedUser::Nobody, "{nobody}");
        }
        assert_eq!(read(json!({"id": 3, "name": "Jane", "mail": {"a": 1}})), jane(UserId::Number(3)));
        assert_eq!(read(json!({"userId": "x", "name": "Jane", "username": "j"})), jane(UserId::Text("x".to_owned())));
        assert_eq!(read(json!({"username": "Jane", "role": 7})), jane(UserId::Text("Jane".to_owned())));
    }
}
