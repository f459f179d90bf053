//! `relogin health`: asks a running service whether it can answer, for containers, which have no
//! other program to ask with. Must not know how the service finds out.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

/// Longer than the service's own deadlines.
const DEADLINE: Duration = Duration::from_secs(5);

/// Asks the service at `address` (`HOST:PORT`, without TLS), and returns its answer if that is not
/// that it can answer requests.
///
/// # Errors
/// If nobody answers there.
pub fn check(address: &str) -> io::Result<Option<String>> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        return Ok(None);
    }
    Ok(Some(if body.trim().is_empty() { status.to_owned() } else { body.trim().to_owned() }))
}

/// Connects to the first of its addresses that accepts.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut problem = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, DEADLINE) {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}
