//! Idle connections to the server of wasm-bindgen's test runner, held open while it runs.
//!
//! That server (tiny_http 0.12) has four threads, and gives a new connection to an idle one, or
//! else to a new thread. When a browser opens more than four connections at once, the server can
//! count one idle thread for two of them. Then nobody serves one connection, and the page never
//! loads. While the four threads are busy, each connection gets a thread of its own.

use std::{
    io::{ErrorKind, Read},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};

/// More than the threads that the server starts with: the extra ones wait for a thread that becomes
/// free, so that it is not counted as idle either.
const CONNECTIONS: usize = 12;
/// The interval of checks whether a server is there, or gone.
const MOMENT: Duration = Duration::from_millis(20);

/// Holds connections until it is dropped, to one server after the other.
pub(crate) struct Idle {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    holding: Option<JoinHandle<()>>,
}

impl Idle {
    /// Prepares connections to a server that is not started yet.
    ///
    /// # Errors
    /// If there is no free port for it.
    pub(crate) fn new() -> Result<Self> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.context("looking for a free port")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let holding = thread::spawn(move || {
            while !stopped.load(Relaxed) {
                hold(address, &stopped);
                thread::sleep(MOMENT);
            }
        });
        Ok(Self { address, stop, holding: Some(holding) })
    }

    /// Where the server is to be.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(holding) = self.holding.take() {
            // It does not panic. If it did, there would be nothing left to hold.
            let _ = holding.join();
        }
    }
}

/// Connects to the server, if there is one, and waits for its end.
fn hold(address: SocketAddr, stopped: &AtomicBool) {
    let open = || TcpStream::connect(address).and_then(|stream| stream.set_read_timeout(Some(MOMENT)).map(|()| stream));
    let Ok(mut first) = open() else { return };
    let _others: Vec<_> = (1..CONNECTIONS).map_while(|_| open().ok()).collect();
    while !stopped.load(Relaxed) {
        match first.read(&mut [0]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // The server sends nothing; reading returns when it ends.
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_gets_the_idle_connections_at_each_start() {
        let idle = Idle::new().unwrap();
        for _ in 0..2 {
            let server = TcpListener::bind(idle.address()).unwrap();
            let held: Vec<_> = (0..CONNECTIONS).map(|_| server.accept().unwrap()).collect();
            drop((held, server));
        }
    }
}
