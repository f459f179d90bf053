//! Addresses of this machine that nobody else gets.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep},
};

use crate::DEADLINE;

/// An address kept for a server that is started, killed and started again there. The reservation is
/// a bound socket that never listens: with `SO_REUSEADDR` (which every server sets) the server may
/// bind beside it, but the system gives the port to nobody who asks for any.
#[derive(Debug)]
pub struct Address {
    addr: SocketAddr,
    _reservation: TcpSocket,
}

impl Address {
    /// Reserves a free port of the loopback interface.
    ///
    /// # Errors
    /// If the machine has none left.
    pub fn reserve() -> Result<Self> {
        Self::reserve_on(Ipv4Addr::LOCALHOST)
    }

    /// The same of a port that is free on all addresses of this machine.
    ///
    /// # Errors
    /// If the machine has none left.
    pub fn reserve_everywhere() -> Result<Self> {
        Self::reserve_on(Ipv4Addr::UNSPECIFIED)
    }

    fn reserve_on(ip: Ipv4Addr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((ip, 0).into()).context("reserving a port")?;
        let port = socket.local_addr()?.port();
        Ok(Self { addr: (Ipv4Addr::LOCALHOST, port).into(), _reservation: socket })
    }

    /// The reserved address.
    #[must_use]
    pub fn get(&self) -> SocketAddr {
        self.addr
    }

    /// The reserved port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Waits until a server takes connections here; for programs that do not say so themselves.
    ///
    /// # Errors
    /// If none does in time.
    pub async fn listens(&self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect(self.addr).await.is_err() {
            if Instant::now() > deadline {
                bail!("nobody listens on {}", self.addr);
            }
            // The kernel has no event for "somebody listens now": between two looks, give way.
            sleep(std::time::Duration::from_millis(10)).await;
        }
        Ok(())
    }
}
