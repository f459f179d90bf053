//! State of the bus over NATS: its connection, subscribers and pending requests.
//! Must not send anything.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_nats::{Event, StatusCode};
use tokio::sync::{Notify, oneshot, watch};

use super::{denied::Denials, ordered_subscriber::OrderedSubscriber, wide::WideSubscriptions};
use crate::{
    BusError, Delivery, Guard, Link, Mailbox, Tag,
    reply_id::{self, ByReplyId, ReplyId},
};

/// State that a bus shares with its subscribers and pending requests.
pub(super) struct Shared {
    pub(super) link: watch::Sender<Link>,
    /// Bytes that were sent since the connection was lost.
    held: AtomicUsize,
    pub(super) is_closed: AtomicBool,
    /// A message has found no room in the client's queue in time: none waits again until there is
    /// some.
    pub(super) stands_still: AtomicBool,
    pub(super) open: Mutex<Open>,
    pub(super) denials: Denials,
    /// Notified when something that is needed is refused.
    pub(super) refused: Notify,
}

/// Subscribers and pending requests; both end with the bus.
#[derive(Default)]
pub(super) struct Open {
    last: u64,
    pub(super) subscribers: HashMap<u64, Arc<OrderedSubscriber>>,
    pub(super) wide: WideSubscriptions,
    /// Pending requests, by the last part of the reply subject.
    waiting: ByReplyId<Waiting>,
}

/// Who waits for an answer.
pub(super) enum Waiting {
    Asking(Mailbox, Tag),
    Flushing(oneshot::Sender<()>),
}

/// How many bytes may wait for the connection to return.
const HELD: usize = 8 << 20;

/// How many requests may be pending; more are refused.
const MAX_WAITING: usize = 1 << 18;

impl Open {
    /// The wide subscription that a listener to `pattern` should share, if any.
    pub(super) fn choose_wide(&self, pattern: &str) -> Option<String> {
        self.wide.choose(pattern, self.subscribers.len())
    }
}

impl Shared {
    pub(super) fn new() -> Self {
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
    pub(super) fn add<T>(&self, add: impl FnOnce(&mut Open, u64) -> T) -> Result<u64, BusError> {
        let mut open = self.open();
        // Under the lock, so that nothing is added after `close`.
        self.check_open()?;
        open.last += 1;
        let id = open.last;
        add(&mut open, id);
        Ok(id)
    }

    /// Registers a pending request, and returns the last part of its reply subject.
    pub(super) fn wait(&self, waiting: Waiting) -> Result<ReplyId, BusError> {
        let mut open = self.open();
        // Under the lock, so that nothing is added after `close`.
        self.check_open()?;
        if open.waiting.len() >= MAX_WAITING {
            return Err(BusError::TooManyRequests);
        }
        Ok(reply_id::insert(&mut open.waiting, waiting))
    }

    pub(super) fn forget(self: Arc<Self>, id: ReplyId) -> Guard {
        Guard::new(move || {
            let waiting = self.open().waiting.remove(&id);
            drop(waiting);
        })
    }

    pub(super) fn answer(&self, id: ReplyId, message: async_nats::Message) {
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

    pub(super) fn note(&self, event: &Event) {
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
    pub(super) fn hold(&self, size: usize) -> Result<(), BusError> {
        if *self.link.borrow() == Link::Up || self.held.fetch_add(size, Ordering::AcqRel) + size <= HELD {
            return Ok(());
        }
        Err(BusError::Disconnected)
    }

    pub(super) fn check_open(&self) -> Result<(), BusError> {
        if self.is_closed.load(Ordering::Acquire) { Err(BusError::Closed) } else { Ok(()) }
    }

    pub(super) fn close(&self) {
        let Open { subscribers, wide, waiting, .. } = {
            let mut open = self.open();
            self.is_closed.store(true, Ordering::Release);
            std::mem::take(&mut *open)
        };
        subscribers.values().chain(wide.subscribers()).for_each(|subscriber| subscriber.shut());
        drop(waiting);
    }

    /// Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
    pub(super) fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn waiting_requests_are_limited_and_each_answer_makes_room() {
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
