//! Subscriptions, and the events of resources that the page gets.

use expect_test::{Expect, expect};
use relogin_client_proto::{Answer, Command, Event, Freshness, RequestError, Resource};
use relogin_res::Error;
use serde_json::{Value as Json, json};

use crate::{
    login::{anonymous, answer},
    support::{Tab, admin, ms, rid, s},
};

/// The events of resources that the page got since the last time, one a line.
fn expect_events(tab: &mut Tab, expected: &Expect) {
    let lines = std::mem::take(&mut tab.events).into_iter().filter_map(|event| match event {
        Event::Changed(rid, _) | Event::Freshness(rid, _) if rid.as_str().starts_with("session.") => None,
        Event::Changed(rid, change) => Some(format!("{rid}: {change:?}\n")),
        Event::Freshness(rid, freshness) => Some(format!("{rid} is {freshness:?}\n")),
        Event::Custom { rid, name, data } => Some(format!("{rid}: {name} {data}\n")),
        _ => None,
    });
    expected.assert_eq(&lines.collect::<String>());
}

fn model(tab: &Tab, id: &str) -> Json {
    match tab.client.resource(&rid(id)) {
        Some(Resource::Model(model)) => serde_json::to_value(model).unwrap(),
        Some(Resource::Collection(values)) => serde_json::to_value(values).unwrap(),
        None => Json::Null,
    }
}

/// Subscribes to `id` and has it answered.
fn subscribe(tab: &mut Tab, id: &str, set: &Json) -> u64 {
    let token = tab.command(Command::Subscribe(rid(id)));
    let sent = tab.take(&format!("subscribe.{id}")).id;
    tab.ok(sent, set);
    assert_eq!(tab.settled[&token], Ok(Answer::Resource(rid(id))));
    token
}

#[test]
fn a_model_is_loaded_changed_and_left() {
    let mut tab = anonymous();
    tab.events.clear();
    subscribe(&mut tab, "a.b", &json!({"models": {"a.b": {"x": 1, "y": "z"}}}));
    let delete = json!({"action": "delete"});
    tab.event("a.b.change", &json!({"values": {"x": 2, "y": "z", "w": {"data": [1]}, "v": delete}}));
    tab.event("a.b.change", &json!({"values": {"x": 2}}));
    tab.event("a.b.change", &json!({"values": {"y": delete}}));
    tab.event("a.b.rang", &json!({"bell": true}));
    tab.event("a.b.rang", &json!(null));
    expect_events(
        &mut tab,
        &expect![[r#"
            a.b: Loaded
            a.b is Live
            a.b: Model([("w", Set(Data(Array [Number(1)]))), ("x", Set(Primitive(Number(2))))])
            a.b: Model([("y", Delete)])
            a.b: rang {"bell":true}
            a.b: rang null
        "#]],
    );
    assert_eq!(model(&tab, "a.b"), json!({"x": 2, "w": {"data": [1]}}));
    tab.command(Command::Unsubscribe(rid("a.b")));
    tab.pass(ms(4999));
    assert_eq!(tab.methods(), [""; 0]);
    tab.event("a.b.change", &json!({"values": {"x": 3}}));
    assert_eq!(model(&tab, "a.b")["x"], 3, "it may be wanted again");
    tab.pass(ms(1));
    let sent = tab.take("unsubscribe.a.b");
    assert_eq!(sent.params, Json::Null);
    assert_eq!(tab.client.freshness(&rid("a.b")), Some(&Freshness::Stale));
    tab.ok(sent.id, &json!(null));
    tab.pass(s(6));
    assert_eq!(model(&tab, "a.b"), Json::Null);
    assert_eq!(tab.events.last(), Some(&Event::Forgotten(rid("a.b"))));
    assert_eq!(tab.methods(), [""; 0]);
}

#[test]
fn callers_are_counted_and_the_gateway_sees_one() {
    let mut tab = anonymous();
    let first = tab.command(Command::Subscribe(rid("a")));
    let second = tab.command(Command::Subscribe(rid("a")));
    let id = tab.take("subscribe.a").id;
    assert_eq!(tab.methods(), [""; 0]);
    tab.ok(id, &json!({"models": {"a": {}}}));
    let third = tab.command(Command::Subscribe(rid("a")));
    for token in [first, second, third] {
        assert_eq!(tab.settled[&token], Ok(Answer::Resource(rid("a"))));
    }
    for _ in 0..2 {
        let token = tab.command(Command::Unsubscribe(rid("a")));
        assert_eq!(tab.settled[&token], Ok(Answer::Done));
        assert_eq!(tab.methods(), [""; 0]);
    }
    tab.command(Command::Unsubscribe(rid("a")));
    let token = tab.command(Command::Unsubscribe(rid("a")));
    assert_eq!(tab.settled[&token], Err(RequestError::Refused(Error::no_subscription())));
    tab.pass(s(5));
    tab.take("unsubscribe.a");
}

#[test]
fn leaving_before_the_resource_is_loaded_unsubscribes_once_it_is() {
    let mut tab = anonymous();
    let token = tab.command(Command::Subscribe(rid("a")));
    let id = tab.take("subscribe.a").id;
    tab.command(Command::Unsubscribe(rid("a")));
    assert_eq!(tab.settled[&token], Err(RequestError::Superseded));
    tab.ok(id, &json!({"models": {"a": {}}}));
    tab.pass(s(5));
    let id = tab.take("unsubscribe.a").id;
    tab.ok(id, &json!(null));
    tab.pass(s(6));
    assert_eq!(tab.client.freshness(&rid("a")), None);
}

#[test]
fn coming_back_before_the_unsubscribe_keeps_the_subscription() {
    let mut tab = anonymous();
    tab.command(Command::Subscribe(rid("a")));
    let id = tab.take("subscribe.a").id;
    tab.command(Command::Unsubscribe(rid("a")));
    let token = tab.command(Command::Subscribe(rid("a")));
    assert_eq!(tab.methods(), [""; 0], "asked already");
    tab.ok(id, &json!({"models": {"a": {}}}));
    assert_eq!(tab.settled[&token], Ok(Answer::Resource(rid("a"))));
    assert_eq!(tab.methods(), [""; 0]);
}

#[test]
fn over_a_disconnect_values_stay_and_are_brought_up_to_date_by_the_smallest_change() {
    let mut tab = anonymous();
    subscribe(&mut tab, "m", &json!({"models": {"m": {"x": 1, "y": 2, "z": 3}}}));
    subscribe(&mut tab, "c", &json!({"collections": {"c": [1, 2, 3, 4]}}));
    subscribe(&mut tab, "same", &json!({"models": {"same": {"x": 1}}}));
    tab.events.clear();
    tab.drop_socket();
    expect_events(
        &mut tab,
        &expect![[r#"
        c is Stale
        m is Stale
        same is Stale
    "#]],
    );
    assert_eq!(model(&tab, "m"), json!({"x": 1, "y": 2, "z": 3}));
    tab.reconnect();
    for (id, set) in [
        ("m", json!({"models": {"m": {"x": 1, "y": 5}}})),
        ("c", json!({"collections": {"c": [1, 3, 4, 5]}})),
        ("same", json!({"models": {"same": {"x": 1}}})),
    ] {
        let sent = tab.find(&format!("subscribe.{id}")).id;
        tab.ok(sent, &set);
    }
    expect_events(
        &mut tab,
        &expect![[r#"
            m: Model([("y", Set(Primitive(Number(5)))), ("z", Delete)])
            m is Live
            c: Collection(Remove(1))
            c: Collection(Add(3, Primitive(Number(5))))
            c is Live
            same is Live
        "#]],
    );
}

#[test]
fn what_was_left_while_disconnected_is_not_subscribed_again() {
    let mut tab = anonymous();
    subscribe(&mut tab, "a", &json!({"models": {"a": {}}}));
    tab.drop_socket();
    tab.command(Command::Unsubscribe(rid("a")));
    tab.reconnect();
    assert_eq!(tab.methods(), ["subscribe.session.user.{cid}"]);
}

#[test]
fn a_refused_subscription_is_tried_again_and_after_a_login_at_once() {
    let mut tab = anonymous();
    let token = tab.command(Command::Subscribe(rid("ticker.model")));
    let id = tab.take("subscribe.ticker.model").id;
    tab.error(id, "system.accessDenied");
    let Err(RequestError::Refused(error)) = &tab.settled[&token] else { panic!() };
    assert_eq!(error.code, "system.accessDenied");
    assert!(matches!(tab.client.freshness(&rid("ticker.model")), Some(Freshness::Failed(_))));
    let mut tries = 0;
    for _ in 0..20 {
        tab.pass(s(6));
        while let Some(sent) = tab.sent.pop_front() {
            match sent.method.as_str() {
                "version" => tab.ok(sent.id, &json!({"protocol": "1.2.3"})),
                _ => {
                    tries += 1;
                    tab.error(sent.id, "system.accessDenied");
                }
            }
        }
    }
    assert!((4..=20).contains(&tries), "{tries} in two minutes");

    tab.login("admin");
    let id = tab.find("auth.session.login").id;
    tab.payload(id, &answer("k1", 1));
    let id = tab.find("subscribe.ticker.model").id;
    tab.ok(id, &json!({"models": {"ticker.model": {"seconds": 1}}}));
    assert_eq!(tab.client.freshness(&rid("ticker.model")), Some(&Freshness::Live));
}

#[test]
fn a_refusal_that_a_login_has_overtaken_is_asked_about_again() {
    let mut tab = anonymous();
    tab.login("admin");
    let login = tab.take("auth.session.login").id;
    let token = tab.command(Command::Subscribe(rid("a")));
    let id = tab.take("subscribe.a").id;
    tab.payload(login, &answer("k1", 1));
    tab.error(id, "system.accessDenied");
    assert!(!tab.settled.contains_key(&token));
    let id = tab.take("subscribe.a").id;
    tab.ok(id, &json!({"models": {"a": {}}}));
    assert_eq!(tab.settled[&token], Ok(Answer::Resource(rid("a"))));
}

#[test]
fn a_subscription_that_the_gateway_ends_is_tried_again() {
    let mut tab = anonymous();
    subscribe(&mut tab, "a", &json!({"models": {"a": {"x": 1}}}));
    tab.events.clear();
    tab.event("a.unsubscribe", &json!({"reason": {"code": "system.timeout", "message": "Request timeout"}}));
    expect_events(
        &mut tab,
        &expect![[r#"
        a is Failed(Refused(Error { code: "system.timeout", message: "Request timeout", data: None }))
    "#]],
    );
    tab.pass(s(1));
    let id = tab.take("subscribe.a").id;
    tab.ok(id, &json!({"models": {"a": {"x": 2}}}));
    expect_events(
        &mut tab,
        &expect![[r#"
            a: Model([("x", Set(Primitive(Number(2))))])
            a is Live
        "#]],
    );
}

#[test]
fn a_subscription_that_the_gateway_has_ended_is_not_unsubscribed() {
    let mut tab = anonymous();
    subscribe(&mut tab, "a", &json!({"models": {"a": {}}}));
    tab.event("a.unsubscribe", &json!({"reason": {"code": "system.accessDenied", "message": ""}}));
    tab.command(Command::Unsubscribe(rid("a")));
    tab.pass(s(28));
    assert_eq!(tab.methods(), [""; 0]);
}

#[test]
fn a_deleted_resource_keeps_its_last_values() {
    let mut tab = anonymous();
    subscribe(&mut tab, "a", &json!({"models": {"a": {"x": 1}}}));
    tab.events.clear();
    tab.event("a.delete", &json!(null));
    expect_events(
        &mut tab,
        &expect![[r#"
        a: Deleted
        a is Stale
    "#]],
    );
    assert_eq!(model(&tab, "a"), json!({"x": 1}));
    tab.event("a.unsubscribe", &json!({"reason": {"code": "system.deleted", "message": "Deleted"}}));
    while tab.sent.is_empty() {
        tab.pass(s(1));
    }
    tab.take("subscribe.a");
}

#[test]
fn references_come_along_and_go() {
    let mut tab = anonymous();
    let reference = |id: &str| json!({"rid": id});
    subscribe(
        &mut tab,
        "list",
        &json!({
            "collections": {"list": [reference("i.1"), reference("i.2"), {"rid": "i.9", "soft": true}]},
            "models": {"i.1": {"next": reference("i.2")}, "i.2": {"next": reference("i.1"), "n": 2}},
        }),
    );
    assert_eq!(model(&tab, "i.2"), json!({"next": {"rid": "i.1"}, "n": 2}));
    tab.event("list.add", &json!({"idx": 0, "value": reference("i.3"), "models": {"i.3": {"n": 3}}}));
    assert_eq!(model(&tab, "i.3"), json!({"n": 3}));
    tab.event("list.remove", &json!({"idx": 0}));
    tab.pass(s(11));
    assert_eq!(model(&tab, "i.3"), Json::Null);
    tab.event("list.remove", &json!({"idx": 0}));
    tab.pass(s(11));
    assert_ne!(model(&tab, "i.1"), Json::Null, "still referred to");
    tab.event("i.1.change", &json!({"values": {"n": 1}}));
    assert_eq!(model(&tab, "i.1"), json!({"n": 1, "next": {"rid": "i.2"}}));
    tab.event("list.remove", &json!({"idx": 0}));
    tab.live(s(11));
    assert_eq!((model(&tab, "i.1"), model(&tab, "i.2")), (Json::Null, Json::Null), "a cycle keeps nothing alive");
    assert_eq!(model(&tab, "list"), json!([{"rid": "i.9", "soft": true}]));
}

#[test]
fn a_change_of_reference_brings_the_new_and_drops_the_old() {
    let mut tab = anonymous();
    let set = json!({"models": {"a": {"it": {"rid": "b"}}, "b": {"n": 1}}});
    subscribe(&mut tab, "a", &set);
    let values = json!({"it": {"rid": "c"}});
    tab.event("a.change", &json!({"values": values, "models": {"c": {"n": 2}}}));
    tab.pass(s(11));
    assert_eq!((model(&tab, "b"), model(&tab, "c")), (Json::Null, json!({"n": 2})));
    tab.event("a.change", &json!({"values": {"it": null}, "errors": {"d": {"code": "x.y", "message": ""}}}));
    tab.pass(s(11));
    assert_eq!(model(&tab, "c"), Json::Null);
    assert_eq!(tab.client.freshness(&rid("d")), None);
}

#[test]
fn a_resource_that_is_referred_to_and_subscribed_outlives_either() {
    let mut tab = anonymous();
    subscribe(&mut tab, "a", &json!({"models": {"a": {"it": {"rid": "b"}}, "b": {"n": 1}}}));
    // The gateway leaves out what we have.
    subscribe(&mut tab, "b", &json!({}));
    tab.command(Command::Unsubscribe(rid("b")));
    tab.pass(s(5));
    tab.take("unsubscribe.b");
    tab.event("b.change", &json!({"values": {"n": 2}}));
    assert_eq!(model(&tab, "b"), json!({"n": 2}));
    subscribe(&mut tab, "b", &json!({}));
    tab.event("b.unsubscribe", &json!({"reason": {"code": "system.accessDenied", "message": ""}}));
    tab.event("b.change", &json!({"values": {"n": 3}}));
    assert_eq!(model(&tab, "b"), json!({"n": 3}), "referred to, it is still subscribed");
    tab.command(Command::Unsubscribe(rid("a")));
    while tab.client.freshness(&rid("a")) != Some(&Freshness::Stale) {
        assert_eq!(tab.client.freshness(&rid("b")), Some(&Freshness::Live));
        tab.sent.retain(|sent| sent.method != "subscribe.b");
        tab.pass(ms(100));
    }
    tab.find("unsubscribe.a");
    assert_eq!(tab.client.freshness(&rid("b")), Some(&Freshness::Stale), "nobody tells us any more");
    assert_eq!(model(&tab, "b"), json!({"n": 3}));
}

#[test]
fn a_method_may_answer_with_a_resource() {
    let mut tab = anonymous();
    let token = tab.command(Command::Call { rid: rid("a"), method: "new".into(), params: None });
    let id = tab.take("call.a.new").id;
    tab.ok(id, &json!({"rid": "a.1", "models": {"a.1": {"n": 1}}}));
    assert_eq!(tab.settled[&token], Ok(Answer::Resource(rid("a.1"))));
    assert_eq!(model(&tab, "a.1"), json!({"n": 1}));
    tab.drop_socket();
    tab.reconnect();
    let id = tab.find("subscribe.a.1").id;
    tab.ok(id, &json!({"models": {"a.1": {"n": 1}}}));
    tab.command(Command::Unsubscribe(rid("a.1")));
    tab.pass(s(6));
    tab.find("unsubscribe.a.1");
}

#[test]
fn several_subscriptions_at_the_gateway_end_with_one_request() {
    let mut tab = anonymous();
    subscribe(&mut tab, "a", &json!({"models": {"a": {}}}));
    for _ in 0..2 {
        tab.command(Command::Call { rid: rid("b"), method: "find".into(), params: None });
        let id = tab.take("call.b.find").id;
        tab.ok(id, &json!({"rid": "a"}));
    }
    for _ in 0..2 {
        tab.command(Command::Unsubscribe(rid("a")));
    }
    assert_eq!(tab.methods(), [""; 0]);
    tab.command(Command::Unsubscribe(rid("a")));
    tab.pass(s(5));
    assert_eq!(tab.take("unsubscribe.a").params, json!({"count": 3}));
}

#[test]
fn a_subscription_that_ends_at_both_ends_is_unsubscribed_once() {
    let mut tab = anonymous();
    subscribe(&mut tab, "a", &json!({"models": {"a": {}}}));
    tab.command(Command::Call { rid: rid("b"), method: "find".into(), params: None });
    let id = tab.take("call.b.find").id;
    tab.ok(id, &json!({"rid": "a"}));
    for _ in 0..2 {
        tab.command(Command::Unsubscribe(rid("a")));
    }
    tab.pass(s(5));
    let back = tab.take("unsubscribe.a");
    assert_eq!(back.params, json!({"count": 2}));
    // Sent before the gateway got that.
    tab.event("a.unsubscribe", &json!({"reason": {"code": "system.accessDenied", "message": ""}}));
    tab.command(Command::Subscribe(rid("a")));
    let again = tab.take("subscribe.a").id;
    tab.error(back.id, "system.noSubscription");
    assert_eq!(tab.methods(), [""; 0], "that would take back what was asked for since");
    tab.ok(again, &json!({"models": {"a": {}}}));
    tab.command(Command::Unsubscribe(rid("a")));
    tab.pass(s(5));
    assert_eq!(tab.take("unsubscribe.a").params, Json::Null);
}

#[test]
fn reading_once_subscribes_to_nothing() {
    let mut tab = anonymous();
    let token = tab.command(Command::Get(rid("a")));
    let id = tab.take("get.a").id;
    tab.ok(id, &json!({"models": {"a": {"b": {"rid": "c"}}, "c": {}}}));
    let Ok(Answer::Got(Resource::Model(found))) = &tab.settled[&token] else { panic!() };
    assert_eq!(serde_json::to_value(found).unwrap(), json!({"b": {"rid": "c"}}));
    assert_eq!(model(&tab, "a"), Json::Null);

    subscribe(&mut tab, "a", &json!({"models": {"a": {"x": 1}}}));
    let token = tab.command(Command::Get(rid("a")));
    let id = tab.take("get.a").id;
    tab.ok(id, &json!({}));
    assert!(matches!(tab.settled[&token], Ok(Answer::Got(_))), "gateways leave out what we have");
    let token = tab.command(Command::Get(rid("z")));
    let id = tab.take("get.z").id;
    tab.ok(id, &json!({}));
    assert_eq!(tab.settled[&token], Err(RequestError::Garbled));
}

#[test]
fn a_resource_missing_from_its_answer_is_unsubscribed_and_tried_again() {
    for nonsense in [json!({}), json!({"models": {"b": {}}}), json!({"models": 7})] {
        let mut tab = anonymous();
        let token = tab.command(Command::Subscribe(rid("a")));
        let id = tab.take("subscribe.a").id;
        tab.ok(id, &nonsense);
        assert_eq!(tab.settled[&token], Err(RequestError::Garbled));
        tab.take("unsubscribe.a");
        tab.pass(s(1));
        tab.take("subscribe.a");
    }
}

#[test]
fn waiting_for_a_resource_ends_but_not_the_subscription() {
    let mut tab = Tab::start(None);
    let token = tab.command(Command::Subscribe(rid("a")));
    tab.pass(s(21));
    assert_eq!(tab.settled[&token], Err(RequestError::TimedOut));
    tab.reconnect();
    tab.find("subscribe.a");
}

#[test]
fn a_resource_may_become_another_kind() {
    let mut tab = anonymous();
    subscribe(&mut tab, "a", &json!({"models": {"a": {"x": 1}}}));
    tab.drop_socket();
    tab.reconnect();
    tab.events.clear();
    let id = tab.find("subscribe.a").id;
    tab.ok(id, &json!({"collections": {"a": [1]}}));
    expect_events(
        &mut tab,
        &expect![[r#"
        a: Loaded
        a is Live
    "#]],
    );
    for event in ["change", "add", "remove"] {
        tab.event(&format!("a.{event}"), &json!({"values": {"x": 2}, "idx": 9, "value": 1}));
    }
    assert_eq!(model(&tab, "a"), json!([1]));
}

#[test]
fn the_user_is_read_whatever_form_the_id_has() {
    for (id, shown) in [(json!(1), "1"), (json!("x"), "x"), (json!(1.5), "1.5"), (json!(true), "true")] {
        let mut tab = anonymous();
        tab.event("session.user.{cid}.change", &json!({"values": {"id": id, "name": 7}}));
        let relogin_client_proto::SessionState::LoggedIn(user) = tab.state() else { panic!("{:?}", tab.state()) };
        assert_eq!((user.id.to_string().as_str(), user.name.as_str()), (shown, ""));
    }
    let mut tab = anonymous();
    tab.change_user(Some(&admin()));
    tab.event(
        "session.user.{cid}.change",
        &json!({"values": {"id": {"action": "delete"}, "name": {"action": "delete"}}}),
    );
    assert_eq!(tab.state(), relogin_client_proto::SessionState::Anonymous);
}
