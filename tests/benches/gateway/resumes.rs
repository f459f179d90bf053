//! Many clients resume their sessions: all at once, as after a crash, or a few at a time. Each
//! opens a WebSocket, agrees on the version, uses its relogin key and subscribes to its user. A
//! relogin is answered once it is on disk.

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    client::{Client, find},
    figures::{median, percentile, scaled, us},
    side::{Gateway, PASSWORD, Side, Times, USER},
};

const CLIENTS: usize = 2_000;
const ROUNDS: usize = 5;
/// How many at a time.
const AT_A_TIME: [(&str, usize); 2] = [("all at once", CLIENTS), ("32 at a time", 32)];

/// Clients of one side.
struct Contender {
    side: Side,
    keys: Vec<String>,
    rounds: Vec<Round>,
}

/// What came of a round.
struct Round {
    /// Milliseconds.
    p50: f64,
    p99: f64,
    cost: Times,
    /// Clients that have not resumed.
    lost: usize,
    /// Connections that the system has dropped for want of room in a listen queue.
    dropped: u64,
}

pub(crate) async fn measure() -> Result<()> {
    let mut contenders = Vec::new();
    for gateway in Gateway::ALL {
        let side = Side::with_sessions(gateway).await?;
        let keys = log_in(side.address, scaled(CLIENTS)).await?;
        contenders.push(Contender { side, keys, rounds: Vec::new() });
    }
    for (name, at_a_time) in AT_A_TIME {
        for _ in 0..ROUNDS {
            for contender in &mut contenders {
                contender.round(at_a_time).await?;
            }
        }
        println!("  {} clients resume, {name}; medians of {ROUNDS} rounds, in turns", scaled(CLIENTS));
        let costs: Vec<_> = contenders.iter_mut().map(Contender::report).collect();
        let ratio = |of: usize| median(costs[1].iter().zip(&costs[of]).map(|(theirs, other)| theirs / other));
        println!("    processor time, Resgate / ours: {:.2}, Resgate / constant: {:.2}", ratio(0), ratio(2));
    }
    Ok(())
}

/// The keys of so many sessions.
async fn log_in(to: SocketAddr, count: usize) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    for _ in 0..count {
        let mut client = Client::open(to).await?;
        let params = format!(r#"{{"username":"{USER}","password":"{PASSWORD}"}}"#);
        keys.push(key_in(client.request("auth.session.login", &params).await?)?);
    }
    Ok(keys)
}

/// The relogin key in an answer.
fn key_in(answer: &[u8]) -> Result<String> {
    const BEFORE: &[u8] = b"\"reloginKey\":\"";
    let key = find(answer, BEFORE).and_then(|at| answer[at + BEFORE.len()..].split(|byte| *byte == b'"').next());
    Ok(String::from_utf8(key.context("there is no key in the answer")?.to_vec())?)
}

impl Contender {
    async fn round(&mut self, at_a_time: usize) -> Result<()> {
        self.side.is_idle().await?;
        let (times, drops) = (self.side.times()?, listen_drops()?);
        let turns = Arc::new(Semaphore::new(at_a_time));
        let mut clients = JoinSet::new();
        let begin = Instant::now();
        for key in self.keys.drain(..) {
            let (to, turns) = (self.side.address, Arc::clone(&turns));
            clients.spawn(async move {
                let turn = turns.acquire_owned().await.context("nobody closes it")?;
                let begin = if at_a_time < CLIENTS { Instant::now() } else { begin };
                let resumed = resume(to, &key).await;
                drop(turn);
                // Connected until the last one is back.
                resumed.map(|(client, next)| (begin.elapsed(), next, client))
            });
        }
        let (mut took, mut lost) = (Vec::new(), 0);
        let mut connected = Vec::new();
        while let Some(resumed) = clients.join_next().await {
            match resumed? {
                Ok((time, next, client)) => {
                    took.push(time);
                    self.keys.push(next);
                    connected.push(client);
                }
                Err(error) => {
                    lost += 1;
                    println!("    a client of {} was not served: {error:#}", self.side.gateway.name());
                }
            }
        }
        let cost = self.side.times()?.since(&times);
        let dropped = listen_drops()? - drops;
        let [p50, p99] = [50, 99].map(|percent| percentile(&mut took, percent));
        self.rounds.push(Round { p50, p99, cost, lost, dropped });
        Ok(())
    }

    /// Prints the rounds, forgets them, and answers what a resume has cost in each, in
    /// microseconds.
    fn report(&mut self) -> Vec<f64> {
        let rounds = std::mem::take(&mut self.rounds);
        let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
        let count = self.keys.len();
        let sum = Times::sum(rounds.iter().map(|round| &round.cost));
        let lost: usize = rounds.iter().map(|round| round.lost).sum();
        let dropped: u64 = rounds.iter().map(|round| round.dropped).sum();
        println!(
            "    {:<8} p50 {:.1} ms, p99 {:.1} ms; {lost} not served, {dropped} dropped from listen queues; {}",
            self.side.gateway.name(),
            of(|round| round.p50),
            of(|round| round.p99),
            sum.each(count * rounds.len())
        );
        let cost = |time: Duration| us(time) / count as f64;
        rounds.iter().map(|round| cost(round.cost.total())).collect()
    }
}

/// A client that is logged in again, and its next key.
async fn resume(to: SocketAddr, key: &str) -> Result<(Client, String)> {
    let mut client = Client::open(to).await?;
    let params = format!(r#"{{"reloginKey":"{key}","attempt":"AAAAAAAAAAAAAAAAAAAAAA"}}"#);
    let next = key_in(client.request("auth.session.relogin", &params).await?)?;
    client.request("subscribe.session.user.{cid}", "null").await?;
    Ok((client, next))
}

/// How many connections the system has dropped so far because a listen queue was full, or for want
/// of memory.
fn listen_drops() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/netstat").context("reading the system's counts")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:")).map(str::split_ascii_whitespace);
    let (names, values) = lines.next().zip(lines.next()).context("there are no counts of TCP")?;
    let drops = names.zip(values).find(|(name, _)| *name == "ListenDrops").context("there is no such count")?;
    Ok(drops.1.parse()?)
}
