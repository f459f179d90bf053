//! The trait of message buses between gateways and services: NATS, or this process itself. Must not
//! depend on sessions or RES.
//!
//! Subjects and patterns are those of NATS: parts separated by dots, `*` for one part, `>` for the
//! rest. Messages of one publisher arrive in the order in which they were sent, in one [`Mailbox`],
//! even across subscriptions and answers: a gateway must see a token event before the answer that
//! followed it.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod local;
mod mailbox;
pub mod nats;
mod permissions;
mod reply_id;
mod router;
mod subject;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;
use tokio::{sync::watch, time::Instant};

pub use mailbox::{Deliveries, Delivery, Mailbox, Tag};
pub use permissions::{Act, Need, Permission};
pub use subject::{MAX_SUBJECT, check_pattern, check_subject};

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The subject to which it was published.
    pub subject: String,
    /// Where an answer goes; none if nobody waits for one.
    pub reply: Option<String>,
    /// The payload.
    pub payload: Bytes,
}

/// Whether messages get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// They do.
    Up,
    /// The connection is lost; the bus is reconnecting.
    Down,
}

/// Why a bus could not carry out a call.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BusError {
    /// The transport failed.
    #[error("the message bus failed")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection is lost, and as much as may wait for its return is already waiting.
    #[error("the message bus is not connected")]
    Disconnected,
    /// The subject or pattern is invalid or too long.
    #[error("{0:?} is not a subject")]
    InvalidSubject(String),
    /// The transport does not accept a message of this size.
    #[error("the message of {0} bytes is too large for the message bus")]
    TooLarge(usize),
    /// Too many requests are pending.
    #[error("too many requests are pending on the message bus")]
    TooManyRequests,
    /// The bus was closed.
    #[error("the message bus is closed")]
    Closed,
}

/// Carries messages.
///
/// Two ways to use it: [`Bus::subscribe`] for a service that answers messages on a few subjects,
/// and a [`Mailbox`] with [`Bus::listen`] and [`Bus::ask`] for a gateway that must see everything
/// in one order.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Subscribes to `pattern`: matching messages are put into `mailbox` under `tag` until the
    /// guard is dropped. It applies at once to messages sent through this bus; to messages of
    /// others, after [`Bus::flush`]. Two subscriptions deliver twice.
    ///
    /// # Errors
    /// [`BusError`] if the pattern is invalid or the transport fails.
    async fn listen(&self, pattern: &str, mailbox: &Mailbox, tag: Tag) -> Result<Guard, BusError>;

    /// Like [`Bus::listen`], as one of a queue group: of all processes that listen to `pattern` in
    /// `group`, one gets each message. Whoever listens twice in one process may get it twice.
    ///
    /// # Errors
    /// [`BusError`] if the pattern is invalid or the transport fails.
    async fn listen_in_group(&self, pattern: &str, group: &str, mailbox: &Mailbox, tag: Tag)
    -> Result<Guard, BusError>;

    /// Sends a request. Any number of answers (RES pre-responses precede the answer) is put into
    /// `mailbox` under `tag` until the guard is dropped; or [`Delivery::NoResponders`], if nobody
    /// is subscribed to the subject.
    ///
    /// # Errors
    /// [`BusError`] if the subject is invalid or the transport fails.
    async fn ask(&self, subject: &str, payload: Bytes, mailbox: &Mailbox, tag: Tag) -> Result<Guard, BusError>;

    /// Sends a message. Also answers one, with its reply subject.
    ///
    /// # Errors
    /// [`BusError`] if the subject is invalid or the transport fails.
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError>;

    /// Returns once the transport has accepted everything that was sent through this bus, and its
    /// subscriptions are in force.
    ///
    /// # Errors
    /// [`BusError`] if the transport fails or stays disconnected.
    async fn flush(&self) -> Result<(), BusError>;

    /// The state of the transport, and its changes. A short loss may be over before a receiver
    /// looks: a receiver that is notified of a change and finds [`Link::Up`] was cut off in
    /// between.
    fn link(&self) -> watch::Receiver<Link>;

    /// Returns the needed permissions that the transport is known to refuse while it is connected.
    fn denied(&self) -> Vec<Permission> {
        Vec::new()
    }

    /// Sends what is buffered and ends all subscriptions. Every later call returns
    /// [`BusError::Closed`].
    ///
    /// # Errors
    /// [`BusError`] if the last flush fails; the bus is closed nevertheless.
    async fn close(&self) -> Result<(), BusError>;

    /// Subscribes to `patterns`, with the messages in the order of their arrival. In force when it
    /// returns: whatever anybody publishes after that arrives.
    ///
    /// # Errors
    /// [`BusError`] if a pattern is invalid or the transport fails.
    async fn subscribe(&self, patterns: &[String]) -> Result<Subscription, BusError> {
        self.subscribe_with_group(patterns, "", &[]).await
    }

    /// The same, with `shared` patterns besides, of whose messages one member of `group` gets each.
    ///
    /// # Errors
    /// [`BusError`] if a pattern is invalid or the transport fails.
    async fn subscribe_with_group(
        &self,
        patterns: &[String],
        group: &str,
        shared: &[String],
    ) -> Result<Subscription, BusError> {
        let (mailbox, deliveries) = Mailbox::new();
        let mut guards = Vec::with_capacity(patterns.len() + shared.len());
        for pattern in patterns {
            guards.push(self.listen(pattern, &mailbox, Tag(0)).await?);
        }
        for pattern in shared {
            guards.push(self.listen_in_group(pattern, group, &mailbox, Tag(0)).await?);
        }
        self.flush().await?;
        Ok(Subscription { deliveries, guards })
    }
}

/// The messages of [`Bus::subscribe`]; ends the subscription when dropped.
#[derive(Debug)]
pub struct Subscription {
    deliveries: Deliveries,
    guards: Vec<Guard>,
}

impl Subscription {
    /// The next message, in the order of arrival. `None` once the subscription was ended or the bus
    /// closed, and everything that had arrived before was taken. Cancel safe.
    pub async fn next(&mut self) -> Option<Message> {
        self.next_since().await.map(|(message, _)| message)
    }

    /// The next message, and since when it has waited. Like [`Subscription::next`].
    pub async fn next_since(&mut self) -> Option<(Message, Instant)> {
        loop {
            let (delivery, since) = self.deliveries.next_since().await?;
            if let Some(message) = message_of(delivery) {
                return Some((message, since));
            }
        }
    }

    /// The next message, and since when it has waited, if one has arrived.
    pub fn try_next_since(&mut self) -> Option<(Message, Instant)> {
        loop {
            let (delivery, since) = self.deliveries.try_next_since()?;
            if let Some(message) = message_of(delivery) {
                return Some((message, since));
            }
        }
    }

    /// Ends the subscription: what has arrived can still be taken, and nothing more arrives.
    pub fn end(&mut self) {
        self.guards.clear();
    }
}

fn message_of(delivery: Delivery) -> Option<Message> {
    match delivery {
        Delivery::Message { message, .. } => return Some(message),
        Delivery::Lost => tracing::warn!("messages were dropped: they arrive faster than they are processed"),
        Delivery::Reply { .. } | Delivery::NoResponders { .. } => {}
    }
    None
}

/// Ends a subscription, or a pending request, when dropped.
#[must_use = "dropping it ends the subscription or the wait for answers"]
pub struct Guard(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Guard {
    /// A guard that calls `end` when dropped.
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}
