//! The last seen users: what was known of the users of a list when their sessions were last
//! notified. It is kept over a restart, so that nobody who was removed, disabled or given another
//! password in the meantime keeps their sessions. Must not depend on sessions or RES.

use std::{collections::HashMap, fs, io, path::Path};

use relogin_host::disk;
use relogin_session::{User, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{UserChange, list::Users, password::PasswordMark};

/// The users who may log in, and what their sessions show of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastSeenUsers(HashMap<UserId, LastSeen>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct LastSeen {
    user: User,
    password: PasswordMark,
}

/// One user, as the file has it.
#[derive(Serialize, Deserialize)]
struct LastSeenForm {
    #[serde(flatten)]
    user: User,
    password: PasswordMark,
}

impl LastSeenUsers {
    /// What is known of a list.
    #[must_use]
    pub fn of(users: &Users) -> Self {
        let enabled = users.entries().iter().filter(|entry| !entry.is_disabled);
        Self(
            enabled
                .map(|entry| {
                    (entry.user.id.clone(), LastSeen { user: entry.user.clone(), password: entry.password.mark() })
                })
                .collect(),
        )
    }

    /// The changes since, of users that were known. New users have no sessions yet.
    #[must_use]
    pub fn changes_to(&self, now: &Self) -> Vec<UserChange> {
        self.0
            .iter()
            .filter_map(|(id, before)| {
                let after = now.0.get(id);
                let is_password_new = after.is_some_and(|after| after.password != before.password);
                (after != Some(before)).then(|| UserChange { id: id.clone(), is_password_new, keep: None })
            })
            .collect()
    }

    /// A user, if known, has another password, of which their sessions were notified.
    pub(crate) fn set_password(&mut self, id: &UserId, password: PasswordMark) {
        if let Some(known) = self.0.get_mut(id) {
            known.password = password;
        }
    }

    /// Who they are.
    pub fn ids(&self) -> impl Iterator<Item = &UserId> {
        self.0.keys()
    }

    /// Those who are not in a list that does not say that they were removed either.
    #[must_use]
    pub fn missing_from(&self, users: &Users) -> HashMap<UserId, User> {
        let missing = self.0.iter().filter(|(id, _)| users.with_id(id).is_none() && !users.has_removed(id));
        missing.map(|(id, known)| (id.clone(), known.user.clone())).collect()
    }

    /// Keeps a user as they were known before, if they were. Returns them.
    pub fn take_over(&mut self, before: &Self, id: &UserId) -> Option<(UserId, User)> {
        let known = before.0.get(id)?.clone();
        let user = known.user.clone();
        self.0.insert(id.clone(), known);
        Some((id.clone(), user))
    }

    /// Parses what [`LastSeenUsers::save`] has written.
    ///
    /// # Errors
    /// [`io::Error`] if the file does not exist, or is invalid.
    pub fn load(path: &Path) -> io::Result<Self> {
        Ok(Self::from_json(&fs::read(path)?)?)
    }

    /// Parses what [`LastSeenUsers::to_json`] has written.
    ///
    /// # Errors
    /// [`serde_json::Error`] if it is invalid.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        let known: Vec<LastSeenForm> = serde_json::from_slice(text)?;
        Ok(Self(
            known
                .into_iter()
                .map(|LastSeenForm { user, password }| (user.id.clone(), LastSeen { user, password }))
                .collect(),
        ))
    }

    /// Saves it, readable only for its owner. On disk when this returns.
    ///
    /// # Errors
    /// [`io::Error`] if it cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        disk::replace(path, &self.to_json()?)
    }

    /// As it is kept. The same users give the same text.
    ///
    /// # Errors
    /// [`serde_json::Error`] if it cannot be written.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut known: Vec<_> = self.0.values().collect();
        known.sort_by(|one, other| one.user.id.cmp(&other.user.id));
        let known: Vec<_> = known
            .into_iter()
            .map(|LastSeen { user, password }| LastSeenForm { user: user.clone(), password: *password })
            .collect();
        serde_json::to_vec(&known)
    }

    /// What tells them from others, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        let text = self.to_json().unwrap_or_default();
        Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn known(users: &[(i64, &str, &str, &str)]) -> LastSeenUsers {
        let text: String = users
            .iter()
            .map(|(id, role, hash, more)| {
                format!("[[user]]\nid = {id}\nusername = \"u{id}\"\nname = \"N\"\nrole = \"{role}\"\npassword = \"{hash}\"\n{more}\n")
            })
            .collect();
        LastSeenUsers::of(&Users::parse(&text).unwrap())
    }

    #[test]
    fn who_has_changed_is_found_and_a_renewed_hash_is_no_change() {
        let renewed = HASH
            .replace("m=8,t=1", "m=16,t=2")
            .replace("$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "$BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        let new = HASH.replace("$AAAAAAAAAAAAAAAAAAAAAA$", "$BAAAAAAAAAAAAAAAAAAAAA$");
        let disabled = "disabled = true";
        let before = known(&[
            (1, "user", HASH, ""),
            (2, "user", HASH, ""),
            (3, "user", HASH, ""),
            (4, "user", HASH, ""),
            (5, "user", HASH, ""),
            (6, "user", HASH, disabled),
        ]);
        let after = known(&[
            (1, "user", &renewed, ""),
            (2, "admin", HASH, ""),
            (3, "user", &new, ""),
            (5, "user", HASH, disabled),
            (6, "user", HASH, ""),
            (7, "user", HASH, ""),
        ]);
        let mut changes: Vec<_> = before
            .changes_to(&after)
            .into_iter()
            .map(|change| (change.id.to_string(), change.is_password_new))
            .collect();
        changes.sort();
        let expected = [("2", false), ("3", true), ("4", false), ("5", false)];
        assert_eq!(changes, expected.map(|(id, is_new)| (id.to_owned(), is_new)));
        assert_eq!(after.changes_to(&after), []);
    }

    #[test]
    fn last_seen_users_are_saved_without_hashes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.known");
        assert_eq!(LastSeenUsers::load(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let known = known(&[(1, "user", HASH, ""), (2, "admin", HASH, "")]);
        known.save(&path).unwrap();
        assert_eq!(LastSeenUsers::load(&path).unwrap(), known);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&path).unwrap().contains("argon2"));
        fs::write(&path, "{}").unwrap();
        assert!(LastSeenUsers::load(&path).is_err());
    }
}
