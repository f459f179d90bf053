//! A site on a free port, clients for it, and a service behind it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use relogin::{
    client_address::TrustedProxies,
    cookie::BrowserCookie,
    http::{self, ConnectionLimits, Health, Site},
    instance::Peers,
    origins::{AllowOrigin, Origins, parse_public_url},
};
use relogin_bus::{Bus, local::LocalBus};
use relogin_gateway::{Gateway, Limits};
use relogin_store::memory::MemoryStore;
use relogin_test_support::{client::Client, service::Service, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tokio_tungstenite::tungstenite::{self, ClientRequestBuilder};
use tokio_util::sync::CancellationToken;

/// Without timeouts.
fn patient() -> Limits {
    let hour = Duration::from_secs(3600);
    Limits { ping: hour, silence: hour, write: hour, close: hour, drain: hour, ..Limits::default() }
}

/// The public keys that the site serves.
pub(crate) const JWKS: &str = r#"{"keys":[]}"#;

/// The configuration of a site.
pub(crate) struct Setup {
    pub(crate) public_url: Vec<&'static str>,
    pub(crate) allow_origin: AllowOrigin,
    pub(crate) header_auth: Option<String>,
    pub(crate) http_header_auth: Option<String>,
    pub(crate) proxies: TrustedProxies,
    pub(crate) connections: ConnectionLimits,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            public_url: Vec::new(),
            allow_origin: AllowOrigin::default(),
            header_auth: None,
            http_header_auth: None,
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
    pub(crate) stopping: CancellationToken,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(AllowOrigin::default()).await
    }

    pub(crate) async fn with(allow_origin: AllowOrigin) -> Self {
        Self::set(Arc::new(LocalBus::new()), Setup { allow_origin, ..Setup::default() }).await
    }

    /// A gateway that believes these proxies.
    pub(crate) async fn behind(proxies: &[&str]) -> Self {
        let proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
        let setup = Setup { proxies: TrustedProxies::new(proxies), ..Setup::default() };
        Self::set(Arc::new(LocalBus::new()), setup).await
    }

    pub(crate) async fn set(bus: Arc<dyn Bus>, setup: Setup) -> Self {
        let Setup { public_url, allow_origin, header_auth, http_header_auth, proxies, connections } = setup;
        let has_header_auth = http_header_auth.is_some();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let public_url = public_url.into_iter().map(|url| parse_public_url(url).unwrap()).collect();
        let origins = Arc::new(Origins::new(public_url, allow_origin, Some(address), !proxies.is_empty()));
        let options = relogin_gateway::Options {
            ws_header_auth: header_auth,
            header_auth: http_header_auth,
            ..Default::default()
        };
        let gateway = Arc::new(Gateway::start(Arc::clone(&bus), options, patient()));
        let store = Arc::new(MemoryStore::new());
        let stopping = CancellationToken::new();
        let health = Health {
            store: Some(store.clone()),
            bus: Arc::clone(&bus),
            peers: Peers::default(),
            gateway: Some(Arc::clone(&gateway)),
            stopping: stopping.clone(),
        };
        let site = Site {
            gateway: Some(Arc::clone(&gateway)),
            health,
            jwks: tokio::sync::watch::channel(Some(JWKS.to_owned())).1,
            has_page: true,
            demo: false,
            cookie: Some(BrowserCookie::new("session", Arc::clone(&origins))),
            ws_paths: vec!["/".to_owned(), "/ws".to_owned()],
            has_header_auth,
            proxies,
            origins,
            tls: None,
            counts: Arc::default(),
        };
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(http::run(listener, site, connections, async { stopped.await.unwrap_or_default() }));
        Self { bus, gateway, store, address, stopping, stop: Some(stop), server }
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
        Client::open(stream, request).await
    }

    /// Opens what a service has to listen to for the resources `test.*`.
    pub(crate) async fn service(&self) -> Service {
        Service::on(Arc::clone(&self.bus)).await
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

    /// Stops the HTTP server, which waits for its connections.
    pub(crate) async fn stop_http(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        soon(&mut self.server).await.unwrap();
    }
}
