//! HTTP requests: what services are asked, and what the response is.

use expect_test::{Expect, expect};

use super::{check, check_with};
use crate::Config;

fn check_with_header_auth(script: &Expect) {
    check_with(Config { header_auth: Some("session.connect".into()), ..Config::default() }, script);
}

#[test]
fn a_resource_comes_with_all_that_it_refers_to() {
    check(&expect![[r#"
        request 1 c1 GET a?q=1
          listen conn.c1.token
          listen event.a.*
          ask get.a {"query":"q=1"}
          ask access.a {"cid":"c1","token":null,"query":"q=1","isHttp":true}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"b":{"rid":"b"},"c":1},"query":"q=1"}}
          listen event.b.*
          ask get.b {}
        get.b = {"result":{"collection":["{cid}",{"rid":"a?q=1"}]}}
          1 respond 200 {} {"b":{"href":"/api/b","collection":["{cid}",{"href":"/api/a?q=1"}]},"c":1}
          release conn.c1.token
    "#]]);
}

#[test]
fn an_event_in_the_meantime_is_in_the_response() {
    check(&expect![[r#"
        request 1 c1 GET a
          listen conn.c1.token
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null,"isHttp":true}
        get.a = {"result":{"model":{"b":1}}}
        event.a.change {"values":{"b":2}}
        access.a = {"result":{"get":true}}
          1 respond 200 {} {"b":1}
          release conn.c1.token
    "#]]);
}

#[test]
fn a_denied_missing_or_unanswered_resource_is_an_error_response() {
    check(&expect![[r#"
        request 1 c1 GET a
          listen conn.c1.token
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null,"isHttp":true}
        access.a = {"result":{"get":false}}
          1 respond 401 {} {"code":"system.accessDenied","message":"Access denied"}
          release conn.c1.token
        request 2 c2 GET a
          listen conn.c2.token
          ask access.a {"cid":"c2","token":null,"isHttp":true}
        get.a = {"error":{"code":"system.notFound","message":"Not found"}}
          release event.a.*
        access.a = {"result":{"get":true}}
          2 respond 404 {} {"code":"system.notFound","message":"Not found"}
          release conn.c2.token
        request 3 c3 GET user/{cid}
          listen conn.c3.token
          listen event.user.c3.*
          ask get.user.c3 {}
          ask access.user.c3 {"cid":"c3","token":null,"isHttp":true}
        wait 3000
          release get.user.c3
          release event.user.c3.*
          release access.user.c3
          3 respond 404 {} {"code":"system.timeout","message":"Request timeout"}
          release conn.c3.token
    "#]]);
}

#[test]
fn a_method_is_called() {
    check(&expect![[r#"
        request 1 c1 POST a/set?q=1 {"b":1}
          listen conn.c1.token
          ask access.a {"cid":"c1","token":null,"query":"q=1","isHttp":true}
        access.a = {"result":{"call":"set"}}
          ask call.a.set {"cid":"c1","token":null,"params":{"b":1},"query":"q=1","isHttp":true}
        call.a.set = {"result":{"c":2}}
          1 respond 200 {} {"c":2}
          release conn.c1.token
        request 2 c2 PUT a
          listen conn.c2.token
          ask access.a {"cid":"c2","token":null,"isHttp":true}
        access.a = {"result":{"call":"*"}}
          ask call.a.set {"cid":"c2","token":null,"params":null,"isHttp":true}
        call.a.set = {"resource":{"rid":"b.c"}}
          2 respond 200 {"Location":["/api/b/c"]}
          release conn.c2.token
        request 3 c3 POST a/get
          listen conn.c3.token
          ask access.a {"cid":"c3","token":null,"isHttp":true}
        access.a = {"result":{"call":"set"}}
          3 respond 401 {} {"code":"system.accessDenied","message":"Access denied"}
          release conn.c3.token
        request 4 c4 POST a/new
          listen conn.c4.token
          ask access.a {"cid":"c4","token":null,"isHttp":true}
        access.a = {"result":{"call":"*"}}
          ask call.a.new {"cid":"c4","token":null,"params":null,"isHttp":true}
        call.a.new = {"result":{"rid":"b.d"}}
          4 respond 200 {"Location":["/api/b/d"]}
          release conn.c4.token
    "#]]);
}

#[test]
fn services_set_the_status_and_headers_of_responses() {
    check(&expect![[r#"
        request 1 c1 GET a
          listen conn.c1.token
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null,"isHttp":true}
        get.a = {"result":{"model":{}}}
        access.a = {"result":{"get":true},"meta":{"header":{"x-a":["1"],"Content-Type":["x"]}}}
          1 respond 200 {"X-A":["1"]} {}
          release conn.c1.token
        request 2 c2 GET a
          listen conn.c2.token
          ask access.a {"cid":"c2","token":null,"isHttp":true}
        access.a = {"error":{"code":"a.b","message":"c"},"meta":{"status":403}}
          2 respond 403 {} {"code":"a.b","message":"c"}
          release conn.c2.token
        request 3 c3 POST a/b
          listen conn.c3.token
          ask access.a {"cid":"c3","token":null,"isHttp":true}
        access.a = {"result":{"call":"*"},"meta":{"header":{"X-A":["1"],"Set-Cookie":["a=1"]}}}
          ask call.a.b {"cid":"c3","token":null,"params":null,"isHttp":true}
        call.a.b = {"result":null,"meta":{"header":{"X-A":["2"],"Set-Cookie":["b=2"]}}}
          3 respond 204 {"Set-Cookie":["a=1","b=2"],"X-A":["2"]}
          release conn.c3.token
        request 4 c4 POST a/b
          listen conn.c4.token
          ask access.a {"cid":"c4","token":null,"isHttp":true}
        access.a = {"result":{"call":"*"}}
          ask call.a.b {"cid":"c4","token":null,"params":null,"isHttp":true}
        call.a.b = {"resource":{"rid":"c.d"},"meta":{"status":303}}
          4 respond 303 {"Location":["/api/c/d"]}
          release conn.c4.token
        request 5 c5 POST a/b
          listen conn.c5.token
          ask access.a {"cid":"c5","token":null,"isHttp":true}
        access.a = {"result":{"call":"*"},"meta":{"status":303,"header":{"Location":["/"]}}}
          5 respond 303 {"Location":["/"]}
          release conn.c5.token
    "#]]);
}

#[test]
fn header_authentication_comes_first() {
    check_with_header_auth(&expect![[r#"
        request 1 c1 GET a
          listen conn.c1.token
          ask auth.session.connect {"cid":"c1","token":null,"remoteAddr":"[::1]:1","isHttp":true}
        conn.c1.token {"token":{"u":1}}
        auth.session.connect = {"result":null,"meta":{"header":{"Set-Cookie":["a=1"]}}}
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":{"u":1},"isHttp":true}
        get.a = {"result":{"model":{}}}
        access.a = {"result":{"get":true}}
          1 respond 200 {"Set-Cookie":["a=1"]} {}
          release conn.c1.token
        request 2 c2 GET a
          listen conn.c2.token
          ask auth.session.connect {"cid":"c2","token":null,"remoteAddr":"[::1]:1","isHttp":true}
        auth.session.connect = {"error":{"code":"a.b","message":"c"},"meta":{"status":401}}
          2 respond 401 {} {"code":"a.b","message":"c"}
          release conn.c2.token
        request 3 c3 GET a
          listen conn.c3.token
          ask auth.session.connect {"cid":"c3","token":null,"remoteAddr":"[::1]:1","isHttp":true}
        auth.session.connect = none
          ask access.a {"cid":"c3","token":null,"isHttp":true}
        access.a = {"result":{"get":false}}
          3 respond 401 {} {"code":"system.accessDenied","message":"Access denied"}
          release conn.c3.token
        open 4 c4
          listen conn.c4.token
    "#]]);
}

#[test]
fn an_aborted_request_leaves_nothing_behind() {
    check(&expect![[r#"
        request 1 c1 GET a
          listen conn.c1.token
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null,"isHttp":true}
        close 1
          release conn.c1.token
          release access.a
        request 2 c2 POST a/b
          listen conn.c2.token
          ask access.a {"cid":"c2","token":null,"isHttp":true}
        close 2
          release conn.c2.token
          release access.a
        request 3 c3 GET a
          listen conn.c3.token
          ask access.a {"cid":"c3","token":null,"isHttp":true}
        down
          3 close 1012 the message bus was lost
          release get.a
          release access.a
          release event.a.*
          release conn.c3.token
        request 4 c4 GET a
          4 close 1013 the message bus is not connected
    "#]]);
}
