//! The connection, and requests over it.

use relogin_client_proto::{
    Answer, Closing, Command, ConnectionState, Event, Input, PlatformEvent, RequestError, Resource, Secret, SocketId,
};
use serde_json::json;

use crate::{
    login::{anonymous, logged_in},
    support::{FIRST, Tab, admin, ms, rid, s},
};

fn call(tab: &mut Tab) -> u64 {
    tab.command(Command::Call { rid: rid("a.b"), method: "set".into(), params: Some(json!({"x": 1})) })
}

#[test]
fn the_first_try_is_made_at_once_and_each_state_is_reported() {
    let mut tab = Tab::start(None);
    assert_eq!(tab.client.connection(), ConnectionState::Connecting);
    tab.open();
    let sent = tab.take("version");
    assert_eq!(sent.params, json!({"protocol": "1.2.3"}));
    tab.ok(sent.id, &json!({"protocol": "1.2.3"}));
    tab.drop_socket();
    let ConnectionState::Reconnecting { next_try } = tab.client.connection() else { panic!() };
    assert!(next_try - tab.now <= FIRST);
    tab.reconnect();
    let states: Vec<_> = tab.events.iter().filter(|event| matches!(event, Event::Connection(_))).collect();
    let [
        Event::Connection(ConnectionState::Connecting),
        Event::Connection(ConnectionState::Connected),
        Event::Connection(ConnectionState::Reconnecting { .. }),
        Event::Connection(ConnectionState::Reconnecting { .. }) | Event::Connection(ConnectionState::Connected),
        ..,
    ] = states[..]
    else {
        panic!("{states:?}")
    };
    assert_eq!(states.last(), Some(&&Event::Connection(ConnectionState::Connected)));
}

#[test]
fn waits_grow_while_no_gateway_is_there() {
    let mut tab = Tab::start(None);
    let start = tab.now;
    for _ in 0..20 {
        tab.await_socket();
        tab.drop_socket();
    }
    assert!(tab.now - start > s(60), "{:?}", tab.now - start);
    assert!(tab.now - start < s(600), "{:?}", tab.now - start);
}

#[test]
fn a_connection_that_breaks_at_once_does_not_make_waits_short_again() {
    let mut tab = Tab::start(None);
    let start = tab.now;
    for _ in 0..20 {
        tab.reconnect();
        tab.drop_socket();
    }
    assert!(tab.now - start > s(60), "{:?}", tab.now - start);

    tab.reconnect();
    tab.answer_user(None);
    tab.pass(s(11));
    tab.drop_socket();
    let ConnectionState::Reconnecting { next_try } = tab.client.connection() else { panic!() };
    assert!(next_try - tab.now <= FIRST, "a steady one does");
}

#[test]
fn a_gateway_that_never_answers_is_given_up() {
    let mut tab = Tab::start(None);
    tab.pass(s(11));
    assert!(tab.sockets > 1 || tab.socket.is_none(), "the socket never opened");
    let mut tab = Tab::start(None);
    tab.open();
    tab.pass(s(11));
    assert!(tab.sockets > 1 || tab.socket.is_none(), "the handshake was never answered");
}

#[test]
fn a_gateway_of_another_protocol_is_not_connected_to() {
    for answer in [
        json!({"id": 1, "error": {"code": "system.unsupportedProtocol", "message": "Unsupported protocol"}}),
        json!({"id": 1, "result": {"protocol": "2.0.0"}}),
        json!({"id": 1, "result": {"protocol": "1.1"}}),
        json!({"id": 1, "result": {}}),
        json!({"id": 1}),
    ] {
        let mut tab = Tab::start(None);
        tab.open();
        assert_eq!(tab.take("version").id, 1);
        tab.frame(&answer.to_string());
        assert!(matches!(tab.client.connection(), ConnectionState::Reconnecting { .. }), "{answer}");
        assert_eq!(tab.socket, None);
        tab.reconnect();
        assert!(tab.is_connected(), "it may be replaced one day");
    }
}

#[test]
fn events_of_an_old_socket_are_ignored() {
    let mut tab = anonymous();
    let old = tab.socket.unwrap();
    tab.drop_socket();
    tab.input(Input::SocketClosed(old, Closing::default()));
    tab.input(Input::SocketOpened(old));
    tab.input(Input::Frame(old, Secret::new(json!({"id": 1, "result": {}}).to_string())));
    tab.await_socket();
    assert_ne!(tab.socket, Some(old));
    tab.input(Input::SocketClosed(old, Closing::default()));
    tab.input(Input::SocketOpened(SocketId(99)));
    tab.connect();
    assert!(tab.is_connected());
}

#[test]
fn each_request_gets_its_own_answer() {
    let mut tab = anonymous();
    let tokens = [call(&mut tab), call(&mut tab), call(&mut tab), call(&mut tab)];
    let sent: Vec<_> = (0..4).map(|_| tab.take("call.a.b.set")).collect();
    assert_eq!(sent[0].params, json!({"x": 1}));
    tab.payload(sent[2].id, &json!([2]));
    tab.error(sent[0].id, "a.no");
    tab.frame(&json!({"id": sent[1].id}).to_string());
    tab.payload(sent[3].id, &json!(null));
    let Err(RequestError::Refused(error)) = &tab.settled[&tokens[0]] else { panic!() };
    assert_eq!(error.code, "a.no");
    assert_eq!(tab.settled[&tokens[1]], Err(RequestError::Garbled));
    assert_eq!(tab.settled[&tokens[2]], Ok(Answer::Payload(json!([2]))));
    assert_eq!(tab.settled[&tokens[3]], Ok(Answer::Payload(json!(null))));
}

#[test]
fn every_request_settles_when_the_socket_goes() {
    let mut tab = anonymous();
    let sent = [
        call(&mut tab),
        tab.command(Command::Auth { rid: rid("a"), method: "b".into(), params: None }),
        tab.command(Command::Get(rid("a"))),
        tab.command(Command::Subscribe(rid("a"))),
        tab.login("admin"),
    ];
    tab.drop_socket();
    for token in sent {
        assert_eq!(tab.settled[&token], Err(RequestError::ConnectionLost), "{token}");
    }
}

#[test]
fn a_request_without_an_answer_times_out_and_the_connection_is_probed() {
    let mut tab = anonymous();
    let token = call(&mut tab);
    let id = tab.take("call.a.b.set").id;
    // Other frames come, so it is not the connection.
    for _ in 0..4 {
        tab.pass(s(5));
        tab.event("x.y.z", &json!(null));
    }
    assert_eq!(tab.settled[&token], Err(RequestError::TimedOut));
    assert_eq!(tab.methods(), ["version"]);
    // Late, and a resource: nobody holds it, so nobody would ever give it back.
    tab.ok(id, &json!({"rid": "a.c", "models": {"a.c": {}}}));
    tab.live(s(5));
    tab.find("unsubscribe.a.c");
}

#[test]
fn requests_wait_for_a_connection_but_not_forever() {
    let mut tab = Tab::start(None);
    let token = call(&mut tab);
    let get = tab.command(Command::Get(rid("a.b")));
    tab.connect();
    let id = tab.find("call.a.b.set").id;
    tab.payload(id, &json!(7));
    assert_eq!(tab.settled[&token], Ok(Answer::Payload(json!(7))));
    let id = tab.find("get.a.b").id;
    tab.ok(id, &json!({"collections": {"a.b": []}}));
    assert_eq!(tab.settled[&get], Ok(Answer::Got(Resource::Collection(vec![].into()))));

    let mut tab = Tab::start(None);
    let token = call(&mut tab);
    tab.pass(s(21));
    assert_eq!(tab.settled[&token], Err(RequestError::TimedOut));
    tab.reconnect();
    assert_eq!(tab.methods(), ["subscribe.session.user.{cid}"]);
}

#[test]
fn a_malformed_method_name_is_refused() {
    let mut tab = anonymous();
    for method in ["", "x.y", "x y", "x?"] {
        let token = tab.command(Command::Call { rid: rid("a"), method: method.into(), params: None });
        let Err(RequestError::Refused(error)) = &tab.settled[&token] else { panic!("{method}") };
        assert_eq!(error.code, "system.invalidRequest");
    }
    assert_eq!(tab.methods(), [""; 0]);
}

#[test]
fn a_silent_connection_is_probed_and_then_given_up() {
    let mut tab = anonymous();
    tab.pass(s(31));
    let id = tab.take("version").id;
    tab.pass(s(3));
    tab.ok(id, &json!({"protocol": "1.2.3"}));
    assert!(tab.is_connected());
    tab.pass(s(29));
    assert_eq!(tab.methods(), [""; 0]);
    tab.pass(s(2));
    tab.take("version");
    tab.pass(s(5));
    assert!(!tab.is_connected());
}

#[test]
fn waking_up_probes_the_connection() {
    let mut tab = logged_in();
    tab.input(PlatformEvent::Wake);
    tab.take("version");
    tab.input(PlatformEvent::Wake);
    assert_eq!(tab.methods(), [""; 0], "one at a time");
    tab.pass(s(5));
    assert!(!tab.is_connected(), "the network did not wake up with the machine");
}

#[test]
fn waking_up_ends_a_long_wait() {
    let mut tab = Tab::start(None);
    for _ in 0..12 {
        tab.await_socket();
        tab.drop_socket();
    }
    tab.input(PlatformEvent::Wake);
    let ConnectionState::Reconnecting { next_try } = tab.client.connection() else { panic!() };
    assert!(next_try - tab.now <= FIRST);
}

/// A tab whose tries to connect have failed so often that the next one may be `Backoff::CAP` away.
fn long_unreachable() -> Tab {
    let mut tab = Tab::start(None);
    for _ in 0..12 {
        tab.await_socket();
        tab.drop_socket();
    }
    tab
}

#[test]
fn connect_now_ends_a_long_wait() {
    let mut tab = long_unreachable();
    let (sockets, now) = (tab.sockets, tab.now);
    tab.input(Input::ConnectNow);
    assert_eq!((tab.sockets, tab.now), (sockets + 1, now));
    tab.drop_socket();
    let ConnectionState::Reconnecting { next_try } = tab.client.connection() else { panic!() };
    assert!(next_try - tab.now <= FIRST, "back-off begins again: somebody is waiting");
    // The browser may be wrong about the network.
    tab.input(PlatformEvent::Offline);
    tab.await_socket();
    tab.drop_socket();
    let sockets = tab.sockets;
    tab.input(Input::ConnectNow);
    assert_eq!(tab.sockets, sockets + 1);
    tab.connect();
    tab.input(Input::ConnectNow);
    assert_eq!(tab.sockets, sockets + 1, "connected, there is nothing to do");
}

#[test]
fn a_login_connects_at_once() {
    let mut tab = long_unreachable();
    let (sockets, now) = (tab.sockets, tab.now);
    tab.login("jane");
    assert_eq!((tab.sockets, tab.now), (sockets + 1, now));
    tab.connect();
    tab.find("auth.session.login");
}

#[test]
fn the_first_try_to_connect_is_not_cut_short_by_a_login() {
    let mut tab = Tab::start(None);
    tab.login("jane");
    tab.input(Input::ConnectNow);
    tab.pass(s(9));
    assert_eq!(tab.sockets, 1);
}

#[test]
fn a_stopped_client_does_not_connect() {
    let mut tab = Tab::start(None);
    tab.input(Input::Stop);
    tab.input(Input::ConnectNow);
    assert_eq!((tab.sockets, tab.client.poll_timeout()), (1, None));
}

#[test]
fn a_sibling_that_is_connected_ends_a_long_wait() {
    let mut tab = Tab::start(Some(r#"{"key":"k1","generation":1}"#));
    for _ in 0..12 {
        tab.await_socket();
        tab.drop_socket();
    }
    tab.profile.borrow_mut().write(9, Some(r#"{"key":"k2","generation":2}"#));
    tab.browse();
    let ConnectionState::Reconnecting { next_try } = tab.client.connection() else { panic!() };
    assert!(next_try - tab.now <= FIRST);
}

#[test]
fn a_try_that_was_begun_before_the_network_came_back_is_soon_replaced() {
    let mut tab = Tab::start(None);
    let first = tab.socket;
    tab.pass(s(1));
    tab.input(PlatformEvent::Online);
    tab.pass(ms(2500));
    assert!(tab.socket.is_some() && tab.socket != first);
}

#[test]
fn offline_nothing_but_a_probe_is_sent() {
    let mut tab = logged_in();
    tab.pass(s(29));
    tab.input(PlatformEvent::Offline);
    assert_eq!(tab.methods(), ["version"]);
    tab.now += s(40);
    tab.input(PlatformEvent::StorageChanged);
    assert!(!tab.methods().contains(&"auth.session.relogin"), "{:?}", tab.methods());
    tab.pass(s(5));
    assert!(!tab.is_connected());
    tab.input(PlatformEvent::Online);
    tab.pass(FIRST);
    tab.connect();
    tab.take("auth.session.relogin");
}

#[test]
fn a_gateway_on_this_machine_is_there_without_a_network() {
    let mut tab = logged_in();
    tab.input(PlatformEvent::Offline);
    let id = tab.take("version").id;
    tab.ok(id, &json!({"protocol": "1.2.3"}));
    for _ in 0..3 {
        tab.pass(s(22));
        tab.event("session.user.{cid}.change", &json!({"values": admin()}));
    }
    tab.find("auth.session.relogin");
}

#[test]
fn starting_or_stopping_twice_has_no_further_effect() {
    let mut tab = Tab::start(None);
    tab.input(Input::Start);
    assert_eq!(tab.sockets, 1);
    tab.input(Input::Stop);
    tab.input(Input::Stop);
    assert_eq!(tab.client.connection(), ConnectionState::Stopped);
    tab.input(PlatformEvent::Wake);
    tab.input(PlatformEvent::Online);
    tab.input(PlatformEvent::Timer);
    assert_eq!((tab.sockets, tab.client.poll_timeout()), (1, None));
}

#[test]
fn time_never_goes_back() {
    let mut tab = anonymous();
    let now = tab.now;
    tab.now = s(1);
    let token = call(&mut tab);
    tab.now = now;
    tab.pass(s(19));
    assert!(tab.settled.is_empty());
    tab.pass(s(2));
    assert_eq!(tab.settled[&token], Err(RequestError::TimedOut));
}
