//! An entry of its own in the bucket of the sessions, which moves with them and is restored with
//! them if the bucket is. Must not know what its text says.

use std::{error::Error as _, time::Duration};

use async_nats::{
    Client,
    connection::State,
    jetstream::{
        self, Context, ErrorCode,
        context::{PublishError, PublishErrorKind},
        kv::Store,
        message::PublishMessage,
        stream::LastRawMessageErrorKind,
    },
};
use relogin_users::shared::{Kept, SharedError};

/// What was last seen of the users of a file (`last_seen.rs`). The store of sessions passes over
/// all keys but its own, also that of earlier versions.
pub const USERS: &str = "users";

/// Says that the bucket does not have all its sessions (`app/unfinished.rs`).
pub const UNFINISHED: &str = "unfinished";

/// How long NATS has for its answers.
const ANSWER_DEADLINE: Duration = Duration::from_secs(4);

/// The entry of a bucket.
#[derive(Debug)]
pub struct BucketEntry {
    client: Client,
    context: Context,
    store: Store,
    key: &'static str,
}

impl BucketEntry {
    /// That under `key` in a bucket, which must be there.
    ///
    /// # Errors
    /// [`SharedError`] if it is not.
    pub async fn open(client: Client, bucket: &str, key: &'static str) -> Result<Self, SharedError> {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(ANSWER_DEADLINE);
        let store = context.get_key_value(bucket).await?;
        Ok(Self { client, context, store, key })
    }

    /// What the bucket's leader has.
    ///
    /// # Errors
    /// [`SharedError`] if it does not answer.
    pub async fn read(&self) -> Result<Kept, SharedError> {
        match self.store.stream.get_last_raw_message_by_subject(&self.subject()).await {
            Ok(message) => {
                let is_removed = message.headers.get("KV-Operation").is_some();
                let text = (!is_removed).then(|| message.payload.to_vec());
                Ok(Kept { text, revision: message.sequence })
            }
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(Kept::default()),
                LastRawMessageErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                    Ok(Kept::default())
                }
                _ => Err(error.into()),
            },
        }
    }

    /// Stores `text`, or removes the entry, in the place of what has this `revision` (0: of
    /// nothing). None if there is something else by now.
    ///
    /// # Errors
    /// [`SharedError`] if it was not stored, or nobody can say whether.
    pub async fn write(&self, text: Option<Vec<u8>>, revision: u64) -> Result<Option<u64>, SharedError> {
        // The client would keep it until the connection is back.
        if self.client.connection_state() != State::Connected {
            return Err("the connection to NATS is lost".into());
        }
        let message = PublishMessage::build().expected_last_subject_sequence(revision);
        let message = match text {
            Some(text) => {
                let (size, most) = (text.len(), self.client.server_info().max_payload);
                if size > most {
                    return Err(format!(
                        "{size} bytes are more than the NATS server takes in one message, {most}; raise its max_payload"
                    )
                    .into());
                }
                message.payload(text.into())
            }
            None => message.header("KV-Operation", "PURGE").header("Nats-Rollup", "sub"),
        };
        match self.context.send_publish(self.subject(), message).await?.await {
            Ok(written) => Ok(Some(written.sequence)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence || is_late(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn subject(&self) -> String {
        format!("{}{}", self.store.prefix, self.key)
    }
}

/// True if another write of the entry is on its way to the leader's followers: then two instances
/// have written at the same moment.
fn is_late(error: &PublishError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    source.is_some_and(|source| source.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}
