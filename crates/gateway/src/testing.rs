//! Compresses and decompresses messages as connections do, without any connection: for fuzzers.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use crate::{
    deflate::{Deflate, Unreadable},
    flow::Flow,
    limits::Limits,
    memory::Memory,
};

/// The compression that the connections of a gateway share, and that of one connection.
#[derive(Debug)]
pub struct Compression {
    deflate: Deflate,
    memory: Arc<Memory>,
    flow: Flow,
}

/// The result of decompressing a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inflated {
    /// This.
    Message(Bytes),
    /// More than it may.
    TooLarge,
    /// Nothing: it is malformed.
    Invalid,
}

impl Default for Compression {
    fn default() -> Self {
        let memory = Arc::new(Memory::new(usize::MAX));
        let (deflate, flow) = (Deflate::new(Arc::clone(&memory)), Flow::new(&Limits::default(), Arc::clone(&memory)));
        Self { deflate, memory, flow }
    }
}

impl Compression {
    /// A message compressed; none if it goes as it is.
    #[must_use]
    pub fn deflate(&self, message: &[u8]) -> Option<Bytes> {
        self.to_its_end(self.deflate.deflate(message)).0.map(|deflated| deflated.bytes)
    }

    /// What a compressed message says, if it is not more than `max` bytes, and how many bytes were
    /// counted as held at most, between its pieces.
    #[must_use]
    pub fn inflate(&self, message: &[u8], max: usize) -> (Inflated, usize) {
        let inflating = self.deflate.inflate(Bytes::copy_from_slice(message), max, &self.flow);
        let (inflated, most) = self.to_its_end(inflating);
        // The connection has done with it.
        self.flow.hold_inflated(0);
        let inflated = match inflated {
            Ok(message) => Inflated::Message(message),
            Err(Unreadable::TooLarge) => Inflated::TooLarge,
            Err(Unreadable::Invalid) => Inflated::Invalid,
        };
        (inflated, most)
    }

    /// How many bytes are counted as held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.memory.held()
    }

    /// Nobody else has a place, so it waits for nothing but its turns.
    fn to_its_end<T>(&self, doing: impl Future<Output = T>) -> (T, usize) {
        let (mut doing, mut most) = (pin!(doing), 0);
        loop {
            let done = doing.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            most = most.max(self.held());
            if let Poll::Ready(done) = done {
                return (done, most);
            }
        }
    }
}
