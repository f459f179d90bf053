//! A gateway on a free port, clients for it, and a service behind it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use bytes::Bytes;
use relogin_bus::{Bus, local::LocalBus};
use relogin_gateway::{Gateway, Limits, Options, origin_of};
use relogin_test_support::{
    client::Client,
    service::{self, Service},
    soon,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::{self, ClientRequestBuilder};
use tokio_util::task::AbortOnDropHandle;

/// Limits by which no clock ends anything, for tests that set their own.
pub(crate) fn patient() -> Limits {
    let hour = Duration::from_secs(3600);
    Limits { ping: hour, silence: hour, write: hour, close: hour, drain: hour, ..Limits::default() }
}

pub(crate) struct Stage {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(patient()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        Self::on(Arc::new(LocalBus::new()), limits).await
    }

    pub(crate) async fn on(bus: Arc<dyn Bus>, limits: Limits) -> Self {
        Self::set(bus, Options::default(), limits).await
    }

    /// A gateway whose clients may compress messages.
    pub(crate) async fn compressing(limits: Limits) -> Self {
        let options = Options { ws_compression: true, ..Options::default() };
        Self::set(Arc::new(LocalBus::new()), options, limits).await
    }

    /// A gateway that asks a method before it opens a WebSocket.
    pub(crate) async fn asking(method: &str) -> Self {
        let options = Options { ws_header_auth: Some(method.to_owned()), ..Options::default() };
        Self::set(Arc::new(LocalBus::new()), options, patient()).await
    }

    async fn set(bus: Arc<dyn Bus>, options: Options, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = Arc::new(Gateway::start(Arc::clone(&bus), options, limits));
        let router = Router::new().fallback(upgrade).with_state(Arc::clone(&gateway));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        Self { bus, gateway, address, _server: AbortOnDropHandle::new(server) }
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
        Client::open(TcpStream::connect(self.address).await.unwrap(), request).await
    }

    /// Opens what a service has to listen to for the resources `test.*`.
    pub(crate) async fn service(&self) -> Service {
        Service::on(Arc::clone(&self.bus)).await
    }

    pub(crate) async fn publish(&self, subject: &str, payload: &Value) {
        self.bus.publish(subject, Bytes::from(payload.to_string())).await.unwrap();
    }

    pub(crate) async fn has_subscriber(&self, subject: &str) -> bool {
        service::has_subscriber(self.bus.as_ref(), subject).await
    }

    pub(crate) async fn until_unsubscribed(&self, subject: &str) {
        service::until_unsubscribed(self.bus.as_ref(), subject).await;
    }

    /// The response to a raw HTTP request.
    pub(crate) async fn http(&self, head: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{head}\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        soon(stream.read_to_end(&mut response)).await.unwrap();
        String::from_utf8_lossy(&response).into_owned()
    }
}

/// Requests below the path of the HTTP API are for that, and all others for WebSockets.
async fn upgrade(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let origin = origin_of(request.headers(), request.uri(), client);
    if request.uri().path().starts_with(&gateway.api().path) {
        return gateway.respond(request, origin).await;
    }
    gateway.upgrade(request, origin).await
}
