//! Events about the page and its network: the page has come back, the user looks at it or does not,
//! the network has come or gone. Must not depend on what they cause.

use gloo_events::EventListener;
use relogin_client_proto::PlatformEvent;
use web_sys::EventTarget;

use super::{EventQueue, global};

/// Listens to these events until it is dropped.
#[derive(Debug)]
pub(super) struct WakeUps {
    _listeners: Vec<EventListener>,
}

impl WakeUps {
    /// Begins to listen.
    pub(super) fn new(events: &EventQueue) -> Self {
        let on = |target: &EventTarget, name: &'static str, event: fn() -> Option<PlatformEvent>| {
            let events = events.clone();
            EventListener::new(target, name, move |_| {
                if let Some(event) = event() {
                    events.push(event);
                }
            })
        };
        let global = global();
        // Timers do not fire while a tab or a laptop sleeps. Once the page is visible again, or has
        // left the back/forward cache, the machine has to check its deadlines.
        let mut listeners = vec![
            on(&global, "pageshow", || Some(PlatformEvent::Wake)),
            on(&global, "online", || Some(PlatformEvent::Online)),
            on(&global, "offline", || Some(PlatformEvent::Offline)),
        ];
        // A worker has no document.
        if let Some(document) = global.document() {
            listeners.push(on(&document, "visibilitychange", || is_visible().then_some(PlatformEvent::Wake)));
            listeners.push(on(&document, "visibilitychange", || Some(PlatformEvent::Attention(is_visible()))));
            // Two windows can be visible, but only one has the focus.
            listeners.push(on(&global, "focus", || Some(PlatformEvent::Attention(is_visible()))));
            listeners.push(on(&global, "blur", || Some(PlatformEvent::Attention(false))));
            if !is_visible() {
                events.push(PlatformEvent::Attention(false));
            }
        }
        Self { _listeners: listeners }
    }
}

fn is_visible() -> bool {
    global().document().is_some_and(|document| !document.hidden())
}

#[cfg(test)]
#[cfg(target_arch = "wasm32")]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;
    use web_sys::Event;

    use super::*;

    #[wasm_bindgen_test]
    async fn browser_events_are_queued_until_the_listeners_are_dropped() {
        let happens = |target: &EventTarget, name| target.dispatch_event(&Event::new(name).unwrap()).unwrap();
        let (events, global) = (EventQueue::default(), global());
        let listening = WakeUps::new(&events);
        for name in ["pageshow", "offline", "online"] {
            happens(&global, name);
        }
        happens(&global.document().unwrap(), "visibilitychange");
        if !is_visible() {
            assert!(matches!(events.next().await, PlatformEvent::Attention(false)));
        }
        assert!(matches!(events.next().await, PlatformEvent::Wake));
        assert!(matches!(events.next().await, PlatformEvent::Offline));
        assert!(matches!(events.next().await, PlatformEvent::Online));
        if is_visible() {
            assert!(matches!(events.next().await, PlatformEvent::Wake));
        }
        assert!(matches!(events.next().await, PlatformEvent::Attention(attended) if attended == is_visible()));
        assert!(events.is_empty(), "a page that is hidden did not come back");
        happens(&global, "blur");
        assert!(matches!(events.next().await, PlatformEvent::Attention(false)));
        happens(&global, "focus");
        assert!(matches!(events.next().await, PlatformEvent::Attention(attended) if attended == is_visible()));
        drop(listening);
        while !events.is_empty() {
            events.next().await;
        }
        happens(&global, "online");
        assert!(events.is_empty());
    }
}
