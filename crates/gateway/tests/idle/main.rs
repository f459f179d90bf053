//! What an idle connection costs of memory, counted by the allocator of this program. So its
//! clients must allocate nothing, and it has one test only.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use bytes::Bytes;
use peak_alloc::PeakAlloc;
use relogin_bus::{Bus, local::LocalBus};
use relogin_gateway::{Gateway, Limits, Options, origin_of};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What a connection with one subscription may cost, in bytes.
const MOST: usize = 7_600;
/// How many are opened before counting, so that what all share is there, and how many then.
const BEFORE: usize = 100;
const COUNTED: usize = 400;

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn an_idle_connection_costs_little_memory() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let address = runtime.block_on(serve());
    let mut clients = Vec::with_capacity(BEFORE + COUNTED);
    (0..BEFORE).for_each(|_| clients.push(open(address)));
    let before = ALLOCATOR.current_usage();
    (0..COUNTED).for_each(|_| clients.push(open(address)));
    // The tasks that have opened the last ones may not have ended yet.
    let deadline = Instant::now() + DEADLINE;
    loop {
        let each = ALLOCATOR.current_usage().saturating_sub(before) / COUNTED;
        if each <= MOST {
            break;
        }
        assert!(Instant::now() < deadline, "an idle connection costs {each} bytes");
        thread::yield_now();
    }
}

/// A gateway, and a service behind it that grants everything.
async fn serve() -> SocketAddr {
    let bus = Arc::new(LocalBus::new());
    let mut requests = bus.subscribe(&["access.>".to_owned(), "get.>".to_owned()]).await.unwrap();
    let replies = Arc::clone(&bus);
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let reply: &[u8] = if request.subject.starts_with("access.") {
                br#"{"result":{"get":true}}"#
            } else {
                br#"{"result":{"model":{"id":42,"name":"A model of some size","done":false,"count":0}}}"#
            };
            replies.publish(&request.reply.unwrap(), Bytes::from_static(reply)).await.unwrap();
        }
    });
    let gateway = Arc::new(Gateway::start(bus, Options::default(), Limits::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(upgrade).with_state(gateway);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    address
}

async fn upgrade(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let origin = origin_of(request.headers(), request.uri(), client);
    gateway.upgrade(request, origin).await
}

/// A client that has subscribed to a model and waits.
fn open(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 \
        Safari/537.36\r\nOrigin: http://localhost\r\nAccept-Language: en-US,en;q=0.9\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head).unwrap();
    expect(&mut stream, b"\r\n\r\n");
    send(&mut stream, br#"{"id":1,"method":"version","params":{"protocol":"1.2.3"}}"#);
    expect(&mut stream, b"1.2.3");
    send(&mut stream, br#"{"id":2,"method":"subscribe.test.model"}"#);
    expect(&mut stream, br#""id":2}"#);
    stream
}

/// Sends a short text message, masked by zeros.
fn send(stream: &mut TcpStream, text: &[u8]) {
    let head = [0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    stream.write_all(&head).unwrap();
    stream.write_all(text).unwrap();
}

/// Reads until this has come.
fn expect(stream: &mut TcpStream, text: &[u8]) {
    let (mut read, mut length) = ([0; 1024], 0);
    while !read[..length].windows(text.len()).any(|window| window == text) {
        let count = stream.read(&mut read[length..]).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&read[..length]));
        length += count;
    }
}
