//! The session manager's rules, one by one: docs/protocol.md, section 4.

use relogin_client_proto::{Command, EndReason, Input, PlatformEvent, RequestError, Secret, SessionState};
use relogin_session::SessionId;
use serde_json::json;

use crate::{
    login::{anonymous, answer, key, logged_in, logged_in_with},
    support::{Browser, Sent, Tab, admin, guest, ms, rid, s},
};

const KEY: &str = r#"{"key":"k1","generation":1}"#;

/// A tab that has sent the key of [`KEY`].
fn resuming() -> (Tab, Sent) {
    let mut tab = Tab::start(Some(KEY));
    assert_eq!(tab.state(), SessionState::Resuming);
    tab.connect();
    let sent = tab.take("auth.session.relogin");
    (tab, sent)
}

/// A tab of a session that was resumed: the key in storage is `k2` of generation 2.
fn resumed() -> Tab {
    let (mut tab, sent) = resuming();
    tab.payload(sent.id, &answer("k2", 2));
    tab.answer_user(Some(&admin()));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    tab
}

/// Waits until something but a probe is sent.
fn until_sent(tab: &mut Tab) {
    while tab.methods().is_empty() {
        tab.live(ms(100));
    }
}

#[test]
fn the_attempt_is_written_before_the_key_is_sent_and_nothing_else_goes_out_before_the_answer() {
    let mut tab = Tab::start(Some(KEY));
    tab.command(Command::Subscribe(rid("ticker.model")));
    tab.connect();
    assert_eq!(tab.methods(), ["auth.session.relogin"]);
    let sent = tab.take("auth.session.relogin");
    let stored = tab.stored().unwrap();
    assert_eq!(sent.params["reloginKey"], "k1");
    assert_eq!(sent.params["attempt"], stored["attempt"]);
    assert!(tab.profile.borrow().is_held_by(0));
    tab.payload(sent.id, &answer("k2", 2));
    assert_eq!(tab.stored(), Some(json!({"key": "k2", "generation": 2})));
    assert!(!tab.profile.borrow().is_held());
    let mut methods = tab.methods();
    methods.sort_unstable();
    assert_eq!(methods, ["subscribe.session.user.{cid}", "subscribe.ticker.model"]);
    tab.answer_user(Some(&admin()));
    assert_eq!(tab.states(), [SessionState::Resuming, SessionState::LoggedIn(admin())]);
}

#[test]
fn a_key_whose_use_was_begun_is_used_with_the_same_attempt() {
    let attempt = "AQEBAQEBAQEBAQEBAQEBAQ";
    let record = json!({"key": "k1", "generation": 1, "attempt": attempt}).to_string();
    let mut tab = Tab::start(Some(&record));
    tab.connect();
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["attempt"], attempt);
    assert!(tab.profile.borrow().history.is_empty(), "nothing new to write");
}

#[test]
fn each_use_of_a_key_has_an_attempt_of_its_own() {
    let mut tab = resumed();
    let first = tab.profile.borrow().history[0].clone().unwrap();
    tab.live(s(67));
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], "k2");
    assert!(!first.contains(sent.params["attempt"].as_str().unwrap()));
}

#[test]
fn transient_errors_keep_the_key_and_the_attempt_and_let_the_page_go_on() {
    for code in ["system.timeout", "system.notFound", "system.internalError", "system.accessDenied", "session.odd"] {
        let (mut tab, sent) = resuming();
        let attempt = sent.params["attempt"].clone();
        tab.error(sent.id, code);
        assert_eq!(tab.stored().unwrap()["attempt"], attempt);
        assert!(!tab.profile.borrow().is_held());
        tab.answer_user(None);
        assert_eq!(tab.state(), SessionState::Resuming, "{code}");
        for _ in 0..12 {
            until_sent(&mut tab);
            let sent = tab.take("auth.session.relogin");
            assert_eq!(tab.methods(), [""; 0], "one at a time");
            assert_eq!((&sent.params["reloginKey"], &sent.params["attempt"]), (&json!("k1"), &attempt));
            tab.error(sent.id, code);
        }
        until_sent(&mut tab);
        let sent = tab.take("auth.session.relogin");
        tab.payload(sent.id, &answer("k2", 2));
        tab.change_user(Some(&admin()));
        assert_eq!(tab.state(), SessionState::LoggedIn(admin()), "{code}");
    }
}

#[test]
fn a_missing_answer_is_transient_and_a_late_one_is_ignored() {
    let (mut tab, sent) = resuming();
    tab.live(ms(10_500));
    tab.payload(sent.id, &answer("k2", 2));
    assert_eq!(tab.stored().unwrap()["key"], "k1");
    let again = tab.find("auth.session.relogin");
    assert_eq!(again.params, sent.params);
    tab.payload(again.id, &answer("k2", 2));
    assert_eq!(tab.stored().unwrap()["key"], "k2");
}

#[test]
fn a_malformed_answer_is_transient() {
    let (mut tab, sent) = resuming();
    tab.payload(sent.id, &json!({"reloginKey": []}));
    assert_eq!(tab.state(), SessionState::Resuming);
    tab.live(s(1));
    let again = tab.find("auth.session.relogin");
    assert_eq!(again.params, sent.params);
}

#[test]
fn a_refused_key_ends_the_session_once_and_for_all() {
    let (mut tab, sent) = resuming();
    tab.error(sent.id, "session.invalidReloginKey");
    assert_eq!(tab.state(), SessionState::Ended(EndReason::Refused));
    assert_eq!(tab.stored(), None);
    tab.answer_user(None);
    tab.live(s(300));
    assert_eq!(tab.methods(), [""; 0]);
    tab.drop_socket();
    tab.reconnect();
    assert_eq!(tab.methods(), ["subscribe.session.user.{cid}"]);
    assert_eq!(tab.states(), [SessionState::Resuming, SessionState::Ended(EndReason::Refused)]);
}

#[test]
fn after_a_refusal_a_siblings_newer_key_is_tried_first() {
    let (mut tab, sent) = resuming();
    tab.profile.borrow_mut().storage = Some(r#"{"key":"k2","generation":2}"#.into());
    tab.error(sent.id, "session.invalidReloginKey");
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], "k2");
    tab.payload(sent.id, &answer("k3", 3));
    assert_eq!(tab.stored(), Some(json!({"key": "k3", "generation": 3})));
}

#[test]
fn a_successor_is_written_over_a_lower_generation_only() {
    for (now, then) in [
        (r#"{"key":"k2","generation":2}"#, r#"{"key":"k2","generation":2}"#),
        (r#"{"key":"k3","generation":3}"#, r#"{"key":"k3","generation":3}"#),
        (r#"{"key":"k1","generation":1}"#, r#"{"key":"k2","generation":2}"#),
    ] {
        let (mut tab, sent) = resuming();
        tab.profile.borrow_mut().storage = Some(now.into());
        tab.payload(sent.id, &answer("k2", 2));
        assert_eq!(tab.profile.borrow().storage.as_deref(), Some(then));
    }
}

#[test]
fn a_refresh_goes_out_when_it_is_due() {
    let mut tab = logged_in();
    let due = tab.client.refresh_due().unwrap();
    let before = due - tab.now - ms(1);
    tab.live(before);
    assert_eq!(tab.methods(), [""; 0]);
    tab.live(ms(1));
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], "k1");
    tab.payload(sent.id, &answer("k2", 2));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    assert_eq!(tab.stored(), Some(json!({"key": "k2", "generation": 2})));
    assert!(tab.client.refresh_due().unwrap() > tab.now);
}

#[test]
fn a_refresh_that_a_sibling_has_made_is_not_made_again() {
    let mut tab = logged_in();
    let due = tab.client.refresh_due().unwrap();
    // Another tab's storage event is still on its way.
    tab.profile.borrow_mut().storage = Some(r#"{"key":"k2","generation":2}"#.into());
    let wait = due - tab.now;
    tab.live(wait);
    assert_eq!(tab.methods(), [""; 0]);
    assert!(tab.client.refresh_due().unwrap() >= tab.now + s(54));
    assert!(!tab.profile.borrow().is_held());
}

#[test]
fn a_refresh_that_a_sibling_makes_while_we_wait_for_its_lock_is_not_made_again() {
    let mut tab = logged_in();
    let lock = relogin_client_proto::LockId(0);
    let wait = tab.client.refresh_due().unwrap() - tab.now;
    tab.profile.borrow_mut().request(9, lock, false);
    tab.live(wait);
    tab.profile.borrow_mut().write(9, Some(r#"{"key":"k2","generation":2}"#));
    // Here we know of the new key already, before the lock is free.
    tab.browse();
    tab.profile.borrow_mut().release(9, lock);
    tab.browse();
    assert_eq!(tab.methods(), [""; 0]);
    assert!(!tab.profile.borrow().is_held());
    assert!(tab.client.refresh_due().unwrap() >= tab.now + s(54));
}

#[test]
fn a_siblings_new_key_puts_the_refresh_off() {
    let mut tab = logged_in();
    tab.live(s(50));
    tab.profile.borrow_mut().write(7, Some(r#"{"key":"k2","generation":2}"#));
    tab.browse();
    assert!(tab.client.refresh_due().unwrap() >= tab.now + s(54));
}

#[test]
fn a_refresh_that_fails_in_transit_is_made_again_with_the_same_attempt() {
    let mut tab = logged_in();
    tab.live(s(67));
    let sent = tab.take("auth.session.relogin");
    tab.error(sent.id, "system.timeout");
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    tab.live(s(1));
    assert_eq!(tab.take("auth.session.relogin").params, sent.params);
}

#[test]
fn an_answer_that_waited_for_a_frozen_tab_does_not_put_the_next_refresh_off() {
    let (mut tab, sent) = resuming();
    let sent_at = tab.now;
    // The answer came at once, but the tab sees it seconds later, before any timer.
    tab.now += s(9);
    tab.payload(sent.id, &answer("k2", 2));
    assert!(tab.client.refresh_due().unwrap() <= sent_at + s(66));
}

#[test]
fn a_siblings_key_that_waited_for_a_frozen_tab_does_not_put_the_next_refresh_off() {
    let mut tab = logged_in();
    let asleep = tab.now;
    tab.now += s(50);
    // What had waited: first something else, then the event.
    tab.event("x.y.z", &json!(null));
    tab.profile.borrow_mut().write(7, Some(r#"{"key":"k2","generation":2}"#));
    tab.browse();
    assert!(tab.client.refresh_due().unwrap() <= asleep + s(66));
}

#[test]
fn waking_up_makes_an_overdue_refresh() {
    for sign in [|| PlatformEvent::Wake, || PlatformEvent::Online] {
        let mut tab = logged_in();
        // The machine slept: no timer fired.
        tab.now += s(100);
        tab.input(sign());
        tab.browse();
        tab.find("auth.session.relogin");
    }
}

#[test]
fn a_lost_user_is_a_reason_to_relogin_at_once() {
    let mut tab = logged_in();
    tab.change_user(None);
    assert_eq!(tab.state(), SessionState::Resuming, "nobody is shown who may not be logged in");
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], "k1");
    tab.payload(sent.id, &answer("k2", 2));
    tab.change_user(Some(&admin()));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    assert_eq!(tab.methods(), [""; 0]);
}

#[test]
fn a_user_that_is_lost_again_and_again_is_no_reason_to_hurry() {
    let mut tab = logged_in();
    let start = tab.now;
    for generation in 2..12 {
        tab.change_user(None);
        until_sent(&mut tab);
        let id = tab.take("auth.session.relogin").id;
        tab.payload(id, &answer(&format!("k{generation}"), generation));
        tab.change_user(Some(&admin()));
    }
    assert!(tab.now - start > s(5), "ten rounds in {:?}", tab.now - start);
}

#[test]
fn a_session_that_is_gone_when_the_user_model_comes_is_tried_once_more() {
    let (mut tab, sent) = resuming();
    tab.payload(sent.id, &answer("k2", 2));
    tab.answer_user(None);
    let id = tab.take("auth.session.relogin").id;
    tab.error(id, "session.invalidReloginKey");
    assert_eq!(tab.state(), SessionState::Ended(EndReason::LoggedOutElsewhere));
}

#[test]
fn across_a_disconnect_the_user_is_still_shown() {
    let mut tab = logged_in();
    tab.drop_socket();
    assert_eq!(tab.state(), SessionState::Reconnecting(admin()));
    tab.reconnect();
    assert_eq!(tab.state(), SessionState::Reconnecting(admin()));
    let id = tab.take("auth.session.relogin").id;
    // The service is away for a moment.
    tab.error(id, "system.notFound");
    tab.answer_user(None);
    assert_eq!(tab.state(), SessionState::Reconnecting(admin()));
    tab.live(s(1));
    let id = tab.take("auth.session.relogin").id;
    tab.payload(id, &answer("k2", 2));
    tab.change_user(Some(&admin()));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    assert_eq!(tab.states().len(), 4, "{:?}", tab.states());
}

#[test]
fn the_lock_is_waited_for_and_then_stolen() {
    let profile = Browser::profile();
    profile.borrow_mut().storage = Some(KEY.into());
    profile.borrow_mut().request(9, relogin_client_proto::LockId(0), false);
    let mut tab = Tab::start_in(&profile, 0);
    tab.connect();
    tab.pass(ms(2999));
    assert_eq!(tab.methods(), [""; 0]);
    tab.pass(ms(1501));
    assert!(profile.borrow().is_held_by(0));
    let id = tab.take("auth.session.relogin").id;
    tab.payload(id, &answer("k2", 2));
    assert!(!profile.borrow().is_held());
}

#[test]
fn a_lock_is_not_stolen_from_a_tab_that_shows_signs_of_life() {
    let profile = Browser::profile();
    profile.borrow_mut().storage = Some(KEY.into());
    profile.borrow_mut().request(9, relogin_client_proto::LockId(0), false);
    let mut tab = Tab::start_in(&profile, 0);
    tab.connect();
    for generation in 2..7 {
        tab.pass(ms(2500));
        assert!(!profile.borrow().is_held_by(0));
        let record = json!({"key": format!("k{generation}"), "generation": generation}).to_string();
        profile.borrow_mut().write(9, Some(&record));
        tab.browse();
    }
    tab.pass(ms(4501));
    assert_eq!(tab.take("auth.session.relogin").params["reloginKey"], "k6");
}

#[test]
fn a_lock_that_comes_in_time_is_not_stolen() {
    let profile = Browser::profile();
    profile.borrow_mut().storage = Some(KEY.into());
    profile.borrow_mut().request(9, relogin_client_proto::LockId(0), false);
    let mut tab = Tab::start_in(&profile, 0);
    tab.connect();
    tab.pass(s(2));
    profile.borrow_mut().storage = Some(r#"{"key":"k2","generation":2}"#.into());
    profile.borrow_mut().release(9, relogin_client_proto::LockId(0));
    tab.pass(s(2));
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], "k2", "storage is read under the lock");
}

#[test]
fn a_browser_without_locks_uses_the_key_without_one() {
    let profile = Browser::profile();
    profile.borrow_mut().storage = Some(KEY.into());
    profile.borrow_mut().no_locks = true;
    let mut tab = Tab::start_in(&profile, 0);
    tab.connect();
    let id = tab.take("auth.session.relogin").id;
    tab.payload(id, &answer("k2", 2));
    assert_eq!(tab.stored(), Some(json!({"key": "k2", "generation": 2})));
}

#[test]
fn a_connection_that_is_lost_while_waiting_for_the_lock_gives_up_the_lock() {
    let profile = Browser::profile();
    profile.borrow_mut().storage = Some(KEY.into());
    profile.borrow_mut().request(9, relogin_client_proto::LockId(0), false);
    let mut tab = Tab::start_in(&profile, 0);
    tab.connect();
    tab.drop_socket();
    profile.borrow_mut().release(9, relogin_client_proto::LockId(0));
    assert!(!profile.borrow().is_held());
    tab.reconnect();
    tab.take("auth.session.relogin");
}

#[test]
fn a_rotation_by_a_sibling_is_recognised_in_storage() {
    let profile = Browser::profile();
    profile.borrow_mut().storage = Some(KEY.into());
    let mut tab = Tab::start_in(&profile, 0);
    tab.connect();
    let id = tab.take("auth.session.relogin").id;
    tab.payload(id, &answer("k2", 2));
    tab.answer_user(Some(&admin()));
    // The sibling holds the lock: its answer, and its write, come after our event.
    profile.borrow_mut().request(9, relogin_client_proto::LockId(0), false);
    tab.event("session.user.{cid}.rotated", &json!({"generation": 3}));
    tab.pass(s(1));
    assert_eq!(tab.methods(), [""; 0]);
    profile.borrow_mut().storage = Some(r#"{"key":"k3","generation":3}"#.into());
    profile.borrow_mut().release(9, relogin_client_proto::LockId(0));
    tab.browse();
    assert_eq!(tab.methods(), [""; 0]);
    assert!(!profile.borrow().is_held());
}

#[test]
fn a_rotation_by_somebody_else_is_answered_with_the_key_at_hand() {
    let mut tab = resumed();
    tab.event("session.user.{cid}.rotated", &json!({"generation": 3}));
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], "k2");
    tab.change_user(None);
    tab.error(sent.id, "session.invalidReloginKey");
    assert_eq!(tab.state(), SessionState::Ended(EndReason::Stolen));
    assert_eq!(tab.methods(), [""; 0]);
}

#[test]
fn old_and_malformed_rotation_events_are_ignored() {
    let mut tab = resumed();
    for data in [json!({"generation": 2}), json!({"generation": 1}), json!({}), json!(null), json!({"generation": -1})]
    {
        tab.event("session.user.{cid}.rotated", &data);
        assert_eq!(tab.methods(), [""; 0], "{data}");
    }
}

#[test]
fn logged_in_in_another_tab_is_logged_in_here() {
    let mut tab = anonymous();
    tab.profile.borrow_mut().write(9, Some(KEY));
    tab.browse();
    assert_eq!(tab.state(), SessionState::Resuming);
    let id = tab.take("auth.session.relogin").id;
    tab.payload(id, &answer("k2", 2));
    tab.change_user(Some(&admin()));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
}

#[test]
fn logged_in_in_another_tab_while_disconnected_is_logged_in_at_the_next_connection() {
    let mut tab = Tab::start(None);
    tab.profile.borrow_mut().write(9, Some(KEY));
    tab.browse();
    assert_eq!(tab.state(), SessionState::Resuming);
    tab.connect();
    tab.take("auth.session.relogin");
}

#[test]
fn logged_out_in_another_tab_is_logged_out_here_when_the_user_model_says_so() {
    for storage_first in [true, false] {
        let mut tab = resumed();
        if storage_first {
            tab.profile.borrow_mut().write(9, None);
            tab.browse();
            assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
            assert_eq!(tab.client.refresh_due(), None, "there is nothing to refresh with");
            tab.change_user(None);
        } else {
            // The storage event is late, but what is read is what is there.
            tab.profile.borrow_mut().storage = None;
            tab.change_user(None);
            tab.input(PlatformEvent::StorageChanged);
        }
        assert_eq!(tab.state(), SessionState::Ended(EndReason::LoggedOutElsewhere));
        tab.live(s(300));
        assert_eq!(tab.methods(), [""; 0], "no relogin follows");
        assert_eq!(tab.client.refresh_due(), None);
    }
}

#[test]
fn logged_out_in_another_tab_while_disconnected_is_logged_out_at_once() {
    let mut tab = resumed();
    tab.drop_socket();
    tab.profile.borrow_mut().write(9, None);
    tab.browse();
    assert_eq!(tab.state(), SessionState::Ended(EndReason::LoggedOutElsewhere));
    tab.reconnect();
    assert_eq!(tab.methods(), ["subscribe.session.user.{cid}"]);
}

#[test]
fn another_user_in_another_tab_is_another_user_here() {
    let mut tab = logged_in_with(&key(1, 1));
    let other = json!({"key": key(2, 1), "generation": 1}).to_string();
    tab.profile.borrow_mut().write(9, Some(&other));
    tab.browse();
    let sent = tab.take("auth.session.logout");
    assert_eq!(sent.params, json!({"sid": SessionId([1; 16]).to_string()}), "nobody has its key any more");
    tab.change_user(None);
    tab.payload(sent.id, &json!(null));
    assert_eq!(tab.state(), SessionState::Resuming);
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], key(2, 1));
    tab.change_user(Some(&guest()));
    tab.payload(sent.id, &answer(&key(2, 2), 2));
    assert_eq!(tab.state(), SessionState::LoggedIn(guest()));
    assert_eq!(tab.methods(), [""; 0]);
}

#[test]
fn a_malformed_storage_record_has_no_key() {
    for text in ["", "{}", "null", "\"k1\"", r#"{"key":"k1"}"#] {
        let mut tab = Tab::start(Some(text));
        assert_eq!(tab.state(), SessionState::Anonymous, "{text}");
        tab.connect();
        assert_eq!(tab.methods(), ["subscribe.session.user.{cid}"]);
    }
}

#[test]
fn stopping_keeps_the_key_and_starting_again_uses_it() {
    let mut tab = logged_in();
    let token = tab.command(Command::Call { rid: rid("a"), method: "b".into(), params: None });
    tab.input(Input::Stop);
    assert_eq!(tab.settled[&token], Err(RequestError::ConnectionLost));
    assert_eq!((tab.socket, tab.client.poll_timeout()), (None, None));
    tab.input(Input::Start);
    tab.connect();
    assert_eq!(tab.take("auth.session.relogin").params["reloginKey"], "k1");
}

#[test]
fn an_unasked_read_of_storage_is_harmless() {
    let mut tab = logged_in();
    tab.input(PlatformEvent::StorageRead(Some(Secret::new(KEY.into()))));
    tab.input(PlatformEvent::StorageRead(None));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    assert_eq!(tab.methods(), [""; 0]);
}
