//! The browser's own locks and timers, as the driver uses them.

use std::{cell::RefCell, rc::Rc, time::Duration};

use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt;
use relogin_web::browser::{
    address, entropy,
    lock::{Lock, LockEvent},
    timer::Timer,
};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::support::within;

/// A lock, and what it says.
fn request(name: &str, steal: bool) -> (Lock, mpsc::UnboundedReceiver<LockEvent>) {
    let (tell, told) = mpsc::unbounded();
    (Lock::request(name, steal, move |event| drop(tell.unbounded_send(event))), told)
}

#[wasm_bindgen_test]
async fn a_lock_is_given_to_one_after_the_other() {
    let (first, mut first_says) = request("test:lock", false);
    assert_eq!(within("the lock", first_says.next()).await, Some(LockEvent::Granted));
    let (second, mut second_says) = request("test:lock", false);
    let (third, third_says) = request("test:lock", false);
    drop(second);
    assert_eq!(within("silence", second_says.next()).await, None, "who has left the line gets nothing");
    let order = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&order);
    let mut third_says = third_says.inspect(move |_| noted.borrow_mut().push("third"));
    order.borrow_mut().push("first gives it back");
    drop(first);
    assert_eq!(within("the lock", third_says.next()).await, Some(LockEvent::Granted));
    assert_eq!(*order.borrow(), ["first gives it back", "third"]);
    drop(third);
}

#[wasm_bindgen_test]
async fn a_lock_can_be_stolen() {
    let (_held, mut holder_hears) = request("test:steal", false);
    assert_eq!(within("the lock", holder_hears.next()).await, Some(LockEvent::Granted));
    let (stolen, mut thief_hears) = request("test:steal", true);
    assert_eq!(within("the lock", thief_hears.next()).await, Some(LockEvent::Granted));
    assert_eq!(within("the loss", holder_hears.next()).await, Some(LockEvent::Refused));
    drop(stolen);
    let (_next, mut next_hears) = request("test:steal", false);
    assert_eq!(within("the lock", next_hears.next()).await, Some(LockEvent::Granted), "the thief gave it back");
}

#[wasm_bindgen_test]
async fn a_timer_rings_once_at_the_latest_time_it_was_set_to() {
    let mut timer = Timer::default();
    let (ring, rings) = oneshot::channel();
    timer.set(Some(Duration::from_secs(3600)), || panic!("set anew, this one must not ring"));
    timer.set(Some(Duration::from_millis(1)), move || ring.send(()).unwrap());
    within("the timer", rings).await.unwrap();
    let (ring, rings) = oneshot::channel::<()>();
    timer.set(Some(Duration::from_millis(1)), move || ring.send(()).unwrap());
    timer.set(None, || {});
    assert!(within("the end", rings).await.is_err(), "set to nothing, it does not ring");
}

#[wasm_bindgen_test]
fn random_values_differ() {
    assert_ne!(entropy::random::<16>().unwrap(), entropy::random::<16>().unwrap());
}

#[wasm_bindgen_test]
fn the_gateway_is_found() {
    let host = web_sys::window().unwrap().location().host().unwrap();
    assert_eq!(address::gateway("").unwrap(), format!("ws://{host}/ws"));
    assert_eq!(address::gateway("/elsewhere?a=b").unwrap(), format!("ws://{host}/elsewhere?a=b"));
    assert_eq!(address::gateway("wss://api.example.com").unwrap(), "wss://api.example.com/");
    assert_eq!(address::gateway("https://api.example.com/res").unwrap(), "wss://api.example.com/res");
    assert!(address::gateway("http://").is_err());
}
