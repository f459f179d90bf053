//! Subscribing, unsubscribing, and what is kept for how long.

use expect_test::expect;

use super::check;

#[test]
fn a_resource_is_loaded_once_and_sent_to_all() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        open 2 c2
          listen conn.c2.token
        1> 1 subscribe.a.b
          listen event.a.b.*
          ask get.a.b {}
          ask access.a.b {"cid":"c1","token":null}
        access.a.b = {"result":{"get":true}}
        get.a.b = {"result":{"model":{"x":1,"y":{"data":[1]}}}}
          1< {"result":{"models":{"a.b":{"x":1,"y":"[Data]"}}},"id":1}
          1 done
        2> 1 subscribe.a.b
          ask access.a.b {"cid":"c2","token":null}
        access.a.b = {"result":{"get":true}}
          2< {"result":{"models":{"a.b":{"x":1,"y":"[Data]"}}},"id":1}
          2 done
        1> 2 subscribe.a.b
          1< {"result":{},"id":2}
          1 done
        event.a.b.change {"values":{"x":2}}
          1< {"event":"a.b.change","data":{"values":{"x":2}}}
          2< {"event":"a.b.change","data":{"values":{"x":2}}}
    "#]]);
}

#[test]
fn either_answer_may_be_a_refusal() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        get.a = {"error":{"code":"system.notFound","message":"Not found","data":{"x":1}}}
          release event.a.*
        access.a = {"result":{"get":true}}
          1< {"error":{"code":"system.notFound","message":"Not found","data":{"x":1}},"id":1}
          1 done
        1> 2 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"call":"x"}}
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":2}
          1 done
        get.a = {"result":{"model":{}}}
        1> 3 subscribe.a
          ask access.a {"cid":"c1","token":null}
        access.a = {"error":{"code":"a.no","message":"No"}}
          1< {"error":{"code":"a.no","message":"No"},"id":3}
          1 done
        1> 4 subscribe.a
          ask access.a {"cid":"c1","token":null}
        access.a = none
          1< {"error":{"code":"system.notFound","message":"Not found"},"id":4}
          1 done
        wait 5000
          release event.a.*
        1> 5 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        get.a = none
          release event.a.*
        access.a = {"result":{"get":true}}
          1< {"error":{"code":"system.notFound","message":"Not found"},"id":5}
          1 done
        1> 6 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        get.a = {"result":{"model":{},"collection":[]}}
          malformed get: get.a: its result is neither a model nor a collection of valid values
          release event.a.*
        access.a = {"result":{"get":true}}
          1< {"error":{"code":"system.internalError","message":"Internal error: invalid service response"},"id":6}
          1 done
        1> 7 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        wait 3000
          release get.a
          release event.a.*
          1< {"error":{"code":"system.timeout","message":"Request timeout"},"id":7}
          1 done
    "#]]);
}

#[test]
fn a_resource_subscribed_to_twice_is_unsubscribed_from_twice() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 unsubscribe.a
          1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":1}
          1 done
        1> 2 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        get.a = {"result":{"model":{}}}
        access.a = {"result":{"get":true}}
          1< {"result":{"models":{"a":{}}},"id":2}
          1 done
        1> 3 subscribe.a
          1< {"result":{},"id":3}
          1 done
        1> 4 subscribe.a
          1< {"result":{},"id":4}
          1 done
        1> 5 unsubscribe.a {"count":4}
          1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":5}
          1 done
        1> 6 unsubscribe.a {"count":0}
          1< {"error":{"code":"system.invalidParams","message":"Invalid parameters"},"id":6}
          1 done
        1> 7 unsubscribe.a {"count":-1}
          1< {"error":{"code":"system.invalidParams","message":"Invalid parameters"},"id":7}
          1 done
        1> 8 unsubscribe.a {"count":2}
          1< {"id":8}
          1 done
        event.a.custom 1
          1< {"event":"a.custom","data":1}
        1> 9 unsubscribe.a
          1< {"id":9}
          1 done
        event.a.custom 2
        1> 10 unsubscribe.a
          1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":10}
          1 done
    "#]]);
}

#[test]
fn a_resource_may_be_unsubscribed_from_before_it_is_loaded() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        1> 2 subscribe.a
        1> 3 unsubscribe.a
          1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":2}
          1 done
          1< {"id":3}
          1 done
        get.a = {"result":{"model":{}}}
        1> 4 unsubscribe.a
          1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":1}
          1 done
          release access.a
          1< {"id":4}
          1 done
        wait 5000
          release event.a.*
    "#]]);
}

#[test]
fn a_get_makes_no_subscription() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 get.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        get.a = {"result":{"collection":[1,"x"]}}
        access.a = {"result":{"get":true}}
          1< {"result":{"collections":{"a":[1,"x"]}},"id":1}
          1 done
        event.a.custom
        1> 2 unsubscribe.a
          1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":2}
          1 done
        1> 3 subscribe.a
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
          1< {"result":{"collections":{"a":[1,"x"]}},"id":3}
          1 done
        1> 4 get.a
          1< {"result":{},"id":4}
          1 done
        event.a.custom
          1< {"event":"a.custom","data":null}
        1> 5 get.b
          listen event.b.*
          ask get.b {}
          ask access.b {"cid":"c1","token":null}
        access.b = {"result":{"get":false}}
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":5}
          1 done
    "#]]);
}

#[test]
fn a_resource_is_kept_for_five_seconds_after_its_last_subscriber() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        get.a = {"result":{"model":{"x":1}}}
        access.a = {"result":{"get":true}}
          1< {"result":{"models":{"a":{"x":1}}},"id":1}
          1 done
        1> 2 unsubscribe.a
          1< {"id":2}
          1 done
        wait 4999
        event.a.change {"values":{"x":2}}
        1> 3 subscribe.a
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
          1< {"result":{"models":{"a":{"x":2}}},"id":3}
          1 done
        wait 1
        1> 4 unsubscribe.a
          1< {"id":4}
          1 done
        wait 4999
        wait 1
          release event.a.*
        1> 5 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
    "#]]);
}

#[test]
fn queries_are_resources_of_their_own() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a?x=1
          listen event.a.*
          ask get.a {"query":"x=1"}
          ask access.a {"cid":"c1","token":null,"query":"x=1"}
        1> 2 subscribe.a?x=2
          ask get.a {"query":"x=2"}
          ask access.a {"cid":"c1","token":null,"query":"x=2"}
        1> 3 subscribe.a?
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        access.a = {"result":{"get":true}}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1},"query":"x=1"}}
          1< {"result":{"models":{"a?x=1":{"x":1}}},"id":1}
          1 done
        get.a = {"result":{"model":{"x":2},"query":"x=2"}}
          1< {"result":{"models":{"a?x=2":{"x":2}}},"id":2}
          1 done
        get.a = {"result":{"model":{"x":3}}}
          1< {"result":{"models":{"a?":{"x":3}}},"id":3}
          1 done
        event.a.change {"values":{"x":4}}
          1< {"event":"a?.change","data":{"values":{"x":4}}}
        event.a.query {"subject":"q"}
          ask q {"query":"x=1"}
          ask q {"query":"x=2"}
        q = {"result":{"model":{"x":1}}}
        q = {"result":{"model":{"x":5}}}
          1< {"event":"a?x=2.change","data":{"values":{"x":5}}}
        1> 4 unsubscribe.a?x=1
          1< {"id":4}
          1 done
    "#]]);
}

#[test]
fn clients_see_the_tag_and_services_the_id() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        open 2 c2
          listen conn.c2.token
        1> 1 subscribe.user.{cid}?of={cid}
          listen event.user.c1.*
          ask get.user.c1 {"query":"of=c1"}
          ask access.user.c1 {"cid":"c1","token":null,"query":"of=c1"}
        2> 1 subscribe.user.{cid}
          listen event.user.c2.*
          ask get.user.c2 {}
          ask access.user.c2 {"cid":"c2","token":null}
        access.user.c1 = {"result":{"get":true}}
        get.user.c1 = {"result":{"model":{"id":1,"me":{"rid":"user.{cid}.more"}},"query":"of=c1"}}
          listen event.user.c1.more.*
          ask get.user.c1.more {}
        get.user.c1.more = {"result":{"model":{}}}
          1< {"result":{"models":{"user.{cid}.more":{},"user.{cid}?of={cid}":{"id":1,"me":{"rid":"user.{cid}.more"}}}},"id":1}
          1 done
        get.user.c2 = {"result":{"model":{"id":2}}}
        access.user.c2 = {"result":{"get":true}}
          2< {"result":{"models":{"user.{cid}":{"id":2}}},"id":1}
          2 done
        event.user.c2.change {"values":{"id":null}}
          2< {"event":"user.{cid}.change","data":{"values":{"id":null}}}
        1> 2 call.user.{cid}.set
          ask access.user.c1 {"cid":"c1","token":null}
    "#]]);
}

#[test]
fn events_from_before_the_answer_are_not_sent_after_it() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        event.a.add {"idx":0,"value":1}
        get.a = {"result":{"collection":[1]}}
          1< {"result":{"collections":{"a":[1]}},"id":1}
          1 done
        event.a.add {"idx":1,"value":2}
          1< {"event":"a.add","data":{"idx":1,"value":2}}
    "#]]);
}

#[test]
fn events_that_arrive_while_access_is_asked_are_sent_after_the_resource() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        open 2 c2
          listen conn.c2.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        get.a = {"result":{"model":{"x":1}}}
        access.a = {"result":{"get":true}}
          1< {"result":{"models":{"a":{"x":1}}},"id":1}
          1 done
        2> 1 subscribe.a
          ask access.a {"cid":"c2","token":null}
        event.a.change {"values":{"x":2}}
          1< {"event":"a.change","data":{"values":{"x":2}}}
        event.a.custom {"x":2}
          1< {"event":"a.custom","data":{"x":2}}
        access.a = {"result":{"get":true}}
          2< {"result":{"models":{"a":{"x":1}}},"id":1}
          2 done
          2< {"event":"a.change","data":{"values":{"x":2}}}
          2< {"event":"a.custom","data":{"x":2}}
        event.a.change {"values":{"x":3}}
          1< {"event":"a.change","data":{"values":{"x":3}}}
          2< {"event":"a.change","data":{"values":{"x":3}}}
    "#]]);
}
