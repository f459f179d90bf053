//! Logouts that the service has not confirmed when their page is closed: the next page finishes
//! them, and what they leave in storage logs nobody in.

use relogin_client_proto::{Answer, EndReason, PlatformEvent, SessionState};
use serde_json::json;

use crate::{
    agreement::{any_browser, any_faults, no_faults},
    login::{answer, key, logged_in_with, record},
    support::{Profile, Tab, World, admin, guest, ms, s},
    worlds::for_seeds,
};

/// A profile in which somebody has logged out of session 1, and the page was closed before the
/// service got it.
fn left_behind() -> Profile {
    let mut tab = logged_in_with(&key(1, 3));
    tab.drop_socket();
    tab.logout();
    tab.profile.clone()
}

#[test]
fn the_next_page_shows_nobody_and_ends_the_session() {
    let mut tab = Tab::start_in(&left_behind(), 1);
    assert_eq!((tab.state(), tab.stored()), (SessionState::Anonymous, None));
    tab.connect();
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], key(1, 3));
    tab.payload(sent.id, &answer(&key(1, 4), 4));
    assert_eq!(tab.pending(), [key(1, 3)], "the newer key is in no storage");
    let sent = tab.take("auth.session.logout");
    tab.payload(sent.id, &json!(null));
    tab.answer_user(None);
    assert_eq!(tab.states(), [SessionState::Anonymous]);
    assert_eq!(tab.profile.borrow().storage, None);
    tab.pass(s(25));
    assert_eq!(tab.methods(), [""; 0]);
}

#[test]
fn all_pages_that_finish_it_repeat_one_use_of_the_key() {
    let profile = left_behind();
    let mut attempts = Vec::new();
    for number in 1..4 {
        let mut tab = Tab::start_in(&profile, number);
        tab.connect();
        attempts.push(tab.take("auth.session.relogin").params["attempt"].as_str().unwrap().to_owned());
    }
    attempts.dedup();
    assert_eq!(attempts.len(), 1, "more of them would look like theft");
}

#[test]
fn a_use_that_is_under_way_when_the_user_logs_out_is_the_one_that_is_repeated() {
    let mut tab = Tab::start(Some(&record(&key(1, 1), 1)));
    tab.connect();
    let begun = tab.take("auth.session.relogin").params["attempt"].clone();
    tab.logout();
    let mut next = Tab::start_in(&tab.profile, 1);
    next.connect();
    assert_eq!(next.take("auth.session.relogin").params["attempt"], begun);
}

#[test]
fn a_login_waits_for_a_pending_logout_and_forgets_none() {
    let mut tab = Tab::start_in(&left_behind(), 1);
    tab.connect();
    let login = tab.login("guest");
    let sent = tab.take("auth.session.relogin");
    // Another tab has logged in meanwhile; we do not know it yet.
    let text = tab.profile.borrow().storage.clone().unwrap();
    let both = format!(r#"{{"key":"{}","generation":1,{}"#, key(2, 1), text.strip_prefix('{').unwrap());
    tab.profile.borrow_mut().storage = Some(both);
    tab.payload(sent.id, &answer(&key(1, 4), 4));
    let sent = tab.take("auth.session.logout");
    tab.payload(sent.id, &json!(null));
    assert_eq!(tab.pending(), [""; 0]);
    assert_eq!(tab.stored().unwrap()["key"], key(2, 1), "the other tab's login stays");
    let sent = tab.find("auth.session.login");
    tab.payload(sent.id, &answer(&key(3, 1), 1));
    assert_eq!(tab.settled[&login], Ok(Answer::Done));
    assert_eq!(tab.stored(), Some(json!({"key": key(3, 1), "generation": 1})));
}

#[test]
fn a_login_in_another_tab_leaves_a_pending_logout_in_place() {
    let profile = left_behind();
    let mut tab = Tab::start(None);
    tab.connect();
    tab.answer_user(None);
    // As a tab that does not know of the logout.
    tab.profile = profile;
    tab.login("guest");
    let sent = tab.take("auth.session.login");
    tab.payload(sent.id, &answer(&key(2, 1), 1));
    assert_eq!((tab.stored().unwrap()["key"].clone(), tab.pending()), (json!(key(2, 1)), vec![key(1, 3)]));
    tab.change_user(Some(&guest()));
    assert_eq!(tab.state(), SessionState::LoggedIn(guest()));
    // Its refresh leaves it there, too, and does not end it on the connection that has the other
    // session.
    let due = tab.client.refresh_due().unwrap();
    tab.live(due - tab.now + ms(1));
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], key(2, 1));
    tab.payload(sent.id, &answer(&key(2, 2), 2));
    assert_eq!((tab.stored().unwrap()["key"].clone(), tab.pending()), (json!(key(2, 2)), vec![key(1, 3)]));
    // The next connection ends the old session first.
    tab.drop_socket();
    tab.reconnect();
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], key(1, 3));
    assert_eq!(tab.state(), SessionState::Reconnecting(guest()));
    tab.payload(sent.id, &answer(&key(1, 4), 4));
    let sent = tab.take("auth.session.logout");
    tab.payload(sent.id, &json!(null));
    assert_eq!(tab.take("auth.session.relogin").params["reloginKey"], key(2, 2));
    assert_eq!(tab.pending(), [""; 0]);
}

#[test]
fn a_logout_that_cannot_be_finished_holds_up_no_other_session() {
    let profile = left_behind();
    let text = profile.borrow().storage.clone().unwrap();
    let both = format!(r#"{{"key":"{}","generation":1,{}"#, key(2, 1), text.strip_prefix('{').unwrap());
    profile.borrow_mut().storage = Some(both);
    let mut tab = Tab::start_in(&profile, 1);
    tab.connect();
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], key(1, 3));
    tab.error(sent.id, "system.internalError");
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], key(2, 1));
    tab.payload(sent.id, &answer(&key(2, 2), 2));
    tab.answer_user(Some(&admin()));
    tab.live(s(20));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    assert_eq!(tab.methods(), [""; 0], "the connection would lose the session by that");
    assert_eq!(tab.pending(), [key(1, 3)]);
}

#[test]
fn a_page_that_is_connected_already_finishes_it_when_the_other_has_had_its_time() {
    let mut tab = Tab::start(None);
    tab.connect();
    tab.answer_user(None);
    let text = left_behind().borrow().storage.clone();
    tab.profile.borrow_mut().write(9, text.as_deref());
    tab.browse();
    tab.live(ms(4900));
    assert_eq!((tab.methods(), tab.state()), (vec![], SessionState::Anonymous));
    tab.live(ms(2700));
    assert_eq!(tab.take("auth.session.relogin").params["reloginKey"], key(1, 3));
    assert_eq!(tab.state(), SessionState::Anonymous);
}

#[test]
fn a_page_that_is_connected_already_does_nothing_if_the_other_has_finished_it() {
    let mut tab = Tab::start(None);
    tab.connect();
    tab.answer_user(None);
    let text = left_behind().borrow().storage.clone();
    for text in [text.as_deref(), None] {
        tab.profile.borrow_mut().write(9, text);
        tab.browse();
        tab.live(s(2));
    }
    tab.live(s(20));
    assert_eq!(tab.methods(), [""; 0]);
}

/// A page is closed at any moment after its user has logged out, whatever is lost on the way: the
/// next page ends the session, and nobody is logged in.
#[test]
fn whenever_the_page_goes_the_session_ends() {
    for_seeds(300, |world: &mut World| {
        let profile = any_browser(world);
        let tabs = usize::try_from(world.rng.range(1, 3)).unwrap();
        for _ in 0..tabs {
            world.open_tab(&profile);
        }
        world.run(s(1));
        world.login(0, "admin");
        world.run(s(3));
        assert_eq!(world.state(0), SessionState::LoggedIn(admin()));
        any_faults(world);
        match world.rng.range(0, 4) {
            0 => world.stop_gateway(),
            1 => world.drop_connection(0),
            2 => world.input(0, PlatformEvent::Wake),
            _ => {}
        }
        world.logout(0);
        let time = if world.rng.chance(50) { 0 } else { world.rng.range(0, 400) };
        world.run(ms(time));
        for number in 0..tabs {
            world.close_tab(number);
        }
        world.start_gateway();
        let next = world.open_tab(&profile);
        for _ in 0..10 {
            world.run(ms(500));
            assert!(!matches!(world.state(next), SessionState::LoggedIn(_)), "{:?}", world.state(next));
        }
        no_faults(world);
        world.run(s(100));
        let state = world.state(next);
        // The latter if the first look at storage showed what it had a moment ago.
        let is_out = matches!(state, SessionState::Anonymous | SessionState::Ended(EndReason::LoggedOutElsewhere));
        assert!(is_out, "{state:?}");
        assert_eq!(profile.borrow().storage, None);
        assert_eq!(world.service.records.len(), 0, "the session has ended");
        world.assert_nothing_stolen();
        assert!(!world.tabs[next].tab.states().contains(&SessionState::Ended(EndReason::Refused)));
    });
}
