//! The bus inside this process, between the embedded gateway and the service. Must not depend on
//! the network.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Bus, BusError, Delivery, Guard, Link, Mailbox, Message, Tag, check_pattern, check_subject,
    reply_id::{self, ByReplyId, ReplyId},
    router::{RouteId, Router},
};

/// A bus inside this process. A message is in its receivers' mailboxes before `publish` returns.
#[derive(Debug)]
pub struct LocalBus {
    switchboard: Arc<Mutex<Switchboard>>,
    link: watch::Sender<Link>,
}

#[derive(Debug)]
struct Switchboard {
    listeners: Router<(Mailbox, Tag)>,
    /// Pending requests, by the last part of the reply subject.
    asking: ByReplyId<(Mailbox, Tag)>,
    is_closed: bool,
}

/// The prefix of reply subjects.
const INBOX: &str = "_INBOX.";

impl LocalBus {
    /// A bus with no subscriptions.
    #[must_use]
    pub fn new() -> Self {
        let switchboard = Switchboard { listeners: Router::new(), asking: ByReplyId::default(), is_closed: false };
        Self { switchboard: Arc::new(Mutex::new(switchboard)), link: watch::Sender::new(Link::Up) }
    }

    fn open(&self) -> Result<MutexGuard<'_, Switchboard>, BusError> {
        let switchboard = lock(&self.switchboard);
        if switchboard.is_closed { Err(BusError::Closed) } else { Ok(switchboard) }
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn listen(&self, pattern: &str, mailbox: &Mailbox, tag: Tag) -> Result<Guard, BusError> {
        check_pattern(pattern)?;
        let id = self.open()?.listeners.insert(pattern, (mailbox.clone(), tag));
        let (switchboard, pattern) = (Arc::clone(&self.switchboard), Box::<str>::from(pattern));
        Ok(Guard::new(move || lock(&switchboard).hang_up(&pattern, id)))
    }

    async fn listen_in_group(
        &self,
        pattern: &str,
        _group: &str,
        mailbox: &Mailbox,
        tag: Tag,
    ) -> Result<Guard, BusError> {
        // This process is the only member that a group can have.
        self.listen(pattern, mailbox, tag).await
    }

    async fn ask(&self, subject: &str, payload: Bytes, mailbox: &Mailbox, tag: Tag) -> Result<Guard, BusError> {
        check_subject(subject)?;
        let mut open = self.open()?;
        let inbox = reply_id::insert(&mut open.asking, (mailbox.clone(), tag));
        if !open.route(subject, Some(&format!("{INBOX}{inbox}")), &payload) {
            open.asking.remove(&inbox);
            mailbox.put(Delivery::NoResponders { tag });
        }
        let switchboard = Arc::clone(&self.switchboard);
        Ok(Guard::new(move || {
            lock(&switchboard).asking.remove(&inbox);
        }))
    }

    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        check_subject(subject)?;
        let open = self.open()?;
        if let Some((mailbox, tag)) = inbox_of(subject).and_then(|inbox| open.asking.get(&inbox)) {
            mailbox.put(Delivery::Reply { tag: *tag, payload: payload.clone() });
        }
        open.route(subject, None, &payload);
        Ok(())
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.open().map(drop)
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    async fn close(&self) -> Result<(), BusError> {
        let mut switchboard = lock(&self.switchboard);
        switchboard.is_closed = true;
        switchboard.listeners = Router::new();
        switchboard.asking = ByReplyId::default();
        Ok(())
    }
}

impl Switchboard {
    /// Puts a message into the mailbox of each listener; false if there is none.
    fn route(&self, subject: &str, reply: Option<&str>, payload: &Bytes) -> bool {
        let mut is_heard = false;
        self.listeners.find(subject, &mut |(mailbox, tag)| {
            is_heard = true;
            let message =
                Message { subject: subject.to_owned(), reply: reply.map(str::to_owned), payload: payload.clone() };
            mailbox.put(Delivery::Message { tag: *tag, message });
        });
        is_heard
    }

    fn hang_up(&mut self, pattern: &str, id: RouteId) {
        self.listeners.remove(pattern, id);
    }
}

fn inbox_of(subject: &str) -> Option<ReplyId> {
    ReplyId::parse(subject.strip_prefix(INBOX)?)
}

/// No call on a switchboard can panic halfway, so the state behind a poisoned lock is intact.
fn lock(switchboard: &Mutex<Switchboard>) -> MutexGuard<'_, Switchboard> {
    switchboard.lock().unwrap_or_else(PoisonError::into_inner)
}
