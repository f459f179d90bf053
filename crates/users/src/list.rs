//! A list of users as the file or the demo has it, with lookup by name or id. Must not depend on
//! files, sessions or RES.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    ops::Range,
};

use relogin_host::toml_place::TomlPlace;
use relogin_session::{User, UserId};
use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use crate::{
    password::{PasswordHash, PasswordHashError},
    prepare::{UsernameError, prepared_username, username},
};

/// Users with their password hashes. Prepared names, and ids, are unique.
#[derive(Clone, Debug, Default)]
pub struct Users {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    by_id: HashMap<UserId, usize>,
    /// Ids that are never assigned again.
    removed: HashSet<UserId>,
    /// The largest number that was an id of the list, as far as it says.
    last_id: i64,
    /// Keyed afresh in each process, so that nobody can tell which entry an unknown name is checked
    /// against.
    decoys: RandomState,
}

/// One user of a list.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name to log in with.
    pub username: String,
    /// What others see.
    pub user: User,
    /// The hash of the password.
    pub password: PasswordHash,
    /// True for a user who may not log in at the moment.
    pub is_disabled: bool,
}

/// What a login with some username is checked against.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The hash to check: the user's, or for an unknown name that of another user, so that it takes
    /// as long.
    pub hash: PasswordHash,
    /// Who has logged in if the password is right; nobody, whatever the password, if the name is
    /// unknown or disabled.
    pub user: Option<User>,
    /// Whose name it is.
    pub name_of: Option<UserId>,
}

/// An invalid list.
#[derive(Debug, Error)]
pub enum UsersError {
    /// Not TOML, or not the members of a user.
    #[error("line {line}: {message}")]
    Form {
        /// The line, from 1.
        line: usize,
        /// The key, unless the parser's message says it, and that message.
        message: String,
    },
    /// A user who cannot be in the list, and where the text has them.
    #[error("line {line}, {key}")]
    At {
        /// The line, from 1.
        line: usize,
        /// The key whose value is wrong.
        key: &'static str,
        /// What is wrong.
        #[source]
        error: Box<UsersError>,
    },
    /// Not a valid username.
    #[error("{0:?} is not a username")]
    Username(String, #[source] UsernameError),
    /// Two users whose prepared names are the same.
    #[error("there are two users of one name, {} ({:?}) and {} ({:?}): case, spaces and Unicode forms do not matter", .0.0, .0.1, .1.0, .1.1)]
    TwoOfOneName(Box<(UserId, String)>, Box<(UserId, String)>),
    /// Two users with the same id.
    #[error("there are two users with the id {0}")]
    TwoOfOneId(UserId),
    /// A user with the id of a removed user.
    #[error(
        "the id {0} belonged to a removed user; use another id, or delete it from `removed` in the users file if it is the same user"
    )]
    RemovedId(UserId),
    /// An invalid password hash.
    #[error("the password of user {0:?} cannot be used")]
    Password(String, #[source] PasswordHashError),
}

impl UsersError {
    /// What the parser says and where. Its own error is not kept as a source, because that quotes
    /// the text, hashes included.
    pub(crate) fn form(text: &str, message: &str, span: Option<Range<usize>>) -> Self {
        let TomlPlace { line, key } = TomlPlace::of(text, span.map(|span| span.start));
        Self::Form { line, message: key.map_or_else(|| message.to_owned(), |key| format!("{key}: {message}")) }
    }

    /// What is wrong, wherever it is.
    pub(crate) fn without_place(self) -> Self {
        match self {
            Self::At { error, .. } => *error,
            error => error,
        }
    }

    /// The key whose value is wrong.
    fn key(&self) -> &'static str {
        match self {
            Self::TwoOfOneId(_) | Self::RemovedId(_) => "id",
            Self::Password(..) => "password",
            Self::Username(..) | Self::TwoOfOneName(..) | Self::Form { .. } | Self::At { .. } => "username",
        }
    }
}

/// The file, as TOML.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Form {
    /// First, as `removed`, because they must be first in the file.
    #[serde(default)]
    last_id: i64,
    #[serde(default)]
    removed: Vec<UserId>,
    #[serde(default)]
    user: Vec<EntryForm>,
}

/// One `[[user]]` of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryForm {
    id: Spanned<UserId>,
    username: Spanned<String>,
    name: String,
    role: String,
    password: Spanned<String>,
    #[serde(default)]
    disabled: bool,
}

impl Users {
    /// Parses the text of a users file.
    ///
    /// # Errors
    /// [`UsersError`] if it is not a list of users. It never contains a password hash.
    pub fn parse(text: &str) -> Result<Self, UsersError> {
        let form: Form = toml::from_str(text).map_err(|error| UsersError::form(text, error.message(), error.span()))?;
        let mut users = Self { removed: form.removed.into_iter().collect(), last_id: form.last_id, ..Self::default() };
        for EntryForm { id, username, name, role, password, disabled: is_disabled } in form.user {
            let spans = [("id", id.span()), ("username", username.span()), ("password", password.span())];
            let (id, username) = (id.into_inner(), username.into_inner());
            let hash = password.into_inner().parse().map_err(|error| UsersError::Password(username.clone(), error));
            let added = hash.and_then(|password| {
                users.add(Entry { username, user: User { id, name, role }, password, is_disabled })
            });
            added.map_err(|error| {
                let key = error.key();
                let at = spans.into_iter().find(|(name, _)| *name == key).map(|(_, span)| span.start);
                UsersError::At { line: TomlPlace::of(text, at).line, key, error: Box::new(error) }
            })?;
        }
        Ok(users)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`UsersError`] if the name is invalid, or the name or id is taken.
    pub fn add(&mut self, entry: Entry) -> Result<(), UsersError> {
        let name = username(&entry.username).map_err(|error| UsersError::Username(entry.username.clone(), error))?;
        let index = self.entries.len();
        if let Some(&other) = self.by_name.get(&name) {
            let called = |entry: &Entry| Box::new((entry.user.id.clone(), entry.username.clone()));
            return Err(UsersError::TwoOfOneName(called(&self.entries[other]), called(&entry)));
        }
        if self.by_id.contains_key(&entry.user.id) {
            return Err(UsersError::TwoOfOneId(entry.user.id));
        }
        if self.removed.contains(&entry.user.id) {
            return Err(UsersError::RemovedId(entry.user.id));
        }
        self.by_name.insert(name, index);
        self.by_id.insert(entry.user.id.clone(), index);
        self.entries.push(entry);
        Ok(())
    }

    /// The users, in the list's order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The user with this name, however it is typed.
    #[must_use]
    pub fn named(&self, username: &str) -> Option<&Entry> {
        self.by_name.get(&prepared_username(username)).map(|&index| &self.entries[index])
    }

    /// The user with this id, disabled or not.
    #[must_use]
    pub fn with_id(&self, id: &UserId) -> Option<&Entry> {
        self.by_id.get(id).map(|&index| &self.entries[index])
    }

    /// True if the list says that the user with this id was removed, and is not merely missing.
    #[must_use]
    pub fn has_removed(&self, id: &UserId) -> bool {
        self.removed.contains(id)
    }

    /// True if it says nothing about anybody: neither that they are users, nor that they were
    /// removed.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.entries.is_empty() && self.removed.is_empty()
    }

    /// The ids of users who were removed.
    pub fn removed(&self) -> impl Iterator<Item = &UserId> {
        self.removed.iter()
    }

    /// The largest number that is or was an id of the list, as far as it says; 0 if none was.
    #[must_use]
    pub fn last_id(&self) -> i64 {
        let ids = self.entries.iter().map(|entry| &entry.user.id).chain(&self.removed);
        let numbers = ids.filter_map(|id| match id {
            UserId::Number(number) => Some(*number),
            UserId::Text(_) => None,
        });
        numbers.chain([self.last_id]).max().unwrap_or(0)
    }

    /// Disables a user.
    pub fn disable(&mut self, id: &UserId) {
        if let Some(&index) = self.by_id.get(id) {
            self.entries[index].is_disabled = true;
        }
    }

    /// The same list, with another hash of a user's password, if it still has `old`.
    #[must_use]
    pub fn with_hash(&self, id: &UserId, old: &PasswordHash, new: PasswordHash) -> Option<Self> {
        let &index = self.by_id.get(id)?;
        let mut users = self.clone();
        let entry = users.entries.get_mut(index).filter(|entry| entry.password == *old)?;
        entry.password = new;
        Some(users)
    }

    /// What a login as `username` is checked against. `None` if the list is empty.
    ///
    /// An unknown name gets another user's hash, always the same one while the list stays: as
    /// costly as a real check, and where the file's hashes have different parameters, distributed
    /// like theirs.
    #[must_use]
    pub fn candidate(&self, username: &str) -> Option<Candidate> {
        if let Some(entry) = self.named(username) {
            let user = (!entry.is_disabled).then(|| entry.user.clone());
            return Some(Candidate { hash: entry.password.clone(), user, name_of: Some(entry.user.id.clone()) });
        }
        let index = self.decoys.hash_one(prepared_username(username)) as usize;
        let decoy = self.entries.get(index.checked_rem(self.entries.len())?)?;
        Some(Candidate { hash: decoy.password.clone(), user: None, name_of: None })
    }
}

#[cfg(test)]
mod tests {
    use relogin_host::errors::Chain;

    use super::*;

    const JANE: &str = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn list(users: &[(&str, &str)]) -> String {
        users
            .iter()
            .map(|(id, username)| {
                format!("[[user]]\nid = {id}\nusername = \"{username}\"\nname = \"N\"\nrole = \"user\"\npassword = \"{JANE}\"\n")
            })
            .collect()
    }

    #[test]
    fn users_are_found_by_name_without_case_and_by_id() {
        let users = Users::parse(&list(&[("3", "Jane"), ("\"j-4\"", "john")])).unwrap();
        assert_eq!(users.named("jANE").unwrap().user.id, UserId::Number(3));
        assert_eq!(users.named("John").unwrap().user.id, UserId::Text("j-4".into()));
        assert_eq!(users.with_id(&UserId::Number(3)).unwrap().username, "Jane");
        assert!(users.with_id(&UserId::Text("3".into())).is_none());
        assert!(users.named("constructor").is_none());
        assert_eq!(users.entries().len(), 2);
    }

    #[test]
    fn an_empty_file_is_an_empty_list() {
        assert!(Users::parse("# nobody yet\n").unwrap().entries().is_empty());
        assert!(Users::default().candidate("jane").is_none());
    }

    #[test]
    fn an_unknown_name_is_checked_against_a_hash_of_the_list_and_never_gets_in() {
        let dear = JANE.replace("m=8,t=1", "m=16,t=3");
        let text = list(&[("1", "a")]) + &list(&[("2", "b")]).replace(JANE, &dear);
        let users = Users::parse(&text).unwrap();
        let mut seen = std::collections::HashSet::new();
        for name in (0..200).map(|n| format!("nobody{n}")) {
            let candidate = users.candidate(&name).unwrap();
            assert!(candidate.user.is_none());
            assert_eq!(candidate.hash, users.candidate(&name.to_uppercase()).unwrap().hash);
            seen.insert(candidate.hash.to_string());
        }
        assert_eq!(seen, [JANE.to_owned(), dear].into(), "decoys are spread over the parameters in use");
    }

    #[test]
    fn a_broken_list_is_refused_with_its_reason_and_no_hash() {
        for (text, reason) in [
            (
                list(&[("1", "jane"), ("2", "JANE")]),
                "line 9, username: there are two users of one name, 1 (\"jane\") and 2 (\"JANE\")",
            ),
            (list(&[("1", "j\u{fc}rgen"), ("2", "ju\u{308}rgen")]), "1 (\"j\u{fc}rgen\") and 2 (\"ju\\u{308}rgen\")"),
            (list(&[("1", "jane"), ("1", "john")]), "line 8, id: there are two users with the id 1"),
            (
                format!("removed = [3, 1]\n{}", list(&[("1", "jane")])),
                "line 3, id: the id 1 belonged to a removed user",
            ),
            (list(&[("1", "jane"), ("2", " jane")]), "1 (\"jane\") and 2 (\" jane\")"),
            (list(&[("1", "anna\u{2665}")]), "is not a username"),
            (list(&[("1", "")]), "is not a username"),
            (list(&[("1", "jane")]).replace("$argon2id", "$bcrypt"), "line 6, password: the password of user \"jane\""),
            (list(&[("1", "jane")]).replace("\"N\"", "7"), "line 4: name: invalid type: integer `7`"),
            (list(&[("1", "jane")]).replace("role = \"user\"\n", ""), "line 1: missing field `role`"),
            (list(&[("1", "jane")]).replace("role", "rolle"), "line 5: unknown field `rolle`"),
            (list(&[("1.5", "jane")]), "line 2: id: expected an integer or a text"),
            ("user = 5".to_owned(), "line 1: user: "),
            ("[[user]\n".to_owned(), "line 1: "),
        ] {
            let error = Users::parse(&text).unwrap_err();
            let message = Chain(&error).to_string();
            assert!(message.contains(reason), "{message:?} does not say {reason:?}");
            assert!(!message.contains("argon2") && !message.contains('\n'), "{message}");
        }
    }
}
