//! Limits: exceeding one harms nobody but the client that does.

use std::collections::VecDeque;

use expect_test::expect;

use super::{Bench, check_with};
use crate::{Action, Config, ConnectionKey, Gateway, Input, Tag};

/// Resgate 1.8.0 shuts down altogether: its buffer for messages of the bus overflows.
#[test]
fn twenty_thousand_calls_at_once_are_all_answered() {
    const CALLS: usize = 20_000;
    const CREDITS: usize = 256;
    let connection = ConnectionKey(1);
    let mut gateway = Gateway::new(Config::default());
    let now = std::time::Duration::ZERO;
    gateway.handle(Input::Opening { connection, cid: "c1".into(), origin: Default::default() }, now);
    let mut asked: VecDeque<(Tag, String)> = VecDeque::new();
    let (mut sent, mut in_flight, mut answers) = (0, 0, vec![0; CALLS]);
    loop {
        while let Some(action) = gateway.poll_action() {
            match action {
                Action::Send { frame, .. } => {
                    let frame: serde_json::Value = serde_json::from_slice(&frame).unwrap();
                    answers[usize::try_from(frame["id"].as_u64().unwrap()).unwrap()] += 1;
                    assert_eq!(frame["result"], 7);
                }
                Action::Done { .. } => in_flight -= 1,
                Action::Ask { tag, subject, .. } => asked.push_back((tag, subject)),
                Action::Release { .. } | Action::Listen { .. } | Action::Discard(_) | Action::Complain(_) => {}
                Action::Accept { .. } | Action::Decode(_) => {}
                Action::Close { .. } | Action::Reject { .. } | Action::Respond { .. } => panic!("closed"),
            }
        }
        assert!(in_flight <= CREDITS && asked.len() <= CREDITS);
        if sent < CALLS && in_flight < CREDITS {
            let frame = format!(r#"{{"id":{sent},"method":"call.a.{sent}.do"}}"#);
            gateway.handle(Input::Frame { connection, text: &frame }, now);
            (sent, in_flight) = (sent + 1, in_flight + 1);
        } else if let Some((tag, subject)) = asked.pop_front() {
            let answer = if subject.starts_with("access.") { r#"{"result":{"call":"do"}}"# } else { r#"{"result":7}"# };
            gateway.handle(Input::Reply { tag, payload: answer.as_bytes() }, now);
        } else {
            break;
        }
    }
    assert!(answers.iter().all(|count| *count == 1));
}

#[test]
fn direct_subscriptions_to_one_resource_are_bounded_in_number() {
    check_with(
        Config { max_direct_subscriptions: 2, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 subscribe.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            1> 2 subscribe.a
            1> 3 subscribe.a
              1< {"error":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"},"id":3}
              1 done
            get.a = {"result":{"model":{}}}
            access.a = {"result":{"get":true,"call":"*"}}
              1< {"result":{"models":{"a":{}}},"id":1}
              1 done
              1< {"result":{},"id":2}
              1 done
            1> 4 subscribe.a
              1< {"error":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"},"id":4}
              1 done
            1> 5 get.a
              1< {"result":{},"id":5}
              1 done
            1> 6 version {"protocol":"1.2.3"}
              1< {"result":{"protocol":"1.2.3"},"id":6}
              1 done
            1> 7 call.a.me
              ask call.a.me {"cid":"c1","token":null,"params":null}
            call.a.me = {"resource":{"rid":"a"}}
              1< {"error":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"},"id":7}
              1 done
            1> 8 unsubscribe.a
              1< {"id":8}
              1 done
            1> 9 subscribe.a
              1< {"result":{},"id":9}
              1 done
        "#]],
    );
}

#[test]
fn one_connection_is_subscribed_to_a_bounded_number_of_resources() {
    check_with(
        Config { max_resources: 3, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 subscribe.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"collection":[{"rid":"b"},{"rid":"c"},{"rid":"d"}]}}
              listen event.b.*
              ask get.b {}
              listen event.c.*
              ask get.c {}
            get.c = {"result":{"model":{}}}
            get.b = {"result":{"model":{}}}
              1< {"result":{"models":{"b":{},"c":{}},"collections":{"a":[{"rid":"b"},{"rid":"c"},{"rid":"d"}]},"errors":{"d":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"}}},"id":1}
              1 done
            1> 2 subscribe.e
              1< {"error":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"},"id":2}
              1 done
            1> 3 get.e
              1< {"error":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"},"id":3}
              1 done
            1> 4 call.e.x
              ask access.e {"cid":"c1","token":null}
            1> 5 unsubscribe.a
              1< {"id":5}
              1 done
            1> 6 get.e
              listen event.e.*
              ask get.e {}
              ask access.e {"cid":"c1","token":null}
        "#]],
    );
}

#[test]
fn a_connection_with_too_many_waiting_events_is_closed() {
    check_with(
        Config { max_held_events: 2, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            open 2 c2
              listen conn.c2.token
            1> 1 subscribe.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            2> 1 subscribe.a
              ask access.a {"cid":"c2","token":null}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{"x":0}}}
              1< {"result":{"models":{"a":{"x":0}}},"id":1}
              1 done
            event.a.change {"values":{"x":1}}
              1< {"event":"a.change","data":{"values":{"x":1}}}
            event.a.change {"values":{"x":2}}
              1< {"event":"a.change","data":{"values":{"x":2}}}
            event.a.change {"values":{"x":3}}
              1< {"event":"a.change","data":{"values":{"x":3}}}
            event.a.change {"values":{"x":4}}
              1< {"event":"a.change","data":{"values":{"x":4}}}
            access.a = {"result":{"get":true}}
              2< {"result":{"models":{"a":{"x":3}}},"id":1}
              2 done
              2< {"event":"a.change","data":{"values":{"x":4}}}
            conn.c1.token {"token":1}
              ask access.a {"cid":"c1","token":1}
            event.a.custom 1
              2< {"event":"a.custom","data":1}
            event.a.custom 2
              2< {"event":"a.custom","data":2}
            event.a.custom 3
              release conn.c1.token
              1 close 1013 too many events are waiting
              2< {"event":"a.custom","data":3}
              release access.a
            event.a.custom 4
              2< {"event":"a.custom","data":4}
        "#]],
    );
}

#[test]
fn a_connection_with_too_many_bytes_of_waiting_events_is_closed() {
    check_with(
        Config { max_held_bytes: 1000, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 subscribe.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{"x":0}}}
              1< {"result":{"models":{"a":{"x":0}}},"id":1}
              1 done
            event.a.reaccess
              ask access.a {"cid":"c1","token":null}
            event.a.custom "0123456789012345678901234567890123456789012345678901234567890123456789"
            event.a.custom "0123456789012345678901234567890123456789012345678901234567890123456789"
            access.a = {"result":{"get":true}}
              1< {"event":"a.custom","data":"0123456789012345678901234567890123456789012345678901234567890123456789"}
              1< {"event":"a.custom","data":"0123456789012345678901234567890123456789012345678901234567890123456789"}
            event.a.reaccess
              ask access.a {"cid":"c1","token":null}
            event.a.custom 1
            event.a.custom 2
            event.a.custom "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
              release conn.c1.token
              1 close 1013 too many events are waiting
              release access.a
        "#]],
    );
}

#[test]
fn subjects_are_no_longer_than_the_bus_takes() {
    check_with(
        Config { max_subject: 20, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 subscribe.a1234567890123456
              1< {"error":{"code":"system.subjectTooLong","message":"Subject too long"},"id":1}
              1 done
            1> 2 subscribe.a1234567890?query=does.not.count.because.it.is.no.part.of.the.subject
              listen event.a1234567890.*
              ask get.a1234567890 {"query":"query=does.not.count.because.it.is.no.part.of.the.subject"}
              ask access.a1234567890 {"cid":"c1","token":null,"query":"query=does.not.count.because.it.is.no.part.of.the.subject"}
            1> 3 call.a12345.method7
              ask access.a12345 {"cid":"c1","token":null}
            access.a12345 = {"result":{"call":"*"}}
              1< {"error":{"code":"system.subjectTooLong","message":"Subject too long"},"id":3}
              1 done
            1> 4 call.a12345.method78
              ask access.a12345 {"cid":"c1","token":null}
            access.a12345 = {"result":{"call":"x"}}
              1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":4}
              1 done
            1> 5 auth.a12345.method78
              1< {"error":{"code":"system.subjectTooLong","message":"Subject too long"},"id":5}
              1 done
            1> 6 call.{cid}{cid}{cid}{cid}.x
              1< {"error":{"code":"system.subjectTooLong","message":"Subject too long"},"id":6}
              1 done
            access.a1234567890 = {"result":{"get":true}}
            get.a1234567890 = {"result":{"model":{"x":{"rid":"a1234567890123"}}}}
              1< {"result":{"models":{"a1234567890?query=does.not.count.because.it.is.no.part.of.the.subject":{"x":{"rid":"a1234567890123"}}},"errors":{"a1234567890123":{"code":"system.subjectTooLong","message":"Subject too long"}}},"id":2}
              1 done
            conn.c1.token {"token":1,"tid":"x"}
              ask access.a1234567890 {"cid":"c1","token":1,"query":"query=does.not.count.because.it.is.no.part.of.the.subject"}
            system.tokenReset {"tids":["x"],"subject":"a12345678901234567890"}
              malformed system: system.tokenReset: its subject cannot be published to
        "#]],
    );
}

#[test]
fn without_an_unsubscribe_delay_no_resource_is_kept() {
    check_with(
        Config { unsubscribe_delay: std::time::Duration::ZERO, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 subscribe.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            1> 2 unsubscribe.a
              1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":1}
              1 done
              release get.a
              release event.a.*
              release access.a
              1< {"id":2}
              1 done
            1> 3 subscribe.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            get.a = {"result":{"model":{}}}
            access.a = {"result":{"get":true}}
              1< {"result":{"models":{"a":{}}},"id":3}
              1 done
            1> 4 unsubscribe.a
              release event.a.*
              1< {"id":4}
              1 done
        "#]],
    );
}

#[test]
fn a_bus_that_refuses_a_subscription_fails_those_who_need_it() {
    let mut bench = Bench::new(Config::default());
    bench.run("open 1 c1");
    bench.run("open 2 c2");
    bench.run("1> 1 subscribe.a");
    bench.run("2> 1 subscribe.a");
    bench.run("access.a = {\"result\":{\"get\":true}}");
    bench.refuse("event.a.*");
    bench.refuse("conn.c1.token");
    bench.finish();
    expect![[r#"
        open 1 c1
          listen conn.c1.token
        open 2 c2
          listen conn.c2.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        2> 1 subscribe.a
          ask access.a {"cid":"c2","token":null}
        access.a = {"result":{"get":true}}
        event.a.* is refused
          release get.a
          1< {"error":{"code":"system.internalError","message":"Internal error"},"id":1}
          1 done
        conn.c1.token is refused
          1 close 1011 the message bus refused a subscription
    "#]]
    .assert_eq(&bench.log);
}

#[test]
fn subscribers_get_an_error_if_the_bus_refuses_the_events_of_a_resource() {
    let mut bench = Bench::new(Config::default());
    bench.run("open 1 c1");
    bench.run("1> 1 subscribe.a");
    bench.run("access.a = {\"result\":{\"get\":true}}");
    bench.run("get.a = {\"result\":{\"model\":{\"b\":{\"rid\":\"b\"}}}}");
    bench.run("get.b = {\"result\":{\"model\":{}}}");
    bench.refuse("event.b.*");
    bench.refuse("event.a.*");
    bench.run("1> 2 subscribe.a");
    bench.finish();
    expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"b":{"rid":"b"}}}}
          listen event.b.*
          ask get.b {}
        get.b = {"result":{"model":{}}}
          1< {"result":{"models":{"a":{"b":{"rid":"b"}},"b":{}}},"id":1}
          1 done
        event.b.* is refused
        event.a.* is refused
          1< {"event":"a.unsubscribe","data":{"reason":{"code":"system.internalError","message":"Internal error"}}}
        1> 2 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
    "#]]
    .assert_eq(&bench.log);
}

#[test]
fn idle_resources_are_bounded_and_the_oldest_goes_first() {
    check_with(
        Config { max_idle_resources: 2, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 get.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{}}}
              1< {"result":{"models":{"a":{}}},"id":1}
              1 done
            1> 2 get.b
              listen event.b.*
              ask get.b {}
              ask access.b {"cid":"c1","token":null}
            access.b = {"result":{"get":true}}
            get.b = {"result":{"model":{}}}
              1< {"result":{"models":{"b":{}}},"id":2}
              1 done
            1> 3 get.a
              ask access.a {"cid":"c1","token":null}
            access.a = {"result":{"get":true}}
              1< {"result":{"models":{"a":{}}},"id":3}
              1 done
            1> 4 get.c
              listen event.c.*
              ask get.c {}
              ask access.c {"cid":"c1","token":null}
            access.c = {"result":{"get":true}}
            get.c = {"result":{"model":{}}}
              1< {"result":{"models":{"c":{}}},"id":4}
              1 done
              release event.a.*
            1> 5 get.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            access.a = {"result":{"get":true}}
            1> 6 subscribe.a
            1> 7 get.d
              listen event.d.*
              ask get.d {}
              ask access.d {"cid":"c1","token":null}
            access.d = {"result":{"get":false}}
              1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":7}
              1 done
              release event.b.*
            wait 5000
              release get.a
              release event.a.*
              1< {"error":{"code":"system.timeout","message":"Request timeout"},"id":5}
              1 done
              release get.d
              release event.d.*
              release event.c.*
              1< {"error":{"code":"system.timeout","message":"Request timeout"},"id":6}
              1 done
        "#]],
    );
    check_with(
        Config { max_idle_bytes: 3000, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 get.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{}}}
              1< {"result":{"models":{"a":{}}},"id":1}
              1 done
            1> 2 get.b
              listen event.b.*
              ask get.b {}
              ask access.b {"cid":"c1","token":null}
            access.b = {"result":{"get":false}}
              1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":2}
              1 done
            get.b = {"result":{"model":{"x":"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"}}}
              release event.a.*
            1> 3 get.c
              listen event.c.*
              ask get.c {}
              ask access.c {"cid":"c1","token":null}
        "#]],
    );
}

#[test]
fn resources_are_fetched_again_a_few_at_a_time() {
    check_with(
        Config { max_reloads: 2, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 subscribe.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"collection":[{"rid":"b"},{"rid":"c"},{"rid":"d"}]}}
              listen event.b.*
              ask get.b {}
              listen event.c.*
              ask get.c {}
              listen event.d.*
              ask get.d {}
            get.b = {"result":{"model":{}}}
            get.c = {"result":{"model":{}}}
            get.d = {"result":{"model":{}}}
              1< {"result":{"models":{"b":{},"c":{},"d":{}},"collections":{"a":[{"rid":"b"},{"rid":"c"},{"rid":"d"}]}},"id":1}
              1 done
            system.reset {"resources":[">"]}
              ask get.a {}
              ask get.b {}
            system.reset {"resources":["b"]}
            get.b = {"result":{"model":{"x":1}}}
              1< {"event":"b.change","data":{"values":{"x":1}}}
              ask get.c {}
            get.a = {"result":{"collection":[{"rid":"b"},{"rid":"d"}]}}
              1< {"event":"a.remove","data":{"idx":1}}
              ask get.d {}
            get.d = {"error":{"code":"system.notFound","message":"Not found"}}
              release event.d.*
              1< {"event":"d.delete","data":null}
              ask get.b {}
            wait 5000
              release get.c
              release get.b
              release event.c.*
        "#]],
    );
}

#[test]
fn resource_ids_are_bounded_as_written_and_with_the_tag_filled_in() {
    check_with(
        Config { max_rid: 24, ..Config::default() },
        &expect![[r#"
            open 1 a-cid-of-20-letters.
              1 close 1011 no connection id
            open 1 a-cid-of-20-letters-
              listen conn.a-cid-of-20-letters-.token
            1> 1 get.a?345678901234567890123
              listen event.a.*
              ask get.a {"query":"345678901234567890123"}
              ask access.a {"cid":"a-cid-of-20-letters-","token":null,"query":"345678901234567890123"}
            1> 2 get.a?3456789012345678901234
              ask get.a {"query":"3456789012345678901234"}
              ask access.a {"cid":"a-cid-of-20-letters-","token":null,"query":"3456789012345678901234"}
            1> 3 get.{cid}?23
              listen event.a-cid-of-20-letters-.*
              ask get.a-cid-of-20-letters- {"query":"23"}
              ask access.a-cid-of-20-letters- {"cid":"a-cid-of-20-letters-","token":null,"query":"23"}
            1> 4 get.{cid}?2345
              1< {"error":{"code":"system.invalidQuery","message":"Invalid query"},"id":4}
              1 done
            1> 5 call.a?3456789012345678901234567.x
              1< {"error":{"code":"system.invalidQuery","message":"Invalid query"},"id":5}
              1 done
            1> 6 auth.a?{cid}{cid}.x
              1< {"error":{"code":"system.invalidQuery","message":"Invalid query"},"id":6}
              1 done
            1> 7 new.a?{cid}{cid}
              1< {"error":{"code":"system.invalidQuery","message":"Invalid query"},"id":7}
              1 done
            1> 8 unsubscribe.a?{cid}{cid}
              1< {"error":{"code":"system.invalidQuery","message":"Invalid query"},"id":8}
              1 done
            access.a = {"result":{"get":true}}
            get.a = {"result":{"collection":[{"rid":"a?{cid}{cid}"},{"rid":"a?12345678901234567890123"}]}}
              1< {"result":{"collections":{"a?345678901234567890123":[{"rid":"a?{cid}{cid}"},{"rid":"a?12345678901234567890123"}]},"errors":{"a?12345678901234567890123":{"code":"system.invalidQuery","message":"Invalid query"},"a?{cid}{cid}":{"code":"system.invalidQuery","message":"Invalid query"}}},"id":1}
              1 done
        "#]],
    );
}

#[test]
fn the_subscriptions_of_one_connection_are_counted_in_bytes() {
    check_with(
        Config { max_subscription_bytes: 4000, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 subscribe.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"collection":[{"rid":"b"},{"rid":"c"}]}}
              listen event.b.*
              ask get.b {}
            get.b = {"result":{"model":{}}}
              1< {"result":{"models":{"b":{}},"collections":{"a":[{"rid":"b"},{"rid":"c"}]},"errors":{"c":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"}}},"id":1}
              1 done
            1> 2 subscribe.d
              1< {"error":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"},"id":2}
              1 done
            1> 3 get.e
              1< {"error":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"},"id":3}
              1 done
            1> 4 subscribe.b
              ask access.b {"cid":"c1","token":null}
            access.b = {"result":{"get":true}}
              1< {"result":{},"id":4}
              1 done
            1> 5 unsubscribe.a
              1< {"id":5}
              1 done
            1> 6 subscribe.d
              listen event.d.*
              ask get.d {}
              ask access.d {"cid":"c1","token":null}
            open 2 c2
              listen conn.c2.token
            2> 1 subscribe.a
              ask access.a {"cid":"c2","token":null}
        "#]],
    );
}

#[test]
fn the_subscriptions_of_all_connections_are_counted_in_bytes() {
    check_with(
        Config { max_subscription_bytes_in_all: 5000, assured_bytes: 2000, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 subscribe.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{}}}
              1< {"result":{"models":{"a":{}}},"id":1}
              1 done
            1> 2 subscribe.b
              listen event.b.*
              ask get.b {}
              ask access.b {"cid":"c1","token":null}
            1> 3 subscribe.c
              listen event.c.*
              ask get.c {}
              ask access.c {"cid":"c1","token":null}
            1> 4 subscribe.d
              1< {"error":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"},"id":4}
              1 done
            open 2 c2
              listen conn.c2.token
            2> 1 subscribe.a
              ask access.a {"cid":"c2","token":null}
            2> 2 subscribe.b
              2< {"error":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"},"id":2}
              2 done
            close 1
              release conn.c1.token
              release access.b
              release access.c
            2> 3 subscribe.b
              ask access.b {"cid":"c2","token":null}
        "#]],
    );
}

#[test]
fn requests_under_way_are_counted_in_bytes() {
    check_with(
        Config { max_request_bytes: 1500, max_request_bytes_in_all: 3000, assured_bytes: 1100, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 get.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            1> 2 get.b
              1< {"error":{"code":"system.tooManyRequests","message":"Too many requests"},"id":2}
              1 done
            1> 3 auth.b.c
              1< {"error":{"code":"system.tooManyRequests","message":"Too many requests"},"id":3}
              1 done
            1> 4 unsubscribe.b
              1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":4}
              1 done
            1> 5 version
              1< {"result":{"protocol":"1.2.3"},"id":5}
              1 done
            open 2 c2
              listen conn.c2.token
            2> 1 get.c
              listen event.c.*
              ask get.c {}
              ask access.c {"cid":"c2","token":null}
            open 3 c3
              listen conn.c3.token
            3> 1 get.d
              listen event.d.*
              ask get.d {}
              ask access.d {"cid":"c3","token":null}
            3> 2 call.d.x
              3< {"error":{"code":"system.tooManyRequests","message":"Too many requests"},"id":2}
              3 done
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{}}}
              1< {"result":{"models":{"a":{}}},"id":1}
              1 done
            wait 3000
              release get.c
              release event.c.*
              release access.c
              2< {"error":{"code":"system.timeout","message":"Request timeout"},"id":1}
              2 done
              release get.d
              release event.d.*
              release access.d
              3< {"error":{"code":"system.timeout","message":"Request timeout"},"id":1}
              3 done
            3> 3 call.d.x
              ask access.d {"cid":"c3","token":null}
        "#]],
    );
}

/// Each frame subscribes to something new, and those beyond the limit are refused.
#[test]
fn subscriptions_of_many_frames_stay_within_their_byte_limit() {
    let config = Config { max_subscription_bytes: 2 << 20, ..Config::default() };
    let most = config.max_subscription_bytes;
    for (length, frames) in [(60_000, 100), (4_000, 200), (10, 1_200)] {
        let mut gateway = Gateway::new(config.clone());
        let (connection, now) = (ConnectionKey(1), std::time::Duration::ZERO);
        gateway.handle(Input::Opening { connection, cid: "c1".into(), origin: Default::default() }, now);
        let (mut refused, mut waiting) = (0, Vec::new());
        for number in 0..frames {
            let query = format!("{number:0length$}");
            let frame = format!(r#"{{"id":{number},"method":"subscribe.session.user.{{cid}}?{query}"}}"#);
            gateway.handle(Input::Frame { connection, text: &frame }, now);
            waiting.extend(std::iter::from_fn(|| gateway.poll_action()));
            while let Some(action) = waiting.pop() {
                let (tag, payload) = match action {
                    Action::Ask { tag, subject, .. } if subject.starts_with("get.") => {
                        (tag, r#"{"result":{"model":{},"query":"_"}}"#)
                    }
                    Action::Ask { tag, .. } => (tag, r#"{"result":{"get":true}}"#),
                    Action::Send { frame, .. } => {
                        refused += usize::from(std::str::from_utf8(&frame).unwrap().contains("error"));
                        continue;
                    }
                    _ => continue,
                };
                let payload = payload.replace('_', &query);
                gateway.handle(Input::Reply { tag, payload: payload.as_bytes() }, now);
                waiting.extend(std::iter::from_fn(|| gateway.poll_action()));
            }
        }
        gateway.check_invariants();
        let bytes = gateway.shared.subscription_bytes;
        assert!(bytes < most + 32_000, "{bytes} bytes with queries of {length}");
        assert!(refused > 0 && (length < 4096 || bytes == 0), "{refused} were refused, {bytes} bytes");
    }
}
