//! The faults of the guide's own example (resgate.md, at the end), as far as they concern a client:
//! none of them here.

use relogin_client_proto::{Answer, EndReason, PlatformEvent, SessionState};
use relogin_session::{Attempt, ConnectionId, Denied, Outcome};
use serde_json::{Value as Json, json};

use crate::{
    login::{anonymous, answer, key},
    support::{Browser, Tab, World, admin, ms, s},
    worlds::{assert_logged_in, for_seeds, logged_in},
};

#[test]
fn fault_2_a_refresh_that_falls_due_without_a_network_removes_no_key() {
    for_seeds(30, |world| {
        let profile = logged_in(world, 1);
        // Whether or not the browser says that it is offline.
        if world.rng.chance(50) {
            world.input(0, PlatformEvent::Offline);
        }
        world.tabs[0].cut = true;
        world.run(s(80));
        assert!(profile.borrow().storage.is_some());
        assert_eq!(world.state(0), SessionState::Reconnecting(admin()));
        world.tabs[0].cut = false;
        world.input(0, PlatformEvent::Online);
        world.run(s(15));
        assert_logged_in(world, 1);
    });
}

#[test]
fn fault_3_a_reconnect_and_a_refresh_that_is_due_send_one_key_once() {
    let mut tab = crate::login::logged_in();
    let due = tab.client.refresh_due().unwrap();
    let before = due - tab.now - s(1);
    tab.live(before);
    tab.drop_socket();
    tab.await_socket();
    // Overdue when the connection is back, by the timer, by waking up, and by the network.
    tab.now = due + s(1);
    tab.open();
    tab.input(PlatformEvent::Online);
    tab.input(PlatformEvent::Wake);
    let id = tab.take("version").id;
    tab.ok(id, &json!({"protocol": "1.2.3"}));
    tab.input(PlatformEvent::Wake);
    tab.input(PlatformEvent::Timer);
    tab.browse();
    let id = tab.find("auth.session.relogin").id;
    assert!(!tab.methods().contains(&"auth.session.relogin"), "{:?}", tab.methods());
    tab.payload(id, &answer("k2", 2));
    tab.input(PlatformEvent::Wake);
    assert!(!tab.methods().contains(&"auth.session.relogin"), "{:?}", tab.methods());

    for_seeds(50, |world| {
        logged_in(world, 1);
        // Dropped just when the refresh goes out.
        let due = world.tabs[0].tab.client.refresh_due().unwrap() - world.tabs[0].tab.now;
        let around = ms(world.rng.range(0, 200));
        world.run(due + around - ms(100));
        world.drop_connection(0);
        world.run(s(30));
        assert_logged_in(world, 1);
    });
}

#[test]
fn fault_4_two_tabs_send_one_key_once() {
    let profile = Browser::profile();
    profile.borrow_mut().storage = Some(r#"{"key":"k1","generation":1}"#.into());
    let mut tabs = [Tab::start_in(&profile, 0), Tab::start_in(&profile, 1)];
    for tab in &mut tabs {
        tab.connect();
    }
    let id = tabs[0].take("auth.session.relogin").id;
    assert_eq!(tabs[1].methods(), [""; 0]);
    tabs[0].payload(id, &answer("k2", 2));
    tabs[1].browse();
    assert_eq!(tabs[1].take("auth.session.relogin").params["reloginKey"], "k2");
}

#[test]
fn fault_5_a_tab_that_lost_the_session_shows_nobody_and_makes_its_attempt() {
    let mut world = World::new(5);
    let profile = logged_in(&mut world, 1);
    let storage = profile.borrow().storage.clone().unwrap();
    // A legacy client, with a stolen key: the session moves to its connection.
    let key: Json = serde_json::from_str(&storage).unwrap();
    let thief = ConnectionId::parse("thief").unwrap();
    let now = world.unix();
    let (effects, reply) = world.service.auth(&thief, "relogin", &json!({"reloginKey": key["key"]}), None, now);
    assert!(reply.is_ok());
    world.effects(effects);
    world.run(s(5));
    assert_eq!(world.service.count(Outcome::ReuseDetected), 1);
    assert_eq!(world.state(0), SessionState::Ended(EndReason::Stolen));
    assert_eq!(world.service.user(&thief), None);
}

#[test]
fn fault_8_logging_out_shows_no_error() {
    for_seeds(30, |world| {
        logged_in(world, 2);
        let before = world.service.outcomes.len();
        let token = world.logout(0);
        world.run(s(200));
        assert_eq!(world.tabs[0].tab.settled[&token], Ok(Answer::Done));
        assert_eq!(world.state(0), SessionState::Ended(EndReason::LoggedOut));
        assert_eq!(world.state(1), SessionState::Ended(EndReason::LoggedOutElsewhere));
        assert_eq!(world.service.outcomes[before..], [Outcome::LoggedOut]);
    });
}

#[test]
fn fault_9_one_relogin_sent_twice_gets_one_answer_twice() {
    // The service's rule; that the client repeats the attempt, so that the rule applies, is shown
    // here.
    let mut world = World::new(9);
    let cid = ConnectionId::parse("c").unwrap();
    let (_, reply) = world.service.auth(&cid, "login", &json!({"username": "admin", "password": "admin"}), None, 0);
    let key = reply.unwrap()["reloginKey"].clone();
    let mut tab = Tab::start(Some(&json!({"key": key, "generation": 1}).to_string()));
    let mut answers = Vec::new();
    for connection in ["x", "x", "y"] {
        tab.reconnect();
        let sent = tab.take("auth.session.relogin");
        let connection = ConnectionId::parse(connection).unwrap();
        let (_, reply) = world.service.auth(&connection, "relogin", &sent.params, None, 1);
        answers.push(reply.unwrap()["reloginKey"].clone());
        tab.drop_socket();
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(world.service.count(Outcome::Retried), 2);

    // Somebody else has another attempt.
    let params = json!({"reloginKey": key, "attempt": Attempt([7; 16]).to_string()});
    let (_, reply) = world.service.auth(&cid, "relogin", &params, None, 2);
    assert_eq!(reply, Err(Denied::InvalidReloginKey));
    assert_eq!(world.service.count(Outcome::ReuseDetected), 1);
}

#[test]
fn fault_10_a_reply_that_is_lost_is_no_theft() {
    // Lost at the service, on the way, and by a reload before it could be stored: each many times
    // over.
    for_seeds(50, |world| {
        logged_in(world, 1);
        let mut number = 0;
        for _ in 0..10 {
            world.lose_replies = if world.rng.chance(50) { 100 } else { 0 };
            let time = world.rng.range(0, 400);
            match world.rng.range(0, 3) {
                0 => world.drop_connection(number),
                1 => number = world.reload(number),
                _ => world.input(number, PlatformEvent::Wake),
            }
            world.run(ms(time));
        }
        world.lose_replies = 0;
        world.run(s(60));
        assert_eq!(world.state(number), SessionState::LoggedIn(admin()));
        world.assert_nothing_stolen();
    });
}

#[test]
fn fault_11_a_tab_whose_timers_are_late_stays_logged_in_while_connected() {
    for_seeds(30, |world| {
        logged_in(world, 1);
        for _ in 0..10 {
            // Throttled: timers fire once a minute, if that.
            world.freeze(0);
            let time = world.rng.range(1000, 50_000);
            world.run(ms(time));
            world.thaw(0);
            world.run(s(2));
            assert_eq!(world.state(0), SessionState::LoggedIn(admin()));
        }
        assert_logged_in(world, 1);
    });
}

#[test]
fn fault_11_no_timer_of_a_session_that_was_logged_out_takes_over_a_later_one() {
    let mut tab = crate::login::logged_in_with(&key(1, 1));
    let old = tab.client.refresh_due().unwrap();
    tab.pass(s(20));
    tab.logout();
    assert_eq!(tab.client.refresh_due(), None);
    let id = tab.find("auth.session.logout").id;
    tab.payload(id, &json!(null));
    tab.change_user(None);
    tab.login("admin");
    let id = tab.find("auth.session.login").id;
    tab.payload(id, &answer(&key(2, 1), 1));
    tab.change_user(Some(&admin()));
    assert!(tab.client.refresh_due().unwrap() > old);
    let mut tab2 = anonymous();
    tab2.pass(s(1));
    assert_eq!(tab2.client.refresh_due(), None);
}

#[test]
fn no_loop_follows_the_refusal_of_a_key() {
    let mut world = World::new(0);
    let profile = Browser::profile();
    profile.borrow_mut().storage = Some(json!({"key": "constructor", "generation": 1}).to_string());
    for _ in 0..3 {
        world.open_tab(&profile);
    }
    world.run(s(600));
    assert!(world.service.count(Outcome::Refused) <= 3, "{:?}", world.service.outcomes);
    assert_eq!(profile.borrow().storage, None);
    assert!((0..3).all(|number| matches!(world.state(number), SessionState::Ended(_))));
}
