//! Attacks on logins: on the memory that password checks take, on honest users' turns, and on the
//! disk by way of log and audit.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use relogin_tests::{
    in_time,
    innocent::Innocent,
    raw::{Raw, STRANGER},
    res::Res,
    stage::Stage,
};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::users::cheap_users;

on!(
    embedded_alone: logins_leave_no_memory_behind,
    ten_thousand_logins_leave_no_memory_behind,
    login_attempts_behind_a_proxy_hold_up_nobody_else,
    login_attempts_without_addresses_hold_up_nobody_else,
    login_attempts_from_elsewhere_lock_nobody_out,
    login_attempts_sent_at_once_are_checked_like_one_by_one,
    login_attempts_write_a_trickle_to_the_disk,
    one_user_has_a_limited_number_of_sessions,
    one_token_makes_a_limited_number_of_sessions,
    credentials_with_duplicate_members_are_refused,
);

const MB: u64 = 1 << 20;

/// The issuer of [`TOKEN`], whose secret is the bytes from 0 to 31.
const ISSUER: &str = r#"
[[issuer]]
name = "sso"
issuer = "https://sso.example"
audience = "chat"
algorithms = ["HS256"]
keys = "sso.secret"
cookie = "sso_token"
"#;

const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A JSON Web Token of jane@sso, good until 2100.
const TOKEN: &str = concat!(
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL3Nzby5leGFtcGxlIiwiYXVkIjpbImNoYXQiXSwiZXh",
    "wIjo0MTAyNDQ0ODAwLCJzdWIiOiJqYW5lQHNzbyIsIm5hbWUiOiJKYW5lIG9mIFNTTyIsInJvbGUiOiJ1c2VyIn0.SGEvsL5HEbe",
    "9q5D9YxRpvgD-SXXSrEQGXLCFQpG772g",
);

/// After many logins, one after the other and in a storm, the service holds the memory of the
/// checks that may run at once, and gives that back when nobody logs in any more.
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

/// However many logins there were, memory is kept only for the sessions that are left.
async fn ten_thousand_logins_leave_no_memory_behind(stage: &mut Stage) -> Result<()> {
    const AT_ONCE: usize = 20;
    let users = cheap_users(stage, &["jane", "john"])?;
    let options: Vec<_> = users.iter().map(String::as_str).collect();
    stage.serve(&[&options[..], &["--throttle", "off"]].concat()).await?;
    let url = stage.gateway_url();
    let mut innocent = Innocent::enter(&url).await?;
    innocent.goes_on(5).await?;
    let before = stage.service()?.memory()?.resident;
    let users = (0..AT_ONCE).map(async |_| {
        let mut user = Res::connect_from(&url, STRANGER).await?;
        for _ in 0..10_000 / AT_ONCE {
            user.log_in("john", "john").await?;
            user.request("auth.session.logout", None).await?.ok()?;
        }
        anyhow::Ok(())
    });
    try_join_all(users).await?;
    let memory = stage.service()?.memory()?;
    ensure!(memory.peak < before + 64 * MB, "{} MB at the peak, {} MB before", memory.peak / MB, before / MB);
    innocent.goes_on(5).await?;
    innocent.leave().await?;
    Ok(())
}

/// Guesses names on connections of their own, as fast as the service answers, until they are told
/// to stop.
struct Guessers {
    guessing: JoinSet<Result<u64>>,
    /// How many guesses were answered.
    answered: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
}

impl Guessers {
    /// How many guesses each has on its way.
    const AT_ONCE: usize = 100;

    /// One for each of `places`, which are the headers of its connection. Returns when all of them
    /// are at it.
    async fn start(url: &str, places: &[&[(&str, &str)]], username: Option<&'static str>) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (count, answered) = watch::channel(0);
        let mut guessing = JoinSet::new();
        for (n, headers) in places.iter().enumerate() {
            let (mut stranger, _) = Res::bringing(url, headers).await?;
            let mut sent = std::collections::VecDeque::new();
            for m in 0..Self::AT_ONCE {
                sent.push_back(guess(&mut stranger, username, n, m).await?);
            }
            let (stopped, count) = (stopped.clone(), count.clone());
            guessing.spawn(async move {
                let (mut answered, mut judged) = (0, 0);
                while let Some(id) = sent.pop_front() {
                    let answer = stranger.answer(id).await?;
                    let code = answer.code().context("a guess was right")?;
                    // A guess that was not answered in time has no verdict.
                    judged += u64::from(code.starts_with("session."));
                    answered += 1;
                    count.send_modify(|count| *count += 1);
                    if !*stopped.borrow() {
                        sent.push_back(guess(&mut stranger, username, n, Self::AT_ONCE + answered).await?);
                    }
                }
                Ok(judged)
            });
        }
        Ok(Self { guessing, answered, stop })
    }

    /// Waits until this many guesses were answered.
    async fn get(&mut self, answers: u64) -> Result<()> {
        in_time("answers to guesses", async {
            self.answered.wait_for(|&answered| answered >= answers).await?;
            Ok(())
        })
        .await
    }

    /// How many guesses were judged.
    async fn stop(self) -> Result<u64> {
        self.stop.send_replace(true);
        in_time("the last answers to guesses", async { self.guessing.join_all().await.into_iter().sum() }).await
    }
}

async fn guess(stranger: &mut Res, username: Option<&str>, n: usize, m: usize) -> Result<u64> {
    let username = username.map_or_else(|| format!("guess{n}.{m}"), str::to_owned);
    stranger.send("auth.session.login", Some(json!({ "username": username, "password": "guess" }))).await
}

/// Each of the demo's users logs in twice, from this place.
async fn eight_get_in(url: &str, headers: &[(&str, &str)]) -> Result<()> {
    for name in ["admin", "guest", "jane", "john"].repeat(2) {
        let (mut user, _) = Res::bringing(url, headers).await?;
        user.log_in(name, name).await.with_context(|| format!("{name} logs in"))?;
    }
    Ok(())
}

/// Right passwords get in through a proxy on the same machine while others guess names through it.
async fn login_attempts_behind_a_proxy_hold_up_nobody_else(stage: &mut Stage) -> Result<()> {
    stage.up(&["--trusted-proxy", "loopback"]).await?;
    let url = stage.gateway_url();
    let mut innocent = Innocent::enter(&url).await?;
    let places: [&[_]; 4] = [
        &[("X-Forwarded-For", "203.0.113.1")],
        &[("X-Forwarded-For", "203.0.113.1")],
        &[("X-Forwarded-For", "203.0.113.2")],
        &[("X-Forwarded-For", "2001:db8::1")],
    ];
    let guessers = Guessers::start(&url, &places, None).await?;
    eight_get_in(&url, &[("X-Forwarded-For", "198.51.100.7")]).await?;
    innocent.goes_on(10).await?;
    guessers.stop().await?;
    // The addresses are what is counted: nobody gets in from one of them for now, whatever the name
    // and the password.
    let (mut other, _) = Res::bringing(&url, places[0]).await?;
    let params = json!({ "username": "jane", "password": "jane" });
    let refused = other.request("auth.session.login", Some(params)).await?;
    ensure!(refused.code() == Some("session.tooManyAttempts"), "{refused:?}");
    innocent.leave().await?;
    Ok(())
}

/// Where no proxy is trusted: all come from this machine, so connections take turns.
async fn login_attempts_without_addresses_hold_up_nobody_else(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let url = stage.gateway_url();
    let mut innocent = Innocent::enter(&url).await?;
    let guessers = Guessers::start(&url, &[&[], &[], &[], &[]], None).await?;
    eight_get_in(&url, &[]).await?;
    innocent.goes_on(10).await?;
    guessers.stop().await?;
    innocent.leave().await?;
    Ok(())
}

/// Users are not locked out where they have logged in before by guesses at their names from
/// elsewhere.
async fn login_attempts_from_elsewhere_lock_nobody_out(stage: &mut Stage) -> Result<()> {
    stage.up(&["--trusted-proxy", "loopback"]).await?;
    let url = stage.gateway_url();
    let home = [("X-Forwarded-For", "198.51.100.7")];
    let (mut jane, _) = Res::bringing(&url, &home).await?;
    jane.log_in("jane", "jane").await?;
    let (_first, cookies) = Res::bringing(&url, &[("X-Forwarded-For", "198.51.100.8")]).await?;
    let cookie = cookies.first().and_then(|cookie| cookie.split(';').next()).context("the browser's cookie")?;
    let (mut browser, _) = Res::bringing(&url, &[("X-Forwarded-For", "198.51.100.8"), ("Cookie", cookie)]).await?;
    browser.log_in("jane", "jane").await?;

    let places: [&[_]; 2] = [&[("X-Forwarded-For", "203.0.113.1")], &[("X-Forwarded-For", "203.0.113.2")]];
    let guessers = Guessers::start(&url, &places, Some("jane")).await?;
    let (mut away, _) = Res::bringing(&url, &[("X-Forwarded-For", "198.51.100.9")]).await?;
    let params = json!({ "username": "jane", "password": "guess" });
    in_time("the name's failures", async {
        while away.request("auth.session.login", Some(params.clone())).await?.code() != Some("session.tooManyAttempts")
        {
        }
        Ok(())
    })
    .await?;
    let elsewhere = [("X-Forwarded-For", "198.51.100.10"), ("Cookie", cookie)];
    for place in [&home[..], &elsewhere[..]] {
        let (mut jane, _) = Res::bringing(&url, place).await?;
        jane.log_in("jane", "jane").await?;
    }
    guessers.stop().await?;
    Ok(())
}

/// Of guesses sent at once, no more are checked than of guesses sent one by one, though the users
/// program would check eight at a time; and one address has so many in the queue, so that others
/// get their turns.
async fn login_attempts_sent_at_once_are_checked_like_one_by_one(stage: &mut Stage) -> Result<()> {
    /// At work, or waiting for the outcomes of those; waiting for their turn, of one address; and
    /// how many are checked before the name has to wait.
    const RUNNING: usize = 8;
    const WAITING: usize = 64;
    const CHECKED: usize = 6;
    const GUESSES: usize = 100;

    let program = stage.folder().join("users");
    // Judges guesses once the test lets it.
    let script = "#!/bin/sh\nread -r question\necho \"$question\" >> asked\ncase \"$question\" in\n\
        *'\"jane\"'*) while [ ! -e go ]; do sleep 0.05; done; echo '{\"user\":null}';;\n\
        *) echo '{\"user\":{\"id\":4,\"name\":\"John\",\"role\":\"user\"}}';;\nesac\n";
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
    stage.serve(&["--users", "exec:./users", "--trusted-proxy", "loopback"]).await?;
    let url = stage.gateway_url();
    let (mut stranger, _) = Res::bringing(&url, &[("X-Forwarded-For", "203.0.113.1")]).await?;
    for m in 0..GUESSES {
        guess(&mut stranger, Some("jane"), 0, m).await?;
    }
    let mut codes = std::collections::BTreeMap::<String, usize>::new();
    let code_of = |frame: &Value| Some(frame["error"]["code"].as_str()?.to_owned());
    // Those that find no place in the queue are refused while nothing is judged yet.
    for _ in 0..GUESSES - RUNNING - WAITING {
        let code = code_of(&stranger.frame().await?).context("a guess was right")?;
        *codes.entry(code).or_default() += 1;
    }
    ensure!(codes == [("session.tooManyAttempts".to_owned(), GUESSES - RUNNING - WAITING)].into(), "{codes:?}");
    // All places at work are taken, so the honest one waits, and is next.
    let (mut john, _) = Res::bringing(&url, &[("X-Forwarded-For", "198.51.100.7")]).await?;
    let id = john.send("auth.session.login", Some(json!({ "username": "john", "password": "john" }))).await?;
    fs::write(program.with_file_name("go"), "")?;
    john.answer(id).await?.payload()?;
    for _ in 0..RUNNING + WAITING {
        let code = code_of(&stranger.frame().await?).context("a guess was right")?;
        *codes.entry(code).or_default() += 1;
    }
    let wrong = codes.get("session.wrongUsernamePassword").copied();
    ensure!(wrong == Some(CHECKED) && codes.len() == 2, "{codes:?}");
    let asked = fs::read_to_string(program.with_file_name("asked"))?;
    let checked = asked.lines().filter(|line| line.contains("\"jane\"")).count();
    ensure!(checked == CHECKED, "{checked} guesses were checked");
    Ok(())
}

/// Guesses of passwords write little to audit trail and log, and every one of them is counted
/// there.
async fn login_attempts_write_a_trickle_to_the_disk(stage: &mut Stage) -> Result<()> {
    let trail = stage.folder().join("audit.jsonl");
    stage.up(&["--audit", trail.to_str().context("a folder with a name")?]).await?;
    let url = stage.gateway_url();
    let mut innocent = Innocent::enter(&url).await?;
    let mut guessers = Guessers::start(&url, &[&[], &[], &[], &[]], Some("john")).await?;
    guessers.get(10_000).await?;
    innocent.goes_on(10).await?;
    let guesses = guessers.stop().await?;
    innocent.leave().await?;
    let (_, lines) = stage.stop_service_saying().await?;
    let log: usize = lines.iter().map(String::len).sum();

    let text = fs::read_to_string(&trail)?;
    let mut told = 0;
    for line in text.lines().filter(|line| line.contains("login_failed") || line.contains("login_throttled")) {
        let line: Value = serde_json::from_str(line)?;
        told += line["folded"]["count"].as_u64().unwrap_or(1);
    }
    // By itself each would be some 180 bytes.
    ensure!(text.len() < 400_000, "{} bytes of audit trail", text.len());
    ensure!(log < 100_000, "{log} bytes of log");
    ensure!(told >= guesses, "the trail tells of {told} guesses of {guesses}");
    Ok(())
}

/// A user makes no more sessions than one user may have, and others keep theirs.
async fn one_user_has_a_limited_number_of_sessions(stage: &mut Stage) -> Result<()> {
    let trail = stage.folder().join("audit.jsonl");
    stage.up(&["--sessions-per-user", "10", "--audit", trail.to_str().context("a folder with a name")?]).await?;
    let url = stage.gateway_url();
    let mut innocent = Innocent::enter(&url).await?;
    let mut connections = Vec::new();
    for _ in 0..8 {
        let some = (0..5).map(async |_| {
            let mut john = Res::connect_from(&url, STRANGER).await?;
            john.log_in("john", "john").await?;
            Ok::<_, anyhow::Error>(john)
        });
        connections.extend(try_join_all(some).await?);
    }
    let mut live = 0;
    for (n, connection) in connections.iter_mut().enumerate() {
        let user = connection.request("get.session.user.{cid}", None).await?.ok()?;
        let is_in = user["models"]["session.user.{cid}"]["id"] != json!(null);
        live += usize::from(is_in);
        ensure!(is_in || n < 35, "one of the last five has ended");
    }
    ensure!(live == 10, "{live} sessions of 10");
    innocent.goes_on(10).await?;
    innocent.leave().await?;
    stage.stop_service().await?;
    let evicted = fs::read_to_string(&trail)?.matches("\"event\":\"evicted\"").count();
    ensure!(evicted == 30, "the trail tells of {evicted} ends of 30");
    Ok(())
}

/// One issuer's token makes no more sessions by upgrades than a user may have.
async fn one_token_makes_a_limited_number_of_sessions(stage: &mut Stage) -> Result<()> {
    let folder = stage.folder();
    fs::write(folder.join("issuers.toml"), ISSUER)?;
    fs::write(folder.join("sso.secret"), SECRET)?;
    fs::set_permissions(folder.join("sso.secret"), fs::Permissions::from_mode(0o600))?;
    stage.up(&["--jwt-issuers", "issuers.toml", "--sessions-per-user", "10"]).await?;
    let url = stage.gateway_url();
    let mut innocent = Innocent::enter(&url).await?;
    let (cookie, page) = (format!("sso_token={TOKEN}"), format!("http://{}", stage.gateway_addr()));
    let mut connections = Vec::new();
    for _ in 0..40 {
        let (connection, _) = Res::bringing(&url, &[("Cookie", &cookie), ("Origin", &page)]).await?;
        connections.push(connection);
    }
    for (n, connection) in connections.iter_mut().enumerate() {
        let user = connection.request("get.session.user.{cid}", None).await?.ok()?;
        let id = &user["models"]["session.user.{cid}"]["id"];
        let expected = if n < 30 { json!(null) } else { json!("jane@sso") };
        ensure!(*id == expected, "connection {n} is {id}'s");
    }
    innocent.goes_on(10).await?;
    innocent.leave().await?;
    Ok(())
}

/// Fault 9, within one request: of two names, keys or passwords one reader may take the first and
/// another the last. None is taken, and the session of a key that came so goes on.
async fn credentials_with_duplicate_members_are_refused(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let to = stage.gateway_addr();
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    let mut john = Res::connect(&stage.gateway_url()).await?;
    let key = john.log_in("john", "john").await?["reloginKey"].take();
    let mut stranger = Raw::websocket(to, STRANGER, &[]).await?;
    for (method, params) in [
        ("login", r#""username":"nobody","username":"jane","password":"jane""#.to_owned()),
        ("login", r#""username":"jane","username":"nobody","password":"jane""#.to_owned()),
        ("login", r#""username":"jane","password":"x","password":"jane""#.to_owned()),
        ("login", r#""username":"jane","password":"x","passw\u006frd":"jane""#.to_owned()),
        ("relogin", format!(r#""reloginKey":"x","reloginKey":{key}"#)),
        ("relogin", format!(r#""reloginKey":{key},"reloginKey":{key}"#)),
    ] {
        let frame = format!(r#"{{"id":1,"method":"auth.session.{method}","params":{{{params}}}}}"#);
        stranger.send(&Raw::text(&frame)).await?;
        let (_, answer) = stranger.server_frame().await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        ensure!(answer["error"]["code"] == "system.invalidParams", "{params}: {answer}");
    }
    john.relogin(&key, None).await?.payload()?;
    innocent.goes_on(2).await?;
    innocent.leave().await?;
    Ok(())
}
