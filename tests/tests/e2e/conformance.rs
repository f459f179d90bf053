//! The embedded gateway answers as Resgate does: one script of a client and a service, and one
//! expectation for both.
//!
//! Inputs stand at the margin, and below each of them, indented, what must come of it: requests to
//! the service in any order, frames to a client in theirs.
//! - `1> 7 get.conf.a {…}`: client 1 sends a request; `1> {…}`: any text;
//! - `get.conf.a = {…}`: the service answers the request of that subject that came last;
//! - `GET /api/conf/a {…}`: an HTTP request, and below it what must come back, `200 {…}`, and any
//!   of its headers after that, `Location: /api/conf/b`;
//! - `event.conf.a.change {…}`: the service tells of something; `c1` in a subject or a text is the
//!   cid of client 1;
//! - `"…"` in what must come is any string. Numbers must be the same to the last digit.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use relogin_tests::{
    exact::Exact,
    in_time,
    res::Res,
    service::{Request, Service},
    stage::Stage,
};

mod http;
mod values;

use http::Http;

on!(nats:
    frames_other_than_requests,
    subscriptions,
    access_and_its_recheck,
    tokens,
    methods,
    models_and_collections,
    references,
    resets,
    query_resources,
    plain_resources_by_a_query,
    a_token_taken_away_by_null,
);

// Resgate returns the old error as long as something refers to the resource (docs/adr/0018).
on!(over_nats: a_resource_that_comes_back);

async fn frames_other_than_requests(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> {"method":"version"}
        1> {"id":"7","method":"version"}
        1> {"id":-7,"method":"version"}
        1> {"id":1.5,"method":"version"}
        1> [
        1> 18446744073709551615 x
          1< {"error":{"code":"system.invalidRequest","message":"Invalid request"},"id":18446744073709551615}
        1> 1 call.conf
          1< {"error":{"code":"system.invalidRequest","message":"Invalid request"},"id":1}
        1> 2 get.conf..a
          1< {"error":{"code":"system.invalidRequest","message":"Invalid request"},"id":2}
        1> 3 version {"protocol":"1.x.0"}
          1< {"error":{"code":"system.invalidParams","message":"Invalid parameters"},"id":3}
        1> 4 version {"protocol":"2.0.0"}
          1< {"error":{"code":"system.unsupportedProtocol","message":"Unsupported protocol"},"id":4}
        1> 5 version
          1< {"result":{"protocol":"1.2.3"},"id":5}
        1> 6 get.nobody.has.this
          1< {"error":{"code":"system.notFound","message":"Not found"},"id":6}
        "#,
    )
    .await
}

async fn subscriptions(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 subscribe.conf.a
          get.conf.a {}
          access.conf.a {"cid":"c1","token":null}
        get.conf.a = {"result":{"model":{"x":1}}}
        access.conf.a = {"result":{"get":true}}
          1< {"result":{"models":{"conf.a":{"x":1}}},"id":1}
        1> 2 subscribe.conf.a
          1< {"result":{},"id":2}
        2> 1 get.conf.a
          access.conf.a {"cid":"c2","token":null}
        access.conf.a = {"result":{"get":true}}
          2< {"result":{"models":{"conf.a":{"x":1}}},"id":1}
        1> 3 unsubscribe.conf.a {"count":3}
          1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":3}
        1> 4 unsubscribe.conf.a {"count":0}
          1< {"error":{"code":"system.invalidParams","message":"Invalid parameters"},"id":4}
        1> 5 unsubscribe.conf.a
          1< {"id":5}
        event.conf.a.custom {"n":1}
          1< {"event":"conf.a.custom","data":{"n":1}}
        1> 6 unsubscribe.conf.a
          1< {"id":6}
        2> 2 subscribe.conf.none
          get.conf.none {}
          access.conf.none {"cid":"c2","token":null}
        access.conf.none = {"result":{"get":true}}
        get.conf.none = {"error":{"code":"system.notFound","message":"Not found"}}
          2< {"error":{"code":"system.notFound","message":"Not found"},"id":2}
        2> 3 subscribe.conf.user.{cid}?q={cid}
          get.conf.user.c2 {"query":"q=c2"}
          access.conf.user.c2 {"cid":"c2","token":null,"query":"q=c2"}
        access.conf.user.c2 = {"result":{"get":true}}
        get.conf.user.c2 = {"result":{"collection":[1],"query":"q=c2"}}
          2< {"result":{"collections":{"conf.user.{cid}?q={cid}":[1]}},"id":3}
        "#,
    )
    .await
}

async fn access_and_its_recheck(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 subscribe.conf.a
          get.conf.a {}
          access.conf.a {"cid":"c1","token":null}
        access.conf.a = {"result":{"call":"set"}}
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":1}
        get.conf.a = {"result":{"model":{"x":1}}}
        1> 2 subscribe.conf.a
          access.conf.a {"cid":"c1","token":null}
        access.conf.a = {"result":{"get":true,"call":"one,set"}}
          1< {"result":{"models":{"conf.a":{"x":1}}},"id":2}
        1> 3 call.conf.a.other
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":3}
        event.conf.a.reaccess
          access.conf.a {"cid":"c1","token":null}
        event.conf.a.change {"values":{"x":2}}
        access.conf.a = {"result":{"get":true}}
          1< {"event":"conf.a.change","data":{"values":{"x":2}}}
        system.reset {"access":["conf.>"]}
          access.conf.a {"cid":"c1","token":null}
        access.conf.a = {"error":{"code":"conf.no","message":"No"}}
          1< {"event":"conf.a.unsubscribe","data":{"reason":{"code":"conf.no","message":"No"}}}
        event.conf.a.change {"values":{"x":3}}
        1> 4 unsubscribe.conf.a
          1< {"error":{"code":"system.noSubscription","message":"No subscription"},"id":4}
        "#,
    )
    .await
}

/// A denial that is sent while a subscribed resource could not be loaded counts once it is back
/// through a reference.
async fn a_resource_that_comes_back(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 version {"protocol":"1.2.3"}
          1< {"result":{"protocol":"1.2.3"},"id":1}
        1> 2 auth.conf.a.make
          auth.conf.a.make {"cid":"c1","token":null,"params":null}
        auth.conf.a.make = {"resource":{"rid":"conf.r"}}
          get.conf.r {}
          access.conf.r {"cid":"c1","token":null}
        access.conf.r = {"result":{"get":true}}
        get.conf.r = {"error":{"code":"system.notFound","message":"Not found"}}
          1< {"result":{"rid":"conf.r","errors":{"conf.r":{"code":"system.notFound","message":"Not found"}}},"id":2}
        1> 3 subscribe.conf.a
          get.conf.a {}
          access.conf.a {"cid":"c1","token":null}
        access.conf.a = {"result":{"get":true}}
        get.conf.a = {"result":{"model":{}}}
          1< {"result":{"models":{"conf.a":{}}},"id":3}
        event.conf.r.reaccess
        event.conf.a.change {"values":{"r":{"rid":"conf.r"}}}
          get.conf.r {}
          access.conf.r {"cid":"c1","token":null}
        get.conf.r = {"result":{"model":{"x":1}}}
          1< {"event":"conf.a.change","data":{"values":{"r":{"rid":"conf.r"}},"models":{"conf.r":{"x":1}}}}
        access.conf.r = {"result":{"get":false}}
          1< {"event":"conf.r.unsubscribe","data":{"reason":{"code":"system.accessDenied","message":"Access denied"}}}
        event.conf.r.change {"values":{"x":2}}
          1< {"event":"conf.r.change","data":{"values":{"x":2}}}
        event.conf.a.change {"values":{"r":null}}
          1< {"event":"conf.a.change","data":{"values":{"r":null}}}
        event.conf.r.change {"values":{"x":3}}
        1> 4 get.conf.nothing
          get.conf.nothing {}
          access.conf.nothing {"cid":"c1","token":null}
        access.conf.nothing = {"result":{"get":false}}
          1< {"error":{"code":"system.accessDenied","message":"Access denied"},"id":4}
        get.conf.nothing = {"result":{"model":{}}}
        "#,
    )
    .await
}

async fn tokens(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 7 auth.conf.login {}
          auth.conf.login {"cid":"c1","token":null,"params":{}}
        conn.c1.token {"token":{"role":"a"},"tid":"t1"}
        auth.conf.login = {"result":true}
          1< {"result":{"payload":true},"id":7}
        1> 1 subscribe.conf.a
          get.conf.a {}
          access.conf.a {"cid":"c1","token":{"role":"a"}}
        access.conf.a = {"result":{"get":true}}
        get.conf.a = {"result":{"model":{"b":{"rid":"conf.b"}}}}
          get.conf.b {}
        get.conf.b = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"conf.a":{"b":{"rid":"conf.b"}},"conf.b":{"x":1}}},"id":1}
        conn.c1.token {"token":{"role":"a"},"tid":"t1"}
          access.conf.a {"cid":"c1","token":{"role":"a"}}
        event.conf.b.change {"values":{"x":2}}
          1< {"event":"conf.b.change","data":{"values":{"x":2}}}
        access.conf.a = {"result":{"get":true}}
        system.tokenReset {"tids":["t0","t1"],"subject":"auth.conf.renew"}
          auth.conf.renew {"cid":"c1","token":{"role":"a"}}
        auth.conf.renew = {"result":null}
        conn.c1.token {"token":null}
          access.conf.a {"cid":"c1","token":null}
        access.conf.a = {"result":{"get":false}}
          1< {"event":"conf.a.unsubscribe","data":{"reason":{"code":"system.accessDenied","message":"Access denied"}}}
        "#,
    )
    .await
}

async fn methods(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 call.conf.a.set {"x":[1]}
          access.conf.a {"cid":"c1","token":null}
        access.conf.a = {"result":{"call":"*"}}
          call.conf.a.set {"cid":"c1","token":null,"params":{"x":[1]}}
        call.conf.a.set = timeout:"60000"
        call.conf.a.set = {"result":null}
          1< {"result":{"payload":null},"id":1}
        1> 2 auth.conf.a.b?q=1.set null
          auth.conf.a.b.set {"cid":"c1","token":null,"params":null,"query":"q=1"}
        auth.conf.a.b.set = {"error":{"code":"conf.no","message":"No","data":{"why":1}}}
          1< {"error":{"code":"conf.no","message":"No","data":{"why":1}},"id":2}
        1> 3 auth.conf.a.make {}
          auth.conf.a.make {"cid":"c1","token":null,"params":{}}
        auth.conf.a.make = {"resource":{"rid":"conf.b"}}
          get.conf.b {}
          access.conf.b {"cid":"c1","token":null}
        access.conf.b = {"result":{"get":true}}
        get.conf.b = {"result":{"model":{"x":1}}}
          1< {"result":{"rid":"conf.b","models":{"conf.b":{"x":1}}},"id":3}
        event.conf.b.change {"values":{"x":2}}
          1< {"event":"conf.b.change","data":{"values":{"x":2}}}
        1> 4 auth.conf.a.make {}
          auth.conf.a.make {"cid":"c1","token":null,"params":{}}
        auth.conf.a.make = {"resource":{"rid":"conf.c"}}
          get.conf.c {}
          access.conf.c {"cid":"c1","token":null}
        access.conf.c = {"result":{}}
          1< {"result":{"rid":"conf.c","errors":{"conf.c":{"code":"system.accessDenied","message":"Access denied"}}},"id":4}
        1> 5 new.conf.list {"n":1}
          access.conf.list {"cid":"c1","token":null}
        access.conf.list = {"result":{"call":"new"}}
          call.conf.list.new {"cid":"c1","token":null,"params":{"n":1}}
        call.conf.list.new = {"result":{"rid":"conf.b"}}
          1< {"result":{"rid":"conf.b"},"id":5}
        1> 6 call.nobody.has.this
          1< {"error":{"code":"system.notFound","message":"Not found"},"id":6}
        "#,
    )
    .await
}

async fn models_and_collections(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 subscribe.conf.model
          get.conf.model {}
          access.conf.model {"cid":"c1","token":null}
        access.conf.model = {"result":{"get":true}}
        get.conf.model = {"result":{"model":{"x":1,"y":{"data":{"z":[1]}},"w":{"rid":"conf.w","soft":true}}}}
          1< {"result":{"models":{"conf.model":{"x":1,"y":{"data":{"z":[1]}},"w":{"rid":"conf.w","soft":true}}}},"id":1}
        event.conf.model.change {"values":{"x":1,"no":{"action":"delete"}}}
        event.conf.model.change {"values":{"x":2,"y":{"action":"delete"},"n":{"data":"plain"}}}
          1< {"event":"conf.model.change","data":{"values":{"x":2,"y":{"action":"delete"},"n":"plain"}}}
        event.conf.model.change {"values":{"x":[1]}}
        event.conf.model.add {"idx":0,"value":1}
        event.conf.model.custom {"any":["thing"]}
          1< {"event":"conf.model.custom","data":{"any":["thing"]}}
        event.conf.model.empty
          1< {"event":"conf.model.empty","data":null}
        1> 2 subscribe.conf.list
          get.conf.list {}
          access.conf.list {"cid":"c1","token":null}
        access.conf.list = {"result":{"get":true}}
        get.conf.list = {"result":{"collection":["a","b"]}}
          1< {"result":{"collections":{"conf.list":["a","b"]}},"id":2}
        event.conf.list.add {"idx":2,"value":"c"}
          1< {"event":"conf.list.add","data":{"idx":2,"value":"c"}}
        event.conf.list.add {"idx":4,"value":"x"}
        event.conf.list.remove {"idx":0}
          1< {"event":"conf.list.remove","data":{"idx":0}}
        event.conf.list.remove {"idx":2}
        event.conf.list.delete
          1< {"event":"conf.list.delete","data":null}
          1< {"event":"conf.list.unsubscribe","data":{"reason":{"code":"system.deleted","message":"Deleted"}}}
        2> 1 get.conf.model
          access.conf.model {"cid":"c2","token":null}
        access.conf.model = {"result":{"get":true}}
          2< {"result":{"models":{"conf.model":{"x":2,"n":"plain","w":{"rid":"conf.w","soft":true}}}},"id":1}
        "#,
    )
    .await
}

async fn references(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 subscribe.conf.a
          get.conf.a {}
          access.conf.a {"cid":"c1","token":null}
        access.conf.a = {"result":{"get":true}}
        get.conf.a = {"result":{"model":{"b":{"rid":"conf.b"},"me":{"rid":"conf.a"}}}}
          get.conf.b {}
        get.conf.b = {"result":{"collection":[{"rid":"conf.none"}]}}
          get.conf.none {}
        get.conf.none = {"error":{"code":"system.notFound","message":"Not found"}}
          1< {"result":{"models":{"conf.a":{"b":{"rid":"conf.b"},"me":{"rid":"conf.a"}}},"collections":{"conf.b":[{"rid":"conf.none"}]},"errors":{"conf.none":{"code":"system.notFound","message":"Not found"}}},"id":1}
        event.conf.b.add {"idx":0,"value":{"rid":"conf.c"}}
          get.conf.c {}
        event.conf.b.add {"idx":0,"value":"later"}
        get.conf.c = {"result":{"model":{"x":1}}}
          1< {"event":"conf.b.add","data":{"idx":0,"value":{"rid":"conf.c"},"models":{"conf.c":{"x":1}}}}
          1< {"event":"conf.b.add","data":{"idx":0,"value":"later"}}
        event.conf.a.change {"values":{"c":{"rid":"conf.c"}}}
          1< {"event":"conf.a.change","data":{"values":{"c":{"rid":"conf.c"}}}}
        event.conf.b.remove {"idx":1}
          1< {"event":"conf.b.remove","data":{"idx":1}}
        event.conf.c.change {"values":{"x":2}}
          1< {"event":"conf.c.change","data":{"values":{"x":2}}}
        event.conf.a.change {"values":{"c":null}}
          1< {"event":"conf.a.change","data":{"values":{"c":null}}}
        1> 2 subscribe.conf.c
          access.conf.c {"cid":"c1","token":null}
        access.conf.c = {"result":{"get":true}}
          1< {"result":{"models":{"conf.c":{"x":2}}},"id":2}
        "#,
    )
    .await
}

async fn resets(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 subscribe.conf.a.list
          get.conf.a.list {}
          access.conf.a.list {"cid":"c1","token":null}
        access.conf.a.list = {"result":{"get":true}}
        get.conf.a.list = {"result":{"collection":["a","b","c"]}}
          1< {"result":{"collections":{"conf.a.list":["a","b","c"]}},"id":1}
        1> 2 subscribe.conf.b.model
          get.conf.b.model {}
          access.conf.b.model {"cid":"c1","token":null}
        access.conf.b.model = {"result":{"get":true}}
        get.conf.b.model = {"result":{"model":{"x":1,"y":2}}}
          1< {"result":{"models":{"conf.b.model":{"x":1,"y":2}}},"id":2}
        system.reset {"resources":["conf.*.list"]}
          get.conf.a.list {}
        get.conf.a.list = {"result":{"collection":["a","x","c"]}}
          1< {"event":"conf.a.list.remove","data":{"idx":1}}
          1< {"event":"conf.a.list.add","data":{"idx":1,"value":"x"}}
        system.reset {"resources":["conf.b.>"],"access":["other.>"]}
          get.conf.b.model {}
        get.conf.b.model = {"result":{"model":{"x":1,"z":3}}}
          1< {"event":"conf.b.model.change","data":{"values":{"y":{"action":"delete"},"z":3}}}
        system.reset {"resources":["conf.b.model"]}
          get.conf.b.model {}
        get.conf.b.model = {"error":{"code":"system.notFound","message":"Not found"}}
          1< {"event":"conf.b.model.delete","data":null}
          1< {"event":"conf.b.model.unsubscribe","data":{"reason":{"code":"system.deleted","message":"Deleted"}}}
        "#,
    )
    .await
}

async fn query_resources(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 subscribe.conf.list?b=1&a=1
          get.conf.list {"query":"b=1&a=1"}
          access.conf.list {"cid":"c1","token":null,"query":"b=1&a=1"}
        access.conf.list = {"result":{"get":true}}
        get.conf.list = {"result":{"collection":["a"],"query":"a=1&b=1"}}
          1< {"result":{"collections":{"conf.list?b=1&a=1":["a"]}},"id":1}
        2> 1 subscribe.conf.list?a=1&b=1
          access.conf.list {"cid":"c2","token":null,"query":"a=1&b=1"}
        access.conf.list = {"result":{"get":true}}
          2< {"result":{"collections":{"conf.list?a=1&b=1":["a"]}},"id":1}
        event.conf.list.add {"idx":0,"value":"no"}
        event.conf.list.query
        event.conf.list.query {"subject":""}
        event.conf.list.query {"subject":"get.conf.R1"}
          get.conf.R1 {"query":"a=1&b=1"}
        get.conf.R1 = {"result":{"events":[{"event":"add","data":{"idx":1,"value":"b"}},{"event":"mine","data":{"n":1}},{"event":"remove","data":{"idx":0}}]}}
          1< {"event":"conf.list?b=1&a=1.add","data":{"idx":1,"value":"b"}}
          1< {"event":"conf.list?b=1&a=1.mine","data":{"n":1}}
          1< {"event":"conf.list?b=1&a=1.remove","data":{"idx":0}}
          2< {"event":"conf.list?a=1&b=1.add","data":{"idx":1,"value":"b"}}
          2< {"event":"conf.list?a=1&b=1.mine","data":{"n":1}}
          2< {"event":"conf.list?a=1&b=1.remove","data":{"idx":0}}
        1> 2 subscribe.conf.list
          get.conf.list {}
          access.conf.list {"cid":"c1","token":null}
        access.conf.list = {"result":{"get":true}}
        get.conf.list = {"result":{"collection":[1]}}
          1< {"result":{"collections":{"conf.list":[1]}},"id":2}
        2> 2 unsubscribe.conf.list?a=1&b=1
          2< {"id":2}
        event.conf.list.query {"subject":"get.conf.R2"}
          get.conf.R2 {"query":"a=1&b=1"}
        event.conf.list.add {"idx":1,"value":2}
        get.conf.R2 = {"result":{"collection":["b","c"]}}
          1< {"event":"conf.list?b=1&a=1.add","data":{"idx":1,"value":"c"}}
          1< {"event":"conf.list.add","data":{"idx":1,"value":2}}
        event.conf.list.query {"subject":"get.conf.R3"}
          get.conf.R3 {"query":"a=1&b=1"}
        get.conf.R3 = {"error":{"code":"system.internalError","message":"Internal error"}}
        event.conf.list.query {"subject":"get.conf.R4"}
          get.conf.R4 {"query":"a=1&b=1"}
        get.conf.R4 = {"error":{"code":"system.notFound","message":"Not found"}}
          1< {"event":"conf.list?b=1&a=1.delete","data":null}
          1< {"event":"conf.list?b=1&a=1.unsubscribe","data":{"reason":{"code":"system.deleted","message":"Deleted"}}}
        "#,
    )
    .await
}

async fn plain_resources_by_a_query(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 1 subscribe.conf.m?q=1
          get.conf.m {"query":"q=1"}
          access.conf.m {"cid":"c1","token":null,"query":"q=1"}
        access.conf.m = {"result":{"get":true}}
        get.conf.m = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"conf.m?q=1":{"x":1}}},"id":1}
        event.conf.m.change {"values":{"x":2}}
          1< {"event":"conf.m?q=1.change","data":{"values":{"x":2}}}
        2> 1 subscribe.conf.m
          access.conf.m {"cid":"c2","token":null}
        access.conf.m = {"result":{"get":true}}
          2< {"result":{"models":{"conf.m":{"x":2}}},"id":1}
        event.conf.m.custom {"n":1}
          1< {"event":"conf.m?q=1.custom","data":{"n":1}}
          2< {"event":"conf.m.custom","data":{"n":1}}
        system.reset {"resources":["conf.m"]}
          get.conf.m {}
        get.conf.m = {"result":{"model":{"x":3}}}
          1< {"event":"conf.m?q=1.change","data":{"values":{"x":3}}}
          2< {"event":"conf.m.change","data":{"values":{"x":3}}}
        "#,
    )
    .await
}

async fn a_token_taken_away_by_null(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        1> 7 auth.conf.login {}
          auth.conf.login {"cid":"c1","token":null,"params":{}}
        conn.c1.token {"token":{"role":"a"},"tid":"t1"}
        auth.conf.login = {"result":true}
          1< {"result":{"payload":true},"id":7}
        1> 1 subscribe.conf.a
          get.conf.a {}
          access.conf.a {"cid":"c1","token":{"role":"a"}}
        access.conf.a = {"result":{"get":true}}
        get.conf.a = {"result":{"model":{"x":1}}}
          1< {"result":{"models":{"conf.a":{"x":1}}},"id":1}
        conn.c1.token null
          access.conf.a {"cid":"c1","token":null}
        system.tokenReset {"tids":["t1"],"subject":"auth.conf.renew"}
        access.conf.a = {"result":{"get":false}}
          1< {"event":"conf.a.unsubscribe","data":{"reason":{"code":"system.accessDenied","message":"Access denied"}}}
        "#,
    )
    .await
}

/// A service, two clients, whoever sends HTTP requests, and what the service was asked last on each
/// subject.
struct Cast {
    service: Service,
    clients: Vec<(Res, String)>,
    http: Http,
    asked: BTreeMap<String, Request>,
}

async fn play(stage: &mut Stage, script: &str) -> Result<()> {
    stage.up(&[]).await?;
    let mut service = Service::connect(&stage.nats_url(), "conf").await?;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = stage.res().await?;
        let id = client.send("auth.conf.who", None).await?;
        let request = service.asked("auth.conf.who").await?;
        service.answer(&request, r#"{"result":null}"#).await?;
        client.answer(id).await?.ok()?;
        let cid = request.payload["cid"].as_str().context("no cid")?.to_owned();
        clients.push((client, cid));
    }
    let http = Http::new(stage.gateway_addr());
    let mut cast = Cast { service, clients, http, asked: BTreeMap::new() };
    for line in script.lines().map(|line| line.strip_prefix("        ").unwrap_or(line)).filter(|line| !line.is_empty())
    {
        let (first, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let outcome = if line.starts_with("  ") { cast.expect(first, rest).await } else { cast.act(first, rest).await };
        outcome.with_context(|| format!("at `{}`", line.trim()))?;
    }
    cast.end().await
}

impl Cast {
    async fn act(&mut self, first: &str, rest: &str) -> Result<()> {
        if let Some(number) = first.strip_suffix('>') {
            let text = match rest.split_once(' ').filter(|(id, _)| id.parse::<u64>().is_ok()) {
                Some((id, request)) => {
                    let (method, params) = request.split_once(' ').unwrap_or((request, ""));
                    let params = if params.is_empty() { String::new() } else { format!(r#","params":{params}"#) };
                    format!(r#"{{"id":{id},"method":"{method}"{params}}}"#)
                }
                None => rest.to_owned(),
            };
            self.client(number)?.send_text(text).await
        } else if rest.starts_with('/') {
            self.http.send(first, rest);
            Ok(())
        } else if let Some(answer) = rest.strip_prefix("= ") {
            let request = self.asked.get(first).context("it was not asked")?;
            self.service.answer(request, answer).await
        } else {
            let subject = self.with_cids(first);
            self.service.tell(&subject, rest).await
        }
    }

    async fn expect(&mut self, first: &str, rest: &str) -> Result<()> {
        if first.parse::<u16>().is_ok() || first.ends_with(':') {
            return self.http.expect(first, rest).await;
        }
        let rest = self.with_cids(rest);
        let expected = Exact::parse(&rest)?;
        if let Some(number) = first.strip_suffix('<') {
            // A gateway's pings come all the time.
            let text = in_time("what the client is to get", self.client(number)?.frame_text()).await?;
            let frame = Exact::parse(&text)?;
            ensure!(frame.is(&expected), "the client got {frame}");
        } else {
            let request = self.service.asked(&self.with_cids(first)).await?;
            let mut payload = Exact::parse(&request.text)?;
            // What a connection was opened with is not the same from one to the other.
            for name in ["header", "host", "remoteAddr", "uri"] {
                payload.remove(name);
            }
            ensure!(payload.is(&expected), "the service was asked {payload}");
            self.asked.insert(first.to_owned(), request);
        }
        Ok(())
    }

    /// Looks whether anything came that was not expected.
    async fn end(mut self) -> Result<()> {
        for (client, _) in &mut self.clients {
            client.send_text(r#"{"id":99,"method":"version"}"#.to_owned()).await?;
            let frame = client.frame().await?;
            ensure!(frame["id"] == 99, "a client got in the end {frame}");
        }
        let unexpected = self.service.unexpected().await?;
        ensure!(unexpected.is_empty(), "the service was asked in the end {unexpected:?}");
        Ok(())
    }

    fn client(&mut self, number: &str) -> Result<&mut Res> {
        let at = number.parse::<usize>()?.checked_sub(1).context("clients are counted from one")?;
        Ok(&mut self.clients.get_mut(at).context("no such client")?.0)
    }

    /// A text with the words `c1` and `c2` replaced by cids.
    fn with_cids(&self, text: &str) -> String {
        let cid_of = |word: &str| {
            let number: usize = word.strip_prefix('c')?.parse().ok()?;
            self.clients.get(number.checked_sub(1)?).map(|(_, cid)| cid.clone())
        };
        let words = text.split_inclusive(|end: char| !end.is_ascii_alphanumeric());
        words
            .map(|word| {
                let length = word.trim_end_matches(|end: char| !end.is_ascii_alphanumeric()).len();
                let (word, end) = word.split_at(length);
                cid_of(word).unwrap_or_else(|| word.to_owned()) + end
            })
            .collect()
    }
}
