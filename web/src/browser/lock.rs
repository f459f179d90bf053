//! A lock between the tabs of an origin (Web Locks): asked for, stolen, given back.

use std::{cell::RefCell, fmt, rc::Rc};

use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::wasm_bindgen};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::AbortController;

/// What becomes of a lock that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockEvent {
    /// It is ours, until dropped.
    Granted,
    /// It is not to be had, or was stolen from us. The last event of a lock.
    Refused,
}

/// A lock, asked for or held. Dropped, it is given back, or no longer waited for, and calls back no more.
pub struct Lock(Rc<RefCell<State>>);

struct State {
    /// `None` once nobody wants to know.
    call_back: Option<Rc<dyn Fn(LockEvent)>>,
    /// Settles the promise for whose time the browser holds the lock for us.
    release: Option<Function>,
    /// Takes us out of the line.
    abort: Option<AbortController>,
}

#[wasm_bindgen]
extern "C" {
    // web-sys has Web Locks behind its unstable flag, which every build of the workspace would have to set.
    /// <https://developer.mozilla.org/docs/Web/API/LockManager>
    #[wasm_bindgen(js_name = LockManager)]
    #[derive(Clone)]
    type LockManager;

    /// Missing on pages that were served without TLS.
    #[wasm_bindgen(thread_local_v2, js_namespace = navigator, js_name = locks)]
    static LOCKS: Option<LockManager>;

    #[wasm_bindgen(method)]
    fn request(this: &LockManager, name: &str, options: &Object, call_back: &Function) -> Promise;
}

impl Lock {
    /// Asks for the lock `name`: stands in line for it or, to `steal` it, takes it from whoever has it.
    /// `call_back` is told later, never before this returns.
    pub fn request(name: &str, steal: bool, call_back: impl Fn(LockEvent) + 'static) -> Self {
        let abort = if steal { None } else { AbortController::new().ok() };
        let options = Object::new();
        // Setting a property of an ordinary object cannot fail.
        let _ = match &abort {
            Some(abort) => Reflect::set(&options, &"signal".into(), &abort.signal()),
            None => Reflect::set(&options, &"steal".into(), &steal.into()),
        };
        let state = Rc::new(RefCell::new(State { call_back: Some(Rc::new(call_back)), release: None, abort }));
        let outcome = match LOCKS.with(Clone::clone) {
            Some(locks) => locks.request(name, &options, holder(&state).unchecked_ref()),
            None => Promise::reject(&"no Web Locks".into()),
        };
        let waiting = Rc::clone(&state);
        spawn_local(async move {
            // Fulfilled: we gave it back. Rejected: stolen, aborted, or refused to a page like this one.
            if JsFuture::from(outcome).await.is_err() {
                tell(&waiting, LockEvent::Refused);
            }
        });
        Self(state)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let (release, abort) = {
            let mut state = self.0.borrow_mut();
            state.call_back = None;
            (state.release.take(), state.abort.take())
        };
        match (release, abort) {
            // A promise's resolve function does not throw.
            (Some(release), _) => drop(release.call1(&JsValue::UNDEFINED, &JsValue::UNDEFINED)),
            (None, Some(abort)) => abort.abort(),
            (None, None) => {}
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.borrow().release.is_some() { "Lock(held)" } else { "Lock(asked for)" })
    }
}

/// What the browser calls with the lock in hand: it holds the lock until the promise that this returns settles.
fn holder(state: &Rc<RefCell<State>>) -> JsValue {
    let state = Rc::clone(state);
    Closure::once_into_js(move |_lock: JsValue| {
        let held = Promise::new(&mut |resolve, _reject| {
            if state.borrow().call_back.is_some() {
                state.borrow_mut().release = Some(resolve);
            } else {
                // Dropped in the meantime: given straight back.
                drop(resolve.call1(&JsValue::UNDEFINED, &JsValue::UNDEFINED));
            }
        });
        tell(&state, LockEvent::Granted);
        held
    })
}

fn tell(state: &RefCell<State>, event: LockEvent) {
    let call_back = state.borrow().call_back.clone();
    if let Some(call_back) = call_back {
        call_back(event);
    }
}
