//! Storage whose reads are stale, and tabs that write in between: the client relies only on what a
//! swap has shown.

use relogin_client_proto::{Answer, EndReason, PlatformEvent, SessionState};
use relogin_session::SessionId;
use serde_json::{Value as Json, json};

use crate::{
    login::{anonymous, answer, key, logged_in_with, record},
    support::{Browser, Profile, Sent, Tab, admin, guest, ms, s},
};

const ATTEMPT: &str = "AQEBAQEBAQEBAQEBAQEBAQ";

fn begun(key: &str, generation: u64) -> String {
    json!({"key": key, "generation": generation, "attempt": ATTEMPT}).to_string()
}

fn sid(session: u8) -> Json {
    json!({"sid": SessionId([session; 16]).to_string()})
}

/// A tab that comes to use the key in storage when `shown` is all that it can read, and storage has
/// `truth`.
fn misled(shown: Option<&str>, truth: Option<&str>) -> Tab {
    let profile = Browser::profile();
    profile.borrow_mut().storage = Some(record(&key(1, 1), 1));
    // Waiting for the lock, so that the next read is the one under the lock.
    profile.borrow_mut().request(9, relogin_client_proto::LockId(0), false);
    let mut tab = Tab::start_in(&profile, 0);
    tab.connect();
    profile.borrow_mut().storage = truth.map(str::to_owned);
    profile.borrow_mut().shown = Some(shown.map(str::to_owned));
    profile.borrow_mut().release(9, relogin_client_proto::LockId(0));
    tab.browse();
    assert!(profile.borrow().shown.is_none());
    tab
}

fn take_relogin(tab: &mut Tab) -> Sent {
    tab.take("auth.session.relogin")
}

#[test]
fn a_sibling_that_was_first_to_begin_has_its_use_repeated() {
    let mut tab = misled(Some(&record(&key(1, 1), 1)), Some(&begun(&key(1, 1), 1)));
    let sent = take_relogin(&mut tab);
    assert_eq!((&sent.params["reloginKey"], &sent.params["attempt"]), (&json!(key(1, 1)), &json!(ATTEMPT)));
}

#[test]
fn a_key_that_was_used_up_is_not_used_again() {
    for shown in [record(&key(1, 1), 1), begun(&key(1, 1), 1)] {
        let mut tab = misled(Some(&shown), Some(&record(&key(1, 2), 2)));
        let sent = take_relogin(&mut tab);
        assert_eq!(sent.params["reloginKey"], key(1, 2));
        assert_ne!(sent.params["attempt"], ATTEMPT);
        assert_eq!(tab.stored().unwrap()["attempt"], sent.params["attempt"]);
    }
}

#[test]
fn an_empty_storage_is_looked_at_twice() {
    let mut tab = misled(None, Some(&record(&key(1, 1), 1)));
    assert_eq!(take_relogin(&mut tab).params["reloginKey"], key(1, 1));
}

#[test]
fn a_key_that_a_logout_has_removed_is_not_used() {
    for shown in [record(&key(1, 1), 1), begun(&key(1, 1), 1)] {
        let tab = misled(Some(&shown), None);
        assert!(!tab.methods().contains(&"auth.session.relogin"));
        assert_eq!(tab.state(), SessionState::Ended(EndReason::LoggedOutElsewhere));
        assert!(!tab.profile.borrow().is_held());
    }
}

#[test]
fn a_sibling_that_came_between_the_look_and_the_swap_counts() {
    let profile = Browser::profile();
    profile.borrow_mut().storage = Some(record(&key(1, 1), 1));
    profile.borrow_mut().request(9, relogin_client_proto::LockId(0), false);
    let mut tab = Tab::start_in(&profile, 0);
    tab.connect();
    // The lock is granted, but the very next swap comes too late.
    profile.borrow_mut().intruder = Some(Some(begun(&key(1, 1), 1)));
    profile.borrow_mut().release(9, relogin_client_proto::LockId(0));
    tab.browse();
    let sent = take_relogin(&mut tab);
    assert_eq!(sent.params["attempt"], ATTEMPT);
    // And the next one, too: the sibling has stored the successor, and begun to use it.
    profile.borrow_mut().intruder = Some(Some(begun(&key(1, 2), 2)));
    tab.payload(sent.id, &answer(&key(1, 2), 2));
    assert_eq!(tab.profile.borrow().storage, Some(begun(&key(1, 2), 2)));
    assert_eq!(tab.client.refresh_due().map(|due| due > tab.now), Some(true));
}

#[test]
fn a_successor_is_not_put_where_another_session_or_none_is() {
    for there in [None, Some(record(&key(2, 1), 1))] {
        let profile = Browser::profile();
        profile.borrow_mut().storage = Some(record(&key(1, 1), 1));
        let mut tab = Tab::start_in(&profile, 0);
        tab.connect();
        let id = take_relogin(&mut tab).id;
        profile.borrow_mut().storage.clone_from(&there);
        tab.payload(id, &answer(&key(1, 2), 2));
        if there.is_some() {
            // The former session's key is lost: it goes, and the new one is taken up.
            let sent = tab.find("auth.session.logout");
            assert_eq!(sent.params, sid(1));
            tab.payload(sent.id, &json!(null));
            assert_eq!(tab.find("auth.session.relogin").params["reloginKey"], key(2, 1));
        } else {
            assert_eq!(profile.borrow().storage, None);
            assert_eq!(tab.client.refresh_due(), None);
        }
    }
}

#[test]
fn a_login_takes_the_place_of_whatever_came_between() {
    let mut tab = anonymous();
    let token = tab.login("admin");
    let id = tab.take("auth.session.login").id;
    tab.profile.borrow_mut().storage = Some(record(&key(2, 1), 1));
    tab.profile.borrow_mut().intruder = Some(Some("rubbish".to_owned()));
    tab.payload(id, &answer(&key(1, 1), 1));
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    assert_eq!(tab.stored(), Some(json!({"key": key(1, 1), "generation": 1})));
}

#[test]
fn a_logout_removes_whatever_came_between_and_ends_it() {
    let mut tab = logged_in_with(&key(1, 1));
    tab.profile.borrow_mut().storage = Some(record(&key(1, 2), 2));
    tab.profile.borrow_mut().intruder = Some(Some(record(&key(1, 3), 3)));
    tab.logout();
    assert_eq!(tab.stored(), None);
    let sent = tab.take("auth.session.logout");
    assert_eq!(sent.params, sid(1));
    tab.drop_socket();
    tab.reconnect();
    assert_eq!(take_relogin(&mut tab).params["reloginKey"], key(1, 3));
}

#[test]
fn a_browser_that_stores_nothing_is_not_asked_forever() {
    let mut tab = anonymous();
    let token = tab.login("admin");
    let id = tab.take("auth.session.login").id;
    tab.profile.borrow_mut().is_broken = true;
    tab.payload(id, &answer(&key(1, 1), 1));
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    tab.change_user(Some(&admin()));
    assert_eq!(tab.client.refresh_due(), None);
}

#[test]
fn waking_up_looks_at_what_was_missed() {
    let mut tab = logged_in_with(&key(1, 1));
    // Hints do not reach a page that was put away.
    tab.profile.borrow_mut().storage = Some(record(&key(2, 1), 1));
    tab.input(PlatformEvent::Wake);
    tab.browse();
    assert_eq!(tab.find("auth.session.logout").params, sid(1));

    let mut tab = anonymous();
    tab.profile.borrow_mut().storage = Some(record(&key(2, 1), 1));
    tab.input(PlatformEvent::Online);
    tab.browse();
    let id = tab.find("auth.session.relogin").id;
    tab.payload(id, &answer(&key(2, 2), 2));
    tab.change_user(Some(&guest()));
    assert_eq!(tab.state(), SessionState::LoggedIn(guest()));
}

/// Where there are no locks, a use that a sibling has begun takes the place of one.
fn without_locks(storage: &str) -> (Profile, Tab) {
    let profile = Browser::profile();
    profile.borrow_mut().storage = Some(storage.to_owned());
    profile.borrow_mut().no_locks = true;
    let mut tab = Tab::start_in(&profile, 0);
    tab.connect();
    (profile, tab)
}

#[test]
fn without_locks_a_sibling_that_has_begun_is_given_time() {
    let (profile, mut tab) = without_locks(&begun(&key(1, 1), 1));
    tab.live(ms(2900));
    assert!(!tab.methods().contains(&"auth.session.relogin"));
    profile.borrow_mut().write(9, Some(&record(&key(1, 2), 2)));
    tab.browse();
    tab.live(s(1));
    assert_eq!(tab.find("auth.session.relogin").params["reloginKey"], key(1, 2), "soon after it is done");
}

#[test]
fn without_locks_a_sibling_that_has_begun_and_gone_is_not_waited_for_twice() {
    let (_, mut tab) = without_locks(&begun(&key(1, 1), 1));
    tab.live(ms(4600));
    let sent = tab.find("auth.session.relogin");
    assert_eq!(sent.params["attempt"], ATTEMPT);
    tab.error(sent.id, "system.notFound");
    tab.live(s(1));
    assert_eq!(tab.find("auth.session.relogin").params, sent.params);
}
