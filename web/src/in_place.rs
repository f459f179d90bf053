//! Runs a task in the very moment in which what it waits for has happened. Woken as other tasks are, it would run in a microtask of its
//! own, which takes longer than what it does for most frames. For the package alone: the page does without.
//!
//! Knows nothing of what the task does.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use relogin_res::Map;
use wasm_bindgen_futures::spawn_local;

type Task = RefCell<Pin<Box<dyn Future<Output = ()>>>>;

thread_local! {
    static TASKS: RefCell<Map<u64, Rc<Task>>> = const { RefCell::new(Map::new()) };
    static NEXT: Cell<u64> = const { Cell::new(0) };
    /// Who was woken by what is happening now. None: nothing is.
    static WOKEN: RefCell<Option<Vec<Arc<Bell>>>> = const { RefCell::new(None) };
}

/// Wakes a task.
struct Bell {
    task: u64,
    /// Wakes it as others are woken.
    later: Mutex<Option<Waker>>,
}

/// Runs a task that [`now`] knows.
pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) {
    if !cfg!(feature = "bindings") {
        return spawn_local(future);
    }
    let id = NEXT.replace(NEXT.get() + 1);
    let task: Rc<Task> = Rc::new(RefCell::new(Box::pin(future)));
    TASKS.with_borrow_mut(|tasks| tasks.insert(id, task));
    let bell = Arc::new(Bell { task: id, later: Mutex::default() });
    spawn_local(poll_fn(move |context| {
        *bell.later.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        bell.run()
    }));
}

/// Lets happen what wakes tasks, and runs those.
pub(crate) fn now(happens: impl FnOnce()) {
    // It may happen inside of what a task does.
    let inside = !cfg!(feature = "bindings") || WOKEN.with_borrow(Option::is_some);
    if inside {
        return happens();
    }
    WOKEN.set(Some(Vec::new()));
    happens();
    while let Some(bell) = WOKEN.with_borrow_mut(|woken| woken.as_mut().and_then(Vec::pop)) {
        if bell.run().is_ready() {
            bell.later();
        }
    }
    WOKEN.set(None);
}

impl Bell {
    fn run(self: &Arc<Self>) -> Poll<()> {
        let Some(task) = TASKS.with_borrow(|tasks| tasks.get(&self.task).cloned()) else { return Poll::Ready(()) };
        let Ok(mut future) = task.try_borrow_mut() else {
            self.later();
            return Poll::Pending;
        };
        let waker = Waker::from(Arc::clone(self));
        let ended = future.as_mut().poll(&mut Context::from_waker(&waker));
        if ended.is_ready() {
            TASKS.with_borrow_mut(|tasks| tasks.remove(&self.task));
        }
        ended
    }

    fn later(&self) {
        let waker = self.later.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let runs_now =
            WOKEN.with_borrow_mut(|woken| woken.as_mut().map(|woken| woken.push(Arc::clone(&self))).is_some());
        if !runs_now {
            self.later();
        }
    }
}
