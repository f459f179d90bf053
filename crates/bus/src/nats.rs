//! The bus over NATS, for gateways and services on several machines. Must not depend on sessions or
//! RES.

mod connect;
mod denied;
mod ordered_subscriber;
mod permitted;

use std::{
    collections::HashMap,
    fmt,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use async_nats::{Client, Event, PublishError, PublishErrorKind, StatusCode};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::poll;
use tokio::{
    sync::{Notify, oneshot, watch},
    time::timeout,
};

use super::{
    Bus, BusError, Delivery, Guard, Link, Mailbox, Message, Permission, Tag, check_pattern, check_subject,
    reply_id::{self, ReplyId},
};
use denied::Denials;
use ordered_subscriber::OrderedSubscriber;

pub use connect::{ConnectError, NatsConfig};

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

struct Shared {
    link: watch::Sender<Link>,
    /// Bytes that were sent since the connection was lost.
    held: AtomicUsize,
    is_closed: AtomicBool,
    /// A message has waited in vain for room in the client's queue: none waits again until there is
    /// some.
    stands_still: AtomicBool,
    open: Mutex<Open>,
    denials: Denials,
    /// Notified when something that is needed is refused.
    refused: Notify,
}

/// What ends with the bus.
#[derive(Default)]
struct Open {
    last: u64,
    subscribers: HashMap<u64, Arc<OrderedSubscriber>>,
    /// Pending requests, by the last part of the reply subject.
    waiting: HashMap<ReplyId, Waiting>,
}

enum Waiting {
    Asking(Mailbox, Tag),
    Flushing(oneshot::Sender<()>),
}

/// How many bytes may wait for the connection to return.
const HELD: usize = 8 << 20;

/// How many requests may be pending; more are refused.
const MAX_WAITING: usize = 1 << 18;

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
        self.open_subscriber(&format!("{}.*", self.inbox), deliver).await?;
        self.flush().await
    }

    /// Subscribes to `pattern` and returns its number.
    async fn open_subscriber(
        &self,
        pattern: &str,
        deliver: impl Fn(async_nats::Message) + Send + Sync + 'static,
    ) -> Result<u64, BusError> {
        self.shared.check_open()?;
        let subscribed = self.unless_down(self.client.subscribe(pattern.to_owned())).await?;
        let flow = subscribed.map_err(|error| BusError::Transport(error.into()))?;
        let opened = OrderedSubscriber::open(flow, deliver);
        self.shared.add(|open, id| open.subscribers.insert(id, Arc::clone(&opened))).inspect_err(|_| opened.shut())
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
        let mailbox = mailbox.clone();
        let deliver = move |message: async_nats::Message| {
            let message = Message {
                subject: message.subject.into_string(),
                reply: message.reply.map(async_nats::Subject::into_string),
                payload: message.payload,
            };
            mailbox.put(Delivery::Message { tag, message });
        };
        let id = self.open_subscriber(pattern, deliver).await?;
        let shared = Arc::clone(&self.shared);
        Ok(Guard::new(move || {
            let subscriber = shared.open().subscribers.remove(&id);
            subscriber.inspect(|subscriber| subscriber.shut());
        }))
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

impl Shared {
    fn new() -> Self {
        Self {
            link: watch::Sender::new(Link::Up),
            held: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            stands_still: AtomicBool::new(false),
            open: Mutex::default(),
            denials: Denials::default(),
            refused: Notify::new(),
        }
    }

    /// Registers something that is to be ended with the bus, and returns its number.
    fn add<T>(&self, add: impl FnOnce(&mut Open, u64) -> T) -> Result<u64, BusError> {
        let mut open = self.open();
        // Under the lock, so that nothing is added after `close`.
        self.check_open()?;
        open.last += 1;
        let id = open.last;
        add(&mut open, id);
        Ok(id)
    }

    /// Registers a pending request, and returns the last part of its reply subject.
    fn wait(&self, waiting: Waiting) -> Result<ReplyId, BusError> {
        let mut open = self.open();
        // Under the lock, so that nothing is added after `close`.
        self.check_open()?;
        if open.waiting.len() >= MAX_WAITING {
            return Err(BusError::TooManyRequests);
        }
        Ok(reply_id::insert(&mut open.waiting, waiting))
    }

    fn forget(self: Arc<Self>, id: ReplyId) -> Guard {
        Guard::new(move || {
            let waiting = self.open().waiting.remove(&id);
            drop(waiting);
        })
    }

    fn answer(&self, id: ReplyId, message: async_nats::Message) {
        let is_unheard = message.status == Some(StatusCode::NO_RESPONDERS);
        let mut open = self.open();
        match open.waiting.get(&id) {
            Some(Waiting::Asking(mailbox, tag)) if is_unheard => mailbox.put(Delivery::NoResponders { tag: *tag }),
            Some(Waiting::Asking(mailbox, tag)) => mailbox.put(Delivery::Reply { tag: *tag, payload: message.payload }),
            Some(Waiting::Flushing(_)) => {
                if let Some(Waiting::Flushing(back)) = open.waiting.remove(&id) {
                    back.send(()).ok();
                }
            }
            None => {}
        }
    }

    fn note(&self, event: &Event) {
        let link = match event {
            Event::Connected => Link::Up,
            Event::Disconnected | Event::Closed => Link::Down,
            _ => {
                if self.denials.note(event) {
                    self.refused.notify_one();
                }
                return;
            }
        };
        let is_new = self.link.send_if_modified(|old| std::mem::replace(old, link) != link);
        match link {
            Link::Up => self.held.store(0, Ordering::Release),
            Link::Down if is_new && !self.is_closed.load(Ordering::Acquire) => {
                tracing::warn!("lost the connection to NATS; reconnecting");
            }
            Link::Down => {}
        }
        if is_new && link == Link::Up {
            tracing::info!("reconnected to NATS");
        }
    }

    /// Counts what is sent while the connection is lost, and refuses what is too much.
    fn hold(&self, size: usize) -> Result<(), BusError> {
        if *self.link.borrow() == Link::Up || self.held.fetch_add(size, Ordering::AcqRel) + size <= HELD {
            return Ok(());
        }
        Err(BusError::Disconnected)
    }

    fn check_open(&self) -> Result<(), BusError> {
        if self.is_closed.load(Ordering::Acquire) { Err(BusError::Closed) } else { Ok(()) }
    }

    fn close(&self) {
        let Open { subscribers, waiting, .. } = {
            let mut open = self.open();
            self.is_closed.store(true, Ordering::Release);
            std::mem::take(&mut *open)
        };
        subscribers.values().for_each(|subscriber| subscriber.shut());
        drop(waiting);
    }

    /// Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_requests_wait_for_answers_and_each_answer_makes_room() {
        let shared = Arc::new(Shared::new());
        let (mailbox, mut deliveries) = Mailbox::new();
        let wait = |tag: u64| shared.wait(Waiting::Asking(mailbox.clone(), Tag(tag)));
        let first = wait(0).unwrap();
        for tag in 1..MAX_WAITING as u64 {
            wait(tag).unwrap();
        }
        assert!(matches!(wait(7), Err(BusError::TooManyRequests)));
        drop(Arc::clone(&shared).forget(first));
        let last = wait(8).unwrap();
        assert!(matches!(wait(9), Err(BusError::TooManyRequests)));
        let answer = async_nats::Message {
            subject: "a".into(),
            reply: None,
            payload: Bytes::from("x"),
            headers: None,
            status: None,
            description: None,
            length: 1,
        };
        shared.answer(last, answer);
        assert_eq!(deliveries.try_next(), Some(Delivery::Reply { tag: Tag(8), payload: "x".into() }));
        shared.close();
        assert!(matches!(wait(10), Err(BusError::Closed)));
    }
}
