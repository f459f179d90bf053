//! The listening socket. Must not depend on what is served.

use std::io;

use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Nobody can connect there.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {advice} with {option}")]
pub struct ListenError {
    address: String,
    advice: &'static str,
    option: &'static str,
    source: io::Error,
}

/// How long the queue of unaccepted connections may be: after a restart all clients come at once.
/// The system limits it to `net.core.somaxconn`.
const QUEUE: u32 = 4096;

/// Listens on `address`, as `host:port`, which `option` has named.
///
/// # Errors
/// [`ListenError`] says what is wrong, and what to do about it.
pub async fn listen(address: &str, option: &'static str) -> Result<TcpListener, ListenError> {
    open(address).await.map_err(|source| {
        let advice = match source.kind() {
            io::ErrorKind::AddrInUse => "another program has this port; stop it, or choose another port",
            io::ErrorKind::PermissionDenied => "ports below 1024 need root; choose another",
            io::ErrorKind::AddrNotAvailable => "this machine has no such address; choose another",
            _ => "choose another address",
        };
        ListenError { address: address.to_owned(), advice, option, source }
    })
}

/// Like `TcpListener::bind`, except for the length of the queue.
async fn open(address: &str) -> io::Result<TcpListener> {
    let mut last = None;
    for address in lookup_host(address).await? {
        let listening = (|| {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(QUEUE)
        })();
        match listening {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no such address")))
}
