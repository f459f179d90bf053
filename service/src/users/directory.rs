//! The user directory over a list of users, whoever keeps the list up to date. Knows no files and no RES.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use relogin_session::{User, UserId, api::Password};

use super::{DirectoryError, UserDirectory, list::Users, password::PasswordChecks};

/// Answers from a list in memory, which can be exchanged at any time.
#[derive(Debug)]
pub struct ListDirectory {
    users: RwLock<Arc<Users>>,
    checks: PasswordChecks,
}

impl ListDirectory {
    /// A directory of `users`, whose passwords are checked by `checks`.
    #[must_use]
    pub fn new(users: Users, checks: PasswordChecks) -> Self {
        Self { users: RwLock::new(Arc::new(users)), checks }
    }

    /// Answers from `users` from now on. Checks under way end on the list they began with.
    pub fn exchange(&self, users: Users) {
        // Nothing can panic while the lock is held, so a poisoned one holds a whole list all the same.
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
    }

    /// The list as it is now.
    #[must_use]
    pub fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl UserDirectory for ListDirectory {
    async fn verify(
        &self,
        username: &str,
        password: &str,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<Option<User>, DirectoryError> {
        let Some(candidate) = self.users().candidate(username) else { return Ok(None) };
        let matches = self.checks.check(candidate.hash, Password::new(password.to_owned()), queued).await?;
        Ok(candidate.user.filter(|_| matches))
    }

    async fn find(&self, id: &UserId) -> Result<Option<User>, DirectoryError> {
        Ok(self.users().with_id(id).map(|entry| entry.user.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::users::{demo, list::Entry, password::PasswordHash};

    fn jane() -> Users {
        let mut users = Users::default();
        let user = User { id: UserId::Number(3), name: "Jane Doe".to_owned(), role: "user".to_owned() };
        let password = PasswordHash::of(&Password::new("sesame".to_owned())).unwrap();
        users.add(Entry { username: "Jane".to_owned(), user, password }).unwrap();
        users
    }

    #[tokio::test]
    async fn only_a_name_with_its_password_gets_in() {
        let directory = ListDirectory::new(jane(), PasswordChecks::new());
        let verify = async |name: &str, password: &str| directory.verify(name, password, &|| {}).await.unwrap();
        assert_eq!(verify("jANE", "sesame").await.unwrap().name, "Jane Doe");
        assert_eq!(verify("jane", "Sesame").await, None);
        // The decoy that an unknown name is checked against is Jane's hash, and this is its password.
        assert_eq!(verify("nobody", "sesame").await, None);

        assert!(directory.find(&UserId::Number(3)).await.unwrap().is_some());
        directory.exchange(Users::default());
        assert_eq!(verify("jane", "sesame").await, None);
        assert_eq!(directory.find(&UserId::Number(3)).await.unwrap(), None);
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
            let mut verify = directory.verify(name, "wrong", &tell);
            assert!(futures_util::poll!(&mut verify).is_pending());
            assert_eq!(queued.load(Ordering::SeqCst), 1, "{name}");
            drop(somebody);
            assert_eq!(verify.await.unwrap(), None);
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
            assert_eq!(directory.verify(name, name, &|| {}).await.unwrap(), Some(user));
        }
    }
}
