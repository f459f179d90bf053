//! Query resources: which queries mean the same, and what query events do.

use expect_test::expect;

use super::{check, check_with};
use crate::Config;

#[test]
fn a_plain_resource_gets_its_events_whatever_query_it_was_requested_with() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        open 2 c2
          listen conn.c2.token
        1> 1 subscribe.a?q=1
          listen event.a.*
          ask get.a {"query":"q=1"}
          ask access.a {"cid":"c1","token":null,"query":"q=1"}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"a?q=1":{"x":1}}},"id":1}
          1 done
        event.a.change {"values":{"x":2}}
          1< {"event":"a?q=1.change","data":{"values":{"x":2}}}
        2> 1 subscribe.a
          ask access.a {"cid":"c2","token":null}
        access.a = {"result":{"get":true}}
          2< {"result":{"models":{"a":{"x":2}}},"id":1}
          2 done
        2> 2 subscribe.a?q=2
          ask get.a {"query":"q=2"}
          ask access.a {"cid":"c2","token":null,"query":"q=2"}
        access.a = {"result":{"get":true}}
        event.a.change {"values":{"x":3}}
          1< {"event":"a?q=1.change","data":{"values":{"x":3}}}
          2< {"event":"a.change","data":{"values":{"x":3}}}
        get.a = {"result":{"model":{"x":3}}}
          2< {"result":{"models":{"a?q=2":{"x":3}}},"id":2}
          2 done
        event.a.custom 1
          1< {"event":"a?q=1.custom","data":1}
          2< {"event":"a.custom","data":1}
          2< {"event":"a?q=2.custom","data":1}
        1> 2 unsubscribe.a?q=1
          1< {"id":2}
          1 done
        2> 3 unsubscribe.a
          2< {"id":3}
          2 done
        event.a.change {"values":{"x":4}}
          2< {"event":"a?q=2.change","data":{"values":{"x":4}}}
        event.a.delete
          release event.a.*
          2< {"event":"a?q=2.delete","data":null}
          2< {"event":"a?q=2.unsubscribe","data":{"reason":{"code":"system.deleted","message":"Deleted"}}}
    "#]]);
}

#[test]
fn queries_that_mean_the_same_share_one_resource_and_one_request() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        open 2 c2
          listen conn.c2.token
        1> 1 subscribe.a?b=1&a=1
          listen event.a.*
          ask get.a {"query":"b=1&a=1"}
          ask access.a {"cid":"c1","token":null,"query":"b=1&a=1"}
        2> 1 subscribe.a?a=1&b=1
          ask get.a {"query":"a=1&b=1"}
          ask access.a {"cid":"c2","token":null,"query":"a=1&b=1"}
        2> 2 subscribe.a?a=1&b=1&c
          ask get.a {"query":"a=1&b=1&c"}
          ask access.a {"cid":"c2","token":null,"query":"a=1&b=1&c"}
        access.a = {"result":{"get":true}}
        access.a = {"result":{"get":true}}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1},"query":"a=1&b=1"}}
          release get.a
          2< {"result":{"models":{"a?a=1&b=1":{"x":1}}},"id":1}
          2 done
          1< {"result":{"models":{"a?b=1&a=1":{"x":1}}},"id":1}
          1 done
        event.a.query {"subject":"_R_"}
          ask _R_ {"query":"a=1&b=1"}
        _R_ = {"result":{"events":[{"event":"change","data":{"values":{"x":2}}}]}}
          1< {"event":"a?b=1&a=1.change","data":{"values":{"x":2}}}
          2< {"event":"a?a=1&b=1.change","data":{"values":{"x":2}}}
        get.a = {"result":{"model":{"x":1},"query":"a=1&b=1"}}
          2< {"result":{"models":{"a?a=1&b=1&c":{"x":2}}},"id":2}
          2 done
        event.a.query {"subject":"_S_"}
          ask _S_ {"query":"a=1&b=1"}
        _S_ = {"result":{"events":[{"event":"change","data":{"values":{"x":3}}}]}}
          1< {"event":"a?b=1&a=1.change","data":{"values":{"x":3}}}
          2< {"event":"a?a=1&b=1.change","data":{"values":{"x":3}}}
          2< {"event":"a?a=1&b=1&c.change","data":{"values":{"x":3}}}
        1> 2 unsubscribe.a?b=1&a=1
          1< {"id":2}
          1 done
        1> 3 subscribe.a?b=1&a=1
          ask get.a {"query":"b=1&a=1"}
          ask access.a {"cid":"c1","token":null,"query":"b=1&a=1"}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":3},"query":"a=1&b=1"}}
          1< {"result":{"models":{"a?b=1&a=1":{"x":3}}},"id":3}
          1 done
        1> 4 unsubscribe.a?b=1&a=1
          1< {"id":4}
          1 done
        2> 3 unsubscribe.a?a=1&b=1
          2< {"id":3}
          2 done
        2> 4 unsubscribe.a?a=1&b=1&c
          2< {"id":4}
          2 done
    "#]]);
}

#[test]
fn a_name_without_a_query_may_be_a_query_resource() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"collection":[1],"query":"from=0"}}
          1< {"result":{"collections":{"a":[1]}},"id":1}
          1 done
        event.a.add {"idx":0,"value":0}
        event.a.query {"subject":"_R_"}
          ask _R_ {"query":"from=0"}
        _R_ = {"result":{"events":[{"event":"add","data":{"idx":0,"value":2}}]}}
          1< {"event":"a.add","data":{"idx":0,"value":2}}
        1> 2 subscribe.a?from=0
          ask access.a {"cid":"c1","token":null,"query":"from=0"}
        access.a = {"result":{"get":true}}
          1< {"result":{"collections":{"a?from=0":[2,1]}},"id":2}
          1 done
        1> 3 unsubscribe.a
          1< {"id":3}
          1 done
        1> 4 unsubscribe.a?from=0
          1< {"id":4}
          1 done
    "#]]);
}

#[test]
fn query_events_come_in_the_order_of_the_service() {
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
        1> 2 subscribe.a?q=1
          ask get.a {"query":"q=1"}
          ask access.a {"cid":"c1","token":null,"query":"q=1"}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"collection":["a","b"],"query":"q=1"}}
          1< {"result":{"collections":{"a?q=1":["a","b"]}},"id":2}
          1 done
        1> 3 subscribe.a?q=2
          ask get.a {"query":"q=2"}
          ask access.a {"cid":"c1","token":null,"query":"q=2"}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"collection":["c"],"query":"q=2"}}
          1< {"result":{"collections":{"a?q=2":["c"]}},"id":3}
          1 done
        event.a.query {"subject":"_R_"}
          ask _R_ {"query":"q=1"}
          ask _R_ {"query":"q=2"}
        event.a.change {"values":{"x":2}}
        event.a.custom 7
        event.a.reaccess
          ask access.a {"cid":"c1","token":null}
          ask access.a {"cid":"c1","token":null,"query":"q=1"}
          ask access.a {"cid":"c1","token":null,"query":"q=2"}
        access.a = {"result":{"get":true}}
        event.a.query {"subject":"_S_"}
        event.a.change {"values":{"x":3}}
        1> 4 get.a?q=3
          ask get.a {"query":"q=3"}
          ask access.a {"cid":"c1","token":null,"query":"q=3"}
        get.a = {"result":{"collection":[],"query":"q=3"}}
        access.a = {"result":{"get":true}}
        access.a = {"result":{"get":true}}
        access.a = {"result":{"get":true}}
        _R_ = {"result":{"events":[{"event":"add","data":{"idx":1,"value":"x"}},{"event":"mine","data":{"n" : 1}},{"event":"remove","data":{"idx":0}},{"event":"bare"}]}}
          1< {"event":"a?q=1.add","data":{"idx":1,"value":"x"}}
          1< {"event":"a?q=1.mine","data":{"n" : 1}}
          1< {"event":"a?q=1.remove","data":{"idx":0}}
          1< {"event":"a?q=1.bare","data":null}
        _R_ = {"result":{}}
          1< {"event":"a.change","data":{"values":{"x":2}}}
          1< {"event":"a.custom","data":7}
          ask _S_ {"query":"q=1"}
          ask _S_ {"query":"q=2"}
        _S_ = {"result":{"collection":["b","x"]}}
          1< {"event":"a?q=1.remove","data":{"idx":0}}
          1< {"event":"a?q=1.add","data":{"idx":1,"value":"x"}}
        _S_ = {"result":{"events":null}}
          1< {"event":"a.change","data":{"values":{"x":3}}}
          1< {"result":{"collections":{"a?q=3":[]}},"id":4}
          1 done
    "#]]);
}

#[test]
fn answers_to_query_requests_may_be_anything() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a?q=1
          listen event.a.*
          ask get.a {"query":"q=1"}
          ask access.a {"cid":"c1","token":null,"query":"q=1"}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1},"query":"q=1"}}
          1< {"result":{"models":{"a?q=1":{"x":1}}},"id":1}
          1 done
        event.a.query
          malformed event: event.a.query: no JSON object with a subject
        event.a.query {}
          malformed event: event.a.query: no JSON object with a subject
        event.a.query {"subject":42}
          malformed event: event.a.query: no JSON object with a subject
        event.a.query {"subject":""}
          malformed event: event.a.query: its subject cannot be published to
        event.a.query {"subject":"a.>"}
          malformed event: event.a.query: its subject cannot be published to
        event.a.query {"subject":"_R1_"}
          ask _R1_ {"query":"q=1"}
        _R1_ = {"result":{"model":{"x":1},"events":[]}}
          malformed query: _R1_: its result is neither events nor a model or a collection
        event.a.query {"subject":"_R2_"}
          ask _R2_ {"query":"q=1"}
        _R2_ = {"result":{"collection":[]}}
        event.a.query {"subject":"_R3_"}
          ask _R3_ {"query":"q=1"}
        _R3_ = {"error":{"code":"system.internalError","message":"Internal error"}}
        event.a.query {"subject":"_R4_"}
          ask _R4_ {"query":"q=1"}
        _R4_ = {"result":{"model":{"y":1}}}
          1< {"event":"a?q=1.change","data":{"values":{"x":{"action":"delete"},"y":1}}}
        event.a.query {"subject":"_R5_"}
          ask _R5_ {"query":"q=1"}
        _R5_ = none
          ask get.a {"query":"q=1"}
        get.a = {"result":{"model":{"y":2},"query":"q=1"}}
          1< {"event":"a?q=1.change","data":{"values":{"y":2}}}
        event.a.query {"subject":"_R6_"}
          ask _R6_ {"query":"q=1"}
        wait 3000
          release _R6_
          ask get.a {"query":"q=1"}
        get.a = {"result":{"model":{"y":2},"query":"q=1"}}
        event.a.query {"subject":"_R7_"}
          ask _R7_ {"query":"q=1"}
        _R7_ = {"result":{"events":[{"event":"delete"},{"event":"change","data":{"values":{"y":3}}}]}}
          release event.a.*
          1< {"event":"a?q=1.delete","data":null}
          1< {"event":"a?q=1.unsubscribe","data":{"reason":{"code":"system.deleted","message":"Deleted"}}}
        event.a.query {"subject":"_R8_"}
        1> 2 subscribe.a?q=1
          listen event.a.*
          ask get.a {"query":"q=1"}
          ask access.a {"cid":"c1","token":null,"query":"q=1"}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1},"query":"q=1"}}
          1< {"result":{"models":{"a?q=1":{"x":1}}},"id":2}
          1 done
        event.a.query {"subject":"_R9_"}
          ask _R9_ {"query":"q=1"}
        _R9_ = {"error":{"code":"system.notFound","message":"Not found"}}
          release event.a.*
          1< {"event":"a?q=1.delete","data":null}
          1< {"event":"a?q=1.unsubscribe","data":{"reason":{"code":"system.deleted","message":"Deleted"}}}
    "#]]);
}

#[test]
fn unsubscribing_ends_a_query_request_and_releases_the_events_behind_it() {
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
        1> 2 subscribe.a?q=1
          ask get.a {"query":"q=1"}
          ask access.a {"cid":"c1","token":null,"query":"q=1"}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"collection":["a","b"],"query":"q=1"}}
          1< {"result":{"collections":{"a?q=1":["a","b"]}},"id":2}
          1 done
        event.a.query {"subject":"_R_"}
          ask _R_ {"query":"q=1"}
        event.a.change {"values":{"x":2}}
        1> 3 unsubscribe.a?q=1
          release _R_
          1< {"id":3}
          1 done
          1< {"event":"a.change","data":{"values":{"x":2}}}
        event.a.change {"values":{"x":3}}
          1< {"event":"a.change","data":{"values":{"x":3}}}
    "#]]);
}

#[test]
fn a_reset_during_a_query_event_outdates_an_answer_that_waits() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a?q=1
          listen event.a.*
          ask get.a {"query":"q=1"}
          ask access.a {"cid":"c1","token":null,"query":"q=1"}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"collection":["a","b"],"query":"q=1"}}
          1< {"result":{"collections":{"a?q=1":["a","b"]}},"id":1}
          1 done
        event.a.query {"subject":"_R_"}
          ask _R_ {"query":"q=1"}
        1> 2 subscribe.a
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1}}}
        system.reset {"resources":["a"]}
          ask get.a {"query":"q=1"}
          ask get.a {}
        get.a = {"result":{"collection":["a"],"query":"q=1"}}
        get.a = {"result":{"model":{"x":2}}}
        event.a.change {"values":{"x":3}}
        _R_ = {"result":{"events":[{"event":"add","data":{"idx":2,"value":"c"}}]}}
          1< {"event":"a?q=1.add","data":{"idx":2,"value":"c"}}
          1< {"event":"a?q=1.remove","data":{"idx":2}}
          1< {"event":"a?q=1.remove","data":{"idx":1}}
          1< {"result":{"models":{"a":{"x":2}}},"id":2}
          1 done
          1< {"event":"a.change","data":{"values":{"x":3}}}
    "#]]);
}

#[test]
fn a_few_query_requests_are_under_way_at_a_time() {
    check_with(
        Config { max_query_requests: 2, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 1 subscribe.a?q=1
              listen event.a.*
              ask get.a {"query":"q=1"}
              ask access.a {"cid":"c1","token":null,"query":"q=1"}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{"x":1},"query":"q=1"}}
              1< {"result":{"models":{"a?q=1":{"x":1}}},"id":1}
              1 done
            1> 2 subscribe.a?q=2
              ask get.a {"query":"q=2"}
              ask access.a {"cid":"c1","token":null,"query":"q=2"}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{"x":1},"query":"q=2"}}
              1< {"result":{"models":{"a?q=2":{"x":1}}},"id":2}
              1 done
            1> 3 subscribe.a?q=3
              ask get.a {"query":"q=3"}
              ask access.a {"cid":"c1","token":null,"query":"q=3"}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{"x":1},"query":"q=3"}}
              1< {"result":{"models":{"a?q=3":{"x":1}}},"id":3}
              1 done
            event.a.query {"subject":"_R_"}
              ask _R_ {"query":"q=1"}
              ask _R_ {"query":"q=2"}
            _R_ = {"result":{}}
              ask _R_ {"query":"q=3"}
            1> 4 unsubscribe.a?q=2
              release _R_
              1< {"id":4}
              1 done
            _R_ = {"result":{"events":[{"event":"change","data":{"values":{"x":2}}}]}}
              1< {"event":"a?q=3.change","data":{"values":{"x":2}}}
        "#]],
    );
}

#[test]
fn when_too_much_waits_for_query_requests_the_resources_are_fetched_again() {
    check_with(
        Config { max_waiting_events: 2, ..Config::default() },
        &expect![[r#"
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
            1> 2 subscribe.a?q=1
              ask get.a {"query":"q=1"}
              ask access.a {"cid":"c1","token":null,"query":"q=1"}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{"x":1},"query":"q=1"}}
              1< {"result":{"models":{"a?q=1":{"x":1}}},"id":2}
              1 done
            event.a.query {"subject":"_R_"}
              ask _R_ {"query":"q=1"}
            event.a.change {"values":{"x":2}}
            event.a.change {"values":{"x":3}}
            event.a.change {"values":{"x":4}}
              release _R_
              ask get.a {"query":"q=1"}
              1< {"event":"a.change","data":{"values":{"x":2}}}
              1< {"event":"a.change","data":{"values":{"x":3}}}
              1< {"event":"a.change","data":{"values":{"x":4}}}
            get.a = {"result":{"model":{"x":5},"query":"q=1"}}
              1< {"event":"a?q=1.change","data":{"values":{"x":5}}}
        "#]],
    );
}

#[test]
fn the_events_of_a_name_are_listened_to_for_a_while_after_its_last_query() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 2 subscribe.a?q=1
          listen event.a.*
          ask get.a {"query":"q=1"}
          ask access.a {"cid":"c1","token":null,"query":"q=1"}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1},"query":"q=1"}}
          1< {"result":{"models":{"a?q=1":{"x":1}}},"id":2}
          1 done
        1> 3 unsubscribe.a?q=1
          1< {"id":3}
          1 done
        event.a.query {"subject":"s"}
        event.a.change {"values":{"x":2}}
        wait 4999
        1> 4 subscribe.a?q=1
          ask get.a {"query":"q=1"}
          ask access.a {"cid":"c1","token":null,"query":"q=1"}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1},"query":"q=1"}}
          1< {"result":{"models":{"a?q=1":{"x":1}}},"id":4}
          1 done
        1> 5 unsubscribe.a?q=1
          1< {"id":5}
          1 done
        wait 4999
        wait 1
          release event.a.*
        1> 6 subscribe.a?q=1
          listen event.a.*
          ask get.a {"query":"q=1"}
          ask access.a {"cid":"c1","token":null,"query":"q=1"}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1},"query":"q=1"}}
          1< {"result":{"models":{"a?q=1":{"x":1}}},"id":6}
          1 done
        1> 7 unsubscribe.a?q=1
          1< {"id":7}
          1 done
        down
          1 close 1012 the message bus was lost
          release conn.c1.token
          release event.a.*
        up
    "#]]);
}

#[test]
fn unused_names_are_kept_in_a_bounded_number() {
    check_with(
        Config { max_idle_resources: 1, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            1> 2 subscribe.a?q=1
              listen event.a.*
              ask get.a {"query":"q=1"}
              ask access.a {"cid":"c1","token":null,"query":"q=1"}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{"x":1},"query":"q=1"}}
              1< {"result":{"models":{"a?q=1":{"x":1}}},"id":2}
              1 done
            1> 3 unsubscribe.a?q=1
              1< {"id":3}
              1 done
            1> 4 subscribe.b?q=1
              listen event.b.*
              ask get.b {"query":"q=1"}
              ask access.b {"cid":"c1","token":null,"query":"q=1"}
            access.b = {"result":{"get":true}}
            get.b = {"result":{"model":{"x":1},"query":"q=1"}}
              1< {"result":{"models":{"b?q=1":{"x":1}}},"id":4}
              1 done
            1> 5 unsubscribe.b?q=1
              release event.a.*
              1< {"id":5}
              1 done
            1> 6 subscribe.c
              listen event.c.*
              ask get.c {}
              ask access.c {"cid":"c1","token":null}
            access.c = {"result":{"get":true}}
            get.c = {"result":{"model":{"x":1}}}
              1< {"result":{"models":{"c":{"x":1}}},"id":6}
              1 done
            1> 7 unsubscribe.c
              release event.b.*
              1< {"id":7}
              1 done
        "#]],
    );
}

#[test]
fn one_connection_has_one_resource_by_a_bounded_number_of_names() {
    check_with(
        Config { max_direct_subscriptions: 2, ..Config::default() },
        &expect![[r#"
            open 1 c1
              listen conn.c1.token
            open 2 c2
              listen conn.c2.token
            1> 1 subscribe.a?q=1
              listen event.a.*
              ask get.a {"query":"q=1"}
              ask access.a {"cid":"c1","token":null,"query":"q=1"}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{"x":1}}}
              1< {"result":{"models":{"a?q=1":{"x":1}}},"id":1}
              1 done
            1> 2 subscribe.a?q=2
              ask get.a {"query":"q=2"}
              ask access.a {"cid":"c1","token":null,"query":"q=2"}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{"x":1}}}
              1< {"result":{"models":{"a?q=2":{"x":1}}},"id":2}
              1 done
            1> 3 subscribe.a?q=3
              ask get.a {"query":"q=3"}
              ask access.a {"cid":"c1","token":null,"query":"q=3"}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{"x":1}}}
              1< {"error":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"},"id":3}
              1 done
            1> 4 get.a
              ask access.a {"cid":"c1","token":null}
            access.a = {"result":{"get":true}}
              1< {"error":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"},"id":4}
              1 done
            2> 1 subscribe.a?q=3
              ask get.a {"query":"q=3"}
              ask access.a {"cid":"c2","token":null,"query":"q=3"}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{"x":1}}}
              2< {"result":{"models":{"a?q=3":{"x":1}}},"id":1}
              2 done
            1> 5 subscribe.b
              listen event.b.*
              ask get.b {}
              ask access.b {"cid":"c1","token":null}
            access.b = {"result":{"get":true}}
            get.b = {"result":{"collection":[{"rid":"a"},{"rid":"a?q=3"}]}}
              1< {"result":{"collections":{"b":[{"rid":"a"},{"rid":"a?q=3"}]},"errors":{"a":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"},"a?q=3":{"code":"system.subscriptionLimitExceeded","message":"Subscription limit exceeded"}}},"id":5}
              1 done
            event.a.change {"values":{"x":2}}
              1< {"event":"a?q=1.change","data":{"values":{"x":2}}}
              1< {"event":"a?q=2.change","data":{"values":{"x":2}}}
              2< {"event":"a?q=3.change","data":{"values":{"x":2}}}
            1> 6 unsubscribe.a?q=1
              1< {"id":6}
              1 done
            1> 7 subscribe.a?q=4
              ask get.a {"query":"q=4"}
              ask access.a {"cid":"c1","token":null,"query":"q=4"}
            access.a = {"result":{"get":true}}
            get.a = {"result":{"model":{"x":1}}}
              1< {"result":{"models":{"a?q=4":{"x":2}}},"id":7}
              1 done
        "#]],
    );
}
