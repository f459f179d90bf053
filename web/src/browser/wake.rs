//! The moments at which a page should look at the time again: timers sleep when tabs and laptops do.

use web_sys::window;

use super::listener::Listener;

/// Why a page should look at the time again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeUp {
    /// The tab came into view: background tabs have their timers throttled.
    Visible,
    /// The page came back, perhaps out of the back/forward cache, where it stood still.
    Shown,
    /// The network is back.
    Online,
    /// The network is gone.
    Offline,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct WakeUps {
    _listeners: Vec<Listener>,
}

impl WakeUps {
    /// Calls back at each [`WakeUp`].
    #[must_use]
    pub fn listen(call_back: impl Fn(WakeUp) + Clone + 'static) -> Self {
        let Some(window) = window() else { return Self { _listeners: Vec::new() } };
        let on = |event, wake_up| {
            let call_back = call_back.clone();
            Listener::new(&window, event, move |_| call_back(wake_up))
        };
        let mut listeners =
            vec![on("pageshow", WakeUp::Shown), on("online", WakeUp::Online), on("offline", WakeUp::Offline)];
        if let Some(document) = window.document() {
            let seen = document.clone();
            listeners.push(Listener::new(&document, "visibilitychange", move |_| {
                if !seen.hidden() {
                    call_back(WakeUp::Visible);
                }
            }));
        }
        Self { _listeners: listeners }
    }

    /// True unless the browser knows that it has no network.
    #[must_use]
    pub fn online() -> bool {
        window().is_none_or(|window| window.navigator().on_line())
    }
}
