//! The one queue in which everything for one owner arrives, in order. Must not depend on a
//! transport.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};

use super::Message;

/// How many bytes may wait in a mailbox: far above what a working owner leaves unread, far below a
/// machine's memory.
const CAPACITY: usize = 64 << 20;

/// What a waiting delivery costs beside its payload and subject.
const OVERHEAD: usize = 128;

/// The number that an owner gives to a subscription or a request, to recognise its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u64);

/// What arrives in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A message of a subscription.
    Message {
        /// The subscription.
        tag: Tag,
        /// The message.
        message: Message,
    },
    /// An answer to a request.
    Reply {
        /// The request.
        tag: Tag,
        /// The answer.
        payload: Bytes,
    },
    /// Nobody is subscribed to the request's subject: no answer will come.
    NoResponders {
        /// The request.
        tag: Tag,
    },
    /// The mailbox was full: from here on until this was taken, deliveries were dropped.
    Lost,
}

/// Where a bus puts what an owner has asked for. Holds a limited number of bytes: an owner that
/// falls behind loses messages and is notified, instead of using up the machine's memory.
#[derive(Clone, Debug)]
pub struct Mailbox {
    queue: mpsc::UnboundedSender<Queued>,
    fill: Arc<Fill>,
}

/// The owner's end of a [`Mailbox`].
#[derive(Debug)]
pub struct Deliveries {
    queue: mpsc::UnboundedReceiver<Queued>,
    fill: Arc<Fill>,
}

/// A queued delivery.
#[derive(Debug)]
struct Queued {
    delivery: Delivery,
    size: usize,
    since: Instant,
}

#[derive(Debug)]
struct Fill {
    capacity: usize,
    waiting: AtomicUsize,
    losing: AtomicBool,
}

impl Mailbox {
    /// A mailbox and its owner's end.
    #[must_use]
    pub fn new() -> (Self, Deliveries) {
        Self::with_capacity(CAPACITY)
    }

    /// A mailbox in which about `capacity` bytes may wait.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> (Self, Deliveries) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let fill = Arc::new(Fill { capacity, waiting: AtomicUsize::new(0), losing: AtomicBool::new(false) });
        (Self { queue: sender, fill: Arc::clone(&fill) }, Deliveries { queue: receiver, fill })
    }

    /// Puts a delivery in, or drops it if the mailbox is full or its owner is gone. Never waits.
    pub fn put(&self, delivery: Delivery) {
        let size = size(&delivery);
        if self.fill.losing.load(Ordering::Acquire) {
            return;
        }
        if self.fill.waiting.fetch_add(size, Ordering::AcqRel) + size > self.fill.capacity {
            self.fill.waiting.fetch_sub(size, Ordering::AcqRel);
            if !self.fill.losing.swap(true, Ordering::AcqRel) {
                self.send(Delivery::Lost, 0);
            }
            return;
        }
        self.send(delivery, size);
    }

    fn send(&self, delivery: Delivery, size: usize) {
        self.queue.send(Queued { delivery, size, since: Instant::now() }).ok();
    }
}

impl Deliveries {
    /// The next delivery. `None` once every [`Mailbox`] handle is gone and everything was taken.
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.next_since().await.map(|(delivery, _)| delivery)
    }

    /// The next delivery, if one is waiting.
    pub fn try_next(&mut self) -> Option<Delivery> {
        self.try_next_since().map(|(delivery, _)| delivery)
    }

    /// The next delivery, and since when it has waited. Like [`Deliveries::next`].
    pub async fn next_since(&mut self) -> Option<(Delivery, Instant)> {
        let waiting = self.queue.recv().await?;
        Some(self.taken(waiting))
    }

    /// The next delivery, and since when it has waited, if one is waiting.
    pub fn try_next_since(&mut self) -> Option<(Delivery, Instant)> {
        let waiting = self.queue.try_recv().ok()?;
        Some(self.taken(waiting))
    }

    fn taken(&self, Queued { delivery, size, since }: Queued) -> (Delivery, Instant) {
        self.fill.waiting.fetch_sub(size, Ordering::AcqRel);
        if matches!(delivery, Delivery::Lost) {
            self.fill.losing.store(false, Ordering::Release);
        }
        (delivery, since)
    }
}

fn size(delivery: &Delivery) -> usize {
    OVERHEAD
        + match delivery {
            Delivery::Message { message, .. } => message.subject.len() + message.payload.len(),
            Delivery::Reply { payload, .. } => payload.len(),
            Delivery::NoResponders { .. } | Delivery::Lost => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(tag: u64, size: usize) -> Delivery {
        Delivery::Reply { tag: Tag(tag), payload: Bytes::from(vec![0; size]) }
    }

    #[tokio::test]
    async fn a_slow_owner_is_notified_that_messages_were_lost() {
        let (mailbox, mut deliveries) = Mailbox::with_capacity(2 * (OVERHEAD + 100));
        for tag in 0..5 {
            mailbox.put(reply(tag, 100));
        }
        assert_eq!(deliveries.next().await, Some(reply(0, 100)));
        mailbox.put(reply(5, 100));
        assert_eq!(deliveries.next().await, Some(reply(1, 100)));
        assert_eq!(deliveries.next().await, Some(Delivery::Lost));
        mailbox.put(reply(6, 100));
        assert_eq!(deliveries.next().await, Some(reply(6, 100)));
        assert_eq!(deliveries.try_next(), None);
        drop(mailbox);
        assert_eq!(deliveries.next().await, None);
    }

    #[tokio::test]
    async fn taken_messages_make_room() {
        let (mailbox, mut deliveries) = Mailbox::with_capacity(OVERHEAD + 10);
        for tag in 0..100 {
            mailbox.put(reply(tag, 10));
            assert_eq!(deliveries.next().await, Some(reply(tag, 10)));
        }
    }
}
