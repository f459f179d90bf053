//! Bound sessions: a device registered at login, and its proof with every use of the key.

use relogin_client_proto::{Answer, Binding, EndReason, Event, SessionState};
use relogin_session::{ReloginKey, SessionId, api::proof_message};
use serde_json::{Value as Json, json};

use crate::{
    login::{answer, key},
    support::{Browser, Profile, Sent, Tab, admin, ms, s},
};

/// A browser that can keep a key pair, and has one.
fn browser() -> Profile {
    let profile = Browser::profile();
    profile.borrow_mut().can_keep_keys = true;
    profile.borrow_mut().make_device();
    profile
}

fn bound(key: &str, generation: u64) -> Json {
    let mut answer = answer(key, generation);
    answer["bound"] = json!(true);
    answer
}

fn challenge(text: &str) -> Json {
    json!({"challenge": text, "expiresIn": 60_000})
}

/// A tab with the key of a bound session in storage, connected; its challenge is asked for.
fn connected() -> (Tab, Sent) {
    let profile = browser();
    profile.borrow_mut().storage = Some(json!({"key": "k1", "generation": 1, "bound": true}).to_string());
    let mut tab = Tab::start_in(&profile, 0);
    tab.open();
    assert_eq!(tab.methods(), ["version", "auth.session.challenge"], "no round trip of its own");
    let id = tab.take("version").id;
    tab.ok(id, &json!({"protocol": "1.2.3"}));
    tab.browse();
    let asked = tab.take("auth.session.challenge");
    (tab, asked)
}

/// A tab that holds a bound session, with key `k2` of generation 2.
pub(crate) fn resumed() -> Tab {
    let (mut tab, asked) = connected();
    tab.payload(asked.id, &challenge("c1"));
    let id = tab.take("auth.session.relogin").id;
    tab.payload(id, &bound("k2", 2));
    tab.answer_user(Some(&admin()));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    tab
}

fn assert_proven(tab: &Tab, sent: &Sent, challenge: &str) {
    let key = ReloginKey::new(sent.params["reloginKey"].as_str().unwrap().to_owned());
    let device = tab.profile.borrow().device.clone().unwrap();
    let signature = device.sign(&proof_message(challenge, &key));
    assert_eq!(sent.params["proof"], json!({"challenge": challenge, "signature": signature}));
}

#[test]
fn a_login_registers_the_device_and_reports_the_binding() {
    let profile = browser();
    let mut tab = Tab::start_in(&profile, 0);
    tab.connect();
    tab.answer_user(None);
    assert_eq!(tab.client.binding(), None);
    tab.login("admin");
    let sent = tab.take("auth.session.login");
    let device = profile.borrow().device.clone().unwrap().public();
    assert_eq!(sent.params["device"], json!({"publicKey": device}));
    tab.payload(sent.id, &bound(&key(1, 1), 1));
    tab.change_user(Some(&admin()));
    assert_eq!(tab.stored().unwrap()["bound"], true);
    assert_eq!(tab.client.binding(), Some(Binding::Bound));
    tab.logout();
    let told: Vec<_> = tab.events.iter().filter(|event| matches!(event, Event::Binding(_))).collect();
    assert_eq!(told, [&Event::Binding(None), &Event::Binding(Some(Binding::Bound)), &Event::Binding(None)]);
}

#[test]
fn without_a_key_pair_the_session_is_a_bearer_one_and_the_binding_says_so() {
    let mut tab = Tab::start(None);
    tab.connect();
    tab.login("admin");
    let sent = tab.find("auth.session.login");
    assert_eq!(sent.params.get("device"), None);
    tab.payload(sent.id, &answer("k1", 1));
    assert_eq!(tab.client.binding(), Some(Binding::Bearer));
    assert_eq!(tab.stored(), Some(json!({"key": "k1", "generation": 1})));
}

#[test]
fn a_service_that_binds_no_sessions_is_taken_at_its_word() {
    let mut tab = Tab::start_in(&browser(), 0);
    tab.connect();
    tab.login("admin");
    let id = tab.find("auth.session.login").id;
    tab.payload(id, &answer("k1", 1));
    assert_eq!(tab.client.binding(), Some(Binding::Bearer));
    tab.drop_socket();
    tab.await_socket();
    tab.open();
    assert_eq!(tab.methods(), ["version"], "there is nothing to sign");
}

#[test]
fn an_unavailable_key_pair_delays_the_use_and_ends_nothing() {
    let (mut tab, asked) = connected();
    tab.profile.borrow_mut().silent_keys = 100;
    tab.payload(asked.id, &challenge("c1"));
    for _ in 0..10 {
        tab.live(s(5));
        while let Some(sent) = tab.sent.pop_front() {
            assert_ne!(sent.method, "auth.session.relogin", "a key without its proof");
            if sent.method == "auth.session.challenge" {
                tab.payload(sent.id, &challenge("c2"));
            }
        }
        assert_eq!(tab.state(), SessionState::Resuming);
    }
    tab.profile.borrow_mut().silent_keys = 0;
    while !tab.methods().contains(&"auth.session.relogin") {
        tab.live(s(5));
        if let Some(at) = tab.sent.iter().position(|sent| sent.method == "auth.session.challenge") {
            let id = tab.sent.remove(at).unwrap().id;
            tab.payload(id, &challenge("c3"));
        }
    }
    let sent = tab.find("auth.session.relogin");
    assert_proven(&tab, &sent, "c3");
    tab.payload(sent.id, &bound("k2", 2));
    assert_eq!(tab.stored(), Some(json!({"key": "k2", "generation": 2, "bound": true})));
}

#[test]
fn a_pending_logout_that_cannot_be_proven_now_keeps_no_login_waiting() {
    let mut tab = resumed();
    tab.drop_socket();
    tab.logout();
    tab.profile.borrow_mut().silent_keys = 100;
    tab.reconnect();
    let asked = tab.find("auth.session.challenge");
    tab.payload(asked.id, &challenge("c2"));
    assert!(!tab.methods().contains(&"auth.session.relogin"));
    let login = tab.login("admin");
    // Tried once more: it may work now.
    let asked = tab.find("auth.session.challenge");
    tab.payload(asked.id, &challenge("c3"));
    let sent = tab.find("auth.session.login");
    tab.payload(sent.id, &bound(&key(2, 1), 1));
    assert_eq!(tab.settled[&login], Ok(Answer::Done));
    assert_eq!((tab.stored().unwrap()["key"].clone(), tab.pending()), (json!(key(2, 1)), vec!["k2".to_owned()]));
}

#[test]
fn the_proof_goes_with_the_key_as_soon_as_the_challenge_is_there() {
    let (mut tab, asked) = connected();
    assert_eq!(tab.methods(), [""; 0]);
    tab.payload(asked.id, &challenge("c1"));
    let sent = tab.take("auth.session.relogin");
    assert_proven(&tab, &sent, "c1");
    assert_eq!(sent.params["attempt"], tab.stored().unwrap()["attempt"]);
    tab.payload(sent.id, &bound("k2", 2));
    assert_eq!(tab.stored(), Some(json!({"key": "k2", "generation": 2, "bound": true})));
}

#[test]
fn a_challenge_is_kept_for_its_connection_and_replaced_when_it_is_old() {
    let mut tab = resumed();
    tab.live(s(20));
    tab.change_user(None);
    let sent = tab.take("auth.session.relogin");
    assert_proven(&tab, &sent, "c1");
    tab.payload(sent.id, &bound("k3", 3));
    tab.change_user(Some(&admin()));
    // The next use is when the challenge is too old.
    tab.live(s(67));
    let id = tab.take("auth.session.challenge").id;
    assert_eq!(tab.methods(), [""; 0]);
    tab.payload(id, &challenge("c2"));
    let sent = tab.take("auth.session.relogin");
    assert_proven(&tab, &sent, "c2");
    // Another connection's is another challenge.
    tab.drop_socket();
    tab.reconnect();
    let id = tab.take("auth.session.challenge").id;
    tab.payload(id, &challenge("c3"));
    let again = tab.take("auth.session.relogin");
    assert_proven(&tab, &again, "c3");
    assert_eq!(again.params["attempt"], sent.params["attempt"], "the same use of the key");
}

#[test]
fn a_refused_challenge_is_a_transient_failure() {
    for code in ["system.timeout", "system.notFound", "system.methodNotFound"] {
        let (mut tab, asked) = connected();
        let mut asked = asked.id;
        for _ in 0..5 {
            tab.error(asked, code);
            assert_eq!(tab.state(), SessionState::Resuming);
            assert!(!tab.profile.borrow().is_held());
            tab.sent.clear();
            while tab.methods().is_empty() {
                tab.live(ms(100));
            }
            asked = tab.take("auth.session.challenge").id;
        }
        tab.payload(asked, &challenge("c1"));
        let sent = tab.take("auth.session.relogin");
        assert_proven(&tab, &sent, "c1");
    }
}

#[test]
fn an_unanswered_challenge_is_a_transient_failure() {
    let (mut tab, first) = connected();
    tab.live(s(12));
    let second = tab.find("auth.session.challenge");
    tab.payload(first.id, &challenge("late"));
    assert!(!tab.methods().contains(&"auth.session.relogin"), "{:?}", tab.methods());
    tab.payload(second.id, &challenge("c2"));
    let sent = tab.find("auth.session.relogin");
    assert_proven(&tab, &sent, "c2");
}

#[test]
fn a_challenge_that_is_useless_on_arrival_is_not_requested_endlessly() {
    let (mut tab, asked) = connected();
    tab.payload(asked.id, &json!({"challenge": "c", "expiresIn": 0}));
    assert!(!tab.methods().contains(&"auth.session.challenge"), "{:?}", tab.methods());
    tab.payload(asked.id, &json!({"challenge": 7}));
    assert_eq!(tab.state(), SessionState::Resuming);
}

#[test]
fn a_challenge_that_the_service_does_not_take_ends_nothing() {
    let (mut tab, asked) = connected();
    tab.payload(asked.id, &challenge("c1"));
    let sent = tab.take("auth.session.relogin");
    // Its clock was set, or its secret replaced.
    tab.error(sent.id, "session.invalidChallenge");
    assert_eq!(tab.state(), SessionState::Resuming);
    tab.sent.clear();
    tab.live(s(1));
    let id = tab.take("auth.session.challenge").id;
    tab.payload(id, &challenge("c2"));
    let again = tab.take("auth.session.relogin");
    assert_proven(&tab, &again, "c2");
    assert_eq!(again.params["attempt"], sent.params["attempt"]);
}

#[test]
fn a_key_whose_device_is_gone_is_tried_and_given_up() {
    let (mut tab, asked) = connected();
    tab.profile.borrow_mut().device = None;
    tab.payload(asked.id, &challenge("c1"));
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params.get("proof"), None);
    tab.error(sent.id, "session.invalidReloginKey");
    assert_eq!(tab.state(), SessionState::Ended(EndReason::Refused));
    assert_eq!((tab.stored(), tab.client.binding()), (None, None));
    assert!(tab.profile.borrow().device.is_none(), "none is made but by a login");
}

#[test]
fn a_logout_on_a_new_connection_proves_itself_too() {
    let profile = browser();
    let record = json!({"key": key(1, 1), "generation": 1, "bound": true}).to_string();
    profile.borrow_mut().storage = Some(record);
    let mut tab = Tab::start_in(&profile, 0);
    tab.logout();
    assert_eq!(tab.stored(), None);
    tab.connect();
    let id = tab.take("auth.session.challenge").id;
    tab.payload(id, &challenge("c1"));
    let sent = tab.take("auth.session.relogin");
    assert_proven(&tab, &sent, "c1");
    tab.payload(sent.id, &bound(&key(1, 2), 2));
    let sent = tab.take("auth.session.logout");
    assert_eq!(sent.params, json!({"sid": SessionId([1; 16]).to_string()}));
    tab.payload(sent.id, &json!(null));
    assert_eq!((tab.stored(), tab.state()), (None, SessionState::Ended(EndReason::LoggedOut)));
}
