//! Faults of the disk: no space, no descriptors, writes that fail, bits that flip, files that are
//! missing. What was acknowledged holds, and the service goes on, or ends so that a supervisor
//! starts it again.

use std::{fs, os::unix::fs::FileExt, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use relogin_tests::{
    in_time,
    innocent::Innocent,
    raw::{Raw, STRANGER},
    res::Res,
    small_disk::SmallDisk,
    stage::Stage,
};
use serde_json::Value;
use tokio::time::{Duration, sleep};

on!(embedded_alone:
    a_store_without_descriptors_refuses_and_goes_on,
    on_a_full_disk_writes_are_refused_until_there_is_room,
    a_start_on_a_full_disk_loses_nothing,
    a_write_that_fails_ends_the_process_and_loses_nothing,
    a_flipped_bit_is_repaired,
    a_missing_file_of_the_write_ahead_log_is_named,
    an_unfinished_snapshot_is_ignored,
);

/// More than fit into the log files that are ready: two of 4 MiB, 4 KiB for each relogin that
/// is alone.
const MORE_THAN_READY: u32 = 2_500;

/// One client's session, and what it knows of it.
struct Owner {
    connection: Res,
    /// The last key that was acknowledged.
    key: Value,
    uses: u32,
}

impl Owner {
    async fn enter(stage: &Stage) -> Result<Self> {
        let mut connection = stage.res().await?;
        let key = connection.log_in("jane", "jane").await?;
        Ok(Self { connection, key, uses: 0 })
    }

    /// Uses the key once. False if it was refused for now; then it is as good as before.
    async fn refresh(&mut self) -> Result<bool> {
        // The attempt is another for each key that was acknowledged, and the same when the use is
        // repeated.
        let attempt = format!("{:021}A", self.uses);
        let answer = self.connection.relogin(&self.key["reloginKey"], Some(&attempt)).await?;
        match answer.code() {
            None => {
                self.key = answer.payload()?;
                self.uses += 1;
                Ok(true)
            }
            Some("system.internalError") => Ok(false),
            Some(_) => answer.payload().map(|_| false).context("an acknowledged key"),
        }
    }

    /// Comes back on a new connection, and the key is good.
    async fn returns(&mut self, stage: &Stage) -> Result<()> {
        self.connection = stage.res().await?;
        ensure!(self.refresh().await?, "the last acknowledged key is refused");
        Ok(())
    }

    /// Refreshes more often than the write-ahead log has room for, and answers how often that was
    /// not refused for now. It need not be at all: a checkpoint gives the room back.
    async fn refresh_much(&mut self) -> Result<u32> {
        let mut taken = 0;
        for _ in 0..MORE_THAN_READY {
            taken += u32::from(self.refresh().await?);
        }
        Ok(taken)
    }
}

/// The status of the health check.
async fn health(stage: &Stage) -> Result<String> {
    let mut raw = Raw::connect(stage.service_addr(), STRANGER).await?;
    let host = stage.service_addr();
    raw.send(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    Ok(raw.head().await?.split_whitespace().nth(1).context("a status")?.to_owned())
}

/// Waits until the service is well by itself: the same process, which nobody has started again.
async fn recovers(stage: &Stage, owner: &mut Owner) -> Result<()> {
    in_time("the service to be well again", async {
        while health(stage).await? != "200" || !owner.refresh().await? {
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    })
    .await?;
    let mut innocent = Innocent::enter_as(&stage.gateway_url(), "john", Duration::ZERO).await?;
    innocent.goes_on(12).await?;
    innocent.leave().await.map(drop)
}

/// Bounds what the running service may take, as `prlimit` has it.
fn limit(stage: &Stage, limit: &str) -> Result<()> {
    let pid = stage.service()?.pid()?.as_raw_nonzero().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, limit]).status().context("running prlimit")?;
    ensure!(status.success(), "prlimit {limit}");
    Ok(())
}

/// Strangers have all descriptors. None is left for a file that was only to be ready for later.
async fn a_store_without_descriptors_refuses_and_goes_on(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut owner = Owner::enter(stage).await?;
    ensure!(owner.refresh().await?);
    let pid = stage.service()?.pid()?.as_raw_nonzero();
    let used = |n: &u32| Path::new(&format!("/proc/{pid}/fd/{n}")).exists();
    let free = (0..).find(|n| !used(n)).context("a free number")?;
    limit(stage, &format!("--nofile={free}:"))?;
    let taken = owner.refresh_much().await?;
    ensure!(taken > 100, "what has its room needs no descriptor: {taken}");
    stage.service_says("what is short", "the session store is short of a resource").await?;
    limit(stage, "--nofile=1024:")?;
    recovers(stage, &mut owner).await?;
    stage.kill_service().await?;
    stage.start_service().await?;
    owner.returns(stage).await
}
/// The disk is full for a moment, whatever the write-ahead log is doing.
async fn on_a_full_disk_writes_are_refused_until_there_is_room(stage: &mut Stage) -> Result<()> {
    let disk = SmallDisk::under(stage, 14).await?;
    stage.up(&[]).await?;
    let mut owner = Owner::enter(stage).await?;
    // More than the disk holds: checkpoints let the log's files be used again.
    for _ in 0..2 {
        disk.fill()?;
        owner.refresh_much().await?;
        let user = owner.connection.request("get.session.user.{cid}", None).await?.ok()?;
        ensure!(user.to_string().contains("Jane"), "what is durable is read: {user}");
        disk.free()?;
        recovers(stage, &mut owner).await?;
    }
    disk.fill()?;
    owner.refresh_much().await?;
    stage.kill_service().await?;
    disk.free()?;
    stage.start_service().await?;
    owner.returns(stage).await
}
/// The disk is full when the service starts, which is when sled writes a snapshot.
async fn a_start_on_a_full_disk_loses_nothing(stage: &mut Stage) -> Result<()> {
    let disk = SmallDisk::under(stage, 14).await?;
    stage.up(&[]).await?;
    let mut owner = Owner::enter(stage).await?;
    for killed in [true, false] {
        for _ in 0..100 {
            ensure!(owner.refresh().await?);
        }
        if killed {
            stage.kill_service().await?;
        } else {
            stage.stop_service().await?;
        }
        disk.fill()?;
        // It starts, or says what is in the way.
        match stage.start_service().await {
            Ok(()) => disk.free()?,
            Err(error) => {
                let said = format!("{error:#}");
                ensure!(said.contains("data/sessions") && said.contains("free some space"), "{said}");
                ensure!(stage.service_ends().await?.code() == Some(2));
                disk.free()?;
                stage.start_service().await?;
            }
        }
        owner.returns(stage).await?;
        recovers(stage, &mut owner).await?;
    }
    Ok(())
}
/// After a failed write of the write-ahead log it is unknown what is on disk, and nothing is
/// answered as if it were known.
async fn a_write_that_fails_ends_the_process_and_loses_nothing(stage: &mut Stage) -> Result<()> {
    // So that exceeding the limit is an error, and no signal.
    stage.under(&["env", "--ignore-signal=XFSZ"]);
    stage.up(&[]).await?;
    let mut owner = Owner::enter(stage).await?;
    for _ in 0..20 {
        ensure!(owner.refresh().await?);
    }
    limit(stage, "--fsize=200000:")?;
    let refusals = async {
        loop {
            // One that was under way may be answered with an error; then there is nobody any more.
            if let Err(error) = owner.refresh().await {
                break error;
            }
        }
    };
    in_time("the end of the connection", async { Ok(refusals.await) }).await?;
    stage.service_says("why it ends", "can no longer write sessions").await?;
    ensure!(stage.service_ends().await?.code() == Some(1));
    stage.start_service().await?;
    owner.returns(stage).await
}
/// One bit is flipped in sled's log.
async fn a_flipped_bit_is_repaired(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut owner = Owner::enter(stage).await?;
    // sled reads what was written before its last start.
    for _ in 0..3 {
        stage.stop_service().await?;
        stage.start_service().await?;
        owner.returns(stage).await?;
    }
    stage.stop_service().await?;
    let data = stage.data().display().to_string();
    let sound = stage.relogin_says(&["store", "check", "--data", &data]).await?;
    ensure!(sound.0 == Some(0) && sound.1.contains("is sound: sessions: 1"), "{sound:?}");

    flip_a_bit_that_sled_notices(stage, &data).await?;
    for _ in 0..2 {
        let (code, said) = stage.service_refuses().await?;
        ensure!(code == Some(2) && said.contains("sessions/sessions") && said.contains("store repair"), "{said}");
    }
    let found = stage.relogin_says(&["store", "check", "--data", &data]).await?;
    ensure!(found.0 == Some(1) && found.1.contains("intact sessions: 1, lost: 0"), "{found:?}");
    let repaired = stage.relogin_says(&["store", "repair", "--data", &data]).await?;
    ensure!(repaired.0 == Some(0) && repaired.1.contains("sessions.damaged-"), "{repaired:?}");
    stage.start_service().await?;
    owner.returns(stage).await?;
    let busy = stage.relogin_says(&["store", "repair", "--data", &data]).await?;
    ensure!(busy.0 == Some(2) && busy.1.contains("stop it first"), "{busy:?}");
    let mut innocent = Innocent::enter_as(&stage.gateway_url(), "john", Duration::ZERO).await?;
    innocent.goes_on(6).await?;
    innocent.leave().await.map(drop)
}

/// Flips bits of sled's log, one after the other, until it finds one that sled reads when it opens
/// the log.
async fn flip_a_bit_that_sled_notices(stage: &Stage, data: &str) -> Result<()> {
    let path = stage.data().join("sessions/sessions/db");
    let whole = fs::read(&path)?;
    let log = fs::File::options().write(true).open(path)?;
    for at in (20..whole.len()).step_by(7) {
        log.write_all_at(&[whole[at] ^ 1], at as u64)?;
        let (code, said) = stage.relogin_says(&["store", "check", "--data", data]).await?;
        if code == Some(1) && said.contains("sessions/sessions is damaged") {
            return Ok(());
        }
        log.write_all_at(&whole[at..=at], at as u64)?;
    }
    bail!("sled notices no flipped bit of its log");
}
/// A file of the write-ahead log is removed, and with it acknowledged sessions.
async fn a_missing_file_of_the_write_ahead_log_is_named(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut early = Owner::enter(stage).await?;
    stage.stop_service().await?;
    stage.start_service().await?;
    let mut lost = Owner::enter(stage).await?;
    stage.kill_service().await?;
    let journal = stage.data().join("sessions/journal");
    // The one with frames in it.
    let holds = |path: &Path| fs::read(path).is_ok_and(|content| content.len() > 1 << 20 && content[0] != 0);
    let paths = fs::read_dir(&journal)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let gone = paths.iter().find(|path| holds(path)).context("a segment")?;
    fs::remove_file(gone)?;

    let (code, said) = stage.service_refuses().await?;
    ensure!(code == Some(2) && said.contains(&gone.display().to_string()) && said.contains("store repair"), "{said}");
    let data = stage.data().display().to_string();
    let repaired = stage.relogin_says(&["store", "repair", "--data", &data]).await?;
    ensure!(repaired.0 == Some(1) && repaired.1.contains(&gone.display().to_string()), "{repaired:?}");
    stage.start_service().await?;
    early.returns(stage).await?;
    lost.connection = stage.res().await?;
    ensure!(lost.refresh().await.is_err(), "what is lost is not there");
    Ok(())
}

/// What sled leaves when it is ended while it writes a snapshot.
async fn an_unfinished_snapshot_is_ignored(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut owner = Owner::enter(stage).await?;
    stage.stop_service().await?;
    let unfinished = stage.data().join("sessions/sessions/snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&unfinished, "")?;
    stage.start_service().await?;
    ensure!(!unfinished.exists());
    owner.returns(stage).await?;
    let mut innocent = Innocent::enter_as(&stage.gateway_url(), "john", Duration::ZERO).await?;
    innocent.goes_on(6).await?;
    innocent.leave().await.map(drop)
}
