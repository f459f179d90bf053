//! What an honest client notices of attacks: the time its requests take, alone and beside each
//! attack, and the service's memory. What counts is the ratio within a run. No figure fails the
//! benchmark: the abuse suite has the bounds.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program for people who measure")]

use std::{
    env,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use relogin_tests::{
    attack::Attack,
    innocent::Innocent,
    play::play,
    process::raise_descriptor_limit,
    raw::{Raw, STRANGER},
    res::Res,
    stage::{Arrangement, Stage},
};
use serde_json::Value;
use tokio::{
    process::Command,
    sync::{oneshot, watch},
    task::JoinSet,
    time::sleep,
};

/// The argument by which the program runs an attack in a process of its own.
const ATTACK: &str = "attack";
/// That of the one user.
const PASSWORD: &str = "tell nobody";
/// How long the honest client is measured alone, and beside an attack.
const MEASURED: Duration = Duration::from_secs(12);
/// How long an attack has been going on when the measuring begins.
const UNDER_WAY: Duration = Duration::from_secs(3);
/// When memory is looked at once more.
const LATER: Duration = Duration::from_secs(60);
/// The number of clients that come back at once after a crash.
const STORM: usize = 2_000;
/// How often they do.
const STORM_ROUNDS: usize = 5;
/// How many of them log in at a time before.
const AT_ONCE: usize = 16;
/// The honest client's pause between two rounds, so that it is no attack itself.
const PAUSE: Duration = Duration::from_millis(3);

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [ATTACK, number, to, program] => {
            let attack = *Attack::ALL.get(number.parse::<usize>()?).context("no such attack")?;
            let (_stop, never) = watch::channel(false);
            runtime()?.block_on(attack.run(to.parse()?, program, never));
            Ok(())
        }
        // Cargo passes --bench to benchmarks. Without it, all targets are run as tests. Other parts
        // belong to other programs.
        ["--bench"] | ["abuse", "--bench"] | ["--bench", "abuse"] => runtime()?.block_on(measure()),
        ["storm", "--bench"] | ["--bench", "storm"] => runtime()?.block_on(measure_storm()),
        _ => Ok(()),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn measure() -> Result<()> {
    println!("abuse: an honest client's requests, {} s alone and beside each attack; MB resident", MEASURED.as_secs());
    println!(
        "  {:<40} {:>18} {:>18} {:>22} {:>26}",
        "", "alone p50, p99 ms", "beside p50, p99 ms", "ratio p50, p99", "MB before, peak, later"
    );
    let mut watching = JoinSet::new();
    for number in 0..Attack::ALL.len() {
        let (done, is_done) = oneshot::channel();
        watching.spawn(async move {
            let name = format!("bench-abuse-{number}");
            let played =
                play(Arrangement::Embedded, &name, async |stage: &mut Stage| beside(stage, number, done).await);
            played.await.map_err(|failure| anyhow::anyhow!("{failure:?}"))
        });
        // The next attack begins while this one's memory is watched: its server has nothing to do
        // then.
        is_done.await.ok();
    }
    while let Some(ended) = watching.join_next().await {
        ended??;
    }
    measure_storm().await
}

async fn measure_storm() -> Result<()> {
    let storm = play(Arrangement::Embedded, "bench-abuse-storm", storm).await;
    storm.map_err(|failure| anyhow::anyhow!("{failure:?}"))
}

/// How long it takes each of many who are logged in to be so again, when the service has crashed
/// and all come back at once.
async fn storm(stage: &mut Stage) -> Result<()> {
    raise_descriptor_limit()?;
    let users = stage.folder().join("users.toml").display().to_string();
    let options = ["--users", &users, "--password-cost", "m=8,t=1,p=1"];
    stage.relogin(&[&["user", "add", "jane", "--password-stdin"], &options[..]].concat(), PASSWORD).await?;
    stage.serve(&[&options[..], &["--sessions-per-user", "2000", "--throttle", "off"]].concat()).await?;
    let url = stage.gateway_url();
    let log_in = (0..AT_ONCE).map(async |_| {
        let mut keys = Vec::new();
        for _ in 0..STORM / AT_ONCE {
            let mut user = Res::connect_from(&url, STRANGER).await?;
            keys.push(user.log_in("jane", PASSWORD).await?["reloginKey"].take());
        }
        anyhow::Ok(keys)
    });
    let mut keys = try_join_all(log_in).await?.concat();
    let mut rounds = Vec::new();
    for _ in 0..STORM_ROUNDS {
        stage.kill_service().await?;
        stage.start_service().await?;
        let (times, next) = come_back(&url, keys).await?;
        keys = next;
        let at =
            |part: usize| times.get(times.len() * part / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1_000.0);
        println!(
            "  {STORM} come back at once after a crash: p50 {:.0} ms, p99 {:.0} ms, none was refused",
            at(50),
            at(99)
        );
        rounds.push(at(99));
    }
    rounds.sort_by(f64::total_cmp);
    println!("  median of the p99 of {STORM_ROUNDS} rounds: {:.0} ms", rounds[STORM_ROUNDS / 2]);
    Ok(())
}

/// All who have these keys connect and log in again at once. The time until each of them had,
/// sorted; and their next keys.
async fn come_back(url: &str, keys: Vec<Value>) -> Result<(Vec<Duration>, Vec<Value>)> {
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for key in keys {
        let url = url.to_owned();
        clients.spawn(async move {
            let mut user = Res::connect_from(&url, STRANGER).await?;
            let mut answer = user.relogin(&key, Some("AAAAAAAAAAAAAAAAAAAAAA")).await?.payload()?;
            anyhow::Ok((begin.elapsed(), answer["reloginKey"].take(), user))
        });
    }
    // All stay connected until the last one is back.
    let back = clients.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    let (mut times, next): (Vec<_>, Vec<_>) = back.into_iter().map(|(time, key, _user)| (time, key)).unzip();
    times.sort_unstable();
    Ok((times, next))
}

async fn beside(stage: &mut Stage, number: usize, done: oneshot::Sender<()>) -> Result<()> {
    stage.up(&[]).await?;
    let program = program(stage).await?;
    let alone = honest(stage, Duration::ZERO).await?;
    let before = stage.service()?.memory()?.resident;
    let mut attackers = Command::new(env::current_exe()?)
        .args([ATTACK, &number.to_string(), &stage.gateway_addr().to_string(), &program])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let beside = honest(stage, UNDER_WAY).await;
    attackers.kill().await?;
    let peak = stage.service()?.memory()?.peak;
    done.send(()).ok();
    sleep(LATER).await;
    let later = stage.service()?.memory()?.resident;
    let memory = [before, peak, later].map(|bytes| bytes >> 20);
    let name = Attack::ALL[number].name();
    match beside {
        Ok(beside) => {
            let ratio = [beside[0] / alone[0], beside[1] / alone[1]];
            println!(
                "  {name:<40} {:>8.2} {:>9.2} {:>8.2} {:>9.2} {:>11.1} {:>10.1} {:>8} {:>8} {:>8}",
                alone[0], alone[1], beside[0], beside[1], ratio[0], ratio[1], memory[0], memory[1], memory[2]
            );
        }
        Err(error) => println!("  {name:<40} the honest client was harmed: {error:#}; memory {memory:?}"),
    }
    Ok(())
}

/// An honest client's p50 and p99 in milliseconds, after some time that does not count.
async fn honest(stage: &Stage, before: Duration) -> Result<[f64; 2]> {
    let client = Innocent::enter_as(&stage.gateway_url(), "jane", PAUSE).await?;
    sleep(before).await;
    let skipped = client.requests();
    sleep(MEASURED).await;
    let mut times = client.leave().await?.split_off(skipped);
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1_000.0);
    Ok([at(50), at(99)])
}

/// The path of the page's largest file.
async fn program(stage: &Stage) -> Result<String> {
    let mut raw = Raw::connect(stage.service_addr(), STRANGER).await?;
    raw.send(format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", stage.service_addr()).as_bytes())
        .await?;
    let page = String::from_utf8_lossy(&raw.ended().await?).into_owned();
    let wasm = page.split(['"', '\'']).find(|word| word.ends_with(".wasm"));
    Ok(wasm.map_or_else(|| "/".to_owned(), |path| format!("/{}", path.trim_start_matches(['.', '/']))))
}
