//! Runs futures in the browser: what is woken is polled soon, before anything else happens to the page. As little of an executor as that
//! takes; wasm-bindgen's own brings along much of JavaScript that no page here needs.

use std::{
    cell::{Cell, RefCell},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Wake, Waker},
};

use wasm_bindgen::{closure::Closure, prelude::wasm_bindgen};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = queueMicrotask)]
    fn queue_microtask(run: &Closure<dyn Fn()>);
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static NEXT: Cell<u32> = const { Cell::new(0) };
    /// With their numbers; none while it is being polled.
    static TASKS: RefCell<Vec<(u32, Option<Task>)>> = const { RefCell::new(Vec::new()) };
    /// The numbers of those that were woken.
    static WOKEN: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static RUN: Closure<dyn Fn()> = Closure::new(run);
    /// Whether who is woken is polled in this very moment, and needs no microtask.
    static AT_ONCE: Cell<bool> = const { Cell::new(false) };
    static POLLING: Cell<bool> = const { Cell::new(false) };
}

/// Runs a future to its end.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    let number = NEXT.get();
    NEXT.set(number.wrapping_add(1));
    TASKS.with_borrow_mut(|tasks| tasks.push((number, Some(Box::pin(future)))));
    wake(number);
}

/// Lets happen what wakes tasks, and polls those in the same moment: a microtask of its own takes longer than what most frames bring.
pub(crate) fn now(happens: impl FnOnce()) {
    // It may happen inside of what a task does: then those that it wakes have their turn after it.
    if POLLING.get() {
        return happens();
    }
    AT_ONCE.set(true);
    happens();
    AT_ONCE.set(false);
    run();
}

fn wake(number: u32) {
    WOKEN.with_borrow_mut(|woken| {
        if woken.is_empty() && !AT_ONCE.get() {
            RUN.with(queue_microtask);
        }
        if !woken.contains(&number) {
            woken.push(number);
        }
    });
}

/// Polls those that were woken. What that wakes has its turn after it.
fn run() {
    POLLING.set(true);
    for number in WOKEN.with_borrow_mut(mem::take) {
        let place = |tasks: &[(u32, Option<Task>)]| tasks.iter().position(|(known, _)| *known == number);
        let task = TASKS.with_borrow_mut(|tasks| place(tasks).and_then(|at| tasks[at].1.take()));
        // None: it is over, and was woken all the same.
        let Some(mut task) = task else { continue };
        let waker = Waker::from(Arc::new(Sleeper(number)));
        let over = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        // What is over is dropped before the table is borrowed: in that, it may spawn others.
        let task = Some(task).filter(|_| !over);
        TASKS.with_borrow_mut(|tasks| {
            if let Some(at) = place(tasks) {
                tasks[at].1 = task;
                if over {
                    tasks.swap_remove(at);
                }
            }
        });
    }
    POLLING.set(false);
}

/// Wakes the task of this number.
struct Sleeper(u32);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        wake(self.0);
    }
}
