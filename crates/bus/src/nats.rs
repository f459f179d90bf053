//! The bus over NATS, for gateways and services on several machines. Must not depend on sessions or
//! RES.

mod connect;
mod denied;
mod ordered_subscriber;
mod permitted;
mod shared;
mod wide;

use std::{
    fmt,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use async_nats::{Client, PublishError, PublishErrorKind};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::poll;
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use super::{
    Bus, BusError, Delivery, Guard, Link, Mailbox, Message, Need, Permission, Tag, check_pattern, check_subject,
    reply_id::ReplyId,
};
use ordered_subscriber::OrderedSubscriber;
use shared::{Open, Shared, Waiting};

pub use connect::{ConnectError, NatsConfig};
pub use wide::OWN_SUBSCRIPTIONS;

/// A bus over NATS. After its first connection it reconnects by itself indefinitely, with all its
/// subscriptions. While the connection is lost, a limited amount of what is sent waits for its
/// return; the rest fails with [`BusError::Disconnected`].
pub struct NatsBus {
    client: Client,
    shared: Arc<Shared>,
    /// All answers arrive on subjects under this one, so that a request costs the server no
    /// subscription.
    inbox: String,
    config: NatsConfig,
    servers: String,
}

/// How long a message may wait for room in the client's queue: a server that stands still is
/// detected only later.
const SEND_DEADLINE: Duration = Duration::from_secs(2);

/// How long the last flush may take when the bus is closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// How long a flush waits for a connection that is lost or slow.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

impl NatsBus {
    /// Connects.
    ///
    /// # Errors
    /// [`ConnectError`] if the address is invalid, or no server accepts the login within a few
    /// seconds.
    pub async fn connect(config: &NatsConfig) -> Result<Self, ConnectError> {
        let (servers, options) = connect::prepare(config).await?;
        let names = connect::names(&servers);
        let shared = Arc::new(Shared::new());
        let events = Arc::clone(&shared);
        let options = options.event_callback(move |event| {
            events.note(&event);
            std::future::ready(())
        });
        let client = match options.connect(servers).await {
            Ok(client) => client,
            Err(source) => return Err(connect::refused_or_unreachable(names, source)),
        };
        let (config, servers) = (config.clone(), names.clone());
        let bus = Self { inbox: client.new_inbox(), client, shared, config, servers };
        match bus.open_inbox().await {
            Ok(()) => Ok(bus),
            Err(source) => Err(ConnectError::Inbox { servers: names, source }),
        }
    }

    /// Lets listeners share subscriptions to `wildcards`, which the server permits, and to parts of
    /// them (`event.user.>` for `event.>`), from the time on when the process has `own` others.
    /// From now on these wildcards are needed: see [`NatsBus::require`].
    pub fn share_subscriptions(&self, wildcards: Vec<Need>, own: usize) {
        let patterns = wildcards.iter().map(|need| need.permission.pattern.clone()).collect();
        self.shared.open().wide.allow(patterns, own);
        self.shared.denials.require_too(wildcards);
    }

    /// The connection, for what is kept at the server. It is drained when the bus is closed.
    #[must_use]
    pub fn client(&self) -> async_nats::Client {
        self.client.clone()
    }

    async fn open_inbox(&self) -> Result<(), BusError> {
        let prefix = self.inbox.len() + 1;
        // Not `Shared` itself, because that holds the subscriber that holds this closure.
        let shared = Arc::downgrade(&self.shared);
        let deliver = move |message: async_nats::Message| {
            let id = message.subject.as_str().get(prefix..).and_then(ReplyId::parse);
            if let (Some(id), Some(shared)) = (id, shared.upgrade()) {
                shared.answer(id, message);
            }
        };
        self.open_subscriber(&format!("{}.*", self.inbox), None, deliver).await?;
        self.flush().await
    }

    /// Subscribes to `pattern`, perhaps in a queue group, and returns its number.
    async fn open_subscriber(
        &self,
        pattern: &str,
        group: Option<&str>,
        deliver: impl Fn(async_nats::Message) + Send + Sync + 'static,
    ) -> Result<u64, BusError> {
        let opened = self.subscriber(pattern, group, deliver).await?;
        self.shared.add(|open, id| open.subscribers.insert(id, Arc::clone(&opened))).inspect_err(|_| opened.shut())
    }

    async fn subscriber(
        &self,
        pattern: &str,
        group: Option<&str>,
        deliver: impl Fn(async_nats::Message) + Send + Sync + 'static,
    ) -> Result<Arc<OrderedSubscriber>, BusError> {
        self.shared.check_open()?;
        let subscribed = match group {
            Some(group) => {
                let subscribing = self.client.queue_subscribe(pattern.to_owned(), group.to_owned());
                self.unless_down(subscribing).await?
            }
            None => self.unless_down(self.client.subscribe(pattern.to_owned())).await?,
        };
        let flow = subscribed.map_err(|error| BusError::Transport(error.into()))?;
        Ok(OrderedSubscriber::open(flow, deliver))
    }

    /// Listens by a subscription to `wide`, which other listeners use, too.
    async fn listen_within(&self, wide: String, pattern: &str, mailbox: &Mailbox, tag: Tag) -> Result<Guard, BusError> {
        let id = loop {
            if let Some(id) = self.shared.open().wide.join(&wide, pattern, mailbox, tag) {
                break id;
            }
            let routes = wide::no_routes();
            let behind = Arc::clone(&routes);
            let opened =
                self.subscriber(&wide, None, move |message| wide::deliver(&behind, &received(message))).await?;
            let mut redundant = None;
            let add = |open: &mut Open, _| redundant = open.wide.add(&wide, Arc::clone(&opened), routes);
            self.shared.add(add).inspect_err(|_| opened.shut())?;
            // Somebody else has opened it in the meantime.
            redundant.inspect(|subscriber| subscriber.shut());
        };
        let (shared, pattern) = (Arc::clone(&self.shared), pattern.to_owned());
        Ok(Guard::new(move || {
            let subscriber = shared.open().wide.leave(&wide, &pattern, id);
            subscriber.inspect(|subscriber| subscriber.shut());
        }))
    }

    async fn listen_to(
        &self,
        pattern: &str,
        group: Option<&str>,
        mailbox: &Mailbox,
        tag: Tag,
    ) -> Result<Guard, BusError> {
        let mailbox = mailbox.clone();
        let deliver = move |message| mailbox.put(Delivery::Message { tag, message: received(message) });
        let id = self.open_subscriber(pattern, group, deliver).await?;
        let shared = Arc::clone(&self.shared);
        Ok(Guard::new(move || {
            let subscriber = shared.open().subscribers.remove(&id);
            subscriber.inspect(|subscriber| subscriber.shut());
        }))
    }

    async fn send(&self, subject: &str, reply: Option<String>, payload: Bytes) -> Result<(), BusError> {
        let size = payload.len();
        self.shared.check_open()?;
        self.shared.hold(size)?;
        let subject = subject.to_owned();
        let sent = match reply {
            Some(reply) => self.unless_down(self.client.publish_with_reply(subject, reply, payload)).await?,
            None => self.unless_down(self.client.publish(subject, payload)).await?,
        };
        sent.map_err(|error: PublishError| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => BusError::TooLarge(size),
            PublishErrorKind::Send | PublishErrorKind::InvalidSubject => BusError::Transport(error.into()),
        })
    }

    /// Waits for room in the client's queue, but not for a lost connection, and not for long.
    async fn unless_down<T>(&self, sending: impl Future<Output = T> + Send) -> Result<T, BusError> {
        let mut sending = pin!(sending);
        // Usually there is room, and watching the link would cost more than sending.
        if let Poll::Ready(done) = poll!(sending.as_mut()) {
            self.shared.stands_still.store(false, Ordering::Relaxed);
            return Ok(done);
        }
        if self.shared.stands_still.load(Ordering::Relaxed) {
            return Err(BusError::Disconnected);
        }
        // Boxed, because the futures of all messages would be larger by what few need.
        Box::pin(self.wait_to_send(sending)).await
    }

    async fn wait_to_send<T>(&self, sending: Pin<&mut (impl Future<Output = T> + Send)>) -> Result<T, BusError> {
        let mut link = self.shared.link.subscribe();
        tokio::select! {
            biased;
            done = sending => Ok(done),
            _ = link.wait_for(|link| *link == Link::Down) => Err(BusError::Disconnected),
            () = tokio::time::sleep(SEND_DEADLINE) => {
                self.shared.stands_still.store(true, Ordering::Relaxed);
                Err(BusError::Disconnected)
            }
        }
    }

    /// Sends a message to itself: when it is back, the server has processed everything before it.
    /// (async-nats's own flush only hands everything to the operating system.)
    async fn round_trip(&self) -> Result<(), BusError> {
        let mut link = self.shared.link.subscribe();
        let (back, mut done) = oneshot::channel();
        let id = self.shared.wait(Waiting::Flushing(back))?;
        let _forget = Arc::clone(&self.shared).forget(id);
        loop {
            link.mark_unchanged();
            match self.send(&format!("{}.{id}", self.inbox), None, Bytes::new()).await {
                Ok(()) | Err(BusError::Disconnected) => {}
                Err(error) => return Err(error),
            }
            // It may have been lost with the connection, so it is sent again after each change of
            // the link.
            tokio::select! {
                result = &mut done => return result.map_err(|_| BusError::Closed),
                _ = link.changed() => {}
            }
        }
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn listen(&self, pattern: &str, mailbox: &Mailbox, tag: Tag) -> Result<Guard, BusError> {
        check_pattern(pattern)?;
        let wide = self.shared.open().choose_wide(pattern);
        match wide {
            Some(wide) => self.listen_within(wide, pattern, mailbox, tag).await,
            None => self.listen_to(pattern, None, mailbox, tag).await,
        }
    }

    async fn listen_in_group(
        &self,
        pattern: &str,
        group: &str,
        mailbox: &Mailbox,
        tag: Tag,
    ) -> Result<Guard, BusError> {
        check_pattern(pattern)?;
        self.listen_to(pattern, Some(group), mailbox, tag).await
    }

    async fn ask(&self, subject: &str, payload: Bytes, mailbox: &Mailbox, tag: Tag) -> Result<Guard, BusError> {
        check_subject(subject)?;
        let id = self.shared.wait(Waiting::Asking(mailbox.clone(), tag))?;
        let forget = Arc::clone(&self.shared).forget(id);
        self.send(subject, Some(format!("{}.{id}", self.inbox)), payload).await?;
        Ok(forget)
    }

    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        check_subject(subject)?;
        self.send(subject, None, payload).await
    }

    async fn flush(&self) -> Result<(), BusError> {
        timeout(FLUSH_DEADLINE, self.round_trip()).await.unwrap_or(Err(BusError::Disconnected))
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.shared.link.subscribe()
    }

    fn denied(&self) -> Vec<Permission> {
        self.shared.denials.denied()
    }

    async fn close(&self) -> Result<(), BusError> {
        let is_down = *self.shared.link.borrow() == Link::Down;
        let flushing = timeout(CLOSE_DEADLINE, self.round_trip());
        let flushed =
            if is_down { Err(BusError::Disconnected) } else { flushing.await.unwrap_or(Err(BusError::Disconnected)) };
        self.shared.close();
        // Fails if the client has already ended, which is fine.
        if flushed.is_ok() {
            self.unless_down(self.client.drain()).await.ok();
        }
        flushed
    }
}

fn received(message: async_nats::Message) -> Message {
    Message {
        subject: message.subject.into_string(),
        reply: message.reply.map(async_nats::Subject::into_string),
        payload: message.payload,
    }
}

impl Drop for NatsBus {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBus")
            .field("inbox", &self.inbox)
            .field("link", &self.link().borrow())
            .finish_non_exhaustive()
    }
}
