//! A RES client of a test's own: frames over a WebSocket, and nothing that a client would do by
//! itself.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, ClientRequestBuilder},
};

use crate::{service::Service, soon};

/// A WebSocket, and the id of its last request.
#[derive(Debug)]
pub struct Client {
    /// The WebSocket.
    pub socket: WebSocketStream<TcpStream>,
    last: u64,
}

impl Client {
    /// Opens a WebSocket on a connection. The path and the headers are those of `request`.
    ///
    /// # Errors
    /// What the handshake failed of.
    pub async fn open(stream: TcpStream, request: ClientRequestBuilder) -> Result<Self, tungstenite::Error> {
        let (socket, _) = client_async(request, stream).await?;
        Ok(Self { socket, last: 0 })
    }

    /// Sends a request and returns its id.
    pub async fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last += 1;
        let frame = json!({ "id": self.last, "method": method, "params": params }).to_string();
        self.socket.send(frame.into()).await.unwrap();
        self.last
    }

    /// The next frame with something to read.
    ///
    /// # Errors
    /// The code with which the connection ended; none without a closing handshake.
    pub async fn next(&mut self) -> Result<Value, Option<u16>> {
        loop {
            match soon(self.socket.next()).await {
                Some(Ok(tungstenite::Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(tungstenite::Message::Close(frame))) => {
                    // Reading on is what answers it.
                    while let Some(Ok(_)) = soon(self.socket.next()).await {}
                    return Err(Some(frame.map_or(1005, |frame| frame.code.into())));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Sends a request and waits for its answer.
    pub async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        loop {
            let frame = self.next().await.unwrap();
            if frame["id"] == id {
                return frame;
            }
        }
    }

    /// How the connection ends.
    pub async fn end(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }

    /// The connection id, which the service knows.
    pub async fn cid(&mut self, service: &mut Service) -> String {
        let id = self.send("auth.test.who", Value::Null).await;
        let request = soon(service.next()).await.unwrap();
        service.answer(&request, &json!({ "result": null })).await;
        while self.next().await.unwrap()["id"] != id {}
        request.payload["cid"].as_str().unwrap().to_owned()
    }
}
