//! Idle connections to the server of wasm-bindgen's test runner, held open while it runs.
//!
//! That server (tiny_http 0.12) has four threads, and hands a new connection to one that waits, or else to a new thread. When a browser opens
//! more than four at once, it can count one thread for two of them, and one connection is served by nobody: the page never loads. With
//! the four threads busy, each connection gets a thread of its own.

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

/// More than the server has threads at its start: those over wait for one that comes free, so that it is not counted, either.
const CONNECTIONS: usize = 12;
/// How long until it is looked again whether a server is there, or gone.
const MOMENT: Duration = Duration::from_millis(20);

/// Holds them until it is dropped, to one server after the other.
pub(crate) struct Idle {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    holding: Option<JoinHandle<()>>,
}

impl Idle {
    /// To a server that is yet to come.
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
            // It panics nowhere, and if it did, there would be nothing left to hold.
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
            // It never says anything but that it ends.
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_them_from_its_start_and_the_next_one_too() {
        let idle = Idle::new().unwrap();
        for _ in 0..2 {
            let server = TcpListener::bind(idle.address()).unwrap();
            let held: Vec<_> = (0..CONNECTIONS).map(|_| server.accept().unwrap()).collect();
            drop((held, server));
        }
    }
}
