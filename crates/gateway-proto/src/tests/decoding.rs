//! Large answers, which are decoded while the machine does other things.

use expect_test::{Expect, expect};

use super::{Bench, check_with};
use crate::Config;

/// Longer answers are large.
const SMALL: usize = 60;

fn check(script: &Expect) {
    check_with(Config { max_decoded_at_once: SMALL, ..Config::default() }, script);
}

#[test]
fn others_are_served_while_a_large_answer_is_decoded() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        open 2 c2
          listen conn.c2.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        2> 1 subscribe.b
          listen event.b.*
          ask get.b {}
          ask access.b {"cid":"c2","token":null}
        access.b = {"result":{"get":true}}
        get.a = {"result":{"collection":["a text that is long",1,2,3,4,5,6,7]}}
          decode
        get.b = {"result":{"model":{"small":true}}}
          2< {"result":{"models":{"b":{"small":true}}},"id":1}
          2 done
        event.b.change {"values":{"small":1}}
          2< {"event":"b.change","data":{"values":{"small":1}}}
        decoded
          1< {"result":{"collections":{"a":["a text that is long",1,2,3,4,5,6,7]}},"id":1}
          1 done
    "#]]);
}

#[test]
fn events_that_come_after_a_large_answer_happen_after_it() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        event.a.add {"idx":0,"value":"contained in the answer"}
        get.a = {"result":{"collection":["a text that is long",1,2,3,4,5,6,7]}}
          decode
        event.a.add {"idx":0,"value":"after it"}
        event.a.remove {"idx":1}
        decoded
          1< {"result":{"collections":{"a":["a text that is long",1,2,3,4,5,6,7]}},"id":1}
          1 done
          1< {"event":"a.add","data":{"idx":0,"value":"after it"}}
          1< {"event":"a.remove","data":{"idx":1}}
        system.reset {"resources":["a"]}
          ask get.a {}
        event.a.add {"idx":0,"value":"contained in the answer"}
          1< {"event":"a.add","data":{"idx":0,"value":"contained in the answer"}}
        get.a = {"result":{"collection":["contained in the answer","after it",1,2,3,4,5,6,7]}}
          decode
        event.a.remove {"idx":0}
        decoded
          1< {"event":"a.remove","data":{"idx":0}}
    "#]]);
}

#[test]
fn several_large_answers_for_one_name_are_taken_in_where_they_came() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        1> 2 subscribe.a?q=1
          ask get.a {"query":"q=1"}
          ask access.a {"cid":"c1","token":null,"query":"q=1"}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"collection":["a text that is long",1,2,3,4,5,6,7]}}
          decode
        event.a.query {"subject":"ask"}
        get.a = {"result":{"collection":["another text that is long",1,2,3],"query":"q=1"}}
          decode
        event.a.query {"subject":"ask.again"}
        decoded
          1< {"result":{"collections":{"a":["a text that is long",1,2,3,4,5,6,7]}},"id":1}
          1 done
        decoded
          1< {"result":{"collections":{"a?q=1":["another text that is long",1,2,3]}},"id":2}
          1 done
          ask ask.again {"query":"q=1"}
        ask.again = {"result":{"collection":["yet another text that is long",1,2,3]}}
          decode
        decoded
          1< {"event":"a?q=1.remove","data":{"idx":0}}
          1< {"event":"a?q=1.add","data":{"idx":0,"value":"yet another text that is long"}}
    "#]]);
}

#[test]
fn a_large_answer_that_is_not_wanted_any_more_changes_nothing() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"collection":["a text that is long",1,2,3,4,5,6,7]}}
          decode
        event.a.add {"idx":0,"value":"contained in the next answer"}
        system.reset {"resources":["a"]}
          ask get.a {}
        decoded
        get.a = {"result":{"collection":["contained in the next answer"]}}
          1< {"result":{"collections":{"a":["contained in the next answer"]}},"id":1}
          1 done
        1> 2 subscribe.b
          listen event.b.*
          ask get.b {}
          ask access.b {"cid":"c1","token":null}
        access.b = {"result":{"get":true}}
        get.b = {"result":{"collection":["a text that is long",1,2,3,4,5,6,7]}}
          decode
        wait 3000
          release event.b.*
          1< {"error":{"code":"system.timeout","message":"Request timeout"},"id":2}
          1 done
        decoded
        1> 3 subscribe.b
          listen event.b.*
          ask get.b {}
          ask access.b {"cid":"c1","token":null}
        access.b = {"result":{"get":true}}
        get.b = {"result":{"collection":["a text that is long",1,2,3,4,5,6,7]}}
          decode
        down
          1 close 1012 the message bus was lost
          release conn.c1.token
          release event.a.*
          release event.b.*
        decoded
    "#]]);
}

#[test]
fn a_large_answer_that_makes_no_sense_is_reported() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"collection":["a text that is long",[1,2,3],4,5,6,7]}}
          decode
        decoded
          malformed get: get.a: its result is neither a model nor a collection of valid values
          release event.a.*
          1< {"error":{"code":"system.internalError","message":"Internal error: invalid service response"},"id":1}
          1 done
        1> 2 subscribe.b
          listen event.b.*
          ask get.b {}
          ask access.b {"cid":"c1","token":null}
        access.b = {"result":{"get":true}}
        get.b = {"error":{"code":"system.notFound","message":"A long text that says why"}}
          decode
        decoded
          release event.b.*
          1< {"error":{"code":"system.notFound","message":"A long text that says why"},"id":2}
          1 done
    "#]]);
}

#[test]
fn what_waits_for_a_large_answer_is_bounded() {
    let config = Config { max_decoded_at_once: SMALL, max_waiting_events: 3, ..Config::default() };
    let mut bench = Bench::new(config);
    for line in [
        "open 1 c1",
        "1> 1 subscribe.a",
        r#"access.a = {"result":{"get":true}}"#,
        r#"get.a = {"result":{"collection":["a text that is long",1,2,3,4,5,6,7]}}"#,
    ] {
        bench.step(line);
    }
    for _ in 0..2 {
        bench.step(r#"event.a.add {"idx":0,"value":0}"#);
        assert!(!bench.gateway.is_behind());
    }
    bench.step(r#"event.a.add {"idx":0,"value":0}"#);
    assert!(bench.gateway.is_behind());
    bench.step("decoded");
    assert!(!bench.gateway.is_behind());
    assert_eq!(bench.sent[&crate::ConnectionKey(1)].len(), 4, "{}", bench.log);
    bench.finish();
}

#[test]
fn what_is_decoded_at_the_same_time_is_bounded() {
    let config = Config { max_decoded_at_once: SMALL, max_waiting_bytes: 200, ..Config::default() };
    let mut bench = Bench::new(config);
    bench.step("open 1 c1");
    for name in ["a", "b", "c"] {
        bench.step(&format!("1> 1 subscribe.{name}"));
        bench.step(&format!(r#"access.{name} = {{"result":{{"get":true}}}}"#));
    }
    for name in ["a", "b", "c"] {
        assert!(!bench.gateway.is_behind());
        bench.step(&format!(r#"get.{name} = {{"result":{{"collection":["{name}",{}8]}}}}"#, "7,".repeat(30)));
    }
    assert!(bench.gateway.is_behind());
    bench.step("decoded");
    assert!(!bench.gateway.is_behind());
    bench.step("decoded");
    bench.step("decoded");
    bench.finish();
}
