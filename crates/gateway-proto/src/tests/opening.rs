//! Header authentication before a connection opens, and the effects of its answers.

use expect_test::{Expect, expect};

use super::check_with;
use crate::Config;

fn check(script: &Expect) {
    check_with(Config { ws_header_auth: Some("session.connect".into()), ..Config::default() }, script);
}

#[test]
fn the_answer_sets_headers_and_a_token() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
          ask auth.session.connect {"cid":"c1","token":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1","isHttp":true}
        conn.c1.token {"token":7,"tid":"t"}
        auth.session.connect = {"result":null,"meta":{"status":200,"header":{"set-cookie":["a=1"],"Set-Cookie":["b=2"],"X-A":["1","2"],"Sec-WebSocket-Protocol":["x"],"Content-Type":["x"]}}}
          1 accept {"Set-Cookie":["b=2","a=1"],"X-A":["1","2"]}
        1> 1 auth.a.b
          ask auth.a.b {"cid":"c1","token":7,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
    "#]]);
}

#[test]
fn a_redirection_or_an_error_status_rejects() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
          ask auth.session.connect {"cid":"c1","token":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1","isHttp":true}
        auth.session.connect = {"result":null,"meta":{"status":302,"header":{"Location":["https://a"],"Set-Cookie":["a=1"]}}}
          1 reject 302 {"Location":["https://a"],"Set-Cookie":["a=1"]}
          release conn.c1.token
        open 2 c2
          listen conn.c2.token
          ask auth.session.connect {"cid":"c2","token":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1","isHttp":true}
        auth.session.connect = {"error":{"code":"a.b","message":"No"},"meta":{"status":403}}
          2 reject 403 {} {"code":"a.b","message":"No"}
          release conn.c2.token
        open 3 c3
          listen conn.c3.token
          ask auth.session.connect {"cid":"c3","token":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1","isHttp":true}
        auth.session.connect = {"result":null,"meta":{"status":503}}
          3 reject 503 {} {"code":"system.serviceUnavailable","message":"Service unavailable"}
          release conn.c3.token
    "#]]);
}

#[test]
fn a_connection_opens_despite_a_failed_header_authentication() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
          ask auth.session.connect {"cid":"c1","token":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1","isHttp":true}
        auth.session.connect = {"error":{"code":"system.internalError"},"meta":{"header":{"Set-Cookie":["a=1"]}}}
          1 accept {"Set-Cookie":["a=1"]}
        open 2 c2
          listen conn.c2.token
          ask auth.session.connect {"cid":"c2","token":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1","isHttp":true}
        auth.session.connect = none
          2 accept {}
        open 3 c3
          listen conn.c3.token
          ask auth.session.connect {"cid":"c3","token":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1","isHttp":true}
        auth.session.connect = refused
          3 accept {}
        open 4 c4
          listen conn.c4.token
          ask auth.session.connect {"cid":"c4","token":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1","isHttp":true}
        wait 3000
          release auth.session.connect
          4 accept {}
        open 5 c5
          listen conn.c5.token
          ask auth.session.connect {"cid":"c5","token":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1","isHttp":true}
        auth.session.connect = timeout:"10000"
        wait 9000
        auth.session.connect = {"result":null,"meta":{"status":7}}
          5 accept {}
    "#]]);
}

#[test]
fn a_connection_closed_before_the_answer_leaves_nothing_behind() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
          ask auth.session.connect {"cid":"c1","token":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1","isHttp":true}
        close 1
          release conn.c1.token
          release auth.session.connect
        open 2 c2
          listen conn.c2.token
          ask auth.session.connect {"cid":"c2","token":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1","isHttp":true}
        down
          2 close 1012 the message bus was lost
          release auth.session.connect
          release conn.c2.token
    "#]]);
}
