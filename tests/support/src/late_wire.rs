//! A wire to a nats-server that delivers the messages of some subscriptions late and all others at
//! once: what a client follows is then behind what it is asked. Must not change messages, nor their
//! order within a subscription.

use std::{collections::HashSet, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, mpsc},
    time::{Instant, sleep_until},
};

use crate::nats_server::NatsServer;

/// The wire. It leads to its server for as long as the runtime of the test runs.
#[derive(Debug)]
pub struct LateWire {
    address: SocketAddr,
}

impl LateWire {
    /// A wire to `server`, which delivers so much later what comes by a subscription that has
    /// brought a message whose subject begins with `prefix`.
    pub async fn to(server: &NatsServer, prefix: &'static str, by: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, server) = (listener.local_addr().unwrap(), server.address.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&server).await else { continue };
                if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
                    continue;
                }
                let ((near_reads, near_writes), (far_reads, mut far_writes)) = (near.into_split(), far.into_split());
                tokio::spawn(async move { copy(&mut BufReader::new(near_reads), &mut far_writes).await.ok() });
                tokio::spawn(async move { deliver(far_reads, near_writes, prefix, by).await.ok() });
            }
        });
        Self { address }
    }

    /// Its address as NATS clients take it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }
}

/// Delivers what a server sends, the late messages in their order.
async fn deliver(server: OwnedReadHalf, client: OwnedWriteHalf, prefix: &str, by: Duration) -> io::Result<()> {
    let (client, (late, mut due)) = (Arc::new(Mutex::new(client)), mpsc::unbounded_channel::<(Instant, Vec<u8>)>());
    let behind = Arc::clone(&client);
    tokio::spawn(async move {
        while let Some((at, message)) = due.recv().await {
            sleep_until(at).await;
            if behind.lock().await.write_all(&message).await.is_err() {
                break;
            }
        }
    });
    let (mut server, mut subscriptions) = (BufReader::new(server), HashSet::new());
    loop {
        let mut message = Vec::new();
        if server.read_until(b'\n', &mut message).await? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&message).into_owned();
        let mut words = line.split_whitespace();
        let is_message = words.next().is_some_and(|word| word == "MSG" || word == "HMSG");
        let mut is_late = false;
        if is_message {
            let (subject, subscription) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            is_late = subscriptions.contains(subscription) || subject.starts_with(prefix);
            if is_late {
                subscriptions.insert(subscription.to_owned());
            }
            // The last word is the length of what follows, without its end of line.
            let length: usize =
                words.last().and_then(|length| length.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
            let begin = message.len();
            message.resize(begin + length + 2, 0);
            server.read_exact(&mut message[begin..]).await?;
        }
        if is_late {
            late.send((Instant::now() + by, message)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        } else {
            client.lock().await.write_all(&message).await?;
        }
    }
}
