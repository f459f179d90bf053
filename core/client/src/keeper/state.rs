//! What the keeper can know: how this tab stands to the session, and who the user model says is logged in.

use relogin_res::Value;
use relogin_session::{User, UserId};
use serde_json::Value as Json;

use super::Holding;
use crate::{Ended, Freshness, Resource, Token};

/// How this tab stands to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is no key.
    Nobody(Option<Ended>),
    /// There is a key, which has not been used on this connection.
    Resuming,
    /// The connection holds the session. `stored`: as far as we know, storage has its key.
    Attached { holding: Holding, stored: bool },
}

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

/// Why storage is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Start,
    Linked,
    Logout(Token),
}

impl Seen {
    /// Reads the user model.
    pub(crate) fn of(freshness: Option<&Freshness>, model: Option<&Resource>) -> Self {
        let (Some(Freshness::Live), Some(Resource::Model(model))) = (freshness, model) else { return Self::Unknown };
        let json = |name| model.get(name).and_then(Value::json);
        let text = |name| json(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let id = match json("id") {
            None | Some(Json::Null) => return Self::Nobody,
            Some(Json::String(id)) => UserId::Text(id.clone()),
            Some(id) => id.as_i64().map_or_else(|| UserId::Text(id.to_string()), UserId::Number),
        };
        Self::Somebody(User { id, name: text("name"), role: text("role") })
    }
}
