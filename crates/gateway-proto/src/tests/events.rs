//! Events of services, and which client receives which of them.

use expect_test::expect;

use super::check;

#[test]
fn only_what_changes_is_sent_on() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 version {"protocol":"1.2.3"}
          1< {"result":{"protocol":"1.2.3"},"id":1}
          1 done
        1> 2 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1,"y":{"data":{"z":1}},"w":null}}}
          1< {"result":{"models":{"a":{"w":null,"x":1,"y":{"data":{"z":1}}}}},"id":2}
          1 done
        event.a.change {"values":{"x":1,"y":{"data":{"z":1}},"w":null,"gone":{"action":"delete"}}}
        event.a.change {"values":{"x":2,"y":{"data":{"z":1}},"new":{"data":"plain"}},"unknown":1}
          1< {"event":"a.change","data":{"values":{"new":"plain","x":2}}}
        event.a.change {"values":{"x":{"action":"delete"},"w":{"action":"delete"}}}
          1< {"event":"a.change","data":{"values":{"w":{"action":"delete"},"x":{"action":"delete"}}}}
        event.a.change {"x":3}
          1< {"event":"a.change","data":{"values":{"x":3}}}
        event.a.change {}
        event.a.change {"values":{"x":[1]}}
          malformed event: event.a.change: no JSON object of valid values
        event.a.change nonsense
          malformed event: event.a.change: no JSON object of valid values
        event.a.change
          malformed event: event.a.change: no JSON object of valid values
        event.a.add {"idx":0,"value":1}
          malformed event: event.a.add: the resource is a model
        event.a.remove {"idx":0}
          malformed event: event.a.remove: the resource is a model
        1> 3 get.a
          1< {"result":{},"id":3}
          1 done
        open 2 c2
          listen conn.c2.token
        2> 1 version {"protocol":"1.2.3"}
          2< {"result":{"protocol":"1.2.3"},"id":1}
          2 done
        2> 2 subscribe.a
          ask access.a {"cid":"c2","token":null}
        access.a = {"result":{"get":true}}
          2< {"result":{"models":{"a":{"new":"plain","x":3,"y":{"data":{"z":1}}}}},"id":2}
          2 done
    "#]]);
}

#[test]
fn collections_grow_and_shrink() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 version {"protocol":"1.2.3"}
          1< {"result":{"protocol":"1.2.3"},"id":1}
          1 done
        1> 2 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"collection":["x",{"rid":"s","soft":true}]}}
          1< {"result":{"collections":{"a":["x",{"rid":"s","soft":true}]}},"id":2}
          1 done
        event.a.add {"idx":2,"value":"y"}
          1< {"event":"a.add","data":{"idx":2,"value":"y"}}
        event.a.add {"idx":0,"value":{"data":[1]}}
          1< {"event":"a.add","data":{"idx":0,"value":{"data":[1]}}}
        event.a.add {"idx":5,"value":"z"}
          malformed event: event.a.add: its idx is beyond the end of the collection
        event.a.add {"idx":-1,"value":"z"}
          malformed event: event.a.add: no JSON object with an idx and a valid value
        event.a.add {"idx":0,"value":{"action":"delete"}}
          malformed event: event.a.add: no JSON object with an idx and a valid value
        event.a.remove {"idx":1}
          1< {"event":"a.remove","data":{"idx":1}}
        event.a.remove {"idx":3}
          malformed event: event.a.remove: its idx is beyond the end of the collection
        event.a.change {"values":{"x":1}}
          malformed event: event.a.change: the resource is a collection
        open 2 c2
          listen conn.c2.token
        2> 1 version {"protocol":"1.2.3"}
          2< {"result":{"protocol":"1.2.3"},"id":1}
          2 done
        2> 2 subscribe.a
          ask access.a {"cid":"c2","token":null}
        access.a = {"result":{"get":true}}
          2< {"result":{"collections":{"a":[{"data":[1]},{"rid":"s","soft":true},"y"]}},"id":2}
          2 done
    "#]]);
}

#[test]
fn custom_events_go_through_as_they_are() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        event.a.early 1
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{}}}
          1< {"result":{"models":{"a":{}}},"id":1}
          1 done
        event.a.rotated {"generation" : 7.0}
          1< {"event":"a.rotated","data":{"generation" : 7.0}}
        event.a.empty
          1< {"event":"a.empty","data":null}
        event.a.nothing null
          1< {"event":"a.nothing","data":null}
        event.a.broken {
          malformed event: event.a.broken: no JSON
        event.a.create
          1< {"event":"a.create","data":null}
        event.a.patch {"x":1}
          malformed event: event.a.patch: services must not send such an event
        event.a.reset {"x":1}
          malformed event: event.a.reset: services must not send such an event
        event.a.unsubscribe {"reason":{}}
          malformed event: event.a.unsubscribe: services must not send such an event
        event.b.custom
    "#]]);
}

#[test]
fn a_deletion_ends_the_resource_and_its_subscriptions() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        open 2 c2
          listen conn.c2.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        2> 1 subscribe.b
          listen event.b.*
          ask get.b {}
          ask access.b {"cid":"c2","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"a":{"x":1}}},"id":1}
          1 done
        access.b = {"result":{"get":true}}
        get.b = {"result":{"model":{"a":{"rid":"a"}}}}
          2< {"result":{"models":{"a":{"x":1},"b":{"a":{"rid":"a"}}}},"id":1}
          2 done
        event.a.delete
          release event.a.*
          1< {"event":"a.delete","data":null}
          1< {"event":"a.unsubscribe","data":{"reason":{"code":"system.deleted","message":"Deleted"}}}
          2< {"event":"a.delete","data":null}
        event.a.change {"values":{"x":2}}
        1> 2 unsubscribe.a
          1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":2}
          1 done
        1> 3 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":3}}}
          1< {"result":{"models":{"a":{"x":3}}},"id":3}
          1 done
        2> 2 subscribe.a
          ask access.a {"cid":"c2","token":null}
        access.a = {"result":{"get":true}}
          2< {"error":{"code":"system.deleted","message":"Deleted"},"id":2}
          2 done
        event.a.change {"values":{"x":4}}
          1< {"event":"a.change","data":{"values":{"x":4}}}
        2> 3 unsubscribe.b
          2< {"id":3}
          2 done
        2> 4 unsubscribe.a
          2< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":4}
          2 done
    "#]]);
}

#[test]
fn a_resource_may_be_deleted_while_it_is_waited_for() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        open 2 c2
          listen conn.c2.token
        2> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c2","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"x":1}}}
          2< {"result":{"models":{"a":{"x":1}}},"id":1}
          2 done
        1> 1 subscribe.a
          ask access.a {"cid":"c1","token":null}
        event.a.delete
          release event.a.*
          2< {"event":"a.delete","data":null}
          2< {"event":"a.unsubscribe","data":{"reason":{"code":"system.deleted","message":"Deleted"}}}
        access.a = {"result":{"get":true}}
          1< {"result":{"models":{"a":{"x":1}}},"id":1}
          1 done
          1< {"event":"a.delete","data":null}
          1< {"event":"a.unsubscribe","data":{"reason":{"code":"system.deleted","message":"Deleted"}}}
        1> 2 call.a.set
          ask access.a {"cid":"c1","token":null}
    "#]]);
}

#[test]
fn clients_before_1_2_1_see_no_soft_references_and_no_data() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        open 2 c2
          listen conn.c2.token
        1> 1 version {"protocol":"1.2.0"}
          1< {"result":{"protocol":"1.2.3"},"id":1}
          1 done
        2> 1 version {"protocol":"1.2.1"}
          2< {"result":{"protocol":"1.2.3"},"id":1}
          2 done
        1> 2 subscribe.m
          listen event.m.*
          ask get.m {}
          ask access.m {"cid":"c1","token":null}
        2> 2 subscribe.m
          ask access.m {"cid":"c2","token":null}
        access.m = {"result":{"get":true}}
        access.m = {"result":{"get":true}}
        get.m = {"result":{"model":{"x":{"data":[1]},"y":{"rid":"s","soft":true},"z":1}}}
          1< {"result":{"models":{"m":{"x":"[Data]","y":"s","z":1}}},"id":2}
          1 done
          2< {"result":{"models":{"m":{"x":{"data":[1]},"y":{"rid":"s","soft":true},"z":1}}},"id":2}
          2 done
        event.m.change {"values":{"x":{"data":[2]},"y":{"rid":"t","soft":true},"z":{"action":"delete"}}}
          1< {"event":"m.change","data":{"values":{"x":"[Data]","y":"t","z":{"action":"delete"}}}}
          2< {"event":"m.change","data":{"values":{"x":{"data":[2]},"y":{"rid":"t","soft":true},"z":{"action":"delete"}}}}
        1> 3 subscribe.c
          listen event.c.*
          ask get.c {}
          ask access.c {"cid":"c1","token":null}
        access.c = {"result":{"get":true}}
        get.c = {"result":{"collection":[{"data":[1]},{"rid":"s","soft":true}]}}
          1< {"result":{"collections":{"c":["[Data]","s"]}},"id":3}
          1 done
        event.c.add {"idx":0,"value":{"data":{}}}
          1< {"event":"c.add","data":{"idx":0,"value":"[Data]"}}
    "#]]);
}

#[test]
fn a_reference_to_a_deleted_resource_cannot_be_subscribed_to() {
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
        get.b = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"a":{"b":{"rid":"b"}},"b":{"x":1}}},"id":1}
          1 done
        event.b.delete
          release event.b.*
          1< {"event":"b.delete","data":null}
        1> 2 subscribe.b
          ask access.b {"cid":"c1","token":null}
        access.b = {"result":{"get":true}}
          1< {"error":{"code":"system.deleted","message":"Deleted"},"id":2}
          1 done
        event.a.change {"values":{"b":null}}
          1< {"event":"a.change","data":{"values":{"b":null}}}
        1> 3 subscribe.b
          listen event.b.*
          ask get.b {}
          ask access.b {"cid":"c1","token":null}
        access.b = {"result":{"get":true}}
        get.b = {"result":{"model":{"x":2}}}
          1< {"result":{"models":{"b":{"x":2}}},"id":3}
          1 done
    "#]]);
}
