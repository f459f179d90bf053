//! Attacks on connections: what is never read, never finished, never ended, or too much at once.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    os::fd::AsFd,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use flate2::{Compress, Compression, FlushCompress};
use futures_util::future::try_join_all;
use relogin_tests::{
    in_time,
    innocent::Innocent,
    raw::{Flood, Raw, STRANGER, opcode},
    res::Res,
    service::Service,
    stage::Stage,
};
use rustix::{
    process::{Resource, Rlimit, getrlimit, prlimit, setrlimit},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tokio::{task::JoinSet, time::sleep};

use crate::{http::program, users::cheap_users};

on!(embedded_alone:
    a_client_that_pings_and_never_reads_is_ended,
    a_stop_cuts_off_clients_that_do_not_read,
    messages_that_are_never_finished_end_their_connections,
    unfinished_messages_of_all_connections_are_bounded,
    compressed_bombs_are_ended_or_wait_for_each_other,
    one_address_leaves_places_for_others,
    when_all_places_are_taken_sessions_go_on_and_places_come_back,
    no_connection_is_dropped_when_all_clients_come_at_once,
    everybody_is_back_after_a_crash,
    without_descriptors_connections_wait_and_are_taken_afterwards,
    large_heads_are_refused,
    tiny_requests_behind_large_heads_wait_for_each_other,
);

on!(over_nats: a_stop_does_not_wait_for_clients_that_do_not_read);

const MIB: u64 = 1 << 20;

/// The answers to pings that nobody reads.
async fn a_client_that_pings_and_never_reads_is_ended(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(5).await?;
    let before = stage.service()?.memory()?.resident;
    let pings = Raw::frame(opcode::PING, true, &[b'x'; 125]).repeat(500);
    let mut attacker = Raw::websocket(stage.gateway_addr(), STRANGER, &[]).await?;
    let flood = attacker.flood(&pings, 128 << 20).await?;
    ensure!(matches!(flood, Flood::Ended(_)), "all pings were taken");
    let peak = stage.service()?.memory()?.peak;
    ensure!(peak < before + 64 * MIB, "{} MiB more", (peak - before) / MIB);
    innocent.goes_on(5).await?;
    innocent.leave().await?;
    Ok(())
}

/// Clients that do not read, and requests that never end, while the service stops.
async fn a_stop_cuts_off_clients_that_do_not_read(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let address = stage.gateway_addr();
    let mut unfinished = Vec::new();
    for text in [
        "",
        "GET / HT",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx",
        "POST /api/session/refresh HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx",
    ] {
        let mut raw = Raw::connect(address, STRANGER).await?;
        raw.send(text.as_bytes()).await?;
        unfinished.push(raw);
    }
    let pings = Raw::frame(opcode::PING, true, &[b'x'; 125]).repeat(500);
    let pages = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let program = format!("GET {} HTTP/1.1\r\nHost: {address}\r\n\r\n", program(address).await?);
    for _ in 0..4 {
        let mut raw = Raw::connect(address, STRANGER).await?;
        // More than the system keeps for a socket.
        raw.send(program.repeat(100).as_bytes()).await?;
        unfinished.push(raw);
        unfinished.push(Raw::websocket(address, STRANGER, &[]).await?);
        let mut raw = Raw::websocket(address, STRANGER, &[]).await?;
        // More than the system keeps for a socket: a client that is not ended for it cannot be
        // written to.
        raw.flood(&pings, 24 << 20).await?;
        unfinished.push(raw);
    }
    let mut attackers = JoinSet::new();
    for _ in 0..4 {
        let (pings, pages) = (pings.clone(), pages.clone());
        attackers.spawn(async move {
            // As long as the service lets anybody in.
            while let Ok(mut raw) = Raw::websocket(address, STRANGER, &[]).await {
                raw.flood(&pings, 64 << 20).await.ok();
            }
        });
        attackers.spawn(async move {
            if let Ok(mut raw) = Raw::connect(address, STRANGER).await {
                raw.flood(pages.as_bytes(), usize::MAX).await.ok();
            }
        });
    }
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(5).await?;
    innocent.leave().await?;
    let status = stage.stop_service().await?;
    ensure!(status.success(), "{status}");
    attackers.abort_all();
    Ok(())
}

/// Answers that nobody reads, more than the system keeps for a socket and less than a client may
/// have waiting.
async fn a_stop_does_not_wait_for_clients_that_do_not_read(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let model = format!(r#"{{"large":"{}"}}"#, "x".repeat(900_000));
    Service::connect(&stage.nats_url(), "large").await?.grants_all(&model);
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut raw = Raw::websocket_of_small_buffers(stage.gateway_addr(), STRANGER).await?;
        for id in 0..8 {
            raw.send(&Raw::text(&format!(r#"{{"id":{id},"method":"get.large.n{id}"}}"#))).await?;
        }
        slow.push(raw);
    }
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(10).await?;
    innocent.leave().await?;
    let (status, lines) = stage.stop_service_saying().await?;
    ensure!(status.success(), "{status}");
    ensure!(!lines.iter().any(|line| line.contains("did not close in time")), "{lines:#?}");
    Ok(())
}

/// Messages that are kept unfinished, on connections that are kept alive by pings.
async fn messages_that_are_never_finished_end_their_connections(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    let attackers = (0..100).map(async |n| {
        let mut raw = Raw::websocket(stage.gateway_addr(), STRANGER, &[]).await?;
        // In the middle of a message, or at its first byte.
        raw.send(&Raw::frame(opcode::TEXT, false, &vec![b'x'; n * 200])).await?;
        loop {
            raw.send(&Raw::frame(opcode::PING, true, b"alive")).await?;
            match raw.server_frame().await.context("the connection ended without a word")? {
                (opcode::CLOSE, reason) => break Ok::<_, anyhow::Error>(reason),
                // Now and then is enough.
                _ => sleep(Duration::from_millis(500)).await,
            }
        }
    });
    let reasons = in_time("the end of each connection", try_join_all(attackers)).await?;
    for reason in reasons {
        ensure!(reason.starts_with(&1008_u16.to_be_bytes()), "{}", String::from_utf8_lossy(&reason));
    }
    innocent.goes_on(5).await?;
    innocent.leave().await?;
    Ok(())
}

/// What they hold is bounded for all connections together, and connections that hold little stay.
async fn unfinished_messages_of_all_connections_are_bounded(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(5).await?;
    let before = stage.service()?.memory()?.resident;
    // A message's buffer grows with each part of it, and leaves smaller ones behind.
    let parts = [Raw::frame(opcode::TEXT, false, &[b'x'; 8 << 10]), Raw::frame(0, false, &[b'x'; 8 << 10]).repeat(126)];
    let parts = parts.concat();
    raise_own_limit()?;
    let attackers = (0..800).map(async |_| {
        let mut raw = Raw::websocket(stage.gateway_addr(), STRANGER, &[]).await?;
        // Those that are ended meanwhile cannot send all of it.
        raw.send(&parts).await.ok();
        Ok::<_, anyhow::Error>(raw)
    });
    let attackers = try_join_all(attackers).await?;
    stage.service_says("that connections were ended", "clients hold too much memory").await?;
    innocent.goes_on(5).await?;
    // 256 MiB, and what messages have outgrown, which the allocator still has.
    let peak = stage.service()?.memory()?.peak;
    ensure!(peak < before + 448 * MIB, "{} MiB more at the peak", (peak - before) / MIB);
    innocent.leave().await?;
    drop(attackers);
    Ok(())
}

/// A few bytes that would be many: more than a message may say, or as much, and over and over.
async fn compressed_bombs_are_ended_or_wait_for_each_other(stage: &mut Stage) -> Result<()> {
    stage.up(&["--ws-compression"]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(5).await?;
    let before = stage.service()?.memory()?.resident;
    let websocket = async || {
        let headers = [("Sec-WebSocket-Extensions", "permessage-deflate")];
        Raw::websocket(stage.gateway_addr(), STRANGER, &headers).await
    };
    let bomb = compressed(&" ".repeat(256 << 20))?;
    ensure!(bomb.len() < 512 << 10, "{} bytes", bomb.len());
    let attackers = (0..200).map(async |_| {
        let mut raw = websocket().await?;
        // Those that are ended meanwhile cannot send all of it.
        raw.send(&bomb).await.ok();
        raw.server_frame().await.context("the connection ended without a word")
    });
    for (kind, reason) in in_time("the end of each connection", try_join_all(attackers)).await? {
        ensure!(kind == opcode::CLOSE && reason.starts_with(&1009_u16.to_be_bytes()), "{kind}: {reason:?}");
    }
    innocent.goes_on(5).await?;
    let peak = stage.service()?.memory()?.peak;
    ensure!(peak < before + 192 * MIB, "{} MiB more after bombs", (peak - before) / MIB);

    let heavy = compressed(&format!(r#"{{"id":1,"method":"auth.session.challenge"{}}}"#, " ".repeat(1_000_000)))?;
    ensure!(heavy.len() < 8 << 10, "{} bytes", heavy.len());
    let mut attackers = JoinSet::new();
    for _ in 0..100 {
        let (mut raw, heavy) = (websocket().await?, heavy.clone());
        attackers.spawn(async move { raw.flood_and_read(&heavy).await });
    }
    innocent.goes_on(10).await?;
    let peak = stage.service()?.memory()?.peak;
    ensure!(peak < before + 448 * MIB, "{} MiB more at the peak", (peak - before) / MIB);
    attackers.shutdown().await;
    innocent.goes_on(5).await?;
    innocent.leave().await?;
    Ok(())
}

/// A client's text message, compressed as far as possible.
fn compressed(text: &str) -> Result<Vec<u8>> {
    const RSV1: u8 = 0x40;
    let mut message = Vec::with_capacity(text.len() / 100 + 100);
    let mut compressor = Compress::new(Compression::best(), false);
    compressor.compress_vec(text.as_bytes(), &mut message, FlushCompress::Sync)?;
    ensure!(message.len() < message.capacity(), "it does not become short");
    message.truncate(message.len() - 4);
    Ok(Raw::frame(opcode::TEXT | RSV1, true, &message))
}

/// A head goes out with each auth request.
async fn large_heads_are_refused(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    for (size, status) in [(14 << 10, "101"), (16 << 10, "431"), (55 << 10, "431")] {
        let mut raw = Raw::connect(stage.gateway_addr(), STRANGER).await?;
        let large = "x".repeat(size);
        raw.send(Raw::upgrade(stage.gateway_addr(), &[("X-Large", &large)]).as_bytes()).await.ok();
        let head = raw.head().await?;
        ensure!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{size}: {head}");
    }
    innocent.goes_on(5).await?;
    innocent.leave().await?;
    Ok(())
}

/// A few bytes make a request of 16 kB, and there are more of them than the service can answer.
async fn tiny_requests_behind_large_heads_wait_for_each_other(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(5).await?;
    let before = stage.service()?.memory()?.resident;
    let headers: Vec<_> = (0..12).map(|n| (format!("X-Header-{n}"), "x".repeat(1100))).collect();
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let request = Raw::text(r#"{"id":1,"method":"auth.session.challenge"}"#).repeat(100);
    let mut attackers = JoinSet::new();
    for _ in 0..70 {
        let mut raw = Raw::websocket(stage.gateway_addr(), STRANGER, &headers).await?;
        let request = request.clone();
        attackers.spawn(async move { raw.flood_and_read(&request).await });
    }
    // Whatever is refused to the innocent, or is not answered in time, is an error.
    if innocent.goes_on(5).await.is_err() {
        innocent.leave().await.context("the honest client")?;
        return Err(anyhow!("the honest client gets no answers"));
    }
    let peak = stage.service()?.memory()?.peak;
    ensure!(peak < before + 256 * MIB, "{} MiB more", (peak - before) / MIB);
    innocent.leave().await?;
    ensure!(attackers.try_join_next().is_none(), "an attacker was ended");
    // What was held for them does not stay.
    attackers.shutdown().await;
    settles(stage, before + 128 * MIB).await
}

/// Waits until the service holds no more than this many bytes.
async fn settles(stage: &Stage, most: u64) -> Result<()> {
    let mut resident = u64::MAX;
    let settling = async {
        while resident > most {
            sleep(Duration::from_millis(50)).await;
            resident = stage.service()?.memory()?.resident;
        }
        anyhow::Ok(())
    };
    let settled = tokio::time::timeout(relogin_tests::DEADLINE, settling).await;
    settled.with_context(|| format!("{} MiB stay", resident / MIB))?
}

/// A request for the health check.
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";

/// Idle connections of one address, more than the service has descriptors for.
async fn one_address_leaves_places_for_others(stage: &mut Stage) -> Result<()> {
    raise_own_limit()?;
    stage.under(&["prlimit", "--nofile=64:1024"]);
    stage.up(&["--max-connections-per-address", "500"]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    let mut strangers = Vec::new();
    let mut refused = 0;
    for _ in 0..1100 {
        match Raw::websocket(stage.gateway_addr(), STRANGER, &[]).await {
            Ok(raw) => strangers.push(raw),
            Err(_) => refused += 1,
        }
    }
    ensure!((strangers.len(), refused) == (500, 600), "{} in, {refused} refused", strangers.len());
    let told = |line: &str| line.contains("connections are refused: --max-connections-per-address").then_some(());
    stage.service()?.line("that connections are refused", told).await?;
    innocent.goes_on(12).await?;
    innocent.leave().await?;
    let (_, lines) = stage.stop_service_saying().await?;
    let told = lines.iter().filter(|line| line.contains("connections are refused")).count();
    ensure!(told < 60, "{told} lines");
    Ok(())
}

/// Idle connections of many addresses. Clients with a connection go on, and new ones get in when
/// the idle ones have left.
async fn when_all_places_are_taken_sessions_go_on_and_places_come_back(stage: &mut Stage) -> Result<()> {
    raise_own_limit()?;
    stage.under(&["prlimit", "--nofile=64:1024"]);
    stage.up(&[]).await?;
    let mut user = Res::connect_from(&stage.gateway_url(), Ipv4Addr::new(127, 0, 0, 7)).await?;
    let mut key = user.log_in("jane", "jane").await?;
    let mut strangers = Vec::new();
    let mut refusal = None;
    for n in 0..1100_u16 {
        let mut raw = Raw::connect(stage.gateway_addr(), Ipv4Addr::new(127, 1, (n % 250) as u8, 1)).await?;
        raw.send(Raw::upgrade(stage.gateway_addr(), &[]).as_bytes()).await.ok();
        match raw.head().await {
            Ok(head) if head.starts_with("HTTP/1.1 101 ") => strangers.push(raw),
            Ok(head) => refusal = Some(head),
            // Too many are refused at once for all to be answered.
            Err(_) => {}
        }
    }
    // 128 of 1,024 descriptors are kept back.
    ensure!(strangers.len() == 895, "{} are in", strangers.len());
    ensure!(refusal.is_some_and(|head| head.starts_with("HTTP/1.1 503 ")), "nobody was told");
    for attempt in 0..30 {
        let answer = user.relogin(&key["reloginKey"], Some(&format!("{attempt:021}A"))).await?;
        key = answer.payload().context("a refresh while all places are taken")?;
    }
    drop(strangers);
    let healthy = async {
        loop {
            let mut raw = Raw::connect(stage.gateway_addr(), STRANGER).await?;
            raw.send(HEALTH.as_bytes()).await.ok();
            match raw.head().await {
                Ok(head) if head.starts_with("HTTP/1.1 200 ") => break Ok::<_, anyhow::Error>(()),
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(relogin_tests::DEADLINE, healthy)
        .await
        .context("the service does not become healthy again")??;
    let mut innocent = Innocent::enter_as(&stage.gateway_url(), "john", Duration::ZERO).await?;
    innocent.goes_on(12).await?;
    innocent.leave().await?;
    Ok(())
}

/// A network of the service's own, whose counters nobody else touches.
const OWN_NETWORK: [&str; 5] = ["unshare", "--net", "sh", "-c", r#"ip link set lo up && exec "$0" "$@""#];

/// Does something in the service's network, and looks whether a listen queue has dropped a
/// connection meanwhile.
async fn in_its_network<T: Send + 'static>(
    stage: &Stage,
    clients: impl AsyncFnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let pid = stage.service()?.pid()?;
    let network = File::open(format!("/proc/{}/ns/net", pid.as_raw_nonzero())).context("the service's network")?;
    let clients = thread::spawn(move || {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).context("going there")?;
        let before = dropped()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let done = runtime.block_on(clients())?;
        ensure!(dropped()? == before, "the listen queue dropped {} connections", dropped()? - before);
        Ok(done)
    });
    tokio::task::spawn_blocking(move || clients.join()).await?.map_err(|_| anyhow!("the clients panicked"))?
}

/// All clients come at once, as after a restart.
async fn no_connection_is_dropped_when_all_clients_come_at_once(stage: &mut Stage) -> Result<()> {
    const CLIENTS: usize = 2000;
    raise_own_limit()?;
    stage.under(&OWN_NETWORK);
    stage.up(&[]).await?;
    let address = stage.gateway_addr();
    let all = async move || try_join_all((0..CLIENTS).map(|_| Raw::websocket(address, STRANGER, &[]))).await;
    ensure!(in_its_network(stage, all).await?.len() == CLIENTS);
    Ok(())
}

/// Two thousand who are logged in come back at once, the service having crashed. None is dropped,
/// and none is out.
async fn everybody_is_back_after_a_crash(stage: &mut Stage) -> Result<()> {
    const CLIENTS: usize = 2000;
    const AT_ONCE: usize = 16;
    raise_own_limit()?;
    stage.under(&OWN_NETWORK);
    let users = cheap_users(stage, &["jane"])?;
    let options: Vec<_> = users.iter().map(String::as_str).collect();
    stage.serve(&[&options[..], &["--sessions-per-user", "2000", "--throttle", "off"]].concat()).await?;
    let url = stage.gateway_url();
    let log_in = async move || {
        let some = (0..AT_ONCE).map(async |_| {
            let mut keys = Vec::new();
            for _ in 0..CLIENTS / AT_ONCE {
                let mut user = Res::connect_from(&url, STRANGER).await?;
                keys.push(user.log_in("jane", "jane").await?["reloginKey"].take());
            }
            anyhow::Ok(keys)
        });
        Ok(try_join_all(some).await?.concat())
    };
    let keys = in_its_network(stage, log_in).await?;
    stage.kill_service().await?;
    stage.start_service().await?;
    let url = stage.gateway_url();
    let come_back = async move || {
        let all = keys.iter().map(async |key| {
            let mut user = Res::connect_from(&url, STRANGER).await?;
            user.relogin(key, Some("AAAAAAAAAAAAAAAAAAAAAA")).await?.payload()
        });
        try_join_all(all).await
    };
    ensure!(in_its_network(stage, come_back).await?.len() == CLIENTS);
    Ok(())
}

/// No descriptor is left for a connection. It waits, others go on, and it is taken when there are
/// some.
async fn without_descriptors_connections_wait_and_are_taken_afterwards(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let (address, pid) = (stage.gateway_addr(), stage.service()?.pid()?);
    let mut user = Res::connect_from(&stage.gateway_url(), Ipv4Addr::new(127, 0, 0, 7)).await?;
    let before = prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(1), maximum: Some(4096) })
        .context("taking descriptors away")?;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect(address, STRANGER).await?;
        raw.send(HEALTH.as_bytes()).await?;
        waiting.push(raw);
    }
    stage.service_says("that it has no descriptors", "cannot accept connections").await?;
    // Connected clients are served meanwhile.
    for _ in 0..5 {
        ensure!(user.request("auth.session.challenge", None).await?.code().is_none(), "refused");
    }
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(1024), maximum: before.maximum.min(Some(4096)) })
        .context("giving them back")?;
    for mut raw in waiting {
        let head = raw.head().await?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(5).await?;
    innocent.leave().await?;
    let (_, lines) = stage.stop_service_saying().await?;
    let told = lines.iter().filter(|line| line.contains("cannot accept connections")).count();
    ensure!(told < 60, "{told} lines");
    Ok(())
}

/// How many connections the listen queues of this thread's network had no room for.
fn dropped() -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").context("reading counters")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, counts) = (lines.next().context("no counters")?, lines.next().context("no counters")?);
    let of = |wanted: &str| {
        let mut both = names.split(' ').zip(counts.split(' '));
        both.find(|(name, _)| *name == wanted).and_then(|(_, count)| count.parse::<u64>().ok()).context("no counter")
    };
    Ok(of("ListenOverflows")? + of("ListenDrops")?)
}

/// This process has as many connections as it attacks with.
fn raise_own_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("raising our own limit")
}
