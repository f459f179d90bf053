//! The users of `relogin serve --demo`. Must not depend on files.

use relogin_session::{Secret, User, UserId};

use crate::{
    cost::Cost,
    list::{Entry, Users},
    password::{HashingError, PasswordHash},
};

/// Id, username (also the password), name, role.
const USERS: [(i64, &str, &str, &str); 4] = [
    (1, "admin", "Administrator", "admin"),
    (2, "guest", "Guest", "guest"),
    (3, "jane", "Jane Doe", "user"),
    (4, "john", "John Doe", "user"),
];

/// The demo's users; each has the username as the password.
///
/// # Errors
/// [`HashingError`] if their passwords cannot be hashed.
pub fn users() -> Result<Users, HashingError> {
    let mut users = Users::default();
    for (id, username, name, role) in USERS {
        let password = PasswordHash::of(&Secret::new(username.to_owned()), Cost::OWASP)?;
        let user = User { id: UserId::Number(id), name: name.to_owned(), role: role.to_owned() };
        let username = username.to_owned();
        users.add(Entry { username, user, password, is_disabled: false }).expect("names and ids of USERS are unique");
    }
    Ok(users)
}
