//! Sends messages with resources in them. Large ones are written one after the other, so that few
//! are unfinished at a time: what is finished is the driver's, which bounds it. Must not depend on
//! how they are written.

use std::collections::VecDeque;

use super::{
    Connection, Shared,
    jobs::Job,
    writing::{PendingMessage, WriteStep, Writing},
};
use crate::{api::ConnectionKey, content::TEXTS_AT_ONCE};

/// Connections that have a large message to write.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    /// The first one writes, the others wait. Some may be gone.
    queue: VecDeque<ConnectionKey>,
    /// True while the first one does not know that it is the first.
    is_new: bool,
}

impl Writers {
    /// True if a connection may write; if not, it stands in line.
    fn may_write(&mut self, key: ConnectionKey) -> bool {
        if self.queue.front() != Some(&key) {
            self.queue.push_back(key);
        }
        self.queue.front() == Some(&key)
    }

    /// Takes note that a connection has written, or is closed.
    pub(crate) fn leave(&mut self, key: ConnectionKey) {
        if self.queue.front() == Some(&key) {
            self.queue.pop_front();
            self.is_new = !self.queue.is_empty();
        }
    }

    /// True if the next one is to be announced.
    pub(crate) fn has_next(&self) -> bool {
        self.is_new
    }

    /// The next one, which may be gone: then it is to leave.
    pub(crate) fn next(&mut self) -> Option<ConnectionKey> {
        let is_new = std::mem::take(&mut self.is_new);
        self.queue.front().copied().filter(|_| is_new)
    }
}

impl Connection {
    /// Writes some more of a message, if it is its turn, and sends it once it is finished.
    pub(super) fn write(&mut self, mut writing: Box<Writing>, message: PendingMessage, shared: &mut Shared) {
        let is_large = writing.bytes().is_some_and(|bytes| bytes > TEXTS_AT_ONCE);
        if is_large && !shared.writers.may_write(self.key) {
            self.park();
            return self.then(Job::Write(writing, message));
        }
        match writing.step() {
            WriteStep::Written(bytes) => {
                shared.texts_left = shared.texts_left.saturating_sub(bytes);
                self.then(Job::Write(writing, message));
            }
            WriteStep::Finished(frame) => {
                if is_large {
                    shared.writers.leave(self.key);
                }
                shared.bus.discard(writing.into_found());
                match message {
                    PendingMessage::Answer(rid, kind, fresh) => self.finish_answer(frame, rid, kind, fresh, shared),
                    PendingMessage::Event(deliver, fresh) => self.finish_event(frame, deliver, fresh, shared),
                }
            }
        }
    }
}
