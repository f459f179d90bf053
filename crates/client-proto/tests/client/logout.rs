//! Logging out: takes effect on the page at once, is finished at the service, and is never undone
//! by an operation that was under way.

use relogin_client_proto::{Answer, EndReason, PlatformEvent, RequestError, SessionState};
use serde_json::json;

use crate::{
    login::{anonymous, answer, key, logged_in, logged_in_with, record},
    support::{Tab, admin, s},
};

const OUT: SessionState = SessionState::Ended(EndReason::LoggedOut);

#[test]
fn the_key_goes_first_and_nothing_follows() {
    for user_first in [true, false] {
        let mut tab = logged_in();
        let token = tab.logout();
        assert_eq!((tab.stored(), tab.state()), (None, OUT));
        assert_eq!(tab.pending(), ["k1"], "for another page to finish, if this one goes");
        let id = tab.take("auth.session.logout").id;
        if user_first {
            tab.change_user(None);
            tab.payload(id, &json!(null));
        } else {
            tab.payload(id, &json!(null));
            assert_eq!(tab.state(), OUT, "a user model that has not caught up shows nobody");
            tab.change_user(None);
        }
        assert_eq!(tab.settled[&token], Ok(Answer::Done));
        assert_eq!(tab.profile.borrow().storage, None, "it was confirmed");
        tab.pass(s(25));
        assert_eq!((tab.methods(), tab.state()), (vec![], OUT));
        assert_eq!(tab.client.refresh_due(), None);
        assert_eq!(tab.states(), [SessionState::Anonymous, SessionState::LoggedIn(admin()), OUT]);
    }
}

#[test]
fn a_logout_that_fails_in_transit_shows_no_error_and_is_made_again() {
    let mut tab = logged_in();
    let token = tab.logout();
    let id = tab.take("auth.session.logout").id;
    tab.error(id, "system.timeout");
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    assert_eq!(tab.state(), OUT);
    tab.pass(s(1));
    let id = tab.take("auth.session.logout").id;
    tab.payload(id, &json!(null));
    tab.change_user(None);
    tab.pass(s(25));
    assert_eq!((tab.methods(), tab.state()), (vec![], OUT));
}

#[test]
fn a_logout_without_a_connection_takes_effect_at_once_and_ends_the_session_at_the_next_connection() {
    let mut tab = logged_in();
    tab.drop_socket();
    let token = tab.logout();
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    assert_eq!((tab.stored(), tab.state()), (None, OUT));
    tab.reconnect();
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], "k1");
    assert!(sent.params["attempt"].is_string());
    assert_eq!(tab.methods(), [""; 0], "nobody looks at the user model of a session that ends");
    tab.payload(sent.id, &answer("k2", 2));
    let id = tab.take("auth.session.logout").id;
    assert_eq!(tab.stored(), None);
    tab.payload(id, &json!(null));
    tab.answer_user(None);
    assert_eq!((tab.state(), tab.stored()), (OUT, None));
}

#[test]
fn a_logout_whose_connection_is_lost_is_finished_on_the_next() {
    let mut tab = logged_in();
    let token = tab.logout();
    tab.take("auth.session.logout");
    tab.drop_socket();
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    tab.reconnect();
    // It had arrived: there is no session left. But the attempt was in storage, where a thief may
    // have read it.
    for _ in 0..2 {
        assert_eq!(tab.pending(), ["k1"]);
        let id = tab.take("auth.session.relogin").id;
        tab.error(id, "session.invalidReloginKey");
    }
    tab.answer_user(None);
    tab.pass(s(25));
    assert_eq!((tab.methods(), tab.state(), tab.profile.borrow().storage.clone()), (vec![], OUT, None));
}

#[test]
fn a_relogin_under_way_does_not_bring_the_key_back() {
    let mut tab = logged_in();
    tab.pass(s(29));
    tab.drop_socket();
    tab.reconnect();
    let id = tab.take("auth.session.relogin").id;
    let token = tab.logout();
    assert_eq!((tab.stored(), tab.state()), (None, OUT));
    assert_eq!(tab.methods(), [""; 0], "a logout must not overtake the relogin it is to undo");
    tab.payload(id, &answer("k2", 2));
    assert_eq!(tab.stored(), None);
    let id = tab.take("auth.session.logout").id;
    tab.payload(id, &json!(null));
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    tab.answer_user(None);
    assert_eq!((tab.state(), tab.stored()), (OUT, None));
}

#[test]
fn a_relogin_that_was_refused_meanwhile_leaves_nothing_to_log_out_of() {
    let mut tab = logged_in();
    tab.drop_socket();
    tab.reconnect();
    let sent = tab.take("auth.session.relogin");
    let token = tab.logout();
    tab.error(sent.id, "session.invalidReloginKey");
    // A thief who has copied the attempt, too, may have used it and the key that it gave: then ours
    // was merely an old one.
    let last = tab.take("auth.session.relogin");
    assert_eq!(last.params["reloginKey"], sent.params["reloginKey"]);
    assert_ne!(last.params["attempt"], sent.params["attempt"]);
    tab.error(last.id, "session.invalidReloginKey");
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    assert_eq!((tab.methods(), tab.state()), (vec!["subscribe.session.user.{cid}"], OUT));
}

#[test]
fn a_logout_on_a_connection_that_has_lost_the_session_ends_it_by_its_key() {
    let mut tab = logged_in_with(&key(1, 1));
    let token = tab.logout();
    // Somebody who had copied storage in the middle of a use has taken it, and the user model does
    // not say so yet.
    let id = tab.take("auth.session.logout").id;
    tab.error(id, "session.notLoggedIn");
    tab.pass(s(1));
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], key(1, 1));
    tab.payload(sent.id, &answer(&key(1, 2), 2));
    let sent = tab.take("auth.session.logout");
    tab.payload(sent.id, &json!(null));
    tab.change_user(None);
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    tab.pass(s(25));
    assert_eq!((tab.methods(), tab.state(), tab.stored()), (vec![], OUT, None));
}

#[test]
fn an_older_key_that_is_refused_says_nothing_of_the_newer_one_that_a_logout_has_removed() {
    let mut tab = Tab::start(Some(&record(&key(1, 1), 1)));
    tab.connect();
    let late = tab.take("auth.session.relogin");
    // A sibling was faster, and went on.
    tab.profile.borrow_mut().write(9, Some(&record(&key(1, 3), 3)));
    tab.logout();
    tab.error(late.id, "session.invalidReloginKey");
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], key(1, 3));
    tab.payload(sent.id, &answer(&key(1, 4), 4));
    let id = tab.take("auth.session.logout").id;
    tab.payload(id, &json!(null));
    assert_eq!((tab.stored(), tab.state()), (None, OUT));
}

#[test]
fn a_login_under_way_is_undone() {
    let mut tab = anonymous();
    let login = tab.login("admin");
    let id = tab.take("auth.session.login").id;
    let logout = tab.logout();
    tab.change_user(Some(&admin()));
    assert_eq!(tab.state(), OUT);
    tab.payload(id, &answer("k1", 1));
    assert_eq!(tab.settled[&login], Err(RequestError::Superseded));
    assert_eq!(tab.stored(), None);
    let id = tab.take("auth.session.logout").id;
    tab.payload(id, &json!(null));
    tab.change_user(None);
    assert_eq!(tab.settled[&logout], Ok(Answer::Done));
    assert_eq!((tab.state(), tab.methods()), (OUT, vec![]));
}

#[test]
fn logging_in_again_waits_for_the_logout() {
    let mut tab = logged_in_with(&key(1, 1));
    tab.logout();
    let login = tab.login("admin");
    let id = tab.take("auth.session.logout").id;
    assert_eq!(tab.methods(), [""; 0]);
    tab.payload(id, &json!(null));
    let id = tab.take("auth.session.login").id;
    tab.payload(id, &answer(&key(2, 1), 1));
    tab.change_user(None);
    assert_eq!(tab.methods(), [""; 0], "the null is the logout's, not a loss of the new session");
    tab.change_user(Some(&admin()));
    assert_eq!(tab.settled[&login], Ok(Answer::Done));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    assert_eq!(tab.stored(), Some(json!({"key": key(2, 1), "generation": 1})));
}

#[test]
fn logging_in_again_makes_a_failed_logout_try_once_more() {
    let mut tab = logged_in_with(&key(1, 1));
    tab.logout();
    for _ in 0..8 {
        let id = tab.take("auth.session.logout").id;
        tab.error(id, "system.timeout");
        tab.input(PlatformEvent::Wake);
        tab.sent.retain(|sent| sent.method != "version");
    }
    let id = tab.take("auth.session.logout").id;
    tab.error(id, "system.timeout");
    let login = tab.login("admin");
    let id = tab.take("auth.session.logout").id;
    tab.error(id, "system.timeout");
    let Err(RequestError::Refused(error)) = &tab.settled[&login] else { panic!("{:?}", tab.settled) };
    assert_eq!(error.code, "system.timeout");
    let login = tab.login("admin");
    let id = tab.take("auth.session.logout").id;
    tab.payload(id, &json!(null));
    let id = tab.take("auth.session.login").id;
    tab.payload(id, &answer(&key(2, 1), 1));
    assert_eq!(tab.settled[&login], Ok(Answer::Done));
}

#[test]
fn logging_out_succeeds_when_nobody_is_logged_in() {
    let mut tab = anonymous();
    let token = tab.logout();
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    assert_eq!(tab.methods(), [""; 0]);

    let mut tab = Tab::start(None);
    tab.connect();
    tab.find("subscribe.session.user.{cid}");
    let token = tab.logout();
    let id = tab.take("auth.session.logout").id;
    tab.payload(id, &json!(null));
    assert_eq!(tab.settled[&token], Ok(Answer::Done), "somebody may be logged in, for all we know");

    let mut tab = Tab::start(None);
    let token = tab.logout();
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    tab.connect();
    assert_eq!(tab.methods(), ["subscribe.session.user.{cid}"]);
}

#[test]
fn logging_out_twice_settles_both() {
    let mut tab = logged_in();
    let (first, second) = (tab.logout(), tab.logout());
    let id = tab.take("auth.session.logout").id;
    tab.payload(id, &json!(null));
    while let Some(sent) = tab.sent.pop_front() {
        assert_eq!(sent.method, "auth.session.logout");
        tab.payload(sent.id, &json!(null));
    }
    assert_eq!((&tab.settled[&first], &tab.settled[&second]), (&Ok(Answer::Done), &Ok(Answer::Done)));
}
