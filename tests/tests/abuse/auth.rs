//! Attacks on logins: on the memory that password checks take, on honest users' turns, and on the disk by way of log and audit.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use relogin_tests::{in_time, innocent::Innocent, raw::STRANGER, res::Res, stage::Stage};
use serde_json::json;

on!(embedded_alone: logins_leave_no_memory_behind);

const MB: u64 = 1 << 20;

/// Line i: after many logins, one after the other and in a storm, the service holds the memory of the checks that may run at
/// once, and gives that back when nobody logs in any more.
async fn logins_leave_no_memory_behind(stage: &mut Stage) -> Result<()> {
    stage.up(&["--throttle", "off"]).await?;
    let url = stage.gateway_url();
    let mut innocent = Innocent::enter(&url).await?;
    innocent.goes_on(5).await?;
    let before = stage.service()?.memory()?.resident;

    let mut user = Res::connect_from(&url, STRANGER).await?;
    for _ in 0..100 {
        user.log_in("john", "john").await?;
        user.request("auth.session.logout", None).await?.ok()?;
    }
    let storm = (0..8).map(async |n| {
        let mut stranger = Res::connect_from(&url, STRANGER).await?;
        for m in 0..4 {
            let mut ids = Vec::new();
            for name in 0..4 {
                let params = json!({ "username": format!("nobody{n}.{m}.{name}"), "password": "x" });
                ids.push(stranger.send("auth.session.login", Some(params)).await?);
            }
            for id in ids {
                ensure!(stranger.answer(id).await?.code().is_some(), "nobody has logged in");
            }
        }
        Ok(())
    });
    try_join_all(storm).await?;
    let checks = std::thread::available_parallelism()?.get().saturating_sub(1).max(1) as u64;
    let most = before + 20 * MB * checks + 44 * MB;
    let memory = stage.service()?.memory()?;
    ensure!(memory.peak < most, "{} MB at the peak, {} MB before", memory.peak / MB, before / MB);
    in_time("memory that goes back", async {
        // One check's 19 MB at least.
        while stage.service()?.memory()?.resident > memory.resident - 15 * MB {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    })
    .await
    .with_context(|| format!("{} MB before, {} MB after the storm", before / MB, memory.resident / MB))?;
    innocent.goes_on(5).await?;
    innocent.leave().await?;
    Ok(())
}
