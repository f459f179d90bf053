//! An event listener that is taken off when it is dropped.

use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{Event, EventTarget};

/// Calls back at each event of one kind. Dropped, it calls no more.
pub struct Listener {
    target: EventTarget,
    event: &'static str,
    call_back: Closure<dyn FnMut(Event)>,
}

impl Listener {
    /// Listens for `event` on `target`.
    pub fn new(target: &EventTarget, event: &'static str, call_back: impl FnMut(Event) + 'static) -> Self {
        let call_back = Closure::<dyn FnMut(Event)>::new(call_back);
        // Fails for a listener that is no function only, and a closure is one.
        let _ = target.add_event_listener_with_callback(event, call_back.as_ref().unchecked_ref());
        Self { target: target.clone(), event, call_back }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.target.remove_event_listener_with_callback(self.event, self.call_back.as_ref().unchecked_ref());
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listener({})", self.event)
    }
}
