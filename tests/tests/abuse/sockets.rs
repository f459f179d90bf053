//! Attacks on connections: what is never read, never finished, never ended, or too much at once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use relogin_tests::{
    innocent::Innocent,
    raw::{Flood, Raw, STRANGER, opcode},
    stage::Stage,
};
use tokio::{task::JoinSet, time::sleep};

on!(embedded_alone:
    a_client_that_pings_and_never_reads_is_ended,
    a_stop_cuts_what_does_not_read,
    messages_that_are_never_finished_end_their_connections,
    unfinished_messages_of_all_connections_are_bounded,
);

const MIB: u64 = 1 << 20;

/// Line c: the answers to pings that nobody reads.
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

/// Line d: clients that do not read, and requests that never end, while the service stops.
async fn a_stop_cuts_what_does_not_read(stage: &mut Stage) -> Result<()> {
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
    for _ in 0..4 {
        unfinished.push(Raw::websocket(address, STRANGER, &[]).await?);
        let mut raw = Raw::websocket(address, STRANGER, &[]).await?;
        // More than the system keeps for a socket: whoever is not ended for it cannot be written to.
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

/// Line q: messages that are kept unfinished, on connections that are kept alive by pings.
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
    for reason in try_join_all(attackers).await? {
        ensure!(reason.starts_with(&1008_u16.to_be_bytes()), "{}", String::from_utf8_lossy(&reason));
    }
    innocent.goes_on(5).await?;
    innocent.leave().await?;
    Ok(())
}

/// Line q: what they hold is bounded for all connections together, and whoever holds little stays.
async fn unfinished_messages_of_all_connections_are_bounded(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(5).await?;
    let before = stage.service()?.memory()?.resident;
    let fragment = Raw::frame(opcode::TEXT, false, &vec![b'x'; (1 << 20) - 1000]);
    let attackers = (0..400).map(async |_| {
        let mut raw = Raw::websocket(stage.gateway_addr(), STRANGER, &[]).await?;
        // Those that are ended meanwhile cannot send all of it.
        raw.send(&fragment).await.ok();
        Ok::<_, anyhow::Error>(raw)
    });
    let attackers = try_join_all(attackers).await?;
    stage.service_says("that connections were ended", "too much memory is held for clients").await?;
    innocent.goes_on(5).await?;
    let peak = stage.service()?.memory()?.peak;
    // 256 MiB, and what every connection takes.
    ensure!(peak < before + (256 + 64) * MIB, "{} MiB more", (peak - before) / MIB);
    innocent.leave().await?;
    drop(attackers);
    Ok(())
}
