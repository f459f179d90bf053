//! Gateways of earlier protocols.

use relogin_client_proto::{Answer, Command, Freshness, SessionState};
use serde_json::{Value as Json, json};

use crate::{
    login::answer,
    support::{Tab, admin, rid, s},
};

/// Answers of older gateways to a version request: one does not know the request, the others name
/// their version.
fn old_gateways() -> [Json; 3] {
    let unknown = json!({"error": {"code": "system.invalidRequest", "message": "Invalid request"}});
    [unknown, json!({"result": {"protocol": "1.1.1"}}), json!({"result": {"protocol": "1.0.0"}})]
}

fn call(tab: &mut Tab, method: &str) -> u64 {
    tab.command(Command::Call { rid: rid("a"), method: method.into(), params: None })
}

#[test]
fn before_1_2_0_the_result_of_a_method_is_its_bare_payload() {
    for gateway in old_gateways() {
        let mut tab = Tab::plain(7, |_| ());
        tab.connect_to(&gateway);
        assert!(tab.is_connected());
        for (result, payload) in [
            (json!({"result": {"x": 1}}), json!({"x": 1})),
            (json!({"result": {"payload": 1}}), json!({"payload": 1})),
            (json!({"result": {"rid": "b"}}), json!({"rid": "b"})),
            (json!({}), Json::Null),
        ] {
            let token = call(&mut tab, "get");
            let mut frame = result;
            frame["id"] = tab.take("call.a.get").id.into();
            tab.frame(&frame.to_string());
            assert_eq!(tab.settled[&token], Ok(Answer::Payload(payload)));
        }
        assert_eq!(tab.client.freshness(&rid("b")), None);
    }
}

#[test]
fn before_1_2_0_a_new_resource_has_a_request_of_its_own() {
    for gateway in old_gateways() {
        let mut tab = Tab::plain(7, |_| ());
        let token = call(&mut tab, "new");
        tab.connect_to(&gateway);
        let id = tab.take("new.a").id;
        tab.ok(id, &json!({"rid": "a.1", "models": {"a.1": {"x": 1}}}));
        assert_eq!(tab.settled[&token], Ok(Answer::Resource(rid("a.1"))));
        assert_eq!(tab.client.freshness(&rid("a.1")), Some(&Freshness::Live));
    }
    let mut tab = Tab::plain(7, |_| ());
    tab.connect();
    call(&mut tab, "new");
    tab.take("call.a.new");
}

#[test]
fn unsubscribe_requests_have_the_form_that_the_gateway_knows() {
    for (protocol, requests) in [("1.1.1", 3), ("1.2.0", 3), ("1.2.2", 3), ("1.2.3", 1), ("1.3.0", 1)] {
        let mut tab = Tab::plain(7, |_| ());
        tab.connect_to(&json!({"result": {"protocol": protocol}}));
        for _ in 0..3 {
            call(&mut tab, "new");
            let id = tab.sent.pop_front().unwrap().id;
            tab.ok(id, &json!({"rid": "b", "models": {"b": {}}}));
        }
        for _ in 0..3 {
            tab.command(Command::Unsubscribe(rid("b")));
        }
        tab.pass(s(6));
        let params = if requests == 1 { json!({"count": 3}) } else { Json::Null };
        let sent: Vec<_> = (0..requests).map(|_| tab.take("unsubscribe.b").params).collect();
        assert_eq!((sent, tab.methods().len()), (vec![params; requests], 0), "{protocol}");
    }
}

#[test]
fn an_old_gateway_keeps_a_session_too() {
    let mut tab = Tab::start(None);
    tab.connect_to(&old_gateways()[0]);
    tab.answer_user(None);
    let token = tab.login("admin");
    let id = tab.take("auth.session.login").id;
    tab.change_user(Some(&admin()));
    tab.ok(id, &answer("k1", 1));
    assert_eq!(tab.settled[&token], Ok(Answer::Done));
    assert_eq!(tab.state(), SessionState::LoggedIn(admin()));
    // The next one is a new one.
    tab.drop_socket();
    tab.reconnect();
    let id = tab.find("auth.session.relogin").id;
    tab.payload(id, &answer("k2", 2));
    assert_eq!(tab.stored().unwrap()["key"], "k2");
}
