//! Edits the users file for `relogin user …`, keeping comments and order. Must not depend on
//! sessions or RES.

use std::{fs, io, path::Path};

use relogin_host::disk;
use relogin_session::UserId;
use thiserror::Error;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, TomlError, Value, value};

use crate::{
    file::FileError,
    list::{Users, UsersError},
    password::PasswordHash,
    prepare::prepared_username,
};

/// A user to be added.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The name to log in with.
    pub username: String,
    /// The id; if none, the number after the largest that the file has had.
    pub id: Option<UserId>,
    /// The display name; if none, the username.
    pub name: Option<String>,
    /// The role, by which services decide on access.
    pub role: String,
    /// The hash of the password.
    pub password: PasswordHash,
}

/// A change that was not made; the file is unchanged.
#[derive(Debug, Error)]
pub enum EditError {
    /// The file cannot be read or written, or is not a list of users.
    #[error(transparent)]
    File(#[from] FileError),
    /// The change would make the list invalid.
    #[error("cannot add the user")]
    User(#[source] UsersError),
    /// Nobody has that name.
    #[error("there is no user {0:?}")]
    NoSuchUser(String),
}

impl EditError {
    /// True if the file, or its folder, may not be written.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(self, Self::File(FileError::Io { source, .. }) if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem))
    }
}

/// Adds a user and returns the id. Creates the file if there is none.
///
/// # Errors
/// [`EditError`] if name or id is taken or the file cannot be changed.
pub fn add(path: &Path, user: NewUser) -> Result<UserId, EditError> {
    edit(path, true, |Edited { list, .. }, users| {
        let id = user.id.unwrap_or_else(|| UserId::Number(users.last_id().saturating_add(1)));
        let mut table = Table::new();
        table["id"] = Item::Value(id_value(&id));
        table["username"] = value(&user.username);
        table["name"] = value(user.name.as_ref().unwrap_or(&user.username));
        table["role"] = value(&user.role);
        table["password"] = value(user.password.to_string());
        if !list.is_empty() {
            table.decor_mut().set_prefix("\n");
        }
        list.push(table);
        Ok(id)
    })
}

/// Changes a user's password.
///
/// # Errors
/// [`EditError`] if there is no such user or the file cannot be changed.
pub fn set_password(path: &Path, username: &str, password: &PasswordHash) -> Result<(), EditError> {
    edit(path, false, |Edited { list, .. }, _| {
        find(list, username)?["password"] = value(password.to_string());
        Ok(())
    })
}

/// Replaces the hash `old` of a user by `new`, unless it has changed since. Returns whether it was
/// replaced.
///
/// # Errors
/// [`EditError`] if there is no such user or the file cannot be changed.
pub fn replace_hash(path: &Path, username: &str, old: &PasswordHash, new: &PasswordHash) -> Result<bool, EditError> {
    edit(path, false, |Edited { list, .. }, _| {
        let table = find(list, username)?;
        let is_old = table.get("password").and_then(Item::as_str) == Some(&old.to_string());
        if is_old {
            table["password"] = value(new.to_string());
        }
        Ok(is_old)
    })
}

/// Changes what others see of a user.
///
/// # Errors
/// [`EditError`] if there is no such user or the file cannot be changed.
pub fn set_name(path: &Path, username: &str, name: &str) -> Result<(), EditError> {
    set(path, username, "name", name)
}

/// Changes a user's role.
///
/// # Errors
/// [`EditError`] if there is no such user or the file cannot be changed.
pub fn set_role(path: &Path, username: &str, role: &str) -> Result<(), EditError> {
    set(path, username, "role", role)
}

fn set(path: &Path, username: &str, key: &str, text: &str) -> Result<(), EditError> {
    edit(path, false, |Edited { list, .. }, _| {
        find(list, username)?[key] = value(text);
        Ok(())
    })
}

/// Disables or enables a user.
///
/// # Errors
/// [`EditError`] if there is no such user or the file cannot be changed.
pub fn set_disabled(path: &Path, username: &str, is_disabled: bool) -> Result<(), EditError> {
    edit(path, false, |Edited { list, .. }, _| {
        let table = find(list, username)?;
        if is_disabled {
            table["disabled"] = value(true);
        } else {
            table.remove("disabled");
        }
        Ok(())
    })
}

/// Removes a user, and records the id in the file: so a service that follows it knows that the user
/// is not merely missing, and the id is not assigned again.
///
/// # Errors
/// [`EditError`] if there is no such user or the file cannot be changed.
pub fn remove(path: &Path, username: &str) -> Result<(), EditError> {
    edit(path, false, |Edited { list, removed }, users| {
        let index = list.iter().position(|table| is_named(table, username)).ok_or_else(|| no_such(username))?;
        list.remove(index);
        if let Some(entry) = users.named(username) {
            removed.push(id_value(&entry.user.id));
        }
        Ok(())
    })
}

/// The edited parts of the file.
struct Edited {
    list: ArrayOfTables,
    /// The ids of removed users.
    removed: Array,
}

/// Changes the list under the folder's lock, and writes it only if it is still valid.
fn edit<T>(
    path: &Path,
    make: bool,
    change: impl FnOnce(&mut Edited, &Users) -> Result<T, EditError>,
) -> Result<T, EditError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let content = |source| FileError::Content { path: path.to_owned(), source };

    let _lock = disk::lock_folder(path).map_err(io)?;
    let text = match fs::read_to_string(path) {
        Err(error) if make && error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(io)?,
    };
    let users = Users::parse(&text).map_err(content)?;
    let mut document: DocumentMut =
        text.parse().map_err(|error: TomlError| content(UsersError::form(&text, error.message(), error.span())))?;
    let list = match document.remove("user").map(Item::into_array_of_tables) {
        None => ArrayOfTables::new(),
        Some(Ok(list)) => list,
        // `user = []`: the one form of an empty list that is not an array of tables.
        Some(Err(_)) => ArrayOfTables::new(),
    };
    let removed = document.get("removed").and_then(Item::as_array).cloned().unwrap_or_default();
    let mut edited = Edited { list, removed };
    let result = change(&mut edited, &users)?;
    let before = users.last_id();
    let number = |table: &Table| table.get("id").and_then(Item::as_integer);
    // Of a user whose lines are deleted by hand, nothing else would be left.
    let last_id = edited.list.iter().filter_map(number).fold(before, i64::max);
    if last_id > 0 {
        set_head(&mut document, "last-id", last_id.into(), "The largest id so far: nobody gets it again.");
    }
    if !edited.removed.is_empty() {
        let comment = "The ids of users who were removed: nobody gets them again.";
        set_head(&mut document, "removed", Value::Array(edited.removed), comment);
    }
    document.insert("user", Item::ArrayOfTables(edited.list));
    let text = document.to_string();
    Users::parse(&text).map_err(|error| EditError::User(error.without_place()))?;
    disk::replace(path, text.as_bytes()).map_err(io)?;
    Ok(result)
}

/// Sets a key before the list; a new one is explained.
fn set_head(document: &mut DocumentMut, key: &str, value: Value, comment: &str) {
    let is_new = !document.contains_key(key);
    document[key] = Item::Value(value);
    if let Some(mut key) = document.key_mut(key).filter(|_| is_new) {
        key.leaf_decor_mut().set_prefix(format!("# {comment}\n"));
    }
}

fn id_value(id: &UserId) -> Value {
    match id {
        UserId::Number(number) => (*number).into(),
        UserId::Text(text) => text.into(),
    }
}

fn find<'a>(list: &'a mut ArrayOfTables, username: &str) -> Result<&'a mut Table, EditError> {
    list.iter_mut().find(|table| is_named(table, username)).ok_or_else(|| no_such(username))
}

fn is_named(table: &Table, username: &str) -> bool {
    table
        .get("username")
        .and_then(Item::as_str)
        .is_some_and(|name| prepared_username(name) == prepared_username(username))
}

fn no_such(username: &str) -> EditError {
    EditError::NoSuchUser(username.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn user(username: &str) -> NewUser {
        NewUser {
            username: username.to_owned(),
            id: None,
            name: None,
            role: "user".to_owned(),
            password: HASH.parse().unwrap(),
        }
    }

    #[test]
    fn users_are_added_changed_and_removed_around_comments() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        assert_eq!(add(&path, user("jane")).unwrap(), UserId::Number(1));
        let begun = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("# The crew\n{begun} # Jane's\n\n# Later ones\n")).unwrap();

        let john = NewUser { id: Some(UserId::Text("j".into())), name: Some("John Doe".into()), ..user("John") };
        assert_eq!(add(&path, john).unwrap(), UserId::Text("j".into()));
        assert_eq!(add(&path, NewUser { id: Some(UserId::Number(7)), ..user("mary") }).unwrap(), UserId::Number(7));
        assert_eq!(add(&path, user("zoe")).unwrap(), UserId::Number(8));
        let other = HASH.replace("t=1", "t=2");
        set_password(&path, "JOHN", &other.parse().unwrap()).unwrap();
        remove(&path, "Mary").unwrap();

        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("# The crew\n") && text.contains("# Jane's") && text.contains("# Later ones"), "{text}");
        let users = Users::parse(&text).unwrap();
        let names: Vec<_> =
            users.entries().iter().map(|entry| (entry.username.as_str(), entry.user.name.as_str())).collect();
        assert_eq!(names, [("jane", "jane"), ("John", "John Doe"), ("zoe", "zoe")]);
        assert_eq!(users.named("john").unwrap().password.to_string(), other);
    }

    #[test]
    fn the_id_of_a_removed_user_is_never_given_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        fs::write(&path, "# The crew\n").unwrap();
        for username in ["jane", "john", "mary"] {
            add(&path, user(username)).unwrap();
        }
        remove(&path, "john").unwrap();
        remove(&path, "MARY").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let users = Users::parse(&text).unwrap();
        assert!(
            text.starts_with(
                "# The largest id so far: nobody gets it again.\nlast-id = 3\n\
                 # The ids of users who were removed: nobody gets them again.\nremoved = [2, 3]\n"
            ),
            "{text}"
        );
        assert!(text.contains("# The crew\n"), "{text}");
        assert!(users.has_removed(&UserId::Number(2)) && !users.has_removed(&UserId::Number(1)));
        assert_eq!(add(&path, user("zoe")).unwrap(), UserId::Number(4));
        // By hand, nothing is recorded.
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.split("\n[[user]]\nid = 4").next().unwrap()).unwrap();
        assert_eq!(Users::parse(&fs::read_to_string(&path).unwrap()).unwrap().entries().len(), 1);
        assert_eq!(add(&path, user("zoe")).unwrap(), UserId::Number(5));
        let again = NewUser { id: Some(UserId::Number(2)), ..user("john") };
        assert!(matches!(add(&path, again), Err(EditError::User(UsersError::RemovedId(UserId::Number(2))))));
    }

    #[test]
    fn the_last_user_can_go_and_the_first_come_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        for empty in ["", "user = []\n"] {
            fs::write(&path, empty).unwrap();
            add(&path, user("jane")).unwrap();
            remove(&path, "jane").unwrap();
            assert!(Users::parse(&fs::read_to_string(&path).unwrap()).unwrap().entries().is_empty());
        }
    }

    #[test]
    fn users_are_disabled_and_enabled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        add(&path, user("jane")).unwrap();
        let before = fs::read_to_string(&path).unwrap();
        set_disabled(&path, "JANE", true).unwrap();
        assert!(Users::parse(&fs::read_to_string(&path).unwrap()).unwrap().named("jane").unwrap().is_disabled);
        set_disabled(&path, "jane", false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        assert!(matches!(set_disabled(&path, "john", true), Err(EditError::NoSuchUser(_))));
    }

    #[test]
    fn a_hash_is_renewed_only_if_no_other_password_was_set_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        add(&path, user("jane")).unwrap();
        let hash = |t: u8| HASH.replace("t=1", &format!("t={t}")).parse::<PasswordHash>().unwrap();
        let now = || Users::parse(&fs::read_to_string(&path).unwrap()).unwrap().named("jane").unwrap().password.clone();
        assert!(replace_hash(&path, "Jane", &hash(1), &hash(2)).unwrap());
        assert_eq!(now(), hash(2));
        assert!(!replace_hash(&path, "Jane", &hash(1), &hash(3)).unwrap());
        assert_eq!(now(), hash(2));
    }

    #[test]
    fn what_cannot_be_done_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        assert!(matches!(remove(&path, "jane"), Err(EditError::File(error)) if error.is_missing()));
        add(&path, user("jane")).unwrap();
        let before = fs::read_to_string(&path).unwrap();

        assert!(matches!(add(&path, user("JANE")), Err(EditError::User(UsersError::TwoOfOneName(..)))));
        let same_id = NewUser { id: Some(UserId::Number(1)), ..user("john") };
        assert!(matches!(add(&path, same_id), Err(EditError::User(UsersError::TwoOfOneId(_)))));
        assert!(matches!(add(&path, user(" ")), Err(EditError::User(UsersError::Username(..)))));
        assert!(matches!(remove(&path, "john"), Err(EditError::NoSuchUser(_))));
        assert!(matches!(set_password(&path, "john", &HASH.parse().unwrap()), Err(EditError::NoSuchUser(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), before);

        fs::write(&path, "[[user]]\nid = 1\n").unwrap();
        assert!(matches!(add(&path, user("john")), Err(EditError::File(FileError::Content { .. }))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "[[user]]\nid = 1\n");
    }
}
