//! The client without a session: what a caller can do on a connection, and with the resources that
//! it has asked for.

use relogin_client_proto::{Answer, Command, ConnectionState, Event, Freshness, Input, RequestError, Resource, Token};
use serde_json::{Value as Json, json};

use crate::{
    login::{anonymous, answer, logged_in},
    support::{FIRST, Tab, admin, ms, rid, s},
};

/// A plain client, connected.
fn plain() -> Tab {
    let mut tab = Tab::plain(7, |_| ());
    tab.connect();
    tab
}

fn auth(tab: &mut Tab) -> u64 {
    tab.command(Command::Auth { rid: rid("auth"), method: "login".into(), params: None })
}

fn subscribe(tab: &mut Tab, id: &str) -> u64 {
    tab.command(Command::Subscribe(rid(id)))
}

fn value(tab: &Tab, id: &str) -> Json {
    match tab.client.resource(&rid(id)) {
        Some(Resource::Model(model)) => serde_json::to_value(model).unwrap(),
        Some(Resource::Collection(values)) => serde_json::to_value(values).unwrap(),
        None => Json::Null,
    }
}

#[test]
fn without_a_session_nothing_is_asked_for_by_itself() {
    let mut tab = plain();
    assert_eq!(tab.methods(), [""; 0]);
    let told = tab.events.iter().all(|event| matches!(event, Event::Connection(_)));
    assert!(told, "{:?}", tab.events);
    let token = tab.login("admin");
    assert!(matches!(tab.settled[&token], Err(RequestError::Refused(_))));
    let token = tab.logout();
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    tab.drop_socket();
    tab.reconnect();
    assert_eq!(tab.methods(), [""; 0]);
    assert_eq!(tab.stored(), None);
}

#[test]
fn a_greeting_comes_before_what_is_subscribed_again() {
    let mut tab = Tab::plain(7, |config| config.greet = true);
    subscribe(&mut tab, "a");
    tab.connect();
    assert_eq!(tab.events.last(), Some(&Event::Connection(ConnectionState::Connected)));
    assert_eq!(tab.methods(), [""; 0]);
    // Calls, and what they need, go out at once, however many follow each other.
    for _ in 0..3 {
        let token = auth(&mut tab);
        let id = tab.find("auth.auth.login").id;
        tab.payload(id, &json!(null));
        assert_eq!(tab.settled[&token], Ok(Answer::Payload(json!(null))));
        subscribe(&mut tab, "b");
    }
    tab.take("subscribe.b");
    assert_eq!(tab.methods(), [""; 0]);
    tab.input(Input::Greeted);
    tab.take("subscribe.a");
    tab.input(Input::Greeted);
    assert_eq!(tab.methods(), [""; 0]);
}

#[test]
fn a_greeting_that_never_ends_holds_nothing_up_forever() {
    let mut tab = Tab::plain(7, |config| config.greet = true);
    subscribe(&mut tab, "a");
    tab.connect();
    tab.pass(s(19));
    assert_eq!(tab.methods(), [""; 0]);
    tab.pass(s(1));
    tab.find("subscribe.a");
    tab.drop_socket();
    tab.input(Input::Greeted);
    tab.reconnect();
    assert_eq!(tab.methods(), [""; 0], "the next connection is greeted again");
}

#[test]
fn a_call_made_once_connected_does_not_wait_for_subscriptions() {
    let mut tab = Tab::start(Some(r#"{"key":"k1","generation":1}"#));
    subscribe(&mut tab, "a");
    tab.connect();
    assert!(tab.is_connected());
    let token = tab.command(Command::Call { rid: rid("a"), method: "b".into(), params: None });
    let id = tab.take("auth.session.relogin").id;
    assert_eq!(tab.methods(), [""; 0], "the session comes first");
    tab.payload(id, &answer("k2", 2));
    let id = tab.find("call.a.b").id;
    tab.payload(id, &json!(1));
    assert_eq!(tab.settled[&token], Ok(Answer::Payload(json!(1))));
    tab.find("subscribe.a");
}

#[test]
fn a_refused_subscription_is_tried_again_after_any_auth() {
    let mut tab = plain();
    subscribe(&mut tab, "a");
    let id = tab.take("subscribe.a").id;
    tab.error(id, "system.accessDenied");
    auth(&mut tab);
    let id = tab.take("auth.auth.login").id;
    tab.error(id, "auth.wrongPassword");
    assert_eq!(tab.methods(), [""; 0], "no other token");
    auth(&mut tab);
    let id = tab.take("auth.auth.login").id;
    tab.payload(id, &json!(null));
    tab.take("subscribe.a");
}

#[test]
fn a_refused_subscription_is_tried_again_after_a_logout() {
    let mut tab = logged_in();
    subscribe(&mut tab, "for.guests");
    let id = tab.take("subscribe.for.guests").id;
    tab.error(id, "system.accessDenied");
    tab.logout();
    let id = tab.take("auth.session.logout").id;
    tab.payload(id, &json!(null));
    tab.change_user(None);
    tab.take("subscribe.for.guests");
}

#[test]
fn a_denial_for_the_old_token_that_comes_late_is_soon_asked_about_again() {
    let mut tab = anonymous();
    subscribe(&mut tab, "a");
    let id = tab.take("subscribe.a").id;
    tab.ok(id, &json!({"models": {"a": {}}}));
    tab.login("admin");
    let id = tab.take("auth.session.login").id;
    tab.payload(id, &answer("k1", 1));
    tab.change_user(Some(&admin()));
    tab.pass(s(1));
    let denied = json!({"reason": {"code": "system.accessDenied", "message": "Access denied"}});
    tab.event("a.unsubscribe", &denied);
    tab.pass(FIRST);
    let id = tab.take("subscribe.a").id;
    tab.ok(id, &json!({"models": {"a": {}}}));
    // Later it is no accident.
    tab.pass(s(5));
    tab.event("a.unsubscribe", &denied);
    tab.pass(FIRST);
    assert_eq!(tab.methods(), [""; 0]);
}

#[test]
fn a_cancelled_call_settles_nothing_and_keeps_nothing() {
    let mut tab = plain();
    let method = |method: &str| Command::Call { rid: rid("a"), method: method.into(), params: None };
    let sent = tab.command(method("b"));
    let id = tab.take("call.a.b").id;
    tab.input(Input::Forget(Token(sent)));
    tab.ok(id, &json!({"rid": "a.1", "models": {"a.1": {}}}));
    tab.pass(s(5));
    tab.take("unsubscribe.a.1");
    let get = tab.command(Command::Get(rid("a")));
    tab.input(Input::Forget(Token(get)));
    tab.drop_socket();
    let queued = tab.command(method("c"));
    tab.input(Input::Forget(Token(queued)));
    tab.reconnect();
    assert_eq!(tab.methods(), [""; 0], "what was not sent is not sent");
    tab.pass(s(60));
    assert_eq!(tab.unsettled(), [sent, get, queued]);
}

#[test]
fn a_cancelled_subscription_is_unsubscribed() {
    let mut tab = plain();
    let token = subscribe(&mut tab, "a");
    let id = tab.take("subscribe.a").id;
    tab.input(Input::Forget(Token(token)));
    tab.ok(id, &json!({"models": {"a": {}}}));
    tab.pass(s(5));
    tab.take("unsubscribe.a");
    assert_eq!(tab.unsettled(), [token]);
    // Settled, it is the caller's own.
    let token = subscribe(&mut tab, "b");
    let id = tab.take("subscribe.b").id;
    tab.ok(id, &json!({"models": {"b": {}}}));
    tab.input(Input::Forget(Token(token)));
    tab.live(s(15));
    assert_eq!(tab.client.freshness(&rid("b")), Some(&Freshness::Live));
}

#[test]
fn a_method_whose_resource_cannot_be_loaded_has_still_succeeded() {
    let mut tab = plain();
    let token = tab.command(Command::Call { rid: rid("a"), method: "new".into(), params: None });
    let id = tab.take("call.a.new").id;
    let timeout = json!({"code": "system.timeout", "message": "Request timeout"});
    tab.ok(id, &json!({"rid": "a.1", "errors": {"a.1": timeout}}));
    assert_eq!(tab.settled[&token], Ok(Answer::Resource(rid("a.1"))));
    assert!(matches!(tab.client.freshness(&rid("a.1")), Some(Freshness::Failed(_))));
    tab.pass(FIRST);
    let id = tab.take("subscribe.a.1").id;
    tab.ok(id, &json!({"models": {"a.1": {}}}));
    tab.command(Command::Unsubscribe(rid("a.1")));
    tab.pass(s(6));
    assert_eq!(tab.take("unsubscribe.a.1").params, Json::Null, "the first one was never held");
}

#[test]
fn what_the_gateway_leaves_out_because_we_had_it_is_still_there() {
    let mut tab = plain();
    let reference = json!({"rid": "x"});
    subscribe(&mut tab, "a");
    let id = tab.take("subscribe.a").id;
    tab.ok(id, &json!({"models": {"a": {"it": reference}, "x": {"n": 1}, "b": {}}}));
    subscribe(&mut tab, "b");
    let id = tab.take("subscribe.b").id;
    tab.ok(id, &json!({}));
    // The gateway was about to send the second reference, and waited for something else, when the
    // first one went.
    tab.event("a.change", &json!({"values": {"it": null}}));
    tab.event("x.change", &json!({"values": {"n": 2}}));
    tab.pass(s(6));
    tab.event("x.change", &json!({"values": {"n": 3}}));
    tab.event("b.change", &json!({"values": {"it": reference}}));
    assert_eq!(value(&tab, "x"), json!({"n": 3}));
    tab.live(s(20));
    assert_eq!(value(&tab, "x"), json!({"n": 3}));
    assert_eq!(tab.client.freshness(&rid("x")), Some(&Freshness::Live));
}

#[test]
fn a_resource_that_is_unsubscribed_and_referred_to_at_once_is_live() {
    let mut tab = plain();
    for id in ["p", "x"] {
        subscribe(&mut tab, id);
        let sent = tab.take(&format!("subscribe.{id}")).id;
        tab.ok(sent, &json!({"models": {id: {"n": 1}}}));
    }
    tab.command(Command::Unsubscribe(rid("x")));
    tab.pass(s(5));
    let id = tab.take("unsubscribe.x").id;
    assert_eq!(tab.client.freshness(&rid("x")), Some(&Freshness::Stale));
    // Sent before the gateway got that.
    tab.event("p.change", &json!({"values": {"it": {"rid": "x"}}}));
    tab.ok(id, &json!(null));
    assert_eq!(tab.client.freshness(&rid("x")), Some(&Freshness::Live));
    tab.event("x.change", &json!({"values": {"n": 2}}));
    tab.live(s(20));
    assert_eq!(value(&tab, "x"), json!({"n": 2}));
}

#[test]
fn a_resource_whose_unsubscribe_crosses_its_removal_is_subscribed_again() {
    let mut tab = plain();
    subscribe(&mut tab, "a");
    let id = tab.take("subscribe.a").id;
    tab.ok(id, &json!({"models": {"a": {}}}));
    tab.command(Command::Unsubscribe(rid("a")));
    tab.pass(s(5));
    let given_back = tab.take("unsubscribe.a").id;
    tab.event("a.unsubscribe", &json!({"reason": {"code": "system.timeout", "message": ""}}));
    let call = tab.command(Command::Call { rid: rid("b"), method: "find".into(), params: None });
    let id = tab.take("call.b.find").id;
    tab.ok(id, &json!({"rid": "a", "models": {"a": {"n": 1}}}));
    assert_eq!(tab.settled[&call], Ok(Answer::Resource(rid("a"))));
    assert_eq!(tab.methods(), [""; 0]);
    // That was all it had to give back.
    tab.ok(given_back, &json!(null));
    let id = tab.take("subscribe.a").id;
    tab.ok(id, &json!({"models": {"a": {"n": 2}}}));
    assert_eq!(value(&tab, "a"), json!({"n": 2}));
}

#[test]
fn an_unsubscribe_with_too_high_a_count_is_repeated_with_a_lower_one() {
    let mut tab = plain();
    for _ in 0..3 {
        tab.command(Command::Call { rid: rid("b"), method: "find".into(), params: None });
        let id = tab.take("call.b.find").id;
        tab.ok(id, &json!({"rid": "a", "models": {"a": {}}}));
    }
    for _ in 0..3 {
        tab.command(Command::Unsubscribe(rid("a")));
    }
    tab.pass(s(6));
    for params in [json!({"count": 3}), json!({"count": 2}), Json::Null] {
        let sent = tab.take("unsubscribe.a");
        assert_eq!(sent.params, params);
        tab.error(sent.id, "system.noSubscription");
    }
    assert_eq!(tab.methods(), [""; 0]);
}

#[test]
fn many_unused_resources_are_unsubscribed_by_few_timers() {
    let mut tab = plain();
    let ids: Vec<_> = (0..200).map(|n| format!("m.{n}")).collect();
    for id in &ids {
        subscribe(&mut tab, id);
        let sent = tab.take(&format!("subscribe.{id}")).id;
        tab.ok(sent, &json!({"models": {id: {}}}));
    }
    tab.pass(s(6));
    for id in &ids {
        tab.command(Command::Unsubscribe(rid(id)));
        tab.pass(ms(10));
    }
    let (mut rings, mut given_back) = (0, 0);
    while tab.client.freshness(&rid("m.199")).is_some() {
        let due = tab.client.poll_timeout().unwrap();
        tab.ring(due);
        rings += 1;
        while let Some(sent) = tab.sent.pop_front() {
            given_back += usize::from(sent.method.starts_with("unsubscribe."));
            tab.ok(sent.id, &json!(null));
        }
    }
    assert!(rings < 20, "{rings}");
    assert_eq!(given_back, 200);
}
