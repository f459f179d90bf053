//! The bucket's messages: making it, publishing to it under a revision, and asking its leader. Must
//! not depend on the replica.

use std::{error::Error as _, future::poll_fn, pin::pin, task::Poll, time::Duration};

use async_nats::{
    Client, HeaderMap,
    connection::State,
    jetstream::{
        self, Context, ErrorCode,
        context::{AccountErrorKind, CreateKeyValueErrorKind, GetStreamErrorKind, PublishError, PublishErrorKind},
        kv::{self, Store},
        message::PublishMessage,
        stream::{ConsumerErrorKind, LastRawMessageErrorKind, StorageType},
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use relogin_session::{Record, SessionId};

use super::{
    OpenError,
    replica::{Change, Encoded},
    watch::{Watch, WatchedEntry},
};
use crate::{Revision, StoreError};

/// Which bucket, and how it is made if it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketConfig {
    /// Its name.
    pub name: String,
    /// On how many servers each session is.
    pub replicas: Replicas,
}

/// On how many servers a bucket is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replicas {
    /// One: it is away while that server is.
    #[default]
    One,
    /// Three: one server may be away.
    Three,
    /// Five: two servers may be away.
    Five,
}

impl Replicas {
    /// The number of servers.
    #[must_use]
    pub fn number(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three => 3,
            Self::Five => 5,
        }
    }
}

/// What has become of a publish.
pub(super) enum Published {
    /// It is stored, with this sequence.
    Done(Revision),
    /// The subject's last sequence is another one. Nothing was stored.
    Conflict,
    /// There is no bucket, or it has no leader.
    Nobody,
    /// Another write of the subject is under way, and may yet fail. Nothing was stored.
    Late,
    /// It was not to be sent any more.
    Unsent,
    /// It was not stored.
    Refused(Box<dyn std::error::Error + Send + Sync>),
    /// It may have been stored.
    Unknown(Box<dyn std::error::Error + Send + Sync>),
}

/// The bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    client: Client,
    context: Context,
    pub(super) store: Store,
}

/// How long a server has for its answer. An election of a new leader takes less.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(4);

/// For how long a removed session's marker stays, and a session that is over and that nobody
/// disposes of.
const GRACE: Duration = Duration::from_secs(3_600);

const PREFIX: &str = "s.";

/// The key that read barriers write to.
const BARRIER: &str = "barrier";

/// JetStream of the servers, which must be new enough and have it. A request is given up after
/// `deadline`.
///
/// # Errors
/// [`OpenError`] if they do not, or not yet.
pub async fn context(client: &Client, deadline: Duration) -> Result<Context, OpenError> {
    let server = client.server_info();
    if !client.is_server_compatible(2, 12, 0) {
        return Err(OpenError::ServerTooOld(server.version));
    }
    let mut context = jetstream::new(client.clone());
    context.set_timeout(deadline);
    match context.query_account().await {
        Ok(_) => Ok(context),
        Err(error) => match error.kind() {
            // In a cluster the servers that have it may not have started yet.
            AccountErrorKind::JetStreamUnavailable if server.cluster.is_none() => {
                Err(OpenError::NoJetStream(server.server_name))
            }
            AccountErrorKind::JetStream(answer)
                if answer.error_code() == ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT =>
            {
                Err(OpenError::NoJetStream(server.server_name))
            }
            _ => Err(OpenError::Unanswered { source: error }),
        },
    }
}

/// On how many servers the bucket is kept; none if it is not there.
///
/// # Errors
/// [`OpenError`] if JetStream does not say.
pub async fn replicas(client: Client, name: &str) -> Result<Option<usize>, OpenError> {
    let context = context(&client, ANSWER_DEADLINE).await?;
    match context.get_stream(format!("KV_{name}")).await {
        Ok(stream) => Ok(Some(stream.cached_info().config.num_replicas)),
        Err(error) if is_missing(&error.kind()) => Ok(None),
        Err(error) => Err(unusable(name, error)),
    }
}

fn unusable(bucket: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
    OpenError::Bucket { bucket: bucket.to_owned(), source: source.into() }
}

impl Bucket {
    /// Opens the bucket. If it is not there, it is made.
    pub(super) async fn open(client: &Client, config: &BucketConfig) -> Result<Self, OpenError> {
        let context = context(client, ANSWER_DEADLINE).await?;
        let wanted = kv::Config {
            bucket: config.name.clone(),
            description: "sessions of relogin".to_owned(),
            history: 1,
            storage: StorageType::File,
            num_replicas: config.replicas.number(),
            limit_markers: Some(GRACE),
            ..kv::Config::default()
        };
        let store = match context.create_key_value(wanted).await {
            Ok(store) => store,
            // One that is made in another way.
            Err(error) if error.kind() == CreateKeyValueErrorKind::BucketCreate => {
                context.get_key_value(&config.name).await.map_err(|_| unusable(&config.name, error))?
            }
            Err(error) => return Err(unusable(&config.name, error)),
        };
        Self::checked(client, context, store, Some(config.replicas.number())).await
    }

    /// Opens the bucket, which must be there, with as many replicas as it has.
    pub(super) async fn open_existing(client: &Client, name: &str) -> Result<Self, OpenError> {
        let context = context(client, ANSWER_DEADLINE).await?;
        match context.get_stream(format!("KV_{name}")).await {
            Ok(_) => {}
            Err(error) if is_missing(&error.kind()) => return Err(OpenError::Missing(name.to_owned())),
            Err(error) => return Err(unusable(name, error)),
        }
        let store = context.get_key_value(name).await.map_err(|error| unusable(name, error))?;
        Self::checked(client, context, store, None).await
    }

    async fn checked(
        client: &Client,
        context: Context,
        mut store: Store,
        replicas: Option<usize>,
    ) -> Result<Self, OpenError> {
        let name = store.name.clone();
        let info = store.stream.info().await.map_err(|error| unusable(&name, error))?;
        let found = &info.config;
        let wanted = replicas.unwrap_or(found.num_replicas);
        if found.num_replicas != wanted || found.max_messages_per_subject != 1 || !found.allow_message_ttl {
            let describe = |replicas: usize, history: i64, ttl: bool| {
                format!(
                    "{replicas} replicas, a history of {history}, {} time to live",
                    if ttl { "with" } else { "without" }
                )
            };
            return Err(OpenError::Different {
                bucket: name,
                found: describe(found.num_replicas, found.max_messages_per_subject, found.allow_message_ttl),
                wanted: describe(wanted, 1, true),
            });
        }
        Ok(Self { client: client.clone(), context, store })
    }

    /// Stores a change of a session whose last message has the sequence `expected` (0: it has
    /// none), if at the moment of sending `is_still` that of the bucket's present history.
    pub(super) async fn publish(
        &self,
        sid: SessionId,
        expected: Revision,
        change: &Change,
        is_still: impl Fn() -> bool,
    ) -> Published {
        // The client would keep it until the connection is back, long after its caller was told
        // that it failed.
        if self.client.connection_state() != State::Connected {
            return Published::Refused("the connection to NATS is lost".into());
        }
        let message = PublishMessage::build().expected_last_subject_sequence(expected.0);
        let message = match change {
            Change::Put(Encoded { record, bytes }) => {
                message.payload(Bytes::copy_from_slice(bytes)).ttl(time_to_live(record))
            }
            Change::Remove => message.header("KV-Operation", "PURGE").header("Nats-Rollup", "sub").ttl(GRACE),
        };
        let subject = format!("{}{}", self.store.prefix, key(sid));
        // Sending waits while the connection does not take more, which may be until the next one.
        let acknowledged = match only_while(is_still, self.context.send_publish(subject, message)).await {
            Some(Ok(sent)) => sent.await,
            Some(Err(error)) => return Published::Refused(error.into()),
            None => return Published::Unsent,
        };
        match acknowledged {
            Ok(acknowledged) => Published::Done(Revision(acknowledged.sequence)),
            Err(error) => match error.kind() {
                PublishErrorKind::WrongLastSequence => Published::Conflict,
                _ if is_late(&error) => Published::Late,
                PublishErrorKind::StreamNotFound => Published::Nobody,
                PublishErrorKind::MaxAckPending | PublishErrorKind::MaxPayloadExceeded => {
                    Published::Refused(error.into())
                }
                _ => Published::Unknown(error.into()),
            },
        }
    }

    /// How large it is; none if nobody says.
    pub(super) async fn bytes(&self) -> Option<u64> {
        Some(self.store.stream.get_info().await.ok()?.state.bytes)
    }

    /// Shows what the bucket has, and then what comes.
    pub(super) async fn watch(&self) -> Result<Watch, OpenError> {
        Watch::open(&self.client, &self.context, &self.store).await.map_err(|error| match error.kind() {
            ConsumerErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                OpenError::Missing(self.store.name.clone())
            }
            _ => OpenError::Bucket { bucket: self.store.name.clone(), source: error.into() },
        })
    }

    /// The session that a message is about, if it is about one.
    pub(super) fn session(&self, subject: &str) -> Option<SessionId> {
        let key = subject.strip_prefix(self.store.prefix.as_str())?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(key.strip_prefix(PREFIX)?).ok()?;
        Some(SessionId(bytes.try_into().ok()?))
    }

    /// Writes to the bucket, and returns the sequence of that write: whatever was acknowledged
    /// before has a lower one. Only a write says so. A leader that was deposed and has not noticed
    /// would still answer a read. The client must be connected: else it would keep the write until
    /// it is.
    ///
    /// # Errors
    /// [`StoreError::Shortage`] if nobody is there to take it.
    pub(super) async fn publish_barrier(&self) -> Result<Revision, StoreError> {
        let subject = format!("{}{BARRIER}", self.store.prefix);
        let sent = self.context.send_publish(subject, PublishMessage::build()).await;
        let acknowledged = sent.map_err(|error| StoreError::Backend(error.into()))?.await;
        acknowledged.map(|acknowledged| Revision(acknowledged.sequence)).map_err(|error| match error.kind() {
            PublishErrorKind::StreamNotFound => {
                StoreError::Shortage("there is no such bucket, or it has no leader".into())
            }
            _ => StoreError::Backend(error.into()),
        })
    }

    /// What the bucket's leader has of a session: its last sequence and what that has done;
    /// sequence 0 if there is nothing.
    pub(super) async fn ask_leader(&self, sid: SessionId) -> Result<(Revision, Change), StoreError> {
        let subject = format!("{}{}", self.store.prefix, key(sid));
        match self.store.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => {
                let revision = Revision(message.sequence);
                if is_removal(&message.headers) {
                    Ok((revision, Change::Remove))
                } else {
                    Ok((revision, Change::Put(Encoded::decode(sid, &message.payload)?)))
                }
            }
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok((Revision::default(), Change::Remove)),
                LastRawMessageErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                    Ok((Revision::default(), Change::Remove))
                }
                _ => Err(StoreError::Backend(error.into())),
            },
        }
    }
}

/// Goes on with `future` only while something holds, and gives it up otherwise.
async fn only_while<T>(holds: impl Fn() -> bool, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| if holds() { future.as_mut().poll(context).map(Some) } else { Poll::Ready(None) }).await
}

/// The change of the session `sid` that an entry of the watch makes.
pub(super) fn change(sid: SessionId, entry: &WatchedEntry) -> Result<Change, StoreError> {
    Ok(match &entry.headers {
        Some(headers) if is_removal(headers) => Change::Remove,
        _ => Change::Put(Encoded::decode(sid, &entry.value)?),
    })
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn is_removal(headers: &HeaderMap) -> bool {
    headers.get("KV-Operation").is_some_and(|operation| operation.as_str() != "PUT")
        || headers.get("Nats-Marker-Reason").is_some()
}

/// From its last use to its deadline, and the time in which somebody should have disposed of it. A
/// store reads no clock: a record that is written is mostly one that was just used, and else it
/// stays a little longer.
fn time_to_live(record: &Record) -> Duration {
    Duration::from_millis(record.deadline().0.saturating_sub(record.last_seen.0)) + GRACE
}

pub(super) fn key(sid: SessionId) -> String {
    format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(sid.0))
}

/// True if the leader has another write of the subject in hand that its followers have not taken
/// yet. With one replica there are no such writes.
fn is_late(error: &PublishError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    source.is_some_and(|source| source.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}
