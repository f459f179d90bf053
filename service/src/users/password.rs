//! Passwords: their Argon2id hashes, and checking them without holding anybody else up. Knows no users and no RES.

use std::{fmt, str::FromStr, sync::Arc};

use argon2::{
    Argon2, Params, PasswordHasher, PasswordVerifier,
    password_hash::{self, phc},
};
use relogin_session::api::Password;
use thiserror::Error;
use tokio::sync::Semaphore;

use super::DirectoryError;

/// The hash of a password with its salt and parameters: a PHC string. Redacted in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(phc::PasswordHash);

/// A text that is no hash we can check passwords against.
#[derive(Debug, Error)]
pub enum PasswordHashError {
    /// Not of the form `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
    #[error("not a PHC string with salt and hash, as `relogin user passwd` writes them")]
    Form,
    /// The parameters are no Argon2 parameters, or it is another algorithm's hash.
    #[error("not the hash of an Argon2 that is known here")]
    NotArgon2(#[source] password_hash::Error),
    /// One check would take more memory than [`PasswordHash::MAX_MEMORY`].
    #[error("asks for {0} KiB of memory a check, more than the {max} that are allowed", max = PasswordHash::MAX_MEMORY)]
    Memory(u32),
}

/// Hashing that failed for want of memory or randomness.
#[derive(Debug, Error)]
#[error("password hashing failed")]
pub struct HashingError(#[from] password_hash::Error);

impl PasswordHash {
    /// The most memory that one check may take, in KiB. A slip in the file must not take the machine down.
    pub const MAX_MEMORY: u32 = 1024 * 1024;

    /// Hashes a password by Argon2id with OWASP's parameters (m=19456, t=2, p=1) and a fresh salt. Takes a while: see [`PasswordChecks`].
    ///
    /// # Errors
    /// [`HashingError`] if the system has no memory or randomness left.
    pub fn of(password: &Password) -> Result<Self, HashingError> {
        Ok(Self(Argon2::default().hash_password(password.expose().as_bytes())?))
    }

    /// True if this is the hash of `password`. Takes a while: see [`PasswordChecks`].
    ///
    /// # Errors
    /// [`HashingError`] if the system has no memory left.
    pub fn matches(&self, password: &Password) -> Result<bool, HashingError> {
        match Argon2::default().verify_password(password.expose().as_bytes(), &self.0) {
            Ok(()) => Ok(true),
            Err(password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(HashingError(error)),
        }
    }
}

impl FromStr for PasswordHash {
    type Err = PasswordHashError;

    fn from_str(text: &str) -> Result<Self, PasswordHashError> {
        let hash = phc::PasswordHash::new(text).map_err(|_| PasswordHashError::Form)?;
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err(PasswordHashError::Form);
        }
        hash.algorithm
            .as_str()
            .parse::<argon2::Algorithm>()
            .map_err(|_| PasswordHashError::NotArgon2(password_hash::Error::Algorithm))?;
        let params = Params::try_from(&hash).map_err(PasswordHashError::NotArgon2)?;
        if params.m_cost() > Self::MAX_MEMORY {
            return Err(PasswordHashError::Memory(params.m_cost()));
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for PasswordHash {
    /// The PHC string.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Checks passwords off the async threads: so many at once, so many waiting in their order, and no more. Everything that
/// takes no password (relogins above all) never comes by here, so a flood of logins holds up logins alone.
#[derive(Debug)]
pub struct PasswordChecks {
    running: Arc<Semaphore>,
    taken: Semaphore,
}

impl PasswordChecks {
    /// How many checks may wait for each that runs: at some 20 ms a check they are done within the 15 s that a pre-response
    /// asks of a gateway.
    pub const WAITING_PER_RUNNING: usize = 512;

    /// One check at a time for each core but one, which is left to everything else.
    #[must_use]
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let running = cores.saturating_sub(1).max(1);
        Self::bounded(running, running * Self::WAITING_PER_RUNNING)
    }

    /// `running` checks at a time, `waiting` more in the queue.
    #[must_use]
    pub fn bounded(running: usize, waiting: usize) -> Self {
        Self { running: Arc::new(Semaphore::new(running)), taken: Semaphore::new(running + waiting) }
    }

    /// True if `password` is the one that `hash` was made of. Calls `queued` once before it waits, if it has to.
    ///
    /// # Errors
    /// [`DirectoryError::Busy`] if the queue is full, [`DirectoryError::Failed`] if hashing failed.
    pub async fn check(
        &self,
        hash: PasswordHash,
        password: Password,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<bool, DirectoryError> {
        let _place = self.taken.try_acquire().map_err(|_| DirectoryError::Busy)?;
        let turn = match Arc::clone(&self.running).try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => {
                queued();
                Arc::clone(&self.running).acquire_owned().await.map_err(failed)?
            }
        };
        // The turn goes along: a caller that gives up does not make room for another hash beside the one still running.
        tokio::task::spawn_blocking(move || {
            let verdict = hash.matches(&password);
            drop(turn);
            verdict
        })
        .await
        .map_err(failed)?
        .map_err(failed)
    }
}

#[cfg(test)]
impl PasswordChecks {
    /// Takes the turn of one check until the result is dropped.
    pub(super) async fn hold(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.running).acquire_owned().await.unwrap()
    }
}

impl Default for PasswordChecks {
    fn default() -> Self {
        Self::new()
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> DirectoryError {
    DirectoryError::Failed(Box::new(error))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Hashes as the tests' users have them: as cheap as Argon2 allows.
    fn cheap(password: &str) -> PasswordHash {
        let argon2 =
            Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        PasswordHash(argon2.hash_password(password.as_bytes()).unwrap())
    }

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[test]
    fn hashes_are_owasp_argon2id_and_match_their_password_alone() {
        let hash = PasswordHash::of(&password("sesame")).unwrap();
        assert!(hash.to_string().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(hash.to_string().parse::<PasswordHash>().unwrap(), hash);
        assert!(hash.matches(&password("sesame")).unwrap());
        assert!(!hash.matches(&password("Sesame")).unwrap());
        assert!(!hash.matches(&password("")).unwrap());
        assert_ne!(hash, PasswordHash::of(&password("sesame")).unwrap(), "salts are fresh");
    }

    #[test]
    fn parameters_come_from_the_hash() {
        let hash = cheap("sesame");
        assert!(hash.to_string().contains("$m=8,t=1,p=1$"));
        assert!(hash.matches(&password("sesame")).unwrap());
    }

    #[test]
    fn other_texts_are_refused() {
        let good = cheap("x").to_string();
        for bad in [
            "",
            "sesame",
            "$argon2id$v=19$m=8,t=1,p=1",
            "$2b$12$WApznUOJfkEGSmYRfnkrPOr466oFDCaj4b6HY3EXGvfxm43seyhgC",
            &good.replace("argon2id", "scrypt"),
            &good.replace("t=1", "t=0"),
            &good.replace("m=8", "m=4194304"),
        ] {
            assert!(bad.parse::<PasswordHash>().is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_hash() {
        assert_eq!(format!("{:?}", cheap("x")), "PasswordHash(…)");
    }

    #[tokio::test]
    async fn those_who_wait_are_told_and_those_too_many_refused() {
        let checks = Arc::new(PasswordChecks::bounded(1, 1));
        let hash = cheap("sesame");
        let told = Arc::new(AtomicUsize::new(0));
        // A check that runs for as long as the test wants it to.
        let running = Arc::clone(&checks.running).acquire_owned().await.unwrap();
        let place = checks.taken.try_acquire().unwrap();

        let (queued, is_queued) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn({
            let (checks, hash, told) = (Arc::clone(&checks), hash.clone(), Arc::clone(&told));
            let queued = std::sync::Mutex::new(Some(queued));
            async move {
                let tell = || {
                    told.fetch_add(1, Ordering::SeqCst);
                    queued.lock().unwrap().take().unwrap().send(()).unwrap();
                };
                checks.check(hash, password("sesame"), &tell).await
            }
        });
        is_queued.await.unwrap();
        let refused = checks.check(hash.clone(), password("sesame"), &|| panic!("it does not wait")).await;
        assert!(matches!(refused, Err(DirectoryError::Busy)));

        drop((running, place));
        assert!(waiting.await.unwrap().unwrap());
        assert_eq!(told.load(Ordering::SeqCst), 1);
        assert!(!checks.check(hash, password("wrong"), &|| panic!("nobody is before it")).await.unwrap());
    }

    #[tokio::test]
    async fn one_who_gives_up_makes_room() {
        let checks = PasswordChecks::bounded(1, 1);
        let running = Arc::clone(&checks.running).acquire_owned().await.unwrap();
        let waiting = checks.check(cheap("a"), password("a"), &|| {});
        // Polled once, so that it stands in the queue, then dropped.
        assert!(tokio::time::timeout(std::time::Duration::ZERO, waiting).await.is_err());
        drop(running);
        assert_eq!((checks.running.available_permits(), checks.taken.available_permits()), (1, 2));
    }
    #[test]
    fn one_who_gives_up_while_the_check_runs_makes_no_room_before_its_end() {
        // One thread for hashing, which is busy, so that a check that has begun does not end.
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (let_go, busy) = std::sync::mpsc::channel::<()>();
            tokio::task::spawn_blocking(move || busy.recv());
            let checks = PasswordChecks::bounded(1, 1);
            {
                let mut given_up = Box::pin(checks.check(cheap("a"), password("a"), &|| {}));
                assert!(futures_util::poll!(&mut given_up).is_pending());
            }
            assert_eq!((checks.running.available_permits(), checks.taken.available_permits()), (0, 2));
            drop(let_go);
            drop(checks.hold().await);
        });
    }
}
