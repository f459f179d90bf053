//! The user directory over a list of users, whoever updates the list. Must not depend on files or
//! RES.

use std::{
    collections::HashMap,
    error::Error,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use relogin_host::errors::Chain;
use relogin_session::{User, UserId};
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    Credentials, DirectoryError, PasswordChange, PasswordChanged, PasswordCheck, UserDirectory,
    cost::Cost,
    list::{Candidate, Users},
    own_changes::{OwnChange, OwnChanges, SeenChange},
    password::{HashedForm, PasswordChecks, PasswordHash},
    prepare::prepared_username,
};

/// Answers from a list in memory, which can be replaced at any time.
#[derive(Debug)]
pub struct ListDirectory {
    listed: RwLock<Listed>,
    checks: PasswordChecks,
    renewal: Option<Renewal>,
    changes: Option<PasswordSaving>,
    own: OwnChanges,
}

/// The list is empty, and nothing is known from before: as at a start whose users file does not
/// exist yet.
#[derive(Debug, Error)]
#[error("no user is known")]
struct NothingKnown;

#[derive(Clone, Debug, Default)]
struct Listed {
    users: Arc<Users>,
    /// Users who are not in the list, but not removed either.
    kept: Arc<HashMap<UserId, User>>,
}

/// Saves a user's renewed hash where the list comes from, if the old one is still there: username,
/// old, new. May block.
pub type KeepHash =
    dyn Fn(&str, &PasswordHash, &PasswordHash) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync;

/// Saves the hash of a user's new password where the list comes from, if the old one is still
/// there: username, old, new. May block.
pub type SaveHash =
    dyn Fn(&str, &PasswordHash, &PasswordHash) -> Result<Saved, Box<dyn Error + Send + Sync>> + Send + Sync;

/// What became of a new password's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is saved.
    Done,
    /// The old one was not there any more.
    Outdated,
    /// Nothing may be written there.
    ReadOnly,
}

/// That users may change their passwords: at which cost the new ones are hashed, and where they are
/// saved; nowhere but in memory, if the list comes from nowhere.
struct PasswordSaving {
    cost: Cost,
    save: Option<Arc<SaveHash>>,
}

/// The configured cost of hashes, and where renewed ones are saved.
struct Renewal {
    cost: Cost,
    keep: Arc<KeepHash>,
}

impl ListDirectory {
    /// A directory of `users`, whose passwords are checked by `checks`.
    #[must_use]
    pub fn new(users: Users, checks: PasswordChecks) -> Self {
        let listed = Listed { users: Arc::new(users), kept: Arc::default() };
        Self { listed: RwLock::new(listed), checks, renewal: None, changes: None, own: OwnChanges::default() }
    }

    /// The same, which renews hashes of another cost, or of a password that was not prepared, when
    /// their users log in.
    #[must_use]
    pub fn renewing(self, cost: Cost, keep: Arc<KeepHash>) -> Self {
        Self { renewal: Some(Renewal { cost, keep }), ..self }
    }

    /// The same, whose users may change their passwords.
    #[must_use]
    pub fn changing(self, cost: Cost, save: Option<Arc<SaveHash>>) -> Self {
        Self { changes: Some(PasswordSaving { cost, save }), ..self }
    }

    /// Passwords that were changed here, as far as `users`, read from the file, has them.
    pub(crate) fn own_changes_in(&self, users: &Users) -> HashMap<UserId, SeenChange> {
        self.own.seen_in(users)
    }

    /// Answers from `users` from now on; returns the previous list. Checks in flight use the list
    /// with which they began.
    pub fn exchange(&self, users: Users) -> Arc<Users> {
        self.exchange_keeping(users, HashMap::new())
    }

    /// The same, with users whose sessions go on although they are not in the list: nobody can log
    /// in as one of them.
    pub fn exchange_keeping(&self, users: Users, kept: HashMap<UserId, User>) -> Arc<Users> {
        let listed = Listed { users: Arc::new(self.own.make_in(users)), kept: Arc::new(kept) };
        // Nothing can panic while the lock is held, so a poisoned one still holds a complete list.
        std::mem::replace(&mut *self.listed.write().unwrap_or_else(PoisonError::into_inner), listed).users
    }

    /// The current list.
    #[must_use]
    pub fn users(&self) -> Arc<Users> {
        self.listed().users
    }

    fn listed(&self) -> Listed {
        self.listed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Renews the hash of a password that was just found right, if its cost is not the configured
    /// one, or it is not of the password's prepared form. The user is logged in whether or not that
    /// works.
    async fn renew(&self, credentials: Credentials<'_>, id: &UserId, old: PasswordHash, form: HashedForm) {
        let is_due = |renewal: &&Renewal| form == HashedForm::AsTyped || !old.has_cost(renewal.cost);
        let Some(Renewal { cost, keep }) = self.renewal.as_ref().filter(is_due) else { return };
        let new = match self.checks.renew(old.clone(), credentials.password.clone(), *cost).await {
            Ok(new) => new,
            Err(DirectoryError::Busy) => return,
            Err(error) => return warn!(user = %id, "cannot renew a password hash: {}", Chain(&error)),
        };
        self.remember(id, &old, &new);
        let (keep, username) = (Arc::clone(keep), credentials.username.to_owned());
        match tokio::task::spawn_blocking(move || keep(&username, &old, &new)).await {
            Ok(Ok(())) => info!(user = %id, "a password hash was renewed"),
            Ok(Err(error)) => warn!(user = %id, "a renewed password hash was not saved: {}", Chain(error.as_ref())),
            Err(error) => warn!(user = %id, "a renewed password hash was not saved: {}", Chain(&error)),
        }
    }

    fn remember(&self, id: &UserId, old: &PasswordHash, new: &PasswordHash) {
        let mut listed = self.listed.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(renewed) = listed.users.with_hash(id, old, new.clone()) {
            listed.users = Arc::new(renewed);
        }
    }
}

#[async_trait]
impl UserDirectory for ListDirectory {
    async fn verify(
        &self,
        credentials: Credentials<'_>,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<PasswordCheck, DirectoryError> {
        let candidate = self.users().candidate(credentials.username);
        let Some(Candidate { hash, user, name_of }) = candidate else { return Ok(PasswordCheck::Wrong(None)) };
        let form = self.checks.check(hash.clone(), credentials.password.clone(), queued).await?;
        let (Some(user), Some(form)) = (user, form) else { return Ok(PasswordCheck::Wrong(name_of)) };
        self.renew(credentials, &user.id, hash, form).await;
        Ok(PasswordCheck::Right(user))
    }

    async fn change_password(
        &self,
        change: PasswordChange<'_>,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<PasswordChanged, DirectoryError> {
        let Some(PasswordSaving { cost, save }) = &self.changes else { return Ok(PasswordChanged::NotOffered) };
        let PasswordChange { id, session: keep, current, new, remote_addr: _ } = change;
        let users = self.users();
        let Some(entry) = users.with_id(id).filter(|entry| !entry.is_disabled) else {
            return Ok(PasswordChanged::Wrong);
        };
        let (username, old) = (entry.username.clone(), entry.password.clone());
        if self.checks.check(old.clone(), current.clone(), queued).await?.is_none() {
            return Ok(PasswordChanged::Wrong);
        }
        let new = self.checks.hash(new.clone(), *cost).await?;
        if let Some(save) = save.clone() {
            // First, because whoever follows the file may see it there at once.
            self.own.begin(id, OwnChange { old: old.clone(), new: new.clone(), keep, is_applied: false });
            let (old, new) = (old.clone(), new.clone());
            let saved = tokio::task::spawn_blocking(move || save(&username, &old, &new)).await;
            let saved = saved.unwrap_or_else(|panic| Err(panic.into()));
            if !matches!(saved, Ok(Saved::Done)) {
                self.own.take_back(id);
            }
            match saved.map_err(DirectoryError::Failed)? {
                Saved::Done => {}
                Saved::Outdated => return Ok(PasswordChanged::Wrong),
                Saved::ReadOnly => {
                    warn!(user = %id, "a password was not changed, because the users file may not be written");
                    return Ok(PasswordChanged::NotOffered);
                }
            }
        }
        self.remember(id, &old, &new);
        Ok(PasswordChanged::Changed)
    }

    fn sessions_notified(&self, id: &UserId) {
        self.own.applied(id);
    }

    fn username_of(&self, id: &UserId) -> Option<String> {
        self.users().with_id(id).map(|entry| prepared_username(&entry.username))
    }

    fn id_of(&self, username: &str) -> Option<UserId> {
        self.users().named(username).map(|entry| entry.user.id.clone())
    }

    fn at_once(&self) -> usize {
        self.checks.at_once()
    }

    async fn find(&self, id: &UserId) -> Result<Option<User>, DirectoryError> {
        let Listed { users, kept } = self.listed();
        // Whoever asks has a session, so there were users when it was created.
        if users.is_silent() && kept.is_empty() {
            return Err(DirectoryError::Failed(Box::new(NothingKnown)));
        }
        Ok(match users.with_id(id) {
            Some(entry) => (!entry.is_disabled).then(|| entry.user.clone()),
            None => kept.get(id).cloned(),
        })
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl fmt::Debug for PasswordSaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordSaving").field("cost", &self.cost).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use relogin_session::Secret;

    use super::*;
    use crate::{demo, list::Entry};

    const CHEAP: &str = "m=8,t=1,p=1";

    fn jane() -> Users {
        let mut users = Users::default();
        let user = User { id: UserId::Number(3), name: "Jane Doe".to_owned(), role: "user".to_owned() };
        let password = PasswordHash::of(&Secret::new("sesame".to_owned()), CHEAP.parse().unwrap()).unwrap();
        users.add(Entry { username: "Jane".to_owned(), user, password, is_disabled: false }).unwrap();
        users
    }

    async fn verify(directory: &ListDirectory, username: &str, password: &str) -> PasswordCheck {
        let password = Secret::new(password.to_owned());
        let credentials = Credentials { username, password: &password, remote_addr: None };
        directory.verify(credentials, &|| {}).await.unwrap()
    }

    fn is_right(verdict: &PasswordCheck) -> bool {
        matches!(verdict, PasswordCheck::Right(user) if user.name == "Jane Doe")
    }

    #[tokio::test]
    async fn only_a_name_with_its_password_gets_in() {
        let directory = ListDirectory::new(jane(), PasswordChecks::new());
        assert!(is_right(&verify(&directory, "jANE", "sesame").await));
        assert_eq!(verify(&directory, "jane", "Sesame").await, PasswordCheck::Wrong(Some(UserId::Number(3))));
        // The decoy that an unknown name is checked against is Jane's hash, and this is its
        // password.
        assert_eq!(verify(&directory, "nobody", "sesame").await, PasswordCheck::Wrong(None));

        assert!(directory.find(&UserId::Number(3)).await.unwrap().is_some());
        let mut entry = directory.exchange(Users::default()).entries()[0].clone();
        assert_eq!(verify(&directory, "jane", "sesame").await, PasswordCheck::Wrong(None));
        assert!(directory.find(&UserId::Number(3)).await.is_err(), "an empty list does not say that she was removed");
        directory.exchange(Users::parse("removed = [4]").unwrap());
        assert_eq!(directory.find(&UserId::Number(3)).await.unwrap(), None);

        directory.exchange_keeping(Users::default(), HashMap::from([(entry.user.id.clone(), entry.user.clone())]));
        assert_eq!(verify(&directory, "jane", "sesame").await, PasswordCheck::Wrong(None));
        assert!(directory.find(&UserId::Number(3)).await.unwrap().is_some());

        entry.is_disabled = true;
        let mut disabled = Users::default();
        disabled.add(entry).unwrap();
        directory.exchange(disabled);
        assert_eq!(verify(&directory, "jane", "sesame").await, PasswordCheck::Wrong(Some(UserId::Number(3))));
        assert_eq!(directory.find(&UserId::Number(3)).await.unwrap(), None);
    }

    /// Texts that look the same to the person who types them are one name and one password,
    /// whichever form the keyboard sends.
    #[tokio::test]
    async fn the_unicode_form_case_and_spaces_of_a_name_and_the_form_of_a_password_do_not_matter() {
        let mut users = Users::default();
        let user = User { id: UserId::Number(3), name: "Jane Doe".to_owned(), role: "user".to_owned() };
        let password =
            PasswordHash::of(&Secret::new("p\u{e4}ss w\u{f6}rd".to_owned()), CHEAP.parse().unwrap()).unwrap();
        users.add(Entry { username: "J\u{fc}rgen".to_owned(), user, password, is_disabled: false }).unwrap();
        let directory = ListDirectory::new(users, PasswordChecks::new());
        for username in ["j\u{fc}rgen", "ju\u{308}rgen", "J\u{dc}RGEN", " ju\u{308}rgen ", "J\u{fc}rgen\u{a0}"] {
            for password in ["p\u{e4}ss w\u{f6}rd", "pa\u{308}ss wo\u{308}rd", "pa\u{308}ss\u{a0}wo\u{308}rd"] {
                assert!(is_right(&verify(&directory, username, password).await), "{username:?} {password:?}");
            }
        }
        assert!(!is_right(&verify(&directory, "jurgen", "p\u{e4}ss w\u{f6}rd").await));
        assert!(!is_right(&verify(&directory, "j\u{fc}rgen", "pass word").await));
        assert!(
            !is_right(&verify(&directory, "j\u{fc}rgen", " p\u{e4}ss w\u{f6}rd").await),
            "spaces are part of a password"
        );
    }

    #[tokio::test]
    async fn an_unknown_name_costs_a_check_like_a_wrong_password() {
        let checks = PasswordChecks::bounded(1, 1);
        let directory = ListDirectory::new(jane(), checks);
        for name in ["jane", "nobody"] {
            // With somebody before it, each check that is made has to queue, and says so.
            let somebody = directory.checks.hold().await;
            let queued = AtomicUsize::new(0);
            let tell = || {
                queued.fetch_add(1, Ordering::SeqCst);
            };
            let password = Secret::new("wrong".to_owned());
            let credentials = Credentials { username: name, password: &password, remote_addr: None };
            let mut verifying = directory.verify(credentials, &tell);
            assert!(futures_util::poll!(&mut verifying).is_pending());
            assert_eq!(queued.load(Ordering::SeqCst), 1, "{name}");
            drop(somebody);
            assert!(matches!(verifying.await.unwrap(), PasswordCheck::Wrong(_)));
        }
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_renewed_by_the_login_whose_password_is_right() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&kept);
        let cost = "m=16,t=1,p=1".parse().unwrap();
        let directory = ListDirectory::new(jane(), PasswordChecks::new()).renewing(
            cost,
            Arc::new(move |name, old, new| {
                keep.lock().unwrap().push((name.to_owned(), old.clone(), new.clone()));
                Err("a disk that is full keeps nobody out".into())
            }),
        );
        let old = directory.users().entries()[0].password.clone();
        assert!(!is_right(&verify(&directory, "jane", "wrong").await));
        assert!(kept.lock().unwrap().is_empty());
        for _ in 0..2 {
            assert!(is_right(&verify(&directory, "Jane", "sesame").await));
        }
        let new = directory.users().entries()[0].password.clone();
        assert!(new.has_cost(cost) && new.mark() == old.mark());
        assert_eq!(*kept.lock().unwrap(), [("Jane".to_owned(), old, new)], "once");
    }

    async fn change(directory: &ListDirectory, current: &str, new: &str) -> PasswordChanged {
        let (current, new) = (Secret::new(current.to_owned()), Secret::new(new.to_owned()));
        let (id, session) = (UserId::Number(3), relogin_session::SessionId([1; 16]));
        let change = PasswordChange { id: &id, session, current: &current, new: &new, remote_addr: None };
        directory.change_password(change, &|| {}).await.unwrap()
    }

    #[tokio::test]
    async fn a_password_is_changed_by_whoever_knows_it_and_where_it_can_be_saved() {
        let directory = ListDirectory::new(jane(), PasswordChecks::new());
        assert_eq!(change(&directory, "sesame", "correct horse").await, PasswordChanged::NotOffered);

        let cost = CHEAP.parse().unwrap();
        let in_memory = directory.changing(cost, None);
        assert_eq!(change(&in_memory, "Sesame", "correct horse").await, PasswordChanged::Wrong);
        assert!(is_right(&verify(&in_memory, "jane", "sesame").await));
        assert_eq!(change(&in_memory, "sesame", "correct horse").await, PasswordChanged::Changed);
        assert!(!is_right(&verify(&in_memory, "jane", "sesame").await));
        assert!(is_right(&verify(&in_memory, "jane", "correct horse").await));

        for (saved, expected) in [
            (Saved::Done, PasswordChanged::Changed),
            (Saved::Outdated, PasswordChanged::Wrong),
            (Saved::ReadOnly, PasswordChanged::NotOffered),
        ] {
            let save = Arc::new(move |name: &str, _: &PasswordHash, _: &PasswordHash| {
                assert_eq!(name, "Jane");
                Ok(saved)
            });
            let before = jane();
            let directory = ListDirectory::new(before.clone(), PasswordChecks::new()).changing(cost, Some(save));
            assert_eq!(change(&directory, "sesame", "correct horse").await, expected);
            let is_changed = expected == PasswordChanged::Changed;
            assert_eq!(is_right(&verify(&directory, "jane", "correct horse").await), is_changed, "{saved:?}");
            // A list that was read before does not bring the old one back.
            directory.exchange(before);
            assert_eq!(is_right(&verify(&directory, "jane", "correct horse").await), is_changed, "{saved:?}");
        }
    }

    #[tokio::test]
    async fn the_demo_lets_its_four_users_in() {
        let directory = ListDirectory::new(demo::users().unwrap(), PasswordChecks::new());
        for (name, id, full_name, role) in [
            ("admin", 1, "Administrator", "admin"),
            ("guest", 2, "Guest", "guest"),
            ("jane", 3, "Jane Doe", "user"),
            ("john", 4, "John Doe", "user"),
        ] {
            let user = User { id: UserId::Number(id), name: full_name.to_owned(), role: role.to_owned() };
            assert_eq!(verify(&directory, name, name).await, PasswordCheck::Right(user));
        }
    }
}
