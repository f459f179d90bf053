//! Accepts connections from the listen queue: as many as allowed, and the others in order to refuse
//! them. An error does not stop it. Must not depend on what is served.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use relogin_host::log_throttle::LogThrottle;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::warn;

use super::places::{NoPlace, Place, Places};

/// Accepts connections.
pub(super) struct Acceptor {
    listener: TcpListener,
    places: Arc<Places>,
    refused: LogThrottle,
    failed: LogThrottle,
    refusals: Arc<Semaphore>,
    /// Whether clients expect TLS, so that a refusal would make no sense to them.
    is_tls: bool,
}

/// How long to wait when a connection could not be accepted for lack of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// How many refused connections are answered at once. Meanwhile they use reserved descriptors.
const REFUSALS: usize = 16;

/// How long a refused client may take to read the answer.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 33\r\n\r\nToo many connections. Try later.\n";

impl Acceptor {
    pub(super) fn new(listener: TcpListener, places: Arc<Places>, is_tls: bool) -> Self {
        let (refused, failed) = (LogThrottle::default(), LogThrottle::default());
        Self { listener, places, refused, failed, refusals: Arc::new(Semaphore::new(REFUSALS)), is_tls }
    }

    /// The next connection that has a place. Cancel safe.
    pub(super) async fn next(&self) -> (TcpStream, SocketAddr, Place) {
        loop {
            let (stream, remote) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.pause_after(&error).await;
                    continue;
                }
            };
            match self.places.enter(remote.into()) {
                Ok(place) => {
                    // Frames are small and wanted at once. A socket that does not support the
                    // option works all the same.
                    stream.set_nodelay(true).ok();
                    return (stream, remote, place);
                }
                Err(reason) => self.refuse(stream, reason),
            }
        }
    }

    async fn pause_after(&self, error: &io::Error) {
        // Clients that have already left.
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return;
        }
        // Usually too many open files: that passes, and retrying at once would help nobody.
        if let Some(counts) = self.failed.count() {
            warn!(%error, since_last = counts.since_last, total = counts.total, "cannot accept connections");
        }
        sleep(PAUSE).await;
    }

    fn refuse(&self, stream: TcpStream, reason: NoPlace) {
        if let Some(counts) = self.refused.count() {
            let option = match reason {
                NoPlace::Full => "--max-connections",
                NoPlace::FullForAddress => "--max-connections-per-address",
            };
            warn!(since_last = counts.since_last, total = counts.total, "connections are refused: {option} are open");
        }
        if self.is_tls {
            return;
        }
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        tokio::spawn(async move {
            timeout(REFUSAL_DEADLINE, send_refusal(stream)).await.ok();
            drop(permit);
        });
    }
}

/// Reads to the end before the socket is closed: unread data would cause a reset, which discards
/// the response.
async fn send_refusal(mut stream: TcpStream) -> io::Result<()> {
    use tokio::io::AsyncWriteExt;
    stream.write_all(REFUSAL).await?;
    stream.shutdown().await?;
    let mut scrap = [0; 1024];
    while stream.read(&mut scrap).await? > 0 {}
    Ok(())
}
