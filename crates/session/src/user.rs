//! The logged-in user, and the access token and user model that services see.

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

/// The model `<name>.user.<cid>` as it goes over the wire: all members null when nobody is logged
/// in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserModel {
    /// The user's id.
    pub id: Option<UserId>,
    /// The name to show.
    pub name: Option<String>,
    /// What services decide access by.
    pub role: Option<String>,
}

impl From<Option<User>> for UserModel {
    fn from(user: Option<User>) -> Self {
        match user {
            Some(User { id, name, role }) => Self { id: Some(id), name: Some(name), role: Some(role) },
            None => Self::default(),
        }
    }
}

/// The access token that a connection gets: what services receive with each access, call and auth
/// request.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_has_all_members_always() {
        let written = |user| serde_json::to_string(&UserModel::from(user)).unwrap();
        assert_eq!(written(None), r#"{"id":null,"name":null,"role":null}"#);
        let jane = User { id: UserId::Number(3), name: "Jane Doe".to_owned(), role: "user".to_owned() };
        assert_eq!(written(Some(jane)), r#"{"id":3,"name":"Jane Doe","role":"user"}"#);
    }

    #[test]
    fn a_token_is_as_the_contract_has_it() {
        let user_id = UserId::Text("x".to_owned());
        let token = Token { sid: SessionId([0; 16]), user_id, role: "user".to_owned() };
        let text = r#"{"sid":"AAAAAAAAAAAAAAAAAAAAAA","userId":"x","role":"user"}"#;
        assert_eq!(serde_json::to_string(&token).unwrap(), text);
        assert_eq!(serde_json::from_str::<Token>(text).unwrap(), token);
    }
}
