//! Secrets in a bucket of NATS, encrypted: all instances have the same, and no file has to be
//! carried from machine to machine. Must not know what the secrets are for.
//!
//! The bucket has one key, whose value is the text of a secret file, sealed (`sealed.rs`). It is
//! created and changed by compare-and-swap, so of instances that start at the same time all take
//! the secret of one.
//!
//! A bucket that has lost writes gives out their revisions a second time. So whether something has
//! changed is seen by what is stored: no two sealed texts are the same.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
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
use bytes::Bytes;
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
    /// The entry that was read last.
    read: Mutex<Seen>,
}

/// The text of a secret file, and what the bucket has of it.
pub struct Entry {
    /// Its text.
    pub text: Zeroizing<String>,
    /// The state of the bucket that a change of it has to name.
    pub seen: Seen,
}

/// The bucket's entry when it was read or written. The default stands for no entry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Seen {
    revision: u64,
    sealed: Bytes,
}

impl Seen {
    /// True if there were no secrets.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.revision == 0
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("seen", &self.seen).finish_non_exhaustive()
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
        Ok(Self { context, store, file, passphrase, read: Mutex::default() })
    }

    /// The secrets; made now if there are none.
    ///
    /// # Errors
    /// [`SecretError`] if they can be neither read nor made. A bucket that another instance has
    /// just made has no leader for a moment: then that [may pass](SecretError::may_pass).
    pub async fn load(&self) -> Result<FromFile, SecretError> {
        let mut is_new = false;
        loop {
            let Entry { text, seen } = self.read().await?;
            if !seen.is_nothing() {
                self.note(seen);
                return Ok(FromFile { keyring: self.parse(&text)?, is_new });
            }
            is_new = self.write(&fresh_line()?, &seen).await?.is_some();
        }
    }

    /// The same for a service that uses the secrets `in_use`.
    ///
    /// # Errors
    /// [`SecretError`] if they cannot be read, or none of those in use is among them.
    pub async fn again(&self, in_use: &Keyring) -> Result<Keyring, SecretError> {
        let Entry { text, seen } = self.read().await?;
        let keyring = self.parse(&text)?;
        self.note(seen);
        if keyring.has_secret_of(in_use) { Ok(keyring) } else { Err(SecretError::Foreign { path: self.name() }) }
    }

    /// True if the bucket has other secrets than those that were read last.
    ///
    /// # Errors
    /// [`SecretError`] if it does not answer.
    pub async fn is_changed(&self) -> Result<bool, SecretError> {
        let now = self.now().await?;
        Ok(!now.is_nothing() && now != *self.read.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, seen: Seen) {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// Reads the bucket's entry.
    async fn now(&self) -> Result<Seen, SecretError> {
        let entry = self.store.entry(KEY).await.map_err(|error| SecretError::bucket(&self.store.name, error))?;
        Ok(entry.map(|entry| Seen { revision: entry.revision, sealed: entry.value }).unwrap_or_default())
    }

    /// What is stored.
    ///
    /// # Errors
    /// [`SecretError`] if it cannot be read.
    pub async fn read(&self) -> Result<Entry, SecretError> {
        let seen = self.now().await?;
        if seen.sealed.is_empty() {
            return Ok(Entry { text: Zeroizing::default(), seen: Seen::default() });
        }
        let open = async |passphrase: Zeroizing<Vec<u8>>| {
            let sealed = seen.sealed.clone();
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
        Ok(Entry { text, seen })
    }

    /// Encrypts what is stored under the passphrase in another file. What was encrypted under the
    /// former one is removed from the bucket.
    ///
    /// # Errors
    /// [`SecretError`] if that file cannot be used, or the bucket. None if somebody else has
    /// changed the secrets meanwhile.
    pub async fn reseal(&self, Entry { text, seen }: Entry, file: &Path) -> Result<Option<Seen>, SecretError> {
        let sealed = seal(&self.store.name, passphrase_in(file)?, &text).await?;
        if self.now().await? != seen {
            return Ok(None);
        }
        let message = PublishMessage::build().expected_last_subject_sequence(seen.revision);
        // In the same step: the bucket has a history.
        let message = message.header("Nats-Rollup", "sub").payload(sealed.clone());
        let subject = format!("{}{KEY}", self.store.prefix);
        let sent = self.context.send_publish(subject, message).await;
        match sent.map_err(|error| SecretError::bucket(&self.store.name, error))?.await {
            Ok(written) => Ok(Some(Seen { revision: written.sequence, sealed })),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
            Err(error) => Err(SecretError::bucket(&self.store.name, error)),
        }
    }

    fn passphrase(&self) -> Zeroizing<Vec<u8>> {
        self.passphrase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores this text in place of what was `seen`, and returns what the bucket has then. None if
    /// there is something else by now.
    ///
    /// # Errors
    /// [`SecretError`] if it cannot be written.
    pub async fn write(&self, text: &str, seen: &Seen) -> Result<Option<Seen>, SecretError> {
        let sealed = seal(&self.store.name, self.passphrase(), text).await?;
        if seen.is_nothing() {
            return match self.store.create(KEY, sealed.clone()).await {
                Ok(revision) => Ok(Some(Seen { revision, sealed })),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(SecretError::bucket(&self.store.name, error)),
            };
        }
        if self.now().await? != *seen {
            return Ok(None);
        }
        match self.store.update(KEY, sealed.clone(), seen.revision).await {
            Ok(revision) => Ok(Some(Seen { revision, sealed })),
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

async fn seal(bucket: &str, passphrase: Zeroizing<Vec<u8>>, text: &str) -> Result<Bytes, SecretError> {
    let text = Zeroizing::new(text.to_owned());
    let sealed = spawn_blocking(move || sealed::seal(&passphrase, text.as_bytes())).await;
    let sealed = sealed.map_err(|error| SecretError::bucket(bucket, error))?;
    sealed.map(Into::into).map_err(SecretError::Random)
}

impl std::fmt::Debug for SecretBucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretBucket").field("name", &self.store.name).field("file", &self.file).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use relogin_test_support::nats_server::NatsServer;

    use super::*;

    #[tokio::test]
    async fn what_another_history_of_the_bucket_has_under_the_same_revision_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let passphrase = folder.path().join("passphrase");
        fs::write(&passphrase, "correct horse battery staple").unwrap();
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
        let server = NatsServer::with_jetstream(&folder.path().join("jetstream"), "-1");
        let client = async_nats::connect(server.url()).await.unwrap();
        let open = async || SecretBucket::open(client.clone(), "secrets", Some(1), &passphrase).await.unwrap();
        let ours = open().await;
        ours.load().await.unwrap();
        let Entry { text, seen } = ours.read().await.unwrap();
        assert!(!ours.is_changed().await.unwrap());

        ours.context.delete_key_value("secrets").await.unwrap();
        let theirs = open().await;
        theirs.load().await.unwrap();
        let now = theirs.read().await.unwrap();
        assert_eq!(now.seen.revision, seen.revision, "otherwise this test shows nothing");
        assert!(ours.is_changed().await.unwrap());
        assert_eq!(ours.write("", &seen).await.unwrap(), None);
        assert_eq!(ours.reseal(Entry { text, seen }, &passphrase).await.unwrap(), None);
        assert_eq!(theirs.read().await.unwrap().text, now.text);
    }
}
