//! The bucket's messages as they come: first the last one of each key, then every new one. Must not
//! depend on the replica.
//!
//! Unlike the client's own watch, this one ends as soon as a message is missing, and when its
//! server is gone. The client's would go on behind the last sequence that it has seen, and whoever
//! reads it would never know that the server has lost some of what came before.

use std::time::Duration;

use async_nats::{
    Client, HeaderMap, StatusCode, Subject, Subscriber,
    jetstream::{
        self, Context,
        consumer::{AckPolicy, DeliverPolicy, push},
        kv::Store,
    },
};
use bytes::Bytes;
use futures_util::StreamExt;
use thiserror::Error;
use tokio::time::timeout;

use crate::Revision;

/// A watch of all keys.
#[derive(Debug)]
pub(super) struct Watch {
    client: Client,
    context: Context,
    messages: Subscriber,
    /// How many came.
    count: u64,
}

/// A message of the bucket.
#[derive(Debug)]
pub(super) struct WatchedEntry {
    pub(super) subject: Subject,
    pub(super) sequence: Revision,
    pub(super) headers: Option<HeaderMap>,
    pub(super) value: Bytes,
}

/// Why a watch has ended.
#[derive(Debug, Error)]
pub(super) enum WatchError {
    #[error("a message of the bucket is missing")]
    Missing,
    #[error("the server sends nothing more")]
    Silent,
    #[error("the connection to NATS is closed")]
    Closed,
    #[error("the server sends what is no message of the bucket")]
    Foreign(#[source] async_nats::Error),
}

/// How often the server says that it is there when there is nothing else to say, and after how long
/// without a word the watch ends.
const HEARTBEAT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(11);

/// How long the server keeps a watch that nobody listens to.
const LEFT: Duration = Duration::from_secs(30);

impl Watch {
    pub(super) async fn open(
        client: &Client,
        context: &Context,
        store: &Store,
    ) -> Result<Self, jetstream::stream::ConsumerError> {
        let config = push::Config {
            deliver_subject: client.new_inbox(),
            description: Some("an instance of relogin".to_owned()),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            filter_subject: format!("{}>", store.prefix),
            flow_control: true,
            idle_heartbeat: HEARTBEAT,
            inactive_threshold: LEFT,
            num_replicas: 1,
            // So it is gone when its server was restarted, and cannot go on in another history.
            memory_storage: true,
            ..push::Config::default()
        };
        let other = jetstream::stream::ConsumerErrorKind::Other;
        let messages = client.subscribe(config.deliver_subject.clone()).await;
        let messages = messages.map_err(|error| jetstream::stream::ConsumerError::with_source(other, error))?;
        store.stream.create_consumer(config).await?;
        Ok(Self { client: client.clone(), context: context.clone(), messages, count: 0 })
    }

    /// The next message. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<WatchedEntry, WatchError> {
        loop {
            let message = match timeout(SILENCE, self.messages.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => return Err(WatchError::Closed),
                Err(_) => return Err(WatchError::Silent),
            };
            if let Some(status) = message.status {
                if status == StatusCode::IDLE_HEARTBEAT {
                    self.heartbeat(message.reply, message.headers.as_ref()).await?;
                }
                continue;
            }
            let message = jetstream::Message { message, context: self.context.clone() };
            let (number, sequence) = match message.info() {
                Ok(info) => (info.consumer_sequence, Revision(info.stream_sequence)),
                Err(error) => return Err(WatchError::Foreign(error)),
            };
            if number != self.count + 1 {
                return Err(WatchError::Missing);
            }
            self.count = number;
            let async_nats::Message { subject, headers, payload, .. } = message.message;
            return Ok(WatchedEntry { subject, sequence, headers, value: payload });
        }
    }

    /// The server asks for leave to send more, or says how much it has sent.
    async fn heartbeat(&self, reply: Option<Subject>, headers: Option<&HeaderMap>) -> Result<(), WatchError> {
        let stalled = headers.and_then(|headers| headers.get_last("Nats-Consumer-Stalled"));
        if let Some(reply) = reply.or_else(|| stalled.map(|subject| Subject::from(subject.as_str()))) {
            // If it is lost, the server repeats itself.
            self.client.publish(reply, Bytes::new()).await.ok();
        }
        let sent = headers.and_then(|headers| headers.get_last("Nats-Last-Consumer"));
        match sent.and_then(|sent| sent.as_str().parse::<u64>().ok()) {
            Some(sent) if sent != self.count => Err(WatchError::Missing),
            _ => Ok(()),
        }
    }
}
