//! What clients and services of scripts and histories are made of: WebSockets, HTTP requests and a
//! connection to NATS whose messages all go into one queue. Must not depend on scripts or
//! histories.

use std::{fmt::Write as _, net::SocketAddr};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use relogin_tests::{in_time, raw::opcode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc::UnboundedSender,
    task::JoinHandle,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        ClientRequestBuilder, Error, Message,
        http::{self, header::SEC_WEBSOCKET_EXTENSIONS},
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use crate::compressed::{self, Received};

/// What comes to a script.
pub(crate) enum Arrival {
    /// What became of a client's attempt to connect.
    Opened(u8, Result<Opened>),
    /// A text frame for a client.
    Frame(u8, String),
    /// The frame that comes next was compressed.
    Deflated(u8),
    /// A client's connection has ended, with this close code if there was one.
    Closed(u8, Option<u16>),
    /// A response to an HTTP request.
    Response(usize, Result<Response>),
    /// A gateway asks the service.
    Request(Request),
}

/// What a gateway asks.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) subject: String,
    pub(crate) reply: String,
    pub(crate) text: String,
}

/// A service on NATS. It gets nothing more once it is dropped.
pub(crate) struct Service {
    nats: async_nats::Client,
    listener: JoinHandle<()>,
}

impl Service {
    /// The service that has all resources `top.…`. The requests arrive.
    pub(crate) async fn listen(url: &str, top: &str, arrivals: UnboundedSender<Arrival>) -> Result<Self> {
        let nats = async_nats::connect(url).await.context("connecting to NATS")?;
        let mut requests = nats.subscribe(format!("*.{top}.>")).await.context("subscribing")?;
        // Back again, it has passed the subscription.
        nats.publish(format!("begin.{top}.x"), "".into()).await.context("subscribing")?;
        in_time("the subscription", async { requests.next().await.context("NATS is gone") }).await?;
        let listener = tokio::spawn(async move {
            while let Some(message) = requests.next().await {
                // Without a reply subject it is an event that the service itself has sent.
                let Some(reply) = message.reply else { continue };
                let text = String::from_utf8_lossy(&message.payload).into_owned();
                let request = Request { subject: message.subject.to_string(), reply: reply.to_string(), text };
                let _ = arrivals.send(Arrival::Request(request));
            }
        });
        Ok(Self { nats, listener })
    }

    pub(crate) async fn publish(&self, subject: &str, payload: String) -> Result<()> {
        self.nats.publish(subject.to_owned(), payload.into()).await.context("publishing")?;
        self.nats.flush().await.context("publishing")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// An HTTP response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: String,
    /// With names in lower case, in their order.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// A WebSocket, which ends without a close frame when it is dropped.
pub(crate) struct Client {
    sink: Sink,
    reader: JoinHandle<()>,
}

enum Sink {
    Plain(SplitSink<WebSocketStream<TcpStream>, Message>),
    /// With compression agreed on.
    Compressing(compressed::Sender),
}

/// How many bytes are in a frame of a message that is sent in several.
const PART: usize = 100;

/// What became of an attempt to open one: a client, or nothing, and the response.
pub(crate) struct Opened {
    pub(crate) client: Option<Client>,
    pub(crate) response: Response,
}

impl Client {
    pub(crate) async fn open(
        number: u8,
        to: SocketAddr,
        path: &str,
        headers: &[(String, String)],
        arrivals: UnboundedSender<Arrival>,
    ) -> Result<Opened> {
        let mut request = ClientRequestBuilder::new(format!("ws://{to}{path}").parse()?);
        for (name, value) in headers {
            request = request.with_header(name, value);
        }
        let connect = async {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            Ok(client_async(request, stream).await)
        };
        match in_time("a WebSocket", connect).await? {
            Ok((socket, response)) if response.headers().contains_key(SEC_WEBSOCKET_EXTENSIONS) => {
                // Neither of the gateways says anything first.
                let (sender, receiver) = compressed::split(socket.into_inner());
                let reader = tokio::spawn(read_compressed(number, receiver, arrivals));
                let client = Self { sink: Sink::Compressing(sender), reader };
                Ok(Opened { client: Some(client), response: Response::of(&response) })
            }
            Ok((socket, response)) => {
                let (sink, mut frames) = socket.split();
                let reader = tokio::spawn(async move {
                    let code = loop {
                        match frames.next().await {
                            Some(Ok(Message::Text(text))) => {
                                let _ = arrivals.send(Arrival::Frame(number, text.to_string()));
                            }
                            Some(Ok(Message::Close(frame))) => break frame.map(|frame| frame.code.into()),
                            Some(Ok(_)) => {}
                            Some(Err(_)) | None => break None,
                        }
                    };
                    let _ = arrivals.send(Arrival::Closed(number, code));
                });
                let client = Self { sink: Sink::Plain(sink), reader };
                Ok(Opened { client: Some(client), response: Response::of(&response) })
            }
            Err(Error::Http(response)) => Ok(Opened { client: None, response: Response::of(&response) }),
            Err(error) => Err(error).context("opening a WebSocket"),
        }
    }

    pub(crate) async fn send(&mut self, text: String) -> Result<()> {
        match &mut self.sink {
            Sink::Plain(sink) => sink.send(Message::text(text)).await.context("sending a frame"),
            Sink::Compressing(sender) => sender.send(opcode::TEXT, text.as_bytes(), usize::MAX).await,
        }
    }

    /// Sends a message in many small frames, with a ping after each but the last.
    pub(crate) async fn send_in_frames(&mut self, text: String) -> Result<()> {
        let sink = match &mut self.sink {
            Sink::Plain(sink) => sink,
            Sink::Compressing(sender) => return sender.send(opcode::TEXT, text.as_bytes(), PART).await,
        };
        let mut kind = Data::Text;
        let mut parts = text.as_bytes().chunks(PART).peekable();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            let frame = Frame::message(part.to_vec(), OpCode::Data(kind), is_last);
            sink.send(Message::Frame(frame)).await.context("sending a frame")?;
            kind = Data::Continue;
            if !is_last {
                sink.send(Message::Ping("here".into())).await.context("sending a ping")?;
            }
        }
        Ok(())
    }

    pub(crate) async fn send_binary(&mut self, text: String) -> Result<()> {
        match &mut self.sink {
            Sink::Plain(sink) => sink.send(Message::binary(text)).await.context("sending a frame"),
            Sink::Compressing(sender) => sender.send(opcode::BINARY, text.as_bytes(), usize::MAX).await,
        }
    }

    pub(crate) async fn close(&mut self) -> Result<()> {
        match &mut self.sink {
            Sink::Plain(sink) => sink.close().await.context("closing"),
            Sink::Compressing(sender) => sender.close().await,
        }
    }
}

async fn read_compressed(number: u8, mut receiver: compressed::Receiver, arrivals: UnboundedSender<Arrival>) {
    let code = loop {
        match receiver.next().await {
            Ok(Received::Text { text, is_deflated }) => {
                if is_deflated {
                    let _ = arrivals.send(Arrival::Deflated(number));
                }
                let _ = arrivals.send(Arrival::Frame(number, text));
            }
            Ok(Received::Close(code)) => break code,
            Err(_) => break None,
        }
    };
    let _ = arrivals.send(Arrival::Closed(number, code));
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Sends an HTTP request; the response arrives.
pub(crate) fn ask(
    number: usize,
    to: SocketAddr,
    (method, path): (&str, &str),
    headers: &[(String, String)],
    body: &str,
    arrivals: UnboundedSender<Arrival>,
) {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\n");
    if !headers.iter().any(|(name, _)| name == "Connection") {
        request.push_str("Connection: close\r\n");
    }
    for (name, value) in headers {
        let _ = write!(request, "{name}: {value}\r\n");
    }
    if !body.is_empty() {
        let _ = write!(request, "Content-Length: {}\r\n", body.len());
    }
    request.push_str("\r\n");
    request.push_str(body);
    let is_head = method == "HEAD";
    tokio::spawn(async move {
        let answer = async {
            let mut stream = TcpStream::connect(to).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await?;
            Response::parse(&String::from_utf8(bytes)?, is_head)
        };
        let _ = arrivals.send(Arrival::Response(number, in_time("an HTTP response", answer).await));
    });
}

impl Response {
    fn of<T: AsRef<[u8]>>(response: &http::Response<Option<T>>) -> Self {
        let headers = response.headers().iter();
        Self {
            status: response.status().as_str().to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            body: response
                .body()
                .as_ref()
                .map(|body| String::from_utf8_lossy(body.as_ref()).into_owned())
                .unwrap_or_default(),
        }
    }

    fn parse(text: &str, is_head: bool) -> Result<Self> {
        let (head, body) = text.split_once("\r\n\r\n").context("an incomplete response")?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?.to_owned();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        let body = if is_chunked && !is_head { unchunked(body)? } else { body.to_owned() };
        Ok(Self { status, headers, body })
    }
}

fn unchunked(mut text: &str) -> Result<String> {
    let mut whole = String::new();
    loop {
        let (length, rest) = text.split_once("\r\n").context("an incomplete chunk")?;
        let length = usize::from_str_radix(length, 16).context("a chunk without a length")?;
        if length == 0 {
            return Ok(whole);
        }
        let Some(chunk) = rest.get(..length) else { bail!("an incomplete chunk") };
        whole.push_str(chunk);
        text = rest[length..].trim_start_matches("\r\n");
    }
}
