//! Users that a service of somebody else knows: the example of docs/users.md, as it stands there,
//! under node.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use relogin_tests::{parts::Part, process::Process, res::Res, stage::Stage};
use serde_json::{Value, json};

use crate::{LOGIN, RELOGIN};

on!(nats: users_of_a_service_in_javascript);

/// The hashes of `sesame` and of `open`, as the example makes them.
const SESAME: [&str; 2] = ["jane-salt", "11c54ea096b52853f7758e0a505a1f3f26d442b637eca3f822b40687c0a34e39"];
const OPEN: [&str; 2] = ["jane-salt-2", "228f93c2da31059fa5434a38f34cfa9ddff3c3e5dd7d35713523d6d36db1a22e"];

fn nobody() -> Value {
    json!({ "id": null, "name": null, "role": null })
}

/// Puts the users' file in place in one step, so that nobody reads half of it.
fn write_users(folder: &Path, role: &str, [salt, hash]: [&str; 2], is_disabled: bool) -> Result<()> {
    let user = json!({
        "id": 3, "username": "jane", "name": "Jane Doe", "role": role, "salt": salt, "hash": hash, "disabled": is_disabled
    });
    fs::write(folder.join("new"), json!([user]).to_string())?;
    Ok(fs::rename(folder.join("new"), folder.join("users.json"))?)
}

/// Starts the example.
async fn example(stage: &Stage) -> Result<Process> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/users.md");
    let page = fs::read_to_string(page)?;
    let (_, rest) = page.split_once("```js\n").context("the page has an example")?;
    let (script, _) = rest.split_once("\n```").context("the example ends")?;
    let path = stage.folder().join("users.js");
    fs::write(&path, script)?;
    let modules = Part::Resclient.path()?.join("node_modules");
    let log = stage.evidence().join("users.log");
    let arguments = [path.as_os_str(), stage.nats_url().as_ref()].map(ToOwned::to_owned);
    let process = Process::start(&Part::Node.path()?, arguments, &log, |command| {
        command.env("NODE_PATH", modules).current_dir(stage.folder());
    })?;
    process.line("that it is ready", |line| (line == "ready").then_some(())).await?;
    Ok(process)
}

/// Waits until the connection's user has the role; null: until nobody is logged in.
async fn becomes(res: &mut Res, role: Option<&str>) -> Result<()> {
    let is_it = |data: &Value| data["values"].get("role") == Some(&json!(role));
    res.event_where("session.user.{cid}.change", is_it).await.map(drop)
}

pub(crate) async fn users_of_a_service_in_javascript(stage: &mut Stage) -> Result<()> {
    write_users(stage.folder(), "user", SESAME, false)?;
    stage.serve(&["--users", "nats:my.users"]).await?;
    let credentials = |password: &str| json!({ "username": "JANE", "password": password });

    // Nobody answers: that is no wrong password.
    let mut res = stage.res().await?;
    let refused = res.request(LOGIN, Some(credentials("sesame"))).await?;
    assert_eq!(refused.code(), Some("system.internalError"));

    let _example = example(stage).await?;
    let refused = res.request(LOGIN, Some(credentials("open"))).await?;
    assert_eq!(refused.code(), Some("session.wrongUsernamePassword"));
    assert_eq!(res.user().await?, nobody());
    let key = res.request(LOGIN, Some(credentials("sesame"))).await?.payload()?["reloginKey"].clone();
    becomes(&mut res, Some("user")).await?;
    let key = res.relogin(&key, None).await?.payload()?["reloginKey"].clone();

    write_users(stage.folder(), "admin", SESAME, false)?;
    becomes(&mut res, Some("admin")).await?;
    let mut other = stage.res().await?;
    other.user().await?;
    other.request(LOGIN, Some(credentials("sesame"))).await?.payload()?;

    // Another password ends what was made by the old one.
    write_users(stage.folder(), "admin", OPEN, false)?;
    becomes(&mut res, None).await?;
    becomes(&mut other, None).await?;
    assert_eq!(
        res.request(RELOGIN, Some(json!({ "reloginKey": key }))).await?.code(),
        Some("session.invalidReloginKey")
    );
    res.request(LOGIN, Some(credentials("open"))).await?.payload()?;
    becomes(&mut res, Some("admin")).await?;

    write_users(stage.folder(), "admin", OPEN, true)?;
    becomes(&mut res, None).await?;
    let refused = res.request(LOGIN, Some(credentials("open"))).await?;
    assert_eq!(refused.code(), Some("session.wrongUsernamePassword"));
    Ok(())
}
