//! What the keeper can know: how this tab stands to the session, who the user model says is logged in, and what it has asked
//! of storage.

use std::time::Duration;

use relogin_res::{Value, json};
use relogin_session::{User, UserId};
use serde_json::Value as Json;

use super::{Holding, Record, Stored, challenge::Challenges};
use crate::{Action, EndReason, Freshness, Resource, Secret, Token, outbox::Outbox};

/// How this tab stands to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is no key.
    Nobody(Option<EndReason>),
    /// There is a key, which has not been used on this connection.
    Resuming,
    /// The connection holds the session. `stored`: as far as we know, storage has its key.
    Attached { holding: Holding, stored: bool },
}

/// What has come to pass on this connection, and ends with it.
#[derive(Clone, Debug, Default)]
pub(super) struct Here {
    /// A login or a key was sent: somebody may be logged in by it, and nobody know.
    pub(super) used: bool,
    /// The session whose key was sent, and no answer came: it may still arrive, and take the connection to that session.
    pub(super) unanswered: Option<Holding>,
    /// A logout that names no session was sent, or something was done that we know nothing of: no session is to be taken up.
    pub(super) tainted: bool,
    /// The user model says otherwise than storage: until when it may.
    pub(super) stray: Option<Duration>,
    /// Storage has logouts that a sibling is likely to finish: until when it may.
    pub(super) leftovers: Option<Duration>,
    /// The user model lost its user during the errand.
    pub(super) lost_meanwhile: bool,
    pub(super) challenges: Challenges,
    /// The legacy session that this connection has held, with the newest generation that was seen of it.
    pub(super) held: Option<Holding>,
    /// A sibling has used the key since: the session is on its connection now, for a legacy session is on one only.
    pub(super) displaced: bool,
    /// Who was shown when that session was lost.
    pub(super) lost_user: Option<User>,
}

/// What was heard against the session since its key was last good: it tells why, if the key is then refused.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    /// Somebody has made this generation, and storage does not have it.
    pub(super) rotated: Option<Holding>,
    /// The service took the user away.
    pub(super) taken: bool,
}

/// What user models call the user's id, the best first.
const IDS: [&str; 4] = ["id", "userId", "username", "name"];

/// Who is logged in on the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The user model is not there, or stale.
    #[default]
    Unknown,
    /// Nobody.
    Nobody,
    /// This user.
    Somebody(User),
}

/// What the next answer of storage is for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// The start: what to show.
    Start,
    /// A socket that opens: whether a challenge is worth asking for.
    Opened,
    /// A connection that takes requests: whether there is a key to use.
    Linked,
    /// A sign that something has changed.
    Check,
    /// The logout of this command; `removed`: what it has just tried to remove.
    Logout { token: Token, removed: Option<Record> },
    /// Logouts that a sibling had its time to finish.
    Leftovers,
    /// What is over: whether it is still in storage, so many swaps later.
    Over { tries: u8 },
    /// The errand of this number.
    Errand(u32),
}

/// What has been asked of storage, and not been answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Questions(Vec<(Asked, bool)>);

impl Questions {
    /// Asks what storage has; the answer may be stale.
    pub(super) fn read(&mut self, asked: Asked, out: &mut Outbox) {
        self.0.push((asked, false));
        out.push(Action::ReadStorage);
    }

    /// Asks what storage really has.
    pub(super) fn look(&mut self, asked: Asked, out: &mut Outbox) {
        self.swap(asked, None, None, out);
    }

    /// Puts `to` in the place of `from`, and asks what storage has then.
    pub(super) fn swap(&mut self, asked: Asked, from: Option<Secret>, to: Option<Secret>, out: &mut Outbox) {
        self.0.push((asked, true));
        out.push(Action::SwapStorage { from, to });
    }

    /// The next answer has come. `None` if nobody asked.
    pub(super) fn answered(&mut self, text: Option<Secret>) -> Option<(Asked, Stored)> {
        if self.0.is_empty() {
            return None;
        }
        let (asked, certain) = self.0.remove(0);
        Some((asked, Stored::read(text, certain)))
    }

    /// Whether nothing is to be answered.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Seen {
    /// Reads the user model.
    pub(crate) fn of(freshness: Option<&Freshness>, model: Option<&Resource>) -> Self {
        let (Some(Freshness::Live), Some(Resource::Model(model))) = (freshness, model) else { return Self::Unknown };
        Self::read(|name| model.get(name).and_then(Value::json))
    }

    /// Reads the user model by its members. A legacy service's may have others: without `id`, the first of [`IDS`] is the id.
    pub(crate) fn read<'a>(member: impl Fn(&str) -> Option<&'a Json>) -> Self {
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
        let read = |model: Json| Seen::read(|name| model.get(name));
        let jane = |id: UserId| Seen::Somebody(User { id, name: "Jane".to_owned(), role: String::new() });
        for nobody in [json!({}), json!({"id": null, "name": "Guest"}), json!({"username": null}), json!({"more": 1})] {
            assert_eq!(read(nobody.clone()), Seen::Nobody, "{nobody}");
        }
        assert_eq!(read(json!({"id": 3, "name": "Jane", "mail": {"a": 1}})), jane(UserId::Number(3)));
        assert_eq!(read(json!({"userId": "x", "name": "Jane", "username": "j"})), jane(UserId::Text("x".to_owned())));
        assert_eq!(read(json!({"username": "Jane", "role": 7})), jane(UserId::Text("Jane".to_owned())));
    }
}
