//! Compressed messages with clients that are not ours: a browser, npm's `ws`, and what node has
//! itself. The gateway's metrics say what was compressed.

use anyhow::{Context, Result};
use relogin_tests::{in_time, service::Service, stage::Stage};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::JANE;

on!(over_nats: a_page_with_compressed_messages, other_clients_with_compressed_messages);

const OPTIONS: [&str; 3] = ["--ws-compression", "--metrics-listen", "127.0.0.1:0"];

/// How long a text of the service is, which answers each request for a resource with it.
const LARGE: usize = 100_000;

async fn large(stage: &Stage) -> Result<()> {
    let model = json!({ "text": "a text ".repeat(LARGE / 7 + 1)[..LARGE] }).to_string();
    Service::connect(&stage.nats_url(), "large").await?.grants_all(&model);
    Ok(())
}

/// How many messages were compressed, from and to clients.
async fn compressed(stage: &Stage) -> Result<[u64; 2]> {
    let address = |line: &str| Some(line.split_once("metrics are on http://")?.1.split_once('/')?.0.to_owned());
    let address = stage.service()?.line("the address of the metrics", address).await?;
    let mut stream = TcpStream::connect(&address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n").await?;
    let mut text = String::new();
    in_time("the metrics", async { Ok(stream.read_to_string(&mut text).await?) }).await?;
    let count = |direction: &str| {
        let name = format!("relogin_ws_compressed_total{{direction=\"{direction}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.with_context(|| format!("no {name} in {text}"))?.parse().context("a count")
    };
    Ok([count("in")?, count("out")?])
}

/// The page of the demo, and a socket beside it for what is large.
async fn a_page_with_compressed_messages(stage: &mut Stage) -> Result<()> {
    stage.serve(&[&["--demo"], &OPTIONS[..]].concat()).await?;
    large(stage).await?;
    let browser = stage.browser("jane").await?;
    let recording = "window.sockets = []; window.WebSocket = class extends WebSocket {
        constructor(...args) { super(...args); sockets.push(this); } };";
    browser.before_each_page(recording).await?;
    browser.open(&format!("http://{}", stage.service_addr())).await?;
    browser.log_in("jane", "jane").await?;
    browser.is_user(JANE).await?;
    browser.counter_runs().await?;
    let extensions = browser.run("return sockets.map(({ extensions }) => extensions)").await?;
    assert_eq!(extensions, json!(["permessage-deflate; server_no_context_takeover; client_no_context_takeover"]));

    let [before, _] = compressed(stage).await?;
    let get = "const [large, done] = arguments;
        const socket = new WebSocket(sockets[0].url);
        const answers = [];
        socket.onopen = () => {
            socket.send(JSON.stringify({ id: 1, method: 'get.large.model' }));
            socket.send(JSON.stringify({ id: 2, method: 'version', params: { protocol: '1.2.3', large: 'x'.repeat(large) } }));
        };
        socket.onclose = ({ code }) => done(code);
        socket.onmessage = ({ data }) => {
            answers.push(JSON.parse(data));
            if (answers.length == 2) done(answers.sort((one, other) => one.id - other.id));
        };";
    let answers = browser.ask(get, vec![json!(LARGE)]).await?;
    let text = &answers[0]["result"]["models"]["large.model"]["text"];
    assert_eq!(text.as_str().map(str::len), Some(LARGE));
    assert_eq!(answers[1]["result"]["protocol"], "1.2.3");
    let [received, sent] = compressed(stage).await?;
    assert!(received >= before + 2, "the browser compresses all it sends: {before}, {received}");
    assert_eq!(sent, 1, "the large one");

    browser.reload().await?;
    browser.is_user(JANE).await?;
    browser.counter_runs().await
}

async fn other_clients_with_compressed_messages(stage: &mut Stage) -> Result<()> {
    stage.up(&OPTIONS).await?;
    large(stage).await?;
    let mut script = stage.script("compression")?;
    // The latter compresses nothing that it sends.
    for (client, counts) in [("ws", [40, 20]), ("node", [40, 40])] {
        let done = script.step(client).await?;
        let extensions = done["extensions"].as_str().context("extensions")?;
        assert!(extensions.contains("permessage-deflate"), "{client}: {extensions}");
        assert_eq!(done["lengths"], json!(vec![LARGE; 20]));
        assert_eq!(compressed(stage).await?, counts, "{client}");
        if client == "ws" {
            script.go_on().await?;
        }
    }
    script.ends().await
}
