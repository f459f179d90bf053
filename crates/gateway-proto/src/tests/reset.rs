//! System resets: the resources of a service are fetched again.

use expect_test::expect;

use super::{Bench, check, check_with};
use crate::{Config, Input};

#[test]
fn after_a_reset_the_difference_is_sent_as_events() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.s.model
          listen event.s.model.*
          ask get.s.model {}
          ask access.s.model {"cid":"c1","token":null}
        1> 2 subscribe.s.list
          listen event.s.list.*
          ask get.s.list {}
          ask access.s.list {"cid":"c1","token":null}
        1> 3 subscribe.other
          listen event.other.*
          ask get.other {}
          ask access.other {"cid":"c1","token":null}
        access.s.model = {"result":{"get":true}}
        access.s.list = {"result":{"get":true}}
        access.other = {"result":{"get":true}}
        get.s.model = {"result":{"model":{"x":1,"y":2}}}
          1< {"result":{"models":{"s.model":{"x":1,"y":2}}},"id":1}
          1 done
        get.s.list = {"result":{"collection":["a","b","c"]}}
          1< {"result":{"collections":{"s.list":["a","b","c"]}},"id":2}
          1 done
        get.other = {"result":{"model":{}}}
          1< {"result":{"models":{"other":{}}},"id":3}
          1 done
        system.reset {"resources":["s.>"],"access":["nothing"]}
          ask get.s.list {}
          ask get.s.model {}
        get.s.model = {"result":{"model":{"x":1,"z":{"rid":"s.list"}}}}
          1< {"event":"s.model.change","data":{"values":{"y":{"action":"delete"},"z":{"rid":"s.list"}}}}
        get.s.list = {"result":{"collection":["b","x","c"]}}
          1< {"event":"s.list.remove","data":{"idx":0}}
          1< {"event":"s.list.add","data":{"idx":1,"value":"x"}}
        system.reset {"resources":["s.*"]}
          ask get.s.list {}
          ask get.s.model {}
        get.s.model = {"result":{"model":{"x":1,"z":{"rid":"s.list"}}}}
        get.s.list = {"result":{"collection":["b","x","c"]}}
    "#]]);
}

#[test]
fn a_resource_that_is_gone_is_deleted() {
    check(&expect![[r#"
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
        system.reset {"resources":["a"]}
          ask get.a {}
        get.a = {"error":{"code":"system.notFound","message":"Not found"}}
          release event.a.*
          1< {"event":"a.delete","data":null}
          1< {"event":"a.unsubscribe","data":{"reason":{"code":"system.deleted","message":"Deleted"}}}
    "#]]);
}

#[test]
fn without_a_usable_answer_nothing_changes() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"a":{"x":1}}},"id":1}
          1 done
        system.reset {"resources":["a"]}
          ask get.a {}
        get.a = {"result":{"collection":[1]}}
        system.reset {"resources":["a"]}
          ask get.a {}
        wait 3000
          release get.a
        system.reset {"resources":["a"]}
          ask get.a {}
        get.a = {"error":{"code":"a.b","message":"No"}}
        event.a.change {"values":{"x":2}}
          1< {"event":"a.change","data":{"values":{"x":2}}}
    "#]]);
}

#[test]
fn events_pass_until_the_reset_is_answered() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"a":{"x":1}}},"id":1}
          1 done
        system.reset {"resources":["a"]}
          ask get.a {}
        event.a.change {"values":{"x":2}}
          1< {"event":"a.change","data":{"values":{"x":2}}}
        event.a.custom
          1< {"event":"a.custom","data":null}
        get.a = {"result":{"model":{"x":3}}}
          1< {"event":"a.change","data":{"values":{"x":3}}}
        event.a.change {"values":{"x":4}}
          1< {"event":"a.change","data":{"values":{"x":4}}}
        system.reset {"resources":["a"]}
          ask get.a {}
        event.a.change {"values":{"x":5}}
          1< {"event":"a.change","data":{"values":{"x":5}}}
        wait 3000
          release get.a
        system.reset {"resources":["a"]}
          ask get.a {}
        event.a.delete
          release get.a
          release event.a.*
          1< {"event":"a.delete","data":null}
          1< {"event":"a.unsubscribe","data":{"reason":{"code":"system.deleted","message":"Deleted"}}}
    "#]]);
}

#[test]
fn a_second_reset_asks_a_second_time() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        system.reset {"resources":["a"]}
          release get.a
          ask get.a {}
        get.a = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"a":{"x":1}}},"id":1}
          1 done
        system.reset {"resources":["a"]}
          ask get.a {}
        system.reset {"resources":["a"]}
          release get.a
          ask get.a {}
        get.a = {"result":{"model":{"x":2}}}
          1< {"event":"a.change","data":{"values":{"x":2}}}
    "#]]);
}

#[test]
fn a_reset_fetches_cached_resources_without_subscribers_too() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 get.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"a":{"x":1}}},"id":1}
          1 done
        system.reset {"resources":["a"]}
          ask get.a {}
        get.a = {"result":{"model":{"x":2}}}
        1> 2 get.a
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
          1< {"result":{"models":{"a":{"x":2}}},"id":2}
          1 done
    "#]]);
}

/// What may no longer be seen must not wait until everything is fetched.
#[test]
fn a_reset_of_access_waits_for_no_fetches() {
    check_with(
        Config { max_reloads: 1, ..Config::default() },
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
            access.b = {"result":{"get":true}}
            get.b = {"result":{"model":{}}}
              1< {"result":{"models":{"b":{}}},"id":2}
              1 done
            system.reset {"resources":[">"],"access":[">"]}
              ask access.a {"cid":"c1","token":null}
              ask get.a {}
              ask access.b {"cid":"c1","token":null}
            access.b = {"result":{"get":false}}
              1< {"event":"b.unsubscribe","data":{"reason":{"code":"system.accessDenied","message":"Access denied"}}}
            get.a = {"result":{"model":{}}}
              ask get.b {}
        "#]],
    );
}

/// A reset may be about all resources of all connections. Other access requests do not wait.
#[test]
fn access_requests_after_a_reset_are_so_many_at_a_time_in_all() {
    check_with(
        Config { max_reset_rechecks: 2, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            open 2 c2
              listen conn.c2.token
            open 3 c3
              listen conn.c3.token
            1> 1 subscribe.a
              listen event.a.*
              ask get.a {}
              ask access.a {"cid":"c1","token":null}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{}}}
              1< {"result":{"models":{"a":{}}},"id":1}
              1 done
            2> 1 subscribe.a
              ask access.a {"cid":"c2","token":null}
            access.a = {"result":{"get":true}}
              2< {"result":{"models":{"a":{}}},"id":1}
              2 done
            3> 1 subscribe.a
              ask access.a {"cid":"c3","token":null}
            access.a = {"result":{"get":true}}
              3< {"result":{"models":{"a":{}}},"id":1}
              3 done
            1> 2 subscribe.b
              listen event.b.*
              ask get.b {}
              ask access.b {"cid":"c1","token":null}
            access.b = {"result":{"get":true}}
            get.b = {"result":{"model":{}}}
              1< {"result":{"models":{"b":{}}},"id":2}
              1 done
            system.reset {"access":[">"]}
              ask access.a {"cid":"c1","token":null}
              ask access.a {"cid":"c2","token":null}
            event.a.custom 1
            event.b.reaccess
              ask access.b {"cid":"c1","token":null}
            access.b = {"result":{"get":true}}
            close 2
              release conn.c2.token
              ask access.a {"cid":"c3","token":null}
              release access.a
            access.a = {"result":{"get":true}}
              1< {"event":"a.custom","data":1}
            access.a = {"result":{"get":false}}
              3< {"event":"a.unsubscribe","data":{"reason":{"code":"system.accessDenied","message":"Access denied"}}}
        "#]],
    );
}

#[test]
fn a_reset_of_names_passes_over_no_others() {
    let mut bench = Bench::new(Config::default());
    bench.step("open 1 c1");
    for n in 0..100 {
        bench.step(&format!("1> {n} subscribe.m{n}"));
        bench.step(&format!("get.m{n} = {{\"result\":{{\"model\":{{}}}}}}"));
        bench.step(&format!("access.m{n} = {{\"result\":{{\"get\":true}}}}"));
    }
    let tag = *bench.listeners.iter().find(|(_, pattern)| *pattern == "system.reset").unwrap().0;
    for (payload, expected) in [
        (r#"{"resources":["m70","gone","m7"],"access":["m71"]}"#, "get.m7 get.m70 access.m71"),
        (r#"{"resources":["m7.>"],"access":["m7","m70.x"]}"#, "access.m7"),
    ] {
        bench.gateway.handle(Input::Message { tag, subject: "system.reset", payload: payload.as_bytes() }, bench.now);
        let mut slices = 0;
        while bench.gateway.has_work() {
            bench.gateway.handle(Input::Timeout, bench.now);
            slices += 1;
        }
        assert_eq!(slices > 2, payload.contains('>'), "{slices} for {payload}");
        bench.act();
        let asked: Vec<_> = bench.requests.values().map(String::as_str).collect();
        assert_eq!(asked.join(" "), expected, "{payload}");
        for subject in expected.split(' ') {
            let result = if subject.starts_with("get") { r#"{"model":{}}"# } else { r#"{"get":true}"# };
            bench.step(&format!("{subject} = {{\"result\":{result}}}"));
        }
    }
    bench.finish();
}
