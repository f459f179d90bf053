//! Queues the frames of a burst together (docs/adr/0051-frames-in-bursts.md). Must not depend on
//! what they say.
//!
//! Between two messages a browser does so much work of its own that the driver's code and data are
//! no longer in the processor's caches. A driver that is woken for each frame pays for that each
//! time.

use std::{cell::Cell, rc::Rc};

use gloo_events::EventListener;
use relogin_client_proto::Input;
use wasm_bindgen::JsValue;
use web_sys::MessageChannel;

use super::{EventQueue, Exception};

/// Queues frames. A single frame wakes the driver at once. Frames that follow immediately wake it
/// together, once the browser has delivered all that it has by then. Other events that happen
/// meanwhile wake it too, and are behind these frames in the queue.
#[derive(Debug)]
pub(super) struct Burst {
    shared: Rc<BurstShared>,
    _end: EventListener,
}

#[derive(Debug)]
struct BurstShared {
    events: EventQueue,
    channel: MessageChannel,
    /// Whether a message to ourselves is on its way.
    is_posted: Cell<bool>,
    /// Whether frames have come since it was posted.
    has_more: Cell<bool>,
}

impl Burst {
    /// A burst that queues in `events`.
    ///
    /// # Errors
    /// If the browser has no message channels.
    pub(super) fn new(events: &EventQueue) -> Result<Self, Exception> {
        let (events, channel) = (events.clone(), MessageChannel::new()?);
        let port = channel.port1();
        let shared = Rc::new(BurstShared { events, channel, is_posted: Cell::default(), has_more: Cell::default() });
        let end = EventListener::new(&port, "message", {
            let shared = Rc::clone(&shared);
            move |_| shared.on_message()
        });
        port.start();
        Ok(Self { shared, _end: end })
    }

    /// Adds a frame.
    pub(super) fn push(&self, frame: Input) {
        let shared = &self.shared;
        if shared.is_posted.get() {
            shared.events.add(frame);
            shared.has_more.set(true);
        } else {
            shared.post();
            shared.events.push(frame);
        }
    }
}

impl BurstShared {
    /// Posts a message to ourselves, which arrives after the frames that the browser has by now.
    fn post(&self) {
        // It fails only for values that cannot be cloned.
        let _ = self.channel.port2().post_message(&JsValue::NULL);
        self.is_posted.set(true);
    }

    fn on_message(&self) {
        self.is_posted.set(false);
        if self.has_more.take() {
            self.post();
            self.events.wake();
        }
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        self.shared.channel.port1().close();
    }
}
