//! Tests of the harness: an honest client notices when it is refused.

use anyhow::{Result, ensure};
use relogin_tests::{
    innocent::Innocent,
    raw::{Raw, STRANGER, opcode},
    stage::Stage,
};
use serde_json::Value;

on!(embedded_alone: an_honest_client_is_served, an_honest_client_notices, a_raw_socket_speaks);

async fn an_honest_client_is_served(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(12).await?;
    let memory = stage.service()?.memory()?;
    ensure!(memory.resident > 1 << 20 && memory.peak >= memory.resident, "{memory:?}");
    ensure!(innocent.leave().await?.len() >= 12);
    Ok(())
}

async fn an_honest_client_notices(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut innocent = Innocent::enter(&stage.gateway_url()).await?;
    innocent.goes_on(1).await?;
    stage.kill_service().await?;
    ensure!(innocent.goes_on(u64::MAX / 2).await.is_err());
    ensure!(innocent.leave().await.is_err());
    Ok(())
}

async fn a_raw_socket_speaks(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let mut raw = Raw::websocket(stage.gateway_addr(), STRANGER, &[("X-Test", "1")]).await?;
    raw.send(&Raw::text(r#"{"id":1,"method":"version","params":{"protocol":"1.2.3"}}"#)).await?;
    let (kind, payload) = raw.server_frame().await?;
    let answer: Value = serde_json::from_slice(&payload)?;
    ensure!(kind == opcode::TEXT && answer["result"]["protocol"] == "1.2.3", "{answer}");
    raw.send(&Raw::frame(opcode::CLOSE, true, &1000_u16.to_be_bytes())).await?;
    ensure!(raw.ended().await?.first() == Some(&(0x80 | opcode::CLOSE)));
    Ok(())
}
