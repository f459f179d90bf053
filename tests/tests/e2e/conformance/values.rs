//! Values in messages: verbatim values, arrays in place of objects, duplicate names, omitted
//! params.

use anyhow::Result;
use relogin_tests::stage::Stage;

use super::play;

on!(nats:
    values_pass_verbatim,
    references_pass_verbatim,
    collections_pass_verbatim,
    arrays_are_not_objects,
    params_left_out_are_null,
    a_name_that_comes_twice,
    a_method_with_too_long_a_name,
    a_deletion_with_a_payload,
    a_query_that_is_given_up,
);

async fn values_pass_verbatim(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 version {"protocol":"1.2.3"}
          1< {"result":{"protocol":"1.2.3"},"id":1}
        1> 2 subscribe.conf.a
          get.conf.a {}
          access.conf.a {"cid":"c1","token":null}
        access.conf.a = {"result":{"get":true,"call":"*"}}
        get.conf.a = {"result":{"model":{"half":"\ud83d","huge":1e400,"long":123456789012345678901234567890,"zero":1.50,"d":{"data":["\ud83d",1E-999]}}}}
          1< {"result":{"models":{"conf.a":{"half":"\ud83d","huge":1e400,"long":123456789012345678901234567890,"zero":1.50,"d":{"data":["\ud83d",1E-999]}}}},"id":2}
        event.conf.a.change {"values":{"half":"\ud83d","huge":1e400,"long":123456789012345678901234567891,"zero":1.5}}
          1< {"event":"conf.a.change","data":{"values":{"long":123456789012345678901234567891,"zero":1.5}}}
        event.conf.a.change {"values":{"half":"\ude00","d":{"data":["\ud83d",1E-998]}}}
          1< {"event":"conf.a.change","data":{"values":{"half":"\ude00","d":{"data":["\ud83d",1E-998]}}}}
        event.conf.a.change {"values":{"new\ud83d":1}}
          1< {"event":"conf.a.change","data":{"values":{"new�":1}}}
        event.conf.a.custom {"any":["\ud83d",1e400]}
          1< {"event":"conf.a.custom","data":{"any":["\ud83d",1e400]}}
        1> 3 call.conf.a.set {"n":1e400,"t":"\ud83d"}
          call.conf.a.set {"cid":"c1","token":null,"params":{"n":1e400,"t":"\ud83d"}}
        call.conf.a.set = {"result":{"n":1e400,"t":"\ud83d"}}
          1< {"result":{"payload":{"n":1e400,"t":"\ud83d"}},"id":3}
        1> 4 call.conf.a.set
          call.conf.a.set {"cid":"c1","token":null,"params":null}
        call.conf.a.set = {"error":{"code":"conf.no","message":"No \ud83d"}}
          1< {"error":{"code":"conf.no","message":"No �"},"id":4}
        system.reset {"resources":["conf.a"]}
          get.conf.a {}
        get.conf.a = {"result":{"model":{"half":"\ude00","huge":1e401,"long":123456789012345678901234567891,"zero":1.5,"d":{"data":["\ud83d",1E-998]},"new\ud83d":1}}}
          1< {"event":"conf.a.change","data":{"values":{"huge":1e401}}}
        "#,
    )
    .await
}

async fn references_pass_verbatim(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 version {"protocol":"1.2.3"}
          1< {"result":{"protocol":"1.2.3"},"id":1}
        1> 2 subscribe.conf.a
          get.conf.a {}
          access.conf.a {"cid":"c1","token":null}
        access.conf.a = {"result":{"get":true}}
        get.conf.a = {"result":{"model":{"b":{"rid":"conf.b","soft":false,"more":[1e400]},"s":{"rid":"conf.s","soft":true,"x":"\ud83d"}}}}
          get.conf.b {}
        get.conf.b = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"conf.a":{"b":{"rid":"conf.b","soft":false,"more":[1e400]},"s":{"rid":"conf.s","soft":true,"x":"\ud83d"}},"conf.b":{"x":1}}},"id":2}
        event.conf.a.change {"values":{"b":{"rid":"conf.b"}}}
        event.conf.a.change {"values":{"c":{"rid":"conf.b","soft":false,"y":1.0}}}
          1< {"event":"conf.a.change","data":{"values":{"c":{"rid":"conf.b","soft":false,"y":1.0}}}}
        "#,
    )
    .await
}

async fn collections_pass_verbatim(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 version {"protocol":"1.2.3"}
          1< {"result":{"protocol":"1.2.3"},"id":1}
        1> 2 subscribe.conf.l
          get.conf.l {}
          access.conf.l {"cid":"c1","token":null}
        access.conf.l = {"result":{"get":true}}
        get.conf.l = {"result":{"collection":[1e400,"\ud83d",{"data":{"a":1.10}}]}}
          1< {"result":{"collections":{"conf.l":[1e400,"\ud83d",{"data":{"a":1.10}}]}},"id":2}
        event.conf.l.add {"idx":3,"value":100000000000000000000000000001}
          1< {"event":"conf.l.add","data":{"idx":3,"value":100000000000000000000000000001}}
        system.reset {"resources":["conf.l"]}
          get.conf.l {}
        get.conf.l = {"result":{"collection":[1e400,"\ud83d",{"data":{"a":1.10}},100000000000000000000000000002]}}
          1< {"event":"conf.l.remove","data":{"idx":3}}
          1< {"event":"conf.l.add","data":{"idx":3,"value":100000000000000000000000000002}}
        "#,
    )
    .await
}

async fn arrays_are_not_objects(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 version {"protocol":"1.2.3"}
          1< {"result":{"protocol":"1.2.3"},"id":1}
        1> 2 call.conf.a.set
          access.conf.a {"cid":"c1","token":null}
        access.conf.a = {"result":[true,"*"]}
          1< {"error":{"code":"system.internalError","message":"…"},"id":2}
        1> 3 get.conf.b
          get.conf.b {}
          access.conf.b {"cid":"c1","token":null}
        access.conf.b = {"result":{"get":true}}
        get.conf.b = {"result":[{"x":1}]}
          1< {"error":{"code":"system.internalError","message":"…"},"id":3}
        1> 4 auth.conf.a.b
          auth.conf.a.b {"cid":"c1","token":null,"params":null}
        auth.conf.a.b = {"resource":["conf.c"]}
          1< {"error":{"code":"system.internalError","message":"…"},"id":4}
        1> 5 auth.conf.a.b
          auth.conf.a.b {"cid":"c1","token":null,"params":null}
        auth.conf.a.b = {"error":["conf.no","No"]}
          1< {"error":{"code":"system.internalError","message":"…"},"id":5}
        1> 10 new.conf.list
          access.conf.list {"cid":"c1","token":null}
        access.conf.list = {"result":{"call":"new"}}
          call.conf.list.new {"cid":"c1","token":null,"params":null}
        call.conf.list.new = {"result":["conf.c"]}
          1< {"error":{"code":"system.internalError","message":"…"},"id":10}
        1> 6 version ["1.2.3"]
          1< {"error":{"code":"system.invalidParams","message":"Invalid parameters"},"id":6}
        1> 7 subscribe.conf.d
          get.conf.d {}
          access.conf.d {"cid":"c1","token":null}
        access.conf.d = {"result":{"get":true}}
        get.conf.d = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"conf.d":{"x":1}}},"id":7}
        1> 8 unsubscribe.conf.d [1]
          1< {"error":{"code":"system.invalidParams","message":"Invalid parameters"},"id":8}
        1> [9,"unsubscribe.conf.d"]
        conn.c1.token [{"role":"admin"}]
        system.reset [["conf.d"]]
        event.conf.d.change [{"x":2}]
        event.conf.d.change {"values":{"x":3}}
          1< {"event":"conf.d.change","data":{"values":{"x":3}}}
        "#,
    )
    .await
}

async fn params_left_out_are_null(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 call.conf.a.set
          access.conf.a {"cid":"c1","token":null}
        access.conf.a = {"result":{"call":"*"}}
          call.conf.a.set {"cid":"c1","token":null,"params":null}
        call.conf.a.set = {"result":true}
          1< {"result":{"payload":true},"id":1}
        1> 2 auth.conf.a.in
          auth.conf.a.in {"cid":"c1","token":null,"params":null}
        auth.conf.a.in = {"result":true}
          1< {"result":{"payload":true},"id":2}
        1> 3 new.conf.a
          access.conf.a {"cid":"c1","token":null}
        access.conf.a = {"result":{"call":"*"}}
          call.conf.a.new {"cid":"c1","token":null,"params":null}
        call.conf.a.new = {"error":{"code":"conf.no","message":"No"}}
          1< {"error":{"code":"conf.no","message":"No"},"id":3}
        conn.c1.token {"token":1,"tid":"t1"}
        system.tokenReset {"tids":["t1"],"subject":"auth.conf.renew"}
          auth.conf.renew {"cid":"c1","token":1}
        auth.conf.renew = {"result":null}
        "#,
    )
    .await
}

async fn a_name_that_comes_twice(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> {"id":1,"method":"nothing","id":2,"method":"version","params":[],"params":{"protocol":"2.0.0","protocol":"1.2.3"}}
          1< {"result":{"protocol":"1.2.3"},"id":2}
        1> 3 auth.conf.a.in {"x":1,"x":2}
          auth.conf.a.in {"cid":"c1","token":null,"params":{"x":2}}
        auth.conf.a.in = {"result":1,"result":2}
          1< {"result":{"payload":2},"id":3}
        1> 4 get.conf.b
          get.conf.b {}
          access.conf.b {"cid":"c1","token":null}
        access.conf.b = {"result":{"get":false,"get":true}}
        get.conf.b = {"result":{"model":{"x":1,"x":2}}}
          1< {"result":{"models":{"conf.b":{"x":2}}},"id":4}
        "#,
    )
    .await
}

async fn a_method_with_too_long_a_name(stage: &mut Stage) -> Result<()> {
    let long = "m".repeat(5000);
    play(
        stage,
        &format!(
            r#"
        1> 1 call.conf.a.{long}
          access.conf.a {{"cid":"c1","token":null}}
        access.conf.a = {{"result":{{"call":"*"}}}}
          1< {{"error":{{"code":"system.subjectTooLong","message":"Subject too long"}},"id":1}}
        1> 2 call.conf.a.{long}
          access.conf.a {{"cid":"c1","token":null}}
        access.conf.a = {{"result":{{"call":"set"}}}}
          1< {{"error":{{"code":"system.accessDenied","message":"Access denied"}},"id":2}}
        1> 3 auth.conf.a.{long}
          1< {{"error":{{"code":"system.subjectTooLong","message":"Subject too long"}},"id":3}}
        1> 4 call.{long}.set
          1< {{"error":{{"code":"system.subjectTooLong","message":"Subject too long"}},"id":4}}
        "#
        ),
    )
    .await
}

async fn a_deletion_with_a_payload(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 version {"protocol":"1.2.3"}
          1< {"result":{"protocol":"1.2.3"},"id":1}
        1> 2 subscribe.conf.a
          get.conf.a {}
          access.conf.a {"cid":"c1","token":null}
        access.conf.a = {"result":{"get":true}}
        get.conf.a = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"conf.a":{"x":1}}},"id":2}
        event.conf.a.delete {"why":"\ud83d"}
          1< {"event":"conf.a.delete","data":{"why":"\ud83d"}}
          1< {"event":"conf.a.unsubscribe","data":{"reason":{"code":"system.deleted","message":"Deleted"}}}
        "#,
    )
    .await
}

async fn a_query_that_is_given_up(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 subscribe.conf.q?a=1
          get.conf.q {"query":"a=1"}
          access.conf.q {"cid":"c1","token":null,"query":"a=1"}
        access.conf.q = {"result":{"get":true}}
        get.conf.q = {"result":{"model":{"x":1},"query":"a=1"}}
          1< {"result":{"models":{"conf.q?a=1":{"x":1}}},"id":1}
        1> 2 unsubscribe.conf.q?a=1
          1< {"id":2}
        event.conf.q.query {"subject":"get.conf.events"}
        1> 3 subscribe.conf.q?a=1
          get.conf.q {"query":"a=1"}
          access.conf.q {"cid":"c1","token":null,"query":"a=1"}
        access.conf.q = {"result":{"get":true}}
        get.conf.q = {"result":{"model":{"x":2},"query":"a=1"}}
          1< {"result":{"models":{"conf.q?a=1":{"x":2}}},"id":3}
        1> 4 subscribe.conf.p?a=1
          get.conf.p {"query":"a=1"}
          access.conf.p {"cid":"c1","token":null,"query":"a=1"}
        access.conf.p = {"result":{"get":true}}
        get.conf.p = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"conf.p?a=1":{"x":1}}},"id":4}
        1> 5 unsubscribe.conf.p?a=1
          1< {"id":5}
        1> 6 subscribe.conf.p
          access.conf.p {"cid":"c1","token":null}
        access.conf.p = {"result":{"get":true}}
          1< {"result":{"models":{"conf.p":{"x":1}}},"id":6}
        "#,
    )
    .await
}
