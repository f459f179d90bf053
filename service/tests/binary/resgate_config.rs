//! `relogin gateway` in the place of a Resgate, with its configuration file, before a service on
//! NATS.

use std::fs;

use relogin_test_support::nats_server::NatsServer;
use serde_json::json;

use crate::program::Folder;

#[tokio::test]
async fn the_gateway_alone_serves_clients_of_a_service_on_nats() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let service = folder.serve(&format!("--demo --store memory --nats {}", nats.url())).await;
    let config = json!({"natsUrl": nats.url(), "apiPath": "/rest", "wsPath": "/socket", "requestTimeout": 30_000});
    fs::write(folder.path("resgate.json"), config.to_string()).unwrap();
    let gateway = folder.gateway("resgate.json").await;

    let mut client = relogin_tests::res::Res::connect(&format!("ws://{}/socket", gateway.address)).await.unwrap();
    client.log_in("jane", "jane").await.unwrap();
    client.request("subscribe.ticker.model", None).await.unwrap().ok().unwrap();
    client.event("ticker.model.change").await.unwrap();
    assert_eq!(gateway.get("/rest/session/nothing").await, 404);
    assert_eq!(gateway.get("/rest/ticker/model").await, 401);
    // Pages of all origins may connect, as with Resgate; and there is no page of its own.
    let url = format!("ws://{}/socket", gateway.address);
    relogin_tests::res::Res::bringing(&url, &[("Origin", "https://anywhere.example")]).await.unwrap();
    assert_eq!((gateway.get("/").await, gateway.get("/healthz").await), (404, 200));

    service.stop().await;
    assert_eq!(gateway.get("/healthz").await, 200);
    gateway.stop().await;
}

/// As behind a proxy on the same machine that passes the host on. The gateway has no page, so a
/// page is not let in because it has the name by which it reaches the gateway.
#[tokio::test]
async fn the_gateway_alone_answers_to_any_name_and_only_named_pages_may_connect() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let config = json!({"natsUrl": nats.url(), "allowOrigin": "https://page.example"});
    fs::write(folder.path("resgate.json"), config.to_string()).unwrap();
    let gateway = folder.gateway("resgate.json").await;

    // Nobody is there who could answer.
    assert_eq!(gateway.get_of("api.example", "/api/nothing", "").await, 404);
    assert_eq!(gateway.get_of("api.example", "/api/nothing", "Origin: https://page.example\r\n").await, 404);
    assert_eq!(gateway.get_of("api.example", "/api/nothing", "Origin: http://api.example\r\n").await, 403);
    gateway.says("refused a page of \"http://api.example\"; if it may connect, add it to --allow-origin").await;
    gateway.stop().await;
}

#[test]
fn a_file_that_cannot_be_taken_over_is_refused_in_one_line() {
    let folder = Folder::new();
    let refused = |text: &str| {
        fs::write(folder.path("resgate.json"), text).unwrap();
        folder.run("gateway --resgate-config resgate.json", "").refused()
    };
    assert_eq!(refused("{\n\"prot\": 80}"), "relogin: resgate.json, line 2: prot: Resgate has no such option");
    let line = refused(r#"{"bufferSize": 1}"#);
    assert!(line.starts_with("relogin: resgate.json: bufferSize counts messages"), "{line}");
    let line = folder.run("gateway --resgate-config nothing.json", "").refused();
    assert!(line.starts_with("relogin: cannot read the configuration file nothing.json"), "{line}");
}
