//! The browser's own locks and timers, as the driver uses them.

use std::{cell::RefCell, rc::Rc};

use futures_channel::mpsc;
use futures_util::StreamExt;
use gloo_timers::future::TimeoutFuture;
use js_sys::Function;
use wasm_bindgen::{JsValue, closure::Closure, prelude::wasm_bindgen};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::support::within;

#[wasm_bindgen(module = "/src/browser/lock.js")]
extern "C" {
    #[wasm_bindgen(js_name = requestLock)]
    fn request_lock(name: &str, steal: bool, tell: &Closure<dyn Fn(bool)>) -> Function;
}

#[wasm_bindgen(module = "/src/browser/ends.js")]
extern "C" {
    type Ends;

    #[wasm_bindgen(constructor)]
    fn new(tell: &Closure<dyn Fn(u32)>) -> Ends;

    #[wasm_bindgen(method, js_name = wakeIn)]
    fn set_timer(this: &Ends, milliseconds: f64);

    #[wasm_bindgen(method, js_name = close)]
    fn end(this: &Ends);
}

#[wasm_bindgen(module = "/src/browser/moment.js")]
extern "C" {
    fn random(bytes: &mut [u8]);

    fn step(steady: f64, date: f64) -> f64;

    fn now() -> f64;
}

#[wasm_bindgen(module = "/src/browser/address.js")]
extern "C" {
    #[wasm_bindgen(catch)]
    fn gateway(address: &str) -> Result<String, JsValue>;

    #[wasm_bindgen(js_name = calls)]
    fn http_calls(address: &str, name: &str) -> String;
}

// (The library has most of these too. By the same names, the linker would take them for the same.)

/// A lock, given back when it is dropped.
pub(crate) struct Lock {
    give_back: Function,
    _tell: Closure<dyn Fn(bool)>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.give_back.call0(&JsValue::UNDEFINED).unwrap();
    }
}

/// What it says: that it is ours, and that it is not.
pub(crate) const GRANTED: bool = true;
const REFUSED: bool = false;

/// A lock, and what it says.
pub(crate) fn request(name: &str, steal: bool) -> (Lock, mpsc::UnboundedReceiver<bool>) {
    let (tell, told) = mpsc::unbounded();
    let tell = Closure::<dyn Fn(bool)>::new(move |ours| drop(tell.unbounded_send(ours)));
    (Lock { give_back: request_lock(name, steal, &tell), _tell: tell }, told)
}

#[wasm_bindgen_test]
async fn a_lock_is_given_to_one_after_the_other() {
    let (first, mut first_says) = request("test:lock", false);
    assert_eq!(within("the lock", first_says.next()).await, Some(GRANTED));
    let (second, mut second_says) = request("test:lock", false);
    let (third, third_says) = request("test:lock", false);
    drop(second);
    assert_eq!(within("silence", second_says.next()).await, None, "who has left the line gets nothing");
    let order = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&order);
    let mut third_says = third_says.inspect(move |_| noted.borrow_mut().push("third"));
    order.borrow_mut().push("first gives it back");
    drop(first);
    assert_eq!(within("the lock", third_says.next()).await, Some(GRANTED));
    assert_eq!(*order.borrow(), ["first gives it back", "third"]);
    drop(third);
}

#[wasm_bindgen_test]
async fn a_lock_can_be_stolen() {
    let (_held, mut holder_hears) = request("test:steal", false);
    assert_eq!(within("the lock", holder_hears.next()).await, Some(GRANTED));
    let (stolen, mut thief_hears) = request("test:steal", true);
    assert_eq!(within("the lock", thief_hears.next()).await, Some(GRANTED));
    assert_eq!(within("the loss", holder_hears.next()).await, Some(REFUSED));
    drop(stolen);
    let (_next, mut next_hears) = request("test:steal", false);
    assert_eq!(within("the lock", next_hears.next()).await, Some(GRANTED), "the thief gave it back");
}

#[wasm_bindgen_test]
async fn a_timer_rings_once_at_the_latest_time_it_was_set_to() {
    const TIMER: u32 = 12;
    let (tell, mut told) = mpsc::unbounded();
    let tell = Closure::<dyn Fn(u32)>::new(move |what| drop(tell.unbounded_send(what)));
    let ends = Ends::new(&tell);
    ends.set_timer(3_600_000.0);
    ends.set_timer(0.5);
    assert_eq!(within("the timer", told.next()).await, Some(TIMER));
    ends.set_timer(1.0);
    ends.set_timer(f64::INFINITY);
    TimeoutFuture::new(50).await;
    assert!(told.try_recv().is_err(), "set to nothing, it does not ring");
    ends.set_timer(1.0);
    ends.end();
    TimeoutFuture::new(50).await;
    assert!(told.try_recv().is_err(), "closed, it does not ring");
}

#[wasm_bindgen_test]
fn random_values_differ() {
    let [mut one, mut other] = [[0; 16]; 2];
    random(&mut one);
    random(&mut other);
    assert_ne!(one, other);
}

#[wasm_bindgen_test]
fn time_is_the_larger_step_of_two_clocks_and_never_runs_backwards() {
    let is = |(steady, date), expected: f64| assert!((step(steady, date) - expected).abs() < f64::EPSILON);
    is((250.0, 250.0), 250.0);
    // A sleep counts.
    is((10.0, 3_600_000.0), 3_600_000.0);
    // A date that is set back holds nothing up.
    is((250.0, -3_600_000.0), 250.0);
    is((-5.0, -5.0), 0.0);
    let before = now();
    assert!(now() >= before);
}

#[wasm_bindgen_test]
fn the_gateway_is_found() {
    let host = web_sys::window().unwrap().location().host().unwrap();
    assert_eq!(gateway("").unwrap(), format!("ws://{host}/ws"));
    assert_eq!(gateway("/elsewhere?a=b").unwrap(), format!("ws://{host}/elsewhere?a=b"));
    assert_eq!(gateway("wss://api.example.com").unwrap(), "wss://api.example.com/");
    assert_eq!(gateway("https://api.example.com/res").unwrap(), "wss://api.example.com/res");
    assert!(gateway("http://").unwrap_err().as_string().unwrap().starts_with("TypeError: "));
    assert_eq!(http_calls("", "session"), format!("http://{host}/api/session/"));
    assert_eq!(http_calls("wss://api.example.com/res", "session"), "https://api.example.com/api/session/");
}
