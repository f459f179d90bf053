//! Resources that refer to others, and which of them a client has.

use expect_test::expect;

use super::check;

#[test]
fn referenced_resources_come_along() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"b":{"rid":"b"},"c":{"rid":"c","soft":true},"d":{"rid":"b"}}}}
          listen event.b.*
          ask get.b {}
        get.b = {"result":{"collection":[{"rid":"d"},{"rid":"e"}]}}
          listen event.d.*
          ask get.d {}
          listen event.e.*
          ask get.e {}
        get.e = {"error":{"code":"system.notFound","message":"Not found"}}
          release event.e.*
        event.b.custom
        get.d = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"a":{"b":{"rid":"b"},"c":"c","d":{"rid":"b"}},"d":{"x":1}},"collections":{"b":[{"rid":"d"},{"rid":"e"}]},"errors":{"e":{"code":"system.notFound","message":"Not found"}}},"id":1}
          1 done
          1< {"event":"b.custom","data":null}
        event.d.change {"values":{"x":2}}
          1< {"event":"d.change","data":{"values":{"x":2}}}
        1> 2 subscribe.b
          ask access.b {"cid":"c1","token":null}
        access.b = {"result":{"get":true}}
          1< {"result":{},"id":2}
          1 done
        1> 3 unsubscribe.a
          1< {"id":3}
          1 done
        event.d.change {"values":{"x":3}}
          1< {"event":"d.change","data":{"values":{"x":3}}}
        1> 4 unsubscribe.b
          1< {"id":4}
          1 done
        event.d.change {"values":{"x":4}}
    "#]]);
}

#[test]
fn circles_are_sent_once_and_let_go() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"b":{"rid":"b"},"me":{"rid":"a"}}}}
          listen event.b.*
          ask get.b {}
        get.b = {"result":{"model":{"a":{"rid":"a"}}}}
          1< {"result":{"models":{"a":{"b":{"rid":"b"},"me":{"rid":"a"}},"b":{"a":{"rid":"a"}}}},"id":1}
          1 done
        1> 2 subscribe.b
          ask access.b {"cid":"c1","token":null}
        access.b = {"result":{"get":true}}
          1< {"result":{},"id":2}
          1 done
        1> 3 unsubscribe.a
          1< {"id":3}
          1 done
        event.a.custom 1
          1< {"event":"a.custom","data":1}
        1> 4 unsubscribe.b
          1< {"id":4}
          1 done
        event.a.custom 2
        wait 5000
          release event.a.*
          release event.b.*
    "#]]);
}

#[test]
fn new_references_are_loaded_before_their_event_and_events_behind_it_wait() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"b":null,"x":1}}}
          1< {"result":{"models":{"a":{"b":null,"x":1}}},"id":1}
          1 done
        event.a.change {"values":{"b":{"rid":"b"}}}
          listen event.b.*
          ask get.b {}
        event.a.change {"values":{"x":2}}
        event.a.custom
        get.b = {"result":{"model":{"c":{"rid":"c"}}}}
          listen event.c.*
          ask get.c {}
        event.b.change {"values":{"y":1}}
        get.c = none
          release event.c.*
          1< {"event":"a.change","data":{"values":{"b":{"rid":"b"}},"models":{"b":{"c":{"rid":"c"}}},"errors":{"c":{"code":"system.notFound","message":"Not found"}}}}
          1< {"event":"b.change","data":{"values":{"y":1}}}
          1< {"event":"a.change","data":{"values":{"x":2}}}
          1< {"event":"a.custom","data":null}
        event.a.change {"values":{"b":{"rid":"b"},"d":{"rid":"b"}}}
          1< {"event":"a.change","data":{"values":{"d":{"rid":"b"}}}}
        event.a.change {"values":{"b":null}}
          1< {"event":"a.change","data":{"values":{"b":null}}}
        event.b.custom 1
          1< {"event":"b.custom","data":1}
        event.a.change {"values":{"d":{"action":"delete"}}}
          1< {"event":"a.change","data":{"values":{"d":{"action":"delete"}}}}
        event.b.custom 2
    "#]]);
}

#[test]
fn values_of_a_collection_bring_the_resources_they_refer_to_and_take_them_away() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"collection":[]}}
          1< {"result":{"collections":{"a":[]}},"id":1}
          1 done
        event.a.add {"idx":0,"value":{"rid":"b"}}
          listen event.b.*
          ask get.b {}
        event.a.add {"idx":1,"value":{"rid":"b"}}
        get.b = {"result":{"model":{"x":1}}}
          1< {"event":"a.add","data":{"idx":0,"value":{"rid":"b"},"models":{"b":{"x":1}}}}
          1< {"event":"a.add","data":{"idx":1,"value":{"rid":"b"}}}
        event.a.remove {"idx":0}
          1< {"event":"a.remove","data":{"idx":0}}
        event.b.custom 1
          1< {"event":"b.custom","data":1}
        event.a.remove {"idx":0}
          1< {"event":"a.remove","data":{"idx":0}}
        event.b.custom 2
        event.a.add {"idx":0,"value":{"rid":"b"}}
          1< {"event":"a.add","data":{"idx":0,"value":{"rid":"b"},"models":{"b":{"x":1}}}}
    "#]]);
}

#[test]
fn a_moved_reference_is_not_sent_again() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"b":{"rid":"b"},"c":null}}}
          listen event.b.*
          ask get.b {}
        get.b = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"a":{"b":{"rid":"b"},"c":null},"b":{"x":1}}},"id":1}
          1 done
        event.a.change {"values":{"b":null,"c":{"rid":"b"}}}
          1< {"event":"a.change","data":{"values":{"b":null,"c":{"rid":"b"}}}}
    "#]]);
}

#[test]
fn a_resource_unsubscribed_in_the_meantime_is_sent_again() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.m
          listen event.m.*
          ask get.m {}
          ask access.m {"cid":"c1","token":null}
        access.m = {"result":{"get":true}}
        get.m = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"m":{"x":1}}},"id":1}
          1 done
        1> 2 subscribe.p
          listen event.p.*
          ask get.p {}
          ask access.p {"cid":"c1","token":null}
        access.p = {"result":{"get":true}}
        get.p = {"result":{"model":{"m":{"rid":"m"},"late":{"rid":"late"}}}}
          listen event.late.*
          ask get.late {}
        1> 3 unsubscribe.m
          1< {"id":3}
          1 done
        event.m.change {"values":{"x":2}}
        get.late = {"result":{"model":{}}}
          1< {"result":{"models":{"late":{},"m":{"x":1},"p":{"late":{"rid":"late"},"m":{"rid":"m"}}}},"id":2}
          1 done
          1< {"event":"m.change","data":{"values":{"x":2}}}
        event.m.change {"values":{"x":3}}
          1< {"event":"m.change","data":{"values":{"x":3}}}
    "#]]);
}

#[test]
fn a_parent_may_be_unsubscribed_before_its_new_reference_is_loaded() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"b":null}}}
          1< {"result":{"models":{"a":{"b":null}}},"id":1}
          1 done
        event.a.change {"values":{"b":{"rid":"b"}}}
          listen event.b.*
          ask get.b {}
        1> 2 unsubscribe.a
          1< {"id":2}
          1 done
        get.b = {"result":{"model":{}}}
        wait 5000
          release event.a.*
          release event.b.*
    "#]]);
}

#[test]
fn a_reference_that_failed_to_load_is_fetched_when_it_is_subscribed_to() {
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
        wait 3000
          release get.b
          release event.b.*
          1< {"result":{"models":{"a":{"b":{"rid":"b"}}},"errors":{"b":{"code":"system.timeout","message":"Request timeout"}}},"id":1}
          1 done
        1> 2 subscribe.b
          listen event.b.*
          ask get.b {}
          ask access.b {"cid":"c1","token":null}
        access.b = {"result":{"get":true}}
        get.b = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"b":{"x":1}}},"id":2}
          1 done
        event.b.change {"values":{"x":2}}
          1< {"event":"b.change","data":{"values":{"x":2}}}
        1> 3 unsubscribe.b
          1< {"id":3}
          1 done
        event.b.change {"values":{"x":3}}
          1< {"event":"b.change","data":{"values":{"x":3}}}
    "#]]);
}

#[test]
fn references_are_shared_by_connections() {
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
        get.a = {"result":{"model":{"b":{"rid":"b"}}}}
          listen event.b.*
          ask get.b {}
        2> 1 subscribe.a
          ask access.a {"cid":"c2","token":null}
        access.a = {"result":{"get":true}}
        get.b = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"a":{"b":{"rid":"b"}},"b":{"x":1}}},"id":1}
          1 done
          2< {"result":{"models":{"a":{"b":{"rid":"b"}},"b":{"x":1}}},"id":1}
          2 done
        event.b.change {"values":{"x":2}}
          1< {"event":"b.change","data":{"values":{"x":2}}}
          2< {"event":"b.change","data":{"values":{"x":2}}}
    "#]]);
}

#[test]
fn a_resource_brought_by_a_get_stays_if_something_refers_to_it() {
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
        get.b = {"error":{"code":"system.timeout","message":"Request timeout"}}
          release event.b.*
          1< {"result":{"models":{"a":{"b":{"rid":"b"}}},"errors":{"b":{"code":"system.timeout","message":"Request timeout"}}},"id":1}
          1 done
        1> 2 get.b
          listen event.b.*
          ask get.b {}
          ask access.b {"cid":"c1","token":null}
        access.b = {"result":{"get":true}}
        get.b = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"b":{"x":1}}},"id":2}
          1 done
        event.b.change {"values":{"x":2}}
          1< {"event":"b.change","data":{"values":{"x":2}}}
    "#]]);
}
