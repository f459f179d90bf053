//! The soak: thousands of honest clients that come, resume, refresh, subscribe and go, with all
//! attacks mixed in, pass by pass. At the end memory is what it was after the first pass, or in a
//! long run after the second, and nobody honest was refused anything.
//!
//! A minute by itself; `cargo xtask soak` makes it an hour, or as many minutes as it is told.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use relogin_tests::{
    DEADLINE,
    attack::Attack,
    in_time,
    play::{Failure, goes_on, play_for},
    res::{Answer, Res},
    stage::{Arrangement, Stage},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet, time::sleep};

/// For how many seconds, if it is to be another time than a minute.
const SECONDS: &str = "RELOGIN_SOAK_SECONDS";
/// How many honest clients there are.
const CLIENTS: usize = 5_000;
/// How many users they are.
const USERS: usize = 100;
/// How long memory has to come to rest after a pass of attacks, before it is looked at.
const REST: Duration = Duration::from_secs(4);
/// How often a client uses its connection.
const PAUSE: Duration = Duration::from_secs(4);
/// After how many passes memory is looked at first, and how much more there may be at the end, in
/// percent: in a run of ten minutes or more, and in a short one, in which what somebody has just
/// let go of counts for more. In the first pass clients still come, and the store and the
/// allocator's pages still fill (docs/performance.md).
const LONG: (u32, u64) = (2, 10);
const SHORT: (u32, u64) = (1, 25);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_as_it_is_while_clients_come_and_go_among_attackers() -> Result<(), Failure> {
    let seconds = env::var(SECONDS).ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let length = Duration::from_secs(seconds);
    play_for(length, Arrangement::Embedded, "soak", async |stage| soak(stage, length).await).await
}

async fn soak(stage: &mut Stage, length: Duration) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).context("descriptors")?;
    add_users(stage).await?;
    let users = stage.folder().join("users.toml").display().to_string();
    let cheap = ["--users", &users, "--password-cost", COST, "--max-connections", "20000"];
    // Each client has an address of its own, as in the world.
    stage.up(&[&cheap[..], &["--sessions-per-user", "1000"]].concat()).await?;

    let (passes, growth) = if length < Duration::from_secs(600) { SHORT } else { LONG };
    let began = Instant::now();
    let (stop, stopped) = watch::channel(false);
    let here = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (url, here, stopped) = (stage.gateway_url(), Arc::clone(&here), stopped.clone());
        clients.spawn(async move {
            // They come over some seconds, as people do.
            sleep(PAUSE * u32::try_from(number % 1_000)? / 500).await;
            client(number, &url, &here, stopped).await.with_context(|| format!("client {number}"))
        });
    }
    let outcome = async {
        let (mut passed, mut first) = (0, 0);
        // What memory is like before all are there says nothing.
        in_time("most of the clients", async {
            while here.load(Ordering::Relaxed) < CLIENTS * 9 / 10 {
                sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        })
        .await?;
        loop {
            // Two passes in the short run, and as many as there is time for in a long one.
            let share = (length.saturating_sub(REST * 3) / 3).min(Duration::from_secs(120));
            pass(stage.gateway_addr(), share / u32::try_from(Attack::ALL.len())?).await;
            goes_on();
            let now = at_rest(stage).await?;
            passed += 1;
            if passed <= passes {
                first = now;
            }
            println!("{:>6} s: {} MB, {} clients", began.elapsed().as_secs(), now >> 20, here.load(Ordering::Relaxed));
            if began.elapsed() + share + REST > length {
                ensure!(
                    now <= first + first * growth / 100,
                    "{} MB after {passes} passes, {} MB at the end",
                    first >> 20,
                    now >> 20
                );
                return anyhow::Ok(());
            }
        }
    };
    tokio::select! {
        outcome = outcome => outcome?,
        // Clients only come to an end by themselves if something is refused to them.
        Some(ended) = clients.join_next() => return ended?.and_then(|()| Err(anyhow!("a client ended early"))),
    }
    stop.send_replace(true);
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    ensure!(stage.stop_service().await?.success(), "the service did not end well");
    Ok(())
}

/// What the service holds when an attack is over: the least that is seen for a while.
async fn at_rest(stage: &Stage) -> Result<u64> {
    let mut least = u64::MAX;
    let until = Instant::now() + REST;
    while Instant::now() < until {
        least = least.min(stage.service()?.memory()?.resident);
        sleep(Duration::from_millis(100)).await;
    }
    Ok(least)
}

/// All attacks, one after the other.
async fn pass(to: SocketAddr, each: Duration) {
    for attack in Attack::ALL {
        let (stop, stopped) = watch::channel(false);
        let attacking = tokio::spawn(async move { attack.run(to, "/", stopped).await });
        sleep(each).await;
        stop.send_replace(true);
        attacking.await.ok();
    }
}

const COST: &str = "m=8,t=1,p=1";

async fn add_users(stage: &Stage) -> Result<()> {
    let users = stage.folder().join("users.toml").display().to_string();
    let add = ["user", "--users", &users, "--password-cost", COST, "add", "--password-stdin"];
    stage.relogin(&[&add[..], &["user0"]].concat(), "tell nobody\n").await?;
    // All have the same password, so one hash serves for all.
    let file = fs::read_to_string(&users)?;
    let entry = file.find("[[").map(|at| &file[at..]).context("a users file with one entry")?;
    let more: String = (1..USERS)
        .map(|n| entry.replace("user0", &format!("user{n}")).replace("id = 1", &format!("id = {}", n + 1)))
        .collect();
    Ok(fs::write(&users, file.clone() + &more)?)
}

/// Connects, subscribes, refreshes, disconnects without a closing handshake, resumes; logs out in
/// the end, and begins again.
async fn client(number: usize, url: &str, here: &AtomicUsize, stopped: watch::Receiver<bool>) -> Result<()> {
    let [_, _, high, low] = u32::try_from(number)?.to_be_bytes();
    let from = Ipv4Addr::new(127, 1, high, low);
    let mut attempt = 0;
    while !*stopped.borrow() {
        let mut key = None;
        for visit in 0..3 {
            let mut connection = Res::connect_from(url, from).await.context("coming")?;
            here.fetch_add(1, Ordering::Relaxed);
            for turn in 0..3 {
                attempt += 1;
                key = Some(enter(&mut connection, number, key.take(), attempt).await?);
                if turn == 0 {
                    ask(&mut connection, "subscribe.ticker.model").await.context("subscribing")?;
                    ask(&mut connection, "subscribe.session.user.{cid}").await.context("the user")?;
                }
                if *stopped.borrow() {
                    break;
                }
                connection.idle(PAUSE).await.context("an idle connection")?;
            }
            if visit == 2 || *stopped.borrow() {
                ask(&mut connection, "auth.session.logout").await.context("logging out")?;
                here.fetch_sub(1, Ordering::Relaxed);
                break;
            }
            here.fetch_sub(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Logs in, or uses the key by an attempt, as our clients do: what was not answered in time is sent
/// again by the same attempt, and who is told to come later does. Answers the next key.
async fn enter(connection: &mut Res, number: usize, key: Option<Value>, attempt: u32) -> Result<Value> {
    let attempt = format!("{attempt:021}A");
    let until = Instant::now() + DEADLINE;
    loop {
        let answer = match &key {
            None => {
                let credentials = json!({
                    "username": format!("user{}", number % USERS), "password": "tell nobody", "attempt": &attempt,
                });
                connection.request("auth.session.login", Some(credentials)).await?
            }
            Some(key) => connection.relogin(key, Some(&attempt)).await?,
        };
        let later = match (&answer, answer.code()) {
            (_, Some("system.timeout")) => Duration::ZERO,
            // Logins wait for each other's passwords; relogins for nobody.
            (Answer::Error(error), Some("session.tooManyAttempts")) if key.is_none() => {
                Duration::from_millis(error["data"]["retryAfter"].as_u64().context("when to come again")?)
            }
            _ => return Ok(answer.payload().context("a login or relogin")?["reloginKey"].take()),
        };
        ensure!(Instant::now() < until, "nobody had time for a client: {answer:?}");
        connection.idle(later).await?;
    }
}

/// Asks until there is an answer.
async fn ask(connection: &mut Res, method: &str) -> Result<()> {
    let until = Instant::now() + DEADLINE;
    loop {
        let answer = connection.request(method, None).await?;
        if answer.code() != Some("system.timeout") {
            return answer.ok().map(drop);
        }
        ensure!(Instant::now() < until, "nobody had time for a client");
    }
}
