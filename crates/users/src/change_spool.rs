//! The change spool: changes of users that were announced on this machine by `relogin user
//! changed`, in a file to which that command appends and from which the service takes. For
//! directories that cannot notify the service (docs/users.md). Must not depend on sessions or RES.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use relogin_host::{disk, errors::Chain};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::{UserChange, UserListener, external};

/// The announced changes that the service has not applied to its sessions yet, one line of JSON
/// each.
#[derive(Clone, Debug)]
pub struct ChangeSpool {
    path: PathBuf,
}

impl ChangeSpool {
    /// The spool of the service with this data folder.
    #[must_use]
    pub fn in_folder(data: &Path) -> Self {
        Self { path: data.join("users.changes") }
    }

    /// Adds a change. On disk when this returns; may block.
    ///
    /// # Errors
    /// [`io::Error`] if it cannot be written, or the folder does not exist.
    pub fn add(&self, change: &UserChange) -> io::Result<()> {
        let mut line = external::write_change(change);
        line.push(b'\n');
        let folder = disk::lock_folder(&self.path)?;
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(&line)?;
        file.sync_all()?;
        folder.sync_all()
    }

    /// Looks once a second for changes, and has `listener` apply them, each until that has
    /// succeeded. What is not applied by the end of the process is applied by the next one. Returns
    /// only if reading panics.
    pub async fn follow(self, listener: Arc<dyn UserListener>) {
        let mut has_complained = false;
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let done = match self.clone().blocking(|file| file.read()).await {
                Ok(Ok(None)) => continue,
                Ok(Ok(Some(text))) => match apply(&text, listener.as_ref()).await {
                    0 => continue,
                    bytes => self.clone().blocking(move |file| file.remove(bytes)).await,
                },
                Ok(Err(error)) => Ok(Err(error)),
                Err(panic) => Err(panic),
            };
            match done {
                Ok(Ok(())) => has_complained = false,
                Ok(Err(error)) => {
                    if !has_complained {
                        warn!("cannot use the announced changes of users, {}: {}", self.path.display(), Chain(&error));
                    }
                    has_complained = true;
                }
                Err(panic) => return error!("reading the announced changes of users: {}", Chain(&panic)),
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        self,
        work: impl FnOnce(Self) -> io::Result<T> + Send + 'static,
    ) -> Result<io::Result<T>, tokio::task::JoinError> {
        tokio::task::spawn_blocking(move || work(self)).await
    }

    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() > 0 => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        // A writer completes its line first.
        let _folder = disk::lock_folder(&self.path)?;
        fs::read(&self.path).map(Some)
    }

    /// Removes this many bytes from the beginning; what was appended in the meantime stays.
    fn remove(&self, bytes: usize) -> io::Result<()> {
        let folder = disk::lock_folder(&self.path)?;
        let text = fs::read(&self.path)?;
        match text.get(bytes..) {
            Some(rest) if !rest.is_empty() => disk::replace(&self.path, rest),
            _ => {
                fs::remove_file(&self.path)?;
                folder.sync_all()
            }
        }
    }
}

/// Applies the changes in `text`, up to the first one that fails. Returns how many bytes are done.
async fn apply(text: &[u8], listener: &dyn UserListener) -> usize {
    let mut done = 0;
    // A line without an end was cut off by a crash of its writer, which has not reported success.
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match external::read_change(line) {
            Some(change) => {
                if let Err(error) = listener.user_changed(&change).await {
                    error!(user = %change.id, "a change of a user has not reached their sessions yet: {}", Chain(error.as_ref()));
                    break;
                }
                info!(user = %change.id, "a user has changed");
            }
            None => warn!("ignored a malformed line in the announced changes of users"),
        }
        done += line.len();
    }
    done
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use relogin_session::{SessionId, UserId};
    use tokio::sync::{Mutex, mpsc};

    use super::*;

    /// Fails as often as it is to, and passes on what it is notified of.
    struct Listener {
        failures: Mutex<u32>,
        told: mpsc::UnboundedSender<UserChange>,
    }

    #[async_trait]
    impl UserListener for Listener {
        async fn user_changed(&self, change: &UserChange) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            let mut failures = self.failures.lock().await;
            if *failures > 0 {
                *failures -= 1;
                return Err("out of order".into());
            }
            self.told.send(change.clone()).map_err(Into::into)
        }
    }

    fn change(id: i64) -> UserChange {
        UserChange { id: UserId::Number(id), is_password_new: false, keep: None }
    }

    #[tokio::test]
    async fn an_announced_change_is_applied_once_and_again_if_that_fails() {
        let folder = tempfile::tempdir().unwrap();
        let announced = ChangeSpool::in_folder(folder.path());
        let keep = UserChange { is_password_new: true, keep: Some(SessionId([7; 16])), ..change(2) };
        // Before anybody follows, as while the service is down.
        announced.add(&change(1)).unwrap();
        announced.add(&keep).unwrap();

        let (told, mut heard) = mpsc::unbounded_channel();
        let listener: Arc<dyn UserListener> = Arc::new(Listener { failures: Mutex::new(1), told });
        let following = tokio::spawn(announced.clone().follow(listener));
        assert_eq!(heard.recv().await.unwrap(), change(1));
        assert_eq!(heard.recv().await.unwrap(), keep);
        announced.add(&change(3)).unwrap();
        assert_eq!(heard.recv().await.unwrap(), change(3));
        let is_gone = async {
            while announced.path.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), is_gone).await.expect("nothing is left to be applied");
        following.abort();
        assert!(heard.try_recv().is_err(), "each once");
    }

    #[tokio::test]
    async fn changes_announced_meanwhile_stay_and_malformed_ones_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let announced = ChangeSpool::in_folder(folder.path());
        fs::write(&announced.path, "hunter2\n{\"id\":1}\n{\"id\":2,\"pass").unwrap();
        let (told, mut heard) = mpsc::unbounded_channel();
        let listener = Listener { failures: Mutex::new(0), told };
        let text = announced.read().unwrap().unwrap();
        let done = apply(&text, &listener).await;
        assert_eq!(done, text.len());
        announced.add(&change(3)).unwrap();
        announced.remove(done).unwrap();
        assert_eq!(heard.recv().await.unwrap(), change(1));
        assert_eq!(apply(&announced.read().unwrap().unwrap(), &listener).await, "{\"id\":3}\n".len());
        assert_eq!(heard.recv().await.unwrap(), change(3));
        assert!(heard.try_recv().is_err());
    }

    #[test]
    fn without_the_folder_nothing_is_announced() {
        let folder = tempfile::tempdir().unwrap();
        let announced = ChangeSpool::in_folder(&folder.path().join("nowhere"));
        assert_eq!(announced.add(&change(1)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
