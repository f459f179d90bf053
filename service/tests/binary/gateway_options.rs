//! `relogin gateway` with options of its own, before a service on NATS.

use std::fs;

use relogin_test_support::nats_server::NatsServer;
use relogin_tests::res::Res;
use serde_json::json;

use crate::{metrics, program::Folder, tls};

#[tokio::test]
async fn the_gateway_alone_does_what_its_options_say() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let service = folder.serve(&format!("--demo --store memory --nats {}", nats.url())).await;
    let options = "--ws-path /socket --api-path /rest --ws-compression --metrics-listen 127.0.0.1:0 --log debug \
                   --allow-origin https://page.example --request-timeout 30s --drain 1s";
    let gateway = folder.gateway_with(&format!("--nats {} {options}", nats.url()), &[]).await;
    let url = format!("ws://{}/socket", gateway.address);

    let mut client = Res::connect(&url).await.unwrap();
    client.log_in("jane", "jane").await.unwrap();
    client.request("subscribe.ticker.model", None).await.unwrap().ok().unwrap();
    client.event("ticker.model.change").await.unwrap();
    assert_eq!(gateway.get("/rest/ticker/model").await, 401);
    assert_eq!(gateway.get("/api/ticker/model").await, 404);
    let from = |origin: &str| format!("Origin: {origin}\r\n");
    assert_eq!(gateway.get_of("any.example", "/rest/nothing", &from("https://page.example")).await, 404);
    assert_eq!(gateway.get_of("any.example", "/rest/nothing", &from("https://other.example")).await, 403);
    let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    let head = gateway.head_of("/socket", handshake).await;
    assert!(head.to_ascii_lowercase().contains("\r\nsec-websocket-extensions: permessage-deflate"), "{head}");
    let address = metrics::address_of(&gateway).await;
    let text = metrics::respond(&address, "/metrics").await;
    assert!(text.contains("\nrelogin_info{"), "{text}");
    service.stop().await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_gateway_alone_takes_so_many_connections() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let gateway = folder.gateway_with(&format!("--nats {} --max-connections 1", nats.url()), &[]).await;
    let _first = Res::connect(&format!("ws://{}/", gateway.address)).await.unwrap();
    assert_eq!(gateway.get("/healthz").await, 503);
    gateway.says("connections are refused: --max-connections are open").await;
    gateway.stop().await;
}

#[tokio::test]
async fn options_and_variables_go_before_a_file_of_resgate() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let config = json!({"natsUrl": "nats://127.0.0.1:1", "port": 1, "wsPath": "/file", "apiPath": "/file"});
    fs::write(folder.path("resgate.json"), config.to_string()).unwrap();
    // Not read, or it would be refused.
    fs::write(folder.path("relogin.toml"), "nonsense").unwrap();
    let options = format!("--resgate-config resgate.json --nats {}", nats.url());
    let gateway = folder.gateway_with(&options, &[("RELOGIN_WS_PATH", "/variable")]).await;

    Res::connect(&format!("ws://{}/variable", gateway.address)).await.unwrap();
    assert!(Res::connect(&format!("ws://{}/file", gateway.address)).await.is_err());
    // Of the file, and Resgate's own default: pages of all origins may use it.
    assert_eq!(gateway.get_of("a.example", "/file/nothing", "Origin: https://a.example\r\n").await, 404);
    gateway.stop().await;
}

#[tokio::test]
async fn the_gateway_alone_serves_clients_by_tls() {
    let (folder, nats) = (Folder::new(), NatsServer::start(&[]));
    let authority = tls::write_certificate(&folder);
    let options = format!("--nats {} --tls-cert cert.pem --tls-key key.pem", nats.url());
    let gateway = folder.gateway_with(&options, &[]).await;
    assert!(tls::connect(&gateway, &authority).await.is_ok());
    gateway.stop().await;
}

#[test]
fn what_the_gateway_alone_cannot_do_is_refused_in_one_line() {
    let folder = Folder::new();
    for (options, begin) in [
        ("", "relogin: --nats is missing: "),
        ("--nats nats://a --store memory", "relogin: invalid value 'memory' for '--store "),
        ("--nats nats://a --reset-throttle none", "relogin: --reset-throttle \"none\" "),
        ("--nats nats://a --tls-cert a.pem", "relogin: --tls-cert "),
        ("--resgate-config a.json --config b.toml", "relogin: the argument '--resgate-config <FILE>' cannot be used"),
    ] {
        let line = folder.run(format!("gateway {options}").trim_end(), "").refused();
        assert!(line.starts_with(begin), "{options}: {line}");
    }
}
