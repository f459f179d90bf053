//! Methods, and the results that are resources.

use expect_test::expect;

use super::check;

#[test]
fn results_come_bare_before_1_2_0_and_in_an_object_since() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 auth.a.b
          ask auth.a.b {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.b = {"result": {"x" : 1.50}}
          1< {"result":{"x" : 1.50},"id":1} (secret)
          1 done
        1> 2 auth.a.b
          ask auth.a.b {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.b = {"result":null}
          1< {"result":null,"id":2} (secret)
          1 done
        1> 3 auth.a.b
          ask auth.a.b {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.b = {"resource":{"rid":"r?q=1"}}
          1< {"result":{"rid":"r?q=1"},"id":3} (secret)
          1 done
        1> 4 version {"protocol":"1.2.0"}
          1< {"result":{"protocol":"1.2.3"},"id":4}
          1 done
        1> 5 auth.a.b
          ask auth.a.b {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.b = {"result": {"x" : 1.50}}
          1< {"result":{"payload":{"x" : 1.50}},"id":5} (secret)
          1 done
        1> 6 auth.a.b
          ask auth.a.b {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.b = {"result":null}
          1< {"result":{"payload":null},"id":6} (secret)
          1 done
        1> 7 auth.a.b
          ask auth.a.b {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.b = {"error":{"code":"a.b","message":"c","data":[1]}}
          1< {"error":{"code":"a.b","message":"c","data":[1]},"id":7} (secret)
          1 done
    "#]]);
}

#[test]
fn a_result_that_is_a_resource_is_subscribed_to() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 version {"protocol":"1.2.3"}
          1< {"result":{"protocol":"1.2.3"},"id":1}
          1 done
        1> 2 call.a.make {"n":1}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"call":"make"}}
          ask call.a.make {"cid":"c1","token":null,"params":{"n":1}}
        call.a.make = {"resource":{"rid":"a.1"}}
          listen event.a.1.*
          ask get.a.1 {}
          ask access.a.1 {"cid":"c1","token":null}
        access.a.1 = {"result":{"get":true}}
        get.a.1 = {"result":{"model":{"n":1}}}
          1< {"result":{"rid":"a.1","models":{"a.1":{"n":1}}},"id":2}
          1 done
        event.a.1.change {"values":{"n":2}}
          1< {"event":"a.1.change","data":{"values":{"n":2}}}
        1> 3 auth.a.make
          ask auth.a.make {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.make = {"resource":{"rid":"a.1"}}
          1< {"result":{"rid":"a.1"},"id":3}
          1 done
        1> 4 unsubscribe.a.1 {"count":2}
          1< {"id":4}
          1 done
        1> 5 auth.a.make
          ask auth.a.make {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.make = {"resource":{"rid":"a.2"}}
          listen event.a.2.*
          ask get.a.2 {}
          ask access.a.2 {"cid":"c1","token":null}
        access.a.2 = {"result":{}}
          1< {"result":{"rid":"a.2","errors":{"a.2":{"code":"system.accessDenied","message":"Access denied"}}},"id":5}
          1 done
        1> 6 auth.a.make
          ask auth.a.make {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.make = {"resource":{"rid":"a.3"}}
          listen event.a.3.*
          ask get.a.3 {}
          ask access.a.3 {"cid":"c1","token":null}
        access.a.3 = {"result":{"get":true}}
        get.a.3 = {"error":{"code":"system.notFound","message":"Not found"}}
          release event.a.3.*
          1< {"result":{"rid":"a.3","errors":{"a.3":{"code":"system.notFound","message":"Not found"}}},"id":6}
          1 done
        1> 7 auth.a.make
          ask auth.a.make {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.make = {"resource":{"rid":"a..3"}}
          malformed auth: auth.a.make: no JSON object with a valid result, resource or error
          1< {"error":{"code":"system.internalError","message":"Internal error: invalid service response"},"id":7} (secret)
          1 done
    "#]]);
}

#[test]
fn a_new_request_makes_a_resource() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 new.a {"n":1}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"call":"new"}}
          ask call.a.new {"cid":"c1","token":null,"params":{"n":1}}
        call.a.new = {"resource":{"rid":"a.1"}}
          listen event.a.1.*
          ask get.a.1 {}
          ask access.a.1 {"cid":"c1","token":null}
        access.a.1 = {"result":{"get":true}}
        get.a.1 = {"result":{"model":{"n":1}}}
          1< {"result":{"rid":"a.1","models":{"a.1":{"n":1}}},"id":1}
          1 done
        1> 2 new.a
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"call":"*"}}
          ask call.a.new {"cid":"c1","token":null,"params":null}
        call.a.new = {"result":{"rid":"a.1"}}
          1< {"result":{"rid":"a.1"},"id":2}
          1 done
        1> 3 new.a
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"call":"*"}}
          ask call.a.new {"cid":"c1","token":null,"params":null}
        call.a.new = {"result":{"rid":"a.1","more":1}}
          malformed call: call.a.new: its result is no resource
          1< {"error":{"code":"system.internalError","message":"Internal error: non-resource response on new request"},"id":3}
          1 done
        1> 4 call.a.new
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"call":"*"}}
          ask call.a.new {"cid":"c1","token":null,"params":null}
        call.a.new = {"result":{"rid":"a.1"}}
          1< {"result":{"rid":"a.1"},"id":4}
          1 done
        1> 5 new.a
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"call":"set"}}
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":5}
          1 done
    "#]]);
}

#[test]
fn a_call_may_wait_for_the_same_answer_as_a_subscription_and_outlive_it() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        1> 2 call.a.set [1]
        1> 3 unsubscribe.a
          1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":1}
          1 done
          release access.a
          ask access.a {"cid":"c1","token":null}
          1< {"id":3}
          1 done
        access.a = {"result":{"call":"set"}}
          ask call.a.set {"cid":"c1","token":null,"params":[1]}
        call.a.set = {"result":1}
          1< {"result":1,"id":2}
          1 done
    "#]]);
}
