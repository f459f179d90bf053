//! Sessions of legacy services, whose answers have a relogin key and nothing else:
//! docs/protocol.md, section 4.

use relogin_client_proto::{Answer, EndReason, Event, Freshness, LockId, PlatformEvent, SessionState};
use relogin_session::ConnectionId;
use serde_json::{Value as Json, json};

use crate::{
    login::anonymous,
    support::{Browser, Legacy, Profile, Sent, Tab, World, admin, guest, ms, rid, s},
    worlds::for_seeds,
};

/// The name that this browser gives the session.
const NAME: &str = "AAAAAAAAAAAAAAAAAAAAAA";

fn record(key: &str, generation: u64) -> String {
    json!({"key": key, "generation": generation, "legacy": NAME}).to_string()
}

fn answer(key: &str) -> Json {
    json!({"reloginKey": key})
}

/// A tab that has sent key `k1` of generation 1.
fn resuming(profile: &Profile, number: usize) -> (Tab, Sent) {
    profile.borrow_mut().storage = Some(record("k1", 1));
    let mut tab = Tab::start_in(profile, number);
    tab.connect();
    let sent = tab.take("auth.session.relogin");
    (tab, sent)
}

/// A tab that holds the session, with key `k2` of generation 2.
fn resumed() -> Tab {
    let (mut tab, sent) = resuming(&Browser::profile(), 0);
    tab.payload(sent.id, &answer("k2"));
    tab.answer_user(Some(&admin()));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    assert_eq!(tab.stored(), Some(json!({"key": "k2", "generation": 2, "legacy": NAME})));
    tab
}

#[test]
fn a_login_answered_with_nothing_but_a_key_succeeds() {
    let mut tab = anonymous();
    let token = tab.login("admin");
    let id = tab.take("auth.session.login").id;
    tab.change_user(Some(&admin()));
    tab.payload(id, &answer("any text, ==/ü"));
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    let stored = tab.stored().unwrap();
    assert_eq!((&stored["key"], &stored["generation"]), (&json!("any text, ==/ü"), &json!(1)));
    assert_eq!(stored["legacy"].as_str().map(str::len), Some(22), "{stored}");
    let due = tab.client.refresh_due().unwrap() - tab.now;
    assert!(s(54) <= due && due <= s(66), "{due:?}");
}

#[test]
fn a_relogin_has_the_key_and_nothing_else() {
    let (tab, sent) = resuming(&Browser::profile(), 0);
    assert_eq!(sent.params, json!({"reloginKey": "k1"}));
    // For its siblings to see.
    assert_eq!(tab.stored().unwrap()["attempt"].as_str().map(str::len), Some(22));
}

#[test]
fn generations_are_counted_and_the_session_keeps_its_name() {
    let mut tab = resumed();
    for generation in 3..6 {
        let due = tab.client.refresh_due().unwrap() - tab.now;
        tab.live(due);
        let sent = tab.take("auth.session.relogin");
        assert_eq!(sent.params, json!({"reloginKey": format!("k{}", generation - 1)}));
        tab.payload(sent.id, &answer(&format!("k{generation}")));
        let expected = json!({"key": format!("k{generation}"), "generation": generation, "legacy": NAME});
        assert_eq!(tab.stored(), Some(expected));
        assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    }
}

#[test]
fn a_refresh_time_that_a_legacy_service_gives_is_used() {
    let (mut tab, sent) = resuming(&Browser::profile(), 0);
    tab.payload(sent.id, &json!({"reloginKey": "k2", "refreshIn": 10_000, "expiresIn": "soon"}));
    let due = tab.client.refresh_due().unwrap() - tab.now;
    assert!(s(9) <= due && due <= s(11), "{due:?}");
}

#[test]
fn a_service_that_is_no_legacy_one_any_more_is_taken_at_its_word() {
    let (mut tab, sent) = resuming(&Browser::profile(), 0);
    tab.payload(sent.id, &crate::login::answer("k7", 7));
    tab.answer_user(Some(&admin()));
    assert_eq!(tab.stored(), Some(json!({"key": "k7", "generation": 7})));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
}

#[test]
fn a_bound_session_is_never_a_legacy_one() {
    let mut tab = anonymous();
    let token = tab.login("admin");
    let id = tab.take("auth.session.login").id;
    tab.payload(id, &json!({"reloginKey": "k", "bound": true}));
    assert!(tab.settled[&token].is_err());
    assert_eq!(tab.stored(), None);
}

#[test]
fn a_logout_names_no_session() {
    let mut tab = resumed();
    let token = tab.logout();
    let sent = tab.take("auth.session.logout");
    assert_eq!(sent.params, Json::Null);
    tab.payload(sent.id, &Json::Null);
    tab.change_user(None);
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    assert_eq!(tab.state(), SessionState::Ended(EndReason::LoggedOut));
    assert_eq!(tab.stored(), None);
}

#[test]
fn a_refused_key_ends_the_session() {
    let (mut tab, sent) = resuming(&Browser::profile(), 0);
    tab.error(sent.id, "session.invalidReloginKey");
    assert_eq!(tab.state(), SessionState::Ended(EndReason::Refused));
    assert_eq!(tab.stored(), None);
}

#[test]
fn a_user_who_is_lost_with_no_sibling_ahead_is_a_reason_to_use_the_key_at_once() {
    let mut tab = resumed();
    tab.input(PlatformEvent::Attention(false));
    tab.change_user(None);
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params, json!({"reloginKey": "k2"}));
    tab.error(sent.id, "session.invalidReloginKey");
    assert_eq!(tab.state(), SessionState::Ended(EndReason::LoggedOutElsewhere));
}

#[test]
fn a_siblings_use_is_given_the_time_that_it_may_take() {
    let profile = Browser::profile();
    profile.borrow_mut().storage = Some(record("k1", 1));
    profile.borrow_mut().request(9, LockId(0), false);
    let mut tab = Tab::start_in(&profile, 0);
    tab.connect();
    tab.live(ms(15_900));
    assert_eq!(tab.methods(), [""; 0], "the lock was not stolen while its holder may wait for an answer");
    tab.live(ms(1_700));
    tab.take("auth.session.relogin");
}

#[test]
fn without_locks_a_use_that_a_sibling_has_begun_is_given_that_time_too() {
    let profile = Browser::profile();
    profile.borrow_mut().no_locks = true;
    profile.borrow_mut().storage =
        Some(json!({"key": "k1", "generation": 1, "legacy": NAME, "attempt": "AQEBAQEBAQEBAQEBAQEBAQ"}).to_string());
    let mut tab = Tab::start_in(&profile, 0);
    tab.connect();
    tab.answer_user(None);
    tab.live(ms(15_900));
    assert_eq!(tab.methods(), [""; 0]);
    // The sibling is done.
    profile.borrow_mut().write(9, Some(&record("k2", 2)));
    tab.browse();
    tab.live(s(1));
    assert_eq!(tab.take("auth.session.relogin").params, json!({"reloginKey": "k2"}));
}

#[test]
fn a_hidden_page_leaves_the_session_to_a_sibling_until_it_is_visible() {
    for user_first in [true, false] {
        let mut tab = resumed();
        let profile = tab.profile.clone();
        tab.input(PlatformEvent::Attention(false));
        if user_first {
            // A sibling uses the key, and holds the lock.
            profile.borrow_mut().request(9, LockId(0), false);
            tab.change_user(None);
            profile.borrow_mut().write(9, Some(&record("k3", 3)));
            profile.borrow_mut().release(9, LockId(0));
            tab.browse();
        } else {
            profile.borrow_mut().write(9, Some(&record("k3", 3)));
            tab.browse();
            assert_eq!(tab.state(), SessionState::LoggedIn(admin()), "the service has not said otherwise");
            tab.change_user(None);
        }
        assert_eq!(tab.methods(), [""; 0]);
        assert_eq!(tab.state(), SessionState::Reconnecting(admin()));
        assert!(!profile.borrow().is_held());
        // The sibling goes on.
        for generation in 4..8 {
            tab.live(s(60));
            profile.borrow_mut().write(9, Some(&record(&format!("k{generation}"), generation)));
            tab.browse();
            assert_eq!(tab.methods(), [""; 0]);
        }
        tab.input(PlatformEvent::Attention(true));
        tab.browse();
        let sent = tab.take("auth.session.relogin");
        assert_eq!(sent.params, json!({"reloginKey": "k7"}));
        tab.payload(sent.id, &answer("k8"));
        tab.change_user(Some(&admin()));
        assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
        assert_eq!(tab.stored().unwrap()["generation"], 8);
    }
}

#[test]
fn a_page_that_stands_by_uses_the_key_when_the_sibling_does_not() {
    let mut tab = resumed();
    let profile = tab.profile.clone();
    tab.input(PlatformEvent::Attention(false));
    profile.borrow_mut().write(9, Some(&record("k3", 3)));
    tab.browse();
    tab.change_user(None);
    tab.live(s(67));
    assert_eq!(tab.methods(), [""; 0], "not as soon as the sibling would");
    tab.live(s(33));
    assert_eq!(tab.take("auth.session.relogin").params, json!({"reloginKey": "k3"}));
}

#[test]
fn a_visible_page_takes_the_session_back() {
    let mut tab = resumed();
    tab.profile.borrow_mut().write(9, Some(&record("k3", 3)));
    tab.browse();
    // The user model shows nothing of it: some such services clear the token alone.
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params, json!({"reloginKey": "k3"}));
    tab.payload(sent.id, &answer("k4"));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
}

#[test]
fn a_sibling_that_logged_out_ends_it_for_a_page_that_stands_by() {
    let mut tab = resumed();
    tab.input(PlatformEvent::Attention(false));
    tab.profile.borrow_mut().write(9, Some(&record("k3", 3)));
    tab.browse();
    tab.change_user(None);
    tab.profile.borrow_mut().write(9, None);
    tab.browse();
    assert_eq!(tab.state(), SessionState::Ended(EndReason::LoggedOutElsewhere));
}

/// A world with a legacy service, whose user is logged in in the first of `count` tabs of a
/// browser, which the user looks at.
fn world_of(world: &mut World, count: usize) -> Profile {
    let mut legacy = Legacy::new(world.rng.next());
    legacy.clears_old_user = world.rng.chance(50);
    world.service.legacy = Some(legacy);
    let profile = Browser::profile();
    let first = world.open_tab(&profile);
    world.run(s(1));
    let token = world.login(first, "admin");
    world.run(s(1));
    assert_eq!(world.tabs[first].tab.settled[&token], Ok(Answer::Done));
    for _ in 1..count {
        let tab = world.open_tab(&profile);
        world.input(tab, PlatformEvent::Attention(false));
    }
    world.run(s(3));
    assert_logged_in(world, 0..count, 0);
    profile
}

/// The tab that the user looks at is logged in and has its data, and no other is logged out.
fn assert_logged_in(world: &World, tabs: std::ops::Range<usize>, looked_at: usize) {
    let legacy = world.service.legacy.as_ref().unwrap();
    assert_eq!((legacy.used_twice, legacy.count()), (0, 1));
    assert_eq!(world.state(looked_at), SessionState::LoggedIn(admin()));
    let ticker = world.tabs[looked_at].tab.client.freshness(&rid("ticker.model"));
    assert_eq!(ticker, Some(&Freshness::Live), "tab {looked_at}");
    for tab in tabs {
        let state = world.state(tab);
        assert!(!matches!(state, SessionState::Anonymous | SessionState::Ended(_)), "tab {tab} is {state:?}");
    }
}

#[test]
fn tabs_take_turns() {
    for_seeds(50, |world| {
        world_of(world, 3);
        let mut looked_at = 0;
        for _ in 0..4 {
            world.input(looked_at, PlatformEvent::Attention(false));
            looked_at = usize::try_from(world.rng.range(0, 3)).unwrap();
            world.input(looked_at, PlatformEvent::Attention(true));
            world.run(s(3));
            assert_logged_in(world, 0..3, looked_at);
            let time = world.rng.range(10_000, 200_000);
            world.run(ms(time));
            assert_logged_in(world, 0..3, looked_at);
        }
    });
}

#[test]
fn the_only_tab_is_logged_in_whether_visible_or_hidden() {
    for_seeds(20, |world| {
        world_of(world, 1);
        world.input(0, PlatformEvent::Attention(false));
        for _ in 0..5 {
            world.stop_gateway();
            world.run(s(2));
            world.start_gateway();
            world.run(s(40));
            assert_logged_in(world, 0..1, 0);
        }
    });
}

#[test]
fn tabs_survive_restarts_of_the_gateway_and_reloads() {
    for_seeds(50, |world| {
        world_of(world, 2);
        for _ in 0..3 {
            let away = world.rng.range(0, 5000);
            // Between uses of the key, for an answer that is lost is a lost session.
            world.run(s(5));
            world.stop_gateway();
            world.run(ms(away));
            world.start_gateway();
            world.run(s(45));
            let first = world.tabs[0].tab.states();
            assert!(!first.iter().any(|state| matches!(state, SessionState::Ended(_))), "{first:?}");
            assert_logged_in(world, 0..2, 0);
        }
        for round in 0..10 {
            let tab = world.reload(if round == 0 { 0 } else { round + 1 });
            world.run(s(3));
            assert_logged_in(world, 1..2, tab);
            assert_logged_in(world, tab..tab + 1, tab);
        }
    });
}

#[test]
fn a_stolen_key_ends_the_session_for_owner_and_thief() {
    for_seeds(50, |world| {
        let profile = world_of(world, 1);
        let key = world.tabs[0].tab.stored().unwrap()["key"].clone();
        let thief = ConnectionId::parse("thief").unwrap();
        let (effects, reply) =
            world.service.legacy.as_mut().unwrap().auth(&thief, "relogin", &json!({"reloginKey": key}), None);
        assert!(reply.is_ok());
        world.effects(effects);
        world.run(s(70));
        assert!(matches!(world.state(0), SessionState::Ended(_)), "{:?}", world.state(0));
        assert_eq!(world.service.legacy.as_ref().unwrap().count(), 0);
        assert_eq!(world.service.user(&thief), None);
        assert_eq!(profile.borrow().storage, None);
        let token = world.login(0, "guest");
        world.run(s(5));
        assert_eq!(world.tabs[0].tab.settled[&token], Ok(Answer::Done));
        assert_eq!(world.state(0), SessionState::LoggedIn(guest()));
    });
}

#[test]
fn a_logout_ends_it_everywhere_and_the_next_login_is_another_session() {
    for_seeds(50, |world| {
        world_of(world, 2);
        let token = world.logout(0);
        world.run(s(5));
        assert_eq!(world.tabs[0].tab.settled[&token], Ok(Answer::Done));
        assert_eq!(world.service.legacy.as_ref().unwrap().count(), 0);
        assert_eq!(world.state(0), SessionState::Ended(EndReason::LoggedOut));
        assert_eq!(world.state(1), SessionState::Ended(EndReason::LoggedOutElsewhere));
        world.login(0, "admin");
        world.run(s(6));
        assert_logged_in(world, 0..2, 0);
        let events = &world.tabs[1].tab.events;
        assert!(events.iter().any(|event| matches!(event, Event::Session(SessionState::LoggedIn(_)))));
    });
}
