//! Access: requested when, cached how long, and what waits for it.

use expect_test::expect;

use super::check;

#[test]
fn access_is_asked_once_for_a_resource_that_is_subscribed_to() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        get.a = {"result":{"model":{}}}
        access.a = {"result":{"get":true,"call":"set,other"}}
          1< {"result":{"models":{"a":{}}},"id":1}
          1 done
        1> 2 subscribe.a
          1< {"result":{},"id":2}
          1 done
        1> 3 call.a.set
          ask call.a.set {"cid":"c1","token":null,"params":null}
        call.a.set = {"result":null}
          1< {"result":null,"id":3}
          1 done
        1> 4 call.a.delete
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":4}
          1 done
        1> 5 unsubscribe.a {"count":2}
          1< {"id":5}
          1 done
        1> 6 subscribe.a
          ask access.a {"cid":"c1","token":null}
    "#]]);
}

#[test]
fn without_a_subscription_access_is_asked_for_every_call() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 call.a.set
          ask access.a {"cid":"c1","token":null}
        1> 2 call.a.set
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"call":"*"}}
          ask call.a.set {"cid":"c1","token":null,"params":null}
        call.a.set = {"result":1}
          1< {"result":1,"id":1}
          1 done
        access.a = {"error":{"code":"system.accessDenied","message":"Access denied"}}
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":2}
          1 done
        1> 3 call.a.set
          ask access.a {"cid":"c1","token":null}
        access.a = none
          1< {"error":{"code":"system.notFound","message":"Not found"},"id":3}
          1 done
    "#]]);
}

#[test]
fn only_granted_or_denied_access_is_kept() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.b
          listen event.b.*
          ask get.b {}
          ask access.b {"cid":"c1","token":null}
        get.b = {"result":{"model":{"a":{"rid":"a"}}}}
          listen event.a.*
          ask get.a {}
        get.a = {"result":{"model":{}}}
        access.b = {"result":{"get":true}}
          1< {"result":{"models":{"a":{},"b":{"a":{"rid":"a"}}}},"id":1}
          1 done
        1> 2 call.a.set
          ask access.a {"cid":"c1","token":null}
        access.a = none
          1< {"error":{"code":"system.notFound","message":"Not found"},"id":2}
          1 done
        1> 3 call.a.set
          ask access.a {"cid":"c1","token":null}
        access.a = {"error":{"code":"a.no","message":"No"}}
          1< {"error":{"code":"a.no","message":"No"},"id":3}
          1 done
        1> 4 call.a.set
          ask access.a {"cid":"c1","token":null}
        access.a = {"error":{"code":"system.accessDenied","message":"Access denied"}}
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":4}
          1 done
        1> 5 call.a.set
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":5}
          1 done
        1> 6 subscribe.a
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":6}
          1 done
        event.a.reaccess
        1> 7 subscribe.a
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
          1< {"result":{},"id":7}
          1 done
    "#]]);
}

#[test]
fn after_a_reaccess_event_the_events_of_a_resource_wait_for_the_answer() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        1> 2 subscribe.b
          listen event.b.*
          ask get.b {}
          ask access.b {"cid":"c1","token":null}
        get.a = {"result":{"model":{"x":1}}}
        get.b = {"result":{"model":{"x":1}}}
        access.a = {"result":{"get":true}}
          1< {"result":{"models":{"a":{"x":1}}},"id":1}
          1 done
        access.b = {"result":{"get":true}}
          1< {"result":{"models":{"b":{"x":1}}},"id":2}
          1 done
        event.a.reaccess
          ask access.a {"cid":"c1","token":null}
        event.a.change {"values":{"x":2}}
        event.b.change {"values":{"x":2}}
          1< {"event":"b.change","data":{"values":{"x":2}}}
        event.a.custom {"y":1}
        1> 3 call.a.set
        access.a = {"result":{"get":true,"call":"set"}}
          ask call.a.set {"cid":"c1","token":null,"params":null}
          1< {"event":"a.change","data":{"values":{"x":2}}}
          1< {"event":"a.custom","data":{"y":1}}
        event.a.change {"values":{"x":3}}
          1< {"event":"a.change","data":{"values":{"x":3}}}
        event.a.reaccess
          ask access.a {"cid":"c1","token":null}
        event.a.change {"values":{"x":4}}
        access.a = {"result":{"call":"set"}}
          1< {"event":"a.unsubscribe","data":{"reason":{"code":"system.accessDenied","message":"Access denied"}}}
        event.a.change {"values":{"x":5}}
        1> 4 unsubscribe.a
          1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":4}
          1 done
        event.b.reaccess
          ask access.b {"cid":"c1","token":null}
        wait 3000
          release call.a.set
          1< {"error":{"code":"system.timeout","message":"Request timeout"},"id":3}
          1 done
          release access.b
          1< {"event":"b.unsubscribe","data":{"reason":{"code":"system.timeout","message":"Request timeout"}}}
        1> 5 subscribe.b
          ask access.b {"cid":"c1","token":null}
    "#]]);
}

#[test]
fn an_access_answer_from_before_a_change_is_ignored() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        1> 2 get.a
        get.a = {"result":{"model":{}}}
        event.a.reaccess
          release access.a
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
          1< {"result":{"models":{"a":{}}},"id":1}
          1 done
          1< {"result":{},"id":2}
          1 done
        event.a.reaccess
          ask access.a {"cid":"c1","token":null}
        event.a.reaccess
          release access.a
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{}}
          1< {"event":"a.unsubscribe","data":{"reason":{"code":"system.accessDenied","message":"Access denied"}}}
    "#]]);
}

#[test]
fn access_is_asked_again_if_it_changes_before_the_resource_is_loaded() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        event.a.reaccess
          ask access.a {"cid":"c1","token":null}
        get.a = {"result":{"model":{}}}
        access.a = {"result":{}}
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":1}
          1 done
    "#]]);
}

#[test]
fn a_resource_that_others_refer_to_stays_without_direct_access() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        1> 2 subscribe.b
          listen event.b.*
          ask get.b {}
          ask access.b {"cid":"c1","token":null}
        get.a = {"result":{"model":{"x":1}}}
        get.b = {"result":{"model":{"a":{"rid":"a"}}}}
        access.a = {"result":{"get":true}}
          1< {"result":{"models":{"a":{"x":1}}},"id":1}
          1 done
        access.b = {"result":{"get":true}}
          1< {"result":{"models":{"b":{"a":{"rid":"a"}}}},"id":2}
          1 done
        event.a.reaccess
          ask access.a {"cid":"c1","token":null}
        event.a.change {"values":{"x":2}}
        access.a = {"result":{"get":false}}
          1< {"event":"a.unsubscribe","data":{"reason":{"code":"system.accessDenied","message":"Access denied"}}}
          1< {"event":"a.change","data":{"values":{"x":2}}}
        event.a.change {"values":{"x":3}}
          1< {"event":"a.change","data":{"values":{"x":3}}}
        1> 3 unsubscribe.a
          1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":3}
          1 done
        1> 4 unsubscribe.b
          1< {"id":4}
          1 done
        event.a.change {"values":{"x":4}}
    "#]]);
}

#[test]
fn a_reset_of_access_asks_for_every_matching_subscription() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        open 2 c2
          listen conn.c2.token
        1> 1 subscribe.a.b
          listen event.a.b.*
          ask get.a.b {}
          ask access.a.b {"cid":"c1","token":null}
        2> 2 subscribe.a.b
          ask access.a.b {"cid":"c2","token":null}
        1> 3 subscribe.a?q
          listen event.a.*
          ask get.a {"query":"q"}
          ask access.a {"cid":"c1","token":null,"query":"q"}
        get.a.b = {"result":{"model":{}}}
        access.a.b = {"result":{"get":true}}
          1< {"result":{"models":{"a.b":{}}},"id":1}
          1 done
        access.a.b = {"result":{"get":true}}
          2< {"result":{"models":{"a.b":{}}},"id":2}
          2 done
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{},"query":"q"}}
          1< {"result":{"models":{"a?q":{}}},"id":3}
          1 done
        system.reset {"access":["x.>","a.*.c","..","a.>"]}
          malformed system: system.reset: not each text of its lists is a pattern
          ask access.a.b {"cid":"c1","token":null}
          ask access.a.b {"cid":"c2","token":null}
        access.a.b = {"result":{"get":true}}
        access.a.b = {"result":{"get":false}}
          2< {"event":"a.b.unsubscribe","data":{"reason":{"code":"system.accessDenied","message":"Access denied"}}}
        system.reset {"access":["a"]}
          ask access.a {"cid":"c1","token":null,"query":"q"}
        access.a = {"error":{"code":"system.timeout","message":"Request timeout"}}
          1< {"event":"a?q.unsubscribe","data":{"reason":{"code":"system.timeout","message":"Request timeout"}}}
        system.reset nonsense
          malformed system: system.reset: no JSON object of lists of patterns
        system.reset
    "#]]);
}

#[test]
fn a_reaccess_after_the_unsubscription_releases_waiting_events() {
    check(&expect![[r#"
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
        1> 2 subscribe.b
          ask access.b {"cid":"c1","token":null}
        access.b = {"result":{"get":true}}
          1< {"result":{},"id":2}
          1 done
        event.b.reaccess
          ask access.b {"cid":"c1","token":null}
        event.b.custom 1
        1> 3 unsubscribe.b
          1< {"id":3}
          1 done
        event.b.custom 2
        event.b.reaccess
          release access.b
          1< {"event":"b.custom","data":1}
          1< {"event":"b.custom","data":2}
        event.b.custom 3
          1< {"event":"b.custom","data":3}
    "#]]);
}

#[test]
fn access_to_a_resource_that_comes_back_is_asked_again() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 version {"protocol":"1.2.3"}
          1< {"result":{"protocol":"1.2.3"},"id":1}
          1 done
        1> 2 auth.a.make
          ask auth.a.make {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.make = {"resource":{"rid":"r"}}
          listen event.r.*
          ask get.r {}
          ask access.r {"cid":"c1","token":null}
        access.r = {"result":{"get":true}}
        get.r = {"error":{"code":"system.notFound","message":"Not found"}}
          release event.r.*
          1< {"result":{"rid":"r","errors":{"r":{"code":"system.notFound","message":"Not found"}}},"id":2}
          1 done
        1> 3 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{}}}
          1< {"result":{"models":{"a":{}}},"id":3}
          1 done
        event.r.reaccess
        event.a.change {"values":{"r":{"rid":"r"}}}
          listen event.r.*
          ask get.r {}
          ask access.r {"cid":"c1","token":null}
        get.r = {"result":{"model":{"x":1}}}
          1< {"event":"a.change","data":{"values":{"r":{"rid":"r"}},"models":{"r":{"x":1}}}}
        event.r.change {"values":{"x":2}}
        access.r = {"result":{"get":false}}
          1< {"event":"r.unsubscribe","data":{"reason":{"code":"system.accessDenied","message":"Access denied"}}}
          1< {"event":"r.change","data":{"values":{"x":2}}}
        event.a.change {"values":{"r":null}}
          1< {"event":"a.change","data":{"values":{"r":null}}}
        event.r.change {"values":{"x":3}}
    "#]]);
}

#[test]
fn access_to_a_resource_that_cannot_be_loaded_is_asked_each_time() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"r":{"rid":"r"}}}}
          listen event.r.*
          ask get.r {}
        get.r = {"error":{"code":"system.notFound","message":"Not found"}}
          release event.r.*
          1< {"result":{"models":{"a":{"r":{"rid":"r"}}},"errors":{"r":{"code":"system.notFound","message":"Not found"}}},"id":1}
          1 done
        1> 2 subscribe.r
          listen event.r.*
          ask get.r {}
          ask access.r {"cid":"c1","token":null}
        access.r = {"result":{"get":true}}
        get.r = {"error":{"code":"system.notFound","message":"Not found"}}
          release event.r.*
          1< {"error":{"code":"system.notFound","message":"Not found"},"id":2}
          1 done
        event.r.reaccess
        1> 3 subscribe.r
          listen event.r.*
          ask get.r {}
          ask access.r {"cid":"c1","token":null}
        get.r = {"error":{"code":"system.notFound","message":"Not found"}}
          release event.r.*
        access.r = {"result":{"get":true}}
          1< {"error":{"code":"system.notFound","message":"Not found"},"id":3}
          1 done
        event.r.reaccess
        1> 4 subscribe.r
          listen event.r.*
          ask get.r {}
          ask access.r {"cid":"c1","token":null}
        get.r = {"result":{"model":{"x":1}}}
        access.r = {"result":{"get":false}}
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":4}
          1 done
    "#]]);
}

#[test]
fn a_new_subscription_to_a_resource_that_failed_to_load_waits_for_access_too() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 version {"protocol":"1.2.3"}
          1< {"result":{"protocol":"1.2.3"},"id":1}
          1 done
        1> 2 auth.a.make
          ask auth.a.make {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.make = {"resource":{"rid":"r"}}
          listen event.r.*
          ask get.r {}
          ask access.r {"cid":"c1","token":null}
        access.r = {"result":{"get":true}}
        get.r = {"error":{"code":"system.notFound","message":"Not found"}}
          release event.r.*
          1< {"result":{"rid":"r","errors":{"r":{"code":"system.notFound","message":"Not found"}}},"id":2}
          1 done
        1> 3 subscribe.r
          listen event.r.*
          ask get.r {}
          ask access.r {"cid":"c1","token":null}
        get.r = {"result":{"model":{"x":1}}}
        access.r = {"result":{"get":true}}
          1< {"result":{"models":{"r":{"x":1}}},"id":3}
          1 done
        event.r.change {"values":{"x":2}}
          1< {"event":"r.change","data":{"values":{"x":2}}}
    "#]]);
}
