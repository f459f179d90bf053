//! Mishaps of the users file, and Unicode forms of names and passwords: no session ends, and nobody
//! is kept out.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use relogin_tests::{innocent::Innocent, res::Res, stage::Stage};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

on!(embedded_alone:
    an_emptied_users_file_ends_no_session,
    a_start_with_an_emptied_users_file_ends_no_session,
    a_users_file_that_arrives_in_pieces_ends_no_session,
    a_user_deleted_from_the_users_file_is_logged_out,
    a_name_and_a_password_in_either_unicode_form_get_in,
    a_hangup_ends_nothing_and_a_rotated_secret_refuses_no_key,
    a_users_program_that_fails_for_a_while_ends_no_session
);

const CHANGE: &str = "session.user.{cid}.change";

/// The salts and hashes of passwords that are their users' names, which `relogin user add` refuses.
const HASHES: [(&str, &str); 3] = [
    ("jane", "47tFboq08/JQw6a2w0sUPQ$1nJ9tMz5ysVsxlm87uXFQ4rl+csD1f4IJMKb2m24sbg"),
    ("john", "EF6t+jTYn6DjjoHiSXqR4Q$DTHvZOhZNuWCF1RO8UIYS3C8KBrvTUjxwcdN/U6TPoU"),
    ("mary", "hcDrVUUfFq/elL1uRrFxdw$4lYwuf3yLDGNaDVb5iD+346u89xHv9n4DLrmZWcsM4E"),
];

/// A users file with these users, whose passwords are their names.
fn users_file(stage: &Stage, names: &[&str]) -> Result<PathBuf> {
    let mut text = String::new();
    for (id, name) in (1..).zip(names) {
        let (_, hash) = HASHES.iter().find(|(of, _)| of == name).context("a hash of this name")?;
        let password = format!("$argon2id$v=19$m=8,t=1,p=1${hash}");
        let user =
            format!("id = {id}\nusername = {name:?}\nname = {name:?}\nrole = \"user\"\npassword = {password:?}\n");
        text += &format!("[[user]]\n{user}\n");
    }
    let path = stage.folder().join("users.toml");
    fs::write(&path, text)?;
    Ok(path)
}

async fn add(stage: &Stage, path: &Path, name: &str, password: &str) -> Result<()> {
    let file = path.display().to_string();
    let cost = "m=8,t=1,p=1";
    stage.relogin(&["user", "add", name, "--password-stdin", "--users", &file, "--password-cost", cost], password).await
}

/// The options for users of these names, whose passwords are their names and cost nothing to check.
pub(super) fn cheap_users(stage: &Stage, names: &[&str]) -> Result<[String; 4]> {
    let path = users_file(stage, names)?.display().to_string();
    Ok(["--users".to_owned(), path, "--password-cost".to_owned(), "m=8,t=1,p=1".to_owned()])
}

async fn serve(stage: &mut Stage, path: &Path) -> Result<()> {
    stage.serve(&["--users", &path.display().to_string(), "--password-cost", "m=8,t=1,p=1"]).await
}

async fn innocent(stage: &Stage, name: &str) -> Result<Innocent> {
    Innocent::enter_as(&stage.gateway_url(), name, std::time::Duration::from_millis(20)).await
}
/// Emptied as by `cp`, `>` or an editor, then missing, then invalid.
async fn an_emptied_users_file_ends_no_session(stage: &mut Stage) -> Result<()> {
    let path = users_file(stage, &["jane", "john"])?;
    serve(stage, &path).await?;
    let (mut jane, mut john) = (innocent(stage, "jane").await?, innocent(stage, "john").await?);
    let whole = fs::read_to_string(&path)?;
    fs::write(&path, "")?;
    stage.service_says("that the file is empty", "users.toml is empty").await?;
    jane.goes_on(6).await?;
    john.goes_on(6).await?;
    // And who is not there yet gets in.
    Res::connect(&stage.gateway_url()).await?.log_in("jane", "jane").await?;
    fs::remove_file(&path)?;
    stage.service_says("that the file is gone", "No such file").await?;
    fs::write(&path, &whole[..whole.len() - 20])?;
    stage.service_says("that it is no list", "users.toml: line").await?;
    fs::write(&path, whole)?;
    jane.goes_on(6).await?;
    john.goes_on(6).await?;
    jane.leave().await?;
    john.leave().await?;
    Ok(())
}

/// The service is started while the file is empty.
async fn a_start_with_an_emptied_users_file_ends_no_session(stage: &mut Stage) -> Result<()> {
    let path = users_file(stage, &["jane"])?;
    serve(stage, &path).await?;
    let mut res = Res::connect(&stage.gateway_url()).await?;
    let mut key = res.log_in("jane", "jane").await?["reloginKey"].take();
    let whole = fs::read_to_string(&path)?;
    stage.stop_service().await?;
    fs::write(&path, "")?;
    // At the first start of this version, or after a loss, nothing is known of anybody.
    let known = stage.folder().join("data/users.known");
    let kept = fs::read(&known)?;
    fs::remove_file(&known)?;
    stage.start_service().await?;
    let refused = Res::connect(&stage.gateway_url()).await?.relogin(&key, None).await?;
    ensure!(refused.code() == Some("system.internalError"), "{refused:?}");
    stage.stop_service().await?;

    fs::write(&known, kept)?;
    stage.start_service().await?;
    let mut res = Res::connect(&stage.gateway_url()).await?;
    key = res.relogin(&key, None).await?.payload()?["reloginKey"].take();
    ensure!(res.user().await?["name"] == "jane");
    stage.service_says("that the file is empty", "users.toml is empty").await?;
    key = res.relogin(&key, None).await?.payload()?["reloginKey"].take();
    fs::write(&path, whole)?;
    stage.service_says("that it has changed", "the users file has changed").await?;
    res.relogin(&key, None).await?.payload()?;
    Res::connect(&stage.gateway_url()).await?.log_in("jane", "jane").await?;
    Ok(())
}

/// Cut between two users, for as long as the service needs to see it.
async fn a_users_file_that_arrives_in_pieces_ends_no_session(stage: &mut Stage) -> Result<()> {
    let path = users_file(stage, &["jane", "john"])?;
    serve(stage, &path).await?;
    let (mut jane, mut john) = (innocent(stage, "jane").await?, innocent(stage, "john").await?);
    let whole = fs::read_to_string(&path)?;
    let cut = whole.rfind("[[user]]").unwrap_or_default();
    fs::write(&path, &whole[..cut])?;
    stage.service_says("that users are missing", "users are missing from the users file").await?;
    jane.goes_on(6).await?;
    john.goes_on(6).await?;
    Res::connect(&stage.gateway_url()).await?.log_in("john", "john").await?;
    fs::write(&path, whole)?;
    john.goes_on(6).await?;
    jane.leave().await?;
    john.leave().await?;
    Ok(())
}

/// The care for files that are incomplete for a moment must not keep a removed user logged in.
async fn a_user_deleted_from_the_users_file_is_logged_out(stage: &mut Stage) -> Result<()> {
    let path = users_file(stage, &["jane", "john", "mary"])?;
    serve(stage, &path).await?;
    let mut jane = innocent(stage, "jane").await?;
    let is_out = |data: &Value| data["values"]["id"] == json!(null);
    let url = stage.gateway_url();
    let (mut john, mut mary) = (Res::connect(&url).await?, Res::connect(&url).await?);
    for (res, name) in [(&mut john, "john"), (&mut mary, "mary")] {
        res.log_in(name, name).await?;
        res.user().await?;
    }
    stage.relogin(&["user", "remove", "john", "--users", &path.display().to_string()], "").await?;
    john.event_where(CHANGE, is_out).await?;
    let whole = fs::read_to_string(&path)?;
    let cut = whole.rfind("[[user]]").unwrap_or_default();
    fs::write(&path, &whole[..cut])?;
    mary.event_where(CHANGE, is_out).await?;
    jane.goes_on(6).await?;
    jane.leave().await?;
    Ok(())
}

/// "jürgen" and "päss wörd" as one code point a letter, and as two.
async fn a_name_and_a_password_in_either_unicode_form_get_in(stage: &mut Stage) -> Result<()> {
    let path = users_file(stage, &["jane"])?;
    let (name, password) = (["j\u{fc}rgen", "Ju\u{308}rgen "], ["p\u{e4}ss w\u{f6}rd", "pa\u{308}ss wo\u{308}rd"]);
    add(stage, &path, name[0], password[0]).await?;
    ensure!(add(stage, &path, name[1], password[0]).await.is_err(), "nobody could tell the two apart");
    serve(stage, &path).await?;
    let mut jane = innocent(stage, "jane").await?;
    for (name, password) in [(0, 1), (1, 0), (1, 1)].map(|(n, p)| (name[n], password[p])) {
        Res::connect(&stage.gateway_url()).await?.log_in(name, password).await?;
    }
    Res::connect(&stage.gateway_url()).await?.log_in("jane ", "jane").await?;
    let wrong = json!({ "username": name[0], "password": "pass word" });
    let refused = Res::connect(&stage.gateway_url()).await?.request("auth.session.login", Some(wrong)).await?;
    ensure!(refused.code() == Some("session.wrongUsernamePassword"));
    jane.goes_on(6).await?;
    jane.leave().await?;
    Ok(())
}

/// As `systemctl reload` or logrotate send it, with the secret rotated under live sessions.
async fn a_hangup_ends_nothing_and_a_rotated_secret_refuses_no_key(stage: &mut Stage) -> Result<()> {
    let path = users_file(stage, &["jane"])?;
    serve(stage, &path).await?;
    let mut jane = innocent(stage, "jane").await?;
    let secret = stage.folder().join("data/secret");
    for rotations in 1..=5_u8 {
        let before = fs::read_to_string(&secret)?;
        fs::write(&secret, format!("{}\n{before}", format!("{rotations:02x}").repeat(32)))?;
        kill_process(stage.service()?.pid()?, Signal::HUP)?;
        stage.service_says("what was reloaded", &format!("reloaded: 1 user, {} secrets", rotations + 1)).await?;
        jane.goes_on(6).await?;
    }
    fs::write(&secret, "05".repeat(32))?;
    kill_process(stage.service()?.pid()?, Signal::HUP)?;
    stage.service_says("what was reloaded", "reloaded: 1 user, 1 secret").await?;
    jane.goes_on(12).await?;
    jane.leave().await?;
    ensure!(stage.stop_service().await?.code() == Some(0));
    Ok(())
}
/// Users whom a program knows. It is asked by the prepared name.
async fn a_users_program_that_fails_for_a_while_ends_no_session(stage: &mut Stage) -> Result<()> {
    let program = stage.folder().join("users");
    let script = "#!/bin/sh\nread -r question\ncase $(cat state) in down) exit 1;; mad) echo '{}'; exit;; esac\n\
        echo \"$question\" >> asked\necho '{\"user\":{\"id\":3,\"name\":\"J\",\"role\":\"user\"}}'\n";
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
    let is = |state: &str| fs::write(program.with_file_name("state"), state);
    is("up")?;
    stage.serve(&["--users", "exec:./users"]).await?;
    let url = stage.gateway_url();
    let mut res = Res::connect(&url).await?;
    let mut key = res.log_in(" JU\u{308}RGEN", "pa\u{308}ss").await?["reloginKey"].take();
    let asked = fs::read_to_string(program.with_file_name("asked"))?;
    ensure!(asked.contains("\"username\":\"j\u{fc}rgen\",\"password\":\"pa\u{308}ss\""), "{asked}");
    for state in ["down", "mad"] {
        is(state)?;
        let refused = Res::connect(&url).await?.relogin(&key, None).await?;
        ensure!(refused.code() == Some("system.internalError"), "{state}: {refused:?}");
        is("up")?;
        key = Res::connect(&url).await?.relogin(&key, None).await?.payload()?["reloginKey"].take();
    }
    ensure!(stage.stop_service().await?.code() == Some(0));
    Ok(())
}
