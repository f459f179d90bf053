//! The HTTP API: what services are asked, and what comes back.

use std::{collections::HashMap, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use relogin_tests::{exact::Exact, in_time, stage::Stage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use super::play;

on!(nats:
    resources_by_http,
    methods_by_http,
    http_requests_that_are_refused,
    what_services_say_about_http_responses,
);

/// Whoever sends HTTP requests, one after the other.
pub(super) struct Http {
    to: SocketAddr,
    under_way: Option<JoinHandle<Result<Response>>>,
    headers: HashMap<String, String>,
}

struct Response {
    status: String,
    headers: HashMap<String, String>,
    body: String,
}

impl Http {
    pub(super) fn new(to: SocketAddr) -> Self {
        Self { to, under_way: None, headers: HashMap::new() }
    }

    /// Sends a request for a path, which a body may follow.
    pub(super) fn send(&mut self, method: &str, rest: &str) {
        let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
        let request =
            format!("{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}", self.to, body.len());
        let to = self.to;
        self.under_way = Some(tokio::spawn(async move {
            let mut stream = TcpStream::connect(to).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            Response::parse(&text)
        }));
    }

    /// What comes back: a status and a body, or afterwards a header.
    pub(super) async fn expect(&mut self, first: &str, rest: &str) -> Result<()> {
        if let Some(name) = first.strip_suffix(':') {
            let value = self.headers.get(&name.to_lowercase());
            ensure!(value.map(String::as_str) == Some(rest), "the header is {value:?}");
            return Ok(());
        }
        let under_way = self.under_way.take().context("no request is under way")?;
        let response = in_time("an HTTP response", async { under_way.await? }).await?;
        ensure!(response.status == first, "the status is {} with {}", response.status, response.body);
        if rest.is_empty() {
            ensure!(response.body.is_empty(), "the body is {}", response.body);
        } else {
            let body = Exact::parse(&response.body)?;
            ensure!(body.is(&Exact::parse(rest)?), "the body is {body}");
            let json = response.headers.get("content-type").map(String::as_str);
            ensure!(json == Some("application/json; charset=utf-8"), "the type is {json:?}");
        }
        self.headers = response.headers;
        Ok(())
    }
}

impl Response {
    fn parse(text: &str) -> Result<Self> {
        let (head, body) = text.split_once("\r\n\r\n").context("no whole response")?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?.to_owned();
        let headers =
            lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Ok(Self { status, headers: headers.collect(), body: body.to_owned() })
    }
}

async fn resources_by_http(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        GET /api/conf/a?q=1&r=2
          access.conf.a {"cid":"…","token":null,"query":"q=1&r=2","isHttp":true}
          get.conf.a {"query":"q=1&r=2"}
        access.conf.a = {"result":{"get":true}}
        get.conf.a = {"result":{"model":{"b":{"rid":"conf.b"},"s":{"rid":"conf.s","soft":true},"d":{"data":{"x":[1.50]}},"n":{"rid":"conf.n"}},"query":"q=1&r=2"}}
          get.conf.b {}
          get.conf.n {}
        get.conf.n = {"error":{"code":"system.notFound","message":"Not found"}}
        get.conf.b = {"result":{"collection":["\ud83d",{"rid":"conf.b"},{"rid":"conf.c%/d"}]}}
          get.conf.c%/d {}
        get.conf.c%/d = {"result":{"model":{}}}
          200 {"b":{"href":"/api/conf/b","collection":["\ud83d",{"href":"/api/conf/b"},{"href":"/api/conf/c%25%2Fd","model":{}}]},"s":{"href":"/api/conf/s"},"d":{"x":[1.50]},"n":{"href":"/api/conf/n","error":{"code":"system.notFound","message":"Not found"}}}
        GET /api/conf/c%25%2Fd
          access.conf.c%/d {"cid":"…","token":null,"isHttp":true}
        access.conf.c%/d = {"result":{"get":true}}
          200 {}
        GET /api/conf/none
          access.conf.none {"cid":"…","token":null,"isHttp":true}
          get.conf.none {}
        access.conf.none = {"result":{"get":true}}
        get.conf.none = {"error":{"code":"system.notFound","message":"Not found"}}
          404 {"code":"system.notFound","message":"Not found"}
        GET /api/conf/e
          access.conf.e {"cid":"…","token":null,"isHttp":true}
          get.conf.e {}
        get.conf.e = {"result":{"collection":[]}}
        access.conf.e = {"result":{"get":false,"call":"*"}}
          401 {"code":"system.accessDenied","message":"Access denied"}
        HEAD /api/conf/e
          access.conf.e {"cid":"…","token":null,"isHttp":true}
        access.conf.e = {"result":{"get":true}}
          200
          Content-Length: 2
        "#,
    )
    .await
}

async fn methods_by_http(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        POST /api/conf/a/set?q=1 {"x":1.0}
          access.conf.a {"cid":"…","token":null,"query":"q=1","isHttp":true}
        access.conf.a = {"result":{"call":"set"}}
          call.conf.a.set {"cid":"…","token":null,"params":{"x":1.0},"query":"q=1","isHttp":true}
        call.conf.a.set = {"result":{"y":2.0}}
          200 {"y":2.0}
        POST /api/conf/a/set
          access.conf.a {"cid":"…","token":null,"isHttp":true}
        access.conf.a = {"result":{"call":"*"}}
          call.conf.a.set {"cid":"…","token":null,"params":null,"isHttp":true}
        call.conf.a.set = {"result":null}
          204
        POST /api/conf/a/make []
          access.conf.a {"cid":"…","token":null,"isHttp":true}
        access.conf.a = {"result":{"call":"*"}}
          call.conf.a.make {"cid":"…","token":null,"params":[],"isHttp":true}
        call.conf.a.make = {"resource":{"rid":"conf.b.c"}}
          200
          Location: /api/conf/b/c
        POST /api/conf/a/set
          access.conf.a {"cid":"…","token":null,"isHttp":true}
        access.conf.a = {"result":{"get":true,"call":"make"}}
          401 {"code":"system.accessDenied","message":"Access denied"}
        POST /api/conf/a/set
          access.conf.a {"cid":"…","token":null,"isHttp":true}
        access.conf.a = {"result":{"call":"*"}}
          call.conf.a.set {"cid":"…","token":null,"params":null,"isHttp":true}
        call.conf.a.set = {"error":{"code":"conf.no","message":"No","data":{"a":1}}}
          400 {"code":"conf.no","message":"No","data":{"a":1}}
        "#,
    )
    .await
}

async fn http_requests_that_are_refused(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        GET /api/
          404 {"code":"system.notFound","message":"Not found"}
        GET /api/conf.a
          404 {"code":"system.notFound","message":"Not found"}
        GET /api/conf/a/
          404 {"code":"system.notFound","message":"Not found"}
        GET /api/conf//a
          404 {"code":"system.notFound","message":"Not found"}
        GET /api/conf/m%C3%A5del
          404 {"code":"system.notFound","message":"Not found"}
        POST /api/action
          404 {"code":"system.notFound","message":"Not found"}
        POST /api/conf/a/set {"x":
          400 {"code":"system.badRequest","message":"…"}
        PUT /api/conf/a {}
          405 {"code":"system.methodNotAllowed","message":"Method not allowed"}
        "#,
    )
    .await
}

async fn what_services_say_about_http_responses(stage: &mut Stage) -> Result<()> {
    play(
        stage,
        r#"
        GET /api/conf/a
          access.conf.a {"cid":"…","token":null,"isHttp":true}
          get.conf.a {}
        get.conf.a = {"result":{"model":{}}}
        access.conf.a = {"result":{"get":true},"meta":{"header":{"x-conf":["1"],"Content-Type":["text/plain"]}}}
          200 {}
          X-Conf: 1
        GET /api/conf/a
          access.conf.a {"cid":"…","token":null,"isHttp":true}
        access.conf.a = {"error":{"code":"conf.no","message":"No"},"meta":{"status":402}}
          402 {"code":"conf.no","message":"No"}
        GET /api/conf/a
          access.conf.a {"cid":"…","token":null,"isHttp":true}
        access.conf.a = {"result":{"get":true},"meta":{"status":410}}
          410 {"code":"system.notFound","message":"Not found"}
        POST /api/conf/a/set
          access.conf.a {"cid":"…","token":null,"isHttp":true}
        access.conf.a = {"result":{"call":"*"},"meta":{"header":{"X-Conf":["1"],"X-More":["1"]}}}
          call.conf.a.set {"cid":"…","token":null,"params":null,"isHttp":true}
        call.conf.a.set = {"resource":{"rid":"conf.b"},"meta":{"status":303,"header":{"X-Conf":["2"]}}}
          303
          Location: /api/conf/b
          X-Conf: 2
          X-More: 1
        "#,
    )
    .await
}
