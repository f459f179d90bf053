//! Values go to clients as their services wrote them.

use expect_test::expect;

use super::check;

#[test]
fn values_pass_verbatim_in_models_collections_and_events() {
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
        access.a = {"result":{"get":true,"call":"*"}}
        get.a = {"result":{"model":{"half":"\ud83d","huge":1e400,"long":123456789012345678901234567890,"zero":1.50,"data":{"data":{"\ude00":[-1E-999]}},"soft":{"rid":"b","soft":true,"x":1e400},"\ud83d":1}}}
          1< {"result":{"models":{"a":{"data":{"data":{"\ude00":[-1E-999]}},"half":"\ud83d","huge":1e400,"long":123456789012345678901234567890,"soft":{"rid":"b","soft":true,"x":1e400},"zero":1.50,"�":1}}},"id":2}
          1 done
        event.a.change {"values":{"half":"\ud83d","long":123456789012345678901234567891,"huge":1e400}}
          1< {"event":"a.change","data":{"values":{"long":123456789012345678901234567891}}}
        event.a.change {"values":{"zero":1.5,"half":"\ude00","data":{"data": {"\ude00":[ -1E-999 ]}}}}
          1< {"event":"a.change","data":{"values":{"data":{"data": {"\ude00":[ -1E-999 ]}},"half":"\ude00","zero":1.5}}}
        event.a.change {"values":{"\ud83d":2}}
          1< {"event":"a.change","data":{"values":{"�":2}}}
        event.a.custom {"any":["\ud83d",1e400]}
          1< {"event":"a.custom","data":{"any":["\ud83d",1e400]}}
        1> 3 subscribe.l
          listen event.l.*
          ask get.l {}
          ask access.l {"cid":"c1","token":null}
        access.l = {"result":{"get":true}}
        get.l = {"result":{"collection":[1e400,"\ud83d"]}}
          1< {"result":{"collections":{"l":[1e400,"\ud83d"]}},"id":3}
          1 done
        event.l.add {"idx":1,"value":{"data":[1.0,"\ud83d"]}}
          1< {"event":"l.add","data":{"idx":1,"value":{"data":[1.0,"\ud83d"]}}}
        1> 4 subscribe.p
          listen event.p.*
          ask get.p {}
          ask access.p {"cid":"c1","token":null}
        access.p = {"result":{"get":true}}
        get.p = {"result":{"model":{"c":{"rid":"c","soft":false,"more":[1e400]}}}}
          listen event.c.*
          ask get.c {}
        get.c = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"c":{"x":1},"p":{"c":{"rid":"c","soft":false,"more":[1e400]}}}},"id":4}
          1 done
        event.p.change {"values":{"c":{"rid":"c"}}}
        event.p.change {"values":{"d":{"x":0.0,"rid":"c"}}}
          1< {"event":"p.change","data":{"values":{"d":{"x":0.0,"rid":"c"}}}}
        1> 5 call.a.set {"n":1e400,"t":"\ud83d"}
          ask call.a.set {"cid":"c1","token":null,"params":{"n":1e400,"t":"\ud83d"}}
        call.a.set = {"result":{"n":1e400,"t":"\ud83d"}}
          1< {"result":{"payload":{"n":1e400,"t":"\ud83d"}},"id":5}
          1 done
    "#]]);
}

#[test]
fn a_refetch_finds_what_differs_to_the_last_digit() {
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
        get.a = {"result":{"model":{"n":100000000000000000000000000001,"h":"\ud83d","d":{"data":{"a":1,"b":2}}}}}
          1< {"result":{"models":{"a":{"d":{"data":{"a":1,"b":2}},"h":"\ud83d","n":100000000000000000000000000001}}},"id":2}
          1 done
        1> 3 subscribe.l
          listen event.l.*
          ask get.l {}
          ask access.l {"cid":"c1","token":null}
        access.l = {"result":{"get":true}}
        get.l = {"result":{"collection":[1e400,"\ud83d",2]}}
          1< {"result":{"collections":{"l":[1e400,"\ud83d",2]}},"id":3}
          1 done
        system.reset {"resources":["a","l"]}
          ask get.a {}
          ask get.l {}
        get.a = {"result":{"model":{"n":100000000000000000000000000002,"h":"\ud83d","d":{"data":{"b":2,"a":1}}}}}
          1< {"event":"a.change","data":{"values":{"n":100000000000000000000000000002}}}
        get.l = {"result":{"collection":[1e400,"\ud83e",2]}}
          1< {"event":"l.remove","data":{"idx":1}}
          1< {"event":"l.add","data":{"idx":1,"value":"\ud83e"}}
    "#]]);
}

#[test]
fn clients_before_1_2_1_get_everything_else_verbatim() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 2 subscribe.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"result":{"model":{"n":1e400,"s":{"rid":"b","soft":true,"x":1e400},"d":{"data":["\ud83d"]}}}}
          1< {"result":{"models":{"a":{"d":"[Data]","n":1e400,"s":"b"}}},"id":2}
          1 done
        event.a.change {"values":{"s":{"rid":"b.c","soft":true},"n":"\ud83d","d":{"data":[1]}}}
          1< {"event":"a.change","data":{"values":{"d":"[Data]","n":"\ud83d","s":"b.c"}}}
    "#]]);
}

#[test]
fn an_error_with_odd_data_is_still_that_error() {
    check(&expect![[r#"
        open 1 c1
          listen conn.c1.token
        1> 1 get.a
          listen event.a.*
          ask get.a {}
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"get":true}}
        get.a = {"error":{"code":"a.b","message":"No \ud83d","data":{"n":1,"huge":1e400,"half":"\ud83d"}}}
          release event.a.*
          1< {"error":{"code":"a.b","message":"No �","data":{"half":"�","huge":1.7976931348623157e+308,"n":1}},"id":1}
          1 done
    "#]]);
}

#[test]
fn arrays_are_not_objects() {
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
        access.a = {"result":[true,"*"]}
          malformed access: access.a: its result is no object that says whether to get, and what to call
          1< {"error":{"code":"system.internalError","message":"Internal error: invalid service response"},"id":2}
          1 done
        get.a = {"result":[{"x":1}]}
          malformed get: get.a: its result is neither a model nor a collection of valid values
          release event.a.*
        1> 3 auth.a.b
          ask auth.a.b {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.b = {"resource":["a"]}
          malformed auth: auth.a.b: no JSON object with a valid result, resource or error
          1< {"error":{"code":"system.internalError","message":"Internal error: invalid service response"},"id":3} (secret)
          1 done
        1> 4 auth.a.b
          ask auth.a.b {"cid":"c1","token":null,"params":null,"header":{"User-Agent":["test"]},"remoteAddr":"[::1]:1"}
        auth.a.b = {"error":["a.b","No"]}
          malformed auth: auth.a.b: no JSON object with a valid result, resource or error
          1< {"error":{"code":"system.internalError","message":"Internal error: invalid service response"},"id":4} (secret)
          1 done
        1> 7 new.a
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"call":"*"}}
          ask call.a.new {"cid":"c1","token":null,"params":null}
        call.a.new = {"result":["b"]}
          malformed call: call.a.new: its result is no resource
          1< {"error":{"code":"system.internalError","message":"Internal error: non-resource response on new request"},"id":7}
          1 done
        1> 8 call.a.new
          ask access.a {"cid":"c1","token":null}
        access.a = {"result":{"call":"*"}}
          ask call.a.new {"cid":"c1","token":null,"params":null}
        call.a.new = {"result":["b"]}
          1< {"result":{"payload":["b"]},"id":8}
          1 done
        1> 5 version ["1.2.3"]
          1< {"error":{"code":"system.invalidParams","message":"Invalid parameters"},"id":5}
          1 done
        1> [6,"version"]
          1 done
        conn.c1.token [{"role":"x"}]
          malformed token: conn.c1.token: no JSON object with a token
        system.reset [["a"]]
          malformed system: system.reset: no JSON object of lists of patterns
        system.tokenReset [["t"],"auth.a.b"]
          malformed system: system.tokenReset: no JSON object with tids, a list of texts, and a subject
    "#]]);
}
