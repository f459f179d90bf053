//! Frames, versions, and the outcomes of requests on the bus.

use expect_test::expect;

use super::check;

#[test]
fn frames_other_than_requests_cost_nothing() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> x
          1 done
        1> {"method":"version"}
          1 done
        1> {"id":"1","method":"version"}
          1 done
        1> {"id":1.5,"method":"version"}
          1 done
        1> 18446744073709551615 x
          1< {"error":{"code":"system.invalidRequest","message":"Invalid request"},"id":18446744073709551615}
          1 done
        1> 2 get.
          1< {"error":{"code":"system.invalidRequest","message":"Invalid request"},"id":2}
          1 done
        1> 3 call.a
          1< {"error":{"code":"system.invalidRequest","message":"Invalid request"},"id":3}
          1 done
        1> {"id":4}
          1< {"error":{"code":"system.invalidRequest","message":"Invalid request"},"id":4}
          1 done
    "#]]);
}

#[test]
fn versions_are_agreed_on() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 version
          1< {"result":{"protocol":"1.2.3"},"id":1}
          1 done
        1> 2 version null
          1< {"result":{"protocol":"1.2.3"},"id":2}
          1 done
        1> 3 version {"protocol":"1.2.3"}
          1< {"result":{"protocol":"1.2.3"},"id":3}
          1 done
        1> 4 version {"protocol":"1.2"}
          1< {"error":{"code":"system.invalidParams","message":"Invalid parameters"},"id":4}
          1 done
        1> 5 version {"protocol":7}
          1< {"error":{"code":"system.invalidParams","message":"Invalid parameters"},"id":5}
          1 done
        1> 6 version []
          1< {"error":{"code":"system.invalidParams","message":"Invalid parameters"},"id":6}
          1 done
        1> 7 version {"protocol":"2.0.0"}
          1< {"error":{"code":"system.unsupportedProtocol","message":"Unsupported protocol"},"id":7}
          1 done
        1> 8 version {"protocol":""}
          1< {"result":{"protocol":"1.2.3"},"id":8}
          1 done
    "#]]);
}

#[test]
fn a_service_has_three_seconds_unless_it_asks_for_more() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 auth.a.login
          ask auth.a.login {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        wait 2999
        wait 1
          release auth.a.login
          1< {"error":{"code":"system.timeout","message":"Request timeout"},"id":1} (secret)
          1 done
        1> 2 auth.a.login
          ask auth.a.login {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        wait 2000
        auth.a.login = timeout:"15000"
        wait 14999
        auth.a.login = timeout:"x"
        wait 1
          release auth.a.login
          1< {"error":{"code":"system.timeout","message":"Request timeout"},"id":2} (secret)
          1 done
        1> 3 auth.a.login
          ask auth.a.login {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.login = timeout:"15000"
        wait 5000
        auth.a.login = {"result":7}
          1< {"result":7,"id":3} (secret)
          1 done
        1> 4 auth.a.login
          ask auth.a.login {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.login = none
          1< {"error":{"code":"system.notFound","message":"Not found"},"id":4} (secret)
          1 done
        1> 5 auth.a.login
          ask auth.a.login {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.login = refused
          1< {"error":{"code":"system.internalError","message":"Internal error"},"id":5} (secret)
          1 done
        1> 6 auth.a.login
          ask auth.a.login {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.login = nonsense
        wait 3000
          release auth.a.login
          1< {"error":{"code":"system.timeout","message":"Request timeout"},"id":6} (secret)
          1 done
        1> 7 auth.a.login
          ask auth.a.login {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.login = {"neither":1}
          malformed auth: auth.a.login: neither a result nor a resource nor an error
          1< {"error":{"code":"system.internalError","message":"Internal error: response missing result"},"id":7} (secret)
          1 done
        1> 8 auth.a.login
          ask auth.a.login {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.login = [
          malformed auth: auth.a.login: no JSON object with a valid result, resource or error
          1< {"error":{"code":"system.internalError","message":"Internal error: invalid service response"},"id":8} (secret)
          1 done
    "#]]);
}

#[test]
fn a_closed_connection_sends_no_more_requests() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        open 2 c2
          listen conn.c2.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        2> 2 subscribe.a
          ask access.a {"cid":"c2","token":null}
        1> 3 auth.a.b
          ask auth.a.b {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        1> 4 call.x.y
          ask access.x {"cid":"c1","token":null}
        close 1
          release conn.c1.token
          release auth.a.b
          release access.x
          release access.a
        1> 5 version
        conn.c1.token {"token":1}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{}}}
          2< {"result":{"models":{"a":{}}},"id":2}
          2 done
        close 2
          release conn.c2.token
        wait 5000
          release event.a.*
    "#]]);
}

#[test]
fn a_lost_bus_ends_all_connections() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        1> 2 auth.a.b
          ask auth.a.b {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{}}}
          1< {"result":{"models":{"a":{}}},"id":1}
          1 done
        down
          1 close 1012 the message bus was lost
          release auth.a.b
          release conn.c1.token
          release event.a.*
        open 2 c2
          2 close 1013 the message bus is not connected
        up
        open 3 c3
          listen conn.c3.token
        3> 3 version
          3< {"result":{"protocol":"1.2.3"},"id":3}
          3 done
    "#]]);
}

#[test]
fn a_connection_without_a_valid_id_is_closed() {
    check(&expect![[r#"
        open 1 c.1
          1 close 1011 no connection id
        open 2
          2 close 1011 no connection id
    "#]]);
}
