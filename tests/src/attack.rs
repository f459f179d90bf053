//! Attacks that go on until they are stopped, for the bench, which measures an honest client beside
//! them, and for the soak. They come from addresses of their own, and reconnect when the server
//! ends them, as an attacker would.
//!
//! Nothing is asserted here; the abuse suite has the bounds.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{interval, sleep},
};

use crate::{
    raw::{Raw, STRANGER, opcode},
    res::Res,
};

/// A kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// A thousand WebSockets that do nothing.
    IdleConnections,
    /// One connection that pings and never reads.
    PingsWithoutReading,
    /// Six connections that ask for the page's program, one request behind the other, and do not
    /// wait for answers.
    PipelinedDownloads,
    /// Seventy connections with large heads that ask for one challenge after the other.
    ChallengesBehindLargeHeads,
    /// One connection that subscribes to its own user by thousands of long queries.
    LongSubscriptions,
    /// One connection that gets thousands of resources with long names.
    LongNames,
    /// Four hundred messages that are begun, never finished, and kept alive by pings.
    UnfinishedMessages,
    /// Four hundred heads that come byte by byte.
    SlowHeads,
    /// Four connections that guess passwords.
    Guesses,
    /// Six hundred connections that come at once, again and again.
    ConnectionStorm,
    /// A user with thousands of subscriptions alternates two keys.
    AlternatingKeys,
    /// Frames that are no requests.
    MalformedFrames,
}

impl Attack {
    /// All attacks.
    pub const ALL: [Self; 12] = [
        Self::IdleConnections,
        Self::PingsWithoutReading,
        Self::PipelinedDownloads,
        Self::ChallengesBehindLargeHeads,
        Self::LongSubscriptions,
        Self::LongNames,
        Self::UnfinishedMessages,
        Self::SlowHeads,
        Self::Guesses,
        Self::ConnectionStorm,
        Self::AlternatingKeys,
        Self::MalformedFrames,
    ];

    /// Its description.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IdleConnections => "1,000 idle connections",
            Self::PingsWithoutReading => "pings, nothing is read",
            Self::PipelinedDownloads => "downloads in a pipeline",
            Self::ChallengesBehindLargeHeads => "challenges behind large heads",
            Self::LongSubscriptions => "subscriptions by long queries",
            Self::LongNames => "gets of long names",
            Self::UnfinishedMessages => "messages never finished",
            Self::SlowHeads => "heads byte by byte",
            Self::Guesses => "guesses of passwords",
            Self::ConnectionStorm => "600 connections at once",
            Self::AlternatingKeys => "two keys in turns, many subscriptions",
            Self::MalformedFrames => "frames that are no requests",
        }
    }

    /// Attacks the demo at `to` until `stop` is true. `program` is the path of the page's largest
    /// file.
    pub async fn run(self, to: SocketAddr, program: &str, stop: watch::Receiver<bool>) {
        let mut attackers = JoinSet::new();
        let (count, kept) = match self {
            Self::IdleConnections => (1_000, Duration::from_millis(500)),
            Self::ChallengesBehindLargeHeads => (70, AGAIN),
            Self::UnfinishedMessages | Self::SlowHeads => (400, AGAIN),
            Self::ConnectionStorm => (600, Duration::from_secs(1)),
            Self::PipelinedDownloads => (6, AGAIN),
            Self::Guesses => (4, AGAIN),
            Self::PingsWithoutReading
            | Self::LongSubscriptions
            | Self::LongNames
            | Self::AlternatingKeys
            | Self::MalformedFrames => (1, AGAIN),
        };
        for _ in 0..count {
            let (mut stopped, program) = (stop.clone(), program.to_owned());
            attackers.spawn(async move {
                let attacking = async {
                    loop {
                        // The server's defence ends most of them; that is what they are for.
                        let _ = self.once(to, &program).await;
                        sleep(kept).await;
                    }
                };
                tokio::select! {
                    () = attacking => {}
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            });
        }
        while attackers.join_next().await.is_some() {}
    }

    /// What one attacker does until the server ends its connection.
    async fn once(self, to: SocketAddr, program: &str) -> Result<()> {
        match self {
            Self::IdleConnections => Raw::websocket(to, STRANGER, &[]).await?.served().await,
            Self::PingsWithoutReading => {
                let mut raw = Raw::websocket(to, STRANGER, &[]).await?;
                let pings = Raw::frame(opcode::PING, true, &[b'x'; 125]).repeat(500);
                raw.flood(&pings, usize::MAX).await.map(drop)
            }
            Self::PipelinedDownloads => {
                let mut raw = Raw::connect(to, STRANGER).await?;
                let request = format!("GET {program} HTTP/1.1\r\nHost: {to}\r\nAccept-Encoding: gzip\r\n\r\n");
                raw.send(request.repeat(50).as_bytes()).await?;
                raw.served().await
            }
            Self::ChallengesBehindLargeHeads => {
                let padding = "x".repeat(14_000);
                let mut raw = Raw::websocket(to, STRANGER, &[("X-Padding", &padding)]).await?;
                raw.flood(&Raw::text(r#"{"id":1,"method":"auth.session.challenge"}"#).repeat(40), usize::MAX)
                    .await
                    .map(drop)
            }
            Self::LongSubscriptions => flood_with(to, |n| format!("subscribe.session.user.{{cid}}?n={n}&{LONG}")).await,
            Self::LongNames => flood_with(to, |n| format!("get.session.user.{n}{LONG}")).await,
            Self::UnfinishedMessages => {
                let mut raw = Raw::websocket(to, STRANGER, &[]).await?;
                raw.send(&Raw::frame_head(opcode::TEXT, false, 1 << 20)).await?;
                raw.send(&vec![b' '; 1 << 20]).await?;
                let mut tick = interval(Duration::from_secs(1));
                loop {
                    tick.tick().await;
                    raw.send(&Raw::frame(opcode::PING, true, b"")).await?;
                }
            }
            Self::SlowHeads => {
                let mut raw = Raw::connect(to, STRANGER).await?;
                let mut tick = interval(Duration::from_millis(250));
                for byte in Raw::upgrade(to, &[("X-Padding", &"x".repeat(8_000))]).bytes() {
                    tick.tick().await;
                    raw.send(&[byte]).await?;
                }
                Ok(())
            }
            Self::Guesses => {
                let mut guesser = Res::connect_from(&format!("ws://{to}/"), STRANGER).await?;
                for n in 0..u64::MAX {
                    guesser
                        .log_in(["jane", "john", "admin", "nobody"][n as usize % 4], &format!("guess {n}"))
                        .await
                        .ok();
                }
                Ok(())
            }
            // Each of its own port, so that no two share a four-tuple that is being forgotten.
            Self::ConnectionStorm => Raw::websocket(to, STRANGER, &[]).await.map(drop),
            Self::AlternatingKeys => alternate_keys(to).await,
            Self::MalformedFrames => {
                let mut raw = Raw::websocket(to, STRANGER, &[]).await?;
                raw.flood(&Raw::text(r#"{"id":-1,"method":["#).repeat(100), usize::MAX).await.map(drop)
            }
        }
    }
}

/// The pause before an attacker reconnects.
const AGAIN: Duration = Duration::from_millis(100);

/// Padding for long names, below the limit of a resource id.
const LONG: &str = {
    const BYTES: [u8; 3_500] = [b'a'; 3_500];
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => "",
    }
};

/// Sends requests as fast as they are taken, and reads nothing.
async fn flood_with(to: SocketAddr, method: impl Fn(u64) -> String) -> Result<()> {
    let mut raw = Raw::websocket(to, STRANGER, &[]).await?;
    for n in 1.. {
        raw.send(&Raw::text(&json!({ "id": n, "method": method(n) }).to_string())).await?;
    }
    Ok(())
}

/// One connection with all the subscriptions it gets, that two sessions take from each other.
async fn alternate_keys(to: SocketAddr) -> Result<()> {
    const SUBSCRIPTIONS: u64 = 65_000;
    const FROM: Ipv4Addr = STRANGER;
    let url = format!("ws://{to}/");
    let mut keys = Vec::new();
    for _ in 0..2 {
        let mut owner = Res::connect_from(&url, FROM).await?;
        keys.push(owner.log_in("guest", "guest").await?["reloginKey"].take());
    }
    let mut connection = Res::connect_from(&url, FROM).await?;
    for n in 0..SUBSCRIPTIONS {
        if connection.request(&format!("subscribe.ticker.model?n={n}"), None).await?.ok().is_err() {
            break;
        }
    }
    for turn in 0_usize.. {
        let key = &mut keys[turn % 2];
        *key = connection.relogin(key, Some(&format!("{turn:021}A"))).await?.payload()?["reloginKey"].take();
    }
    Ok(())
}
