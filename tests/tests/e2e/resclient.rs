//! ResClient from npm against the gateways: a client, and a reading of the protocol, that is not
//! ours.

use anyhow::Result;
use relogin_tests::stage::Stage;
use serde_json::json;

on!(all: a_legacy_client);

async fn a_legacy_client(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut script = stage.script("guide")?;
    let nobody = json!({ "id": null, "name": null, "role": null });
    let jane = json!({ "id": 3, "name": "Jane Doe", "role": "user" });
    assert_eq!(script.step("anonymous").await?["user"], nobody);
    assert_eq!(script.step("refused").await?["code"], "session.wrongUsernamePassword");
    assert_eq!(script.step("denied").await?["code"], "system.accessDenied");
    assert_eq!(script.step("in").await?["user"], jane);
    script.step("counting").await?;

    stage.kill_gateway().await?;
    script.step("disconnected").await?;
    stage.start_gateway().await?;
    script.step("reconnected").await?;
    assert_eq!(script.step("back").await?["user"], jane);
    script.step("counting again").await?;

    script.go_on().await?;
    assert_eq!(script.step("out").await?["user"], nobody);
    script.step("counter gone").await?;
    script.ends().await
}
