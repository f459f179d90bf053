//! A lock among the tabs of an origin (Web Locks), which can be requested, stolen and released.
//! Must not depend on what it protects.

use std::{cell::RefCell, rc::Rc};

use futures_channel::oneshot;
use js_sys::{Object, Promise};
use relogin_client_proto::{LockId, PlatformEvent};
use wasm_bindgen::{JsCast as _, JsValue, closure::Closure, prelude::wasm_bindgen};
use wasm_bindgen_futures::{future_to_promise, spawn_local};
use web_sys::{AbortController, AbortSignal};

use super::{EventQueue, global};

// web-sys has Web Locks as an unstable API only.
#[wasm_bindgen]
extern "C" {
    type Navigator;

    /// Web Locks, which are missing on pages served without TLS.
    #[wasm_bindgen(method, getter)]
    fn locks(this: &Navigator) -> Option<LockManager>;

    type LockManager;

    /// Throws if the page may not use locks.
    #[wasm_bindgen(method, catch)]
    fn request(
        this: &LockManager,
        name: &str,
        options: &LockOptions,
        granted: &Closure<dyn FnMut(JsValue) -> JsValue>,
    ) -> Result<Promise, JsValue>;

    type LockOptions;

    #[wasm_bindgen(method, setter)]
    fn set_steal(this: &LockOptions, steal: bool);

    #[wasm_bindgen(method, setter)]
    fn set_signal(this: &LockOptions, signal: &AbortSignal);
}

/// A lock that was requested. Dropping it releases the lock or cancels the request, and ends its
/// events.
#[derive(Debug)]
pub(super) struct Lock(Rc<RefCell<State>>);

#[derive(Debug)]
enum State {
    /// Requested; the controller cancels that.
    Waiting(Option<AbortController>),
    /// Held until this is dropped.
    Held {
        _until_dropped: oneshot::Sender<()>,
    },
    Released,
}

impl Lock {
    /// Requests the lock `name`: waits for its turn or, with `steal`, takes it from its holder.
    /// [`PlatformEvent::LockGranted`] says that we hold it; [`PlatformEvent::LockRefused`], the
    /// last event, that there is none, or that it was stolen from us.
    pub(super) fn request(id: LockId, name: &str, steal: bool, events: &EventQueue) -> Self {
        let options: LockOptions = Object::new().unchecked_into();
        let controller = AbortController::new().ok();
        if steal {
            options.set_steal(true);
        } else if let Some(controller) = &controller {
            options.set_signal(&controller.signal());
        }
        let state = Rc::new(RefCell::new(State::Waiting(controller)));
        let granted = Closure::once({
            let (state, events) = (Rc::clone(&state), events.clone());
            move |_lock: JsValue| -> JsValue {
                let held = hold(&state);
                if held.is_some() {
                    events.push(PlatformEvent::LockGranted(id));
                }
                held.into()
            }
        });
        let navigator: Navigator = global().navigator().unchecked_into();
        let request = navigator.locks().map(|locks| locks.request(name, &options, &granted));
        let (lock, events) = (Self(Rc::clone(&state)), events.clone());
        spawn_local(async move {
            let is_over = match request {
                Some(Ok(request)) => request.await.is_ok(),
                Some(Err(_)) | None => false,
            };
            drop(granted);
            // Stolen, or not available to this page.
            if !is_over && !matches!(*state.borrow(), State::Released) {
                events.push(PlatformEvent::LockRefused(id));
            }
        });
        lock
    }
}

/// The promise that the browser waits for before it grants the lock to the next in line; `None` if
/// the lock was released in the meantime.
fn hold(state: &RefCell<State>) -> Option<Promise> {
    let mut state = state.borrow_mut();
    if matches!(*state, State::Released) {
        return None;
    }
    let (sender, dropped) = oneshot::channel();
    *state = State::Held { _until_dropped: sender };
    Some(future_to_promise(async move {
        let _ = dropped.await;
        Ok(JsValue::UNDEFINED)
    }))
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The state is changed first, because callbacks of `abort` may read it.
        let before = self.0.replace(State::Released);
        if let State::Waiting(Some(controller)) = before {
            controller.abort();
        }
    }
}

#[cfg(test)]
#[cfg(target_arch = "wasm32")]
mod tests {
    use gloo_timers::future::TimeoutFuture;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn request(name: &str, id: u32, steal: bool, events: &EventQueue) -> Lock {
        Lock::request(LockId(id), name, steal, events)
    }

    #[wasm_bindgen_test]
    async fn a_lock_is_given_to_one_after_the_other() {
        let events = EventQueue::default();
        let first = request("unit:lock", 1, false, &events);
        assert!(matches!(events.next().await, PlatformEvent::LockGranted(LockId(1))));
        let second = request("unit:lock", 2, false, &events);
        let third = request("unit:lock", 3, false, &events);
        drop(second);
        TimeoutFuture::new(50).await;
        assert!(events.is_empty(), "one holds it, and who has left the line hears nothing");
        drop(first);
        assert!(matches!(events.next().await, PlatformEvent::LockGranted(LockId(3))));
        drop(third);
    }

    #[wasm_bindgen_test]
    async fn a_lock_can_be_stolen() {
        let events = EventQueue::default();
        let held = request("unit:steal", 1, false, &events);
        assert!(matches!(events.next().await, PlatformEvent::LockGranted(LockId(1))));
        let stolen = request("unit:steal", 2, true, &events);
        let mut told = [events.next().await, events.next().await].map(|event| format!("{event:?}"));
        told.sort_unstable();
        assert_eq!(told, ["LockGranted(LockId(2))", "LockRefused(LockId(1))"]);
        drop((held, stolen));
        let _next = request("unit:steal", 3, false, &events);
        assert!(matches!(events.next().await, PlatformEvent::LockGranted(LockId(3))), "the thief gave it back");
    }
}
