//! A site on a free port, clients for it, and a service behind it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use relogin::{
    bus::{Bus, Message, Subscription, local::LocalBus},
    client_address::TrustedProxies,
    cookie::BrowserCookie,
    gateway::{Gateway, Limits},
    http::{self, ConnectionLimits, Health, Site},
    instance::Peers,
    origins::Origins,
    origins::{AllowOrigin, parse_public_url},
    store::memory::MemoryStore,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, ClientRequestBuilder},
};

/// Waits for what must happen. The deadline is there only to end a test that has failed.
pub(crate) async fn soon<T>(happening: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), happening).await.expect("did not happen")
}

/// Limits that a test sets itself: no clock ends anything, else.
pub(crate) fn patient() -> Limits {
    let hour = Duration::from_secs(3600);
    Limits { ping: hour, silence: hour, write: hour, close: hour, drain: hour, ..Limits::default() }
}

/// What the site serves for public keys.
pub(crate) const JWKS: &str = r#"{"keys":[]}"#;

/// How a site is set up; by default no clock ends anything.
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) public_url: Vec<&'static str>,
    pub(crate) allow_origin: AllowOrigin,
    pub(crate) header_auth: Option<String>,
    pub(crate) proxies: TrustedProxies,
    pub(crate) connections: ConnectionLimits,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: patient(),
            public_url: Vec::new(),
            allow_origin: AllowOrigin::default(),
            header_auth: None,
            proxies: TrustedProxies::default(),
            connections: ConnectionLimits { total: 100_000, per_address: None },
        }
    }
}

pub(crate) struct Stage {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(patient(), AllowOrigin::default()).await
    }

    pub(crate) async fn with(limits: Limits, allow_origin: AllowOrigin) -> Self {
        Self::on(Arc::new(LocalBus::new()), limits, allow_origin).await
    }

    pub(crate) async fn on(bus: Arc<dyn Bus>, limits: Limits, allow_origin: AllowOrigin) -> Self {
        Self::set(bus, Setup { limits, allow_origin, ..Setup::default() }).await
    }

    /// A gateway that asks a method before it opens a WebSocket.
    pub(crate) async fn asking(method: &str) -> Self {
        let setup = Setup { header_auth: Some(method.to_owned()), ..Setup::default() };
        Self::set(Arc::new(LocalBus::new()), setup).await
    }

    /// A gateway that believes these proxies.
    pub(crate) async fn behind(proxies: &[&str]) -> Self {
        let proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
        let setup = Setup { proxies: TrustedProxies::new(proxies), ..Setup::default() };
        Self::set(Arc::new(LocalBus::new()), setup).await
    }

    pub(crate) async fn set(bus: Arc<dyn Bus>, setup: Setup) -> Self {
        let Setup { limits, public_url, allow_origin, header_auth, proxies, connections } = setup;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let public_url = public_url.into_iter().map(|url| parse_public_url(url).unwrap()).collect();
        let origins = Arc::new(Origins::new(public_url, allow_origin, Some(address), !proxies.is_empty()));
        let gateway = Arc::new(Gateway::start(Arc::clone(&bus), header_auth, limits));
        let store = Arc::new(MemoryStore::new());
        let health = Health {
            store: store.clone(),
            bus: Arc::clone(&bus),
            peers: Peers::default(),
            gateway: Some(Arc::clone(&gateway)),
        };
        let site = Site {
            gateway: Some(Arc::clone(&gateway)),
            health,
            jwks: tokio::sync::watch::channel(Some(JWKS.to_owned())).1,
            demo: false,
            cookie: Some(BrowserCookie::new("session", Arc::clone(&origins))),
            api: false,
            proxies,
            origins,
        };
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(http::run(listener, site, connections, async { stopped.await.unwrap_or_default() }));
        Self { bus, gateway, store, address, stop: Some(stop), server }
    }

    pub(crate) async fn client(&self) -> Client {
        self.open("/", &[]).await.unwrap()
    }

    pub(crate) async fn open(&self, path: &str, headers: &[(&str, &str)]) -> Result<Client, tungstenite::Error> {
        let uri = format!("ws://{}{path}", self.address).parse().unwrap();
        let mut request = ClientRequestBuilder::new(uri);
        for (name, value) in headers {
            request = request.with_header(*name, *value);
        }
        self.open_after(&[], request).await
    }

    /// Opens a WebSocket on a connection that begins with `first`.
    pub(crate) async fn open_after(
        &self,
        first: &[u8],
        request: ClientRequestBuilder,
    ) -> Result<Client, tungstenite::Error> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(first).await.unwrap();
        let (socket, _) = client_async(request, stream).await?;
        Ok(Client { socket, last: 0 })
    }

    /// Opens what a service has to listen to for the resources `test.*`.
    pub(crate) async fn service(&self) -> Service {
        Service::on(Arc::clone(&self.bus)).await
    }

    pub(crate) async fn publish(&self, subject: &str, payload: &Value) {
        self.bus.publish(subject, Bytes::from(payload.to_string())).await.unwrap();
    }

    /// Whether anybody listens on a subject.
    pub(crate) async fn is_heard(&self, subject: &str) -> bool {
        let (mailbox, mut deliveries) = relogin::bus::Mailbox::new();
        let _guard = self.bus.ask(subject, Bytes::new(), &mailbox, relogin::bus::Tag(0)).await.unwrap();
        deliveries.try_next().is_none()
    }

    /// Waits until nobody listens on a subject.
    pub(crate) async fn until_unheard(&self, subject: &str) {
        let until = async {
            while self.is_heard(subject).await {
                tokio::task::yield_now().await;
            }
        };
        soon(until).await;
    }

    /// The response to a raw HTTP request.
    pub(crate) async fn http(&self, head: &str) -> String {
        self.http_at(&self.address.to_string(), head).await
    }

    /// The response to a raw HTTP request for a host.
    pub(crate) async fn http_at(&self, host: &str, head: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{head}\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        soon(stream.read_to_end(&mut response)).await.unwrap();
        String::from_utf8_lossy(&response).into_owned()
    }

    pub(crate) async fn stop_http(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        soon(&mut self.server).await.unwrap();
    }
}

pub(crate) struct Service {
    bus: Arc<dyn Bus>,
    requests: Subscription,
}

pub(crate) struct Request {
    pub(crate) subject: String,
    pub(crate) payload: Value,
    reply: String,
}

impl Request {
    pub(crate) fn params(&self) -> &Value {
        &self.payload["params"]
    }
}

impl Service {
    pub(crate) async fn on(bus: Arc<dyn Bus>) -> Self {
        let kinds = ["access", "get", "call", "auth"];
        let patterns: Vec<_> = kinds.iter().map(|kind| format!("{kind}.test.>")).collect();
        Self { requests: bus.subscribe(&patterns).await.unwrap(), bus }
    }

    /// From now on, methods give their params back.
    pub(crate) fn echo(mut self) {
        tokio::spawn(async move {
            while let Some(request) = self.next().await {
                let params = request.params().clone();
                self.answer(&request, &json!({ "result": params })).await;
            }
        });
    }

    /// The next request to a method. Access and get requests are answered on the way.
    pub(crate) async fn next(&mut self) -> Option<Request> {
        loop {
            let Message { subject, reply, payload } = self.requests.next().await?;
            let payload = serde_json::from_slice(&payload).unwrap();
            let request = Request { subject, payload, reply: reply.unwrap() };
            let answer = match request.subject.split_once('.').unwrap().0 {
                "access" => json!({ "result": { "get": true, "call": "*" } }),
                "get" => json!({ "result": { "model": {} } }),
                _ => {
                    // Tests take their time.
                    self.bus.publish(&request.reply, Bytes::from(r#"timeout:"3600000""#)).await.unwrap();
                    return Some(request);
                }
            };
            self.answer(&request, &answer).await;
        }
    }

    pub(crate) async fn answer(&self, request: &Request, answer: &Value) {
        self.bus.publish(&request.reply, Bytes::from(answer.to_string())).await.unwrap();
    }
}

pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
    last: u64,
}

impl Client {
    /// Sends a request and returns its id.
    pub(crate) async fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last += 1;
        let frame = json!({ "id": self.last, "method": method, "params": params }).to_string();
        self.socket.send(frame.into()).await.unwrap();
        self.last
    }

    /// The next frame with something to read; or the code with which the connection ended, none without a closing handshake.
    pub(crate) async fn next(&mut self) -> Result<Value, Option<u16>> {
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
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        loop {
            let frame = self.next().await.unwrap();
            if frame["id"] == id {
                return frame;
            }
        }
    }

    /// How the connection ends.
    pub(crate) async fn end(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }

    /// The connection id, by asking the service that echoes nothing but knows it.
    pub(crate) async fn cid(&mut self, service: &mut Service) -> String {
        let id = self.send("auth.test.who", Value::Null).await;
        let request = soon(service.next()).await.unwrap();
        service.answer(&request, &json!({ "result": null })).await;
        while self.next().await.unwrap()["id"] != id {}
        request.payload["cid"].as_str().unwrap().to_owned()
    }
}
