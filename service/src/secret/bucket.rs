//! Secrets in a bucket of NATS, encrypted: all instances have the same, and no file has to be
//! carried from machine to machine. Must not know what the secrets are for.
//!
//! The bucket has one key, whose value is the text of a secret file, sealed (`sealed.rs`). It is
//! created and changed by compare-and-swap, so of instances that start at the same time all take
//! the secret of one.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client,
    jetstream::{
        Context, ErrorCode,
        context::{CreateKeyValueErrorKind, GetStreamErrorKind, PublishErrorKind},
        kv::{self, CreateErrorKind, Store},
        message::PublishMessage,
        stream::StorageType,
    },
};
use relogin_session::Keyring;
use relogin_store::jetstream::context;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::{FromFile, SecretError, fresh_line, parse, read_private, sealed};

/// The secrets in a bucket.
pub struct SecretBucket {
    context: Context,
    store: Store,
    /// Where the passphrase is, which may change while a service runs.
    file: PathBuf,
    passphrase: Mutex<Zeroizing<Vec<u8>>>,
    /// The revision that was read last.
    read: AtomicU64,
}

/// The text of a secret file, and the revision that it has in the bucket.
pub struct Entry {
    /// Its text.
    pub text: Zeroizing<String>,
    /// Its revision; 0 if there is none yet.
    pub revision: u64,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("revision", &self.revision).finish_non_exhaustive()
    }
}

const KEY: &str = "secrets";

/// How long NATS has for its answers. An election of a new leader takes less.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Former versions that are kept.
const HISTORY: i64 = 8;

/// The shortest accepted passphrase, in bytes.
const MIN_PASSPHRASE: usize = 16;

impl SecretBucket {
    /// The bucket `name`, and the passphrase in this file. With a number of replicas the bucket is
    /// made if it is not there, and has to have as many.
    ///
    /// # Errors
    /// [`SecretError`] if one of them cannot be used.
    pub async fn open(
        client: Client,
        name: &str,
        replicas: Option<usize>,
        passphrase: &Path,
    ) -> Result<Self, SecretError> {
        let file = passphrase.to_owned();
        let passphrase = Mutex::new(passphrase_in(&file)?);
        let config = kv::Config {
            bucket: name.to_owned(),
            description: "secrets of relogin, encrypted".to_owned(),
            history: HISTORY,
            storage: StorageType::File,
            num_replicas: replicas.unwrap_or_default(),
            ..kv::Config::default()
        };
        let context = context(&client, ANSWER_DEADLINE).await?;
        let made = match replicas {
            Some(_) => Some(context.create_key_value(config).await),
            None => None,
        };
        let store = match made {
            Some(Ok(store)) => store,
            Some(Err(error)) if error.kind() != CreateKeyValueErrorKind::BucketCreate => {
                return Err(SecretError::bucket(name, error));
            }
            // It may be there, made in another way.
            Some(Err(error)) => context.get_key_value(name).await.map_err(|_| SecretError::bucket(name, error))?,
            None => {
                let stream = context.get_stream(format!("KV_{name}")).await;
                stream.map_err(|error| match error.kind() {
                    GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                        SecretError::Missing { bucket: name.to_owned() }
                    }
                    _ => SecretError::bucket(name, error),
                })?;
                context.get_key_value(name).await.map_err(|error| SecretError::bucket(name, error))?
            }
        };
        let found = store.stream.cached_info().config.num_replicas;
        if let Some(wanted) = replicas.filter(|wanted| *wanted != found) {
            return Err(SecretError::Replicas { bucket: name.to_owned(), found, wanted });
        }
        Ok(Self { context, store, file, passphrase, read: AtomicU64::new(0) })
    }

    /// The secrets; made now if there are none.
    ///
    /// # Errors
    /// [`SecretError`] if they can be neither read nor made. A bucket that another instance has
    /// just made has no leader for a moment: then that [may pass](SecretError::may_pass).
    pub async fn load(&self) -> Result<FromFile, SecretError> {
        let mut is_new = false;
        loop {
            let Entry { text, revision } = self.read().await?;
            if revision != 0 {
                self.read.store(revision, Ordering::SeqCst);
                return Ok(FromFile { keyring: self.parse(&text)?, is_new });
            }
            is_new = self.write(&fresh_line()?, 0).await?.is_some();
        }
    }

    /// The same for a service that uses the secrets `in_use`.
    ///
    /// # Errors
    /// [`SecretError`] if they cannot be read, or none of those in use is among them.
    pub async fn again(&self, in_use: &Keyring) -> Result<Keyring, SecretError> {
        let Entry { text, revision } = self.read().await?;
        let keyring = self.parse(&text)?;
        self.read.store(revision, Ordering::SeqCst);
        if keyring.has_secret_of(in_use) { Ok(keyring) } else { Err(SecretError::Foreign { path: self.name() }) }
    }

    /// True if the bucket has other secrets than those that were read last.
    ///
    /// # Errors
    /// [`SecretError`] if it does not answer.
    pub async fn is_changed(&self) -> Result<bool, SecretError> {
        let entry = self.store.entry(KEY).await.map_err(|error| SecretError::bucket(&self.store.name, error))?;
        Ok(entry.is_some_and(|entry| entry.revision != self.read.load(Ordering::SeqCst)))
    }

    /// What is stored.
    ///
    /// # Errors
    /// [`SecretError`] if it cannot be read.
    pub async fn read(&self) -> Result<Entry, SecretError> {
        let entry = self.store.entry(KEY).await.map_err(|error| SecretError::bucket(&self.store.name, error))?;
        let Some(entry) = entry.filter(|entry| !entry.value.is_empty()) else {
            return Ok(Entry { text: Zeroizing::default(), revision: 0 });
        };
        let open = async |passphrase: Zeroizing<Vec<u8>>| {
            let sealed = entry.value.clone();
            spawn_blocking(move || sealed::open(&passphrase, &sealed)).await.ok().flatten()
        };
        let text = match open(self.passphrase()).await {
            Some(text) => text,
            None => {
                let new = passphrase_in(&self.file)?;
                let opened = if new == self.passphrase() { None } else { open(new.clone()).await };
                let text = opened.ok_or_else(|| SecretError::Passphrase { bucket: self.store.name.clone() })?;
                *self.passphrase.lock().unwrap_or_else(PoisonError::into_inner) = new;
                text
            }
        };
        Ok(Entry { text, revision: entry.revision })
    }

    /// Encrypts what is stored under the passphrase in another file. What was encrypted under the
    /// former one is removed from the bucket.
    ///
    /// # Errors
    /// [`SecretError`] if that file cannot be used, or the bucket. None if somebody else has
    /// changed the secrets meanwhile.
    pub async fn reseal(&self, Entry { text, revision }: Entry, file: &Path) -> Result<Option<u64>, SecretError> {
        let sealed = seal(&self.store.name, passphrase_in(file)?, &text).await?;
        let message = PublishMessage::build().expected_last_subject_sequence(revision);
        // In the same step: the bucket has a history.
        let message = message.header("Nats-Rollup", "sub").payload(sealed.into());
        let subject = format!("{}{KEY}", self.store.prefix);
        let sent = self.context.send_publish(subject, message).await;
        match sent.map_err(|error| SecretError::bucket(&self.store.name, error))?.await {
            Ok(written) => Ok(Some(written.sequence)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
            Err(error) => Err(SecretError::bucket(&self.store.name, error)),
        }
    }

    fn passphrase(&self) -> Zeroizing<Vec<u8>> {
        self.passphrase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores this text in place of what has `revision` (0: of nothing), and returns its revision.
    /// None if there is something else by now.
    ///
    /// # Errors
    /// [`SecretError`] if it cannot be written.
    pub async fn write(&self, text: &str, revision: u64) -> Result<Option<u64>, SecretError> {
        let sealed = seal(&self.store.name, self.passphrase(), text).await?;
        if revision == 0 {
            return match self.store.create(KEY, sealed.into()).await {
                Ok(revision) => Ok(Some(revision)),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(SecretError::bucket(&self.store.name, error)),
            };
        }
        match self.store.update(KEY, sealed.into(), revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(SecretError::bucket(&self.store.name, error)),
        }
    }

    /// The keyring of such a text.
    ///
    /// # Errors
    /// [`SecretError`] if it is not the text of a secret file.
    pub fn parse(&self, text: &str) -> Result<Keyring, SecretError> {
        parse(text, &self.name())
    }

    /// On how many servers they are kept.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.store.stream.cached_info().config.num_replicas
    }

    fn name(&self) -> std::path::PathBuf {
        format!("the bucket {}", self.store.name).into()
    }
}

/// The passphrase in a file: its first line.
///
/// # Errors
/// [`SecretError`] if the file cannot be read, or the passphrase is too short.
pub fn passphrase_in(file: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let text = read_private(file)?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.len() < MIN_PASSPHRASE {
        let (path, len) = (file.to_owned(), line.len());
        return Err(SecretError::ShortPassphrase { path, len, min: MIN_PASSPHRASE });
    }
    Ok(Zeroizing::new(line.as_bytes().to_vec()))
}

async fn seal(bucket: &str, passphrase: Zeroizing<Vec<u8>>, text: &str) -> Result<Vec<u8>, SecretError> {
    let text = Zeroizing::new(text.to_owned());
    let sealed = spawn_blocking(move || sealed::seal(&passphrase, text.as_bytes())).await;
    sealed.map_err(|error| SecretError::bucket(bucket, error))?.map_err(SecretError::Random)
}

impl std::fmt::Debug for SecretBucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretBucket").field("name", &self.store.name).field("file", &self.file).finish_non_exhaustive()
    }
}
