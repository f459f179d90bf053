//! Relays the front's traffic: pages by HTTP, messages by WebSocket.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use axum::{
    body::{Body, to_bytes},
    extract::{
        FromRequestParts, Request, State,
        ws::{Message as PageMessage, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message as GatewayMessage, client::IntoClientRequest},
};

use super::{Direction, Fate, HOLD, Happening, REPORT, Shared};

pub(super) async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    if request.uri().path() == HOLD {
        shared.note(Happening::Held);
        return std::future::pending().await;
    }
    let (mut parts, body) = request.into_parts();
    if parts.uri.path() == REPORT {
        let text = to_bytes(body, usize::MAX).await.unwrap_or_default();
        shared.note(Happening::Reported(String::from_utf8_lossy(&text).into_owned()));
        return StatusCode::NO_CONTENT.into_response();
    }
    // With a gateway of its own, its HTTP resources are there.
    let gateway = shared.state().gateway.filter(|_| shared.tag.is_some() && parts.uri.path().starts_with("/api/"));
    match WebSocketUpgrade::from_request_parts(&mut parts, &shared).await {
        Ok(upgrade) => pass_connection(shared, upgrade, &parts.uri, &parts.headers).await,
        Err(_) => pass_page(&shared, gateway, Request::from_parts(parts, body)).await.unwrap_or_else(|error| {
            // What a load balancer says when its server is down.
            (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response()
        }),
    }
}

async fn pass_page(shared: &Shared, gateway: Option<SocketAddr>, mut request: Request) -> Result<Response> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::try_from(format!("http://{}{path}", gateway.unwrap_or(shared.page)))?;
    // The tag is replaced in plain HTML only, and never in a page that the browser still has.
    for header in [header::ACCEPT_ENCODING, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
        request.headers_mut().remove(header);
    }
    if let Some(client) = shared.client()? {
        request.headers_mut().remove(header::HOST);
        request.headers_mut().insert(FORWARDED_FOR, client);
    }
    let response = shared.http.request(request).await.context("the page's server does not answer")?.into_response();
    let is_html =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let (mut parts, body) = response.into_parts();
    match &shared.tag {
        Some(gateway) if is_html => {
            let html = String::from_utf8(to_bytes(body, usize::MAX).await?.into())?;
            parts.headers.remove(header::CONTENT_LENGTH);
            allow(&mut parts.headers, gateway)?;
            Ok(Response::from_parts(parts, Body::from(name_gateway(&html, gateway)?)))
        }
        _ => Ok(Response::from_parts(parts, body)),
    }
}

const FORWARDED_FOR: &str = "x-forwarded-for";

impl Shared {
    fn client(&self) -> Result<Option<HeaderValue>> {
        Ok(self.state().client.as_deref().map(HeaderValue::from_str).transpose()?)
    }
}

/// Writes `gateway` into the page's `<meta name="res-gateway">`.
fn name_gateway(html: &str, gateway: &str) -> Result<String> {
    const NAME: &str = "name=\"res-gateway\"";
    let at = html.find(NAME).context("the page has no <meta name=\"res-gateway\">")?;
    let start = html[..at].rfind('<').context("the res-gateway tag does not start")?;
    let end = at + html[at..].find('>').context("the res-gateway tag does not end")? + 1;
    Ok(format!("{}<meta {NAME} content=\"{gateway}\">{}", &html[..start], &html[end..]))
}

/// Lets the page's policy allow `gateway`, as an operator does who names it in the page.
fn allow(headers: &mut HeaderMap, gateway: &str) -> Result<()> {
    if let Some(policy) = headers.get_mut(header::CONTENT_SECURITY_POLICY) {
        let gateway = gateway.trim_end_matches('/');
        let plain = gateway.replacen("ws", "http", 1);
        let more = format!("connect-src 'self' {gateway} {plain}");
        *policy = HeaderValue::from_str(&policy.to_str()?.replace("connect-src 'self'", &more))?;
    }
    Ok(())
}

async fn pass_connection(shared: Arc<Shared>, upgrade: WebSocketUpgrade, uri: &Uri, headers: &HeaderMap) -> Response {
    let gateway = shared.state().gateway;
    // The gateway first: a page gets a connection only where there is one.
    let client = shared.client().ok().flatten();
    let Some(gateway) = gateway.map(|gateway| dial(gateway, uri, headers, client)) else {
        shared.note(Happening::TurnedAway);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let mut cut = shared.cut.subscribe();
    match gateway.await {
        Ok((gateway, head)) => {
            let mut response = upgrade.on_upgrade(async move |page| {
                let connection = {
                    let mut state = shared.state();
                    state.connections += 1;
                    state.connections - 1
                };
                shared.note(Happening::Opened(connection));
                tokio::select! {
                    _ = cut.changed() => {}
                    () = relay(&shared, connection, page, gateway) => {}
                }
                shared.note(Happening::Closed(connection));
            });
            for cookie in head.get_all(header::SET_COOKIE) {
                response.headers_mut().append(header::SET_COOKIE, cookie.clone());
            }
            response
        }
        Err(_) => {
            shared.note(Happening::TurnedAway);
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}

type Gateway = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The connection, and the head of the response that opened it.
async fn dial(
    gateway: SocketAddr,
    uri: &Uri,
    headers: &HeaderMap,
    client: Option<HeaderValue>,
) -> Result<(Gateway, HeaderMap)> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = format!("ws://{gateway}{path}").into_client_request()?;
    for name in [header::HOST, header::ORIGIN, header::COOKIE, header::USER_AGENT] {
        if let Some(value) = headers.get(&name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    if let Some(client) = client {
        request.headers_mut().insert(header::HOST, gateway.to_string().parse()?);
        request.headers_mut().insert(FORWARDED_FOR, client);
    }
    let (gateway, response) = connect_async(request).await?;
    Ok((gateway, response.into_parts().0.headers))
}

/// Passes messages on until one side ends, or a message's fate is to break the connection.
async fn relay(shared: &Shared, connection: usize, mut page: WebSocket, mut gateway: Gateway) {
    loop {
        let passed = tokio::select! {
            message = page.recv() => match message {
                Some(Ok(PageMessage::Text(text))) => match shared.judge(connection, Direction::Up, &text) {
                    Fate::Pass => gateway.send(GatewayMessage::text(text.as_str())).await.is_ok(),
                    Fate::Lose => true,
                    Fate::Double => {
                        let message = GatewayMessage::text(text.as_str());
                        gateway.send(message.clone()).await.is_ok() && gateway.send(message).await.is_ok()
                    }
                    Fate::Break => false,
                },
                Some(Ok(PageMessage::Close(_)) | Err(_)) | None => false,
                // Pings, pongs and binary messages are no RES; both sides answer pings by
                // themselves.
                Some(Ok(_)) => true,
            },
            message = gateway.next() => match message {
                Some(Ok(GatewayMessage::Text(text))) => match shared.judge(connection, Direction::Down, &text) {
                    Fate::Pass => page.send(PageMessage::text(text.as_str())).await.is_ok(),
                    Fate::Lose => true,
                    Fate::Double => {
                        let message = PageMessage::text(text.as_str());
                        page.send(message.clone()).await.is_ok() && page.send(message).await.is_ok()
                    }
                    Fate::Break => false,
                },
                Some(Ok(GatewayMessage::Close(_)) | Err(_)) | None => false,
                Some(Ok(_)) => true,
            },
        };
        if !passed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_replaced_whatever_it_held() {
        let named = |html| name_gateway(html, "ws://g/").unwrap();
        let expected = "<head><meta name=\"res-gateway\" content=\"ws://g/\"></head>";
        assert_eq!(named("<head><meta name=\"res-gateway\" content=\"\"></head>"), expected);
        assert_eq!(named("<head><meta content=\"ws://old\" name=\"res-gateway\" /></head>"), expected);
        assert!(name_gateway("<head></head>", "ws://g/").is_err());
    }
}
