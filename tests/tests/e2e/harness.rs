//! Tests of the harness itself, on a page of its own and on the third-party parts: if they pass,
//! the harness is not why a scenario fails.

use std::net::SocketAddr;

use anyhow::Result;
use axum::{
    Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    response::Html,
    routing::get,
};
use relogin_tests::{
    front::{Direction, Fate, Front, Happening, PageGateway},
    play::{Failure, play},
    res::Res,
    stage::Arrangement,
};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

/// A page that connects where its tag says, sends what `say` is called with, and shows each answer
/// as a list item.
const PAGE: &str = r#"<!doctype html><head><meta name="res-gateway" content=""></head>
<body data-view="login" data-connection="connecting"><ul></ul><script>
    const url = document.querySelector("meta[name=res-gateway]").content;
    const connect = () => {
        const socket = new WebSocket(url);
        socket.onopen = () => { document.body.dataset.connection = "connected"; };
        socket.onclose = () => { document.body.dataset.connection = "reconnecting"; setTimeout(connect, 50); };
        socket.onmessage = ({ data }) => { document.querySelector("ul").innerHTML += `<li>${data}</li>`; };
        window.say = text => socket.send(text);
    };
    connect();
</script>"#;

/// Serves the page, and a gateway that answers each message with itself.
async fn parrot() -> Result<(SocketAddr, JoinHandle<()>)> {
    async fn repeat(mut socket: WebSocket) {
        while let Some(Ok(Message::Text(text))) = socket.recv().await {
            if socket.send(Message::Text(text)).await.is_err() {
                return;
            }
        }
    }
    let app = Router::new()
        .route("/page", get(|| async { Html(PAGE) }))
        .fallback(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(repeat) });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let addr = listener.local_addr()?;
    Ok((addr, tokio::spawn(async { drop(axum::serve(listener, app).await) })))
}

#[tokio::test]
async fn a_front_passes_loses_doubles_and_cuts() -> Result<(), Failure> {
    play(Arrangement::Embedded, "a_front_passes_loses_doubles_and_cuts", async |stage| {
        let (server, _task) = parrot().await?;
        let front = Front::start(server, server, PageGateway::Front).await?;
        let browser = stage.page("reader", &format!("{}page", front.url())).await?;
        browser.connection_is("connected").await?;

        browser.run("say('{\"id\":1,\"method\":\"call.a.b\"}')").await?;
        let (request, answer) = front.exchange(0, "call.a.b").await?;
        assert_eq!((request.direction, answer.direction), (Direction::Up, Direction::Down));
        browser.until("an answer", "document.querySelectorAll('li').length === 1").await?;

        front.rule(|frame| match (frame.direction, frame.json["id"].as_u64()) {
            (Direction::Down, Some(2)) => Fate::Lose,
            (Direction::Up, Some(3)) => Fate::Double,
            (Direction::Down, Some(4)) => Fate::Break,
            _ => Fate::Pass,
        });
        browser.run("say('{\"id\":2}'); say('{\"id\":3}')").await?;
        browser.until("two answers", "document.querySelectorAll('li').length === 3").await?;
        assert!(browser.text("ul").await?.ends_with("{\"id\":3}\n{\"id\":3}"));

        browser.run("say('{\"id\":4}')").await?;
        front.happens(0, "the end", |happening| matches!(happening, Happening::Closed(0))).await?;
        front.happens(0, "a second connection", |happening| matches!(happening, Happening::Opened(1))).await?;

        let mark = front.mark();
        front.shut();
        browser.connection_is("reconnecting").await?;
        front.happens(mark, "a refusal", |happening| matches!(happening, Happening::TurnedAway)).await?;
        front.lead_to(server);
        browser.connection_is("connected").await
    })
    .await
}

#[tokio::test]
async fn a_wait_goes_on_over_a_reload_and_storage_stays_with_its_profile() -> Result<(), Failure> {
    play(Arrangement::Embedded, "a_wait_goes_on_over_a_reload_and_storage_stays_with_its_profile", async |stage| {
        let (server, _task) = parrot().await?;
        let front = Front::start(server, server, PageGateway::Url(format!("ws://{server}/"))).await?;
        let url = format!("{}page", front.url());
        let browser = stage.page("owner", &url).await?;
        browser.store(&json!({ "key": "k" })).await?;
        browser.run("setTimeout(() => { sessionStorage.again = 1; location.reload(); }, 100)").await?;
        browser.until("the page after the reload", "sessionStorage.again && document.body.dataset.connection").await?;
        assert_eq!(browser.stored().await?, json!({ "key": "k" }));
        let (first, second) = browser.open_tab(&url).await?;
        assert_eq!(browser.stored().await?, json!({ "key": "k" }));
        browser.turn_to(&first).await?;
        browser.turn_to(&second).await?;

        let stranger = stage.page("stranger", &url).await?;
        assert!(stranger.stored().await?.is_null());

        browser.set_offline(true).await?;
        assert_eq!(browser.run("return navigator.onLine").await?, false);
        browser.set_offline(false).await?;
        assert_eq!(browser.run("return navigator.onLine").await?, true);
        browser.close().await
    })
    .await
}

#[tokio::test]
async fn resgate_and_nats_start_end_and_start_again() -> Result<(), Failure> {
    play(Arrangement::Resgate, "resgate_and_nats_start_end_and_start_again", async |stage| {
        stage.start_nats().await?;
        stage.start_gateway().await?;
        let res = stage.res().await?;
        stage.kill_gateway().await?;
        assert_eq!(res.closed().await?, None);
        assert!(Res::connect(&stage.gateway_url()).await.is_err());

        stage.start_gateway().await?;
        let mut res = stage.res().await?;
        let answer = res.request("get.nobody.there", None).await?;
        assert_eq!(answer.code(), Some("system.notFound"));
        Ok(())
    })
    .await
}
