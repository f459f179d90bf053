//! Client and session manager in a page with real storage, locks and timers, and a scripted
//! gateway.

use std::{future, time::Duration};

use gloo_timers::future::TimeoutFuture;
use relogin_web::{ConnectionState, EndReason, Error, Event, RequestError, SessionState};
use serde_json::json;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::support::{
    Gateway, Page, entry, install, is_jane, jane, key, lock_is_free, nobody, other_tab, store, stored, within, write,
};

/// Long enough never to come.
const LATER: u64 = 3_600_000;

/// A page on which Jane has logged in, and its connection.
async fn logged_in(name: &str) -> (Page, Gateway) {
    install();
    let mut page = Page::load(name).await;
    let mut gateway = Gateway::accept(name).await;
    let login = async {
        let request = gateway.expect(&format!("auth.{name}.login")).await;
        assert_eq!((&request.params["username"], &request.params["password"]), (&json!("jane"), &json!("secret")));
        gateway.set_user(jane());
        gateway.answer_key(&request, 1, LATER);
    };
    let (outcome, ()) = futures_util::future::join(page.client.login("jane", "secret"), login).await;
    outcome.unwrap();
    gateway.serve("the user", page.until("the user", is_jane)).await;
    (page, gateway)
}

/// What browsers report to a page about its network.
fn happens(event: &str) {
    web_sys::window().unwrap().dispatch_event(&web_sys::Event::new(event).unwrap()).unwrap();
}

/// The page's next connection, and the use of key `generation` on it.
async fn relogin(gateway: &mut Gateway, name: &str, generation: u64) -> crate::support::Request {
    let request = gateway.expect(&format!("auth.{name}.relogin")).await;
    assert_eq!(request.params["reloginKey"], json!(key(generation)));
    let attempt = request.params["attempt"].as_str().expect("an attempt").to_owned();
    let record = stored(name).await.expect("the key stays in storage until there is a successor");
    assert_eq!(record["attempt"], json!(attempt), "the attempt is stored before it is sent");
    request
}

#[wasm_bindgen_test]
async fn a_login_is_stored_and_a_reload_resumes_it_before_anything_else() {
    let (page, _gateway) = logged_in("reload").await;
    assert_eq!(stored("reload").await, Some(json!({ "key": key(1), "generation": 1 })));
    drop(page);

    let mut page = Page::load("reload").await;
    assert_eq!(page.client.session(), SessionState::Resuming, "no login form, not for a moment");
    let mut gateway = Gateway::accept("reload").await;
    let request = relogin(&mut gateway, "reload", 1).await;
    gateway.set_user(jane());
    gateway.answer_key(&request, 2, LATER);
    gateway.serve("the user", page.until("the user", is_jane)).await;
    assert_eq!(stored("reload").await, Some(json!({ "key": key(2), "generation": 2 })));
}

#[wasm_bindgen_test]
async fn the_next_address_is_tried_at_once_and_the_session_is_the_same_at_each() {
    install();
    let addresses = ["wss://one.example/", "wss://other.example/"];
    let mut page = Page::load_for("addresses", &addresses).await;
    let refused = Gateway::refuse_connection().await;
    let mut gateway = Gateway::accept("addresses").await;
    let mut tried = [refused, gateway.address()];
    tried.sort();
    assert_eq!(tried, addresses);
    let login = async {
        let request = gateway.expect("auth.addresses.login").await;
        gateway.set_user(jane());
        gateway.answer_key(&request, 1, LATER);
    };
    let (outcome, ()) = futures_util::future::join(page.client.login("jane", "secret"), login).await;
    outcome.unwrap();
    gateway.serve("the user", page.until("the user", is_jane)).await;
    drop(page);

    let page = Page::load("addresses").await;
    assert_eq!(page.client.session(), SessionState::Resuming);
    let mut gateway = Gateway::accept("addresses").await;
    assert!(gateway.address().ends_with("/ws"));
    relogin(&mut gateway, "addresses", 1).await;
}

#[wasm_bindgen_test]
async fn the_retry_time_of_a_closing_gateway_is_heeded() {
    install();
    let mut page = Page::load("goes").await;
    let mut waits = Vec::new();
    // Drawn between nothing and five minutes, so three times.
    for _ in 0..3 {
        let mut gateway = Gateway::accept("goes").await;
        let connected = async {
            while page.client.connection() != ConnectionState::Connected {
                page.next_event().await;
            }
        };
        gateway.serve("the connection", connected).await;
        gateway.part(1001, r#"{"message":"the server is being stopped","retryAfter":300000}"#);
        while page.client.connection() == ConnectionState::Connected {
            page.next_event().await;
        }
        waits.extend(page.client.retry_in());
        if waits.len() < 3 {
            page.client.connect_now();
        }
    }
    assert!(waits.iter().any(|wait| *wait > Duration::from_secs(5)), "{waits:?}");
}

#[wasm_bindgen_test]
async fn a_lost_connection_keeps_the_user_and_a_lost_answer_repeats_the_attempt() {
    let (mut page, gateway) = logged_in("lost").await;
    gateway.hang_up();
    page.until("the loss", |state| matches!(state, SessionState::Reconnecting(user) if user.name == "Jane Doe")).await;
    assert!(matches!(page.client.connection(), ConnectionState::Reconnecting { .. }));

    let mut gateway = Gateway::accept("lost").await;
    let first = relogin(&mut gateway, "lost", 1).await;
    gateway.hang_up();
    let mut gateway = Gateway::accept("lost").await;
    let second = relogin(&mut gateway, "lost", 1).await;
    assert_eq!(first.params["attempt"], second.params["attempt"]);
    gateway.set_user(jane());
    gateway.answer_key(&second, 2, LATER);
    gateway.serve("the user", page.until("the user", is_jane)).await;
    assert_eq!(stored("lost").await, Some(json!({ "key": key(2), "generation": 2 })));
}

#[wasm_bindgen_test]
async fn frames_of_a_burst_are_taken_in_in_their_order_up_to_the_end_of_the_connection() {
    let (mut page, mut gateway) = logged_in("burst").await;
    let names = |burst: &str| -> Vec<String> { (0..50).map(|n| format!("{burst} {n}")).collect() };
    let mut heard = Vec::new();
    for burst in ["first", "last"] {
        for name in names(burst) {
            gateway.set_user(json!({ "id": 3, "name": name, "role": "user" }));
        }
        if burst == "last" {
            gateway.hang_up();
        }
        while heard.last() != names(burst).last() {
            match page.next_event().await {
                Event::Session(SessionState::LoggedIn(user)) if user.name != "Jane Doe" => heard.push(user.name),
                Event::Session(state) => assert!(is_jane(&state), "{state:?} before {burst} was over"),
                _ => {}
            }
        }
    }
    assert_eq!(heard, [names("first"), names("last")].concat());
    page.until("the loss", |state| matches!(state, SessionState::Reconnecting(user) if user.name == "last 49")).await;
}

#[wasm_bindgen_test]
async fn a_frame_that_came_before_something_else_is_taken_in_before_it() {
    // Taken in after the loss of the network, the second frame would be a sign that it is there.
    a_refresh_waits("order", |gateway| {
        for name in ["first", "Jane Doe"] {
            gateway.set_user(json!({ "id": 3, "name": name, "role": "user" }));
        }
    })
    .await;
}

#[wasm_bindgen_test]
async fn a_refused_key_ends_the_session_and_is_not_tried_again() {
    install();
    store("refused", 7).await;
    let mut page = Page::load("refused").await;
    let mut gateway = Gateway::accept("refused").await;
    let request = relogin(&mut gateway, "refused", 7).await;
    gateway.refuse(&request, "session.invalidReloginKey");
    let refused = |state: &SessionState| *state == SessionState::Ended(EndReason::Refused);
    gateway.serve("the end", page.until("the end", refused)).await;
    assert_eq!(stored("refused").await, None);
    gateway.hang_up();
    let mut gateway = Gateway::accept("refused").await;
    // A relogin now would fail the test: only the handshake and the user model are answered.
    let connected = async {
        while page.client.connection() != ConnectionState::Connected {
            page.next_event().await;
        }
    };
    gateway.serve("the connection", connected).await;
    assert_eq!(page.client.session(), SessionState::Ended(EndReason::Refused));
}

#[wasm_bindgen_test]
async fn an_error_that_is_no_refusal_keeps_the_key() {
    install();
    store("transient", 3).await;
    let mut page = Page::load("transient").await;
    let mut gateway = Gateway::accept("transient").await;
    let first = relogin(&mut gateway, "transient", 3).await;
    gateway.refuse(&first, "system.internalError");
    let second = relogin(&mut gateway, "transient", 3).await;
    assert_eq!(first.params["attempt"], second.params["attempt"]);
    gateway.set_user(jane());
    gateway.answer_key(&second, 4, LATER);
    gateway.serve("the user", page.until("the user", is_jane)).await;
}

#[wasm_bindgen_test]
async fn the_key_is_refreshed_when_it_is_time() {
    install();
    store("refresh", 1).await;
    let mut page = Page::load("refresh").await;
    let mut gateway = Gateway::accept("refresh").await;
    let request = relogin(&mut gateway, "refresh", 1).await;
    gateway.set_user(jane());
    gateway.answer_key(&request, 2, 1000);
    gateway.serve("the user", page.until("the user", is_jane)).await;
    assert!(page.client.refresh_in().is_some());
    let request = relogin(&mut gateway, "refresh", 2).await;
    gateway.answer_key(&request, 3, LATER);
    let stored_key = async {
        while stored("refresh").await.unwrap()["generation"] != json!(3) {
            page.next_event().await;
        }
    };
    gateway.serve("the successor", stored_key).await;
}

#[wasm_bindgen_test]
async fn a_refresh_waits_for_the_network() {
    a_refresh_waits("offline", |_| {}).await;
}

/// Plays a page that loses the network before it is time to refresh its key, in the same moment in
/// which it gets the frames of `before`.
async fn a_refresh_waits(name: &str, before: impl FnOnce(&mut Gateway)) {
    install();
    store(name, 1).await;
    let mut page = Page::load(name).await;
    let mut gateway = Gateway::accept(name).await;
    let request = relogin(&mut gateway, name, 1).await;
    gateway.set_user(jane());
    gateway.answer_key(&request, 2, 1000);
    // At once: however slow the machine is, the network is gone before it is time. And nothing is
    // answered while it is: to the page an answer is a sign that its gateway needs no network.
    before(&mut gateway);
    happens("offline");
    let overdue = async {
        while page.client.refresh_in() != Some(Duration::ZERO) {
            TimeoutFuture::new(20).await;
        }
        // The session manager's timer was not set later than this one, and has fired by then.
        TimeoutFuture::new(20).await;
    };
    within("the time of the refresh", overdue).await;
    // A refresh would have asked for the lock by now, and hold it until it is answered.
    within("the lock", JsFuture::from(lock_is_free(&entry(name)))).await.unwrap();
    let asked = gateway.waiting();
    assert!(asked.iter().all(|request| request.method != format!("auth.{name}.relogin")), "{asked:?}");
    happens("online");
    for request in asked {
        assert!(gateway.answer_common(&request), "{request:?}");
    }
    let request = relogin(&mut gateway, name, 2).await;
    gateway.answer_key(&request, 3, LATER);
    gateway.serve("the user", page.until("the user", is_jane)).await;
}

#[wasm_bindgen_test]
async fn a_logout_removes_the_key_first_and_no_relogin_follows() {
    let (mut page, mut gateway) = logged_in("logout").await;
    let answered = async {
        let request = gateway.expect("auth.logout.logout").await;
        let left = stored("logout").await.unwrap();
        assert!(left.get("key").is_none(), "no other tab can use the key by now, but to end the session");
        gateway.set_user(nobody());
        gateway.answer(&request, &json!({ "payload": null }));
    };
    futures_util::future::join(page.client.logout(), answered).await;
    let logged_out = |state: &SessionState| *state == SessionState::Ended(EndReason::LoggedOut);
    gateway.serve("the end", page.until("the end", logged_out)).await;
    assert!(stored("logout").await.is_none_or(|left| left.get("key").is_none()));
}

#[wasm_bindgen_test]
async fn a_user_taken_away_makes_the_extra_attempt() {
    let (mut page, mut gateway) = logged_in("taken").await;
    gateway.set_user(nobody());
    let request = relogin(&mut gateway, "taken", 1).await;
    gateway.refuse(&request, "session.invalidReloginKey");
    let ended = |state: &SessionState| *state == SessionState::Ended(EndReason::LoggedOutElsewhere);
    gateway.serve("the end", page.until("the end", ended)).await;
    assert_eq!(stored("taken").await, None);
}

#[wasm_bindgen_test]
async fn a_logout_in_another_tab_is_told_apart() {
    let (mut page, mut gateway) = logged_in("elsewhere").await;
    // What another tab does: the key goes, then the service takes the user away.
    let generation = stored("elsewhere").await.unwrap()["generation"].clone();
    write(&other_tab(), "elsewhere", &format!(r#"{{"unlogged":"={generation}"}}"#));
    gateway.set_user(nobody());
    let elsewhere = |state: &SessionState| *state == SessionState::Ended(EndReason::LoggedOutElsewhere);
    gateway.serve("the end", page.until("the end", elsewhere)).await;
}

#[wasm_bindgen_test]
async fn two_tabs_use_one_key_after_the_other() {
    install();
    store("tabs", 1).await;
    let (mut one, mut two) = (Page::load("tabs").await, Page::load("tabs").await);
    let mut first = Gateway::accept("tabs").await;
    let mut second = Gateway::accept("tabs").await;
    // Whichever tab gets the lock speaks first; the other's relogin must come with the successor.
    let (generation_first, generation_second) =
        futures_util::future::join(resume(&mut first), resume(&mut second)).await;
    let mut generations = [generation_first, generation_second];
    generations.sort_unstable();
    assert_eq!(generations, [1, 2]);
    let both = futures_util::future::join(
        first.serve("the user", one.until("the user", is_jane)),
        second.serve("the user", two.until("the user", is_jane)),
    );
    within("both users", both).await;
    assert_eq!(stored("tabs").await, Some(json!({ "key": key(3), "generation": 3 })));

    async fn resume(gateway: &mut Gateway) -> u64 {
        let request = gateway.expect("auth.tabs.relogin").await;
        let used: u64 = request.params["reloginKey"].as_str().unwrap().trim_start_matches("key-").parse().unwrap();
        gateway.set_user(jane());
        gateway.answer_key(&request, used + 1, LATER);
        used
    }
}

#[wasm_bindgen_test]
async fn a_wrong_password_is_reported_to_the_caller() {
    install();
    let page = Page::load("wrong").await;
    let mut gateway = Gateway::accept("wrong").await;
    let refused = async {
        let request = gateway.expect("auth.wrong.login").await;
        gateway.refuse(&request, "session.wrongUsernamePassword");
    };
    let (outcome, ()) = futures_util::future::join(page.client.login("jane", "guess"), refused).await;
    assert!(
        matches!(outcome, Err(Error::Request(RequestError::Refused(error))) if error.is("session.wrongUsernamePassword"))
    );
    assert_eq!(stored("wrong").await, None);
    drop(page);
    gateway.serve("the end of the connection", future::ready(())).await;
}
