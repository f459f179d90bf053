//! Who is logged in, and what services are told of it.

use serde::{Deserialize, Serialize};

use crate::{SessionId, UserId};

/// A user as clients see it: the members of the model `session.user.<cid>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's id, as the user directory has it.
    pub id: UserId,
    /// The name to show.
    pub name: String,
    /// What services decide access by.
    pub role: String,
}

/// The access token that a connection gets: what services receive with each access, call and auth request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// The session behind the token; also its token id (RES "tid").
    pub sid: SessionId,
    /// The user's id.
    pub user_id: UserId,
    /// The user's role.
    pub role: String,
}
