//! Faults of NATS and of the clock: two instances of one name, a service that answers in
//! another's name, a clock that jumps, a pipe that nobody reads, a server that is gone.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use relogin_tests::{innocent::Innocent, res::Res, service::Service, stage::Stage};
use serde_json::json;

on!(nats: a_second_instance_ends_no_session, a_stop_without_nats_is_clean);
on!(over_nats: nobody_answers_in_another_s_name, malformed_messages_of_a_service_are_few_lines_without_their_contents);
on!(embedded_alone: an_unread_pipe_delays_no_request);

#[cfg(target_os = "linux")]
on!(embedded_alone: a_clock_that_jumps_ends_no_session);

/// The second instance of a name says that it is the second, and does not start; no client notices.
async fn a_second_instance_ends_no_session(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(3).await?;
    let url = stage.nats_url();
    for data in ["one", "two", "three"] {
        let args = ["serve", "--demo", "--log", "error", "--data", data, "--nats", &url, "--gateway", "none"];
        let (code, text) = stage.relogin_says(&args).await?;
        ensure!(code == Some(2) && text.lines().count() == 1, "{code:?}: {text}");
        ensure!(text.contains("another relogin named \"session\" runs on this NATS"), "{text}");
        innocent.goes_on(3).await?;
    }
    innocent.leave().await?;
    Ok(())
}

/// A service that gets a request cannot learn from it where others are to send their answers.
async fn nobody_answers_in_another_s_name(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    let (mut spy, mut vault) =
        (Service::connect(&stage.nats_url(), "spy").await?, Service::connect(&stage.nats_url(), "vault").await?);
    let mut client = Res::connect(&stage.gateway_url()).await?;
    for round in 0..10 {
        // The spy's own client asks for something of the spy's, and then for what is the vault's.
        let own = client.send(&format!("get.spy.n{round}"), None).await?;
        let seen = spy.asked(&format!("access.spy.n{round}")).await?;
        let other = client.send(&format!("get.vault.n{round}"), None).await?;
        let asked = vault.asked(&format!("access.vault.n{round}")).await?;
        let (inbox, last) = seen.reply().rsplit_once('.').context("a reply subject has parts")?;
        for radix in [10, 16] {
            let Ok(number) = u64::from_str_radix(last, radix) else { continue };
            for next in (1..=20).map(|n| number.wrapping_add(n)) {
                for guess in [next.to_string(), format!("{next:016x}")] {
                    spy.publish(&format!("{inbox}.{guess}"), r#"{"result":{"get":true}}"#).await?;
                }
            }
        }
        // All of that is with the gateway before the vault answers.
        spy.unexpected().await?;
        vault.answer(&asked, r#"{"result":{"get":false}}"#).await?;
        let content = vault.asked(&format!("get.vault.n{round}")).await?;
        vault.answer(&content, r#"{"result":{"model":{"secret":1}}}"#).await?;
        let answer = client.answer(other).await?;
        ensure!(answer.code() == Some("system.accessDenied"), "round {round}: {answer:?}");
        spy.answer(&seen, r#"{"result":{"get":false}}"#).await?;
        client.answer(own).await?;
    }
    innocent.goes_on(3).await?;
    innocent.leave().await?;
    Ok(())
}

/// Each message of a service that makes no sense is logged with its subject and what is wrong, but
/// not with what is in it; of many, most are only counted.
async fn malformed_messages_of_a_service_are_few_lines_without_their_contents(stage: &mut Stage) -> Result<()> {
    const EVENTS: usize = 2_000;
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    let mut vault = Service::connect(&stage.nats_url(), "vault").await?;
    let mut client = Res::connect(&stage.gateway_url()).await?;
    let id = client.send("subscribe.vault.door", None).await?;
    for (subject, answer) in
        [("get.vault.door", r#"{"result":{"model":{"x":1}}}"#), ("access.vault.door", r#"{"result":{"get":true}}"#)]
    {
        let asked = vault.asked(subject).await?;
        vault.answer(&asked, answer).await?;
    }
    client.answer(id).await?.ok()?;
    let id = client.send("get.vault.safe", None).await?;
    let access = vault.asked("access.vault.safe").await?;
    vault.answer(&access, r#"{"result":["hunter2"]}"#).await?;
    ensure!(client.answer(id).await?.code() == Some("system.internalError"));
    let log = stage.evidence().join("relogin.log");
    let before = fs::read(&log)?.len();
    for _ in 0..EVENTS {
        vault.publish("event.vault.door.change", r#"{"values":["hunter2"#).await?;
    }
    // Behind all of those.
    vault.publish("event.vault.door.done", "null").await?;
    client.event("vault.door.done").await?;
    for (subject, problem) in [
        ("access.vault.safe", "its result is no object that says whether to get, and what to call"),
        ("event.vault.door.change", "no JSON object of valid values"),
    ] {
        stage.service_says(problem, &format!("subject={subject} problem=\"{problem}\"")).await?;
    }
    stage.service_says("how many more there were", "more of: a malformed message of a service").await?;
    let text = fs::read_to_string(&log)?;
    ensure!(text.len() < before + (32 << 10), "{} bytes of log", text.len() - before);
    ensure!(!text.contains("hunter2"), "the log has what was sent");
    innocent.goes_on(3).await?;
    innocent.leave().await?;
    Ok(())
}

/// A stop waits neither for a NATS server that is gone nor for an audit trail that nobody reads.
async fn a_stop_without_nats_is_clean(stage: &mut Stage) -> Result<()> {
    stage.up(&["--audit", "audit", "--audit-subject", "my.audit"]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(3).await?;
    innocent.leave().await?;
    stage.kill_nats().await?;
    let status = stage.stop_service().await?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// The audit trail goes to a pipe that nobody reads.
async fn an_unread_pipe_delays_no_request(stage: &mut Stage) -> Result<()> {
    let pipe = stage.folder().join("pipe");
    let made = tokio::process::Command::new("mkfifo").arg(&pipe).status().await?;
    ensure!(made.success(), "mkfifo: {made}");
    stage.up(&["--audit", &pipe.display().to_string()]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(30).await?;
    innocent.leave().await?;
    let status = stage.stop_service().await?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// The clock is 26 hours ahead for a while, or years behind until it is set.
#[cfg(target_os = "linux")]
async fn a_clock_that_jumps_ends_no_session(stage: &mut Stage) -> Result<()> {
    let time = stage.folder().join("time");
    let set = |offset: &str| fs::write(&time, offset).context("setting the clock");
    set("-1095d")?;
    let library = fs::read_dir("/usr/lib")?.filter_map(Result::ok);
    let library = library
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .chain([PathBuf::from("/usr/lib/faketime/libfaketimeMT.so.1")])
        .find(|path| path.exists())
        .context("libfaketime must be installed: `cargo xtask setup` does it")?;
    let (library, file) =
        (format!("LD_PRELOAD={}", library.display()), format!("FAKETIME_TIMESTAMP_FILE={}", time.display()));
    stage.under(&["/usr/bin/env", &library, &file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"]);
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    let mut key = Res::connect(&stage.gateway_url()).await?.log_in("john", "john").await?["reloginKey"].take();
    for offset in ["+0", "+26h", "+0", "-26h"] {
        set(offset)?;
        innocent.goes_on(3).await?;
        let mut anew = Res::connect(&stage.gateway_url()).await?;
        key = anew.relogin(&key, None).await?.payload()?["reloginKey"].take();
        ensure!(key != json!(null), "{offset}");
    }
    innocent.leave().await?;
    Ok(())
}
