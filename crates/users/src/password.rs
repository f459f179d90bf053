//! Passwords: their Argon2id hashes, and checking them without blocking anybody else. Must not
//! depend on users or RES.

use std::{fmt, str::FromStr, sync::Arc};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{
        self,
        phc::{self, Output, ParamsString, Salt},
    },
};
use rand::{TryRng, rngs::SysRng};
use relogin_session::Secret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::{
    DirectoryError,
    cost::{Cost, CostError},
    hash_memory::{HashMemory, HashMemoryPool, IDLE},
    prepare::prepared_password,
};

/// The hash of a password with its salt and parameters: a PHC string. Redacted in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(phc::PasswordHash);

/// A text that is not a supported password hash.
#[derive(Debug, Error)]
pub enum PasswordHashError {
    /// Not of the form `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
    #[error("not a PHC string with salt and hash, as `relogin user passwd` writes them")]
    Form,
    /// The parameters are not valid for Argon2, or the hash is another algorithm's.
    #[error("not a hash of a supported Argon2 variant")]
    NotArgon2(#[source] password_hash::Error),
    /// A check would cost too much.
    #[error("its cost is not supported: it {0}")]
    Cost(CostError),
}

/// The form of a password of which a hash was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashedForm {
    /// As [`prepared_password`] returns it.
    Prepared,
    /// As it was typed, which is different: the hash is from before passwords were prepared.
    AsTyped,
}

/// Tells whether two hashes stem from one setting of a password: equal for a hash and its renewals,
/// different for whatever password is set next. Reveals nothing about the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordMark([u8; 16]);

/// Hashing failed for lack of memory or randomness.
#[derive(Debug, Error)]
#[error("password hashing failed")]
pub struct HashingError(#[from] password_hash::Error);

impl PasswordHash {
    /// Hashes a password, in its prepared form, with Argon2id and a fresh salt. Takes a while: see
    /// [`PasswordChecks`].
    ///
    /// # Errors
    /// [`HashingError`] if the system has no memory or randomness left.
    pub fn of(password: &Secret, cost: Cost) -> Result<Self, HashingError> {
        Self::of_in(password, cost, &mut HashMemory::default())
    }

    fn of_in(password: &Secret, cost: Cost, memory: &mut HashMemory) -> Result<Self, HashingError> {
        let mut salt = [0; Salt::RECOMMENDED_LENGTH];
        SysRng.try_fill_bytes(&mut salt).map_err(|_| password_hash::Error::Crypto)?;
        let salt = Salt::new(&salt).map_err(password_hash::Error::from)?;
        let prepared = prepared_password(password);
        argon2id_hash(prepared.as_ref().unwrap_or(password), salt, cost, memory)
    }

    /// The hash of the same password at another cost. It keeps the salt, and with it its
    /// [`PasswordHash::mark`]; a salt has to differ between passwords, not between hashes of one.
    /// Takes a while: see [`PasswordChecks`].
    ///
    /// # Errors
    /// [`HashingError`] if the system has no memory left.
    pub fn renewed(&self, password: &Secret, cost: Cost, memory: &mut HashMemory) -> Result<Self, HashingError> {
        let salt = self.0.salt.ok_or(password_hash::Error::SaltInvalid)?;
        let prepared = prepared_password(password);
        argon2id_hash(prepared.as_ref().unwrap_or(password), salt, cost, memory)
    }

    /// True if the hash is current Argon2id at this cost.
    #[must_use]
    pub fn has_cost(&self, cost: Cost) -> bool {
        let params = Params::try_from(&self.0);
        self.0.algorithm == Algorithm::Argon2id.ident()
            && self.0.version == Some(Version::V0x13.into())
            && params.is_ok_and(|params| Cost::new(params.m_cost(), params.t_cost(), params.p_cost()) == Ok(cost))
    }

    /// A mark for one setting of a password, which reveals neither the password nor the time.
    #[must_use]
    pub fn mark(&self) -> PasswordMark {
        let digest = Sha256::digest(self.0.salt.as_ref().map_or(&[][..], |salt| salt.as_ref()));
        PasswordMark(digest.first_chunk().copied().expect("SHA-256 has 32 bytes"))
    }

    /// The form of `password` that this is the hash of; none if it is another password's. Takes a
    /// while, and twice as long if the typed form differs from the prepared one and that one does
    /// not match: see [`PasswordChecks`].
    ///
    /// # Errors
    /// [`HashingError`] if the system has no memory left.
    pub fn matches(&self, password: &Secret, memory: &mut HashMemory) -> Result<Option<HashedForm>, HashingError> {
        let prepared = prepared_password(password);
        if self.is_of(prepared.as_ref().unwrap_or(password), memory)? {
            return Ok(Some(HashedForm::Prepared));
        }
        Ok((prepared.is_some() && self.is_of(password, memory)?).then_some(HashedForm::AsTyped))
    }

    fn is_of(&self, password: &Secret, memory: &mut HashMemory) -> Result<bool, HashingError> {
        let phc::PasswordHash { algorithm, version, salt: Some(salt), hash: Some(expected), .. } = &self.0 else {
            return Err(password_hash::Error::SaltInvalid.into());
        };
        let algorithm = Algorithm::try_from(algorithm.as_str())?;
        let version = version.map_or(Ok(Version::default()), Version::try_from).map_err(password_hash::Error::from)?;
        let argon2 = Argon2::new(algorithm, version, Params::try_from(&self.0)?);
        // Compared in constant time, which `Output` does.
        Ok(output(&argon2, password, salt, memory)? == *expected)
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
            .parse::<Algorithm>()
            .map_err(|_| PasswordHashError::NotArgon2(password_hash::Error::Algorithm))?;
        let params = Params::try_from(&hash).map_err(PasswordHashError::NotArgon2)?;
        Cost::new(params.m_cost(), params.t_cost(), params.p_cost()).map_err(PasswordHashError::Cost)?;
        Ok(Self(hash))
    }
}

fn argon2id_hash(
    password: &Secret,
    salt: Salt,
    cost: Cost,
    memory: &mut HashMemory,
) -> Result<PasswordHash, HashingError> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.params());
    Ok(PasswordHash(phc::PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params())?,
        hash: Some(output(&argon2, password, &salt, memory)?),
        salt: Some(salt),
    }))
}

/// Computes the raw hash, in `memory`.
fn output(
    argon2: &Argon2<'_>,
    password: &Secret,
    salt: &Salt,
    memory: &mut HashMemory,
) -> Result<Output, password_hash::Error> {
    let mut bytes = Zeroizing::new([0; Output::MAX_LENGTH]);
    let length = argon2.params().output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let bytes = bytes.get_mut(..length).ok_or(password_hash::Error::OutputSize)?;
    let blocks = memory.blocks(argon2.params().block_count())?;
    argon2.hash_password_into_with_memory(password.expose().as_bytes(), salt, bytes, blocks)?;
    Ok(Output::new(bytes)?)
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

/// Checks passwords off the async threads: a limited number at once, a limited number waiting in
/// order, and no more. Requests without a password (relogins above all) never pass through here, so
/// a flood of logins delays only logins.
#[derive(Debug)]
pub struct PasswordChecks {
    at_once: usize,
    running: Arc<Semaphore>,
    taken: Semaphore,
    memories: Arc<HashMemoryPool>,
}

impl PasswordChecks {
    /// How many checks may wait for each that runs: at about 20 ms per check they are done within
    /// the 15 s that a pre-response asks of a gateway.
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
        Self {
            at_once: running,
            running: Arc::new(Semaphore::new(running)),
            taken: Semaphore::new(running + waiting),
            memories: HashMemoryPool::new(IDLE),
        }
    }

    /// How many checks run at a time.
    #[must_use]
    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// [`PasswordHash::matches`], in its turn: one check, whichever form it is. Calls `queued` once
    /// before it waits, if it has to.
    ///
    /// # Errors
    /// [`DirectoryError::Busy`] if the queue is full, [`DirectoryError::Failed`] if hashing failed.
    pub async fn check(
        &self,
        hash: PasswordHash,
        password: Secret,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<Option<HashedForm>, DirectoryError> {
        self.run(move |memory| hash.matches(&password, memory), queued).await
    }

    /// [`PasswordHash::renewed`], in its turn among the checks.
    ///
    /// # Errors
    /// [`DirectoryError::Busy`] if the queue is full, [`DirectoryError::Failed`] if hashing failed.
    pub async fn renew(
        &self,
        hash: PasswordHash,
        password: Secret,
        cost: Cost,
    ) -> Result<PasswordHash, DirectoryError> {
        self.run(move |memory| hash.renewed(&password, cost, memory), &|| {}).await
    }

    /// [`PasswordHash::of`], in its turn among the checks.
    ///
    /// # Errors
    /// [`DirectoryError::Busy`] if the queue is full, [`DirectoryError::Failed`] if hashing failed.
    pub async fn hash(&self, password: Secret, cost: Cost) -> Result<PasswordHash, DirectoryError> {
        self.run(move |memory| PasswordHash::of_in(&password, cost, memory), &|| {}).await
    }

    async fn run<T: Send + 'static>(
        &self,
        hashing: impl FnOnce(&mut HashMemory) -> Result<T, HashingError> + Send + 'static,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<T, DirectoryError> {
        let _place = self.taken.try_acquire().map_err(|_| DirectoryError::Busy)?;
        let turn = match Arc::clone(&self.running).try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => {
                queued();
                Arc::clone(&self.running).acquire_owned().await.map_err(failed)?
            }
        };
        // The turn is passed along: a caller that gives up does not make room for another hash
        // beside the one still running.
        let memories = Arc::clone(&self.memories);
        tokio::task::spawn_blocking(move || {
            give_way();
            let mut memory = memories.take();
            let hashed = hashing(&mut memory);
            memories.give_back(memory);
            drop(turn);
            hashed
        })
        .await
        .map_err(failed)?
        .map_err(failed)
    }
}

/// Gives the rest of the machine priority over this thread: a check may take a moment longer, a
/// relogin should not. The thread belongs to the pool for blocking work, so its other work is not
/// urgent either.
fn give_way() {
    // If the system does not permit that, the check works all the same.
    let _ = rustix::process::setpriority_process(None, 10);
}

#[cfg(test)]
impl PasswordChecks {
    /// Takes the turn of one check until the result is dropped.
    pub(crate) async fn hold(&self) -> tokio::sync::OwnedSemaphorePermit {
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
    fn cheap(text: &str) -> PasswordHash {
        PasswordHash::of(&password(text), Cost::new(8, 1, 1).unwrap()).unwrap()
    }

    fn password(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn hashes_are_owasp_argon2id_and_match_their_password_alone() {
        let hash = PasswordHash::of(&password("sesame"), Cost::OWASP).unwrap();
        assert!(hash.to_string().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(hash.to_string().parse::<PasswordHash>().unwrap(), hash);
        assert_eq!(hash.matches(&password("sesame"), &mut HashMemory::default()).unwrap(), Some(HashedForm::Prepared));
        assert_eq!(hash.matches(&password("Sesame"), &mut HashMemory::default()).unwrap(), None);
        assert_eq!(hash.matches(&password(""), &mut HashMemory::default()).unwrap(), None);
        assert_ne!(hash, PasswordHash::of(&password("sesame"), Cost::OWASP).unwrap(), "salts are fresh");
    }

    #[test]
    fn parameters_come_from_the_hash() {
        let hash = cheap("sesame");
        assert!(hash.to_string().contains("$m=8,t=1,p=1$"));
        assert!(hash.matches(&password("sesame"), &mut HashMemory::default()).unwrap().is_some());
    }

    #[test]
    fn a_hash_from_before_passwords_were_prepared_matches_what_it_was_made_of() {
        let (typed, cost) = (password("pa\u{308}ss\u{a0}w"), Cost::new(8, 1, 1).unwrap());
        let old = argon2id_hash(&typed, Salt::new(&[7; 16]).unwrap(), cost, &mut HashMemory::default()).unwrap();
        assert_eq!(old.matches(&typed, &mut HashMemory::default()).unwrap(), Some(HashedForm::AsTyped));
        assert_eq!(
            old.matches(&password("p\u{e4}ss w"), &mut HashMemory::default()).unwrap(),
            None,
            "what it was made of cannot be told from this"
        );
        let renewed = old.renewed(&typed, cost, &mut HashMemory::default()).unwrap();
        assert_eq!(renewed.mark(), old.mark());
        for form in ["pa\u{308}ss\u{a0}w", "p\u{e4}ss w"] {
            assert_eq!(
                renewed.matches(&password(form), &mut HashMemory::default()).unwrap(),
                Some(HashedForm::Prepared),
                "{form:?}"
            );
        }
    }

    #[test]
    fn a_renewed_hash_costs_what_it_should_and_is_of_the_same_password() {
        let (old, cost) = (cheap("sesame"), Cost::new(16, 2, 1).unwrap());
        assert!(!old.has_cost(cost));
        let new = old.renewed(&password("sesame"), cost, &mut HashMemory::default()).unwrap();
        assert!(new.has_cost(cost) && new.matches(&password("sesame"), &mut HashMemory::default()).unwrap().is_some());
        assert_ne!(new, old);
        assert_eq!(new.mark(), old.mark());
        assert_ne!(cheap("sesame").mark(), old.mark(), "the same password set again is set again");
        let other: PasswordHash = new.to_string().replace("argon2id", "argon2i").parse().unwrap();
        assert!(!other.has_cost(cost), "another algorithm's");
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
    fn what_a_memory_was_used_for_before_does_not_matter() {
        let memory = &mut HashMemory::default();
        let small = cheap("sesame");
        let large = PasswordHash::of(&password("other"), Cost::new(64, 2, 2).unwrap()).unwrap();
        for (hash, text) in [(&large, "other"), (&small, "sesame"), (&large, "other")] {
            assert!(hash.matches(&password(text), memory).unwrap().is_some());
            assert!(hash.matches(&password("wrong"), memory).unwrap().is_none());
        }
        // Another implementation's (the reference's `argon2`): password, somesalt.
        let foreign: PasswordHash =
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc".parse().unwrap();
        assert!(foreign.matches(&password("password"), memory).unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn checks_share_their_memory_and_free_it_after_a_while() {
        let checks = PasswordChecks::bounded(2, 64);
        let hash = cheap("sesame");
        let all = (0..50).map(|_| checks.check(hash.clone(), password("sesame"), &|| {}));
        assert!(futures_util::future::join_all(all).await.into_iter().all(|form| form.unwrap().is_some()));
        let (memories, blocks) = checks.memories.kept();
        assert!((1..=2).contains(&memories) && blocks == memories * 8, "{memories} of {blocks} blocks");
        tokio::time::sleep(IDLE * 3).await;
        assert_eq!(checks.memories.kept(), (0, 0));
    }

    #[test]
    fn debug_shows_no_hash() {
        assert_eq!(format!("{:?}", cheap("x")), "PasswordHash(…)");
    }

    #[tokio::test]
    async fn waiting_callers_are_notified_and_those_beyond_the_limit_refused() {
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
        assert!(waiting.await.unwrap().unwrap().is_some());
        assert_eq!(told.load(Ordering::SeqCst), 1);
        assert_eq!(checks.check(hash, password("wrong"), &|| panic!("nobody is before it")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_caller_who_gives_up_makes_room() {
        let checks = PasswordChecks::bounded(1, 1);
        let running = Arc::clone(&checks.running).acquire_owned().await.unwrap();
        let waiting = checks.check(cheap("a"), password("a"), &|| {});
        // Polled once, so that it stands in the queue, then dropped.
        assert!(tokio::time::timeout(std::time::Duration::ZERO, waiting).await.is_err());
        drop(running);
        assert_eq!((checks.running.available_permits(), checks.taken.available_permits()), (1, 2));
    }
    #[test]
    fn a_caller_who_gives_up_during_a_check_makes_room_only_at_its_end() {
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
