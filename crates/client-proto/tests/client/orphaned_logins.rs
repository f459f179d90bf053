//! Orphaned logins: those whose answer was lost, sessions whose key is gone, and requests that
//! arrive late.

use relogin_client_proto::{Answer, EndReason, Event, RequestError, SessionState};
use relogin_session::SessionId;
use serde_json::{Value as Json, json};

use crate::{
    agreement::assert_agreed,
    login::{anonymous, answer, key, logged_in_with, record},
    support::{Browser, Tab, admin, guest, ms, s},
    worlds::for_seeds,
};

fn sid(session: u8) -> Json {
    json!({"sid": SessionId([session; 16]).to_string()})
}

/// A tab whose login was not answered, not even when it was repeated; the user model shows that it
/// was carried out.
fn unanswered_login() -> Tab {
    let mut tab = anonymous();
    let token = tab.login("admin");
    let first = tab.take("auth.session.login");
    tab.change_user(Some(&admin()));
    tab.error(first.id, "system.timeout");
    let second = tab.take("auth.session.login");
    assert_eq!(second.params, first.params);
    tab.error(second.id, "system.timeout");
    assert!(matches!(tab.settled[&token], Err(RequestError::Refused(_))));
    tab
}

#[test]
fn a_login_whose_reply_was_lost_gets_its_key_by_repetition() {
    for lost in ["system.timeout", "system.internalError", ""] {
        let mut tab = anonymous();
        let token = tab.login("admin");
        let first = tab.take("auth.session.login");
        tab.change_user(Some(&admin()));
        if lost.is_empty() {
            tab.live(s(21));
        } else {
            tab.error(first.id, lost);
        }
        let second = tab.take("auth.session.login");
        assert_eq!(second.params, first.params, "the attempt says that it is the same login");
        tab.payload(second.id, &answer("k1", 1));
        assert_eq!(tab.settled[&token], Ok(Answer::Done));
        assert_eq!(tab.stored(), Some(json!({"key": "k1", "generation": 1})));
        assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    }
}

#[test]
fn an_unanswered_login_is_undone_and_not_shown() {
    let mut tab = unanswered_login();
    assert_eq!(tab.state(), SessionState::Anonymous, "there is no key to keep the user logged in with");
    tab.live(ms(4900));
    assert_eq!(tab.methods(), [""; 0]);
    tab.live(ms(200));
    let sent = tab.take("auth.session.logout");
    assert_eq!(sent.params, json!(null), "nobody knows what it is called");
    tab.payload(sent.id, &json!(null));
    tab.change_user(None);
    tab.live(s(60));
    assert_eq!((tab.methods(), tab.state()), (vec![], SessionState::Anonymous));
}

#[test]
fn a_login_after_one_that_nobody_answered_undoes_that_and_has_a_connection_of_its_own() {
    let mut tab = unanswered_login();
    let token = tab.login("admin");
    let id = tab.take("auth.session.logout").id;
    tab.payload(id, &json!(null));
    // A copy of that logout must not end what comes now.
    assert_eq!(tab.methods(), [""; 0]);
    tab.reconnect();
    let id = tab.find("auth.session.login").id;
    tab.payload(id, &answer("k1", 1));
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
}

#[test]
fn a_user_still_shown_after_a_logout_is_left_behind_with_the_connection() {
    let mut tab = unanswered_login();
    tab.live(ms(5100));
    let id = tab.take("auth.session.logout").id;
    tab.payload(id, &json!(null));
    let sockets = tab.sockets;
    tab.live(ms(5600));
    assert!(tab.sockets > sockets || tab.socket.is_none(), "the user model still shows somebody");
}

#[test]
fn a_connection_on_which_somebody_is_logged_in_unknown_to_us_is_replaced() {
    let mut tab = anonymous();
    let token = tab.login("admin");
    let id = tab.take("auth.session.login").id;
    tab.error(id, "session.alreadyLoggedIn");
    tab.reconnect();
    let id = tab.find("auth.session.login").id;
    tab.payload(id, &answer("k1", 1));
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
}

#[test]
fn a_second_copy_of_a_login_is_undone() {
    let mut tab = logged_in_with(&key(1, 1));
    tab.logout();
    let id = tab.take("auth.session.logout").id;
    tab.change_user(None);
    tab.payload(id, &json!(null));
    // The login arrives once more, and nobody waits for its answer.
    tab.change_user(Some(&admin()));
    assert_eq!(tab.state(), SessionState::Ended(EndReason::LoggedOut));
    tab.live(ms(5100));
    tab.take("auth.session.logout");
}

#[test]
fn somebody_who_is_logged_in_by_other_means_is_left_alone() {
    let mut tab = anonymous();
    tab.change_user(Some(&guest()));
    assert_eq!(tab.state(), SessionState::LoggedIn(guest()));
    tab.live(s(60));
    assert_eq!(tab.methods(), [""; 0]);
    let token = tab.logout();
    let sent = tab.take("auth.session.logout");
    assert_eq!(sent.params, json!(null));
    tab.change_user(None);
    tab.payload(sent.id, &json!(null));
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
}

#[test]
fn a_session_whose_key_is_gone_and_whose_logout_was_lost_is_ended() {
    let mut tab = logged_in_with(&key(1, 1));
    tab.profile.borrow_mut().write(9, None);
    tab.browse();
    tab.live(ms(4900));
    assert_eq!((tab.methods(), tab.state()), (vec![], SessionState::LoggedIn(admin())));
    tab.live(ms(200));
    let sent = tab.take("auth.session.logout");
    assert_eq!(sent.params, sid(1));
    assert_eq!(tab.state(), SessionState::Ended(EndReason::LoggedOutElsewhere));
    tab.payload(sent.id, &json!(null));
    tab.change_user(None);
    assert_eq!(tab.state(), SessionState::Ended(EndReason::LoggedOutElsewhere));
}

#[test]
fn a_logout_ends_the_session_of_the_connection_and_the_one_in_storage() {
    let mut tab = logged_in_with(&key(1, 1));
    // A sibling has logged in as somebody else; we do not know it yet.
    tab.profile.borrow_mut().storage = Some(record(&key(2, 1), 1));
    let token = tab.logout();
    assert_eq!(tab.stored(), None);
    let sent = tab.take("auth.session.logout");
    assert_eq!(sent.params, sid(1));
    tab.change_user(None);
    tab.payload(sent.id, &json!(null));
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], key(2, 1));
    tab.change_user(Some(&guest()));
    assert_eq!(tab.state(), SessionState::Ended(EndReason::LoggedOut), "nobody sees who that was");
    tab.payload(sent.id, &answer(&key(2, 2), 2));
    let sent = tab.take("auth.session.logout");
    assert_eq!(sent.params, sid(2));
    tab.change_user(None);
    tab.payload(sent.id, &json!(null));
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    assert_eq!((tab.stored(), tab.state()), (None, SessionState::Ended(EndReason::LoggedOut)));
}

#[test]
fn a_second_logout_does_not_forget_the_first() {
    let mut tab = logged_in_with(&key(1, 1));
    tab.drop_socket();
    tab.logout();
    // Before there is a connection again, a sibling logs in, and here the user logs out of that,
    // too.
    tab.profile.borrow_mut().write(9, Some(&record(&key(2, 1), 1)));
    tab.browse();
    assert_eq!(tab.state(), SessionState::Resuming);
    tab.logout();
    tab.reconnect();
    for session in [1, 2] {
        let sent = tab.take("auth.session.relogin");
        assert_eq!(sent.params["reloginKey"], key(session, 1));
        tab.payload(sent.id, &answer(&key(session, 2), 2));
        let sent = tab.take("auth.session.logout");
        assert_eq!(sent.params, sid(session));
        tab.payload(sent.id, &json!(null));
    }
    assert_eq!((tab.stored(), tab.state()), (None, SessionState::Ended(EndReason::LoggedOut)));
}

#[test]
fn a_late_logout_names_the_session_it_means() {
    let mut tab = logged_in_with(&key(1, 1));
    tab.logout();
    assert_eq!(tab.take("auth.session.logout").params, sid(1));
}

#[test]
fn a_use_that_was_not_answered_keeps_the_connection_from_another_session() {
    let mut tab = Tab::start(Some(&record(&key(1, 1), 1)));
    tab.connect();
    let sent = tab.take("auth.session.relogin");
    tab.error(sent.id, "system.timeout");
    tab.profile.borrow_mut().write(9, Some(&record(&key(2, 1), 1)));
    tab.browse();
    tab.sent.clear();
    tab.await_socket();
    tab.connect();
    // When it arrives at last, it is for a connection that is no more.
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], key(2, 1));
}

#[test]
fn a_forced_logout_shows_nobody_while_the_key_is_tried() {
    let mut tab = logged_in_with(&key(1, 1));
    // While the key is in use for another reason.
    tab.event("session.user.{cid}.rotated", &json!({"generation": 2}));
    let sent = tab.take("auth.session.relogin");
    tab.change_user(None);
    assert_eq!(tab.state(), SessionState::Resuming);
    tab.error(sent.id, "session.invalidReloginKey");
    assert_eq!(tab.state(), SessionState::Ended(EndReason::Stolen));
    let reconnecting = |event: &&Event| matches!(event, Event::Session(SessionState::Reconnecting(_)));
    assert_eq!(tab.events.iter().find(reconnecting), None);
}

#[test]
fn a_session_that_the_user_model_never_shows_is_taken_up_again() {
    let mut tab = Tab::start(Some(&record(&key(1, 1), 1)));
    tab.connect();
    let id = tab.take("auth.session.relogin").id;
    // Before its answer comes, the session has left this connection again.
    tab.payload(id, &answer(&key(1, 2), 2));
    tab.answer_user(None);
    tab.sent.clear();
    let mut tab = anonymous();
    tab.login("admin");
    let id = tab.take("auth.session.login").id;
    tab.payload(id, &answer(&key(1, 1), 1));
    tab.live(ms(4900));
    assert_eq!(tab.methods(), [""; 0], "it may be on its way");
    tab.live(ms(200));
    assert_eq!(tab.take("auth.session.relogin").params["reloginKey"], key(1, 1));
}

#[test]
fn of_two_logins_at_once_in_two_tabs_all_tabs_keep_one() {
    for_seeds(100, |world| {
        let profile = Browser::seeded(world.rng.next());
        profile.borrow_mut().no_locks = world.rng.chance(50);
        profile.borrow_mut().stale_reads = 50;
        for _ in 0..3 {
            world.open_tab(&profile);
        }
        world.run(s(1));
        let tokens = [world.login(0, "admin"), world.login(1, "guest")];
        world.run(s(40));
        let settled: Vec<_> = (0..2).map(|number| &world.tabs[number].tab.settled[&tokens[number]]).collect();
        assert!(settled.contains(&&Ok(Answer::Done)), "{settled:?}");
        assert!(profile.borrow().storage.is_some());
        assert_agreed(world, &profile, 0..3);
        assert_eq!(world.service.records.len(), 1, "no session is left over");
    });
}
