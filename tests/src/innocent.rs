//! An honest client beside an attack: logged in, it refreshes and comes back on connections and
//! from an address of its own, and whatever is refused to it fails the test. Must not depend on the
//! attack.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

use crate::{in_time, res::Res};

/// The address that honest clients come from.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

/// How many rounds a client spends on one connection before it comes back on a new one.
const ROUNDS_ON_A_CONNECTION: u32 = 5;

/// A refresh, a challenge, and who it is.
const REQUESTS_OF_A_ROUND: usize = 3;

/// A client that goes on until it is told to leave, or something goes wrong.
#[derive(Debug)]
pub struct Innocent {
    going: JoinHandle<Result<Vec<Duration>>>,
    /// How many rounds are done.
    rounds: watch::Receiver<u64>,
    leave: watch::Sender<bool>,
}

impl Innocent {
    /// Logs in as the demo's user jane, at the gateway at `url` (`ws://…`).
    ///
    /// # Errors
    /// If that fails.
    pub async fn enter(url: &str) -> Result<Self> {
        Self::enter_as(url, "jane", Duration::ZERO).await
    }

    /// Logs in as one of the demo's users, and lets `pause` pass between two rounds.
    ///
    /// # Errors
    /// If that fails.
    pub async fn enter_as(url: &str, username: &str, pause: Duration) -> Result<Self> {
        let mut connection = Res::connect_from(url, ADDRESS).await?;
        let login = connection.log_in(username, username).await.context("an honest login")?;
        let (done, rounds) = watch::channel(0);
        let (leave, leaving) = watch::channel(false);
        let url = url.to_owned();
        let going = tokio::spawn(async move { go(connection, login, &url, pause, &done, &leaving).await });
        Ok(Self { going, rounds, leave })
    }

    /// Waits until the client has done this many more rounds.
    ///
    /// # Errors
    /// If it was refused something, or lost its session; then call [`Innocent::leave`] for the
    /// reason.
    pub async fn goes_on(&mut self, rounds: u64) -> Result<()> {
        let until = *self.rounds.borrow() + rounds;
        in_time("what an honest client has asked for", async {
            self.rounds.wait_for(|&done| done >= until).await.context("an honest client has come to an end")?;
            Ok(())
        })
        .await
    }

    /// How many requests it has had answered.
    #[must_use]
    pub fn requests(&self) -> usize {
        usize::try_from(*self.rounds.borrow()).unwrap_or(usize::MAX).saturating_mul(REQUESTS_OF_A_ROUND)
    }

    /// Lets the client finish its round; answers how long each request took.
    ///
    /// # Errors
    /// What was refused to it.
    pub async fn leave(self) -> Result<Vec<Duration>> {
        self.leave.send_replace(true);
        in_time("the end of an honest client", async { self.going.await.context("an honest client panicked")? }).await
    }
}

/// Goes round by round.
async fn go(
    mut connection: Res,
    mut key: Value,
    url: &str,
    pause: Duration,
    done: &watch::Sender<u64>,
    leaving: &watch::Receiver<bool>,
) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    let mut attempt = 0_u128;
    while !*leaving.borrow() {
        for _ in 0..ROUNDS_ON_A_CONNECTION {
            attempt += 1;
            // 128 bits in base64url, as the protocol has it: 22 characters, the last of which is
            // one of four.
            let text = format!("{attempt:021}A");
            let mut start = Instant::now();
            let mut took = || {
                let now = Instant::now();
                times.push(now - std::mem::replace(&mut start, now));
            };
            let answer = connection.relogin(&key["reloginKey"], Some(&text)).await.context("an honest refresh")?;
            took();
            key = answer.payload().context("an honest refresh")?;
            connection.request("auth.session.challenge", None).await?.payload().context("an honest challenge")?;
            took();
            let user = connection.request("get.session.user.{cid}", None).await?.ok().context("an honest get")?;
            took();
            let model = &user["models"]["session.user.{cid}"];
            ensure!(model["id"] != json!(null), "an honest client is logged out: {user}");
            done.send_modify(|done| *done += 1);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        connection = Res::connect_from(url, ADDRESS).await.context("an honest client comes back")?;
    }
    Ok(times)
}
