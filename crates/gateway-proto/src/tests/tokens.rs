//! Access tokens: what they change, and when.

use expect_test::expect;

use super::check;

#[test]
fn a_token_goes_out_with_every_request() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        conn.c1.token {"token":{"sid":"s"},"tid":"s"}
        1> 1 auth.a.b?q=1.c {"p":[1]}
          ask auth.a.b.c {"cid":"c1","token":{"sid":"s"},"params":{"p":[1]},"query":"q=1","header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        1> 2 call.a.b null
          ask access.a {"cid":"c1","token":{"sid":"s"}}
        access.a = {"result":{"call":"b"}}
          ask call.a.b {"cid":"c1","token":{"sid":"s"},"params":null}
        1> 3 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":{"sid":"s"}}
        conn.c1.token
          malformed token: conn.c1.token: no JSON object with a token
        conn.c1.token {"token":null}
          release access.a
          ask access.a {"cid":"c1","token":null}
        1> 4 auth.a.b
          ask auth.a.b {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
    "#]]);
}

#[test]
fn a_token_event_counts_for_all_answers_that_come_after_it() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 version {"protocol":"1.2.3"}
          1< {"result":{"protocol":"1.2.3"},"id":1}
          1 done
        1> 2 auth.session.login {"username":"a"}
          ask auth.session.login {"cid":"c1","token":null,"params":{"username":"a"},"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        1> 3 call.a.b
          ask access.a {"cid":"c1","token":null}
        conn.c1.token {"token":7}
          release access.a
          ask access.a {"cid":"c1","token":7}
        auth.session.login = {"result":{"reloginKey":"k"}}
          1< {"result":{"payload":{"reloginKey":"k"}},"id":2} (secret)
          1 done
        access.a = {"result":{"call":"b"}}
          ask call.a.b {"cid":"c1","token":7,"params":null}
    "#]]);
}

#[test]
fn every_direct_subscription_asks_again_from_the_first_token_on() {
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
        get.a = {"result":{"model":{"b":{"rid":"b"},"c":{"rid":"c"}}}}
          listen event.c.*
          ask get.c {}
        get.b = {"result":{"model":{"x":1}}}
        get.c = {"result":{"model":{}}}
        access.a = {"result":{"get":true}}
          1< {"result":{"models":{"a":{"b":{"rid":"b"},"c":{"rid":"c"}},"b":{"x":1},"c":{}}},"id":1}
          1 done
        access.b = {"error":{"code":"system.accessDenied","message":"Access denied"}}
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":2}
          1 done
        conn.c1.token {"token":1}
          ask access.a {"cid":"c1","token":1}
        event.a.change {"values":{"x":1}}
        event.b.change {"values":{"x":2}}
          1< {"event":"b.change","data":{"values":{"x":2}}}
        access.a = {"result":{"get":true}}
          1< {"event":"a.change","data":{"values":{"x":1}}}
        1> 3 subscribe.b
          ask access.b {"cid":"c1","token":1}
        access.b = {"result":{"get":true}}
          1< {"result":{},"id":3}
          1 done
        conn.c1.token {"token":1}
          ask access.a {"cid":"c1","token":1}
          ask access.b {"cid":"c1","token":1}
        access.a = {"result":{"get":true}}
        access.b = {"result":{"get":false}}
          1< {"event":"b.unsubscribe","data":{"reason":{"code":"system.accessDenied","message":"Access denied"}}}
        conn.c1.token {"token":null}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":false}}
          1< {"event":"a.unsubscribe","data":{"reason":{"code":"system.accessDenied","message":"Access denied"}}}
    "#]]);
}

#[test]
fn a_null_token_changes_nothing_if_there_was_none() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        get.a = {"result":{"model":{}}}
        access.a = {"result":{"get":true}}
          1< {"result":{"models":{"a":{}}},"id":1}
          1 done
        conn.c1.token {"token":null}
        conn.c1.token nonsense
          malformed token: conn.c1.token: no JSON object with a token
        conn.c1.other {"token":1}
    "#]]);
}

#[test]
fn access_denied_without_a_token_is_asked_again_with_one() {
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
        access.a = {"result":{}}
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":2}
          1 done
        1> 3 call.a.set
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":3}
          1 done
        conn.c1.token {"token":1}
          ask access.b {"cid":"c1","token":1}
        1> 4 call.a.set
          ask access.a {"cid":"c1","token":1}
        access.b = {"result":{"get":true}}
        access.a = {"result":{"call":"set"}}
          ask call.a.set {"cid":"c1","token":1,"params":null}
    "#]]);
}

#[test]
fn a_token_reset_asks_those_with_such_a_token_to_authenticate() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        open 2 c2
          listen conn.c2.token
        open 3 c3
          listen conn.c3.token
        conn.c1.token {"token":1,"tid":"x"}
        conn.c2.token {"token":2,"tid":"y"}
        system.tokenReset {"tids":["x","z"],"subject":"auth.session.renew"}
          ask auth.session.renew {"cid":"c1","token":1,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.session.renew = {"error":{"code":"a.b","message":"ignored"}}
        conn.c1.token {"token":1}
        system.tokenReset {"tids":["x"],"subject":"auth.session.renew"}
        system.tokenReset {"tids":["y"],"subject":"not a subject"}
          malformed system: system.tokenReset: its subject cannot be published to
        system.tokenReset {"tids":["y"]}
          malformed system: system.tokenReset: no JSON object with tids, a list of texts, and a subject
        system.tokenReset {"tids":["y"],"subject":"any.subject"}
          ask any.subject {"cid":"c2","token":2,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        wait 3000
          release any.subject
    "#]]);
}

#[test]
fn null_takes_the_token_away() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        get.a = {"result":{"model":{}}}
        access.a = {"result":{"get":true}}
          1< {"result":{"models":{"a":{}}},"id":1}
          1 done
        conn.c1.token {"token":1,"tid":"t"}
          ask access.a {"cid":"c1","token":1}
        access.a = {"result":{"get":true}}
        conn.c1.token null
          ask access.a {"cid":"c1","token":null}
        system.tokenReset {"tids":["t"],"subject":"auth.renew"}
        access.a = {"result":{"get":false}}
          1< {"event":"a.unsubscribe","data":{"reason":{"code":"system.accessDenied","message":"Access denied"}}}
        conn.c1.token {"token":2}
        conn.c1.token  null
        1> 2 call.a.b
          ask access.a {"cid":"c1","token":null}
    "#]]);
}
