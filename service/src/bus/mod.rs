//! What carries messages between gateways and services: NATS, or this process itself. Knows no sessions and no RES.
//!
//! Subjects and patterns are NATS's: parts divided by dots, `*` for one part, `>` for the rest. Messages of one publisher
//! reach one subscription in the order in which they were published.

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::mpsc;

/// A message as it arrives.
#[derive(Clone, Debug)]
pub struct Message {
    /// The subject it was published to.
    pub subject: String,
    /// Where an answer goes; none if nobody waits for one.
    pub reply: Option<String>,
    /// The payload.
    pub payload: Bytes,
}

/// What comes back on a request: any number of answers (RES pre-responses come before the answer), or none ever.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An answer.
    Payload(Bytes),
    /// Nobody listens on the subject: no answer will come.
    NoResponders,
}

/// Whether messages get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// They do.
    Up,
    /// The connection is lost; the bus is trying to get it back by itself.
    Down,
}

/// Why a bus could not do what it was asked.
#[derive(Debug, Error)]
pub enum BusError {
    /// The transport failed.
    #[error("the message bus failed")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The subject or pattern is none.
    #[error("{0:?} is no subject")]
    InvalidSubject(String),
    /// The bus was closed.
    #[error("the message bus is closed")]
    Closed,
}

/// A stream of messages; ends the subscription when dropped.
#[derive(Debug)]
pub struct Subscription {
    pub(crate) messages: mpsc::UnboundedReceiver<Message>,
}

/// Carries messages.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Asks for all messages whose subject matches one of `patterns`, in the order of their arrival. In force when it returns:
    /// what anybody publishes after that arrives.
    ///
    /// # Errors
    /// [`BusError`] if a pattern is none or the transport fails.
    async fn subscribe(&self, patterns: &[String]) -> Result<Subscription, BusError>;

    /// Sends a message.
    ///
    /// # Errors
    /// [`BusError`] if the subject is none or the transport fails.
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError>;

    /// Sends a request. Its answers arrive until the receiver is dropped.
    ///
    /// # Errors
    /// [`BusError`] if the subject is none or the transport fails.
    async fn request(&self, subject: &str, payload: Bytes) -> Result<mpsc::UnboundedReceiver<Reply>, BusError>;

    /// The state of the transport, and its changes.
    fn link(&self) -> tokio::sync::watch::Receiver<Link>;

    /// Sends what is buffered and ends all subscriptions.
    ///
    /// # Errors
    /// [`BusError`] if the last flush fails.
    async fn close(&self) -> Result<(), BusError>;
}
