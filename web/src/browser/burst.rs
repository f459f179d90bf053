//! Takes the frames of a burst in together.
//!
//! Between two messages a browser goes through so much of its own that nothing of ours is in the
//! processor's caches any more, and a driver that is woken for each frame pays for that each time.

use std::{cell::Cell, rc::Rc};

use gloo_events::EventListener;
use relogin_client_proto::Input;
use wasm_bindgen::JsValue;
use web_sys::MessageChannel;

use super::{EventQueue, Exception};

/// Queues frames. One by itself wakes the driver at once. Those that come right behind it wake the
/// driver together, as soon as the browser has handed out what it has by then; what else happens
/// meanwhile wakes it too, and stands behind them in the queue.
#[derive(Debug)]
pub(super) struct Burst {
    shared: Rc<Shared>,
    _end: EventListener,
}

#[derive(Debug)]
struct Shared {
    events: EventQueue,
    channel: MessageChannel,
    /// A message was posted, and did not come yet.
    is_posted: Cell<bool>,
    /// Frames have come behind it.
    has_more: Cell<bool>,
}

impl Burst {
    /// Queues in `events`.
    ///
    /// # Errors
    /// If the browser has no message channels.
    pub(super) fn new(events: &EventQueue) -> Result<Self, Exception> {
        let (events, channel) = (events.clone(), MessageChannel::new()?);
        let port = channel.port1();
        let shared = Rc::new(Shared { events, channel, is_posted: Cell::default(), has_more: Cell::default() });
        let end = EventListener::new(&port, "message", {
            let shared = Rc::clone(&shared);
            move |_| shared.hear()
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

impl Shared {
    /// Posts a message, which comes behind what the browser has by now.
    fn post(&self) {
        // Fails for values that cannot be copied only.
        let _ = self.channel.port2().post_message(&JsValue::NULL);
        self.is_posted.set(true);
    }

    fn hear(&self) {
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
