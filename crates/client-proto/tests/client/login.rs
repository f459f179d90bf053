//! Login, in each order in which a gateway may deliver what belongs to it.

use relogin_client_proto::{Answer, Command, EndReason, Event, RequestError, SessionState};
use relogin_session::{Keyring, SessionId};
use serde_json::{Value as Json, json};

use crate::support::{Tab, admin, ms, rid, s};

/// An answer to login or relogin.
pub(crate) fn answer(key: &str, generation: u64) -> Json {
    json!({"reloginKey": key, "generation": generation, "expiresIn": 120_000, "refreshIn": 60_000})
}

/// What storage has of a key that is not being used.
pub(crate) fn record(key: &str, generation: u64) -> String {
    json!({"key": key, "generation": generation}).to_string()
}

/// A key in the form that shows which session it is of.
pub(crate) fn key(session: u8, generation: u64) -> String {
    let keyring = Keyring::new(vec![vec![1; 32]]).unwrap();
    keyring.mint(SessionId([session; 16]), &[0; 16], generation).expose().to_owned()
}

/// A tab with nobody logged in, and all that it asked for answered.
pub(crate) fn anonymous() -> Tab {
    let mut tab = Tab::start(None);
    tab.connect();
    tab.answer_user(None);
    assert_eq!(tab.methods(), [""; 0]);
    tab
}

/// A tab in which the administrator has logged in, with key `k1` of generation 1, which does not
/// show its session.
pub(crate) fn logged_in() -> Tab {
    logged_in_with("k1")
}

/// A tab in which the administrator has logged in, with this key of generation 1.
pub(crate) fn logged_in_with(key: &str) -> Tab {
    let mut tab = anonymous();
    tab.login("admin");
    let id = tab.take("auth.session.login").id;
    tab.change_user(Some(&admin()));
    tab.payload(id, &answer(key, 1));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    tab
}

#[test]
fn without_a_key_nobody_is_logged_in_and_nothing_is_tried() {
    let mut tab = Tab::start(None);
    assert_eq!(tab.state(), SessionState::Anonymous);
    tab.connect();
    assert_eq!(tab.methods(), ["subscribe.session.user.{cid}"]);
    tab.answer_user(None);
    assert_eq!(tab.states(), [SessionState::Anonymous]);
    assert!(tab.profile.borrow().history.is_empty());
}

#[test]
fn the_change_may_come_before_the_reply() {
    let mut tab = anonymous();
    let token = tab.login("admin");
    let sent = tab.take("auth.session.login");
    assert_eq!((&sent.params["username"], &sent.params["password"]), (&json!("admin"), &json!("admin")));
    assert_eq!(sent.params["attempt"].as_str().map(str::len), Some(22), "a login can be told from its repetition");
    tab.change_user(Some(&admin()));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    assert_eq!(tab.stored(), None);
    tab.payload(sent.id, &answer("k1", 1));
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    assert_eq!(tab.stored(), Some(json!({"key": "k1", "generation": 1})));
    assert_eq!(tab.states(), [SessionState::Anonymous, SessionState::LoggedIn(admin())]);
    assert!(!tab.profile.borrow().is_held());
}

#[test]
fn the_change_may_come_after_the_reply() {
    let mut tab = anonymous();
    let token = tab.login("admin");
    let id = tab.take("auth.session.login").id;
    tab.payload(id, &answer("k1", 1));
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    assert_eq!(tab.stored(), Some(json!({"key": "k1", "generation": 1})));
    assert_eq!(tab.methods(), [""; 0], "a user model that has not caught up is no loss of the user");
    tab.pass(ms(100));
    tab.change_user(Some(&admin()));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    assert_eq!(tab.methods(), [""; 0]);
}

#[test]
fn a_session_that_ends_before_its_reply_arrives_is_tried_once_more_and_then_over() {
    let mut tab = anonymous();
    tab.login("admin");
    let id = tab.take("auth.session.login").id;
    tab.change_user(Some(&admin()));
    tab.change_user(None);
    tab.payload(id, &answer("k1", 1));
    let id = tab.take("auth.session.relogin").id;
    tab.error(id, "session.invalidReloginKey");
    assert_eq!(tab.state(), SessionState::Ended(EndReason::LoggedOutElsewhere));
    assert_eq!((tab.stored(), tab.methods().len()), (None, 0));
}

#[test]
fn a_wrong_password_changes_nothing() {
    let mut tab = anonymous();
    let token = tab.login("nobody");
    let id = tab.take("auth.session.login").id;
    tab.error(id, "session.wrongUsernamePassword");
    let Err(RequestError::Refused(error)) = &tab.settled[&token] else { panic!("{:?}", tab.settled) };
    assert_eq!(error.code, "session.wrongUsernamePassword");
    assert_eq!((tab.state(), tab.stored()), (SessionState::Anonymous, None));
    assert!(!tab.profile.borrow().is_held());
}

#[test]
fn a_login_waits_for_a_connection_but_not_forever() {
    let mut tab = Tab::start(None);
    let token = tab.login("admin");
    tab.pass(s(9));
    assert!(tab.settled.is_empty());
    tab.connect();
    let id = tab.find("auth.session.login").id;
    tab.payload(id, &answer("k1", 1));
    assert_eq!(tab.settled[&token], Ok(Answer::Done));

    let mut tab = Tab::start(None);
    let token = tab.login("admin");
    tab.pass(s(21));
    assert_eq!(tab.settled[&token], Err(RequestError::TimedOut));
    tab.reconnect();
    tab.pass(s(1));
    assert_eq!(tab.methods(), ["subscribe.session.user.{cid}"], "what timed out is not sent any more");
}

#[test]
fn a_login_has_its_own_time() {
    let mut tab = Tab::plain(1, |config| {
        (config.keep_session, config.request_timeout, config.session.login_timeout) = (true, s(1), s(18));
    });
    let get = tab.command(Command::Get(rid("a.model")));
    let login = tab.login("admin");
    tab.pass(s(17));
    assert_eq!(tab.settled[&get], Err(RequestError::TimedOut));
    assert_eq!(tab.unsettled(), [login]);
    tab.pass(s(2));
    assert_eq!(tab.settled[&login], Err(RequestError::TimedOut));
}

#[test]
fn a_lost_reply_settles_the_login() {
    let mut tab = anonymous();
    let token = tab.login("admin");
    tab.drop_socket();
    assert_eq!(tab.settled[&token], Err(RequestError::ConnectionLost));
    assert_eq!(tab.state(), SessionState::Anonymous);
    assert!(!tab.profile.borrow().is_held());

    let mut tab = anonymous();
    let token = tab.login("admin");
    let first = tab.take("auth.session.login");
    tab.live(s(21));
    let second = tab.take("auth.session.login");
    assert_eq!(second.params, first.params, "the same attempt: if the first was carried out, this gets its key");
    tab.live(s(21));
    assert_eq!(tab.settled[&token], Err(RequestError::TimedOut));
    for id in [first.id, second.id] {
        tab.payload(id, &answer("k1", 1));
        assert_eq!(tab.stored(), None, "a caller who was told of a failure is not logged in behind their back");
    }
}

#[test]
fn a_malformed_reply_is_no_login() {
    for nonsense in [json!({}), json!({"payload": null}), json!({"payload": {"reloginKey": 7}}), json!([])] {
        let mut tab = anonymous();
        let token = tab.login("admin");
        let id = tab.take("auth.session.login").id;
        tab.ok(id, &nonsense);
        assert_eq!(tab.settled[&token], Err(RequestError::Garbled));
        assert_eq!((tab.state(), tab.stored()), (SessionState::Anonymous, None));
    }
}

#[test]
fn a_resource_in_place_of_a_reply_is_unsubscribed() {
    let mut tab = anonymous();
    let token = tab.login("admin");
    let id = tab.take("auth.session.login").id;
    tab.ok(id, &json!({"rid": "a.b", "models": {"a.b": {}}}));
    assert_eq!(tab.settled[&token], Err(RequestError::Garbled));
    tab.pass(s(5));
    assert_eq!(tab.take("unsubscribe.a.b").params, Json::Null);
}

#[test]
fn of_two_logins_the_second_waits_for_the_first() {
    let mut tab = anonymous();
    let (first, second) = (tab.login("admin"), tab.login("admin"));
    let id = tab.take("auth.session.login").id;
    assert_eq!(tab.methods(), [""; 0]);
    tab.payload(id, &answer("k1", 1));
    assert_eq!(tab.settled[&first], Ok(Answer::Done));
    let id = tab.take("auth.session.login").id;
    tab.error(id, "session.alreadyLoggedIn");
    assert!(tab.settled[&second].is_err());
    assert_eq!(tab.stored(), Some(json!({"key": "k1", "generation": 1})));
}

#[test]
fn a_login_takes_the_place_of_a_key_that_could_not_be_used_yet() {
    let mut tab = Tab::start(Some(r#"{"key":"old","generation":9}"#));
    tab.connect();
    let id = tab.take("auth.session.relogin").id;
    let token = tab.login("admin");
    tab.error(id, "system.timeout");
    // It may still arrive, and would take the connection from the new session.
    tab.reconnect();
    let id = tab.find("auth.session.login").id;
    tab.payload(id, &answer("k1", 1));
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    assert_eq!(
        tab.stored(),
        Some(json!({"key": "k1", "generation": 1})),
        "another session: generations do not compare"
    );
    tab.find("subscribe.session.user.{cid}");
    tab.pass(s(25));
    assert!(!tab.methods().contains(&"auth.session.relogin"), "{:?}", tab.methods());
}

#[test]
fn the_time_of_the_next_refresh_is_reported() {
    let tab = logged_in();
    let due = tab.client.refresh_due().expect("a refresh is due some time");
    assert!((s(54)..=s(66)).contains(&(due - tab.now)), "{due:?}");
    assert!(tab.events.contains(&Event::Refresh(Some(due))));
}
