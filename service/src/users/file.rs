//! The users file: reading it, and following its changes. Knows no sessions and no RES.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use thiserror::Error;
use tracing::{error, info, warn};

use super::{
    UserChange, UserListener,
    directory::ListDirectory,
    known::KnownUsers,
    list::{Users, UsersError},
};
use crate::{disk::Seen, errors::Chain};

/// A users file that cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("users file {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It holds no list of users.
    #[error("users file {path}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: UsersError,
    },
}

impl FileError {
    /// True if there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// A users file and what was last seen of it.
#[derive(Debug)]
pub struct UsersFile {
    path: PathBuf,
    seen: Option<Seen>,
    /// What the file held when it was last read.
    text: Option<String>,
    /// The reason logged last, so that each is logged once.
    complaint: Option<String>,
}

impl UsersFile {
    /// The file at `path`, not looked at yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: None, text: None, complaint: None }
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's users, if it was never read before or has changed since.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be read or holds no list of users.
    pub fn read(&mut self) -> Result<Option<Users>, FileError> {
        let metadata = fs::metadata(&self.path).map_err(|source| self.unreadable(source))?;
        let seen = Seen::of(&metadata, SystemTime::now());
        if !seen.is_fresh() && self.seen.as_ref() == Some(&seen) {
            return Ok(None);
        }
        let text = fs::read_to_string(&self.path).map_err(|source| self.unreadable(source))?;
        self.seen = Some(seen);
        if self.text.as_ref() == Some(&text) {
            return Ok(None);
        }
        let users = Users::parse(&text).map_err(|source| FileError::Content { path: self.path.clone(), source });
        self.text = Some(text);
        users.map(Some)
    }

    /// Looks once a second whether the file has changed, and if so gives its users to `directory`, and what has happened to whom
    /// to `listener`: since `known`, which is written to its file once all is told. A file that cannot be used, or is gone, changes
    /// nothing, and why is logged. Returns only if reading panics.
    ///
    /// Looking beats waiting for notifications here: it sees an editor's rename, a mounted secret's exchanged link and a network
    /// folder all alike.
    pub async fn follow(
        mut self,
        directory: Arc<ListDirectory>,
        listener: Arc<dyn UserListener>,
        known: Option<PathBuf>,
    ) {
        // A file that is not there, or not yet, says nothing of anybody.
        let now = self.seen.is_some().then(|| KnownUsers::of(&directory.users()));
        let mut news = News::new(now, known);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let looked = tokio::task::spawn_blocking(move || {
                let found = self.look();
                (self, found)
            });
            let Ok((file, found)) = looked.await else {
                error!("reading the users file panicked");
                return;
            };
            self = file;
            if let Some(users) = found {
                let count = users.entries().len();
                news.add(KnownUsers::of(&users));
                directory.exchange(users);
                info!(users = count, "the users file has changed");
            }
            news.tell(listener.as_ref()).await;
        }
    }

    /// The file's users, if it has changed to something usable.
    fn look(&mut self) -> Option<Users> {
        match self.read() {
            Ok(users) => {
                self.complaint = None;
                users
            }
            Err(error) => {
                let reason = Chain(&error).to_string();
                if self.complaint.as_ref() != Some(&reason) {
                    warn!("the users stay as they were: {reason}");
                    self.complaint = Some(reason);
                }
                None
            }
        }
    }

    fn unreadable(&self, source: io::Error) -> FileError {
        FileError::Io { path: self.path.clone(), source }
    }
}

/// What the sessions are still to be told.
struct News {
    /// Where what is known is kept; none: nowhere.
    path: Option<PathBuf>,
    known: KnownUsers,
    untold: VecDeque<UserChange>,
    is_saved: bool,
    /// True once it was said that it cannot be saved.
    has_complained: bool,
}

impl News {
    fn new(now: Option<KnownUsers>, path: Option<PathBuf>) -> Self {
        let before = match path.as_deref().map(KnownUsers::load) {
            Some(Ok(before)) => Some(before),
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                warn!("what has happened to users while the service was away is not known: {}", Chain(&error));
                None
            }
            _ => None,
        };
        let known = before.or_else(|| now.clone()).unwrap_or_default();
        let mut news = Self { path, known, untold: VecDeque::new(), is_saved: now.is_none(), has_complained: false };
        if let Some(now) = now {
            news.add(now);
        }
        news
    }

    fn add(&mut self, now: KnownUsers) {
        self.untold.extend(self.known.changes_to(&now));
        self.known = now;
        self.is_saved = false;
    }

    /// Tells what it can. What cannot be told is told the next time, and until then not forgotten by a restart either.
    async fn tell(&mut self, listener: &dyn UserListener) {
        while let Some(change) = self.untold.front() {
            if let Err(error) = listener.user_changed(change).await {
                return error!(user = %change.id, "a user's change did not reach their sessions yet: {}", Chain(error.as_ref()));
            }
            self.untold.pop_front();
        }
        if self.is_saved {
            return;
        }
        let saved = match self.path.clone() {
            Some(path) => {
                let known = self.known.clone();
                tokio::task::spawn_blocking(move || known.save(&path)).await.unwrap_or_else(|panic| Err(panic.into()))
            }
            None => Ok(()),
        };
        self.is_saved = saved.is_ok();
        match saved {
            Err(error) if !self.has_complained => {
                warn!("what is known of the users is not written down: {}", Chain(&error));
                self.has_complained = true;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::{
            Mutex,
            atomic::{AtomicBool, Ordering::SeqCst},
        },
    };

    use async_trait::async_trait;

    use super::*;
    use crate::users::{list::Users, password::PasswordChecks};

    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn write(path: &Path, username: &str) {
        let text = format!(
            "[[user]]\nid = 1\nusername = {username:?}\nname = \"N\"\nrole = \"user\"\npassword = \"{HASH}\"\n"
        );
        fs::write(path, text).unwrap();
    }

    fn names(users: &Users) -> Vec<&str> {
        users.entries().iter().map(|entry| entry.username.as_str()).collect()
    }

    #[test]
    fn each_change_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let mut file = UsersFile::new(path.clone());
        assert!(file.read().unwrap_err().is_missing());

        for username in ["jane", "john", "mary"] {
            write(&path, username);
            assert_eq!(names(&file.read().unwrap().unwrap()), [username]);
            assert!(file.read().unwrap().is_none());
        }
    }

    #[test]
    fn a_change_that_the_files_times_do_not_tell_is_seen_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let mut file = UsersFile::new(path.clone());
        write(&path, "jane");
        file.read().unwrap();
        write(&path, "john");
        // As if this had come within the same tick of the file system's clock.
        let metadata = fs::metadata(&path).unwrap();
        file.seen = Some(Seen::of(&metadata, SystemTime::now()));
        assert_eq!(names(&file.read().unwrap().unwrap()), ["john"]);

        let later = SystemTime::now() + Duration::from_secs(60);
        assert!(Seen::of(&metadata, SystemTime::now()).is_fresh() && !Seen::of(&metadata, later).is_fresh());
    }

    #[test]
    fn a_broken_or_missing_file_gives_no_users_and_a_mended_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let mut file = UsersFile::new(path.clone());
        write(&path, "jane");
        assert!(file.look().is_some());
        fs::write(&path, "[[user]]\nid = 1\n").unwrap();
        assert!(file.look().is_none());
        assert!(file.complaint.as_ref().unwrap().contains("missing field"), "{:?}", file.complaint);
        fs::remove_file(&path).unwrap();
        assert!(file.look().is_none());
        assert!(file.complaint.as_ref().unwrap().contains("No such file"), "{:?}", file.complaint);
        write(&path, "john");
        assert_eq!(names(&file.look().unwrap()), ["john"]);
        assert_eq!(file.complaint, None);
    }

    /// Writes down what it is told, unless it is to fail.
    #[derive(Default)]
    struct Listener {
        told: Mutex<Vec<String>>,
        fails: AtomicBool,
    }

    #[async_trait]
    impl UserListener for Listener {
        async fn user_changed(&self, change: &UserChange) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            if self.fails.load(SeqCst) {
                return Err("out of order".into());
            }
            let what = if change.is_password_new { "password" } else { "change" };
            self.told.lock().unwrap().push(format!("{} {what}", change.id));
            Ok(())
        }
    }

    /// A follower of a file, and what came of it.
    struct Following {
        directory: Arc<ListDirectory>,
        listener: Arc<Listener>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Following {
        fn start(path: &Path, known: &Path) -> Self {
            let mut file = UsersFile::new(path.to_owned());
            let users = file.read().unwrap().unwrap();
            let directory = Arc::new(ListDirectory::new(users, PasswordChecks::bounded(1, 1)));
            let listener = Arc::<Listener>::default();
            let task = tokio::spawn(file.follow(directory.clone(), listener.clone(), Some(known.to_owned())));
            Self { directory, listener, task }
        }

        /// Lets the time go on until something is so; reading takes its own, which virtual time does not know.
        async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while !is_so(self) {
                assert!(std::time::Instant::now() < deadline, "{what}");
                tokio::time::advance(Duration::from_millis(500)).await;
                tokio::task::yield_now().await;
            }
        }

        async fn told(&self, expected: &[&str]) {
            self.until(&format!("{expected:?}"), |this| *this.listener.told.lock().unwrap() == expected).await;
        }

        /// Ends it once what is known is written down.
        async fn stop(self, known: &Path) {
            let now = KnownUsers::of(&self.directory.users());
            self.until("saved", |_| KnownUsers::load(known).is_ok_and(|known| known == now)).await;
            self.task.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn directory_and_sessions_follow_the_file_over_a_restart_too() {
        let folder = tempfile::tempdir().unwrap();
        let (path, known) = (folder.path().join("users.toml"), folder.path().join("users.known"));
        write(&path, "jane");
        let change = |from: &str, to: &str| {
            fs::write(&path, fs::read_to_string(&path).unwrap().replace(from, to)).unwrap();
        };
        let following = Following::start(&path, &known);
        change("jane", "john");
        following.until("another name", |this| names(&this.directory.users()) == ["john"]).await;
        // A name to log in with is nothing that a session shows.
        change("\"user\"", "\"admin\"");
        following.told(&["1 change"]).await;
        change("$AAAAAAAAAAAAAAAAAAAAAA$", "$BAAAAAAAAAAAAAAAAAAAAA$");
        following.told(&["1 change", "1 password"]).await;
        following.stop(&known).await;

        // While the service is away.
        change("name = \"N\"", "name = \"M\"\ndisabled = true");
        let following = Following::start(&path, &known);
        following.told(&["1 change"]).await;
        following.stop(&known).await;
        let following = Following::start(&path, &known);
        following.stop(&known).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_told_is_told_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, known) = (folder.path().join("users.toml"), folder.path().join("users.known"));
        write(&path, "jane");
        let following = Following::start(&path, &known);
        following.until("saved", |_| known.exists()).await;
        let before = fs::read(&known).unwrap();
        following.listener.fails.store(true, SeqCst);
        fs::write(&path, "").unwrap();
        following.until("removed", |this| this.directory.users().entries().is_empty()).await;
        // The next look comes only after the telling of this one.
        fs::write(&path, "# nobody\n").unwrap();
        assert_eq!(fs::read(&known).unwrap(), before, "a restart would tell it");
        following.listener.fails.store(false, SeqCst);
        following.told(&["1 change"]).await;
        following.stop(&known).await;
    }
}
